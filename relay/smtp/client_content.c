/*
 * The content of a transaction on its way out: lines with dots doubled and a dot at the end (DATA),
 * or chunks with their sizes in front (BDAT, RFC 3030), piece by piece as the driver gives it. What
 * cannot be sent as it should be is never ended.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/smtp/client_priv.h"
#include <stdio.h>

/* No more content is asked for while this much waits in the output. */
#define OUT_ENOUGH (64U << 10)

static void write_lines(struct smtp_client *c, struct slice piece, bool last, struct mono now)
{
    if (!dot_write(&c->dots, piece, &c->out) || (last && !dot_finish(&c->dots, &c->out))) {
        client_over_fault(c, FAULT_BODY_LOST, SLICE_NONE);
    } else if (c->out.overflow) {
        client_over_fault(c, FAULT_LOCAL, SLICE_LIT("out of memory"));
    } else if (last) {
        c->stage = STAGE_DOT;
        client_say(c, STEP_EOD, 0, NULL, 0, now);
    }
}

static void write_reencoded(struct smtp_client *c, struct slice piece, bool last, struct mono now)
{
    DEFER(buf_done) struct buf lines = BUF_MAX(SIZE_MAX / 4);
    if (!c->reencode)
        c->reencode = reencode_new();
    if (!reencode_bytes(c->reencode, piece, &lines) || (last && !reencode_end(c->reencode, &lines)))
        client_over_fault(c, FAULT_CONVERSION, slice_str(reencode_problem(c->reencode)));
    else if (lines.overflow)
        client_over_fault(c, FAULT_LOCAL, SLICE_LIT("out of memory"));
    else
        write_lines(c, buf_slice(&lines), last, now);
}

/* What of a chunk is not its command. */
static bool write_chunk_octets(struct smtp_client *c, struct slice piece, bool last)
{
    if (c->content == CONTENT_LINE_CHUNKS)
        return dot_write(&c->dots, piece, &c->out) && (!last || dot_finish(&c->dots, &c->out));
    buf_add(&c->out, piece);
    return true;
}

/* RFC 3030 section 2: a chunk of its own for each piece. */
static void write_chunk(struct smtp_client *c, struct slice piece, bool last, struct mono now)
{
    char size[48];
    if (piece.n == 0 && !last)
        return;
    size_t n = piece.n;
    if (last && c->content == CONTENT_LINE_CHUNKS)
        n += dot_finish_adds(&c->dots, piece);
    snprintf(size, sizeof size, "%zu%s", n, last ? " LAST" : "");
    const struct slice words[] = {client_phases[STEP_BDAT].sends, slice_str(size)};
    if (last)
        c->stage = STAGE_DOT;
    client_say(c, last ? STEP_EOD : STEP_BDAT, 0, words, 2, now);
    struct awaited *said = &c->ahead[(c->ahead_head + c->ahead_n - 1) % AHEAD_MAX];
    bool whole = write_chunk_octets(c, piece, last);
    said->end = c->gone + smtp_client_output(c).n;
    if (!whole)
        client_over_fault(c, FAULT_BODY_LOST, SLICE_NONE);
    else if (c->out.overflow)
        client_over_fault(c, FAULT_LOCAL, SLICE_LIT("out of memory"));
}

void smtp_client_body(struct smtp_client *c, struct slice piece, bool last, struct mono now)
{
    bool early = c->ahead_n == 0 && smtp_reply_parser_busy(&c->parser);
    if (c->stage != STAGE_CONTENT || early)
        return; /* an early reply: it decides, not the content */
    c->asked = false;
    c->given += piece.n;
    buf_drop(&c->out, c->out_sent);
    c->out_sent = 0;
    if (client_in_chunks(c))
        write_chunk(c, piece, last, now);
    else if (c->content == CONTENT_REENCODED)
        write_reencoded(c, piece, last, now);
    else
        write_lines(c, piece, last, now);
    if (c->stage == STAGE_OVER)
        return;
    client_renew(c, now);
    client_go_on(c, now);
}

bool client_in_chunks(const struct smtp_client *c)
{
    return c->content == CONTENT_CHUNKS || c->content == CONTENT_LINE_CHUNKS;
}

bool smtp_client_used_chunks(const struct smtp_client *c)
{
    return client_in_chunks(c) && c->given > 0;
}

bool client_envelope_is_open(const struct smtp_client *c)
{
    enum step first = c->ahead[c->ahead_head].step;
    return c->ahead_n > 0 && (first == STEP_MAIL || first == STEP_RCPT);
}

bool client_wants_body(const struct smtp_client *c)
{
    bool turn = c->ahead_n == 0 || (c->peer.pipelining && c->ahead_n < AHEAD_MAX);
    bool risked = client_envelope_is_open(c) && c->given >= CLIENT_AT_ONCE;
    return !c->asked && turn && !risked && smtp_client_output(c).n < OUT_ENOUGH;
}

void smtp_client_body_failed(struct smtp_client *c, const struct verdict *v, struct mono now)
{
    (void)now;
    if (c->stage == STAGE_CONTENT)
        client_over(c, verdict_copy(v), false);
}

/*
 * DATA and BDAT. Content goes to the driver piece by piece; at its end stands COMMIT, or, when it
 * is doomed, a refusal. Doomed content is consumed unseen up to its real end, so that no byte of it
 * is ever taken for a command (RFC 5321 section 4.5.2; smuggling), but not for ever: beyond twice
 * the maximum size and 1 MiB the refusal is given at once and the connection closed.
 */
#include "relay/base/must.h"
#include "relay/smtp/server_priv.h"
#include <inttypes.h>
#include <stdio.h>

enum { RATE_WINDOW_MS = 60000, DISCARD_MORE = 1 << 20 };

static const enum situation fault_situation[] = {
    [DOT_BARE_CR] = SAY_CONTENT_BARE_CR,
    [DOT_BARE_LF] = SAY_CONTENT_BARE_LF,
    [DOT_LONG_LINE] = SAY_CONTENT_LONG_LINE,
};

static void start_clock(struct smtp_server *s)
{
    s->rate_from = s->now;
    s->rate_octets = 0;
}

static void reset(struct server_content *c, bool chunked, bool binary)
{
    struct buf keep = c->reply_text;
    buf_reset(&keep);
    *c = (struct server_content){.dot.chunked = chunked, .dot.binary = binary, .reply_text = keep};
}

bool server_in_content(const struct smtp_server *s)
{
    return s->state == SERVER_DATA || s->state == SERVER_CHUNK ||
           (s->state == SERVER_COMMAND && s->content.bdat);
}

static void doom(struct smtp_server *s, enum situation what)
{
    s->content.doomed = s->content.doomed_here = true;
    s->content.situation = what;
    server_abort(s);
}

void server_content_doom_by_driver(struct smtp_server *s, const struct smtp_reply *reply)
{
    struct server_content *c = &s->content;
    if (c->doomed)
        return;
    buf_add(&c->reply_text, slice_head(reply->text, SERVER_TEXT_MAX));
    c->doomed = true;
    c->reply = *reply;
    c->reply.text = buf_slice(&c->reply_text);
    server_abort(s);
}

static uint64_t most_octets(const struct smtp_server *s)
{
    return s->conf->max_message_size ? s->conf->max_message_size : UINT64_MAX;
}

static bool too_much_to_skip(const struct smtp_server *s)
{
    const uint64_t max = most_octets(s);
    const uint64_t bound = max < UINT64_MAX / 4 ? 2 * max + DISCARD_MORE : UINT64_MAX;
    return s->content.raw > bound || s->content.chunk_left > bound - s->content.raw;
}

void server_content_begin_data(struct smtp_server *s)
{
    reset(&s->content, false, false);
    s->state = SERVER_DATA;
    start_clock(s);
}

void server_content_begin_chunk(struct smtp_server *s, uint64_t size, bool last)
{
    struct server_content *c = &s->content;
    if (!c->bdat) { /* the pauses between chunks count: small ones are no way to be slow */
        reset(c, true, s->binary);
        start_clock(s);
    }
    c->chunk = c->chunk_left = size;
    c->last = last;
    s->state = SERVER_CHUNK;
    if (!(s->conf->extensions & SMTP_CHUNKING)) {
        doom(s, SAY_NO_CHUNKING);
    } else if (!s->in_transaction) {
        doom(s, s->helo.n ? SAY_NO_MAIL : SAY_NO_HELO);
    } else if (s->rcpts == 0) {
        doom(s, SAY_NO_RCPT);
    } else if (size > most_octets(s) - c->declared) {
        doom(s, SAY_TOO_BIG);
    } else {
        c->bdat = true;
        c->declared += size;
    }
    server_content_settle(s);
}

/* The envelope went when the content was doomed. */
static void finish_refused(struct smtp_server *s)
{
    struct server_content *c = &s->content;
    s->state = SERVER_COMMAND;
    if (!c->doomed_here)
        server_reply(s, &c->reply);
    else if (c->situation == SAY_TOO_BIG)
        server_refuse_number(s, c->situation, s->conf->max_message_size);
    else
        server_refuse(s, c->situation);
    if (!c->doomed_here && c->reply.code == 421)
        server_close(s);
}

static void finish_chunk(struct smtp_server *s)
{
    char text[64];
    snprintf(text, sizeof text, "%" PRIu64 " octets received", s->content.chunk);
    struct smtp_reply r = {250, {2, 0, 0}, slice_str(text)};
    s->state = SERVER_COMMAND;
    server_reply(s, &r);
}

static void give(struct smtp_server *s, struct slice piece)
{
    s->content.piece = piece;
    server_ask(s, ASKED_BODY, SRV_BODY);
}

/* NOLINTNEXTLINE(misc-no-recursion) once: after dot_read_last the content has ended */
void server_content_settle(struct smtp_server *s)
{
    struct server_content *c = &s->content;
    const bool chunk = s->state == SERVER_CHUNK;
    if (!c->doomed && c->too_big)
        doom(s, SAY_TOO_BIG);
    if (!c->doomed && c->dot.fault != DOT_FINE)
        doom(s, fault_situation[c->dot.fault]);
    if (c->doomed && too_much_to_skip(s)) {
        finish_refused(s);
        server_close(s);
        return;
    }
    if (chunk ? c->chunk_left > 0 : !c->dot.ended)
        return;
    if (c->doomed) {
        finish_refused(s);
    } else if (chunk && !c->last) {
        finish_chunk(s);
    } else if (chunk && !c->dot.ended) {
        struct slice piece = dot_read_last(&c->dot);
        if (piece.n)
            give(s, piece);
        else
            server_content_settle(s);
    } else {
        server_ask(s, ASKED_COMMIT, SRV_COMMIT);
    }
}

size_t server_content_bytes(struct smtp_server *s, struct slice in)
{
    struct server_content *c = &s->content;
    const bool chunk = s->state == SERVER_CHUNK;
    if (chunk && c->chunk_left < in.n)
        in = slice_head(in, (size_t)c->chunk_left);
    struct slice piece = SLICE_NONE;
    size_t n = in.n;
    if (!chunk || !c->doomed)
        n = dot_read(&c->dot, in, &piece);
    c->raw += n;
    c->chunk_left -= chunk ? n : 0;
    s->rate_octets += n;
    if (!c->doomed) {
        const uint64_t room = most_octets(s) - c->octets;
        c->too_big = piece.n > room;
        if (c->too_big)
            piece = slice_head(piece, (size_t)room);
        c->octets += piece.n;
        if (piece.n) {
            give(s, piece);
            return n;
        }
    }
    server_content_settle(s);
    return n;
}

bool server_content_too_slow(struct smtp_server *s)
{
    if (s->conf->min_data_rate == 0 || s->now.ms - s->rate_from.ms < RATE_WINDOW_MS)
        return false;
    const bool slow = s->rate_octets < (uint64_t)s->conf->min_data_rate * (RATE_WINDOW_MS / 1000);
    s->rate_from = s->now;
    s->rate_octets = 0;
    return slow;
}

struct mono server_content_deadline(const struct smtp_server *s)
{
    if (s->conf->min_data_rate == 0)
        return MONO_NEVER;
    return mono_add(s->rate_from, RATE_WINDOW_MS);
}

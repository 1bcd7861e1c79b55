/*
 * What the server says, and what it tells its driver to do. A reply never carries a control byte or
 * an 8-bit byte, whoever wrote its text; a line of it is cut at 500 octets (RFC 5321
 * section 4.5.3.1.5), the whole at 4096.
 */
#include "relay/base/jtext.h"
#include "relay/base/must.h"
#include "relay/smtp/server_priv.h"
#include <inttypes.h>
#include <stdio.h>

static const struct {
    uint16_t code;
    struct enhanced enhanced;
    bool error;
    struct slice text;
} says[] = {
#define X(name, code_, class_, subject_, detail_, error_, text_)                                   \
    [SAY_##name] = {                                                                               \
        code_, {class_, subject_, detail_}, error_, {(const uint8_t *)text_, sizeof text_ - 1}},
#include "relay/smtp/server_replies.def"
#undef X
};

enum { REPLY_LINE_MAX = 500, REPLY_TEXT_MAX = 4096 };

/* Four of these a message: without printf, which would be half of all that the dialogue costs. */
static void reply_line(struct buf *out, const struct smtp_reply *r, struct slice text, bool last)
{
    const uint8_t code[] = {(uint8_t)('0' + r->code / 100 % 10), (uint8_t)('0' + r->code / 10 % 10),
                            (uint8_t)('0' + r->code % 10), last ? ' ' : '-'};
    buf_add(out, slice_of(code, sizeof code));
    if (enhanced_is(r->enhanced)) {
        jtext_number(out, r->enhanced.class);
        buf_add_u8(out, '.');
        jtext_number(out, r->enhanced.subject);
        buf_add_u8(out, '.');
        jtext_number(out, r->enhanced.detail);
        buf_add_u8(out, ' ');
    }
    if (r->code != 334) /* a challenge is of use only when it is whole */
        text = slice_head(text, REPLY_LINE_MAX);
    uint8_t *to = buf_reserve(out, text.n + 2);
    MUST(to);
    for (size_t i = 0; i < text.n; i++)
        to[i] = text.p[i] >= 0x20 && text.p[i] < 0x7f ? text.p[i] : '?';
    to[text.n] = '\r';
    to[text.n + 1] = '\n';
    buf_commit(out, text.n + 2);
}

void server_reply(struct smtp_server *s, const struct smtp_reply *r)
{
    struct slice rest = slice_head(r->text, r->code == 334 ? LINE_MAX_AUTH : REPLY_TEXT_MAX);
    do {
        struct slice line = slice_cut(&rest, '\n');
        reply_line(&s->out, r, line, rest.n == 0);
    } while (rest.n);
}

void server_push(struct smtp_server *s, enum smtp_server_act act)
{
    MUST(s->queued < SERVER_QUEUE_MAX);
    s->queue[s->queued].act = act;
    s->queued++;
}

void server_ask(struct smtp_server *s, enum server_question q, enum smtp_server_act act)
{
    s->question = q;
    s->asked_at = s->now;
    server_push(s, act);
}

static void say(struct smtp_server *s, enum situation what, struct slice detail)
{
    struct smtp_reply r = {says[what].code, says[what].enhanced, says[what].text};
    if (detail.n) {
        buf_reset(&s->detail);
        buf_add(&s->detail, r.text);
        buf_add_str(&s->detail, ": ");
        buf_add(&s->detail, detail);
        r.text = buf_slice(&s->detail);
    }
    server_reply(s, &r);
    server_push(s, SRV_REFUSED);
    s->queue[s->queued - 1].reply = r;
    s->queue[s->queued - 1].mail = s->path_known && s->verb == VERB_MAIL;
    s->queue[s->queued - 1].rcpt = s->path_known && s->verb == VERB_RCPT;
    s->errors += says[what].error;
}

bool server_count_refused(struct smtp_server *s)
{
    if (s->conf->max_refused == 0 || ++s->refused < s->conf->max_refused)
        return false;
    s->path_known = false;
    server_give_up(s, SAY_TOO_MANY_REFUSED);
    return true;
}

static bool is_about_recipients(enum verb v)
{
    return v == VERB_RCPT || v == VERB_DATA || v == VERB_BDAT;
}

void server_refuse_with(struct smtp_server *s, enum situation what, struct slice detail)
{
    say(s, what, detail);
    if (says[what].code >= 500 && is_about_recipients(s->verb) && server_count_refused(s))
        return;
    if (s->conf->max_errors && s->errors >= s->conf->max_errors) {
        s->path_known = false;
        say(s, SAY_TOO_MANY_ERRORS, SLICE_NONE);
        server_close(s);
    }
}

void server_refuse(struct smtp_server *s, enum situation what)
{
    server_refuse_with(s, what, SLICE_NONE);
}

void server_refuse_number(struct smtp_server *s, enum situation what, uint64_t detail)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, detail);
    server_refuse_with(s, what, slice_str(text));
}

void server_give_up_with(struct smtp_server *s, enum situation what, struct slice detail)
{
    say(s, what, detail);
    server_close(s);
}

void server_give_up(struct smtp_server *s, enum situation what)
{
    server_give_up_with(s, what, SLICE_NONE);
}

/*
 * AUTH as the client says it (RFC 4954): which words go out and what a challenge is. What they mean
 * is the driver's, who speaks the mechanism.
 *
 *   AUTH mechanism [initial-response]   →  334 challenge …  →  235, or 4xx and 5xx
 *
 * Never outside of TLS, whatever the level is: a password in clear is everybody's. After 235 EHLO
 * is not said again: no mechanism here brings a security layer of its own (section 4).
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/smtp/client_priv.h"

#define LINE_MAX_BYTES 512    /* of a command, RFC 5321 section 4.5.3.1.4, its line end included */
#define RESPONSE_MAX (12288U) /* RFC 4954 section 4.4: base 64, with its line end */

void client_wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_done(b);
}

void client_login_due(struct smtp_client *c)
{
    enum fault f = !c->tls            ? FAULT_TLS_UNAVAILABLE
                   : !c->peer.auth[0] ? FAULT_LOGIN_UNAVAILABLE
                                      : FAULT_NONE;
    if (f != FAULT_NONE) {
        client_over(c, verdict_of_fault(f, PHASE_EHLO, SLICE_NONE), true);
        return;
    }
    c->stage = STAGE_LOGIN;
    client_act(c, CLI_LOGIN);
}

/* Each line is one response; it is wiped with the output once it has left. */
static void say_line(struct smtp_client *c, struct slice line, struct mono now)
{
    if (smtp_reply_parser_busy(&c->parser)) { /* it would be taken for the answer */
        client_over_fault(c, FAULT_SMTP_PROTOCOL, SLICE_LIT("bytes that nobody asked for"));
        return;
    }
    c->secret = true;
    client_say(c, STEP_AUTH, 0, &line, 1, now);
}

static bool encode(struct smtp_client *c, struct buf *out, struct slice s)
{
    if (base64_encode(out, s)) {
        smtp_hidden_add_login(&c->said, buf_slice(out));
        return true;
    }
    client_over_fault(c, FAULT_LOGIN, SLICE_LIT("the response is too long for SMTP"));
    return false;
}

void smtp_client_login(struct smtp_client *c, const char *mechanism, struct slice initial,
                       bool has_initial, struct mono now)
{
    DEFER(client_wipe) struct buf line = BUF_MAX(LINE_MAX_BYTES - 2);
    if (c->stage != STAGE_LOGIN)
        return;
    MUST(c->tls);
    client_wipe(&c->initial);
    c->initial = BUF_MAX(RESPONSE_MAX - 2);
    if (has_initial && initial.n == 0)
        buf_add_u8(&c->initial, '=');
    else if (!encode(c, &c->initial, initial))
        return;
    buf_add(&line, client_phases[STEP_AUTH].sends);
    buf_add_str(&line, mechanism);
    size_t command = line.n;
    if (has_initial && buf_add_u8(&line, ' ') && buf_add(&line, buf_slice(&c->initial)))
        client_wipe(&c->initial);
    else
        buf_cut(&line, command);
    if (!has_initial)
        client_wipe(&c->initial);
    say_line(c, buf_slice(&line), now);
}

void smtp_client_respond(struct smtp_client *c, struct slice response, struct mono now)
{
    DEFER(client_wipe) struct buf line = BUF_MAX(RESPONSE_MAX - 2);
    if (c->stage == STAGE_LOGIN && encode(c, &line, response))
        say_line(c, buf_slice(&line), now);
}

void smtp_client_login_failed(struct smtp_client *c, enum fault f, struct slice why)
{
    if (c->stage == STAGE_LOGIN)
        client_over(c, verdict_of_fault(f, PHASE_AUTH, why), true);
}

/* An initial response that had no place in the command is what the first challenge, which is empty,
 * asks for. */
void client_challenged(struct smtp_client *c, const struct smtp_reply *reply, struct mono now)
{
    DEFER(client_wipe) struct buf kept = c->initial;
    c->initial = (struct buf){0};
    client_wipe(&c->challenge);
    c->challenge = BUF_MAX(RESPONSE_MAX);
    if (!base64_decode(&c->challenge, slice_trim(reply->text))) {
        client_over_fault(c, FAULT_SMTP_PROTOCOL, SLICE_LIT("its challenge is not base 64"));
    } else if (kept.n > 0) {
        say_line(c, buf_slice(&kept), now);
    } else {
        c->challenged = true;
        client_act(c, CLI_LOGIN);
    }
}

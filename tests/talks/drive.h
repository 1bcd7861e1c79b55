/*
 * A driver for the server machine without sockets, shared by talks, unit tests and fuzzing. It
 * feeds bytes as they "arrive", does what the machine asks, and writes two things down: every byte
 * of output, and every action as a line of text, where the pieces of one message are joined, so
 * that two runs over differently split input can be compared.
 *
 * It is as unkind as a driver may be: each input is an exact copy on the heap, which is freed
 * before a question is answered.
 */
#pragma once
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/smtp/server.h"
#include <stdio.h>
#include <stdlib.h>

enum { DRIVE_MAX = 8 << 20 };

struct drive {
    struct smtp_server *s;
    struct mono now;
    struct buf out, actions;
    struct buf body; /* of the message at hand; noted up to `noted` */
    size_t noted;
    struct buf unread; /* arrived, not consumed */
    bool closed, tls_seen;
    bool tls_fails;
    bool mute; /* sends nothing: what a client that never reads does */
    /* The answer to an action; NULL: the built-in one below. `text` outlives the call. */
    struct smtp_reply (*answer)(struct drive *d, const struct smtp_server_action *a);
    void (*seen)(struct drive *d,
                 const struct smtp_server_action *a); /* each action; may be NULL */
    void *ctx;
};

static inline struct smtp_server_conf drive_conf(void)
{
    return (struct smtp_server_conf){.hostname = SLICE_LIT("relay.test"),
                                     .auth_mechanisms = SLICE_LIT("PLAIN LOGIN"),
                                     .extensions = SMTP_EVERY_EXTENSION,
                                     .max_message_size = 100000,
                                     .max_recipients = 100,
                                     .max_errors = 20,
                                     .max_auth_failures = 3,
                                     .max_idle = 100,
                                     .max_unknown = 10,
                                     .max_hold_s = 2592000,
                                     .max_hold_until = {INT64_C(1893456000) * WALL_SECOND},
                                     .command_timeout_ms = 300000,
                                     .data_timeout_ms = 180000};
}

static inline bool drive_has(struct slice s, const char *word)
{
    return slice_find_slice(s, slice_str(word)) < s.n;
}

/* Addresses and responses say what becomes of them, so that a dialogue carries its own answers. */
static inline struct smtp_reply drive_answer(struct drive *d, const struct smtp_server_action *a)
{
    if (a->act == SRV_ASK_AUTH) {
        if (slice_eq(a->response, SLICE_LIT("AGdvb2QAZ29vZA==")) ||
            slice_eq(a->response, SLICE_LIT("Z29vZA==")))
            return SMTP_REPLY(235, 2, 7, 0, "welcome");
        if (slice_eq(a->response, SLICE_LIT("bW9yZQ==")))
            return SMTP_REPLY(334, 0, 0, 0, "UGFzc3dvcmQ6");
        if (!a->has_response)
            return SMTP_REPLY(334, 0, 0, 0, "VXNlcm5hbWU6");
        return SMTP_REPLY(535, 5, 7, 8, "wrong user name or password");
    }
    struct slice path = a->act == SRV_ASK_MAIL   ? a->mail->path
                        : a->act == SRV_ASK_RCPT ? a->rcpt->path
                                                 : buf_slice(&d->body);
    if (drive_has(path, "refuse"))
        return SMTP_REPLY(550, 5, 7, 1, "refused");
    if (drive_has(path, "defer"))
        return SMTP_REPLY(450, 4, 2, 0, "later");
    if (drive_has(path, "goaway"))
        return SMTP_REPLY(421, 4, 7, 0, "go away");
    return a->act == SRV_ASK_MAIL   ? SMTP_REPLY(250, 2, 1, 0, "Ok")
           : a->act == SRV_ASK_RCPT ? SMTP_REPLY(250, 2, 1, 5, "Ok")
                                    : SMTP_REPLY(250, 2, 0, 0, "Ok: queued as TEST");
}

static inline void drive_init(struct drive *d, const struct smtp_server_conf *conf, bool tls)
{
    *d = (struct drive){.out = BUF_MAX(DRIVE_MAX),
                        .actions = BUF_MAX(DRIVE_MAX),
                        .body = BUF_MAX(DRIVE_MAX),
                        .unread = BUF_MAX(DRIVE_MAX),
                        .answer = drive_answer,
                        .now = {1000}};
    d->s = smtp_server_new(conf, tls, d->now);
}

static inline void drive_done(struct drive *d)
{
    smtp_server_free(d->s);
    buf_done(&d->out);
    buf_done(&d->actions);
    buf_done(&d->body);
    buf_done(&d->unread);
}

/* Bytes as C would write them, so that a line of the action log stays a line. */
static inline void drive_escape(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        const uint8_t c = s.p[i];
        if (c == '\r')
            buf_add_str(out, "\\r");
        else if (c == '\n')
            buf_add_str(out, "\\n");
        else if (c == '\\')
            buf_add_str(out, "\\\\");
        else if (c < 0x20 || c >= 0x7f)
            buf_addf(out, "\\x%02x", c);
        else
            buf_add_u8(out, c);
    }
}

static inline void drive_flush_body(struct drive *d)
{
    if (d->noted == d->body.n)
        return;
    buf_add_str(&d->actions, "body ");
    drive_escape(&d->actions, slice_skip(buf_slice(&d->body), d->noted));
    buf_add_u8(&d->actions, '\n');
    d->noted = d->body.n;
}

/* What was not said is not written, but for the first three. */
static inline void drive_note_mail(struct buf *b, const struct smtp_mail *m)
{
    static const char *const bodies[] = {"7bit", "8bitmime", "binarymime"};
    static const char *const rets[] = {"", " ret=full", " ret=hdrs"};
    const struct mail_params *p = &m->params;
    buf_addf(b, "mail <%.*s> size=%llu body=%s auth=%.*s%s", SLICE_ARG(m->path),
             (unsigned long long)m->size, bodies[p->body], SLICE_ARG(m->auth), rets[p->ret]);
    if (m->envid.n)
        buf_addf(b, " envid=%.*s", SLICE_ARG(m->envid));
    buf_addf(b, "%s%s", p->smtputf8 ? " smtputf8" : "", p->requiretls ? " requiretls" : "");
    if (m->hold_s)
        buf_addf(b, " hold=%lld", (long long)m->hold_s);
    if (m->hold_until.us)
        buf_addf(b, " hold-until=%lld", (long long)(m->hold_until.us / WALL_SECOND));
    if (p->by)
        buf_addf(b, " by=%lld;%c%s", (long long)m->by_s, p->by == MAIL_BY_RETURN ? 'R' : 'N',
                 p->by_trace ? "T" : "");
    if (p->priority)
        buf_addf(b, " priority=%d", p->priority);
}

static inline void drive_note(struct drive *d, const struct smtp_server_action *a)
{
    struct buf *b = &d->actions;
    if (a->act == SRV_BODY) {
        buf_add(&d->body, a->body);
        return;
    }
    drive_flush_body(d);
    if (a->act == SRV_ASK_MAIL) {
        buf_reset(&d->body);
        d->noted = 0;
    }
    switch (a->act) {
    case SRV_STARTTLS:
        buf_add_str(b, "starttls");
        break;
    case SRV_ASK_AUTH:
        buf_addf(b, "auth %.*s %s%.*s", SLICE_ARG(a->mechanism), a->has_response ? "=" : "-",
                 SLICE_ARG(a->response));
        break;
    case SRV_AUTH_CANCELLED:
        buf_add_str(b, "auth-cancelled");
        break;
    case SRV_ASK_MAIL:
        drive_note_mail(b, a->mail);
        break;
    case SRV_ASK_RCPT:
        buf_addf(b, "rcpt <%.*s>", SLICE_ARG(a->rcpt->path));
        if (a->rcpt->notify)
            buf_addf(b, " notify=%u", a->rcpt->notify);
        if (a->rcpt->orcpt.n)
            buf_addf(b, " orcpt=%.*s", SLICE_ARG(a->rcpt->orcpt));
        break;
    case SRV_BODY:
        break;
    case SRV_COMMIT:
        buf_add_str(b, "commit");
        break;
    case SRV_ABORT:
        buf_add_str(b, "abort");
        break;
    case SRV_REFUSED:
        buf_addf(b, "refused %u", a->refused.code);
        if (a->mail)
            buf_addf(b, " mail <%.*s>", SLICE_ARG(a->mail->path));
        if (a->rcpt)
            buf_addf(b, " rcpt <%.*s>", SLICE_ARG(a->rcpt->path));
        break;
    case SRV_CLOSE:
        buf_add_str(b, "close");
        break;
    }
    buf_add_u8(b, '\n');
}

static inline void drive_send(struct drive *d)
{
    struct slice o = smtp_server_output(d->s);
    if (d->mute)
        return;
    buf_add(&d->out, o);
    smtp_server_sent(d->s, o.n);
}

/* Carries out what is waiting; `lent` is the copy that the last pieces point into. */
static inline void drive_pump(struct drive *d, uint8_t **lent)
{
    struct smtp_server_action a;
    while (smtp_server_next(d->s, &a)) {
        drive_note(d, &a);
        if (d->seen)
            d->seen(d, &a);
        if (a.act != SRV_BODY && lent) {
            free(*lent);
            *lent = NULL;
        }
        if (a.act == SRV_STARTTLS) {
            d->tls_seen = true;
            drive_send(d);
            buf_reset(&d->unread);
            if (d->tls_fails)
                smtp_server_eof(d->s);
            else
                smtp_server_tls_started(d->s, d->now);
        } else if (a.act == SRV_BODY) {
            struct smtp_reply r =
                d->answer == drive_answer ? (struct smtp_reply){0} : d->answer(d, &a);
            if (r.code)
                smtp_server_body_refuse(d->s, &r);
            else
                smtp_server_body_taken(d->s, d->now);
        } else if (a.act == SRV_ASK_AUTH || a.act == SRV_ASK_MAIL || a.act == SRV_ASK_RCPT ||
                   a.act == SRV_COMMIT) {
            struct smtp_reply r = d->answer(d, &a);
            smtp_server_answer(d->s, &r, d->now);
        } else if (a.act == SRV_CLOSE) {
            d->closed = true;
        }
    }
    drive_send(d);
}

/* Bytes arrive. Whatever can be consumed is; the rest stays in `unread`. */
static inline void drive_arrive(struct drive *d, struct slice bytes)
{
    buf_add(&d->unread, bytes);
    drive_pump(d, NULL);
    while (d->unread.n && !d->closed) {
        uint8_t *lent = must_alloc(d->unread.n);
        memcpy(lent, d->unread.p, d->unread.n);
        size_t n = smtp_server_bytes(d->s, slice_of(lent, d->unread.n), d->now);
        buf_drop(&d->unread, n);
        drive_pump(d, &lent);
        free(lent);
        if (n == 0 && !d->closed)
            break;
    }
}

/* How a whole dialogue is cut up: 0 at once, 1 byte by byte, more: a seed for pieces of 1..64
 * bytes. */
static inline void drive_split(struct drive *d, struct slice all, uint64_t split)
{
    uint64_t x = split;
    while (all.n) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t n = split == 0 ? all.n : split == 1 ? 1 : 1 + (size_t)(x >> 33) % 64;
        drive_arrive(d, slice_head(all, n));
        all = slice_skip(all, n);
    }
}

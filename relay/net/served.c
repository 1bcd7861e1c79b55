#include "relay/net/served.h"
#include "relay/base/must.h"

#define HANDSHAKE_MS 30000
#define UNSENT_MAX 65536 /* a client that does not read its replies gets no further ones made */

static struct mono now_of(const struct served *s)
{
    return loop_now(net_conn_loop(s->conn));
}

static void flush(struct served *s)
{
    struct slice out = smtp_server_output(s->smtp);
    if (out.n == 0 || net_conn_unsent(s->conn) > UNSENT_MAX)
        return;
    net_conn_send(s->conn, out);
    smtp_server_sent(s->smtp, out.n);
}

static void start_tls(struct served *s, struct mono now)
{
    flush(s);
    s->handshaking = true;
    net_conn_start_tls(s->conn, s->tls, true, SLICE_NONE);
    net_conn_deadline(s->conn, mono_add(now, HANDSHAKE_MS));
}

static void act(struct served *s, const struct smtp_server_action *a, struct mono now)
{
    if (a->act == SRV_STARTTLS) {
        start_tls(s, now);
    } else if (a->act == SRV_CLOSE) {
        flush(s);
        net_conn_close(s->conn);
    } else {
        s->by->act(s->ctx, a, now);
    }
}

static void pump(struct served *s, struct mono now)
{
    struct smtp_server_action a;
    s->acting = true;
    while (smtp_server_next(s->smtp, &a))
        act(s, &a, now);
    s->acting = false;
    flush(s);
    if (!s->handshaking)
        net_conn_deadline(s->conn, mono_min(smtp_server_deadline(s->smtp), s->late_at));
}

static size_t on_bytes(void *ctx, struct slice in, struct mono now)
{
    struct served *s = ctx;
    size_t taken = 0;
    for (size_t n; taken < in.n; taken += n) {
        n = smtp_server_bytes(s->smtp, slice_skip(in, taken), now);
        pump(s, now);
        if (n == 0)
            break;
    }
    return taken;
}

static void on_tls(void *ctx, bool ok, const char *why, struct mono now)
{
    struct served *s = ctx;
    s->handshaking = false;
    s->by->tls(s->ctx, ok, why);
    if (!ok) {
        net_conn_abort(s->conn);
        return;
    }
    if (s->smtp)
        smtp_server_tls_started(s->smtp, now);
    else
        s->smtp = smtp_server_new(s->conf, true, now);
    pump(s, now);
}

static void on_sent(void *ctx, struct mono now)
{
    struct served *s = ctx;
    if (s->smtp && smtp_server_output(s->smtp).n > 0) {
        pump(s, now);
        net_conn_resume(s->conn);
    }
}

static void on_deadline(void *ctx, struct mono now)
{
    struct served *s = ctx;
    if (s->handshaking) {
        s->by->tls(s->ctx, false, "timed out");
        net_conn_abort(s->conn);
        return;
    }
    if (mono_reached(s->late_at, now)) {
        s->late_at = MONO_NEVER;
        s->by->late(s->ctx, now);
        if (!s->conn)
            return;
    }
    smtp_server_tick(s->smtp, now);
    pump(s, now);
}

static void on_eof(void *ctx, int err, struct mono now)
{
    struct served *s = ctx;
    (void)err;
    if (s->handshaking) {
        net_conn_abort(s->conn);
        return;
    }
    smtp_server_eof(s->smtp);
    pump(s, now);
}

static void on_closed(void *ctx)
{
    struct served *s = ctx;
    s->conn = NULL;
    s->by->closed(s->ctx);
}

static bool at_ease(void *ctx, size_t *ret_awaited)
{
    const struct served *s = ctx;
    *ret_awaited = 0;
    if (!s->smtp || s->handshaking || !smtp_server_at_ease(s->smtp))
        return false;
    if (s->by->looked_at)
        s->by->looked_at(s->ctx);
    return true;
}

const struct net_handler served_handler = {
    .on_bytes = on_bytes,
    .on_tls = on_tls,
    .on_sent = on_sent,
    .on_deadline = on_deadline,
    .on_eof = on_eof,
    .on_closed = on_closed,
    .at_ease = at_ease,
};

void served_begin(struct served *s, struct net_conn *c, const struct smtp_server_conf *conf,
                  struct tls_context *tls, bool implicit_tls, const struct served_by *by, void *ctx)
{
    *s = (struct served){
        .conn = c, .conf = conf, .tls = tls, .by = by, .ctx = ctx, .late_at = MONO_NEVER};
    struct mono now = now_of(s);
    if (implicit_tls) {
        s->handshaking = true;
        net_conn_deadline(c, mono_add(now, HANDSHAKE_MS));
        return;
    }
    s->smtp = smtp_server_new(conf, false, now);
    pump(s, now);
}

void served_done(struct served *s)
{
    MUST(!s->conn);
    smtp_server_free(s->smtp);
}

void served_resume(struct served *s)
{
    if (!s->conn || s->acting)
        return;
    pump(s, now_of(s));
    if (s->conn)
        net_conn_resume(s->conn);
}

void served_answer(struct served *s, const struct smtp_reply *r)
{
    if (!s->conn)
        return;
    s->late_at = MONO_NEVER;
    smtp_server_answer(s->smtp, r, now_of(s));
    served_resume(s);
}

void served_wait_until(struct served *s, struct mono at)
{
    s->late_at = at;
    if (s->conn && !s->acting)
        net_conn_deadline(s->conn, mono_min(smtp_server_deadline(s->smtp), at));
}

void served_shutdown(struct served *s)
{
    if (s->handshaking) {
        net_conn_abort(s->conn);
        return;
    }
    smtp_server_shutdown(s->smtp, now_of(s));
    pump(s, now_of(s));
}

/* What comes in: socket → (TLS) → handler. Bytes are offered where they were read; only what the
 * handler leaves is copied, and then reading stops until net_conn_resume. */
#include "relay/base/must.h"
#include "relay/net/private.h"
#include <errno.h>
#include <string.h>

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
    const struct net_conn *c = handle->data;
    (void)wanted;
    *ret = uv_buf_init((char *)c->local->received, sizeof c->local->received);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *space);

void net_read_start(struct net_conn *c)
{
    if (c->reading || c->eof || c->closing == NET_CLOSED)
        return;
    c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
}

void net_read_stop(struct net_conn *c)
{
    if (c->reading)
        uv_read_stop((uv_stream_t *)&c->tcp);
    c->reading = false;
}

void net_tell_eof(struct net_conn *c, int err)
{
    bool *told = err ? &c->failure_told : &c->eof_told;
    net_read_stop(c);
    if (*told || c->failure_told || !net_conn_is_open(c))
        return;
    *told = c->eof_told = true;
    c->h->on_eof(c->ctx, err, loop_now(c->loop));
}

void net_handshake_failed(struct net_conn *c, const char *why)
{
    net_tap_note(c, why);
    c->phase = NET_DEAD;
    c->owes_sent = false;
    fifo_done(&c->out);
    net_read_stop(c);
    net_conn_own_deadline(c, MONO_NEVER);
    net_mark_dirty(c); /* the alert */
    if (net_conn_is_open(c) && c->h->on_tls)
        c->h->on_tls(c->ctx, false, why, loop_now(c->loop));
}

/* Returns what the handler left; nothing when the connection was closed or TLS began meanwhile:
 * then the rest is dropped (RFC 3207: plaintext before the handshake counts for nothing). */
static struct slice offer(struct net_conn *c, struct slice s)
{
    const struct tls_engine *tls = c->tls;
    c->offering = true;
    do {
        c->again = false;
        if (c->tap)
            net_tap_in(c, s);
        size_t n = c->h->on_bytes(c->ctx, s, loop_now(c->loop));
        MUST(n <= s.n);
        c->tapped -= c->tapped < n ? c->tapped : n;
        s = slice_skip(s, n);
    } while (s.n && c->again && net_conn_is_open(c) && c->tls == tls);
    c->offering = false;
    return net_conn_is_open(c) && c->tls == tls ? s : SLICE_NONE;
}

static void offer_fresh(struct net_conn *c, struct slice s)
{
    struct slice rest = offer(c, s);
    if (rest.n == 0)
        return;
    net_read_stop(c);
    if (!buf_add(&c->in, rest)) /* never more than was read at once: memory is out */
        net_tell_eof(c, -ENOMEM);
}

/* Decrypts and offers until the handler leaves something. The plaintext buffer is the loop's, taken
 * while in use: a handler may resume another connection meanwhile. */
static void pump_tls(struct net_conn *c)
{
    enum tls_state state = TLS_OPEN;
    bool more = true;
    while (more && net_conn_is_open(c) && c->phase == NET_SECURE && c->in.n == 0) {
        struct buf plain = c->local->plain;
        buf_init(&c->local->plain, NET_INPUT_MAX);
        state = tls_engine_read(c->tls, &plain, NET_INPUT_MAX);
        more = plain.n > 0;
        if (more)
            offer_fresh(c, buf_slice(&plain));
        buf_reset(&plain);
        buf_done(&c->local->plain);
        c->local->plain = plain;
        if (state != TLS_OPEN)
            break;
    }
    if (tls_engine_is_pressing(c->tls))
        net_mark_dirty(c); /* an alert, or the answer to a change of keys */
    if (state == TLS_CLOSED)
        net_tell_eof(c, 0);
    else if (state == TLS_FAILED)
        net_tell_eof(c, -EPROTO);
}

static void feed_tls(struct net_conn *c, struct slice ciphertext)
{
    enum tls_state state = tls_engine_feed(c->tls, ciphertext);
    if (tls_engine_is_pressing(c->tls) || fifo_size(&c->out))
        net_mark_dirty(c);
    if (c->phase == NET_HANDSHAKE) {
        if (state == TLS_HANDSHAKING)
            return;
        if (state != TLS_OPEN) {
            net_handshake_failed(c, tls_engine_error(c->tls));
            return;
        }
        c->phase = NET_SECURE;
        net_conn_own_deadline(c, MONO_NEVER);
        if (c->tap)
            net_tap_secure(c);
        if (c->h->on_tls)
            c->h->on_tls(c->ctx, true, NULL, loop_now(c->loop));
    }
    if (net_conn_is_open(c))
        pump_tls(c);
}

static void read_ended(struct net_conn *c, int err)
{
    net_read_stop(c);
    c->eof = true;
    if (err && !c->broken) {
        c->broken = err;
        fifo_done(&c->out);
    }
    if (c->phase == NET_HANDSHAKE)
        net_handshake_failed(c, err ? uv_strerror(err) : "the peer closed the connection");
    else
        net_tell_eof(c, c->broken);
}

/* Only to keep the kernel from answering unread bytes with a reset; for as long as the deadlines of
 * closing say. */
static void discard(struct net_conn *c, ssize_t n)
{
    if (n == UV_EOF && c->closing == NET_FLUSHING) {
        net_read_stop(c); /* it may still be listening */
        c->eof = true;
    } else if (n < 0) {
        net_conn_finish(c);
    }
}

static void take_bytes(struct net_conn *c, struct slice s)
{
    if (c->phase == NET_CLEAR)
        offer_fresh(c, s);
    else
        feed_tls(c, s);
}

static void read_header(struct net_conn *c, ssize_t n, struct slice s)
{
    if (n < 0) {
        net_proxy_ended(c);
        return;
    }
    struct slice rest = net_proxy_bytes(c, s);
    if (rest.n && net_conn_is_open(c))
        take_bytes(c, rest);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    struct net_conn *c = stream->data;
    struct slice s = slice_of(space->base, n > 0 ? (size_t)n : 0);
    if (n == 0)
        return;
    if (!net_conn_is_open(c))
        discard(c, n);
    else if (c->phase == NET_PROXY)
        read_header(c, n, s);
    else if (n < 0)
        read_ended(c, n == UV_EOF ? 0 : (int)n);
    else
        take_bytes(c, s);
}

/* Returns true when nothing is left. The buffer is taken while it is offered: whatever the handler
 * does to the connection, the bytes it looks at stay. */
static bool offer_kept(struct net_conn *c)
{
    struct buf in = c->in;
    buf_init(&c->in, NET_INPUT_MAX);
    struct slice rest = offer(c, buf_slice(&in));
    if (rest.n == 0) {
        buf_done(&in);
        return true;
    }
    buf_drop(&in, in.n - rest.n);
    c->in = in;
    return false;
}

void net_conn_resume(struct net_conn *c)
{
    if (c->offering) {
        c->again = true;
        return;
    }
    if (!net_conn_is_open(c) || (c->in.n && !offer_kept(c)))
        return;
    if (c->phase == NET_SECURE)
        pump_tls(c);
    bool wants = net_conn_is_open(c) && c->in.n == 0 && !c->eof_told;
    if (wants && c->phase != NET_CONNECTING && c->phase != NET_DEAD)
        net_read_start(c);
}

/* False: it is no time for TLS any more. */
static bool leave_clear(struct net_conn *c)
{
    if (!net_conn_is_open(c) || c->phase == NET_DEAD)
        return false;
    MUST(c->phase == NET_CLEAR);
    buf_done(&c->in);
    if (c->tap)
        net_tap_tls(c);
    net_push_out(c);
    return true;
}

static void shake_hands(struct net_conn *c, struct tls_engine *tls)
{
    c->tls = tls;
    c->phase = NET_HANDSHAKE;
    net_mark_dirty(c);
    net_read_start(c);
    if (c->eof || c->broken) /* told from the loop, not from within this call */
        net_conn_own_deadline(c, loop_now(c->loop));
}

void net_conn_start_tls(struct net_conn *c, struct tls_context *tls, bool server, struct slice sni)
{
    if (leave_clear(c))
        shake_hands(c, tls_engine_new(tls, server, sni));
}

void net_conn_resume_tls(struct net_conn *c, struct tls_context *tls, struct slice sni,
                         const struct tls_session *offer)
{
    if (leave_clear(c))
        shake_hands(c, tls_engine_resume(tls, sni, offer));
}

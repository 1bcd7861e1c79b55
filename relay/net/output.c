/* What goes out: queued during a turn, encrypted and written at its end, together. The kernel is
 * asked at once; what it does not take waits in a request of libuv's. */
#include "relay/base/must.h"
#include "relay/net/private.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { LINGER_MS = 1000, ENCRYPT_BYTES = 65536 };

struct request {
    uv_write_t req;
    struct net_conn *c;
    struct fifo bytes;
};

/* Checklist 60: the peer may have said why before it closed, so reading goes on until its end is
 * told from there; only where nobody reads it is told here. */
static void broke(struct net_conn *c, int err)
{
    if (c->broken)
        return;
    c->broken = err;
    fifo_done(&c->out);
    if (!net_conn_is_open(c))
        net_conn_finish(c);
    else if (c->phase == NET_HANDSHAKE)
        net_handshake_failed(c, uv_strerror(err));
    else if (!c->reading && c->phase != NET_DEAD)
        net_tell_eof(c, err);
}

static void on_written(uv_write_t *req, int status)
{
    struct request *r = req->data;
    struct net_conn *c = r->c;
    fifo_done(&r->bytes);
    free(r);
    c->writes--;
    if (c->closing == NET_CLOSED)
        return;
    if (status < 0)
        broke(c, status);
    net_mark_dirty(c);
}

/* Takes the bytes of *from, which is empty after. */
static void request(struct net_conn *c, struct fifo *from)
{
    struct request *r = must_alloc(sizeof *r);
    r->c = c;
    r->req.data = r;
    r->bytes = *from;
    fifo_init(from, SIZE_MAX);
    struct slice s = fifo_slice(&r->bytes);
    uv_buf_t b = {.base = (char *)(uintptr_t)s.p, .len = s.n};
    c->writes++;
    int code = uv_write(&r->req, (uv_stream_t *)&c->tcp, &b, 1, on_written);
    if (code == 0)
        return;
    c->writes--;
    fifo_done(&r->bytes);
    free(r);
    broke(c, code);
}

void net_push_out(struct net_conn *c)
{
    if (fifo_size(&c->out) && !c->broken)
        request(c, &c->out);
}

/* Plaintext waits unencrypted for as long as it can: records are full, and memory is used once. The
 * end is said together with the last words. */
static void encrypt_some(struct net_conn *c)
{
    struct slice s = slice_head(fifo_slice(&c->out), ENCRYPT_BYTES);
    if (s.n) {
        tls_engine_write(c->tls, s);
        fifo_take(&c->out, s.n);
    }
    if (fifo_size(&c->out) == 0 && !net_conn_is_open(c) && !c->notified) {
        c->notified = true;
        tls_engine_close(c->tls);
    }
}

static struct slice next_bytes(struct net_conn *c)
{
    if (!c->tls)
        return c->phase == NET_CLEAR ? fifo_slice(&c->out) : SLICE_NONE;
    if (c->phase == NET_SECURE && !tls_engine_is_pressing(c->tls))
        encrypt_some(c);
    return tls_engine_output(c->tls);
}

static void taken(struct net_conn *c, size_t n)
{
    if (c->tls)
        tls_engine_sent(c->tls, n);
    else
        fifo_take(&c->out, n);
}

static void request_rest(struct net_conn *c)
{
    if (!c->tls) {
        request(c, &c->out);
        return;
    }
    struct fifo copy;
    struct slice s = tls_engine_output(c->tls);
    fifo_init(&copy, SIZE_MAX);
    MUST(fifo_add(&copy, s));
    tls_engine_sent(c->tls, s.n);
    request(c, &copy);
}

static void write_out(struct net_conn *c)
{
    struct slice s;
    while (!c->writes && !c->broken && (s = next_bytes(c)).n) {
        uv_buf_t b = {.base = (char *)(uintptr_t)s.p, .len = s.n};
        int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
        if (n < 0 && n != UV_EAGAIN) {
            broke(c, n);
            return;
        }
        size_t went = n < 0 ? 0 : (size_t)n;
        taken(c, went);
        if (went < s.n)
            request_rest(c);
    }
}

/* All of it is with the kernel: no need to ask the loop when it will be. */
static bool say_end(const struct net_conn *c)
{
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&c->tcp, &fd) == 0 && shutdown(fd, SHUT_WR) == 0;
}

/* Closing with bytes unread makes the kernel send a reset, which may overtake our last words: say
 * that we are done, and read until the peer is. */
static void linger(struct net_conn *c)
{
    c->closing = NET_LINGERING;
    if (c->eof || !say_end(c)) {
        net_conn_finish(c);
        return;
    }
    struct mono limit = mono_add(loop_now(c->loop), LINGER_MS);
    net_conn_own_deadline(c, mono_min(c->own_at, limit));
}

static void all_has_left(struct net_conn *c)
{
    if (c->closing == NET_FLUSHING) {
        linger(c);
    } else if (net_conn_is_open(c) && c->owes_sent) {
        c->owes_sent = false;
        if (c->h->on_sent)
            c->h->on_sent(c->ctx, loop_now(c->loop));
    }
}

void net_flush(struct net_conn *c)
{
    bool unconnected = c->phase == NET_CONNECTING || (c->phase == NET_DEAD && !c->tls);
    if (unconnected || c->closing == NET_CLOSED)
        return;
    write_out(c);
    if (!c->broken && c->closing != NET_CLOSED && net_conn_unsent(c) == 0)
        all_has_left(c);
}

void net_conn_send(struct net_conn *c, struct slice plaintext)
{
    if (!net_conn_is_open(c) || c->broken || c->phase == NET_DEAD || plaintext.n == 0)
        return;
    MUST(fifo_add(&c->out, plaintext)); /* the handler's bound, not ours */
    if (c->tap)
        net_tap_out(c, plaintext);
    c->owes_sent = true;
    net_mark_dirty(c);
}

size_t net_conn_unsent(const struct net_conn *c)
{
    if (c->broken || c->closing == NET_CLOSED)
        return 0;
    size_t n = fifo_size(&c->out) + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
    return c->tls ? n + tls_engine_output(c->tls).n : n;
}

/* The life of a connection: how it comes about, its deadlines, how it ends. */
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/net/private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

enum { HANDSHAKE_MS = 30000, FLUSH_MS = 5000 };

/* Who hears a connection that was refused: nobody. */
static const struct net_handler nobody = {0};

/* --- deadlines ------------------------------------------------------------------------------- */

static void rearm(struct net_conn *c)
{
    deadline_set(c->loop, &c->deadline, mono_min(c->handler_at, c->own_at));
}

void net_conn_own_deadline(struct net_conn *c, struct mono at)
{
    c->own_at = at;
    rearm(c);
}

void net_conn_deadline(struct net_conn *c, struct mono at)
{
    if (!net_conn_is_open(c))
        return;
    c->handler_at = at;
    if (c->phase == NET_HANDSHAKE && at.ms != MONO_NEVER.ms)
        c->own_at = MONO_NEVER; /* the handler knows better than our default */
    rearm(c);
}

static void connected(struct net_conn *c, int err);

static void own_deadline_came(struct net_conn *c)
{
    if (!net_conn_is_open(c))
        net_conn_finish(c);
    else if (c->phase == NET_PROXY)
        net_proxy_late(c);
    else if (c->phase == NET_CONNECTING)
        connected(c, c->connect_error ? c->connect_error : -ETIMEDOUT);
    else if (c->phase == NET_HANDSHAKE)
        net_handshake_failed(c,
                             c->eof || c->broken ? "the peer closed the connection" : "timed out");
}

static void on_deadline(void *ctx, struct mono now)
{
    struct net_conn *c = ctx;
    if (mono_reached(c->own_at, now)) {
        c->own_at = MONO_NEVER;
        own_deadline_came(c);
    } else if (mono_reached(c->handler_at, now)) {
        c->handler_at = MONO_NEVER;
        if (c->h->on_deadline)
            c->h->on_deadline(c->ctx, now);
    }
    rearm(c);
}

/* --- birth ----------------------------------------------------------------------------------- */

struct net_conn *net_conn_new(struct loop *l)
{
    struct net_conn *c = must_alloc(sizeof *c);
    c->loop = l;
    c->local = net_local_of(l);
    c->h = &nobody;
    c->handler_at = c->own_at = MONO_NEVER;
    buf_init(&c->in, NET_INPUT_MAX);
    fifo_init(&c->out, SIZE_MAX);
    MUST(uv_tcp_init(loop_uv(l), &c->tcp) == 0);
    c->tcp.data = c;
    deadline_init(l, &c->deadline, on_deadline, c);
    DL_APPEND(c->local->conns, c);
    return c;
}

static void name_peer(struct net_conn *c, const struct sockaddr *peer)
{
    net_addr_text(peer, c->names.peer_ip);
    c->names.peer_port = net_addr_port(peer);
}

static void name_local_as(struct net_conn *c, const struct sockaddr *local)
{
    net_addr_text(local, c->names.local_ip);
    c->names.local_port = net_addr_port(local);
}

static void name_local(struct net_conn *c)
{
    struct sockaddr_storage a = {0};
    int size = sizeof a;
    if (uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&a, &size) == 0)
        name_local_as(c, (struct sockaddr *)&a);
}

void net_conn_name(struct net_conn *c, const struct sockaddr *peer, const struct sockaddr *local)
{
    name_peer(c, peer);
    name_local_as(c, local);
}

static void connected(struct net_conn *c, int err)
{
    net_conn_own_deadline(c, MONO_NEVER);
    c->phase = err ? NET_DEAD : NET_CLEAR;
    net_tap_note(c, err ? uv_strerror(err) : "connected");
    if (!err) {
        uv_tcp_nodelay(&c->tcp, 1);
        name_local(c);
        net_mark_dirty(c); /* perhaps the handler has sent already */
        net_read_start(c);
    }
    if (c->h->on_connected)
        c->h->on_connected(c->ctx, err, loop_now(c->loop));
}

static void on_connect(uv_connect_t *req, int status)
{
    struct net_conn *c = req->data;
    if (net_conn_is_open(c) && c->phase == NET_CONNECTING)
        connected(c, status);
}

static socklen_t size_of(const struct sockaddr *a)
{
    return a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* A socket of our own making: the source port is chosen when the destination is known, so that one
 * source address has all its ports for each destination. */
static int open_socket(struct net_conn *c, int family, const struct sockaddr *source)
{
    int one = 1, fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int code = 0;
    if (source) {
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, source, size_of(source)) != 0)
            code = -errno;
    }
    if (code == 0)
        code = uv_tcp_open(&c->tcp, fd);
    if (code)
        close(fd);
    return code;
}

struct net_conn *net_connect(struct loop *l, const struct sockaddr *addr,
                             const struct sockaddr *source, int64_t timeout_ms,
                             const struct net_handler *h, void *ctx)
{
    struct net_conn *c = net_conn_new(l);
    c->h = h;
    c->ctx = ctx;
    c->phase = NET_CONNECTING;
    c->caller = true;
    c->connect.data = c;
    name_peer(c, addr);
    net_tap_begin(c);
    if (c->local->ended) {
        net_conn_finish(c); /* too late: on_closed is all that follows */
        return c;
    }
    c->connect_error = open_socket(c, addr->sa_family, source);
    if (!c->connect_error)
        c->connect_error = uv_tcp_connect(&c->connect, &c->tcp, addr, on_connect);
    /* The caller does not know the connection yet: failures are told from the loop. */
    net_conn_own_deadline(c, mono_add(loop_now(l), c->connect_error ? 0 : timeout_ms));
    return c;
}

bool net_conn_never_left(const struct net_conn *c)
{
    return c->connect_error != 0;
}

struct net_conn *net_conn_opened(struct loop *l, int fd, const struct sockaddr *peer)
{
    struct net_conn *c = net_conn_new(l);
    MUST(uv_tcp_open(&c->tcp, fd) == 0);
    uv_tcp_nodelay(&c->tcp, 1);
    name_peer(c, peer);
    name_local(c);
    return c;
}

void net_conn_begin(struct net_conn *c, const struct net_acceptor *a)
{
    const struct net_handler *h = NULL;
    void *ctx = NULL;
    c->phase = NET_CLEAR;
    if (a->implicit_tls) {
        c->phase = NET_HANDSHAKE;
        net_conn_own_deadline(c, mono_add(loop_now(c->loop), HANDSHAKE_MS));
    }
    net_tap_begin(c);
    if (a->accept(a->ctx, c, &h, &ctx)) {
        c->h = h;
        c->ctx = ctx;
        if (a->implicit_tls) /* not before: who is refused costs little */
            c->tls = tls_engine_new(a->implicit_tls, true, SLICE_NONE);
        net_read_start(c);
    } else if (net_conn_unsent(c) && c->phase == NET_CLEAR) {
        net_conn_close(c); /* the refusal is still to be said */
    } else {
        net_conn_abort(c);
    }
}

/* --- death ----------------------------------------------------------------------------------- */

static void free_conn(struct net_conn *c)
{
    DL_DELETE(c->local->conns, c);
    tls_engine_free(c->tls);
    net_tap_free(c);
    buf_done(&c->in);
    fifo_done(&c->out);
    if (c->h->on_closed)
        c->h->on_closed(c->ctx);
    free(c);
}

static void handle_closed(void *ctx)
{
    struct net_conn *c = ctx;
    if (--c->handles == 0)
        free_conn(c);
}

static void on_tcp_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void net_conn_finish(struct net_conn *c)
{
    if (c->closing == NET_CLOSED)
        return;
    net_unmark_dirty(c);
    c->closing = NET_CLOSED;
    c->reading = false;
    c->handles = 2;
    uv_close((uv_handle_t *)&c->tcp, on_tcp_closed);
    deadline_close(&c->deadline, handle_closed);
}

void net_conn_close(struct net_conn *c)
{
    if (!net_conn_is_open(c))
        return;
    bool never_was = c->phase == NET_CONNECTING || (c->phase == NET_DEAD && !c->tls);
    if (never_was || c->broken) {
        net_conn_finish(c);
        return;
    }
    c->closing = NET_FLUSHING;
    c->handler_at = MONO_NEVER;
    net_conn_own_deadline(c, mono_add(loop_now(c->loop), FLUSH_MS));
    if (c->phase == NET_HANDSHAKE)
        fifo_done(&c->out); /* nobody to encrypt it for */
    if (!c->offering)
        buf_done(&c->in);
    net_mark_dirty(c);
    net_read_start(c); /* input is thrown away now: a peer that waits for us to read can go on */
}

void net_conn_abort(struct net_conn *c)
{
    net_conn_finish(c);
}

/* --- questions ------------------------------------------------------------------------------- */

void net_conn_names(const struct net_conn *c, struct net_names *ret)
{
    *ret = c->names;
}

struct tls_info net_conn_tls_info(const struct net_conn *c)
{
    return c->phase == NET_SECURE ? tls_engine_info(c->tls) : (struct tls_info){0};
}

struct tls_session *net_conn_take_session(struct net_conn *c)
{
    return c->phase == NET_SECURE ? tls_engine_take_session(c->tls) : NULL;
}

bool net_conn_tls_unverified(const struct net_conn *c)
{
    return c->tls && tls_engine_unverified(c->tls);
}

bool net_conn_can_bind(const struct net_conn *c, enum tls_binding kind)
{
    return c->phase == NET_SECURE && tls_engine_can_bind(c->tls, kind);
}

bool net_conn_binding(const struct net_conn *c, enum tls_binding kind,
                      struct tls_binding_bytes *ret)
{
    return c->phase == NET_SECURE && tls_engine_binding(c->tls, kind, ret);
}

bool net_conn_peer(const struct net_conn *c, struct tls_peer *ret)
{
    return c->phase == NET_SECURE && tls_engine_peer(c->tls, ret);
}

bool net_conn_certificate(const struct net_conn *c, struct tls_context *verify, struct slice name,
                          struct tls_certificate *ret)
{
    return c->phase == NET_SECURE && tls_engine_certificate(c->tls, verify, name, ret);
}

struct loop *net_conn_loop(const struct net_conn *c)
{
    return c->loop;
}

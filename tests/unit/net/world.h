/* For the tests of connections: real sockets on 127.0.0.1, peers that record what they hear. */
#pragma once
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/net/net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum event { EV_CONNECTED, EV_TLS, EV_SENT, EV_DEADLINE, EV_EOF, EV_CLOSED };

struct peer {
    struct net_conn *c;
    struct loop *loop;
    struct buf got;
    unsigned count[6]; /* by event */
    int connect_err, eof_err;
    bool tls_ok;
    char why[100];
    size_t largest_offer;
    /* What the test does; NULL: takes all, does nothing. */
    size_t (*take)(struct peer *p, struct slice in);
    void (*on)(struct peer *p, enum event e);
    bool (*ease)(struct peer *p, size_t *ret_awaited); /* NULL: never */
    void *data;
    struct rng rng;
};

static size_t peer_on_bytes(void *ctx, struct slice in, struct mono now)
{
    struct peer *p = ctx;
    (void)now;
    MUST(p->count[EV_CLOSED] == 0 && p->count[EV_EOF] == 0);
    if (in.n > p->largest_offer)
        p->largest_offer = in.n;
    size_t n = p->take ? p->take(p, in) : in.n;
    MUST(buf_add(&p->got, slice_head(in, n)));
    return n;
}

static void peer_event(struct peer *p, enum event e)
{
    MUST(p->count[EV_CLOSED] == 0); /* nothing after the last call of all */
    p->count[e]++;
    if (p->on)
        p->on(p, e);
}

static void peer_on_connected(void *ctx, int err, struct mono now)
{
    struct peer *p = ctx;
    (void)now;
    p->connect_err = err;
    peer_event(p, EV_CONNECTED);
}

static void peer_on_tls(void *ctx, bool ok, const char *why, struct mono now)
{
    struct peer *p = ctx;
    (void)now;
    MUST(ok == !why);
    p->tls_ok = ok;
    snprintf(p->why, sizeof p->why, "%s", why ? why : "");
    peer_event(p, EV_TLS);
}

static void peer_on_sent(void *ctx, struct mono now)
{
    struct peer *p = ctx;
    (void)now;
    MUST(net_conn_unsent(p->c) == 0);
    peer_event(p, EV_SENT);
}

static void peer_on_deadline(void *ctx, struct mono now)
{
    (void)now;
    peer_event(ctx, EV_DEADLINE);
}

static void peer_on_eof(void *ctx, int err, struct mono now)
{
    struct peer *p = ctx;
    (void)now;
    p->eof_err = err;
    peer_event(p, EV_EOF);
}

static void peer_on_closed(void *ctx)
{
    peer_event(ctx, EV_CLOSED);
}

static bool peer_at_ease(void *ctx, size_t *ret_awaited)
{
    struct peer *p = ctx;
    return p->ease && p->ease(p, ret_awaited);
}

static const struct net_handler peer_handler = {
    .on_bytes = peer_on_bytes,
    .on_connected = peer_on_connected,
    .on_tls = peer_on_tls,
    .on_sent = peer_on_sent,
    .on_deadline = peer_on_deadline,
    .on_eof = peer_on_eof,
    .on_closed = peer_on_closed,
    .at_ease = peer_at_ease,
};

static void peer_init(struct peer *p, struct loop *l)
{
    *p = (struct peer){.loop = l, .got = BUF_MAX(64 << 20)};
    rng_seed(&p->rng, 1);
}

static void peer_done(struct peer *p)
{
    assert_int_equal(p->count[EV_CLOSED], 1); /* exactly once */
    buf_done(&p->got);
}

/* A listener whose connections are given to peers in order. */
struct server {
    struct loop *loop;
    struct sockaddr_storage addr;
    struct net_listener *listener;
    struct peer *peers;
    unsigned next, max;
    void (*accepted)(struct peer *p); /* may be NULL */
};

static inline bool server_accept(void *ctx, struct net_conn *c, const struct net_handler **ret_h,
                                 void **ret_ctx)
{
    struct server *s = ctx;
    if (s->next == s->max)
        return false;
    struct peer *p = &s->peers[s->next++];
    p->c = c;
    *ret_h = &peer_handler;
    *ret_ctx = p;
    if (s->accepted)
        s->accepted(p);
    return true;
}

static inline int listening_fd(struct sockaddr_storage *ret_addr)
{
    struct err e = {0};
    assert_int_equal(net_parse_address(SLICE_LIT("127.0.0.1:0"), ret_addr, &e), 0);
    int fd = net_bind(ret_addr, &e);
    assert_true(fd >= 0);
    socklen_t size = sizeof *ret_addr;
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_addr, &size), 0);
    return fd;
}

static inline void server_init(struct server *s, struct loop *l, struct peer *peers, unsigned max,
                               struct tls_context *implicit_tls)
{
    *s = (struct server){.loop = l, .peers = peers, .max = max};
    for (unsigned i = 0; i < max; i++)
        peer_init(&peers[i], l);
    struct net_acceptor a = {.accept = server_accept, .ctx = s, .implicit_tls = implicit_tls};
    s->listener = net_listen(l, listening_fd(&s->addr), &a);
}

static inline void client_init(struct peer *p, struct loop *l, const struct server *s)
{
    peer_init(p, l);
    p->c = net_connect(l, (const struct sockaddr *)&s->addr, NULL, 50000, &peer_handler, p);
}

/* Nothing may hang: the loop that is not stopped in ten times what it may take on a quiet machine
 * fails the test. */
static inline void too_late(void *ctx, struct mono now)
{
    (void)ctx, (void)now;
    fprintf(stderr, "the test hangs\n");
    abort();
}

static inline void run_for(struct loop *l, int64_t ms)
{
    static struct deadline watchdog;
    deadline_init(l, &watchdog, too_late, NULL);
    deadline_set(l, &watchdog, mono_add(mono_now(), 10 * ms));
    loop_run_here(l);
}

/* What has to be over when an hour of the loop's own clock strikes: that comes behind all its
 * earlier ones, however late the loop gets to them. What they end is over some turns later. */
struct strike {
    struct deadline at;
    struct loop *loop;
    unsigned turns;
};

static inline void not_over(void *ctx, struct mono now)
{
    struct strike *s = ctx;
    if (s->turns++ < 3) {
        deadline_set(s->loop, &s->at, mono_add(now, 10));
        return;
    }
    fprintf(stderr, "it was to be over by then\n");
    abort();
}

/* In so many ms of the loop's time, which stands still until it runs. */
static inline void over_within(struct loop *l, int64_t ms)
{
    static struct strike strike;
    strike = (struct strike){.loop = l};
    deadline_init(l, &strike.at, not_over, &strike);
    deadline_set(l, &strike.at, mono_add(loop_now(l), ms));
}

/* Looks again and again, on the loop, until it is so; then the loop stops. */
struct look {
    struct loop *loop;
    struct deadline next;
    bool (*is_so)(void *ctx);
    void *ctx;
};

static inline void look_again(void *ctx, struct mono now)
{
    struct look *l = ctx;
    if (l->is_so(l->ctx))
        loop_stop(l->loop);
    else
        deadline_set(l->loop, &l->next, mono_add(now, 2));
}

static inline void run_until(struct loop *l, bool (*is_so)(void *ctx), void *ctx)
{
    static struct look look;
    look = (struct look){.loop = l, .is_so = is_so, .ctx = ctx};
    deadline_init(l, &look.next, look_again, &look);
    deadline_set(l, &look.next, mono_now());
    run_for(l, 10000);
}

/* Its other end has said its last. */
static inline bool has_ended(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1;
}

/* A plain blocking socket that the test plays by hand, with an end to its patience. */
static inline int raw_connect(const struct server *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 100};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (const struct sockaddr *)&s->addr, sizeof(struct sockaddr_in)), 0);
    return fd;
}

static inline void fill(struct buf *b, size_t n, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        buf_add_u8(b, (uint8_t)rng_next(&r));
}

/* A server with a certificate of its own making for mx.test, and a client. */
static inline void contexts_new(struct tls_context **ret_server, struct tls_context **ret_client)
{
    struct buf cert = BUF_MAX(65536), key = BUF_MAX(65536);
    struct err e = {0};
    assert_int_equal(tls_self_signed(SLICE_LIT("mx.test"), &cert, &key, &e), 0);
    assert_int_equal(tls_context_server_pem(ret_server, buf_slice(&cert), buf_slice(&key), &e), 0);
    assert_int_equal(tls_context_client(ret_client, &e), 0);
    buf_done(&cert);
    buf_done(&key);
}

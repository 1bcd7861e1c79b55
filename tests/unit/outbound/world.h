/* For the tests of the way out: the room on a loop of its own, a spooler that only listens, and
 * receivers that the test plays by hand on real sockets. */
#pragma once
#include "relay/base/must.h"
#include "relay/net/net.h"
#include "relay/outbound/hosts.h"
#include "relay/outbound/outbound.h"
#include "relay/outbound/private.h"
#include "relay/spooler/requests.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000, RECEIVERS = 8, CONN = 7 };

struct world {
    struct loop *net, *spooler;
    struct inbox *inbox, *spooler_inbox;
    struct port spooler_port;
    struct outbound *out;
    struct out_hosts *hosts;
    struct tls_context *tls;
    struct conf *conf;
    struct conf *planned_by; /* the plans of orders are made by this one; borrowed */
    uint16_t port;           /* all receivers have it, on 127.0.0.1, 127.0.0.2 … */
    int listening[RECEIVERS];
    int name_server; /* hears questions, never answers */
    uint16_t name_server_port;
    pthread_mutex_t lock; /* guards the list */
    pthread_cond_t more;
    struct msg *first, **last; /* what the spooler was told, oldest first */
};

/* --- the spooler's side */

static void spooler_heard(void *ctx, struct msg *m)
{
    struct world *w = ctx;
    m->next = NULL;
    pthread_mutex_lock(&w->lock);
    *w->last = m;
    w->last = &m->next;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}

static inline struct msg *told_within(struct world *w, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&w->lock);
    int rc = 0;
    while (!w->first && rc == 0)
        rc = pthread_cond_timedwait(&w->more, &w->lock, &until);
    struct msg *m = w->first;
    if (m) {
        w->first = m->next;
        if (!w->first)
            w->last = &w->first;
    }
    pthread_mutex_unlock(&w->lock);
    return m;
}

static inline void *told(struct world *w, unsigned type)
{
    struct msg *m = told_within(w, PATIENCE_MS);
    assert_non_null(m);
    assert_int_equal(m->type, type);
    return m;
}

static inline void told_nothing(struct world *w)
{
    assert_null(told_within(w, 50));
}

static inline struct spooler_result *told_result(struct world *w)
{
    struct spooler_result *r = told(w, SPOOLER_RESULT);
    assert_int_equal(r->conn, CONN);
    return r;
}

static inline void told_gone(struct world *w)
{
    struct spooler_conn_gone *g = told(w, SPOOLER_CONN_GONE);
    assert_int_equal(g->conn, CONN);
    free(g);
}

/* --- life */

static inline struct conf *conf_of(const struct world *w, const char *more)
{
    char path[] = "/tmp/unit_outbound_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd,
            "hostname = relay.test\nlistener \"l\" { address = { \"127.0.0.1:1\" } tls = none "
            "auth = none trust = { \"127.0.0.1\" } }\n"
            "destination \"d\" { domains = { \"d.test\" } port = %u %s }\n"
            "dns { servers = { \"127.0.0.1:%u\" } }\n",
            w->port ? w->port : 9, more, w->name_server_port);
    close(fd);
    struct conf *c = conf_load(path, (void (*)(void *, const char *))(void *)0, NULL);
    unlink(path);
    assert_non_null(c);
    return c;
}

/* -1: somebody else has that port there. */
static inline int listen_on(unsigned host, uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(*port),
                            .sin_addr.s_addr = htonl(0x7f000001 + host)};
    socklen_t size = sizeof a;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 16) < 0) {
        close(fd);
        return -1;
    }
    getsockname(fd, (struct sockaddr *)&a, &size);
    *port = ntohs(a.sin_port);
    return fd;
}

/* On a port that is free at all of them: what else runs on this machine has ports, too. */
static inline void listen_all(struct world *w, unsigned n)
{
    enum { TRIES = 100 };
    for (unsigned tries = 0; tries < TRIES; tries++) {
        unsigned i = 0;
        w->port = 0;
        while (i < n && (w->listening[i] = listen_on(i, &w->port)) >= 0)
            i++;
        if (i == n)
            return;
        while (i-- > 0)
            close(w->listening[i]);
    }
    fail_msg("no port is free at %u addresses", n);
}

static inline int udp(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(fd, (struct sockaddr *)&a, &size);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

/* The first n hosts listen; the others refuse. `more`: of the destination. */
static inline struct world *world_new(unsigned n, const char *more)
{
    struct world *w = must_alloc(sizeof *w);
    struct err e = {0};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->last = &w->first;
    for (unsigned i = 0; i < RECEIVERS; i++)
        w->listening[i] = -1;
    listen_all(w, n);
    w->name_server = udp(&w->name_server_port);
    w->planned_by = w->conf = conf_of(w, more);
    assert_int_equal(tls_context_client(&w->tls, &e), 0);
    w->spooler = loop_new("spooler", 0);
    w->spooler_inbox = inbox_new(w->spooler, NULL, NULL);
    w->spooler_port = (struct port){w->spooler_inbox, spooler_heard, w};
    w->net = loop_new("net", 0);
    w->inbox = inbox_new(w->net, NULL, NULL);
    w->hosts = out_hosts_new();
    assert_int_equal(
        outbound_new(&w->out, w->net, w->inbox, w->conf, w->tls, w->hosts, &w->spooler_port, &e),
        0);
    w->out->ahead_slow_ms = w->out->ahead_patience_ms = PATIENCE_MS; /* nobody is slow by chance */
    assert_int_equal(loop_start(w->spooler), 0);
    assert_int_equal(loop_start(w->net), 0);
    return w;
}

static inline void drop(struct msg *m)
{
    if (m->type >= OUT_RESOLVE)
        spooler_order_free(m);
    else
        spooler_request_free(m);
}

/* In the order in which the daemon ends: the spooler is gone before the rooms are freed. */
static inline void world_free(struct world *w)
{
    loop_stop(w->net);
    loop_join(w->net);
    loop_stop(w->spooler);
    loop_join(w->spooler);
    inbox_free(w->spooler_inbox, drop);
    loop_free(w->spooler);
    w->spooler_port = (struct port){0};
    outbound_free(w->out);
    out_hosts_free(w->hosts);
    inbox_free(w->inbox, outbound_drop);
    loop_free(w->net);
    tls_context_unref(w->tls);
    conf_unref(w->conf);
    for (unsigned i = 0; i < RECEIVERS; i++)
        if (w->listening[i] >= 0)
            close(w->listening[i]);
    close(w->name_server);
    struct msg *next;
    for (struct msg *m = w->first; m; m = next) {
        next = m->next;
        drop(m);
    }
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->more);
    free(w);
}

/* --- orders */

static void plan_is_free(struct frozen *f)
{
    free(f);
}

/* Hosts h0 … in this order of preference, each with one address. */
static inline struct plan *plan_of(const struct world *w, unsigned n)
{
    struct plan *p = must_alloc(sizeof *p + n * sizeof p->hosts[0]);
    frozen_init(&p->frozen, plan_is_free);
    p->n = n;
    for (unsigned i = 0; i < n; i++) {
        struct sockaddr_in *a = (struct sockaddr_in *)&p->hosts[i].addrs[0];
        snprintf(p->hosts[i].name, sizeof p->hosts[i].name, "h%u.test", i);
        p->hosts[i].preference = (uint16_t)i;
        p->hosts[i].n = 1;
        *a = (struct sockaddr_in){.sin_family = AF_INET,
                                  .sin_port = htons(w->port),
                                  .sin_addr.s_addr = htonl(0x7f000001 + i)};
    }
    return p;
}

static inline struct out_work *work(uint64_t message, const char *body, unsigned n_rcpts)
{
    struct out_work *k = must_alloc(sizeof *k);
    k->msg.type = OUT_WORK;
    k->conn = CONN;
    k->message_id = message;
    k->attempt = 1;
    k->site = buf_of(SLICE_LIT("d"));
    k->destination = buf_of(SLICE_LIT("d"));
    k->sender = buf_of(SLICE_LIT("s@relay.test"));
    k->n = n_rcpts;
    k->rcpts = must_alloc(n_rcpts * sizeof *k->rcpts);
    k->addresses = must_alloc(n_rcpts * sizeof *k->addresses);
    for (unsigned i = 0; i < n_rcpts; i++) {
        char text[32];
        snprintf(text, sizeof text, "r%u@d.test", i);
        k->rcpts[i] = i;
        k->addresses[i] = buf_of(slice_str(text));
    }
    if (body) {
        k->size = strlen(body);
        k->body = body_new(strlen(body));
        memcpy(k->body->bytes, body, strlen(body));
    }
    return k;
}

static inline struct out_work *opening(struct out_work *k, struct plan *p)
{
    k->open = true;
    k->plan = &p->frozen;
    return k;
}

/* As resolve.c does it, for the destination that the job names. */
static inline struct frozen *route_of(struct conf *conf, const struct out_work *k, struct frozen *p)
{
    const struct conf_destination *d = conf_by_name(conf, buf_slice(&k->destination));
    assert_non_null(d);
    return &out_route_new((struct plan *)(void *)p, conf, d)->frozen;
}

static inline void order(struct world *w, struct out_work *k)
{
    if (k->open)
        k->plan = route_of(w->planned_by, k, k->plan);
    port_send(outbound_port(w->out), &k->msg);
}

static inline void order_close(struct world *w)
{
    struct out_work *k = must_alloc(sizeof *k);
    k->msg.type = OUT_CLOSE;
    k->conn = CONN;
    order(w, k);
}

static inline void order_resolve_now(struct world *w, const char *domain)
{
    struct out_resolve *q = must_alloc(sizeof *q);
    q->msg.type = OUT_RESOLVE;
    q->domain = buf_of(slice_str(domain));
    port_send(outbound_port(w->out), &q->msg);
}

/* Returns when the question for a name is out. */
static inline void order_resolve(struct world *w)
{
    struct pollfd p = {.fd = w->name_server, .events = POLLIN};
    order_resolve_now(w, "example.test");
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

/* --- the receiver's side */

static inline int receive(const struct world *w, unsigned host)
{
    struct pollfd p = {.fd = w->listening[host], .events = POLLIN};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    int fd = accept(w->listening[host], NULL, NULL);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static inline void nobody_calls(const struct world *w, unsigned host)
{
    struct pollfd p = {.fd = w->listening[host], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 50), 0);
}

static inline void say(int fd, const char *s)
{
    assert_int_equal(send(fd, s, strlen(s), MSG_NOSIGNAL), strlen(s));
}

/* Up to and with the line end; "" at the end of the connection. */
static inline void hear_line(int fd, char ret[1100])
{
    size_t n = 0;
    while (n < 1090 && recv(fd, ret + n, 1, 0) == 1)
        if (ret[n++] == '\n')
            break;
    ret[n] = 0;
}

static inline void hear(int fd, const char *start)
{
    char line[1100];
    hear_line(fd, line);
    if (strncmp(line, start, strlen(start)) != 0)
        fail_msg("\"%s\" instead of \"%s\"", line, start);
}

static inline void hear_end(int fd)
{
    char line[1100];
    hear_line(fd, line);
    assert_string_equal(line, "");
}

/* Content up to the lone dot; returns its octets, dots taken away. */
static inline size_t hear_content(int fd)
{
    char line[1100];
    size_t n = 0;
    for (;;) {
        hear_line(fd, line);
        assert_true(line[0] != 0);
        if (strcmp(line, ".\r\n") == 0)
            return n;
        n += strlen(line) - (line[0] == '.');
    }
}

static inline void hang_up(int fd, bool reset)
{
    struct linger l = {.l_onoff = 1};
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(fd);
}

/* Greeting and EHLO without extensions: each command waits for its reply. */
static inline int receive_ready(const struct world *w, unsigned host)
{
    int fd = receive(w, host);
    say(fd, "220 hello\r\n");
    hear(fd, "EHLO relay.test\r\n");
    say(fd, "250 hello\r\n");
    return fd;
}

static inline void take_message(int fd, const char *reply)
{
    hear(fd, "MAIL FROM:<s@relay.test>");
    say(fd, "250 ok\r\n");
    hear(fd, "RCPT TO:<r0@d.test>");
    say(fd, "250 ok\r\n");
    hear(fd, "DATA");
    say(fd, "354 go\r\n");
    hear_content(fd);
    say(fd, reply);
}

/* Greeting and EHLO with these keywords, a line each. */
static inline int receive_offering(const struct world *w, unsigned host, const char *keywords)
{
    int fd = receive(w, host);
    say(fd, "220 hello\r\n");
    hear(fd, "EHLO relay.test\r\n");
    say(fd, "250-hello\r\n");
    say(fd, keywords);
    return fd;
}

static inline void answer(int fd, const char *heard, const char *reply)
{
    hear(fd, heard);
    say(fd, reply);
}

static inline void leave(int fd)
{
    hear(fd, "QUIT\r\n");
    say(fd, "221 bye\r\n");
    close(fd);
}

/*
 * ask: override -> cache -> an equal question that is open -> c-ares. What c-ares brings is read by
 * wire.c; its own verdict counts only when there is no message. Its sockets are watched by uv_poll,
 * its time by one deadline, which is also ours: the question asked first ends first, for all have
 * the same time.
 */
#include "dns/resolver.h"
#include "dns/cache.h"
#include "dns/key.h"
#include "dns/name.h"
#include "dns/override.h"
#include "relay/base/metrics.h"
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_TTL_S = 86400,
    NEGATIVE_TTL_S = 900,
    TROUBLE_TTL_S = 5, /* long enough to spare a server in trouble, shorter than any retry (48) */
    ENTRIES = 10000,
    BYTES_PER_ENTRY = 2048,
    OPEN_MAX = 10000, /* questions at once; beyond, the asker hears SERVFAIL: later */
    UDP_SIZE = 1232,  /* what passes without fragments */
    TRIES = 2
};

struct waiter {
    struct waiter *next;
    void (*fn)(void *ctx, struct dns_answer *a);
    void *ctx;
};

struct question {
    struct resolver *r;
    struct dns_key key;
    struct mono due;
    uint64_t heard;   /* of the resolver, when it was asked */
    bool is_given_up; /* answered with TIMEOUT; what c-ares still brings goes to the cache */
    struct waiter *first, **last;
    UT_hash_handle hh; /* among those open; the table keeps the order of asking */
};

struct watch { /* a socket of c-ares */
    uv_poll_t poll;
    struct resolver *r;
    ares_socket_t fd;
    struct watch *next;
};

struct resolver {
    struct loop *loop;
    struct dns_override *override;
    struct dns_cache *cache;
    ares_channel channel;
    int64_t timeout_ms;
    uint32_t max_ttl_s;
    bool is_closing;
    uint64_t heard; /* how often a server has said something, whatever it was */
    struct question *open;
    size_t n_pending; /* with c-ares, those given up included */
    struct watch *watches;
    struct deadline deadline;
};

/* --- answers ------------------------------------------------------------------------------- */

static uint32_t ttl_limit(const struct resolver *r, enum dns_status status)
{
    switch (status) {
    case DNS_OK:
        return r->max_ttl_s;
    case DNS_NXDOMAIN:
    case DNS_NODATA:
        return r->max_ttl_s < NEGATIVE_TTL_S ? r->max_ttl_s : NEGATIVE_TTL_S;
    case DNS_SERVFAIL:
    case DNS_TIMEOUT:
    case DNS_NO_SERVER:
        return TROUBLE_TTL_S;
    }
    UNREACHABLE();
}

/* c-ares says "refused" also when servers have answered that they will not, or cannot. */
static enum dns_status status_of_ares(int status, bool nobody_spoke)
{
    switch (status) {
    case ARES_ENOTFOUND:
        return DNS_NXDOMAIN;
    case ARES_ENODATA:
        return DNS_NODATA;
    case ARES_ETIMEOUT:
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return DNS_TIMEOUT;
    case ARES_ECONNREFUSED: /* by all of them, in each try */
        return nobody_spoke ? DNS_NO_SERVER : DNS_SERVFAIL;
    default:
        return DNS_SERVFAIL;
    }
}

static struct dns_answer *answer_of(const struct question *q, int status, const uint8_t *p, int n)
{
    const struct resolver *r = q->r;
    const struct dns_key *key = &q->key;
    enum dns_type type = (enum dns_type)key->type;
    struct dns_answer *a =
        p && n > 0 ? dns_wire_read(slice_of(p, (size_t)n), slice_str(key->name), type)
                   : dns_answer_new(status_of_ares(status, q->heard == r->heard), type, 0);
    bool is_trouble =
        a->status == DNS_SERVFAIL || a->status == DNS_TIMEOUT || a->status == DNS_NO_SERVER;
    if (is_trouble || a->ttl_s > ttl_limit(r, a->status))
        a->ttl_s = ttl_limit(r, a->status);
    a->secure = false; /* AD is worth something only from a server that is trusted: none is yet */
    return a;
}

static void tell(struct question *q, struct dns_answer *a)
{
    struct waiter *w = q->first;
    q->first = NULL;
    q->last = &q->first;
    while (w) {
        struct waiter *next = w->next;
        w->fn(w->ctx, a);
        free(w);
        w = next;
    }
}

static void on_message(void *arg, int status, int timeouts, unsigned char *p, int n)
{
    (void)timeouts;
    struct question *q = arg;
    struct resolver *r = q->r;
    struct dns_answer *a = answer_of(q, status, p, n);
    r->n_pending--;
    if (!q->is_given_up)
        HASH_DEL(r->open, q);
    if (status != ARES_EDESTRUCTION && !(q->is_given_up && a->status == DNS_TIMEOUT))
        dns_cache_put(r->cache, q->key.name, a, loop_now(r->loop));
    tell(q, a);
    dns_answer_unref(a);
    free(q);
}

static void give_up(struct question *q)
{
    struct resolver *r = q->r;
    struct dns_answer *a = dns_answer_new(DNS_TIMEOUT, (enum dns_type)q->key.type, TROUBLE_TTL_S);
    HASH_DEL(r->open, q); /* NOLINT(clang-analyzer-core.NullDereference) it is in there */
    q->is_given_up = true;
    dns_cache_put(r->cache, q->key.name, a, loop_now(r->loop));
    tell(q, a);
    dns_answer_unref(a);
}

/* --- c-ares on the loop -------------------------------------------------------------------- */

static void arm(struct resolver *r)
{
    struct mono at = r->open ? r->open->due : MONO_NEVER;
    struct timeval tv;
    if (ares_timeout(r->channel, NULL, &tv)) {
        int64_t ms = (int64_t)tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000;
        at = mono_min(at, mono_add(loop_now(r->loop), ms > 0 ? ms : 1));
    }
    deadline_set(r->loop, &r->deadline, at);
}

static void on_deadline(void *ctx, struct mono now)
{
    struct resolver *r = ctx;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    while (r->open && mono_reached(r->open->due, now))
        give_up(r->open);
    arm(r);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    struct resolver *r = w->r;
    ares_socket_t fd = w->fd;
    /* An error is for c-ares to find: both ways. */
    bool readable = status < 0 || (events & UV_READABLE);
    bool writable = status < 0 || (events & UV_WRITABLE);
    ares_process_fd(r->channel, readable ? fd : ARES_SOCKET_BAD, writable ? fd : ARES_SOCKET_BAD);
    arm(r);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct watch **find_watch(struct resolver *r, ares_socket_t fd)
{
    struct watch **at = &r->watches;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

static void unwatch(struct watch **at)
{
    struct watch *w = *at;
    /* A loop that has ended has closed the handle itself; the memory then goes in resolver_gone. */
    if (uv_is_closing((uv_handle_t *)&w->poll)) {
        w->fd = ARES_SOCKET_BAD;
        return;
    }
    *at = w->next;
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static void watch(struct resolver *r, ares_socket_t fd, int events)
{
    struct watch *w = *find_watch(r, fd);
    if (!w) {
        w = must_alloc(sizeof *w);
        *w = (struct watch){.r = r, .fd = fd};
        if (uv_poll_init(loop_uv(r->loop), &w->poll, fd) != 0) {
            free(w); /* no descriptor can be watched: the question times out */
            return;
        }
        w->poll.data = w;
        w->next = r->watches;
        r->watches = w;
    }
    if (!uv_is_closing((uv_handle_t *)&w->poll))
        uv_poll_start(&w->poll, events, on_poll);
}

static void on_sock_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = ctx;
    if (readable || writable)
        watch(r, fd, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0));
    else if (*find_watch(r, fd))
        unwatch(find_watch(r, fd));
}

/* Its sockets are made here, for what has come in to be counted: of servers that have said
 * something that c-ares passes over (SERVFAIL, REFUSED) it tells as of those that are not there. */
static ares_socket_t make_socket(int family, int type, int protocol, void *ctx)
{
    (void)ctx;
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int close_socket(ares_socket_t fd, void *ctx)
{
    (void)ctx;
    return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t n, void *ctx)
{
    (void)ctx;
    return connect(fd, to, n);
}

static ares_ssize_t receive(ares_socket_t fd, void *to, size_t size, int flags,
                            struct sockaddr *from, ares_socklen_t *from_n, void *ctx)
{
    struct resolver *r = ctx;
    const ssize_t n = recvfrom(fd, to, size, flags, from, from_n);
    r->heard += n > 0;
    return n;
}

static ares_ssize_t send_pieces(ares_socket_t fd, const struct iovec *pieces, int n, void *ctx)
{
    (void)ctx;
    const struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = (size_t)n};
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* --- life ---------------------------------------------------------------------------------- */

static int library_status;

static void library_init(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

/* One server is asked for T/3, then for twice that: T in all. Of several each has its turn. */
static int try_ms(const struct resolver_conf *c)
{
    int64_t ms =
        c->timeout_ms / (slice_find(slice_str(c->servers), ',') < strlen(c->servers) ? 6 : 3);
    return (int)(ms < 50 ? 50 : ms > 60000 ? 60000 : ms);
}

static int channel_new(struct resolver *r, const struct resolver_conf *c, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, library_init);
    /* Without ARES_FLAG_NOCHECKRESP: a server that answers SERVFAIL or REFUSED is passed over for
     * the next one, and no message comes when all do. */
    struct ares_options o = {.flags = ARES_FLAG_EDNS,
                             .timeout = try_ms(c),
                             .tries = TRIES,
                             .ednspsz = UDP_SIZE,
                             .sock_state_cb = on_sock_state,
                             .sock_state_cb_data = r};
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
               ARES_OPT_SOCK_STATE_CB;
    int rc = library_status ? library_status : ares_init_options(&r->channel, &o, mask);
    if (rc != ARES_SUCCESS) {
        r->channel = NULL;
        return err_set(e, -EIO, "name resolver: %s", ares_strerror(rc));
    }
    static const struct ares_socket_functions sockets = {make_socket, close_socket, connect_socket,
                                                         receive, send_pieces};
    ares_set_socket_functions(r->channel, &sockets, r);
    if (c->servers[0] && (rc = ares_set_servers_ports_csv(r->channel, c->servers)) != ARES_SUCCESS)
        return err_set(e, -EINVAL, "name servers \"%s\": %s", c->servers, ares_strerror(rc));
    return 0;
}

static void resolver_gone(void *ctx)
{
    struct resolver *r = ctx;
    while (r->watches) {
        struct watch *w = r->watches;
        r->watches = w->next;
        free(w);
    }
    dns_cache_free(r->cache);
    dns_override_unref(r->override);
    free(r);
}

int resolver_new(struct resolver **ret, struct loop *l, const struct resolver_conf *c,
                 struct err *e)
{
    size_t entries = c->cache_entries ? c->cache_entries : ENTRIES;
    struct resolver *r = must_alloc(sizeof *r);
    r->loop = l;
    r->timeout_ms = c->timeout_ms;
    r->max_ttl_s = c->max_ttl_s ? c->max_ttl_s : MAX_TTL_S;
    r->override = dns_override_ref(c->override);
    r->cache = dns_cache_new(entries, entries * BYTES_PER_ENTRY);
    deadline_init(l, &r->deadline, on_deadline, r);
    int rc = channel_new(r, c, e);
    if (rc < 0) {
        resolver_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    r->is_closing = true;
    if (r->channel)
        ares_destroy(r->channel); /* answers what is open with ARES_EDESTRUCTION */
    MUST(r->n_pending == 0 && !r->open);
    deadline_close(&r->deadline, resolver_gone);
}

struct loop *resolver_loop(const struct resolver *r)
{
    return r->loop;
}

void resolver_flush(struct resolver *r)
{
    dns_cache_flush(r->cache);
}

/* --- asking -------------------------------------------------------------------------------- */

static struct question *question_new(struct resolver *r, const struct dns_key *key)
{
    struct question *q = must_alloc(sizeof *q);
    q->r = r;
    q->key = *key;
    q->heard = r->heard;
    q->due = mono_add(loop_now(r->loop), r->timeout_ms);
    q->last = &q->first;
    HASH_ADD_KEYPTR(hh, r->open, &q->key, dns_key_len(&q->key), q);
    return q;
}

static void wait_for(struct question *q, void (*fn)(void *ctx, struct dns_answer *a), void *ctx)
{
    struct waiter *w = must_alloc(sizeof *w);
    *w = (struct waiter){.fn = fn, .ctx = ctx};
    *q->last = w;
    q->last = &w->next;
}

/* What can be said without asking anybody; NULL: nothing. */
static struct dns_answer *known(struct resolver *r, const char *name, enum dns_type type)
{
    struct dns_answer *a = r->override ? dns_override_find(r->override, name, type) : NULL;
    if (a)
        return a;
    if (r->is_closing)
        return dns_answer_new(DNS_TIMEOUT, type, 0);
    a = dns_cache_find(r->cache, name, type, loop_now(r->loop));
    if (a)
        metric_add(M_DNS_CACHE_HITS, 1);
    return a;
}

static void send_question(struct resolver *r, struct question *q)
{
    r->n_pending++;
    metric_add(M_DNS_QUERIES, 1);
    /* 45: ares_query takes the name as it is; ares_search would add domains of ours to it. May
     * answer, and free q, at once. */
    ares_query(r->channel, q->key.name, ns_c_in, q->key.type, on_message, q);
    arm(r);
}

static void answer_now(struct dns_answer *a, void (*fn)(void *ctx, struct dns_answer *a), void *ctx)
{
    fn(ctx, a);
    dns_answer_unref(a);
}

void resolver_ask(struct resolver *r, struct slice name, enum dns_type type,
                  void (*fn)(void *ctx, struct dns_answer *a), void *ctx)
{
    char text[DNS_NAME_SIZE];
    if (!dns_name_parse(name, text)) {
        answer_now(dns_answer_new(DNS_NXDOMAIN, type, NEGATIVE_TTL_S), fn, ctx);
        return;
    }
    struct dns_answer *a = known(r, text, type);
    if (a) {
        answer_now(a, fn, ctx);
        return;
    }
    struct dns_key key = dns_key_of(text, type);
    struct question *q;
    HASH_FIND(hh, r->open, &key, dns_key_len(&key), q);
    if (q) {
        wait_for(q, fn, ctx);
    } else if (r->n_pending >= OPEN_MAX) {
        answer_now(dns_answer_new(DNS_SERVFAIL, type, 0), fn, ctx);
    } else {
        q = question_new(r, &key);
        wait_for(q, fn, ctx);
        send_question(r, q);
    }
}

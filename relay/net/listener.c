/* Listening. The descriptor is polled and accept4 is our own: libuv would drop waiting callers when
 * descriptors run out, where a pause lets them wait. */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/net/private.h"
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

enum { BACKLOG = 1024, ACCEPTS_A_TURN = 32, PAUSE_MS = 100 };
/* Descriptors that no caller gets: so many, or an eighth of what the process may have. */
enum { RESERVE_MAX = 64, LIMIT_LOOK_MS = 1000, SAY_AGAIN_MS = 60000 };

struct net_listener {
    uv_poll_t poll;
    struct deadline pause;
    struct loop *loop;
    struct net_local *local;
    struct net_listener *prev, *next;
    struct net_acceptor acceptor;
    int fd;
    unsigned handles;      /* still closing */
    struct mono say_again; /* that accepting fails: once a minute */
};

static int set_options(int fd, int family)
{
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
        return -1;
    return family == AF_INET6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) : 0;
}

int net_bind(const struct sockaddr_storage *addr, struct err *e)
{
    char text[64];
    net_addr_port_text(addr, text);
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, "cannot make a socket for %s", text);
    socklen_t size =
        addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (set_options(fd, addr->ss_family) != 0 ||
        bind(fd, (const struct sockaddr *)addr, size) != 0 || listen(fd, BACKLOG) != 0) {
        int code = err_errno(e, "cannot listen on %s", text);
        close(fd);
        return code;
    }
    return fd;
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void say_failing(struct net_listener *n, int err)
{
    const struct mono now = loop_now(n->loop);
    if (!mono_reached(n->say_again, now))
        return;
    struct sockaddr_storage addr = {0};
    socklen_t size = sizeof addr;
    char text[64];
    (void)getsockname(n->fd, (struct sockaddr *)&addr, &size);
    net_addr_port_text(&addr, text);
    n->say_again = mono_add(now, SAY_AGAIN_MS);
    LOG(LV_ERROR, "accept_failed", LOG_S("address", text), LOG_S("error", uv_strerror(err)));
}

static void pause_accepting(struct net_listener *n, int err)
{
    uv_poll_stop(&n->poll);
    deadline_set(n->loop, &n->pause, mono_add(loop_now(n->loop), PAUSE_MS));
    say_failing(n, err);
}

static void on_pause_over(void *ctx, struct mono now)
{
    struct net_listener *n = ctx;
    (void)now;
    uv_poll_start(&n->poll, UV_READABLE, on_readable);
}

/* Callers that are gone before they were taken, and what Linux passes on of their network
 * (accept(2)). */
static bool is_callers_fault(int err)
{
    static const int faults[] = {EINTR,       ECONNABORTED, EPROTO,    ENETDOWN,
                                 ENOPROTOOPT, EHOSTDOWN,    ENONET,    EHOSTUNREACH,
                                 EOPNOTSUPP,  ENETUNREACH,  ETIMEDOUT, EPERM};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (err == faults[i])
            return true;
    return false;
}

/* In one go: the kernel takes a line of a fresh connection. Who speaks before he reads hears a
 * reset. */
static void refuse(const struct net_listener *n, int fd, struct slice words)
{
    if (words.n && !n->acceptor.implicit_tls)
        (void)send(fd, words.p, words.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

/* Deliveries, the spool and the log go on when callers have taken all that was theirs (checklist
 * 100). */
static bool is_reserved(struct net_listener *n, int fd)
{
    struct net_local *local = n->local;
    const struct mono now = loop_now(n->loop);
    struct rlimit limit;
    if (mono_reached(local->limit_look_at, now) && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        const rlim_t eighth = limit.rlim_cur / 8;
        const rlim_t end = limit.rlim_cur - (eighth < RESERVE_MAX ? eighth : RESERVE_MAX);
        local->callers_fd_end = end < INT_MAX ? (int)end : INT_MAX;
        local->limit_look_at = mono_add(now, LIMIT_LOOK_MS);
    }
    return fd >= local->callers_fd_end;
}

static void take(struct net_listener *n, int fd, const struct sockaddr *peer)
{
    struct slice words = SLICE_NONE;
    if (is_reserved(n, fd)) {
        metric_add(M_REFUSED_FULL, 1);
        say_failing(n, -EMFILE);
        refuse(n, fd, SLICE_LIT("421 4.3.2 too many connections here, try again later\r\n"));
        return;
    }
    if (n->acceptor.behind_proxy && n->acceptor.behind_proxy(n->acceptor.ctx, peer))
        net_proxy_wait(n, n->loop, fd, peer);
    else if (n->acceptor.admit && !n->acceptor.admit(n->acceptor.ctx, peer, &words))
        refuse(n, fd, words);
    else
        net_conn_begin(net_conn_opened(n->loop, fd, peer), &n->acceptor);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct net_listener *n = poll->data;
    (void)status, (void)events;
    /* Not until nobody waits: the other connections of this loop have their turn, too. */
    for (unsigned i = 0; i < ACCEPTS_A_TURN && !uv_is_closing((uv_handle_t *)poll); i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof peer;
        int fd = accept4(n->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(n, fd, (struct sockaddr *)&peer);
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_callers_fault(errno)) {
            pause_accepting(n, -errno);
            return;
        }
    }
}

struct net_listener *net_listen(struct loop *l, int fd, const struct net_acceptor *a)
{
    struct net_listener *n = must_alloc(sizeof *n);
    n->loop = l;
    n->local = net_local_of(l);
    n->fd = fd;
    n->acceptor = *a;
    MUST(uv_poll_init(loop_uv(l), &n->poll, fd) == 0);
    n->poll.data = n;
    deadline_init(l, &n->pause, on_pause_over, n);
    DL_APPEND(n->local->listeners, n);
    on_pause_over(n, loop_now(l));
    return n;
}

static void handle_closed(void *ctx)
{
    struct net_listener *n = ctx;
    if (--n->handles)
        return;
    DL_DELETE(n->local->listeners, n);
    close(n->fd);
    free(n);
}

static void on_poll_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

/* Those of its callers who have not said who they are: nobody would take them now. */
static void forget_waiting(const struct net_listener *n)
{
    for (struct net_conn *c = n->local->conns; c; c = c->next)
        if (c->from == n)
            net_conn_finish(c);
}

void net_listener_finish(struct net_listener *n)
{
    if (n->handles)
        return;
    forget_waiting(n);
    n->handles = 2;
    uv_close((uv_handle_t *)&n->poll, on_poll_closed);
    deadline_close(&n->pause, handle_closed);
}

void net_listener_set_tls(struct net_listener *n, struct tls_context *implicit_tls)
{
    MUST(implicit_tls && n->acceptor.implicit_tls);
    n->acceptor.implicit_tls = implicit_tls;
}

void net_listener_close(struct net_listener *n)
{
    net_listener_finish(n);
}

const struct net_acceptor *net_listener_acceptor(const struct net_listener *n)
{
    return &n->acceptor;
}

struct net_listener *net_listener_next(const struct net_listener *n)
{
    return n->next;
}

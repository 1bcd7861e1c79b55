/* Listeners, and the end of a loop. If this breaks, callers are dropped when descriptors run out,
 * or the relay does not stop cleanly. */
#include "relay/base/metrics.h"
#include "tests/unit/net/pair.h"
#include <sys/resource.h>

static struct peer other;

static bool refuse(void *ctx, struct net_conn *c, const struct net_handler **ret_h, void **ret_ctx)
{
    unsigned *times = ctx;
    (void)ret_h, (void)ret_ctx;
    if (*times % 2 == 0)
        net_conn_send(c, SLICE_LIT("421 too many\r\n"));
    ++*times;
    return false;
}

/* fds, and -1 */
static bool all_have_ended(void *fds)
{
    for (const int *fd = fds; *fd >= 0; fd++)
        if (!has_ended(*fd))
            return false;
    return true;
}

static void refused_at_the_door(void **state)
{
    (void)state;
    unsigned times = 0;
    struct server door = {0};
    struct net_acceptor a = {.accept = refuse, .ctx = &times};
    struct net_listener *n = net_listen(loop, listening_fd(&door.addr), &a);
    int said = raw_connect(&door), silent = raw_connect(&door), both[] = {said, silent, -1};
    run_until(loop, all_have_ended, both);
    char space[100];
    assert_int_equal(recv(said, space, sizeof space, 0), 14);
    assert_memory_equal(space, "421 too many\r\n", 14);
    assert_int_equal(recv(said, space, sizeof space, 0), 0);
    assert_int_equal(recv(silent, space, sizeof space, 0), 0);
    assert_int_equal(times, 2);
    (void)n;
    close(said);
    close(silent);
}

static bool admit_every_other(void *ctx, const struct sockaddr *peer, struct slice *ret_words)
{
    unsigned *times = ctx;
    assert_int_equal(peer->sa_family, AF_INET);
    *ret_words = SLICE_LIT("421 not you\r\n");
    return ++*times % 2 == 0;
}

static bool accepts(void *ctx, struct net_conn *c, const struct net_handler **ret_h, void **ret_ctx)
{
    (void)c, (void)ret_h, (void)ret_ctx;
    unsigned *times = ctx;
    assert_int_equal(*times % 2, 0); /* those who were not admitted are not asked about again */
    *times += 100;
    return false;
}

/* Asked with the address only; the words are said in clear, and never where TLS comes first
 * (promise 16). */
static void not_admitted(void **state)
{
    (void)state;
    struct tls_context *tls, *client_tls;
    struct server doors[2] = {0};
    unsigned times[2] = {0};
    contexts_new(&tls, &client_tls);
    int fds[2][2], all[5] = {0};
    for (unsigned i = 0; i < 2; i++) {
        struct net_acceptor a = {.admit = admit_every_other,
                                 .accept = accepts,
                                 .ctx = &times[i],
                                 .implicit_tls = i ? tls : NULL};
        net_listen(loop, listening_fd(&doors[i].addr), &a);
        for (unsigned k = 0; k < 2; k++)
            fds[i][k] = raw_connect(&doors[i]);
    }
    memcpy(all, fds, sizeof fds);
    all[4] = -1;
    run_until(loop, all_have_ended, all);
    char space[100];
    assert_int_equal(recv(fds[0][0], space, sizeof space, 0), 13);
    assert_memory_equal(space, "421 not you\r\n", 13);
    assert_int_equal(recv(fds[0][0], space, sizeof space, 0), 0);
    assert_int_equal(recv(fds[1][0], space, sizeof space, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(times[i], 102);
        assert_int_equal(recv(fds[i][1], space, sizeof space, 0), 0);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    tls_context_unref(tls);
    tls_context_unref(client_tls);
}

static bool close_listener(void *ctx)
{
    (void)ctx;
    net_listener_close(server.listener);
    net_listener_close(server.listener);
    return true;
}

static void listener_closes(void **state)
{
    (void)state;
    run_until(loop, close_listener, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&server.addr, sizeof(struct sockaddr_in)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
}

static int held[64];

static unsigned count_lines(int fd, const char *what)
{
    char text[8192];
    lseek(fd, 0, SEEK_SET);
    ssize_t n = read(fd, text, sizeof text - 1);
    unsigned count = 0;
    text[n > 0 ? n : 0] = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        count++;
    return count;
}

struct short_of {
    struct deadline next;
    int log;
    bool told;
};

/* For a third of a second behind the moment when it was told. */
static void let_go(void *ctx, struct mono now)
{
    struct short_of *s = ctx;
    assert_int_equal(server.next, 0); /* waits, is not dropped */
    if (!s->told) {
        s->told = count_lines(s->log, "event=accept_failed") > 0;
        deadline_set(loop, &s->next, mono_add(now, s->told ? 350 : 5));
        return;
    }
    for (unsigned i = 0; i < 64; i++)
        if (held[i] >= 0)
            close(held[i]);
}

/* Out of descriptors: callers wait, nobody is dropped, the log has one line and not ten a second
 * (checklist 100). */
static void descriptors_run_out(void **state)
{
    (void)state;
    struct rlimit before, low;
    int fd = raw_connect(&server), log = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    assert_true(log >= 0);
    int real_stderr = dup(2);
    dup2(log, 2);
    served[0].on = close_on_eof;
    struct short_of s = {.log = log};
    deadline_init(loop, &s.next, let_go, &s);
    deadline_set(loop, &s.next, mono_now());
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = 40;
    setrlimit(RLIMIT_NOFILE, &low);
    for (unsigned i = 0; i < 64; i++)
        held[i] = dup(0);
    shutdown(fd, SHUT_WR);
    run_for(loop, 10000);
    setrlimit(RLIMIT_NOFILE, &before);
    dup2(real_stderr, 2);
    close(real_stderr);
    assert_int_equal(count_lines(log, "event=accept_failed"), 1);
    assert_int_equal(server.next, 1);
    close(log);
    close(fd);
}

/* The last descriptors are not for callers: with a limit of 48 they get those below 42. */
static void descriptors_are_reserved(void **state)
{
    (void)state;
    struct rlimit before, low;
    const int64_t refused = metric_get(M_REFUSED_FULL);
    int waits = raw_connect(&server), log = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    int real_stderr = dup(2);
    dup2(log, 2);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = 48;
    setrlimit(RLIMIT_NOFILE, &low);
    unsigned n = 0;
    for (; n < 64 && (held[n] = dup(0)) < 42;)
        n++;
    close(held[n]);
    int one[] = {waits, -1};
    run_until(loop, all_have_ended, one);
    assert_int_equal(fcntl(47, F_GETFD), -1); /* there still are some */
    setrlimit(RLIMIT_NOFILE, &before);
    dup2(real_stderr, 2);
    close(real_stderr);
    for (unsigned i = 0; i < n; i++)
        close(held[i]);
    char space[100];
    assert_true(recv(waits, space, sizeof space, 0) > 9);
    assert_memory_equal(space, "421 4.3.2", 9);
    assert_int_equal(metric_get(M_REFUSED_FULL), refused + 1);
    assert_int_equal(server.next, 0);
    assert_int_equal(count_lines(log, "event=accept_failed"), 1);
    close(log);
    close(waits);
}

static bool both_are_here(void *ctx)
{
    (void)ctx;
    return server.next == 2 && client.count[EV_CONNECTED] && other.count[EV_CONNECTED];
}

static void end_with_open_connections(void **state)
{
    (void)state;
    client_init(&client, loop, &server);
    client_init(&other, loop, &server);
    run_until(loop, both_are_here, NULL);
    assert_int_equal(server.next, 2);
    peer_done(&client); /* each has heard its end, all memory is back */
    peer_done(&other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(refused_at_the_door),      T(not_admitted),
        T(listener_closes),          T(descriptors_run_out),
        T(descriptors_are_reserved), T(end_with_open_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which address is called, and how long it is let ring (checklist 42; promise 24). If this breaks,
 * a host that swallows packets holds up each message to its site, or a host with many addresses
 * hides all others. */
#include "relay/base/metrics.h"
#include "tests/unit/outbound/world.h"
#include <fcntl.h>
#include <sys/resource.h>

/* libuv closes sockets by the bare system call, so the thread sanitizer takes the next file with
 * that number for the same one. */
const char *__tsan_default_suppressions(void)
{
    return "race_top:interceptor_dup$\n";
}

#define BODY "Subject: x\r\n\r\nhello\r\n"

enum { FILLERS = 6 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct sockaddr_in address(const struct world *w, unsigned host)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(w->port),
                                .sin_addr.s_addr = htonl(0x7f000001 + host)};
}

/* A host whose queue of callers is full drops further packets, as a black hole does. */
static void let_ring(const struct world *w, unsigned host, int fillers[FILLERS])
{
    struct sockaddr_in a = address(w, host);
    assert_int_equal(listen(w->listening[host], 0), 0);
    for (unsigned i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    struct pollfd p = {.fd = fillers[FILLERS - 1], .events = POLLOUT};
    assert_int_equal(poll(&p, 1, 100), 0);
}

static void close_all(int fds[FILLERS])
{
    for (unsigned i = 0; i < FILLERS; i++)
        close(fds[i]);
}

/* One host with these addresses. */
static struct plan *one_host(const struct world *w, unsigned first, unsigned n)
{
    struct plan *p = plan_of(w, 1);
    p->hosts[0].n = n;
    for (unsigned i = 0; i < n; i++)
        *(struct sockaddr_in *)&p->hosts[0].addrs[i] = address(w, first + i);
    return p;
}

static void expect_delivered_by(struct world *w, const char *ip)
{
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DELIVERED);
    assert_string_equal(buf_str(&r->attempt.mx_ip), ip);
    spooler_result_free(r);
}

static void take_all(struct world *w, int fd, const char *ip)
{
    take_message(fd, "250 ok\r\n");
    expect_delivered_by(w, ip);
    close(fd);
    told_gone(w);
}

/* It costs one second, once: those that come behind take less, each of them, at one of twenty times
 * at least (the machine may be busy). */
static void a_black_hole(void **state)
{
    (void)state;
    int fillers[FILLERS];
    struct world *w = world_new(2, "");
    let_ring(w, 0, fillers);
    unsigned quick = 0;
    for (unsigned i = 0; i < 21 && quick < 5; i++) {
        const int64_t start = now_ms();
        order(w, opening(work(i, BODY, 1), one_host(w, 0, 2)));
        take_all(w, receive_ready(w, 1), "127.0.0.2");
        quick += now_ms() - start < 1000;
        assert_true(i > 0 || quick == 0);
    }
    assert_int_equal(quick, 5);
    close_all(fillers);
    world_free(w);
}

/* A host that is second choice is given more time not to be asked. */
static void second_choice(void **state)
{
    (void)state;
    int fillers[FILLERS];
    struct world *w = world_new(2, "");
    let_ring(w, 0, fillers);
    int64_t start = now_ms();
    order(w, opening(work(1, BODY, 1), plan_of(w, 2)));
    int fd = receive_ready(w, 1);
    assert_true(now_ms() - start >= 3000);
    take_all(w, fd, "127.0.0.2");
    close_all(fillers);
    world_free(w);
}

/* Who was only slower is called again when the quicker one is no good. */
static void the_quicker_is_no_good(void **state)
{
    (void)state;
    int fillers[FILLERS];
    struct world *w = world_new(2, "");
    let_ring(w, 0, fillers);
    order(w, opening(work(1, BODY, 1), one_host(w, 0, 2)));
    int fd = receive(w, 1);
    for (struct pollfd p = {.fd = w->listening[0], .events = POLLIN}; poll(&p, 1, 0) == 1;)
        close(accept(w->listening[0], NULL, NULL));
    close_all(fillers);
    assert_int_equal(listen(w->listening[0], 16), 0);
    say(fd, "554 no\r\n");
    hear(fd, "QUIT");
    close(fd);
    for (;;) { /* a filler's packet may be on its way yet */
        char line[1100] = "";
        fd = receive(w, 0);
        send(fd, "220 hi\r\n", 8, MSG_NOSIGNAL);
        hear_line(fd, line);
        if (strcmp(line, "EHLO relay.test\r\n") == 0)
            break;
        close(fd);
    }
    say(fd, "250 hello\r\n");
    take_all(w, fd, "127.0.0.1");
    world_free(w);
}

/* All ring: the attempt ends when the daemon does, and nothing is freed twice. */
static void ended_while_ringing(void **state)
{
    (void)state;
    int fillers[2][FILLERS];
    struct world *w = world_new(2, "");
    for (unsigned i = 0; i < 2; i++)
        let_ring(w, i, fillers[i]);
    order(w, opening(work(1, BODY, 1), one_host(w, 0, 2)));
    assert_null(told_within(w, 1200));
    world_free(w);
    for (unsigned i = 0; i < 2; i++)
        close_all(fillers[i]);
}

/* 42: two of each host come before the third of any. */
static void many_addresses(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct plan *p = plan_of(w, 2);
    p->hosts[0].n = 6;
    for (unsigned i = 0; i < 6; i++)
        *(struct sockaddr_in *)&p->hosts[0].addrs[i] = address(w, 2 + i);
    *(struct sockaddr_in *)&p->hosts[1].addrs[0] = address(w, 0);
    order(w, opening(work(1, BODY, 1), p));
    take_all(w, receive_ready(w, 0), "127.0.0.1");
    world_free(w);
}

/* --- places (checklist 100) */

enum { LIMIT = 128, LOOPS = 32 }; /* half of that for so many: two sockets for this one */

static struct rlimit limit_descriptors(void)
{
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = LIMIT;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    return before;
}

static void order_conn(struct world *w, uint64_t conn, struct plan *p)
{
    struct out_work *k = work(conn, BODY, 1);
    k->conn = conn;
    order(w, opening(k, p));
}

static void expect_end(struct world *w, uint64_t conn, enum fault fault)
{
    struct spooler_result *r = told(w, SPOOLER_RESULT);
    assert_int_equal(r->conn, conn);
    assert_int_equal(r->verdicts[0].fault, fault);
    assert_int_equal(r->verdicts[0].kind, fault ? VERDICT_DEFERRED : VERDICT_DELIVERED);
    spooler_result_free(r);
    struct spooler_conn_gone *g = told(w, SPOOLER_CONN_GONE);
    assert_int_equal(g->conn, conn);
    free(g);
}

static void take_and_leave(struct world *w, int fd, uint64_t conn)
{
    take_message(fd, "250 ok\r\n");
    close(fd);
    expect_end(w, conn, FAULT_NONE);
}

/* The loop is another thread. */
static void until_shown(enum metric m, int64_t wanted)
{
    for (int ms = 0; ms < PATIENCE_MS && metric_get(m) != wanted; ms++)
        usleep(1000);
    assert_int_equal(metric_get(m), wanted);
}

/* A loop has so many sockets and no more, whatever the number of sites; who waits goes on when one
 * ends, in the order of coming, and waiting is no attempt. */
static void no_more_than_its_share(void **state)
{
    (void)state;
    struct world *w = world_new(4, "");
    struct rlimit before = limit_descriptors();
    const int64_t waited = metric_get(M_WAITED_OUT);
    outbound_meet(w->out, NULL, LOOPS);
    until_shown(M_SOCKETS_OUT_MOST, 2);
    for (unsigned i = 0; i < 4; i++)
        order_conn(w, 10 + i, one_host(w, i, 1));
    int fds[4] = {receive_ready(w, 0), receive_ready(w, 1)};
    nobody_calls(w, 2);
    nobody_calls(w, 3);
    told_nothing(w);
    until_shown(M_WAITING_OUT, 2);
    until_shown(M_SOCKETS_OUT, 2);
    take_and_leave(w, fds[1], 11);
    fds[2] = receive_ready(w, 2);
    nobody_calls(w, 3);
    until_shown(M_WAITING_OUT, 1);
    take_and_leave(w, fds[0], 10);
    fds[3] = receive_ready(w, 3);
    take_and_leave(w, fds[3], 13);
    take_and_leave(w, fds[2], 12);
    until_shown(M_WAITING_OUT, 0);
    until_shown(M_SOCKETS_OUT, 0);
    assert_int_equal(metric_get(M_WAITED_OUT), waited + 2);
    assert_int_equal(metric_get(M_SOCKETS_OUT_MOST), 2);
    setrlimit(RLIMIT_NOFILE, &before);
    order_conn(w, 14, one_host(w, 0, 1)); /* whoever asks has the limit of now */
    int last = receive_ready(w, 0);
    assert_int_equal(metric_get(M_SOCKETS_OUT_MOST), before.rlim_cur / 2 / LOOPS);
    take_and_leave(w, last, 14);
    world_free(w);
    assert_int_equal(metric_get(M_SOCKETS_OUT_MOST), 0);
}

/* Nor is another address called beside one that rings, when there is no place for it; one that has
 * failed makes place for the next. */
static void no_place_beside(void **state)
{
    (void)state;
    int fillers[FILLERS];
    struct world *w = world_new(3, "");
    let_ring(w, 0, fillers);
    struct rlimit before = limit_descriptors();
    outbound_meet(w->out, NULL, LOOPS);
    order_conn(w, 10, one_host(w, 2, 1));
    int fd = receive_ready(w, 2);
    order_conn(w, 11, one_host(w, 0, 2));
    struct pollfd p = {.fd = w->listening[1], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 1300), 0);
    take_and_leave(w, fd, 10);
    take_and_leave(w, receive_ready(w, 1), 11);
    setrlimit(RLIMIT_NOFILE, &before);
    close_all(fillers);
    world_free(w);
}

/* Who is still waiting when all ends is freed. */
static void ended_while_waiting(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    struct rlimit before = limit_descriptors();
    outbound_meet(w->out, NULL, LOOPS);
    for (unsigned i = 0; i < 5; i++)
        order_conn(w, 10 + i, one_host(w, 0, 1));
    int fds[2] = {receive(w, 0), receive(w, 0)};
    told_nothing(w);
    until_shown(M_WAITING_OUT, 3);
    world_free(w);
    assert_int_equal(metric_get(M_WAITING_OUT), 0);
    assert_int_equal(metric_get(M_SOCKETS_OUT), 0);
    close(fds[0]);
    close(fds[1]);
    setrlimit(RLIMIT_NOFILE, &before);
}

static int64_t cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static unsigned n_sockets(void)
{
    unsigned n = 0;
    for (int fd = 0, type; fd < LIMIT; fd++) {
        socklen_t size = sizeof type;
        n += getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
    }
    return n;
}

/* Sessions that have ended close theirs a moment later. */
static void wait_for_sockets(unsigned n)
{
    for (unsigned i = 0; i < PATIENCE_MS && n_sockets() > n; i++)
        usleep(1000);
    assert_int_equal(n_sockets(), n);
}

/* No descriptor is left (callers have them, say): mail waits for another connection's, without a
 * verdict and without a turn of the loop; with no other to wait for it is put off as a fault of
 * this host. */
static void no_descriptor(void **state)
{
    (void)state;
    int held[LIMIT];
    unsigned n = 0;
    struct world *w = world_new(3, "");
    struct rlimit before = limit_descriptors();
    const unsigned idle = n_sockets();
    order_conn(w, 10, one_host(w, 0, 1));
    int fd = receive_ready(w, 0);
    hear(fd, "MAIL FROM:<s@relay.test>");
    while ((held[n] = dup(0)) >= 0)
        n++;
    order_conn(w, 11, one_host(w, 1, 1));
    order_conn(w, 12, one_host(w, 2, 1));
    int64_t cpu = cpu_ms();
    assert_null(told_within(w, 400));
    assert_true(cpu_ms() - cpu < 200);
    close(held[--n]);
    say(fd, "451 no\r\n");
    struct spooler_result *r = told(w, SPOOLER_RESULT);
    assert_int_equal(r->conn, 10);
    spooler_result_free(r);
    close(fd);
    struct spooler_conn_gone *g = told(w, SPOOLER_CONN_GONE);
    free(g);
    while (n > 0)
        close(held[--n]);
    take_and_leave(w, receive_ready(w, 1), 11);
    take_and_leave(w, receive_ready(w, 2), 12);

    wait_for_sockets(idle); /* or the descriptor of one of these is what the last one waits for */
    while ((held[n] = dup(0)) >= 0)
        n++;
    order_conn(w, 13, one_host(w, 0, 1));
    expect_end(w, 13, FAULT_LOCAL);
    while (n > 0)
        close(held[--n]);
    setrlimit(RLIMIT_NOFILE, &before);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_black_hole),           cmocka_unit_test(second_choice),
        cmocka_unit_test(the_quicker_is_no_good), cmocka_unit_test(ended_while_ringing),
        cmocka_unit_test(many_addresses),         cmocka_unit_test(no_more_than_its_share),
        cmocka_unit_test(no_place_beside),        cmocka_unit_test(ended_while_waiting),
        cmocka_unit_test(no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

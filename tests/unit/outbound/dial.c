/* Which address is called, and how long it is let ring (checklist 42; promise 24). If this breaks,
 * a host that swallows packets holds up each message to its site, or a host with many addresses
 * hides all others. */
#include "tests/unit/outbound/world.h"
#include <fcntl.h>

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

/* It costs one second, once. */
static void a_black_hole(void **state)
{
    (void)state;
    int fillers[FILLERS];
    struct world *w = world_new(2, "");
    let_ring(w, 0, fillers);
    int64_t start = now_ms();
    for (unsigned i = 0; i < 6; i++) {
        order(w, opening(work(i, BODY, 1), one_host(w, 0, 2)));
        take_all(w, receive_ready(w, 1), "127.0.0.2");
        assert_true(i > 0 || now_ms() - start >= 1000);
    }
    assert_true(now_ms() - start < 5000);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_black_hole),           cmocka_unit_test(second_choice),
        cmocka_unit_test(the_quicker_is_no_good), cmocka_unit_test(ended_while_ringing),
        cmocka_unit_test(many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

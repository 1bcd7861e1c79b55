/* Checklist 64: a yes to content of which the end still lies in our own buffers answers something
 * else. What breaks for a user: mail is taken for delivered whose end was never sent. */
#include "tests/unit/outbound/world.h"

enum {
    BODY_SIZE = 200 * 1024
}; /* more than the small buffers below take, less than is held back */

/* The other end, in this process, of the connection that was accepted as fd. */
static int other_end(int fd)
{
    struct sockaddr_in peer, own;
    socklen_t size = sizeof peer;
    assert_int_equal(getpeername(fd, (struct sockaddr *)&peer, &size), 0);
    for (int i = 3; i < 1024; i++) {
        size = sizeof own;
        if (i != fd && getsockname(i, (struct sockaddr *)&own, &size) == 0 && size == sizeof own &&
            own.sin_family == AF_INET && own.sin_port == peer.sin_port)
            return i;
    }
    fail_msg("nobody in this process has called");
    return -1;
}

/* The system takes a few octets only, on both sides: the rest stays with the relay. */
static void take_little(int fd, int option)
{
    int least = 1;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &least, sizeof least), 0);
}

static char *long_body(void)
{
    char *body = must_alloc(BODY_SIZE + 1);
    memset(body, 'x', BODY_SIZE);
    for (size_t i = 0; i + 2 <= BODY_SIZE; i += 64)
        memcpy(body + i, "\r\n", 2);
    memcpy(body, "Subject: x\r\n\r\n", 14);
    memcpy(body + BODY_SIZE - 2, "\r\n", 2);
    return body;
}

static void until_content_comes(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

/* Up to DATA's 354, and the relay has written what it could. */
static int in_the_content(struct world *w, char *body)
{
    order(w, opening(work(1, body, 1), plan_of(w, 1)));
    int fd = receive_ready(w, 0);
    take_little(other_end(fd), SO_SNDBUF);
    answer(fd, "MAIL", "250 ok\r\n");
    answer(fd, "RCPT", "250 ok\r\n");
    answer(fd, "DATA", "354 go\r\n");
    until_content_comes(fd);
    return fd;
}

static void expect(struct world *w, enum verdict_kind kind, enum fault fault)
{
    struct spooler_result *r = told_result(w);
    assert_true(r->attempted);
    assert_int_equal(r->verdicts[0].kind, kind);
    assert_int_equal(r->verdicts[0].fault, fault);
    spooler_result_free(r);
}

static void a_yes_before_all_has_left(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    char *body = long_body();
    take_little(w->listening[0], SO_RCVBUF); /* those that it accepts have it, too */
    int fd = in_the_content(w, body);
    say(fd, "250 2.0.0 ok\r\n");
    expect(w, VERDICT_DEFERRED, FAULT_SMTP_PROTOCOL);
    told_gone(w);
    close(fd);
    world_free(w);
    free(body);
}

/* The same when all has been read, and a no at any time, is what it says. */
static void what_is_no_lie(void **state)
{
    (void)state;
    char *body = long_body();
    for (unsigned refused = 0; refused < 2; refused++) {
        struct world *w = world_new(1, "");
        take_little(w->listening[0], SO_RCVBUF);
        int fd = in_the_content(w, body);
        if (!refused)
            hear_content(fd);
        say(fd, refused ? "552 5.3.4 too much\r\n" : "250 2.0.0 ok\r\n");
        expect(w, refused ? VERDICT_FAILED : VERDICT_DELIVERED, FAULT_NONE);
        close(fd);
        told_gone(w);
        world_free(w);
    }
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_yes_before_all_has_left),
        cmocka_unit_test(what_is_no_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

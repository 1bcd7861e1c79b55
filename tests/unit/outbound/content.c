/* Content that is read in pieces from a body file, and content that is not what the envelope says.
 */
#include "tests/unit/outbound/world.h"

/* Up to 354. */
static int receive_to_data(struct world *w)
{
    int fd = receive_ready(w, 0);
    hear(fd, "MAIL");
    say(fd, "250 ok\r\n");
    hear(fd, "RCPT");
    say(fd, "250 ok\r\n");
    hear(fd, "DATA");
    say(fd, "354 go\r\n");
    return fd;
}

static struct out_work *from_file(uint64_t size)
{
    struct out_work *k = work(1, NULL, 1);
    k->size = size;
    return k;
}

/* Lines of 64 octets. */
static void answer_read(struct spooler_read *r, size_t n)
{
    r->body = body_new(n);
    for (size_t i = 0; i < n; i++)
        r->body->bytes[i] = (uint8_t)("x.\r\n"[i % 64 < 62 ? i % 2 : i % 64 - 60]);
    port_send(r->reply, &r->msg);
}

struct reader {
    int fd;
    size_t n;
};

static void *read_all(void *arg)
{
    struct reader *r = arg;
    r->n = hear_content(r->fd);
    return NULL;
}

static void in_pieces(void **state)
{
    (void)state;
    const uint64_t size = 5 * SPOOL_INLINE_MAX + 64;
    struct world *w = world_new(1, "");
    order(w, opening(from_file(size), plan_of(w, 1)));
    struct reader reader = {.fd = receive_to_data(w)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reader), 0);
    for (uint64_t at = 0; at < size;) {
        struct spooler_read *r = told(w, SPOOLER_READ);
        assert_int_equal(r->id, 1);
        assert_int_equal(r->offset, at);
        size_t n = size - at < r->n ? (size_t)(size - at) : r->n;
        at += n;
        answer_read(r, n);
    }
    pthread_join(thread, NULL);
    assert_int_equal(reader.n, size);
    say(reader.fd, "250 ok\r\n");
    struct spooler_result *result = told_result(w);
    assert_int_equal(result->verdicts[0].kind, VERDICT_DELIVERED);
    spooler_result_free(result);
    close(reader.fd);
    told_gone(w);
    world_free(w);
}

/* What it does not read waits on the disk: a few such receivers would have all memory. */
static void a_receiver_that_does_not_read(void **state)
{
    const uint64_t size = 64 << 20, most = 24 << 20; /* the kernel's buffers among them */
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(from_file(size), plan_of(w, 1)));
    int fd = receive_to_data(w);
    uint64_t read = 0;
    for (struct msg *m; (m = told_within(w, 1000));) {
        struct spooler_read *r = (struct spooler_read *)(void *)m;
        assert_int_equal(m->type, SPOOLER_READ);
        read += r->n;
        assert_true(read < most);
        answer_read(r, r->n);
    }
    hang_up(fd, true);
    struct spooler_result *result = told_result(w);
    assert_int_equal(result->verdicts[0].fault, FAULT_CONN_LOST);
    spooler_result_free(result);
    told_gone(w);
    world_free(w);
}

/* The data is never ended: the receiver must not take a part for the whole. */
static void expect_cut_off(struct world *w, int fd, enum fault fault, enum verdict_kind kind)
{
    char line[1100];
    do {
        hear_line(fd, line);
        assert_string_not_equal(line, ".\r\n");
    } while (line[0]);
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].fault, fault);
    assert_int_equal(r->verdicts[0].kind, kind);
    spooler_result_free(r);
    close(fd);
    told_gone(w);
    told_nothing(w);
    world_free(w);
}

static void shorter_than_its_envelope(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(from_file(128), plan_of(w, 1)));
    int fd = receive_to_data(w);
    answer_read(told(w, SPOOLER_READ), 64);
    answer_read(told(w, SPOOLER_READ), 0);
    expect_cut_off(w, fd, FAULT_BODY_LOST, VERDICT_FAILED);

    w = world_new(1, ""); /* the same in memory */
    struct out_work *k = work(1, "Subject: x\r\n\r\nhello\r\n", 1);
    k->size += 10;
    order(w, opening(k, plan_of(w, 1)));
    expect_cut_off(w, receive_to_data(w), FAULT_BODY_LOST, VERDICT_FAILED);
}

static void cannot_be_read(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum fault fault;
        enum verdict_kind kind;
    } cases[] = {
        {-EBADMSG, FAULT_BODY_LOST, VERDICT_FAILED},
        {-EIO, FAULT_LOCAL, VERDICT_DEFERRED},
    };
    for (unsigned i = 0; i < 2; i++) {
        struct world *w = world_new(1, "");
        order(w, opening(from_file(1000), plan_of(w, 1)));
        int fd = receive_to_data(w);
        struct spooler_read *r = told(w, SPOOLER_READ);
        r->error = cases[i].error;
        port_send(r->reply, &r->msg);
        expect_cut_off(w, fd, cases[i].fault, cases[i].kind);
    }
}

/* The answer comes when the connection is long gone. */
static void receiver_leaves_during_a_read(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(from_file(1000), plan_of(w, 1)));
    int fd = receive_to_data(w);
    struct spooler_read *r = told(w, SPOOLER_READ);
    close(fd);
    spooler_result_free(told_result(w));
    told_gone(w);
    answer_read(r, 1000);
    told_nothing(w);
    world_free(w);
}

/* A refusal in the middle of the content means what it says (checklist 60). */
static void refused_in_the_middle(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    order(w, opening(from_file(1000), plan_of(w, 1)));
    int fd = receive_to_data(w);
    struct spooler_read *r = told(w, SPOOLER_READ);
    say(fd, "552 5.3.4 enough\r\n");
    struct spooler_result *result = told_result(w);
    assert_int_equal(result->verdicts[0].code, 552);
    assert_int_equal(result->verdicts[0].kind, VERDICT_FAILED);
    spooler_result_free(result);
    told_gone(w);
    answer_read(r, 1000);
    close(fd);
    told_nothing(w);
    world_free(w);
}

/* "250" to content of which a part has not left us is no delivery (checklist 64). */
static void yes_before_all_was_sent(void **state)
{
    (void)state;
    struct world *w = world_new(1, "");
    size_t n = 8 << 20; /* more than the sockets hold */
    char *big = must_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        big[i] = "x\n\r"[i % 64 == 63 ? 1 : i % 64 == 62 ? 2 : 0];
    order(w, opening(work(1, big, 1), plan_of(w, 1)));
    int fd = receive_to_data(w);
    told_nothing(w); /* it is stuck */
    say(fd, "250 yes yes\r\n");
    struct spooler_result *r = told_result(w);
    assert_int_equal(r->verdicts[0].kind, VERDICT_DEFERRED);
    spooler_result_free(r);
    told_gone(w);
    close(fd);
    free(big);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_pieces),
        cmocka_unit_test(a_receiver_that_does_not_read),
        cmocka_unit_test(shorter_than_its_envelope),
        cmocka_unit_test(cannot_be_read),
        cmocka_unit_test(receiver_leaves_during_a_read),
        cmocka_unit_test(refused_in_the_middle),
        cmocka_unit_test(yes_before_all_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

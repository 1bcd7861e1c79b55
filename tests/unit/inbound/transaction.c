/* From MAIL and RCPT to an envelope: what is kept, what is kept once, which moments come of spans.
 */
#include "relay/inbound/transaction.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct wall NOW = {.us = INT64_C(1700000000) * WALL_SECOND};

static enum transaction_answer add(struct transaction *t, const char *address)
{
    struct smtp_rcpt r = {.path = slice_str(address)};
    return transaction_add(t, r.path, &r);
}

static void all_that_was_said_is_carried(void **state)
{
    (void)state;
    struct transaction t;
    struct smtp_mail m = {.path = SLICE_LIT("s@a.test"),
                          .params = {.body = MAIL_BODY_BINARYMIME,
                                     .ret = MAIL_RET_HDRS,
                                     .by = MAIL_BY_NOTIFY,
                                     .by_trace = true,
                                     .smtputf8 = true,
                                     .requiretls = true,
                                     .priority = -3},
                          .envid = SLICE_LIT("e 1"),
                          .hold_s = 60,
                          .by_s = -5};
    struct smtp_rcpt r = {.path = SLICE_LIT("r@b.test"),
                          .notify = MAIL_NOTIFY_NEVER,
                          .orcpt = SLICE_LIT("rfc822;x@y.test")};
    struct envelope e = {.size = 7};
    transaction_init(&t);
    assert_int_equal(transaction_begin(&t, &m, NOW), TRANSACTION_OK);
    assert_int_equal(transaction_add(&t, SLICE_LIT("other@b.test"), &r), TRANSACTION_OK);
    transaction_fill(&t, &e);
    assert_true(slice_eq(e.sender, m.path) && e.sender.p != m.path.p);
    assert_true(slice_eq(e.envid, m.envid) && e.envid.p != m.envid.p);
    assert_int_equal(e.params.body, MAIL_BODY_BINARYMIME);
    assert_int_equal(e.params.ret, MAIL_RET_HDRS);
    assert_int_equal(e.params.by, MAIL_BY_NOTIFY);
    assert_true(e.params.by_trace && e.params.smtputf8 && e.params.requiretls);
    assert_int_equal(e.params.priority, -3);
    assert_true(e.release.us == wall_add_s(NOW, 60).us);
    assert_true(e.by_deadline.us == wall_add_s(NOW, -5).us);
    assert_int_equal(e.size, 7); /* not ours */
    assert_int_equal(e.n_rcpts, 1);
    assert_true(slice_eq(e.rcpts[0].address, SLICE_LIT("other@b.test")));
    assert_true(slice_eq(e.rcpts[0].orcpt, r.orcpt));
    assert_int_equal(e.rcpts[0].notify, MAIL_NOTIFY_NEVER);
    transaction_done(&t);
}

static void the_next_message_starts_from_nothing(void **state)
{
    (void)state;
    struct transaction t;
    struct smtp_mail m = {.path = SLICE_LIT("s@a.test"),
                          .params = {.by = MAIL_BY_RETURN, .requiretls = true},
                          .envid = SLICE_LIT("e"),
                          .hold_s = 9,
                          .by_s = 9};
    struct smtp_mail plain = {.path = SLICE_LIT("")};
    struct envelope e = {0};
    transaction_init(&t);
    transaction_begin(&t, &m, NOW);
    for (int i = 0; i < 40; i++) {
        char text[32];
        snprintf(text, sizeof text, "r%d@b.test", i);
        assert_int_equal(add(&t, text), TRANSACTION_OK);
    }
    transaction_begin(&t, &plain, NOW);
    assert_int_equal(add(&t, "r1@b.test"), TRANSACTION_OK);
    transaction_fill(&t, &e);
    assert_int_equal(e.n_rcpts, 1);
    assert_true(e.sender.n == 0 && e.envid.n == 0 && !e.params.requiretls);
    assert_true(e.params.by == MAIL_BY_NONE);
    assert_true(e.release.us == 0 && e.by_deadline.us == 0);
    transaction_done(&t);
}

static void times(void **state)
{
    (void)state;
    static const struct {
        int64_t hold_s, hold_until_s; /* the latter from now */
        enum mail_by by;
        int64_t by_s;
        int64_t release_s, deadline_s; /* from now; 0: none */
    } rows[] = {
        {0, 0, MAIL_BY_NONE, 0, 0, 0},
        {30, 0, MAIL_BY_NONE, 0, 30, 0},
        {0, 3600, MAIL_BY_NONE, 0, 3600, 0},
        {0, -1, MAIL_BY_NONE, 0, 0, 0}, /* clocks differ: no reason to refuse, or to wait */
        {0, 0, MAIL_BY_RETURN, 600, 0, 600},
        {0, 0, MAIL_BY_NOTIFY, -600, 0, -600},
        {30, 0, MAIL_BY_RETURN, 600, 30, 600},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transaction t;
        struct envelope e = {0};
        struct smtp_mail m = {
            .params.by = rows[i].by, .by_s = rows[i].by_s, .hold_s = rows[i].hold_s};
        if (rows[i].hold_until_s)
            m.hold_until = wall_add_s(NOW, rows[i].hold_until_s);
        transaction_init(&t);
        assert_int_equal(transaction_begin(&t, &m, NOW), TRANSACTION_OK);
        transaction_fill(&t, &e);
        const int64_t release = rows[i].release_s ? wall_add_s(NOW, rows[i].release_s).us : 0;
        const int64_t deadline = rows[i].deadline_s ? wall_add_s(NOW, rows[i].deadline_s).us : 0;
        if (e.release.us != release || e.by_deadline.us != deadline)
            fail_msg("row %zu: release %lld, deadline %lld", i, (long long)e.release.us,
                     (long long)e.by_deadline.us);
        transaction_done(&t);
    }
}

/* Mail that nothing could ever deliver is refused while its sender listens. */
static void returned_before_it_may_go(void **state)
{
    (void)state;
    static const struct {
        int64_t hold_s, hold_until_s;
        enum mail_by by;
        int64_t by_s;
        enum transaction_answer answer;
    } rows[] = {
        {60, 0, MAIL_BY_RETURN, 60, TRANSACTION_NEVER},
        {60, 0, MAIL_BY_RETURN, 61, TRANSACTION_OK},
        {0, 60, MAIL_BY_RETURN, 59, TRANSACTION_NEVER},
        {0, 60, MAIL_BY_RETURN, 61, TRANSACTION_OK},
        {0, -60, MAIL_BY_RETURN, 1, TRANSACTION_OK},
        {60, 0, MAIL_BY_NOTIFY, 1, TRANSACTION_OK}, /* its sender wants to be told */
        {60, 0, MAIL_BY_NONE, 0, TRANSACTION_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transaction t;
        struct smtp_mail m = {.path = SLICE_LIT("s@a.test"),
                              .params.by = rows[i].by,
                              .by_s = rows[i].by_s,
                              .hold_s = rows[i].hold_s};
        if (rows[i].hold_until_s)
            m.hold_until = wall_add_s(NOW, rows[i].hold_until_s);
        transaction_init(&t);
        if (transaction_begin(&t, &m, NOW) != rows[i].answer)
            fail_msg("row %zu", i);
        assert_int_equal(t.sender.n > 0, rows[i].answer == TRANSACTION_OK);
        transaction_done(&t);
    }
}

/* Checklist 31: the first is kept, with what was said of it. */
static void a_recipient_is_kept_once(void **state)
{
    (void)state;
    struct transaction t;
    struct smtp_mail m = {0};
    struct smtp_rcpt first = {.notify = MAIL_NOTIFY_NEVER}, again = {.notify = MAIL_NOTIFY_DELAY};
    transaction_init(&t);
    /* Walked through, and with a table. */
    for (int others = 0; others <= 100; others += 100) {
        transaction_begin(&t, &m, NOW);
        transaction_add(&t, SLICE_LIT("A@b.test"), &first);
        for (int i = 0; i < others; i++) {
            char text[32];
            snprintf(text, sizeof text, "r%d@b.test", i);
            assert_int_equal(add(&t, text), TRANSACTION_OK);
            assert_int_equal(add(&t, text), TRANSACTION_KNOWN);
        }
        assert_int_equal(transaction_add(&t, SLICE_LIT("A@b.test"), &again), TRANSACTION_KNOWN);
        assert_int_equal(add(&t, "A@B.TEST"), TRANSACTION_KNOWN);
        assert_int_equal(add(&t, "a@b.test"), TRANSACTION_OK); /* a local part has its own mind */
        assert_int_equal(add(&t, "\"A@b\"@b.test"), TRANSACTION_OK);
        assert_int_equal(add(&t, "\"A@B\"@b.test"), TRANSACTION_OK);
        assert_int_equal(add(&t, "\"A@b\"@B.test"), TRANSACTION_KNOWN);
        assert_int_equal(t.n_rcpts, 4 + others);
        assert_int_equal(t.rcpts[0].notify, MAIL_NOTIFY_NEVER);
        assert_true(slice_eq(t.rcpts[0].address, SLICE_LIT("A@b.test")));
    }
    transaction_done(&t);
}

/* 65,535 recipients, each told twice: a walk through all of them would be seconds of one loop. */
static void many_recipients_cost_little(void **state)
{
    (void)state;
    struct transaction t;
    struct smtp_mail m = {0};
    int kept = 0;
    transaction_init(&t);
    transaction_begin(&t, &m, NOW);
    for (int i = 0; i < 65535; i++) {
        char text[32];
        snprintf(text, sizeof text, "%x@b.test", (unsigned)i);
        enum transaction_answer a = add(&t, text);
        if (a == TRANSACTION_FULL)
            break;
        assert_int_equal(a, TRANSACTION_OK);
        assert_int_equal(add(&t, text), TRANSACTION_KNOWN);
        kept++;
    }
    assert_in_range(kept, 10000, 65535);
    assert_int_equal(t.n_rcpts, kept);
    transaction_reset(&t);
    assert_null(t.rcpts); /* an idle session holds none of it */
    transaction_done(&t);
}

/* The bound on texts: a recipient that was not kept is not known afterwards, the others are whole.
 */
static void full(void **state)
{
    (void)state;
    struct transaction t;
    struct smtp_mail m = {0};
    char orcpt[501];
    memset(orcpt, 'x', sizeof orcpt - 1);
    orcpt[500] = 0;
    int n = 0;
    transaction_init(&t);
    transaction_begin(&t, &m, NOW);
    for (enum transaction_answer a = TRANSACTION_OK; a == TRANSACTION_OK; n++) {
        char text[32];
        snprintf(text, sizeof text, "r%d@b.test", n);
        struct smtp_rcpt r = {.path = slice_str(text), .orcpt = slice_str(orcpt)};
        a = transaction_add(&t, r.path, &r);
    }
    assert_in_range(n, 900, 1100);
    assert_int_equal(t.n_rcpts, n - 1);
    assert_int_equal(t.rcpts[n - 2].orcpt.n, 500);
    char text[32];
    snprintf(text, sizeof text, "r%d@b.test", n - 1);
    assert_int_not_equal(add(&t, text), TRANSACTION_KNOWN);
    transaction_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_was_said_is_carried),
        cmocka_unit_test(the_next_message_starts_from_nothing),
        cmocka_unit_test(times),
        cmocka_unit_test(returned_before_it_may_go),
        cmocka_unit_test(a_recipient_is_kept_once),
        cmocka_unit_test(many_recipients_cost_little),
        cmocka_unit_test(full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * What many messages share: one freed too early is somebody else's memory in a log line or a DSN,
 * one never freed is a leak for each reply ever heard, one counted wrong misleads an operator.
 */
#include "queue/intern.h"
#include "queue/record.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- strings -------------------------------------------------------------------------------------
 */

static void test_strings_are_kept_while_used(void **state)
{
    (void)state;
    enum { N = 300, ROUNDS = 20000 };
    struct intern t = {0};
    const struct interned *mine[N] = {0};
    unsigned refs[N] = {0};
    struct rng r;
    rng_seed(&r, 1);
    for (int round = 0; round < ROUNDS; round++) {
        size_t i = rng_below(&r, N);
        char text[20];
        snprintf(text, sizeof text, "string %zu", i);
        if (rng_below(&r, round < ROUNDS / 2 ? 3 : 2) > 0) {
            const struct interned *got = intern_get(&t, slice_str(text));
            assert_true(refs[i] == 0 || got == mine[i]);
            mine[i] = got;
            refs[i]++;
        } else if (refs[i] > 0) {
            assert_true(slice_eq(intern_text(mine[i]), slice_str(text)));
            assert_int_equal(intern_text(mine[i]).p[intern_text(mine[i]).n], 0);
            intern_put(&t, mine[i]);
            refs[i]--;
        }
        size_t want = 0;
        for (size_t k = 0; round % 500 == 0 && k < N; k++)
            want += refs[k] > 0;
        assert_true(round % 500 != 0 || t.n == want);
    }
    for (size_t i = 0; i < N; i++)
        for (; refs[i] > 0; refs[i]--)
            intern_put(&t, mine[i]);
    assert_true(t.n == 0 && t.entry_bytes == 0);
    assert_null(intern_get(&t, SLICE_NONE));
    intern_put(&t, NULL);
    assert_int_equal(intern_text(NULL).n, 0);
    intern_done(&t);
}

/* --- replies -------------------------------------------------------------------------------------
 */

static struct buf encoded(const char *text)
{
    struct verdict v = {.kind = VERDICT_DEFERRED, .code = 450, .enhanced = {4, 2, 1}};
    struct buf out = BUF_MAX(2000);
    v.text = (char *)(uintptr_t)text;
    verdict_write(&out, &v);
    return out;
}

static void test_replies_are_verdict_and_host(void **state)
{
    (void)state;
    struct intern t = {0};
    struct buf busy = encoded("busy"), full = encoded("full"), silent = encoded(NULL);
    struct slice a = SLICE_LIT("mx.a"), b = SLICE_LIT("mx.b");
    const struct last_reply *r = intern_get_reply(&t, buf_slice(&busy), a);
    assert_true(slice_eq(r->host, a) && r->verdict.code == 450);
    assert_string_equal(r->verdict.text, "busy");
    assert_true(slice_eq(intern_verdict(r), buf_slice(&busy)));
    assert_ptr_equal(intern_get_reply(&t, buf_slice(&busy), a), r);
    const struct last_reply *others[] = {
        intern_get_reply(&t, buf_slice(&busy), b),
        intern_get_reply(&t, buf_slice(&full), a),
        intern_get_reply(&t, buf_slice(&busy), SLICE_NONE),
        intern_get_reply(&t, SLICE_NONE, a),
        intern_get_reply(&t, buf_slice(&silent), a),
    };
    size_t n = sizeof others / sizeof *others;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(others[i] != r && others[i] != others[k]);
    assert_true(others[3]->verdict.kind == VERDICT_NONE && slice_eq(others[3]->host, a));
    assert_true(others[4]->verdict.kind == VERDICT_DEFERRED && !others[4]->verdict.text);
    intern_put_reply(&t, r);
    assert_string_equal(r->verdict.text, "busy"); /* the other one still has it */
    intern_put_reply(&t, r);
    for (size_t i = 0; i < n; i++)
        intern_put_reply(&t, others[i]);
    assert_true(t.n == 0 && t.entry_bytes == 0);
    assert_null(intern_get_reply(&t, SLICE_NONE, SLICE_NONE));
    intern_put_reply(&t, NULL);
    intern_done(&t);
    buf_done(&busy);
    buf_done(&full);
    buf_done(&silent);
}

/* Where the host ends and the verdict begins makes a difference. */
static void test_parts_do_not_run_together(void **state)
{
    (void)state;
    struct intern t = {0};
    struct buf v = encoded("x"), longer = BUF_MAX(2000);
    buf_add_str(&longer, "mx");
    buf_add(&longer, buf_slice(&v));
    const struct last_reply *one = intern_get_reply(&t, buf_slice(&v), SLICE_LIT("mx"));
    const struct last_reply *other = intern_get_reply(&t, SLICE_NONE, buf_slice(&longer));
    assert_true(one != other && one->verdict.code == 450);
    assert_true(other->verdict.kind == VERDICT_NONE && other->host.n == longer.n);
    intern_done(&t);
    buf_done(&v);
    buf_done(&longer);
}

/* A damaged verdict is none, its host stays; what a later version puts behind the text does no
 * harm. */
static void test_strange_verdicts(void **state)
{
    (void)state;
    struct intern t = {0};
    struct buf v = encoded("later versions say more");
    for (size_t cut = 1; cut < v.n; cut++) {
        struct slice half = slice_head(buf_slice(&v), cut);
        const struct last_reply *r = intern_get_reply(&t, half, SLICE_LIT("mx"));
        assert_true(r->verdict.kind == VERDICT_NONE && slice_eq(r->host, SLICE_LIT("mx")));
        intern_put_reply(&t, r);
        assert_null(intern_get_reply(&t, half, SLICE_NONE));
    }
    buf_add_str(&v, "and more");
    const struct last_reply *r = intern_get_reply(&t, buf_slice(&v), SLICE_LIT("mx"));
    assert_string_equal(r->verdict.text, "later versions say more");
    assert_ptr_equal(intern_get_reply(&t, buf_slice(&v), SLICE_LIT("mx")), r);
    intern_put_reply(&t, r);
    intern_put_reply(&t, r);
    assert_true(t.n == 0 && t.entry_bytes == 0);
    intern_done(&t);
    buf_done(&v);
}

struct census {
    uint64_t replies, users;
};

static void count(void *ctx, const struct last_reply *r, uint32_t users)
{
    struct census *c = ctx;
    assert_int_equal(strtoul(r->verdict.text, NULL, 10), users);
    c->replies++;
    c->users += users;
}

/* In steps of any size each reply comes once, with its users. */
static void test_census(void **state)
{
    (void)state;
    enum { REPLIES = 200 };
    struct intern t = {0};
    assert_int_equal(intern_each(&t, 0, 10, count, NULL), 0);
    for (unsigned i = 1; i <= REPLIES; i++) {
        char text[20];
        snprintf(text, sizeof text, "%u users", i);
        struct buf v = encoded(text);
        for (unsigned k = 0; k < i; k++)
            intern_get_reply(&t, buf_slice(&v), SLICE_LIT("mx"));
        buf_done(&v);
    }
    static const size_t steps[] = {1, 7, 64, 1000, SIZE_MAX};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct census c = {0};
        size_t at = 0;
        while ((at = intern_each(&t, at, steps[i], count, &c)))
            ;
        assert_true(c.replies == REPLIES && c.users == REPLIES * (REPLIES + 1) / 2);
    }
    intern_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings_are_kept_while_used),
        cmocka_unit_test(test_replies_are_verdict_and_host),
        cmocka_unit_test(test_parts_do_not_run_together),
        cmocka_unit_test(test_strange_verdicts),
        cmocka_unit_test(test_census),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

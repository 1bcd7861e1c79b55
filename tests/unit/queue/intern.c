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

/* --- verdicts ------------------------------------------------------------------------------------
 */

static struct buf encoded(const char *text)
{
    struct verdict v = {.kind = VERDICT_DEFERRED, .code = 450, .enhanced = {4, 2, 1}};
    struct buf out = BUF_MAX(2000);
    v.text = (char *)(uintptr_t)text;
    verdict_write(&out, &v);
    return out;
}

static void test_verdicts_are_shared(void **state)
{
    (void)state;
    struct intern t = {0};
    struct buf busy = encoded("busy"), silent = encoded(NULL);
    const struct verdict *v = intern_get_verdict(&t, buf_slice(&busy));
    assert_int_equal(v->code, 450);
    assert_string_equal(v->text, "busy");
    assert_true(slice_eq(intern_encoding(v), buf_slice(&busy)));
    assert_ptr_equal(intern_get_verdict(&t, buf_slice(&busy)), v);
    const struct verdict *other = intern_get_verdict(&t, buf_slice(&silent));
    assert_true(other != v && other->kind == VERDICT_DEFERRED && !other->text);
    intern_put_verdict(&t, v);
    assert_string_equal(v->text, "busy"); /* the other one still has it */
    intern_put_verdict(&t, v);
    intern_put_verdict(&t, other);
    assert_true(t.n == 0 && t.entry_bytes == 0);
    assert_null(intern_get_verdict(&t, SLICE_NONE));
    intern_put_verdict(&t, NULL);
    assert_int_equal(intern_encoding(NULL).n, 0);
    intern_done(&t);
    buf_done(&busy);
    buf_done(&silent);
}

/* A damaged verdict is none; what a later version puts behind the text does no harm. */
static void test_strange_verdicts(void **state)
{
    (void)state;
    struct intern t = {0};
    struct buf v = encoded("later versions say more");
    for (size_t cut = 0; cut < v.n; cut++)
        assert_null(intern_get_verdict(&t, slice_head(buf_slice(&v), cut)));
    assert_true(t.n == 0 && t.entry_bytes == 0);
    buf_add_str(&v, "and more");
    const struct verdict *got = intern_get_verdict(&t, buf_slice(&v));
    assert_string_equal(got->text, "later versions say more");
    assert_ptr_equal(intern_get_verdict(&t, buf_slice(&v)), got);
    intern_put_verdict(&t, got);
    intern_put_verdict(&t, got);
    assert_true(t.n == 0 && t.entry_bytes == 0);
    intern_done(&t);
    buf_done(&v);
}

/* An operator's count of the common replies is the count of references. */
static void test_census(void **state)
{
    (void)state;
    enum { REPLIES = 200 };
    struct intern t = {0};
    for (unsigned i = 1; i <= REPLIES; i++) {
        char text[20];
        snprintf(text, sizeof text, "%u users", i);
        struct buf v = encoded(text);
        for (unsigned k = 0; k < i; k++)
            intern_get_verdict(&t, buf_slice(&v));
        buf_done(&v);
    }
    size_t n = 0;
    for (size_t i = 0; i < t.cap; i++) {
        uint64_t hash;
        uint32_t users;
        const struct verdict *v = intern_verdict_at(&t, i, &hash, &users);
        assert_true(!v || strtoul(v->text, NULL, 10) == users);
        n += v != NULL;
    }
    assert_int_equal(n, REPLIES);
    intern_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings_are_kept_while_used),
        cmocka_unit_test(test_verdicts_are_shared),
        cmocka_unit_test(test_strange_verdicts),
        cmocka_unit_test(test_census),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

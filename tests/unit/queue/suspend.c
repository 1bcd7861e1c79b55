/* What operators have suspended, as a list and as a file. What breaks for a user: mail goes where
 * he has forbidden it after a restart, or a site stands still for ever. */
#include "queue/suspend.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define S(text) SLICE_LIT(text)

static void put(struct suspensions *s, const char *name, int64_t until)
{
    assert_true(suspensions_put(s, slice_str(name), S("root"), S("a reason"), (struct wall){5},
                                (struct wall){until}));
}

static void test_round_trip(void **state)
{
    (void)state;
    struct suspensions a = {0}, b = {0};
    struct buf text = BUF_MAX(1 << 16), again = BUF_MAX(1 << 16);
    put(&a, "google", 0);
    put(&a, "mx.example.test", 70);
    assert_true(suspensions_put(&a, S("odd name"), S(""), S("tab\there\nand\rthere\x7f"),
                                (struct wall){1}, (struct wall){0}));
    suspensions_write(&a, &text);
    assert_int_equal(suspensions_read(&b, buf_slice(&text)), 0);
    suspensions_write(&b, &again);
    assert_int_equal(b.n, 3);
    assert_true(slice_eq(buf_slice(&text), buf_slice(&again)));
    assert_string_equal(b.list[1].name, "mx.example.test");
    assert_int_equal(b.list[1].until.us, 70);
    assert_string_equal(b.list[2].reason, "tab here and there ");
    suspensions_done(&a);
    suspensions_done(&b);
    buf_done(&text);
    buf_done(&again);
}

static void test_time(void **state)
{
    (void)state;
    struct suspensions s = {0};
    put(&s, "for ever", 0);
    put(&s, "short", 10);
    put(&s, "long", 20);
    put(&s, "short", 15); /* instead of the one before */
    assert_int_equal(s.n, 3);
    assert_int_equal(suspensions_end(&s, (struct wall){14}), 0);
    assert_int_equal(suspensions_end(&s, (struct wall){15}), 1);
    assert_int_equal(suspensions_end(&s, (struct wall){INT64_MAX}), 1);
    assert_string_equal(s.list[0].name, "for ever");
    assert_true(suspensions_drop(&s, S("for ever")));
    assert_false(suspensions_drop(&s, S("for ever")));
    suspensions_done(&s);
}

static void test_damage(void **state)
{
    (void)state;
    struct suspensions s = {0};
    static const char *const lines[] = {
        "", "x", "1", "1 2", "1 2 ", "-1 0 a\tb\tc", "1 x a\tb\tc", "99999999999999999999 0 a\t\t"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct buf text = BUF_MAX(1000);
        buf_addf(&text, "%s\n1 0 good\tb\tc\n", lines[i]);
        assert_int_equal(suspensions_read(&s, buf_slice(&text)), 1);
        assert_int_equal(s.n, 1);
        buf_done(&text);
    }
    for (int i = 1; i < SUSPEND_MAX; i++) {
        char name[20];
        snprintf(name, sizeof name, "n%d", i);
        put(&s, name, 0);
    }
    assert_false(
        suspensions_put(&s, S("one more"), S(""), S(""), (struct wall){0}, (struct wall){0}));
    suspensions_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

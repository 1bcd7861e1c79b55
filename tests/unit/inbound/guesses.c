/* Which failed logins count, and what a good one forgives. If this breaks, who has one account
 * guesses at others for ever, or a program with an old password shuts out its whole address.
 * Checklist 10. */
#include "relay/inbound/guesses.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void add(struct guesses *g, uint64_t name, uint64_t credential)
{
    guesses_add(g, (struct guess){name, credential});
}

static void an_account_is_no_licence(void **state)
{
    (void)state;
    struct guesses g = {0};
    for (unsigned i = 0; i < 5; i++) {
        add(&g, 7, 100 + i);       /* at somebody else's */
        add(&g, 1, 200 + i);       /* his own, mistyped */
        guesses_forgive(&g, 1);    /* and right */
        guesses_forgive(&g, 1000); /* or another that never failed */
        assert_int_equal(g.failures, i + 1);
        assert_int_equal(g.tries, i + 1);
    }
    guesses_forgive(&g, 7);
    assert_int_equal(g.failures, 0);
    assert_int_equal(g.tries, 0);
}

static void an_old_password_counts_once(void **state)
{
    (void)state;
    struct guesses g = {0};
    for (unsigned i = 0; i < 1000; i++)
        add(&g, 1, 5);
    assert_int_equal(g.failures, 1);
    assert_int_equal(g.tries, 1000); /* it waits all the same */
    assert_true(guesses_have(&g, 5));
    add(&g, 1, 6);
    assert_int_equal(g.failures, 2);
    guesses_forgive(&g, 1);
    assert_int_equal(g.failures, 0);
    assert_int_equal(g.tries, 0);
}

/* Going round more passwords than are remembered is guessing; so is what shows no password. */
static void the_rest_counts_each_time(void **state)
{
    (void)state;
    struct guesses g = {0};
    for (unsigned i = 0; i < 10 * (GUESSES_LAST + 1); i++)
        add(&g, 1, 1 + i % (GUESSES_LAST + 1));
    assert_int_equal(g.failures, 10 * (GUESSES_LAST + 1));
    g = (struct guesses){0};
    for (unsigned i = 0; i < 50; i++)
        add(&g, 1, 0); /* SCRAM */
    assert_int_equal(g.failures, 50);
    assert_false(guesses_have(&g, 0));
}

static void many_names(void **state)
{
    (void)state;
    struct guesses g = {0};
    for (unsigned i = 1; i <= 3 * GUESSES_NAMES; i++)
        add(&g, i, i);
    add(&g, 0, 999); /* nobody's */
    assert_int_equal(g.failures, 3 * GUESSES_NAMES + 1);
    for (unsigned i = 1; i <= 3 * GUESSES_NAMES; i++)
        guesses_forgive(&g, i);
    guesses_forgive(&g, 0);
    assert_int_equal(g.failures, 2 * GUESSES_NAMES + 1); /* time forgives those */
    add(&g, 1, 1000);                                    /* there is room again */
    guesses_forgive(&g, 1);
    assert_int_equal(g.failures, 2 * GUESSES_NAMES + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_is_no_licence),
        cmocka_unit_test(an_old_password_counts_once),
        cmocka_unit_test(the_rest_counts_each_time),
        cmocka_unit_test(many_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

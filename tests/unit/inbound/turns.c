/* Who waits for the hasher, and for whom. If this breaks, one guesser keeps everybody else from
 * logging in. Promise 16. */
#include "relay/inbound/turns.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct turn pool[TURNS_MAX + 1];

static struct turn *of(unsigned i, unsigned client)
{
    pool[i] = (struct turn){.client.bytes = {(uint8_t)(client >> 8), (uint8_t)client}};
    return &pool[i];
}

static void each_in_turn(void **state)
{
    (void)state;
    /* pushed: 40 of the guesser's, one of each of two others; two more of theirs while it runs */
    struct turns *t = turns_new();
    for (unsigned i = 0; i < 40; i++)
        assert_true(turns_push(t, of(i, 66), false));
    assert_true(turns_push(t, of(40, 1), false));
    assert_true(turns_push(t, of(41, 2), false));
    static const unsigned first[] = {0, 40, 41, 1};
    for (unsigned i = 0; i < 4; i++)
        assert_ptr_equal(turns_pop(t), &pool[first[i]]);
    assert_true(turns_push(t, of(42, 1), false));
    assert_true(turns_push(t, of(43, 1), false));
    static const unsigned then[] = {2, 42, 3, 43, 4, 5, 6};
    for (unsigned i = 0; i < 7; i++)
        assert_ptr_equal(turns_pop(t), &pool[then[i]]);
    for (unsigned i = 7; i < 40; i++)
        assert_ptr_equal(turns_pop(t), &pool[i]);
    assert_null(turns_pop(t));
    turns_free(t);
}

static void shares(void **state)
{
    (void)state;
    struct turns *t = turns_new();
    unsigned n = 0;
    for (; n < TURNS_MAX_CLIENT; n++)
        assert_true(turns_push(t, of(n, 66), false));
    assert_false(turns_push(t, of(n, 66), false));
    assert_true(turns_push(t, of(n, 1), false)); /* others have room */
    n++;
    for (; n < TURNS_MAX; n++)
        assert_true(turns_push(t, of(n, 2), true)); /* a gateway has no share … */
    assert_false(turns_push(t, of(n, 2), true));    /* … but there is an end */
    assert_false(turns_push(t, of(n, 3), false));
    assert_ptr_equal(turns_pop(t), &pool[0]);
    assert_true(turns_push(t, of(0, 66), false)); /* room again */
    for (unsigned i = 0; i < TURNS_MAX; i++)
        assert_non_null(turns_pop(t));
    assert_null(turns_pop(t));
    assert_true(turns_push(t, of(0, 66), false));
    assert_ptr_equal(turns_pop(t), &pool[0]);
    turns_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_in_turn),
        cmocka_unit_test(shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

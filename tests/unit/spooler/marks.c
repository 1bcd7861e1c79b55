/* High-water marks. If this breaks, a queue that nobody empties takes the host's memory, or
 * accepting flaps at the mark, or never comes back. (Promise 15.) */
#include "relay/spooler/marks.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void up_and_down(void **state)
{
    (void)state;
    static const struct {
        uint64_t messages, memory;
        int error;
        bool changed;
    } steps[] = {
        {0, 0, 0, false},          {99, 999, 0, false},
        {100, 999, -EXFULL, true}, {150, 0, -EXFULL, false},
        {91, 0, -EXFULL, false},   {90, 0, -EXFULL, false}, /* nine tenths is not below them */
        {89, 0, 0, true},          {99, 0, 0, false},
        {0, 1000, -ENOBUFS, true}, {100, 1000, -EXFULL, true},
        {0, 900, -ENOBUFS, true},  {0, 899, 0, true},
    };
    const struct marks_conf c = {.max_messages = 100, .max_memory = 1000};
    struct marks m = {0};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(marks_look(&m, &c, steps[i].messages, steps[i].memory), steps[i].changed);
        assert_int_equal(marks_error(&m), steps[i].error);
        assert_int_equal(marks_why(&m) == NULL, steps[i].error == 0);
    }
}

static void no_marks(void **state)
{
    (void)state;
    const struct marks_conf none = {0};
    struct marks m = {0};
    assert_false(marks_look(&m, &none, UINT64_MAX, UINT64_MAX));
    assert_int_equal(marks_error(&m), 0);
}

/* Numbers as a reload brings them: a mark that is taken away, one as small as it gets. */
static void other_marks(void **state)
{
    (void)state;
    struct marks m = {0};
    const struct marks_conf small = {.max_messages = 1}, none = {0};
    assert_false(marks_look(&m, &small, 0, 0));
    assert_true(marks_look(&m, &small, 1, 0));
    assert_true(marks_look(&m, &small, 0, 0));
    assert_true(marks_look(&m, &small, 1, 0));
    assert_true(marks_look(&m, &none, 1, 0));
    assert_int_equal(marks_error(&m), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_and_down),
        cmocka_unit_test(no_marks),
        cmocka_unit_test(other_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

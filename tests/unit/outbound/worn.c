/* How long a connection is used (checklist 69): pure. What breaks for a user: receivers that end
 * connections of a certain age end ours in the middle of a message, or a reload changes nothing for
 * those that are open. */
#include "relay/outbound/conn.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void by_its_age(void **state)
{
    (void)state;
    static const struct {
        int64_t age_ms;
        bool last;
    } rows[] = {{0, false},     {1, false},     {299999, false},
                {300000, true}, {300001, true}, {86400000, true}};
    struct conf conf = {0};
    struct conf_destination d = {.connection_time_ms = 300000};
    struct outbound o = {.conf = &conf};
    for (int64_t began = 5; began < INT64_C(1) << 40; began *= 4096) {
        struct link l = {.since = {began}};
        const struct out_conn c = {.o = &o, .conf = &conf, .dest = &d, .link = &l};
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            assert_int_equal(out_job_is_last(&c, (struct mono){began + rows[i].age_ms}),
                             rows[i].last);
    }
}

/* An older configuration's carries nothing more, nor does a rehearsal's, however young. */
static void by_what_it_is(void **state)
{
    (void)state;
    struct conf conf = {0}, fresh = {0};
    struct conf_destination d = {.connection_time_ms = 300000};
    struct outbound o = {.conf = &fresh};
    struct link l = {.since = {1000}};
    struct out_conn c = {.o = &o, .conf = &conf, .dest = &d, .link = &l};
    assert_true(out_job_is_last(&c, l.since));
    c.conf = &fresh;
    assert_false(out_job_is_last(&c, l.since));
    c.rehearsal = true;
    assert_true(out_job_is_last(&c, l.since));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_its_age),
        cmocka_unit_test(by_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

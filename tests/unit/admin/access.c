/* Who may do what at the control socket. If this breaks, somebody who may look can remove mail, or
 * an operator cannot. */
#include "relay/admin/access.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static void test_table(void **state)
{
    (void)state;
    const struct access_rules open = {.owner = 100};
    const struct access_rules rules = {.by_groups = true,
                                       .owner = 100,
                                       .admins = {100, 20},
                                       .n_admins = 2,
                                       .readers = {30, 20},
                                       .n_readers = 2};
    static const struct {
        uid_t uid;
        gid_t groups[3];
        enum access access;
    } rows[] = {
        {0, {7, 7, 7}, ACCESS_ADMIN},     /* root */
        {100, {7, 7, 7}, ACCESS_ADMIN},   /* the daemon's account */
        {500, {7, 100, 7}, ACCESS_ADMIN}, /* its group */
        {500, {7, 7, 20}, ACCESS_ADMIN},  /* in both lists: the larger right */
        {500, {30, 7, 7}, ACCESS_READ},   /* the first group, which is that of SO_PEERCRED */
        {500, {7, 7, 30}, ACCESS_READ},   /* a further one */
        {500, {7, 8, 9}, ACCESS_NONE},    /* nobody we know */
        {30, {7, 7, 7}, ACCESS_NONE},     /* a uid is no gid */
        {20, {7, 7, 7}, ACCESS_NONE},     /* … */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(access_of(&rules, rows[i].uid, rows[i].groups, 3), rows[i].access);
        assert_int_equal(access_of(&open, rows[i].uid, rows[i].groups, 3), ACCESS_ADMIN);
    }
    assert_int_equal(access_of(&rules, 500, NULL, 0), ACCESS_NONE);
    assert_int_equal(access_mode(&open), 0660);
    assert_int_equal(access_mode(&rules), 0666);
}

static void test_groups_are_looked_up(void **state)
{
    (void)state;
    char root[] = "root", none[] = "no-such-group-here";
    const char *both[] = {none, root};
    struct conf c = {.control_readers = {.items = both, .n = 2}};
    struct access_rules rules;
    access_rules_of(&c, &rules);
    assert_true(rules.by_groups);
    assert_int_equal(rules.n_readers, 1);
    assert_int_equal(rules.readers[0], 0);
    assert_int_equal(rules.n_admins, 1);
    assert_int_equal(rules.admins[0], getegid());
    access_rules_of(&(struct conf){0}, &rules);
    assert_false(rules.by_groups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_groups_are_looked_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The users file as it is now: a change is live at once, and one that shows only by the path within
 * a second. If this breaks, who was removed still sends, or who was added is not let in. */
#include "relay/inbound/accounts.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "/tmp/postwain-unit-accounts"
#define HASH "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    MUST(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool knows(struct accounts *a, int64_t ms, const char *name)
{
    struct users *users = accounts_now(a, (struct mono){ms});
    const bool knows = users_find(users, slice_str(name)) != NULL;
    users_unref(users);
    return knows;
}

static int setup(void **state)
{
    (void)state;
    mkdir(FOLDER, 0700);
    mkdir(FOLDER "/a", 0700);
    write_file(FOLDER "/a/users", "ann:" HASH "\n");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const files[] = {"/a/users", "/a/new", "/b/users", "/now"};
    char path[200];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, FOLDER "%s", files[i]);
        unlink(path);
    }
    rmdir(FOLDER "/a");
    rmdir(FOLDER "/b");
    rmdir(FOLDER);
    return 0;
}

static void a_change_is_live_at_once(void **state)
{
    (void)state;
    struct accounts *a = accounts_new(FOLDER "/a/users");
    assert_true(knows(a, 0, "ann") && !knows(a, 0, "bob"));
    write_file(FOLDER "/a/new", "bob:" HASH "\n");
    MUST(rename(FOLDER "/a/new", FOLDER "/a/users") == 0);
    assert_true(knows(a, 0, "bob") && !knows(a, 0, "ann"));
    write_file(FOLDER "/a/users", "ann:" HASH "\nbob:" HASH "\n");
    assert_true(knows(a, 0, "bob") && knows(a, 0, "ann"));
    accounts_free(a);
}

/* The last good one stays in force, and a second later it is looked at again. */
static void a_broken_file_lets_in_whom_the_last_good_one_did(void **state)
{
    (void)state;
    struct accounts *a = accounts_new(FOLDER "/a/users");
    assert_true(knows(a, 0, "ann"));
    write_file(FOLDER "/a/users", "broken\n");
    assert_true(knows(a, 0, "ann"));
    MUST(unlink(FOLDER "/a/users") == 0);
    assert_true(knows(a, 999, "ann"));
    write_file(FOLDER "/a/users", "bob:" HASH "\n");
    assert_true(knows(a, 999, "ann"));
    assert_true(knows(a, 1000, "bob") && !knows(a, 1000, "ann"));
    accounts_free(a);
}

/* As secrets are given to containers: a link to the folder of the day. */
static void a_path_that_leads_elsewhere_is_seen_within_a_second(void **state)
{
    (void)state;
    mkdir(FOLDER "/b", 0700);
    write_file(FOLDER "/b/users", "bob:" HASH "\n");
    MUST(symlink("a", FOLDER "/now") == 0);
    struct accounts *a = accounts_new(FOLDER "/now/users");
    assert_true(knows(a, 0, "ann") && knows(a, 1, "ann"));
    MUST(unlink(FOLDER "/now") == 0 && symlink("b", FOLDER "/now") == 0);
    assert_true(knows(a, 1001, "bob") && !knows(a, 1001, "ann"));
    accounts_free(a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {T(a_change_is_live_at_once),
                                       T(a_broken_file_lets_in_whom_the_last_good_one_did),
                                       T(a_path_that_leads_elsewhere_is_seen_within_a_second)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

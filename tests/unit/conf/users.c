/* The users file: who gets in, who does not, and that an edit changes one line and nothing else. */
#include "relay/conf/users.h"
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "/tmp/postwain-unit-users"
#define PATH FOLDER "/users"

static struct buf told = {.max = 65536};

static void say(void *ctx, const char *line)
{
    (void)ctx;
    buf_addf(&told, "%s\n", line);
}

static void write_file(const char *text)
{
    FILE *f = fopen(PATH, "w");
    MUST(f);
    fputs(text, f);
    fclose(f);
}

static void expect_file(const char *text)
{
    char now[4096];
    FILE *f = fopen(PATH, "r");
    MUST(f);
    size_t n = fread(now, 1, sizeof now - 1, f);
    fclose(f);
    now[n] = 0;
    assert_string_equal(now, text);
}

static struct users *load(const char *text)
{
    buf_reset(&told);
    write_file(text);
    return users_load(PATH, say, NULL);
}

#define SHA512                                                                                     \
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/"                                          \
    "O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1" /* "Hello world!" */
#define MD5 "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"       /* "password" */

static void test_load(void **state)
{
    (void)state;
    struct users *us = load("# people\n\n  app:" SHA512 "\n"
                            "bob@example.com:" MD5 ":from=*@example.com,from=bob@*,rate=100/h\r\n"
                            "gone:!" MD5 ":\n");
    assert_string_equal(buf_str(&told), "");
    assert_non_null(us);
    assert_int_equal(us->n, 3);
    const struct user *app = users_find(us, SLICE_LIT("app"));
    const struct user *bob = users_find(us, SLICE_LIT("bob@example.com"));
    assert_int_equal(app->n_from, 0);
    assert_string_equal(app->rate, "");
    assert_string_equal(bob->rate, "100/h");
    assert_int_equal(bob->line, 4);
    assert_null(users_find(us, SLICE_LIT("App")));
    assert_null(users_find(us, SLICE_LIT("")));
    assert_true(user_may_send_as(app, SLICE_LIT("any@where")));
    assert_true(user_may_send_as(app, SLICE_LIT("")));
    assert_true(user_may_send_as(bob, SLICE_LIT("X@EXAMPLE.com")));
    assert_true(user_may_send_as(bob, SLICE_LIT("bob@other")));
    assert_false(user_may_send_as(bob, SLICE_LIT("eve@other")));
    assert_false(user_may_send_as(bob, SLICE_LIT("")));
    users_unref(us);
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"a b:" MD5, ":1: \"a b\" is not a user name"},
        {"\n:" MD5, ":2: \"\" is not a user name"},
        {"bob", ":1: user bob: the password is not a hash"},
        {"bob:secret", "is not a hash"},
        {"bob:$9$unknown$abcdefghijklmnop", "is not a hash"},
        {"bob:" MD5 "\nbob:" MD5, ":2: user bob stands here twice, first in line 1"},
        {"bob:" MD5 ":from", "from= needs"},
        {"bob:" MD5 ":from=", "from= needs"},
        {"bob:" MD5 ":rate=5", "rate= needs"},
        {"bob:" MD5 ":rate=0/s", "rate= needs"},
        {"bob:" MD5 ":rate=1/s,rate=2/s", "rate= needs"},
        {"bob:" MD5 ":form=x", "unknown option \"form\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(load(bad[i].text));
        if (!strstr(buf_str(&told), bad[i].words))
            fail_msg("no \"%s\" in %s", bad[i].words, buf_str(&told));
    }
    unlink(PATH);
    buf_reset(&told);
    assert_null(users_load(PATH, say, NULL));
    assert_non_null(strstr(buf_str(&told), "No such file"));
}

static void test_verify(void **state)
{
    (void)state;
    char hash[400];
    struct err e = {0};
    assert_int_equal(users_hash(SLICE_LIT("pa:ss w\xc3\xb6rd"), hash, sizeof hash, &e), 0);
    assert_memory_equal(hash, "$y$", 3);
    const struct user mine = {.name = "u", .hash = hash}, md5 = {.name = "u", .hash = MD5};
    const struct user locked = {.name = "u", .hash = "!" MD5};
    assert_true(users_verify(&mine, SLICE_LIT("pa:ss w\xc3\xb6rd")));
    assert_false(users_verify(&mine, SLICE_LIT("pa:ss w\xc3\xb6r")));
    assert_false(users_verify(&mine, SLICE_LIT("pa:ss w\xc3\xb6rd\0x")));
    assert_false(users_verify(&mine, SLICE_LIT("")));
    assert_false(users_verify(&mine, SLICE_NONE));
    assert_true(users_verify(&md5, SLICE_LIT("password")));
    assert_false(users_verify(&locked, SLICE_LIT("password")));
    assert_false(users_verify(NULL, SLICE_LIT("password")));
    assert_false(users_verify(NULL, SLICE_LIT("x")));
    static uint8_t large[5000];
    memset(large, 'a', sizeof large);
    assert_false(users_verify(&mine, slice_of(large, sizeof large)));
    assert_true(users_hash(slice_of(large, sizeof large), hash, sizeof hash, &e) < 0);
    assert_true(users_hash(SLICE_LIT(""), hash, sizeof hash, &e) < 0);
    assert_true(users_hash(SLICE_LIT("a\nb"), hash, sizeof hash, &e) < 0);
    assert_true(users_hash(SLICE_LIT("a"), hash, 10, &e) < 0);
}

static void test_edit(void **state)
{
    (void)state;
    struct err e = {0};
    write_file("# head\na:" MD5 "\n\nbob:" MD5 ":rate=1/s\n# tail");
    struct users *before = users_load(PATH, say, NULL);
    assert_false(users_changed(before, PATH));
    assert_int_equal(users_edit(PATH, USERS_PASSWORD, "bob", "$y$new", NULL, &e), 0);
    assert_true(users_changed(before, PATH));
    users_unref(before);
    expect_file("# head\na:" MD5 "\n\nbob:$y$new:rate=1/s\n# tail\n");
    assert_int_equal(users_edit(PATH, USERS_ADD, "c", "$y$c", "from=*@x", &e), 0);
    assert_int_equal(users_edit(PATH, USERS_REMOVE, "a", NULL, NULL, &e), 0);
    expect_file("# head\n\nbob:$y$new:rate=1/s\n# tail\nc:$y$c:from=*@x\n");
    assert_int_equal(users_edit(PATH, USERS_ADD, "bob", "$y$c", "", &e), -EEXIST);
    assert_int_equal(users_edit(PATH, USERS_REMOVE, "a", NULL, NULL, &e), -ENOENT);
    assert_int_equal(users_edit(PATH, USERS_PASSWORD, "bo", "$y$c", NULL, &e), -ENOENT);
    assert_int_equal(users_edit(PATH, USERS_ADD, "x y", "$y$c", "", &e), -EINVAL);
    assert_int_equal(users_edit(PATH, USERS_ADD, "x", "$y$c\nroot:", "", &e), -EINVAL);
    assert_int_equal(users_edit(PATH, USERS_ADD, "x", "$y$c", "a\nb", &e), -EINVAL);
    assert_int_equal(users_edit(FOLDER "/none", USERS_ADD, "x", "$y$c", "", &e), -ENOENT);
    expect_file("# head\n\nbob:$y$new:rate=1/s\n# tail\nc:$y$c:from=*@x\n");
}

/* The mode stays (the hashes are no business of others), and a link stays a link. */
static void test_edit_keeps_mode_and_link(void **state)
{
    (void)state;
    struct err e = {0};
    struct stat st;
    write_file("");
    chmod(PATH, 0640);
    unlink(FOLDER "/link");
    assert_int_equal(symlink(PATH, FOLDER "/link"), 0);
    assert_int_equal(users_edit(FOLDER "/link", USERS_ADD, "c", "$y$c", "", &e), 0);
    expect_file("c:$y$c\n");
    stat(PATH, &st);
    assert_int_equal(st.st_mode & 07777, 0640);
    lstat(FOLDER "/link", &st);
    assert_true(S_ISLNK(st.st_mode));
}

/* Two administrators at once: no line is lost. */
static void test_edit_by_two(void **state)
{
    (void)state;
    write_file("");
    for (unsigned child = 0; child < 4; child++) {
        if (fork() != 0)
            continue;
        int rc = 0;
        for (unsigned i = 0; i < 10; i++) {
            char name[32];
            snprintf(name, sizeof name, "u%u-%u", child, i);
            rc |= users_edit(PATH, USERS_ADD, name, MD5, "", NULL);
        }
        _exit(rc != 0);
    }
    for (int status; wait(&status) > 0;)
        assert_int_equal(status, 0);
    struct users *us = users_load(PATH, say, NULL);
    assert_non_null(us);
    assert_int_equal(us->n, 40);
    users_unref(us);
}

int main(void)
{
    mkdir(FOLDER, 0700);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_edit_keeps_mode_and_link),
        cmocka_unit_test(test_edit_by_two),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_done(&told);
    return rc;
}

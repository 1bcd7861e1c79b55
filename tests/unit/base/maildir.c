/* What the receiver files. If this breaks, a test that compares bodies compares with something else
 * than what was sent, or a message that was answered 250 is not there. */
#include "relay/base/maildir.h"
#include "relay/base/defer.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static size_t count(const char *name)
{
    DEFER(buf_done) struct buf path = BUF_MAX(256);
    size_t n = 0;
    buf_addf(&path, "%s/%s", folder, name);
    DIR *d = opendir(buf_str(&path));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void assert_file(const char *path, struct slice want)
{
    DEFER(buf_done) struct buf got = BUF_MAX(1 << 20);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF;)
        buf_add_u8(&got, (uint8_t)c);
    fclose(f);
    assert_true(slice_eq(buf_slice(&got), want));
}

static struct filing *begin(const struct slice *rcpts, size_t n)
{
    struct filing *f = NULL;
    struct err e = {0};
    assert_int_equal(
        filing_begin(&f, folder, "host.example", SLICE_LIT("a@example.com"), rcpts, n, &e), 0);
    return f;
}

static void test_filed_as_received(void **state)
{
    (void)state;
    static const struct slice one[] = {{(const uint8_t *)"b@example.com", 13}};
    static const struct slice two[] = {{(const uint8_t *)"b@example.com", 13},
                                       {(const uint8_t *)"c@example.com", 13}};
    static const char content[] = "Subject: x\r\n\r\n.\r\n\0\xff\r\n..dots\r\n";
    static const struct {
        const struct slice *rcpts;
        size_t n;
        const char *front;
    } rows[] = {{one, 1, "Return-Path: <a@example.com>\r\nDelivered-To: b@example.com\r\n"},
                {two, 2,
                 "Return-Path: <a@example.com>\r\nX-Envelope-To: b@example.com\r\nX-Envelope-To: "
                 "c@example.com\r\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t split = 0; split < sizeof content; split++) {
            struct err e = {0};
            struct slice all = slice_of(content, sizeof content - 1);
            DEFER(buf_done) struct buf want = BUF_MAX(4096);
            struct filing *f = begin(rows[i].rcpts, rows[i].n);
            size_t before = count("new");
            assert_int_equal(count("tmp"), 1);
            assert_int_equal(filing_add(f, slice_head(all, split), &e), 0);
            assert_int_equal(filing_add(f, slice_skip(all, split), &e), 0);
            assert_int_equal(f->size, all.n);
            assert_int_equal(count("new"), before); /* nobody sees half a message */
            assert_int_equal(filing_finish(f, folder, &e), 0);
            assert_int_equal(count("tmp"), 0);
            assert_int_equal(count("new"), before + 1);
            buf_add_str(&want, rows[i].front);
            buf_add(&want, all);
            assert_file(f->path, buf_slice(&want));
            filing_free(f);
            assert_int_equal(count("new"), before + 1);
        }
}

static void test_given_up_leaves_nothing(void **state)
{
    (void)state;
    struct err e = {0};
    size_t before = count("new");
    struct filing *f = begin(NULL, 0);
    assert_int_equal(filing_add(f, SLICE_LIT("half"), &e), 0);
    filing_free(f);
    assert_int_equal(count("tmp"), 0);
    assert_int_equal(count("new"), before);
}

/* The place in new/ is gone: the sender must not hear 250. */
static void test_failure_is_told(void **state)
{
    (void)state;
    struct err e = {0};
    struct filing *f = begin(NULL, 0);
    assert_true(filing_finish(f, "/nowhere", &e) < 0);
    assert_true(strlen(e.text) > 10);
    assert_int_equal(access(f->path, F_OK), -1);
    filing_free(f);
    f = begin(NULL, 0);
    assert_int_equal(unlink(f->tmp), 0);
    assert_true(filing_finish(f, folder, &e) < 0);
    filing_free(f);
    assert_true(filing_begin(&f, "/nowhere", "h", SLICE_NONE, NULL, 0, &e) < 0);
    assert_true(maildir_make("/proc/x/y", &e) < 0);
}

int main(void)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(256);
    struct err e = {0};
    snprintf(folder, sizeof folder, "/tmp/unit-sink-%d", (int)getpid());
    if (maildir_make(folder, &e) < 0 || maildir_make(folder, &e) < 0) /* again is fine */
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filed_as_received),
        cmocka_unit_test(test_given_up_leaves_nothing),
        cmocka_unit_test(test_failure_is_told),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_addf(&clean, "rm -rf %s", folder);
    return system(buf_str(&clean)) == 0 ? rc : 1;
}

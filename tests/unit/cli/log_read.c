/* The delivery log from a moment on. If this breaks, `queue show` reads for minutes, or silently
 * shows less than there is. */
#include "relay/cli/log_read.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/cli/log_seek.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BEGAN INT64_C(1800000000)
enum { LINES = 20000, LINE_BYTES = 300 };

static char folder[] = "/tmp/unit-log-read-XXXXXX";
static char live[64];

static struct wall at_s(int64_t s)
{
    return (struct wall){(BEGAN + s) * WALL_SECOND};
}

/* An event a second: number n is written at second n. */
static void add_lines(struct buf *out, uint64_t from, uint64_t to)
{
    char time[WALL_RFC3339_SIZE];
    for (uint64_t n = from; n <= to; n++) {
        const size_t begin = out->n;
        wall_rfc3339(at_s((int64_t)n), time);
        buf_addf(out, "{\"v\":1,\"seq\":%llu,\"id\":\"n-%llu\",\"time\":\"%s\",\"response\":\"",
                 (unsigned long long)n, (unsigned long long)n, time);
        while (out->n - begin < LINE_BYTES + n % 200)
            buf_add_str(out, "x");
        buf_add_str(out, "\"}\n");
    }
}

static void write_file(const char *name, uint64_t from, uint64_t to)
{
    DEFER(buf_done) struct buf text = BUF_MAX(64u << 20);
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    buf_addf(&text, "{\"v\":1,\"event\":\"log_opened\",\"file\":\"f\",\"next_seq\":%llu}\n",
             (unsigned long long)from);
    add_lines(&text, from, to);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    fclose(f);
    const struct timespec times[2] = {{.tv_sec = BEGAN + (int64_t)to},
                                      {.tv_sec = BEGAN + (int64_t)to}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Reads to the end: the first number, and that all that follow are there. */
static uint64_t read_all(struct log_read *r, uint64_t last)
{
    struct slice line;
    struct err e = {0};
    uint64_t seq, first = 0, next = 0, from, to;
    int rc;
    while ((rc = log_read_next(r, &line, &seq, &e)) > 0) {
        assert_true(seq > 0 && (next == 0 || seq == next));
        first = first ? first : seq;
        next = seq + 1;
    }
    assert_int_equal(rc, 0);
    assert_false(log_read_gap(r, &from, &to));
    assert_true(first == 0 || next == last + 1);
    log_read_free(r);
    return first;
}

static uint64_t first_from(int64_t s, uint64_t max_bytes)
{
    struct log_read *r = log_read_from(live, at_s(s), max_bytes);
    assert_non_null(r);
    return read_all(r, 4 * LINES);
}

static int make_files(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(live, sizeof live, "%s/delivery.jsonl", folder);
    for (uint64_t i = 0; i < 3; i++) {
        char name[80];
        snprintf(name, sizeof name, "delivery-20270115T0%llu0000Z-%llu.jsonl",
                 (unsigned long long)i, (unsigned long long)((i + 1) * LINES));
        write_file(name, i * LINES + 1, (i + 1) * LINES);
    }
    write_file("delivery.jsonl", 3 * LINES + 1, 4 * LINES);
    return 0;
}

static int remove_files(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Everything from that moment on, and little before it: a thousand lines, which are not worth
 * halving. */
static void test_begins_in_time(void **state)
{
    (void)state;
    const int64_t times[] = {1,         2000,          LINES - 1, LINES,         LINES + 1,
                             2 * LINES, 2 * LINES + 7, 3 * LINES, 3 * LINES + 1, 4 * LINES - 1};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        const uint64_t first = first_from(times[i], UINT64_MAX / 16);
        assert_true(first > 0 && first <= (uint64_t)times[i]);
        assert_true((uint64_t)times[i] - first < 1000);
    }
    assert_int_equal(first_from(-1000, UINT64_MAX / 16), 1);
    assert_in_range(first_from(9 * LINES, UINT64_MAX / 16), 4 * LINES - 1000, 4 * LINES);
}

/* Of more than is wanted the newest: whole files, and of the live one its end. */
static void test_as_much_as_is_wanted(void **state)
{
    (void)state;
    const uint64_t file = (LINE_BYTES + 100) * LINES;
    assert_int_equal(first_from(1, 5 * file), 1);
    assert_int_equal(first_from(1, 5 * file / 2), 2 * LINES + 1);
    assert_int_equal(first_from(1, 3 * file / 2), 3 * LINES + 1);
    const uint64_t first = first_from(1, file / 4);
    assert_in_range(4 * LINES - first, LINES / 5, LINES / 3);
    assert_in_range(first_from(1, 500), 4 * LINES - 1, 4 * LINES);
}

/* A log without files, one that is no log, lines that are longer than all else. */
static void test_nothing_to_go_by(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/other.jsonl", folder);
    assert_int_equal(read_all(log_read_from(path, at_s(1), 1000), 0), 0);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 100; i++) {
        char junk[8192];
        memset(junk, i == 99 ? '\n' : 'j', sizeof junk);
        assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
    }
    const uint64_t size = 100 * 8192;
    assert_int_equal(log_seek(fd, size, at_s(1)), 0);
    assert_int_equal(log_seek_line(fd, size, 1), 99 * 8192 + 1);
    assert_int_equal(log_seek_line(fd, size, size - 1), size - 1);
    assert_int_equal(log_seek_line(fd, size, size), size);
    assert_int_equal(log_seek_line(fd, size, 0), 0);
    close(fd);
}

static bool is_ahead(const char *log, uint64_t after, uint64_t *ret_newest)
{
    struct log_read *r = log_read_since(log, after);
    struct slice line;
    struct err e = {0};
    uint64_t seq;
    while (log_read_next(r, &line, &seq, &e) > 0)
        ;
    const bool ahead = log_read_is_ahead(r, after, ret_newest);
    log_read_free(r);
    return ahead;
}

/* A cursor of another log, or of one that was lost: whoever kept it would wait, and miss what comes
 * until then. */
static void test_a_number_nobody_had(void **state)
{
    (void)state;
    uint64_t newest = 0;
    char path[128];
    assert_false(is_ahead(live, 0, &newest));
    assert_false(is_ahead(live, LINES, &newest));
    assert_false(is_ahead(live, 4 * LINES, &newest));
    assert_true(is_ahead(live, 4 * LINES + 1, &newest));
    assert_int_equal(newest, 4 * LINES);
    snprintf(path, sizeof path, "%s/young.jsonl", folder); /* no event yet, its first line only */
    write_file("young.jsonl", 701, 700);
    assert_false(is_ahead(path, 700, &newest));
    assert_true(is_ahead(path, 701, &newest));
    assert_int_equal(newest, 700);
    snprintf(path, sizeof path, "%s/none.jsonl", folder);
    assert_false(is_ahead(path, 5, &newest)); /* nobody knows */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_in_time),
        cmocka_unit_test(test_as_much_as_is_wanted),
        cmocka_unit_test(test_nothing_to_go_by),
        cmocka_unit_test(test_a_number_nobody_had),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}

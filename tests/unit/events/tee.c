/* The second sink. If this breaks, a program that reads standard output slowly, or not at all,
 * stops the delivery log. */
#include "relay/events/tee.h"
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void add(struct tee *t, unsigned from, unsigned to)
{
    DEFER(buf_done) struct buf b = BUF_MAX(1 << 20);
    for (unsigned i = from; i <= to; i++)
        buf_addf(&b, "%u %0100u\n", i, 0u);
    tee_add(t, buf_slice(&b));
}

enum { FAR = 70000 };

/* At most so many lines, or until the other end is closed; the numbers must grow. Returns how many.
 */
static unsigned read_lines(FILE *f, unsigned max, unsigned *ret_last)
{
    char line[256];
    unsigned n = 0;
    for (; n < max && fgets(line, sizeof line, f); n++) {
        unsigned number = (unsigned)strtoul(line, NULL, 10);
        assert_true(number > *ret_last && strlen(line) > 102 && line[strlen(line) - 1] == '\n');
        *ret_last = number;
    }
    return n;
}

static void test_a_reader_gets_all(void **state)
{
    (void)state;
    int ends[2];
    unsigned last = 0;
    assert_int_equal(pipe(ends), 0);
    struct tee *t = tee_new(ends[1]);
    for (unsigned i = 0; i < 5; i++)
        add(t, i * 100 + 1, i * 100 + 100);
    tee_free(t);
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_int_equal(read_lines(f, UINT_MAX, &last), 500);
    fclose(f);
}

/* Nobody reads: adding never waits, memory has a bound, and the end comes in time. Whoever reads
 * later gets whole lines, the oldest ones, and what comes then. */
static void test_a_reader_that_stops(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct tee *t = tee_new(ends[1]);
    for (unsigned i = 0; i < 400; i++) /* 40 MB; who waited here would wait for ever */
        add(t, i * 1000 + 1, i * 1000 + 1000);
    struct mono began = mono_now();
    tee_free(t);
    assert_true(mono_now().ms - began.ms >= 500);
    close(ends[1]);
    char piece[65536];
    size_t all = 0;
    for (ssize_t n; (n = read(ends[0], piece, sizeof piece)) > 0;)
        all += (size_t)n;
    assert_in_range(all, 1, 1 << 20); /* what a pipe holds */
    close(ends[0]);
}

static void test_a_reader_that_is_slow_at_first(void **state)
{
    (void)state;
    int ends[2], far[2];
    unsigned last = 0;
    assert_int_equal(pipe(ends) | pipe(far), 0);
    struct tee *t = tee_new(ends[1]);
    for (unsigned i = 0; i < 200; i++)
        add(t, i * 1000 + 1, i * 1000 + 1000);
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        FILE *f = fdopen(ends[0], "r");
        unsigned n = read_lines(f, FAR, &last);
        MUST(write(far[1], "x", 1) == 1);
        n += read_lines(f, UINT_MAX, &last);
        _exit(last == 1000000 && n > FAR && n < 200000 ? 0 : 1);
    }
    close(ends[0]);
    close(far[1]);
    char x;
    assert_int_equal(read(far[0], &x, 1), 1); /* it has taken most of what waits: there is room */
    close(far[0]);
    add(t, 1000000, 1000000);
    tee_free(t);
    close(ends[1]);
    int how = 1;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
}

/* The reader has gone: no signal, no waiting, nothing kept. */
static void test_a_reader_that_goes(void **state)
{
    (void)state;
    /* Less than a reader that stops costs; the machine may stand still in some of them. */
    int64_t least = INT64_MAX;
    for (unsigned k = 0; k < 10 && least >= 500; k++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        struct tee *t = tee_new(ends[1]);
        close(ends[0]);
        for (unsigned i = 0; i < 300; i++)
            add(t, 1, 1000);
        struct mono began = mono_now();
        tee_free(t);
        const int64_t took = mono_now().ms - began.ms;
        least = took < least ? took : least;
        close(ends[1]);
    }
    assert_true(least < 500);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reader_gets_all),
        cmocka_unit_test(test_a_reader_that_stops),
        cmocka_unit_test(test_a_reader_that_is_slow_at_first),
        cmocka_unit_test(test_a_reader_that_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The own log: one line a fact, whatever bytes a peer puts into a value. */
#include "relay/base/log.h"
#include "relay/base/clock.h"
#include "relay/base/rand.h"
#include "relay/base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static int saved = -1, pipe_out = -1;

static int catch_stderr(void **state)
{
    (void)state;
    int fds[2];
    if (pipe(fds))
        return -1;
    saved = dup(2);
    pipe_out = fds[0];
    if (saved < 0 || dup2(fds[1], 2) < 0)
        return -1;
    close(fds[1]);
    return 0;
}

static int release_stderr(void **state)
{
    (void)state;
    dup2(saved, 2);
    close(saved);
    close(pipe_out);
    log_set_level(LV_INFO);
    return 0;
}

/* All that was written since the last call. A mark is written behind it, so that nothing is no wait
 * for ever. */
static struct slice written(void)
{
    static uint8_t text[65536];
    size_t n = 0;
    assert_int_equal(write(2, "\001", 1), 1);
    while (n == 0 || text[n - 1] != 1) {
        ssize_t got = read(pipe_out, text + n, sizeof text - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    return slice_of(text, n - 1);
}

/* The line without its time, which is checked for its form. */
static struct slice one_line(void)
{
    struct slice line = written();
    assert_true(slice_starts(line, SLICE_LIT("time=20")));
    assert_true(line.n > 33 && line.p[31] == 'Z' && line.p[32] == ' ');
    assert_int_equal(slice_find(line, '\n'), line.n - 1);
    return slice_skip(slice_head(line, line.n - 1), 33);
}

static void lines_as_tabled(void **state)
{
    (void)state;
    static const struct {
        struct slice value;
        const char *shown;
    } rows[] = {
        {{(const uint8_t *)"plain", 5}, "v=plain"},
        {{(const uint8_t *)"[::1]:25", 8}, "v=[::1]:25"},
        {{(const uint8_t *)"", 0}, "v=\"\""},
        {{NULL, 0}, "v=\"\""},
        {{(const uint8_t *)"two words", 9}, "v=\"two words\""},
        {{(const uint8_t *)"a=b", 3}, "v=\"a=b\""},
        {{(const uint8_t *)"say \"x\"\\", 8}, "v=\"say \\\"x\\\"\\\\\""},
        {{(const uint8_t *)"a\r\nlevel=error\t", 15}, "v=\"a\\r\\nlevel=error\\t\""},
        {{(const uint8_t *)"\033[2J\x7f\0", 6}, "v=\"\\u001b[2J\\u007f\\u0000\""},
        {{(const uint8_t *)"\xc2\x9b", 2}, "v=\"\\u009b\""},
        {{(const uint8_t *)"\xe2\x80\xa8", 3}, "v=\"\\u2028\""},
        {{(const uint8_t *)"gr\xc3\xbc\xc3\x9f", 6}, "v=\"gr\xc3\xbc\xc3\x9f\""},
        {{(const uint8_t *)"\xff\xc3", 2}, "v=\"\\xff\\xc3\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        LOG(LV_WARN, "test", LOG_B("v", rows[i].value));
        struct slice line = one_line();
        assert_true(slice_starts(line, SLICE_LIT("level=warn event=test ")));
        struct slice shown = slice_skip(line, strlen("level=warn event=test "));
        if (!slice_eq(shown, slice_str(rows[i].shown)))
            fail_msg("shown as %.*s", SLICE_ARG(shown));
    }
    LOG(LV_ERROR, "two", LOG_N("n", INT64_MIN), LOG_S("s", "x"));
    assert_true(
        slice_eq(one_line(), SLICE_LIT("level=error event=two n=-9223372036854775808 s=x")));
}

static void levels_are_kept(void **state)
{
    (void)state;
    LOG(LV_DEBUG, "no", LOG_N("n", 1));
    assert_int_equal(written().n, 0);
    log_set_level(LV_DEBUG);
    LOG(LV_DEBUG, "yes", LOG_N("n", 1));
    assert_true(slice_eq(one_line(), SLICE_LIT("level=debug event=yes n=1")));
    log_set_level(LV_ERROR);
    LOG(LV_WARN, "no", LOG_N("n", 1));
    assert_int_equal(written().n, 0);

    enum log_level level = LV_INFO;
    assert_true(log_level_parse(SLICE_LIT("debug"), &level));
    assert_int_equal(level, LV_DEBUG);
    assert_true(log_level_parse(SLICE_LIT("WARN"), &level));
    assert_int_equal(level, LV_WARN);
    assert_false(log_level_parse(SLICE_LIT("loud"), &level));
    assert_false(log_level_parse(SLICE_NONE, &level));
    assert_int_equal(level, LV_WARN);
}

/* Whatever is left of a line: a field stands in it whole, or the line says that one is missing. */
static void the_last_field_fits_or_is_told(void **state)
{
    (void)state;
    static uint8_t bytes[1024];
    unsigned fit = 0, cut = 0;
    memset(bytes, 'v', sizeof bytes);
    for (size_t n = 850; n <= 1024; n++) {
        struct slice v = slice_of(bytes, 1000);
        LOG(LV_INFO, "x", LOG_B("a", v), LOG_B("b", v), LOG_B("c", v),
            LOG_B("d", slice_of(bytes, n)));
        const struct slice line = one_line();
        const bool told = slice_iends(line, SLICE_LIT(" cut=true"));
        const bool whole = slice_find_slice(line, SLICE_LIT(" d=")) + 3 + n == line.n;
        assert_true(told != whole && line.n < 4096 - 33);
        fit += whole;
        cut += told;
    }
    assert_true(fit > 0 && cut > 0);
}

/* Law: any bytes give exactly one line of valid UTF-8 without controls that fits one write to a
 * pipe. */
static void hostile_bytes_give_one_clean_line(void **state)
{
    (void)state;
    static uint8_t bytes[3000];
    struct rng rng;
    rng_seed(&rng, 5);
    for (int run = 0; run < 500; run++) {
        size_t n = rng_below(&rng, sizeof bytes);
        rand_bytes(bytes, n);
        struct slice v = slice_of(bytes, n);
        LOG(LV_INFO, "x", LOG_B("a", v), LOG_B("b", v), LOG_B("c", v), LOG_B("d", v),
            LOG_B("e", v));
        struct slice line = written();
        assert_true(line.n > 0 && line.n <= 4096);
        assert_true(utf8_valid(line));
        assert_int_equal(slice_find(line, '\n'), line.n - 1);
        for (size_t i = 0; i + 1 < line.n; i++)
            assert_true(line.p[i] >= ' ' && line.p[i] != 0x7f);
    }
}

static void what_is_cut_says_so(void **state)
{
    (void)state;
    static char large[9000];
    memset(large, 'x', sizeof large - 1);
    LOG(LV_INFO, "x", LOG_S("a", large));
    struct slice line = one_line();
    assert_true(line.n > 1000 && line.n < 1100);
    assert_true(slice_iends(line, SLICE_LIT("xxx...\"")));
    LOG(LV_INFO, "x", LOG_S("a", large), LOG_S("b", large), LOG_S("c", large), LOG_S("d", large),
        LOG_N("last", 7));
    line = one_line();
    assert_true(slice_iends(line, SLICE_LIT(" last=7 cut=true")));
    assert_int_equal(slice_find_slice(line, SLICE_LIT(" d=")), line.n);
}

/* A stranger who does what is worth a line a thousand times a second does not fill the disk. */
static void a_flood_is_cut(void **state)
{
    (void)state;
    struct log_limit limit = LOG_LIMIT(3);
    unsigned left_out, passed = 0;
    struct mono now = {5000};
    for (unsigned i = 0; i < 1000; i++, now.ms += 59) { /* within one minute */
        passed += log_limit_passes(&limit, now, &left_out);
        assert_int_equal(left_out, 0);
    }
    assert_int_equal(passed, 3);
    now.ms = 65000;
    assert_true(log_limit_passes(&limit, now, &left_out));
    assert_int_equal(left_out, 997);
    assert_true(log_limit_passes(&limit, now, &left_out));
    assert_int_equal(left_out, 0);

    struct log_limit none = LOG_LIMIT(1);
    for (unsigned i = 0; i < 3; i++)
        LOG_FEW(&none, LV_INFO, "odd", LOG_N("i", i));
    assert_true(slice_eq(one_line(), SLICE_LIT("level=info event=odd i=0")));
    atomic_store(&none.until_ms, 0); /* a minute later */
    LOG_FEW(&none, LV_INFO, "odd", LOG_N("i", 3));
    assert_true(slice_eq(one_line(), SLICE_LIT("level=info event=odd i=3 left_out=2")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_as_tabled, catch_stderr, release_stderr),
        cmocka_unit_test_setup_teardown(levels_are_kept, catch_stderr, release_stderr),
        cmocka_unit_test_setup_teardown(the_last_field_fits_or_is_told, catch_stderr,
                                        release_stderr),
        cmocka_unit_test_setup_teardown(hostile_bytes_give_one_clean_line, catch_stderr,
                                        release_stderr),
        cmocka_unit_test_setup_teardown(what_is_cut_says_so, catch_stderr, release_stderr),
        cmocka_unit_test_setup_teardown(a_flood_is_cut, catch_stderr, release_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

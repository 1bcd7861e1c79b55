/* Slices: comparing, cutting, numbers, patterns. What is wrong here is wrong in every parser. */
#include "relay/base/slice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define S(literal) SLICE_LIT(literal)

/* Bytes in memory of exactly their size, so that a sanitizer sees a read past the end. */
static struct slice exact(struct slice s)
{
    uint8_t *p = malloc(s.n ? s.n : 1);
    assert_non_null(p);
    if (s.n)
        memcpy(p, s.p, s.n);
    return slice_of(p, s.n);
}

static void release(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

static void compares_bytes_and_ascii_case(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE_NONE, S("")));
    assert_true(slice_ieq(SLICE_NONE, SLICE_NONE));
    assert_true(slice_eq(S("a\0b"), S("a\0b")));
    assert_false(slice_eq(S("a\0b"), S("a\0c")));
    assert_false(slice_eq(S("a"), S("A")));
    assert_true(slice_ieq(S("StartTLS"), S("STARTTLS")));
    assert_false(slice_ieq(S("@"), S("`"))); /* differ in the case bit, are no letters */
    assert_false(slice_ieq(S("["), S("{")));
    assert_false(slice_ieq(S("\xc4"), S("\xe4")));
    assert_true(slice_cmp(S("ab"), S("abc")) < 0);
    assert_true(slice_cmp(S("b"), S("abc")) > 0);
    assert_int_equal(slice_cmp(SLICE_NONE, S("")), 0);
    assert_true(slice_cmp(S("\xff"), S("a")) > 0);
}

static void prefixes_and_suffixes(void **state)
{
    (void)state;
    assert_true(slice_starts(S("MAIL FROM:"), S("MAIL")));
    assert_false(slice_starts(S("mail FROM:"), S("MAIL")));
    assert_true(slice_istarts(S("mail FROM:"), S("MAIL")));
    assert_false(slice_istarts(S("MAI"), S("MAIL")));
    assert_true(slice_starts(S(""), SLICE_NONE));
    assert_true(slice_iends(S("mx.EXAMPLE.com"), S(".example.com")));
    assert_false(slice_iends(S("xample.com"), S("example.com")));
}

static void finds_and_skips(void **state)
{
    (void)state;
    assert_int_equal(slice_find(S("a=b"), '='), 1);
    assert_int_equal(slice_find(S("ab"), '='), 2);
    assert_int_equal(slice_find(SLICE_NONE, '='), 0);
    assert_int_equal(slice_find_slice(S("a\r\r\n"), S("\r\n")), 2);
    assert_int_equal(slice_find_slice(S("a\r"), S("\r\n")), 2);
    assert_int_equal(slice_find_slice(S("abc"), S("")), 0);
    assert_int_equal(slice_find_slice(SLICE_NONE, S("x")), 0);
    assert_true(slice_eq(slice_behind_last(S("\"a@b\"@c.test"), '@'), S("c.test")));
    assert_true(slice_eq(slice_behind_last(S("@c"), '@'), S("c")));
    assert_int_equal(slice_behind_last(S("a@"), '@').n, 0);
    assert_int_equal(slice_behind_last(S("postmaster"), '@').n, 0);
    assert_int_equal(slice_behind_last(SLICE_NONE, '@').n, 0);
    assert_int_equal(slice_skip(S("abc"), 5).n, 0);
    assert_int_equal(slice_skip(SLICE_NONE, 0).n, 0);
    assert_true(slice_eq(slice_skip(S("abc"), 1), S("bc")));
    assert_true(slice_eq(slice_head(S("abc"), 7), S("abc")));
    assert_int_equal(slice_str(NULL).n, 0);
}

static void trims_both_ends_only(void **state)
{
    (void)state;
    assert_true(slice_eq(slice_trim(S(" \t a b\r\n")), S("a b")));
    assert_int_equal(slice_trim(S(" \r\n\t")).n, 0);
    assert_int_equal(slice_trim(SLICE_NONE).n, 0);
    assert_true(slice_eq(slice_trim(S("\0a\0")), S("\0a\0")));
}

/* Law: the parts joined by the separator are the whole again. */
static void cutting_gives_every_part_once(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "a", ",", "a,", ",a", "a,b", "a,,b", ",,,"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct slice whole = exact(slice_str(texts[i])), rest = whole;
        char joined[16] = "";
        size_t n = 0;
        while (rest.n) {
            struct slice part = slice_cut(&rest, ',');
            memcpy(joined + n, part.p, part.n);
            n += part.n;
            if (rest.n || part.p + part.n < whole.p + whole.n)
                joined[n++] = ',';
        }
        assert_int_equal(n, whole.n);
        assert_memory_equal(joined, texts[i], n);
        release(whole);
    }
    struct slice rest = S("tail");
    assert_true(slice_eq(slice_cut(&rest, ','), S("tail")));
    assert_int_equal(rest.n, 0);
}

static void numbers_are_digits_within_the_limit(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } rows[] = {
        {{(const uint8_t *)"0", 1}, 0, true, 0},
        {{(const uint8_t *)"007", 3}, 7, true, 7},
        {{(const uint8_t *)"8", 1}, 7, false, 0},
        {{(const uint8_t *)"65535", 5}, 65535, true, 65535},
        {{(const uint8_t *)"65536", 5}, 65535, false, 0},
        {{(const uint8_t *)"18446744073709551615", 20}, UINT64_MAX, true, UINT64_MAX},
        {{(const uint8_t *)"18446744073709551616", 20}, UINT64_MAX, false, 0},
        {{(const uint8_t *)"99999999999999999999", 20}, UINT64_MAX, false, 0},
        {{(const uint8_t *)"", 0}, 9, false, 0},
        {{(const uint8_t *)"+1", 2}, 9, false, 0},
        {{(const uint8_t *)"-1", 2}, 9, false, 0},
        {{(const uint8_t *)" 1", 2}, 9, false, 0},
        {{(const uint8_t *)"1 ", 2}, 9, false, 0},
        {{(const uint8_t *)"1\0", 2}, 9, false, 0},
        {{(const uint8_t *)"0x1", 3}, 99, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t value = 4711;
        struct slice text = exact(rows[i].text);
        assert_int_equal(slice_u64(text, rows[i].max, &value), rows[i].ok);
        assert_int_equal(value, rows[i].ok ? rows[i].value : 4711);
        release(text);
    }
}

static void globs_match_the_whole_without_case(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything", true},
        {"?", "", false},
        {"?", "a", true},
        {"*.Google.com", "aspmx.l.GOOGLE.COM", true},
        {"*.google.com", "google.com", false},
        {"*.google.com", "google.com.evil.example", false},
        {"*@example.com", "a@example.com", true},
        {"*@example.com", "a@example.comm", false},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"**a**", "bab", true},
        {"*ab", "aab", true},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"[a]", "a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice pattern = exact(slice_str(rows[i].pattern));
        struct slice text = exact(slice_str(rows[i].text));
        if (slice_glob(pattern, text) != rows[i].match)
            fail_msg("%s %s %s", rows[i].text, rows[i].match ? "must match" : "matches",
                     rows[i].pattern);
        release(pattern);
        release(text);
    }
}

/* A user's pattern meets a peer's name: the work must not explode. */
static void crafted_globs_stay_cheap(void **state)
{
    (void)state;
    char pattern[2001], text[4001];
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(pattern + i, "*a", 2);
    pattern[1999] = 'b';
    memset(text, 'a', 4000);
    assert_false(slice_glob(slice_of(pattern, 2000), slice_of(text, 4000)));
    text[3999] = 'b';
    assert_true(slice_glob(slice_of(pattern, 2000), slice_of(text, 4000)));
}

static void copies_end_with_nul(void **state)
{
    (void)state;
    char *copy = slice_dup(S("abc"));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = slice_dup(SLICE_NONE);
    assert_string_equal(copy, "");
    free(copy);
}

static void hash_depends_on_every_byte_and_the_length(void **state)
{
    (void)state;
    uint8_t bytes[40] = {0};
    uint64_t seen[41 + 40];
    size_t n = 0;
    for (size_t i = 0; i <= sizeof bytes; i++)
        seen[n++] = slice_hash(slice_of(bytes, i)); /* zeros of every length */
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = 1;
        seen[n++] = slice_hash(slice_of(bytes, sizeof bytes));
        bytes[i] = 0;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
    assert_true(slice_hash(slice_of(bytes, 7)) == slice_hash(slice_of(bytes + 9, 7)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_bytes_and_ascii_case),
        cmocka_unit_test(prefixes_and_suffixes),
        cmocka_unit_test(finds_and_skips),
        cmocka_unit_test(trims_both_ends_only),
        cmocka_unit_test(cutting_gives_every_part_once),
        cmocka_unit_test(numbers_are_digits_within_the_limit),
        cmocka_unit_test(globs_match_the_whole_without_case),
        cmocka_unit_test(crafted_globs_stay_cheap),
        cmocka_unit_test(copies_end_with_nul),
        cmocka_unit_test(hash_depends_on_every_byte_and_the_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

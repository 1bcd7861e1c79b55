/* What a peer wrote may be shown: valid UTF-8 without controls comes out, whatever goes in. */
#include "relay/base/utf8.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S(literal) SLICE_LIT(literal)

static void valid_is_what_rfc_3629_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        bool ok;
    } rows[] = {
        {"", 0, true},
        {"a\0b", 3, true},
        {"\x7f", 1, true},
        {"\xc3\xa4", 2, true},
        {"\xe2\x82\xac", 3, true},
        {"\xf0\x9f\x93\xa8", 4, true},
        {"\xf4\x8f\xbf\xbf", 4, true},
        {"\xed\x9f\xbf", 3, true},
        {"\xee\x80\x80", 3, true},
        {"\x80", 1, false},             /* a continuation alone */
        {"\xc3", 1, false},             /* torn */
        {"\xe2\x82", 2, false},         /* torn */
        {"\xf0\x9f\x93", 3, false},     /* torn */
        {"\xc3(", 2, false},            /* no continuation */
        {"\xe2(\xa1", 3, false},        /* no continuation */
        {"\xf0\x9f\x93(", 4, false},    /* no continuation */
        {"\xc0\xaf", 2, false},         /* overlong '/' */
        {"\xc1\xbf", 2, false},         /* overlong */
        {"\xe0\x80\xaf", 3, false},     /* overlong '/' */
        {"\xe0\x9f\xbf", 3, false},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, false}, /* overlong */
        {"\xed\xa0\x80", 3, false},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 4, false},
        {"\xff", 1, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (utf8_valid(slice_of(rows[i].text, rows[i].n)) != rows[i].ok)
            fail_msg("row %zu is %s", i, rows[i].ok ? "refused" : "taken");
}

/* All code points, encoded here in the plain way, are read as themselves. */
static void every_character_is_known(void **state)
{
    (void)state;
    for (uint32_t code = 0x80; code <= 0x10ffff; code++) {
        uint8_t p[4];
        size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        uint32_t rest = code;
        for (size_t i = n - 1; i > 0; i--, rest >>= 6)
            p[i] = (uint8_t)(0x80 | (rest & 0x3f));
        p[0] = (uint8_t)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | rest);
        bool surrogate = code >= 0xd800 && code <= 0xdfff;
        uint32_t read = 0;
        if (utf8_char(slice_of(p, n), &read) != (surrogate ? 0 : n) ||
            read != (surrogate ? 0 : code))
            fail_msg("U+%04X is read as U+%04X", code, read);
    }
}

static void cleans_as_tabled(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        size_t max;
        bool whole;
    } rows[] = {
        {"", "", 10, true},
        {"plain", "plain", 10, true},
        {"plain", "plain", 5, true},
        {"plain", "plai", 4, false},
        {"a\r\nb\tc", "a  b c", 10, true},
        {"\033[31mred\x7f", " [31mred ", 20, true},
        {"\xc2\x9b"
         "31m",
         " 31m", 10, true}, /* CSI as one C1 character */
        {"a\xe2\x80\xa8"
         "b",
         "a b", 10, true}, /* a line separator */
        {"\xe2\x80\xae"
         "txt",
         " txt", 10, true}, /* right-to-left override */
        {"caf\xc3\xa9", "caf\xc3\xa9", 5, true},
        {"caf\xc3\xa9", "caf", 4, false},
        {"caf\xe9!", "caf?!", 10, true},
        {"\xf0\x9f\x93", "???", 10, true},
        {"\xf0\x9f\x93\xa8", "", 3, false},
        {"\xff\xff", "?", 1, false},
        {"x", "", 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = BUF_MAX(100);
        assert_int_equal(utf8_clean(&b, slice_str(rows[i].in), rows[i].max), rows[i].whole);
        assert_string_equal(buf_str(&b), rows[i].out);
        buf_done(&b);
    }
    struct buf small = BUF_MAX(3);
    assert_false(utf8_clean(&small, S("abcdef"), 100));
    buf_done(&small);
}

/* Law: what comes out is valid, shows no control, fits, and cleaning it again changes nothing. */
static void random_bytes_come_out_clean(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int run = 0; run < 20000; run++) {
        uint8_t in[24];
        for (size_t i = 0; i < sizeof in; i++) /* bytes that often begin or go on a character */
            in[i] =
                (uint8_t)(rng_below(&rng, 3) ? 0x80 + rng_below(&rng, 128) : rng_below(&rng, 128));
        size_t max = rng_below(&rng, 30);
        struct buf once = BUF_MAX(64), twice = BUF_MAX(64);
        utf8_clean(&once, slice_of(in, sizeof in), max);
        assert_true(once.n <= max);
        assert_true(utf8_valid(buf_slice(&once)));
        uint32_t code;
        for (struct slice s = buf_slice(&once); s.n; s = slice_skip(s, utf8_char(s, &code))) {
            assert_true(utf8_char(s, &code) > 0);
            assert_false(utf8_is_control(code));
        }
        assert_true(utf8_clean(&twice, buf_slice(&once), 64));
        assert_true(slice_eq(buf_slice(&once), buf_slice(&twice)));
        buf_done(&once);
        buf_done(&twice);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_is_what_rfc_3629_says),
        cmocka_unit_test(every_character_is_known),
        cmocka_unit_test(cleans_as_tabled),
        cmocka_unit_test(random_bytes_come_out_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

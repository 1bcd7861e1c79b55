/* ORCPT: checklist 23 and 24. If this breaks, a report names a recipient that its reader never
 * wrote to, or a client smuggles a line end into one. */
#include "relay/smtp/orcpt.h"
#include "relay/base/rand.h"
#include "relay/base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX ((size_t)4096)

static const struct {
    const char *text, *stored; /* NULL: refused */
    bool smtputf8;
} decoded[] = {
    {"rfc822;bob@d.test", "rfc822;bob@d.test", false},
    {"RFC822;Bob@D.test", "rfc822;Bob@D.test", false},
    {"rfc822;a+2Bb@d.test", "rfc822;a+b@d.test", false},
    {"rfc822;+22a+20b+22@d.test", "rfc822;\"a b\"@d.test", false},
    {"utf-8;bob@d.test", "utf-8;bob@d.test", false},
    {"UTF-8;j\\x{F6}rg@d.test", "utf-8;j\xc3\xb6rg@d.test", false},
    {"utf-8;\\x{4F8B}\\x{1F48C}@d.test", "utf-8;\xe4\xbe\x8b\xf0\x9f\x92\x8c@d.test", false},
    {"utf-8;a\\x{2B}b\\x{3D}c\\x{5C}\\x{20}@d.test", "utf-8;a+b=c\\ @d.test", false},
    {"utf-8;j\xc3\xb6rg+x@d.test", "utf-8;j\xc3\xb6rg+x@d.test", true},
    {"utf-8;a=b\\x{F6}@d.test", "utf-8;a=b\xc3\xb6@d.test", true},
    {"utf-8;j\xc3\xb6rg@d.test", NULL, false}, /* as it is only with SMTPUTF8 */
    {"utf-8;a+b@d.test", NULL, false},
    {"utf-8;a=b@d.test", NULL, false},
    {"utf-8;a\\b@d.test", NULL, false},
    {"utf-8;\\x{0A}", NULL, false},
    {"utf-8;\\x{0A}", NULL, true},
    {"utf-8;\\x{00}", NULL, false},
    {"utf-8;\\x{7F}", NULL, false},
    {"utf-8;\\x{85}", NULL, false},
    {"utf-8;\\x{2028}", NULL, false},
    {"utf-8;\\x{D800}", NULL, false},
    {"utf-8;\\x{110000}", NULL, false},
    {"utf-8;\\x{F}", NULL, false},
    {"utf-8;\\x{0F6}", NULL, false},
    {"utf-8;\\x{f6}", NULL, false},
    {"utf-8;\\x{F6", NULL, false},
    {"utf-8;\\x{}", NULL, false},
    {"utf-8;\\x{0000F6}", NULL, false},
    {"utf-8;\xc0\xaf", NULL, true},
    {"utf-8;a\xc2\x85", NULL, true},
    {"utf-8;a b", NULL, true},
    {"rfc822;j\xc3\xb6rg@d.test", NULL, true},
    {"rfc822;a+0A", NULL, false},
    {"rfc822;a+00", NULL, false},
    {"rfc822;a+2b", NULL, false},
    {"rfc822;a=b", NULL, false},
    {"rfc822;", NULL, false},
    {"utf-8;", NULL, false},
    {"rfc822", NULL, false},
    {";a@b", NULL, false},
    {"", NULL, false},
    {"x400;c=us", NULL, false},
    {"utf8;a@b", NULL, false},
};

static void what_is_stored(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof decoded / sizeof *decoded; i++) {
        struct buf b = BUF_MAX(MAX);
        buf_add_str(&b, "before");
        bool ok = orcpt_decode(&b, slice_str(decoded[i].text), decoded[i].smtputf8);
        if (ok != (decoded[i].stored != NULL))
            fail_msg("%s", decoded[i].text);
        assert_true(slice_eq(slice_skip(buf_slice(&b), 6),
                             slice_str(decoded[i].stored ? decoded[i].stored : "")));
        buf_done(&b);
    }
}

static void what_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *stored, *text;
        bool smtputf8;
    } rows[] = {
        {"rfc822;a+b@d.test", "rfc822;a+2Bb@d.test", false},
        {"rfc822;a b@d.test", "rfc822;a+20b@d.test", true},
        {"utf-8;j\xc3\xb6rg+@d.test", "utf-8;j\\x{F6}rg\\x{2B}@d.test", false},
        {"utf-8;j\xc3\xb6rg+@d.test", "utf-8;j\xc3\xb6rg\\x{2B}@d.test", true},
        {"utf-8;\xf0\x9f\x92\x8c\\", "utf-8;\\x{1F48C}\\x{5C}", false},
        {"utf-8;a\nb", NULL, true},
        {"utf-8;\xff", NULL, true},
        {"x400;a", NULL, false},
        {"", NULL, false},
        {"rfc822;", NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = BUF_MAX(MAX);
        bool ok = orcpt_encode(&b, slice_str(rows[i].stored), rows[i].smtputf8);
        assert_int_equal(ok, rows[i].text != NULL);
        assert_true(slice_eq(buf_slice(&b), slice_str(rows[i].text ? rows[i].text : "")));
        buf_done(&b);
    }
}

static size_t any_character(struct rng *rng, uint8_t *to)
{
    static const char *const some[] = {"a",
                                       "+",
                                       "=",
                                       "\\",
                                       " ",
                                       "\\x{",
                                       "}",
                                       "\xc3\xb6",
                                       "\xe4\xbe\x8b",
                                       "\xf0\x9f\x92\x8c",
                                       "\xf4\x8f\xbf\xbf"};
    struct slice s = slice_str(some[rng_below(rng, sizeof some / sizeof *some)]);
    memcpy(to, s.p, s.n);
    return s.n;
}

/* Law: decode(encode(x)) == x for all x that may be stored, both ways of saying it. */
static void round_trip(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 24);
    for (unsigned round = 0; round < 4000; round++) {
        uint8_t bytes[200] = "utf-8;";
        size_t n = 6;
        for (uint64_t k = 1 + rng_below(&rng, 20); k > 0; k--)
            n += any_character(&rng, bytes + n);
        struct buf text = BUF_MAX(MAX), back = BUF_MAX(MAX);
        assert_true(orcpt_encode(&text, slice_of(bytes, n), round % 2));
        for (size_t i = 0; i < text.n; i++)
            assert_true(text.p[i] > ' ' && text.p[i] != '=' && (round % 2 || text.p[i] < 127));
        if (text.n <= ORCPT_MAX) {
            assert_true(orcpt_decode(&back, buf_slice(&text), round % 2));
            assert_true(slice_eq(buf_slice(&back), slice_of(bytes, n)));
        }
        buf_done(&text);
        buf_done(&back);
    }
}

static void bounds(void **state)
{
    (void)state;
    char text[ORCPT_MAX + 2] = "rfc822;";
    memset(text + 7, 'a', sizeof text - 8);
    text[ORCPT_MAX + 1] = 0;
    struct buf b = BUF_MAX(MAX), small = BUF_MAX(8);
    assert_false(orcpt_decode(&b, slice_of(text, ORCPT_MAX + 1), false));
    assert_true(orcpt_decode(&b, slice_of(text, ORCPT_MAX), false));
    assert_false(orcpt_decode(&small, slice_of(text, ORCPT_MAX), false));
    assert_int_equal(small.n, 0);
    assert_false(orcpt_encode(&small, slice_of(text, 100), false));
    assert_int_equal(small.n, 0);
    buf_done(&b);
    buf_done(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored),
        cmocka_unit_test(what_is_said),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* xtext of RFC 3461. If this breaks, an ENVID or ORCPT comes back altered in a report, or a client
 * smuggles a line end through it (checklist 23). */
#include "relay/smtp/xtext.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MAX ((size_t)4096)

static const struct {
    const char *text, *stands_for; /* NULL: refused */
} decoded[] = {
    {"", ""},
    {"QQ314159", "QQ314159"},
    {"rfc822;a+2Bb@example.org", "rfc822;a+b@example.org"},
    {"a+3Db", "a=b"},
    {"+20x+7E", " x~"},
    {"!*,<>~", "!*,<>~"},
    {"+2B+2B", "++"},
    {"+", NULL},
    {"a+", NULL},
    {"+2", NULL},
    {"+2b", NULL}, /* lower case */
    {"+G0", NULL},
    {"+ 2", NULL},
    {"+-1", NULL},
    {"a=b", NULL},
    {"a b", NULL},
    {"+00", NULL},
    {"+0A", NULL},
    {"+0D", NULL},
    {"+1F", NULL},
    {"+7F", NULL},
    {"+80", NULL},
    {"+FF", NULL},
    {"a\tb", NULL},
    {"a\x7f", NULL},
    {"\xc3\xa9", NULL},
};

static void test_decode(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof decoded / sizeof *decoded; i++) {
        struct buf b = BUF_MAX(MAX);
        buf_add_str(&b, "before");
        bool ok = xtext_decode(&b, slice_str(decoded[i].text));
        assert_int_equal(ok, decoded[i].stands_for != NULL);
        struct slice got = slice_skip(buf_slice(&b), 6);
        assert_true(slice_eq(got, slice_str(ok ? decoded[i].stands_for : "")));
        buf_done(&b);
    }
}

static void test_encode(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(MAX);
    assert_true(xtext_encode(&b, SLICE_LIT("a+b=c d~\r\n\xff")));
    assert_string_equal(buf_str(&b), "a+2Bb+3Dc+20d~+0D+0A+FF");
    buf_done(&b);
}

/* Neither way leaves a part behind when the room ends. */
static void test_no_room(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4);
    assert_false(xtext_encode(&b, SLICE_LIT("ab+")));
    assert_int_equal(b.n, 0);
    buf_done(&b);
    b = BUF_MAX(2);
    assert_false(xtext_decode(&b, SLICE_LIT("abc")));
    assert_int_equal(b.n, 0);
    buf_done(&b);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 23);
    for (unsigned round = 0; round < 2000; round++) {
        uint8_t bytes[64];
        size_t n = (size_t)rng_below(&rng, sizeof bytes);
        bool printable = true;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(round % 2 ? rng_below(&rng, 256) : 32 + rng_below(&rng, 95));
            printable = printable && bytes[i] >= 32 && bytes[i] < 127;
        }
        struct buf text = BUF_MAX(MAX), back = BUF_MAX(MAX);
        assert_true(xtext_encode(&text, slice_of(bytes, n)));
        for (size_t i = 0; i < text.n; i++)
            assert_true(text.p[i] > ' ' && text.p[i] < 127 && text.p[i] != '=');
        assert_int_equal(xtext_decode(&back, buf_slice(&text)), printable);
        if (printable)
            assert_true(slice_eq(buf_slice(&back), slice_of(bytes, n)));
        buf_done(&text);
        buf_done(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

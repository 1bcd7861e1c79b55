/* Replies of good and bad servers. What breaks for a user: a wrong code taken from a reply bounces
 * mail or counts it as delivered. */
#include "relay/smtp/reply.h"
#include "relay/base/defer.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct result {
    enum smtp_reply_result end;
    unsigned lines;
    uint16_t code;
    char enhanced[ENHANCED_SIZE];
    struct buf text;
    size_t taken;
};

/* Feeds pieces of at most `piece` bytes (0: random ones) up to the end of one reply. */
static struct result parse(struct slice in, size_t piece, struct rng *rng)
{
    struct result r = {.text = BUF_MAX(1 << 16)};
    struct smtp_reply_parser p;
    smtp_reply_parser_init(&p);
    assert_false(smtp_reply_parser_busy(&p));
    struct slice left = in;
    while (left.n && r.end != SMTP_REPLY_DONE && r.end != SMTP_REPLY_BAD) {
        size_t n = piece ? piece : 1 + (size_t)rng_below(rng, 9);
        n = n < left.n ? n : left.n;
        DEFER_FREE char *copy = slice_dup(slice_head(left, n));
        struct slice part = slice_of(copy, n);
        while (part.n && r.end != SMTP_REPLY_DONE && r.end != SMTP_REPLY_BAD) {
            size_t before = part.n;
            r.end = smtp_reply_parse(&p, &part);
            assert_true(part.n < before || r.end == SMTP_REPLY_BAD);
            assert_true(r.end != SMTP_REPLY_MORE || part.n == 0);
            r.lines += r.end == SMTP_REPLY_LINE || r.end == SMTP_REPLY_DONE;
        }
        left = slice_skip(left, n - part.n);
    }
    r.taken = in.n - left.n;
    assert_int_equal(smtp_reply_parser_busy(&p),
                     r.end != SMTP_REPLY_DONE && in.n > 0 && p.raw.n + p.lines > 0);
    if (r.end == SMTP_REPLY_DONE) {
        r.code = p.reply.code;
        enhanced_write(p.reply.enhanced, r.enhanced);
        buf_add(&r.text, p.reply.text);
    }
    smtp_reply_parser_done(&p);
    return r;
}

/* Any split gives the same; returns the result of the whole. */
static struct result parse_all_ways(struct slice in)
{
    struct result whole = parse(in, in.n ? in.n : 1, NULL);
    for (int i = 0; i < 12; i++) {
        struct rng rng;
        rng_seed(&rng, (uint64_t)i);
        struct result split = parse(in, i < 3 ? (size_t)i + 1 : 0, &rng);
        assert_int_equal(split.end, whole.end);
        assert_int_equal(split.lines, whole.lines);
        assert_int_equal(split.code, whole.code);
        assert_string_equal(split.enhanced, whole.enhanced);
        assert_true(slice_eq(buf_slice(&split.text), buf_slice(&whole.text)));
        if (whole.end == SMTP_REPLY_DONE)
            assert_int_equal(split.taken, whole.taken);
        buf_done(&split.text);
    }
    return whole;
}

static const struct {
    const char *in;
    uint16_t code;
    const char *enhanced, *text;
} good[] = {
    {"250 ok\r\n", 250, "", "ok"},
    {"250\r\n", 250, "", ""},
    {"250 \r\n", 250, "", ""},
    {"250 2.1.0 ok\r\n", 250, "2.1.0", "ok"},
    {"250 2.1.0\r\n", 250, "2.1.0", ""},
    {"250-\r\n250-b\r\n250 c\r\n", 250, "", "\nb\nc"},
    {"250-a\r\n250\r\n", 250, "", "a\n"},
    {"550-5.1.1 who\r\n550 5.1.1 is that\r\n", 550, "5.1.1", "who\nis that"},
    {"550-5.7.26 why\r\n550 see us\r\n", 550, "5.7.26", "why\nsee us"}, /* on some lines only */
    {"550-5.0.0 a\r\n550 5.1.1 b\r\n", 550, "5.1.1", "a\nb"},           /* the later decides */
    {"550 4.2.2 full\r\n", 550, "", "4.2.2 full"},                      /* 56: another class */
    {"550 5.1.1: no\r\n", 550, "", "5.1.1: no"},
    {"550 5.1.1000 no\r\n", 550, "", "5.1.1000 no"},
    {"354 3.0.0 go\r\n", 354, "", "3.0.0 go"}, /* RFC 3463 has no class 3 */
    {"250 bare lf\n", 250, "", "bare lf"},
    {"250-mixed\n250 ends\r\n", 250, "", "mixed\nends"},
    {"250 a\rb\r\r\n", 250, "", "a\rb\r"}, /* bytes of text, cleaned in the verdict */
    {"599 odd\r\n", 599, "", "odd"},
    {"200 low\r\n", 200, "", "low"},
    {"250 \xff\xfe 8-bit\r\n", 250, "", "\xff\xfe 8-bit"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct result r = parse_all_ways(slice_str(good[i].in));
        assert_int_equal(r.end, SMTP_REPLY_DONE);
        assert_int_equal(r.code, good[i].code);
        assert_string_equal(r.enhanced, good[i].enhanced);
        assert_string_equal(buf_str(&r.text), good[i].text);
        assert_int_equal(r.taken, strlen(good[i].in));
        buf_done(&r.text);
    }
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\r\n",
        "25\r\n",
        "hello\r\n",
        "250ok\r\n",
        "250\tok\r\n",
        "2500 ok\r\n",
        " 250 ok\r\n",
        "199 low\r\n",
        "600 high\r\n",
        "999 x\r\n",
        "000 x\r\n",
        "+50 x\r\n",
        "2 5 x\r\n",
        "250-a\r\n251 b\r\n", /* 54: same code on each line */
        "250-a\r\n\r\n",
        "250-a\r\n550 b\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\x16\x03\x01\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct result r = parse_all_ways(slice_str(bad[i]));
        if (r.end != SMTP_REPLY_BAD)
            fail_msg("taken for a reply: %s", bad[i]);
        buf_done(&r.text);
    }
}

static void test_next_reply_starts_clean(void **state)
{
    (void)state;
    struct smtp_reply_parser p;
    smtp_reply_parser_init(&p);
    struct slice in = SLICE_LIT("550-5.1.1 a\r\n550 5.1.1 b\r\n250 ok\r\n");
    assert_int_equal(smtp_reply_parse(&p, &in), SMTP_REPLY_LINE);
    assert_true(smtp_reply_parser_busy(&p));
    assert_int_equal(smtp_reply_parse(&p, &in), SMTP_REPLY_DONE);
    assert_true(slice_eq(p.line, SLICE_LIT("5.1.1 b")));
    assert_int_equal(smtp_reply_parse(&p, &in), SMTP_REPLY_DONE);
    assert_int_equal(p.reply.code, 250);
    assert_false(enhanced_is(p.reply.enhanced));
    assert_true(slice_eq(p.reply.text, SLICE_LIT("ok")));
    assert_int_equal(p.lines, 1);
    smtp_reply_parser_done(&p);
}

/* Promise 26: however long a reply is, it stops at its bound and memory stays at it. */
static void test_bounds(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf in = BUF_MAX((size_t)4 << 20);
    buf_add_str(&in, "250 ");
    while (in.n < SMTP_REPLY_LINE_MAX - 2)
        buf_add_u8(&in, 'x');
    buf_add_str(&in, "\r\n");
    struct result r = parse_all_ways(buf_slice(&in));
    assert_int_equal(r.end, SMTP_REPLY_DONE);
    assert_int_equal(r.text.n, SMTP_REPLY_TEXT_MAX);
    buf_done(&r.text);

    buf_reset(&in);
    buf_add_str(&in, "250 ");
    while (in.n < (size_t)1 << 20)
        buf_add_u8(&in, 'x');
    r = parse(buf_slice(&in), 1000, NULL);
    assert_int_equal(r.end, SMTP_REPLY_BAD);
    assert_true(r.taken <= SMTP_REPLY_LINE_MAX);

    buf_reset(&in);
    for (int i = 0; i < SMTP_REPLY_LINES_MAX - 1; i++)
        buf_addf(&in, "250-line %d of many, with some words to fill the text kept\r\n", i);
    size_t most = in.n;
    buf_add_str(&in, "250 end\r\n");
    r = parse_all_ways(buf_slice(&in));
    assert_int_equal(r.end, SMTP_REPLY_DONE);
    assert_int_equal(r.lines, SMTP_REPLY_LINES_MAX);
    assert_true(r.text.n <= SMTP_REPLY_TEXT_MAX);
    buf_done(&r.text);

    buf_cut(&in, most);
    buf_add_str(&in, "250-one more\r\n250 too many\r\n");
    r = parse_all_ways(buf_slice(&in));
    assert_int_equal(r.end, SMTP_REPLY_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_next_reply_starts_clean),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Lines of the suppression file: what is written is read again, and nothing of a peer's becomes
 * structure. */
#include "tests/unit/suppress/kit.h"

static struct suppress_line sample(void)
{
    return (struct suppress_line){.kind = SUPPRESS_LISTED,
                                  .source = SUPPRESS_BY_OPERATOR,
                                  .seq = 77,
                                  .time = {INT64_C(1800000000123456)},
                                  .user = SLICE_LIT("shop"),
                                  .address = SLICE_LIT("bob@rcpt.test"),
                                  .reason = SLICE_LIT("550 5.1.1 no such user")};
}

/* A format that drifts makes the old file unreadable: the bytes themselves. */
static void a_line_as_it_stands(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(SUPPRESS_LINE_MAX);
    const struct suppress_line l = sample();
    assert_true(suppress_line_write(&b, &l));
    assert_string_equal(buf_str(&b), "+\t77\t1800000000123456\toperator\tshop\tbob@rcpt.test\t"
                                     "550 5.1.1 no such user\t2cf4cf02\n");
    buf_done(&b);
}

static void what_is_written_is_read(void **state)
{
    static const char kinds[] = "+-!~";
    (void)state;
    for (size_t i = 0; kinds[i]; i++) {
        struct buf b = BUF_MAX(SUPPRESS_LINE_MAX);
        struct suppress_line l = sample(), got;
        l.kind = (enum suppress_kind)kinds[i];
        assert_true(suppress_line_write(&b, &l));
        assert_true(suppress_line_read(slice_head(buf_slice(&b), b.n - 1), &got));
        assert_int_equal(got.kind, l.kind);
        assert_int_equal(got.source, l.source);
        assert_int_equal(got.seq, l.seq);
        assert_int_equal(got.time.us, l.time.us);
        assert_true(slice_eq(got.user, l.user) && slice_eq(got.address, l.address) &&
                    slice_eq(got.reason, l.reason));
        buf_done(&b);
    }
}

/* 21: a reply with line ends, TABs or half a character is one line with the same fields. */
static void hostile_words_stay_words(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(SUPPRESS_LINE_MAX);
    struct suppress_line l = sample(), got;
    static char words[5000];
    for (size_t i = 0; i < sizeof words; i++)
        words[i] = "\t\r\n\0x\xc3\x1b"[i % 7];
    l.reason = slice_of(words, sizeof words);
    assert_true(suppress_line_write(&b, &l));
    assert_int_equal(slice_find(buf_slice(&b), '\n'), b.n - 1);
    assert_true(suppress_line_read(slice_head(buf_slice(&b), b.n - 1), &got));
    assert_true(got.reason.n > 0 && got.reason.n <= SUPPRESS_REASON_MAX);
    assert_true(slice_eq(got.address, l.address));
    buf_done(&b);
}

/* Every byte changed, and every prefix: no line, never another one. */
static void damage_is_seen(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(SUPPRESS_LINE_MAX);
    struct suppress_line l = sample(), got;
    assert_true(suppress_line_write(&b, &l));
    const struct slice text = slice_head(buf_slice(&b), b.n - 1);
    for (size_t i = 0; i < text.n; i++) {
        assert_false(suppress_line_read(slice_head(text, i), &got));
        b.p[i] ^= 1;
        assert_false(suppress_line_read(text, &got));
        b.p[i] ^= 1;
    }
    assert_true(suppress_line_read(text, &got));
    buf_done(&b);
}

static void too_long_is_not_written(void **state)
{
    static char name[SUPPRESS_ADDRESS_MAX + 1];
    (void)state;
    struct buf b = BUF_MAX((size_t)2 * SUPPRESS_LINE_MAX);
    struct suppress_line l = sample();
    memset(name, 'a', sizeof name);
    l.address = slice_of(name, sizeof name);
    assert_false(suppress_line_write(&b, &l));
    assert_int_equal(b.n, 0);
    /* The longest of all fields fits. */
    l.address.n--;
    l.user = slice_of(name, SUPPRESS_USER_MAX);
    l.reason = slice_of(name, SUPPRESS_REASON_MAX);
    l.seq = UINT64_MAX;
    l.time.us = INT64_MAX;
    assert_true(suppress_line_write(&b, &l));
    assert_true(suppress_line_read(slice_head(buf_slice(&b), b.n - 1), &l));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_as_it_stands),      cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(hostile_words_stay_words), cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(too_long_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

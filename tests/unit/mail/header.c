/* What the scanner says of a message decides which fields are added and when a loop is stopped.
 * 104: broken headers. */
#include "relay/mail/fixup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void scan_split(struct header_scan *h, struct slice message, size_t step)
{
    header_scan_init(h, HEADER_SCAN_MAX);
    while (message.n > 0) {
        struct slice piece = slice_head(message, step);
        /* An exact copy, so that the sanitizer sees one byte too many. */
        uint8_t *copy = malloc(piece.n);
        assert_non_null(copy);
        memcpy(copy, piece.p, piece.n);
        header_scan_bytes(h, slice_of(copy, piece.n));
        free(copy);
        message = slice_skip(message, piece.n);
    }
    header_scan_end(h);
}

static void assert_same(const struct header_scan *a, const struct header_scan *b)
{
    const struct header_facts *f = &a->facts, *g = &b->facts;
    assert_int_equal(f->has_message_id, g->has_message_id);
    assert_int_equal(f->no_header_end, g->no_header_end);
    assert_int_equal(f->eight_bit, g->eight_bit);
    assert_int_equal(f->eight_bit_header, g->eight_bit_header);
    assert_int_equal(f->malformed, g->malformed);
    assert_int_equal(f->too_long, g->too_long);
    assert_int_equal(f->received, g->received);
    assert_int_equal(f->header_n, g->header_n);
    assert_int_equal(f->from_line_n, g->from_line_n);
    assert_true(slice_eq(buf_slice(&a->message_id), buf_slice(&b->message_id)));
}

#define D 1u   /* Date */
#define M 2u   /* Message-ID */
#define F 4u   /* From */
#define T 8u   /* To or Cc */
#define NE 16u /* no header end */
#define E8 32u /* eight bit */
#define BAD 64u
#define H8 128u /* eight bit in the header section */
static const struct {
    const char *what, *message;
    unsigned flags, received;
    int header_n; /* -1: the whole message */
    const char *message_id;
    size_t from_line_n;
} rows[] = {
    {"ordinary", "Date: x\r\nFROM: a@b\r\nto: c@d\r\nmessage-id: <1@x>\r\n\r\nbody\r\n",
     D | M | F | T, 0, 50, "<1@x>", 0},
    {"nothing there", "Subject: x\r\n\r\nDate: not here\r\n", 0, 0, 14, "", 0},
    {"Cc will do", "Cc: a\r\n\r\n", T, 0, -1, "", 0},
    {"Bcc will not; names are whole", "Bcc: a\r\nX-Date: b\r\nDate-X: c\r\nResent-From: d\r\n\r\n",
     0, 0, -1, "", 0},
    {"29: Received is counted",
     "Received: a\r\nreceived: b\r\n c\r\nRECEIVED :d\r\n\r\nReceived: e\r\n", 0, 3, 45, "", 0},
    {"empty header", "\r\nDate: x\r\n", 0, 0, 2, "", 0},
    {"empty message", "", NE, 0, 0, "", 0},
    {"no body, empty line", "From: a\r\n\r\n", F, 0, -1, "", 0},
    {"no body, no empty line", "From: a\r\n", F | NE, 0, -1, "", 0},
    {"no final CRLF", "From: a\r\nDate: x", F | D | NE, 0, -1, "", 0},
    {"empty values", "Date:\r\nFrom:\r\nMessage-ID:\r\n\r\n", D | F | M, 0, -1, "", 0},
    {"folded id", "Message-ID:\r\n <a@b>\r\n\r\n", M, 0, -1, "<a@b>", 0},
    {"id with a comment", "Message-ID: (x) <a@b> (y)\r\n\r\n", M, 0, -1, "<a@b>", 0},
    {"id without brackets", "Message-ID:  a@b \r\n\r\n", M, 0, -1, "a@b", 0},
    {"id never closed", "Message-ID: <a@b\r\n\r\n", M, 0, -1, "<a@b", 0},
    {"first id counts", "Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n", M, 0, -1, "<a@b>", 0},
    {"id as the last bytes", "Message-ID: <a@b>", M | NE, 0, -1, "<a@b>", 0},
    {"id before a broken line", "Message-ID: <a@b>\r\nno field\r\n", M | NE, 0, 19, "<a@b>", 0},
    {"104: blanks before the colon", "Date \t: x\r\nFrom : a\r\n\r\n", D | F, 0, -1, "", 0},
    {"104: folded empty line goes on", "Subject: a\r\n \r\n\t\r\nDate: x\r\n\r\nb\r\n", D, 0, 29,
     "", 0},
    {"104: a field in a fold is none", "Subject: a\r\n Date: x\r\n\r\n", 0, 0, -1, "", 0},
    {"104: mbox line first", "From a@b Sat Jan  3 01:05:34 1996\r\nDate: x\r\n\r\nb\r\n", D, 0, 46,
     "", 35},
    {"104: quoted mbox line first", ">From a@b\r\nDate: x\r\n\r\n", D, 0, -1, "", 11},
    {"104: mbox line alone", "From a@b\r\n", NE, 0, -1, "", 10},
    {"104: mbox line, then text", "From a@b\r\nhello\r\n", NE | BAD, 0, 0, "", 0},
    {"104: mbox line, then blank text", "From a@b\r\n hello\r\n", NE | BAD, 0, 0, "", 0},
    {"104: mbox line not first", "Date: x\r\nFrom a@b\r\nTo: c\r\n\r\n", D | NE, 0, 9, "", 0},
    {"104: mbox line twice", "From a\r\nFrom b\r\nTo: c\r\n\r\n", NE | BAD, 0, 0, "", 0},
    {"104: no empty line before the body", "Date: x\r\nhello there\r\nFrom: a\r\n\r\n", D | NE, 0,
     9, "", 0},
    {"104: first line is no field", "hello\r\nDate: x\r\n\r\n", NE | BAD, 0, 0, "", 0},
    {"104: first line starts with a blank", " Date: x\r\n\r\n", NE | BAD, 0, 0, "", 0},
    {"104: no name", ": x\r\nDate: x\r\n\r\n", NE | BAD, 0, 0, "", 0},
    {"104: blank inside the name", "Date x: y\r\n\r\n", NE | BAD, 0, 0, "", 0},
    {"104: 8-bit in a value", "Subject: \xc3\xb6\r\nDate: x\r\n\r\n", D | E8 | H8, 0, -1, "", 0},
    {"73: 8-bit in a fold", "Date: x\r\n \xc3\xb6\r\n\r\n", D | E8 | H8, 0, -1, "", 0},
    {"73: 8-bit in the last line", "Date: \xc3\xb6", D | E8 | H8 | NE, 0, -1, "", 0},
    {"73: 8-bit behind the fields", "Date: x\r\n\xc3\xb6\r\n\r\n", D | E8 | NE, 0, 9, "", 0},
    {"73: 8-bit in an mbox line", "From \xc3\xb6\r\nDate: x\r\n\r\n", D | E8, 0, -1, "", 9},
    {"104: 8-bit in a name", "D\xc3\xb6te: x\r\n\r\n", NE | BAD | E8, 0, 0, "", 0},
    {"8-bit in the body", "Date: x\r\n\r\n\xff", D | E8, 0, 11, "", 0},
    {"1: a bare LF ends no line", "Subject: a\nDate: x\r\n\r\n", 0, 0, -1, "", 0},
    {"1: LF LF ends no header", "Subject: a\n\nx\r\nDate: x\r\n\r\n", D, 0, -1, "", 0},
    {"1: a bare CR ends no line", "Subject: a\rDate: x\r\n\r\n", 0, 0, -1, "", 0},
    {"CR CR LF ends a line", "Date: x\r\r\n\r\n", D, 0, -1, "", 0},
};

/* What the fields of the section say. */
static unsigned fields_of(const struct header_facts *f, struct slice message)
{
    struct fixup x = {0};
    fixup_look(&x, slice_skip(slice_head(message, f->header_n), f->from_line_n));
    fixup_done(&x);
    assert_int_equal(x.seen >> FIXUP_MESSAGE_ID & 1, f->has_message_id);
    return (x.seen >> FIXUP_DATE & 1 ? D : 0) | (x.seen >> FIXUP_FROM & 1 ? F : 0) |
           (x.seen >> FIXUP_MESSAGE_ID & 1 ? M : 0) |
           ((x.seen >> FIXUP_TO | x.seen >> FIXUP_CC) & 1 ? T : 0);
}

static void facts_are_as_tabled_for_any_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct slice message = slice_str(rows[i].message);
        for (size_t step = 1; step <= message.n + 1; step++) {
            struct header_scan h;
            scan_split(&h, message, step);
            const struct header_facts *f = &h.facts;
            unsigned flags = fields_of(f, message) | (f->no_header_end ? NE : 0) |
                             (f->eight_bit ? E8 : 0) | (f->malformed ? BAD : 0) |
                             (f->eight_bit_header ? H8 : 0);
            size_t header_n = rows[i].header_n < 0 ? message.n : (size_t)rows[i].header_n;
            if (flags != rows[i].flags || f->received != rows[i].received ||
                f->header_n != header_n || f->from_line_n != rows[i].from_line_n ||
                !slice_eq(buf_slice(&h.message_id), slice_str(rows[i].message_id)))
                fail_msg("%s, pieces of %zu: flags %u received %u header %zu from %zu id %.*s",
                         rows[i].what, step, flags, f->received, f->header_n, f->from_line_n,
                         SLICE_ARG(buf_slice(&h.message_id)));
            assert_true(h.done);
            header_scan_done(&h);
        }
    }
}

static void add_fields(struct buf *b, size_t total)
{
    while (b->n + 64 <= total)
        buf_addf(b, "X-Filler: %051u\r\n", 0u);
    buf_add_str(b, "Y:");
    while (b->n + 2 < total)
        buf_add_u8(b, 'y');
    buf_add_str(b, "\r\n");
}

/* 104: what stands within 100 KiB counts, what stands behind does not, and the message goes on. */
static void long_headers_are_looked_at_up_to_the_bound(void **state)
{
    (void)state;
    for (int over = -3; over <= 3; over++) {
        struct buf b = BUF_MAX(1 << 20);
        buf_add_str(&b, "Date: x\r\nMessage-ID: <a@b>\r\n");
        add_fields(&b, (size_t)(HEADER_SCAN_MAX - 2 + over));
        buf_add_str(&b, "\r\nFrom: \xff\r\n\r\n");
        struct header_scan whole;
        scan_split(&whole, buf_slice(&b), b.n);
        assert_int_equal(whole.facts.too_long, over > 0);
        assert_int_equal(whole.facts.header_n, over > 0 ? 0 : HEADER_SCAN_MAX + over);
        assert_true(whole.facts.has_message_id && whole.facts.eight_bit);
        assert_false(whole.facts.malformed || whole.facts.no_header_end);
        assert_true(slice_eq(buf_slice(&whole.message_id), SLICE_LIT("<a@b>")));
        for (size_t step = 1; step < 9000; step = step * 3 + 1) {
            struct header_scan h;
            scan_split(&h, buf_slice(&b), step);
            assert_same(&whole, &h);
            header_scan_done(&h);
        }
        header_scan_done(&whole);
        buf_done(&b);
    }
}

/* A peer's endless line or id costs the scanner nothing but its small buffers. */
static void one_endless_line_is_bounded(void **state)
{
    (void)state;
    static uint8_t text[4096];
    memset(text, 'a', sizeof text);
    static const char *const starts[] = {"", "Message-ID: <", "X: ", " "};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct header_scan h;
        header_scan_init(&h, HEADER_SCAN_MAX);
        header_scan_bytes(&h, slice_str(starts[i]));
        for (int n = 0; n < 1000; n++)
            header_scan_bytes(&h, slice_of(text, sizeof text));
        header_scan_end(&h);
        assert_true(h.facts.too_long);
        assert_true(h.message_id.n <= 998 && h.message_id.cap <= 4096 && h.line.cap <= 4096);
        header_scan_done(&h);
    }
}

static void a_long_message_id_is_cut(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(10000);
    buf_add_str(&b, "Message-ID: <");
    for (int i = 0; i < 3000; i++)
        buf_add_str(&b, i % 100 == 99 ? "\r\n " : "x");
    buf_add_str(&b, ">\r\nDate: x\r\n\r\n");
    struct header_scan h, bytes;
    scan_split(&h, buf_slice(&b), b.n);
    scan_split(&bytes, buf_slice(&b), 1);
    assert_same(&h, &bytes);
    assert_int_equal(h.message_id.n, 998);
    assert_int_equal(h.facts.header_n, b.n);
    header_scan_done(&h);
    header_scan_done(&bytes);
    buf_done(&b);
}

/* Every place of a word-sized step sees its 8-bit byte. */
static void eight_bit_is_seen_anywhere(void **state)
{
    (void)state;
    for (size_t n = 1; n < 100; n++)
        for (size_t at = 0; at < n; at++) {
            char body[100];
            memset(body, 0x7f, sizeof body);
            struct header_scan h;
            header_scan_init(&h, HEADER_SCAN_MAX);
            header_scan_bytes(&h, SLICE_LIT("\r\n"));
            header_scan_bytes(&h, slice_of(body, n));
            assert_false(h.facts.eight_bit);
            body[at] = (char)0x80;
            header_scan_bytes(&h, slice_of(body, n));
            assert_true(h.facts.eight_bit);
            header_scan_done(&h);
        }
}

static void fields_are_walked_with_their_folds(void **state)
{
    (void)state;
    struct slice text = SLICE_LIT("A: 1\r\nBee :\r\n 2\r\n \r\n\t3\r\nC:\r\n\r\nD: body\r\n"),
                 rest = text;
    static const struct {
        const char *name, *value, *raw;
    } want[] = {{"A", " 1", "A: 1\r\n"},
                {"Bee", "\r\n 2\r\n \r\n\t3", "Bee :\r\n 2\r\n \r\n\t3\r\n"},
                {"C", "", "C:\r\n"}};
    struct header_field f;
    for (size_t i = 0; i < 3; i++) {
        assert_true(header_next(&rest, &f));
        assert_true(slice_eq(f.name, slice_str(want[i].name)));
        assert_true(slice_eq(f.value, slice_str(want[i].value)));
        assert_true(slice_eq(f.raw, slice_str(want[i].raw)));
    }
    assert_false(header_next(&rest, &f));
    assert_true(slice_eq(rest, SLICE_LIT("\r\nD: body\r\n")));
    rest = SLICE_LIT("A: cut off");
    assert_true(header_next(&rest, &f));
    assert_true(slice_eq(f.value, SLICE_LIT(" cut off")));
    assert_false(header_next(&rest, &f));
    rest = SLICE_LIT("no field\r\n");
    assert_false(header_next(&rest, &f));
    assert_int_equal(rest.n, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_as_tabled_for_any_split),
        cmocka_unit_test(long_headers_are_looked_at_up_to_the_bound),
        cmocka_unit_test(one_endless_line_is_bounded),
        cmocka_unit_test(a_long_message_id_is_cut),
        cmocka_unit_test(eight_bit_is_seen_anywhere),
        cmocka_unit_test(fields_are_walked_with_their_folds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Content reader and writer: checklist 1-5, 7; promises 18, 19. */
#include "relay/smtp/dot.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define S(literal) SLICE_LIT(literal)
#define B(literal)                                                                                 \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    } /* S for tables */

struct result {
    struct buf content;
    enum dot_fault fault;
    bool ended;
    size_t consumed;
};

/* Reads `in` in pieces of `step` bytes. */
static struct result unstuff(struct slice in, size_t step, bool chunked)
{
    struct result r = {.content = BUF_MAX(1 << 20)};
    struct dot_reader reader = {.chunked = chunked};
    while (r.consumed < in.n && !reader.ended) {
        struct slice piece, part = slice_head(slice_skip(in, r.consumed), step);
        size_t n = dot_read(&reader, part, &piece);
        assert_true(n > 0 && n <= part.n);
        assert_true(piece.n == 0 || (piece.p >= part.p && piece.p + piece.n <= part.p + n));
        buf_add(&r.content, piece);
        r.consumed += n;
    }
    if (chunked)
        buf_add(&r.content, dot_read_last(&reader));
    r.fault = reader.fault;
    r.ended = reader.ended;
    return r;
}

static void assert_bytes(struct slice got, struct slice want)
{
    if (!slice_eq(got, want))
        fail_msg("got \"%.*s\", want \"%.*s\"", SLICE_ARG(got), SLICE_ARG(want));
}

/* A wrong row here is a message that is cut, joined with the next, or changed on its way. */
static const struct {
    struct slice wire, content;
    enum dot_fault fault;
    bool ended;
    size_t left; /* bytes behind the end */
} data_rows[] = {
    {B(".\r\n"), B(""), DOT_FINE, true, 0},
    {B("a\r\n.\r\n"), B("a\r\n"), DOT_FINE, true, 0},
    {B("a\r\n.\r\nQUIT\r\n"), B("a\r\n"), DOT_FINE, true, 6},
    {B("\r\n.\r\n"), B("\r\n"), DOT_FINE, true, 0},
    {B("..\r\n.\r\n"), B(".\r\n"), DOT_FINE, true, 0},
    {B("...a\r\n..b\r\n.\r\n"), B("..a\r\n.b\r\n"), DOT_FINE, true, 0},
    {B(".a\r\n.\r\n"), B("a\r\n"), DOT_FINE, true, 0},
    {B("a.\r\n.\r\n"), B("a.\r\n"), DOT_FINE, true, 0},
    {B("a\0b\xff\r\n.\r\n"), B("a\0b\xff\r\n"), DOT_FINE, true, 0},
    {B("a\r\n."), B("a\r\n"), DOT_FINE, false, 0},
    {B("a\r\n.\r"), B("a\r\n"), DOT_FINE, false, 0},
    /* Everything that some server has taken for the end of data, and that is not (promise 18). */
    {B("a\n.\n"), B("a"), DOT_BARE_LF, false, 0},
    {B("a\n.\r\n"), B("a"), DOT_BARE_LF, false, 0},
    {B("a\r.\r\n"), B("a\r"), DOT_BARE_CR, false, 0},
    {B("a\r.\r"), B("a\r"), DOT_BARE_CR, false, 0},
    {B("a\r.\n"), B("a\r"), DOT_BARE_CR, false, 0},
    {B("a\r\n.\n"), B("a\r\n"), DOT_BARE_LF, false, 0},
    {B("a\r\n.\r.\r\n"), B("a\r\n"), DOT_BARE_CR, false, 0},
    {B("a\r\n\0.\r\n"), B("a\r\n\0.\r\n"), DOT_FINE, false, 0},
    {B("a\r\n.\0\r\n"), B("a\r\n\0\r\n"), DOT_FINE, false, 0},
    {B("a\r\n. \r\n"), B("a\r\n \r\n"), DOT_FINE, false, 0},
    {B("a\r\n..\r\n"), B("a\r\n.\r\n"), DOT_FINE, false, 0},
    {B("a\r\r\n.\r\r\n"), B("a\r"), DOT_BARE_CR, false, 0},
    {B("a\n\n.\n\n"), B("a"), DOT_BARE_LF, false, 0},
    {B("a\x0b.\x0b"), B("a\x0b.\x0b"), DOT_FINE, false, 0},
    {B("a\xe2\x80\xa8.\xe2\x80\xa8"), B("a\xe2\x80\xa8.\xe2\x80\xa8"), DOT_FINE, false, 0},
    /* After a fault the reader still finds the real end, and only that. */
    {B("a\n.\r\nMAIL\r\n.\r\nQUIT"), B("a"), DOT_BARE_LF, true, 4},
    {B("a\r\n.\rb\r\n.\r\nQUIT"), B("a\r\n"), DOT_BARE_CR, true, 4},
    {B("\n\n\n\r\r\r\n.\r\n"), B(""), DOT_BARE_LF, true, 0},
};

static void data_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof data_rows / sizeof *data_rows; i++)
        for (size_t step = 1; step <= data_rows[i].wire.n; step++) {
            struct result r = unstuff(data_rows[i].wire, step, false);
            assert_bytes(buf_slice(&r.content), data_rows[i].content);
            assert_int_equal(r.fault, data_rows[i].fault);
            assert_int_equal(r.ended, data_rows[i].ended);
            assert_int_equal(data_rows[i].wire.n - r.consumed, data_rows[i].left);
            buf_done(&r.content);
        }
}

static const struct {
    struct slice chunk, content;
    enum dot_fault fault;
} chunk_rows[] = {
    {B(""), B(""), DOT_FINE},
    {B("a"), B("a\r\n"), DOT_FINE},
    {B("a\r\n"), B("a\r\n"), DOT_FINE},
    {B(".\r\n..\r\n"), B(".\r\n..\r\n"), DOT_FINE},
    {B("a\r\n.\r\nMAIL FROM:<a@b.test>\r\n"), B("a\r\n.\r\nMAIL FROM:<a@b.test>\r\n"), DOT_FINE},
    {B("a\r"), B("a\r"), DOT_BARE_CR},
    {B("a\nb"), B("a"), DOT_BARE_LF},
    {B("a\rb"), B("a\r"), DOT_BARE_CR},
};

/* BDAT: a dot means nothing, line ends mean the same. */
static void chunk_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof chunk_rows / sizeof *chunk_rows; i++)
        for (size_t step = 1; step <= chunk_rows[i].chunk.n + 1; step++) {
            struct result r = unstuff(chunk_rows[i].chunk, step, true);
            assert_bytes(buf_slice(&r.content), chunk_rows[i].content);
            assert_int_equal(r.fault, chunk_rows[i].fault);
            buf_done(&r.content);
        }
}

/* Checklist 7: 998 octets are fine, with a doubled dot too; 999 are not. */
static void long_lines(void **state)
{
    (void)state;
    for (size_t n = 990; n <= 1010; n++)
        for (int dotted = 0; dotted <= 1; dotted++)
            for (size_t step = 1; step < 1200; step += 399) {
                struct buf wire = BUF_MAX(1 << 16);
                buf_add_str(&wire, dotted ? "ok\r\n.." : "ok\r\n");
                for (size_t i = (size_t)dotted; i < n; i++)
                    buf_add_u8(&wire, 'x');
                buf_add_str(&wire, "\r\n.\r\n");
                struct result r = unstuff(buf_slice(&wire), step, false);
                assert_int_equal(r.fault, n <= DOT_LINE_MAX ? DOT_FINE : DOT_LONG_LINE);
                assert_true(r.ended);
                assert_int_equal(r.content.n, 4 + (n <= DOT_LINE_MAX ? n + 2 : DOT_LINE_MAX));
                buf_done(&r.content);
                buf_done(&wire);
            }
}

static bool stuff(struct slice content, size_t step, struct buf *out)
{
    struct dot_writer w = {0};
    for (size_t at = 0; at < content.n; at += step)
        if (!dot_write(&w, slice_head(slice_skip(content, at), step), out))
            return false;
    return dot_finish(&w, out);
}

/* Checklist 3, for every string of CR, LF, dot and a letter up to 7 bytes: what the writer takes
 * comes back as it was (with its last line ended), and it takes exactly what the reader takes. */
static void round_trip(void **state)
{
    (void)state;
    static const char letters[] = "\r\n.a";
    for (size_t length = 0; length <= 7; length++)
        for (uint32_t word = 0; word < 1u << (2 * length); word++) {
            uint8_t text[8];
            for (size_t i = 0; i < length; i++)
                text[i] = (uint8_t)letters[(word >> (2 * i)) & 3];
            struct slice content = slice_of(text, length);
            struct result plain = unstuff(content, 3, true);
            struct buf wire = BUF_MAX(64), again = BUF_MAX(64);
            const bool written = stuff(content, length ? length : 1, &wire);
            assert_int_equal(stuff(content, 1, &again), written);
            assert_int_equal(written, plain.fault == DOT_FINE);
            if (written) {
                assert_bytes(buf_slice(&again), buf_slice(&wire));
                struct result r = unstuff(buf_slice(&wire), 1 + word % 5, false);
                assert_true(r.ended && r.fault == DOT_FINE && r.consumed == wire.n);
                assert_bytes(buf_slice(&r.content), buf_slice(&plain.content));
                buf_done(&r.content);
            }
            buf_done(&wire);
            buf_done(&again);
            buf_done(&plain.content);
        }
}

/* What leaves must hold CRLF.CRLF once, at its end, or a receiver sees two messages. */
static void one_end(void **state)
{
    (void)state;
    struct buf wire = BUF_MAX(256);
    assert_true(stuff(S(".\r\n.\r\n\r\n.\r\nx\r\n."), 2, &wire));
    assert_bytes(buf_slice(&wire), S("..\r\n..\r\n\r\n..\r\nx\r\n..\r\n.\r\n"));
    assert_int_equal(slice_find_slice(buf_slice(&wire), S("\r\n.\r\n")), wire.n - 5);
    buf_done(&wire);
}

/* A megabyte of LF, or of CR, is refused at the cost of reading it: no quadratic search (promise
 * 16). */
static void floods(void **state)
{
    (void)state;
    static uint8_t flood[1 << 20];
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof flood; k++)
            flood[k] = (uint8_t)(i == 0 ? '\n' : i == 1 ? '\r' : '.');
        struct result r = unstuff(slice_of(flood, sizeof flood), sizeof flood, false);
        assert_false(r.ended);
        assert_int_equal(r.consumed, sizeof flood);
        assert_true(r.fault != DOT_FINE);
        buf_done(&r.content);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_table), cmocka_unit_test(chunk_table), cmocka_unit_test(long_lines),
        cmocka_unit_test(round_trip), cmocka_unit_test(one_end),     cmocka_unit_test(floods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

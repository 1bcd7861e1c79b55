/* Numbers in records: round trip, every prefix refused, no length believed. */
#include "relay/base/bytes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t numbers[] = {0,          1,          0x7f,       0x80,       0x3fff,
                                   0x4000,     0xffff,     0x10000,    0x12345678, UINT32_MAX,
                                   1ULL << 35, 1ULL << 62, 1ULL << 63, UINT64_MAX};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static void write_all(struct buf *b)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        uint64_t v = numbers[i];
        assert_true(buf_add_u16(b, (uint16_t)v) && buf_add_u32(b, (uint32_t)v));
        assert_true(buf_add_u64(b, v) && buf_add_varint(b, v) && buf_add_u8(b, (uint8_t)v));
        assert_true(buf_add_prefixed(b, slice_of(&numbers[i], i % 8)));
    }
}

static bool read_all(struct cursor *c)
{
    bool same = true;
    for (size_t i = 0; i < NUMBERS; i++) {
        uint64_t v = numbers[i];
        same &= cursor_u16(c) == (uint16_t)v;
        same &= cursor_u32(c) == (uint32_t)v;
        same &= cursor_u64(c) == v;
        same &= cursor_varint(c) == v;
        same &= cursor_u8(c) == (uint8_t)v;
        same &= slice_eq(cursor_prefixed(c), slice_of(&numbers[i], i % 8));
    }
    return same && !c->bad;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4096);
    write_all(&b);
    struct cursor c = cursor_of(buf_slice(&b));
    assert_true(read_all(&c));
    assert_int_equal(c.rest.n, 0);
    assert_int_equal(cursor_u8(&c), 0);
    assert_true(c.bad);
    buf_done(&b);
}

/* A record torn at any byte is seen as torn, and nothing past its end is read. */
static void every_prefix_is_bad(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4096);
    write_all(&b);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *torn = malloc(n ? n : 1);
        assert_non_null(torn);
        memcpy(torn, b.p, n);
        struct cursor c = cursor_of(slice_of(torn, n));
        assert_false(read_all(&c));
        assert_true(c.bad);
        assert_int_equal(cursor_bytes(&c, 0).n, 0);
        assert_true(c.bad);
        free(torn);
    }
    buf_done(&b);
}

static void order_is_little_endian(void **state)
{
    (void)state;
    uint8_t p[8];
    put_u64(p, 0x0102030405060708U);
    assert_memory_equal(p, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(get_u64(p) == 0x0102030405060708U);
    put_u32(p, 0xfffefdfcU);
    assert_memory_equal(p, "\xfc\xfd\xfe\xff", 4);
    assert_true(get_u32(p) == 0xfffefdfcU);
    put_u16(p, 0xfffeU);
    assert_memory_equal(p, "\xfe\xff", 2);
    assert_int_equal(get_u16(p), 0xfffe);
}

static void lengths_of_liars_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        {"\x05"
         "abcd",
         5},                                                      /* longer than the rest */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},         /* 2^64 - 1 */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},         /* 2^64: does not fit */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 12}, /* more than ten bytes */
        {"\x80", 1},                                              /* torn */
        {"", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cursor c = cursor_of(slice_of(rows[i].bytes, rows[i].n));
        assert_int_equal(cursor_prefixed(&c).n, 0);
        assert_true(c.bad);
    }
}

static void a_prefix_without_its_bytes_is_never_written(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(5);
    assert_false(buf_add_prefixed(&b, SLICE_LIT("12345")));
    assert_int_equal(b.n, 0);
    assert_true(b.overflow);
    buf_reset(&b);
    assert_true(buf_add_prefixed(&b, SLICE_LIT("1234")));
    assert_memory_equal(b.p,
                        "\x04"
                        "1234",
                        5);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(every_prefix_is_bad),
        cmocka_unit_test(order_is_little_endian),
        cmocka_unit_test(lengths_of_liars_are_refused),
        cmocka_unit_test(a_prefix_without_its_bytes_is_never_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

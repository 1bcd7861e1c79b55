#include "relay/base/bytes.h"

enum { VARINT_MAX = 10 };

void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t get_u32(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint16_t cursor_u16(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 2);
    return s.n ? get_u16(s.p) : 0;
}

uint32_t cursor_u32(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 4);
    return s.n ? get_u32(s.p) : 0;
}

uint64_t cursor_u64(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 8);
    return s.n ? get_u64(s.p) : 0;
}

/* LEB128; the tenth byte has one bit left to fill. */
uint64_t cursor_varint_long(struct cursor *c)
{
    uint64_t v = 0;
    for (int i = 0; i < VARINT_MAX; i++) {
        uint8_t byte = cursor_u8(c);
        if (i == VARINT_MAX - 1 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80))
            return c->bad ? 0 : v;
    }
    cursor_fail(c);
    return 0;
}

bool buf_add_u16(struct buf *b, uint16_t v)
{
    uint8_t bytes[2];
    put_u16(bytes, v);
    return buf_add(b, slice_of(bytes, sizeof bytes));
}

bool buf_add_u32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4];
    put_u32(bytes, v);
    return buf_add(b, slice_of(bytes, sizeof bytes));
}

bool buf_add_u64(struct buf *b, uint64_t v)
{
    uint8_t bytes[8];
    put_u64(bytes, v);
    return buf_add(b, slice_of(bytes, sizeof bytes));
}

static size_t varint_write(uint8_t bytes[VARINT_MAX], uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    return n;
}

bool buf_add_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[VARINT_MAX];
    return buf_add(b, slice_of(bytes, varint_write(bytes, v)));
}

bool buf_add_prefixed(struct buf *b, struct slice s)
{
    uint8_t bytes[VARINT_MAX];
    size_t n = varint_write(bytes, s.n);
    /* Both or neither: a length without its bytes would be read as other fields. */
    if (s.n > b->max - b->n || n > b->max - b->n - s.n) {
        b->overflow = true;
        return false;
    }
    size_t before = b->n;
    if (buf_add(b, slice_of(bytes, n)) && buf_add(b, s))
        return true;
    buf_cut(b, before);
    return false;
}

/*
 * Little-endian numbers and length-prefixed bytes, written into a buf and read through a cursor.
 * The cursor never reads past its end: one step too far sets `bad`, and every later read gives
 * zero; check `bad` once at the end.
 */
#pragma once
#include "relay/base/buf.h"

struct cursor {
    struct slice rest;
    bool bad;
};

static inline struct cursor cursor_of(struct slice s)
{
    return (struct cursor){.rest = s};
}

static inline struct slice cursor_fail(struct cursor *c)
{
    c->bad = true;
    c->rest.n = 0;
    return SLICE_NONE;
}

static inline struct slice cursor_bytes(struct cursor *c, size_t n)
{
    if (c->bad || n > c->rest.n)
        return cursor_fail(c);
    struct slice bytes = slice_head(c->rest, n);
    c->rest = slice_skip(c->rest, n);
    return bytes;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 1);
    return s.n ? s.p[0] : 0;
}

uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);

/* LEB128, at most 10 bytes. Nearly all have one. */
uint64_t cursor_varint_long(struct cursor *c);
static inline uint64_t cursor_varint(struct cursor *c)
{
    return c->rest.n && c->rest.p[0] < 0x80 ? cursor_u8(c) : cursor_varint_long(c);
}

/* A varint length, then so many bytes. */
static inline struct slice cursor_prefixed(struct cursor *c)
{
    uint64_t n = cursor_varint(c);
    return n > c->rest.n ? cursor_fail(c) : cursor_bytes(c, (size_t)n);
}

void put_u16(uint8_t *p, uint16_t v);
void put_u32(uint8_t *p, uint32_t v);
void put_u64(uint8_t *p, uint64_t v);
uint16_t get_u16(const uint8_t *p);
uint32_t get_u32(const uint8_t *p);
uint64_t get_u64(const uint8_t *p);

bool buf_add_u16(struct buf *b, uint16_t v);
bool buf_add_u32(struct buf *b, uint32_t v);
bool buf_add_u64(struct buf *b, uint64_t v);
bool buf_add_varint(struct buf *b, uint64_t v);
bool buf_add_prefixed(struct buf *b, struct slice s);

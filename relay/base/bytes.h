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

uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
uint64_t cursor_varint(struct cursor *c); /* LEB128, at most 10 bytes */
struct slice cursor_bytes(struct cursor *c, size_t n);
struct slice cursor_prefixed(struct cursor *c); /* varint length, then bytes */

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

/*
 * Bytes being built: grows on the heap up to a maximum given at birth. Adding past the maximum adds
 * nothing and sets `overflow`, which stays: build a whole thing, then look once. Invariants: n <=
 * cap <= max; bytes are p[0..n). A zeroed struct with a max is ready for use; buf_done gives the
 * memory back.
 */
#pragma once
#include "relay/base/slice.h"
#include <stdarg.h>

struct buf {
    uint8_t *p;
    size_t n, cap, max;
    bool overflow;
};

#define BUF_MAX(max_bytes) ((struct buf){.max = (max_bytes)})

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b);
/* n = 0, overflow forgotten, memory kept. */
void buf_reset(struct buf *b);
/* Each returns false, having added nothing, when the maximum would be passed or memory is out. What
 * is added must not lie in b itself. */
bool buf_add(struct buf *b, struct slice s);
bool buf_add_u8(struct buf *b, uint8_t c);
bool buf_add_str(struct buf *b, const char *s);
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_addv(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Room for n more bytes: where they go, or NULL (and overflow) past the maximum. buf_commit counts
 * those written. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* Takes the first n bytes away. */
void buf_drop(struct buf *b, size_t n);
/* Shortens to n bytes. */
void buf_cut(struct buf *b, size_t n);
static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->p, b->n};
}
/* NUL-terminated view (the NUL is not counted); "" when it would pass the maximum. Borrowed until
 * the next change. */
const char *buf_str(struct buf *b);

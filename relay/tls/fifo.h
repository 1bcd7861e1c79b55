/* Bytes that wait: added behind, taken in front, without moving what stays each time. An empty one
 * keeps at most FIFO_KEEP bytes of memory. */
#pragma once
#include "relay/base/buf.h"

#define FIFO_KEEP 1024

struct fifo {
    struct buf b;
    size_t taken; /* bytes of b that are gone */
};

void fifo_init(struct fifo *f, size_t max_bytes);
void fifo_done(struct fifo *f);
bool fifo_add(struct fifo *f, struct slice s); /* false past the maximum: nothing is added */
void fifo_take(struct fifo *f, size_t n);
/* Borrowed until the next change. */
static inline struct slice fifo_slice(const struct fifo *f)
{
    return slice_skip(buf_slice(&f->b), f->taken);
}
static inline size_t fifo_size(const struct fifo *f)
{
    return f->b.n - f->taken;
}

/* What the targets that build a segment share: a segment made of the input, and what a spool holds
 * as a number. */
#pragma once
#include "queue/segment.h"
#include "queue/spool.h"
#include "relay/base/crc32c.h"
#include "tests/sim/fake_disk.c"
#include "tests/sim/fake_files.c"
#include "tests/sim/fake_ops.c"

enum { SALT = 7, ROOM = 1 << 18 };
enum {
    BAD_HEAD = 1,
    BAD_HEADER = 2,
    GAP = 4,
    BATCH = 8,
    STALE_SEGMENT = 16,
    WITH_BODY = 32,
    BAD_BODY = 64
};

/* u8 type, u8 flags, u16 length, head. Returns the bytes used in the segment. */
static inline size_t build(uint8_t *segment, struct slice input)
{
    struct cursor c = cursor_of(input);
    size_t at = SEGMENT_DATA, batch = at;
    for (uint64_t number = 1; c.rest.n && !c.bad; number++) {
        uint8_t type = cursor_u8(&c), flags = cursor_u8(&c);
        uint16_t n = cursor_u16(&c);
        struct slice head = slice_head(c.rest, n);
        c.rest = slice_skip(c.rest, n);
        size_t body = flags & WITH_BODY && head.n >= 40 ? 100 : 0;
        if (at + record_size(head.n + body) + 1024 > ROOM)
            break;
        if (flags & GAP)
            memset(segment + at, type, 24), at += 24;
        if (flags & BATCH)
            batch = at = (at + 511) & ~(size_t)511;
        uint8_t *to = segment + at + RECORD_HEADER_SIZE;
        if (head.n)
            memcpy(to, head.p, head.n);
        memset(to + head.n, 'b', body);
        if (body) {
            put_u32(to, crc32c(0, to + head.n, body) ^ (flags & BAD_BODY ? 1 : 0));
            put_u64(to + 32, body);
        }
        struct record_header h = {.length = (uint32_t)(head.n + body),
                                  .head = (uint32_t)head.n,
                                  .segment = flags & STALE_SEGMENT ? 3 : 1,
                                  .batch = (uint32_t)batch,
                                  .type = (enum record_type)(type % 6),
                                  .number = number,
                                  .head_crc = crc32c(SALT, to, head.n) ^ (flags & BAD_HEAD)};
        record_header_write(segment + at, &h, SALT);
        segment[at] ^= flags & BAD_HEADER;
        at += record_size(h.length);
    }
    return at;
}

static inline uint64_t digest(struct spool *s)
{
    uint64_t sum = 0;
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        MUST(spool_find(s, m->id) == m && m->n_left > 0);
        sum = sum * 31 + m->id + m->n_left;
        for (uint32_t i = 0; i < m->n_rcpts; i++)
            sum =
                sum * 31 + m->rcpts[i].state + m->rcpts[i].attempts + (uint64_t)m->rcpts[i].due.us;
        struct body *b = NULL;
        struct spool_read *r = spool_read_new(s, m, 0, 1000);
        sum = sum * 31 + (uint64_t)spool_read_run(r, &b);
        spool_read_free(s, r);
        body_unref(b);
    }
    return sum;
}

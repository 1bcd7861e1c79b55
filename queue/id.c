#include "queue/id.h"

#define EPOCH_US (INT64_C(1767225600) * WALL_SECOND) /* 2026-01-01T00:00:00Z */

enum { COUNTER_BITS = 16, DIGITS = QUEUE_ID_SIZE - 1, DIGIT_BITS = 5 };

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

uint64_t queue_id_next(uint64_t last, struct wall now)
{
    uint64_t by_clock = 0;
    if (now.us > EPOCH_US)
        by_clock = ((uint64_t)(now.us - EPOCH_US) / 1000) << COUNTER_BITS;
    return by_clock > last ? by_clock : last + 1;
}

uint64_t queue_id_draw(_Atomic uint64_t *last, struct wall now)
{
    uint64_t seen = atomic_load_explicit(last, memory_order_relaxed);
    uint64_t next;
    do {
        next = queue_id_next(seen, now);
    } while (!atomic_compare_exchange_weak_explicit(last, &seen, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

void queue_id_write(uint64_t id, char ret_text[QUEUE_ID_SIZE])
{
    for (int i = DIGITS - 1; i >= 0; i--, id >>= DIGIT_BITS)
        ret_text[i] = alphabet[id & 31];
    ret_text[DIGITS] = 0;
}

static int digit_value(uint8_t c)
{
    uint8_t low = byte_lower(c);
    for (int i = 0; i < 32; i++)
        if (byte_lower((uint8_t)alphabet[i]) == low)
            return i;
    return -1;
}

bool queue_id_parse(struct slice s, uint64_t *ret)
{
    uint64_t id = 0;
    if (s.n != DIGITS)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int value = digit_value(s.p[i]);
        /* 13 digits have 65 bits: the first one stays below 16. */
        if (value < 0 || (i == 0 && value > 15))
            return false;
        id = id << DIGIT_BITS | (uint64_t)value;
    }
    *ret = id;
    return true;
}

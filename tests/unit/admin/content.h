/* What the played spooler's messages hold: a header section, then octets that tell their place. */
#pragma once
#include "relay/spooler/spooler.h"
#include <stdlib.h>

static inline void free_body(struct frozen *f)
{
    free(f);
}

static inline struct body *body_made(size_t n)
{
    struct body *b = malloc(sizeof *b + n);
    frozen_init(&b->frozen, free_body);
    b->n = n;
    return b;
}

static inline uint8_t content_at(uint64_t i)
{
    return i < 6   ? (uint8_t) "A: b\r\n"[i]
           : i < 8 ? (uint8_t) "\r\n"[i - 6]
                   : (uint8_t)(i * 7 + i / 251);
}

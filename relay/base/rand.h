/* Chance: rand_bytes asks the kernel (only rand.c does); struct rng is a small generator that is
 * handed to pure code, so that a seed repeats a run. Not for secrets. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rand_bytes(void *p, size_t n);
void rng_seed(struct rng *r, uint64_t seed);
void rng_seed_random(struct rng *r);
uint64_t rng_next(struct rng *r);
/* 0 <= result < n; n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);

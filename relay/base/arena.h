/*
 * Memory of one session or transaction: given back all at once, with a cap that a peer cannot pass.
 * arena_alloc returns NULL at the cap: refuse politely. A zeroed struct with a cap is ready for
 * use.
 */
#pragma once
#include "relay/base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used, cap;
};

void arena_init(struct arena *a, size_t cap_bytes);
void arena_done(struct arena *a);
/* Forgets everything, keeps one block for the next transaction. */
void arena_reset(struct arena *a);
void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned for anything; NULL past the cap */
/* A copy that lives in the arena; ret.p is NULL past the cap. A NUL follows the bytes. */
struct slice arena_dup(struct arena *a, struct slice s);

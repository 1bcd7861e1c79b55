/*
 * Messages by id, in order: chunks of up to 512 sorted entries under a sorted list of chunks. Ids
 * mostly grow, so most insertions append. 16 bytes a message; every call O(log n) plus moving one
 * chunk.
 */
#pragma once
#include "queue/message.h"

struct index_chunk;
struct index {
    struct index_chunk **chunks;
    size_t n_chunks, cap;
    uint64_t n;
};

void index_done(struct index *x); /* the messages are not touched */
struct message *index_find(const struct index *x, uint64_t id);
/* The one with the lowest id > after; NULL at the end. */
struct message *index_after(const struct index *x, uint64_t after);
/* How many have an id below this one. */
uint64_t index_rank(const struct index *x, uint64_t id);
/* Bytes of memory that it takes. */
size_t index_memory(const struct index *x);
void index_add(struct index *x, struct message *m); /* its id must not be there */
void index_remove(struct index *x, uint64_t id);    /* it must be there */

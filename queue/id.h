/*
 * Queue ids: 64 bits, unique for ever and sortable by age: milliseconds since 2026-01-01 UTC (48
 * bits) and a counter (16 bits). The next id is never below the last one handed out, whatever the
 * clock does; the spool keeps the high-water mark on disk. Text: 13 characters of Crockford base 32
 * (no I, L, O, U), upper case, read without case.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/slice.h"
#include <stdatomic.h>

#define QUEUE_ID_SIZE 14 /* with NUL */

uint64_t queue_id_next(uint64_t last, struct wall now);
/* The same for ids drawn on several threads: *last is the last one drawn by anybody. */
uint64_t queue_id_draw(_Atomic uint64_t *last, struct wall now);
void queue_id_write(uint64_t id, char ret_text[QUEUE_ID_SIZE]);
bool queue_id_parse(struct slice s, uint64_t *ret);

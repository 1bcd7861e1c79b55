/*
 * One libuv loop in one thread. Everything a loop owns is touched by its thread only; others reach
 * it through a port (inbox.h). The loop's clock is read once per turn: loop_now().
 */
#pragma once
#include "relay/base/clock.h"
#include <uv.h>

struct loop;

/* name: for the thread ("net0", "spooler", …, <= 15 bytes). Not running yet: set up handles, then
 * start. */
struct loop *loop_new(const char *name, unsigned index);
void loop_free(struct loop *l); /* after loop_join */
uv_loop_t *loop_uv(struct loop *l);
unsigned loop_index(const struct loop *l);
/* The time at which this turn began, on the clock of mono_now() (at most a millisecond behind it).
 * On the loop's thread, or before it runs. */
struct mono loop_now(const struct loop *l);
int loop_start(struct loop *l); /* makes the thread */
void loop_run_here(
    struct loop *l); /* instead of loop_start: runs on the caller's thread until loop_stop */
/* From any thread: the loop ends after this turn. Handles left open are closed (walked) before the
 * thread ends. */
void loop_stop(struct loop *l);
void loop_join(struct loop *l);

/* What a room keeps once a loop (net: buffers, its connections). Embed it; `key` is any address of
 * the room's own. */
struct loop_part {
    struct loop_part *next;
    const void *key;
    void (*end)(struct loop_part *p);  /* the loop stops: close what is open; the loop turns until
                                          all of it is closed */
    void (*free)(struct loop_part *p); /* within loop_free */
};
void loop_part_add(struct loop *l, struct loop_part *p);
struct loop_part *loop_part_find(const struct loop *l, const void *key);

/* A moment at which to be called: one per object, re-armed freely, costs no system call. */
struct deadline {
    uv_timer_t timer;
    void (*fn)(void *ctx, struct mono now);
    void *ctx;
    struct mono at, due; /* due: of the timer; earlier than `at` where that was moved to later */
    bool armed;
    bool heard; /* it came late, and what had come meanwhile was looked at first */
    void (*closed)(void *ctx);
    struct deadline *next_closed;
};
void deadline_init(struct loop *l, struct deadline *d, void (*fn)(void *ctx, struct mono now),
                   void *ctx);
/* MONO_NEVER disarms. Moving it to later is free: the timer stays where it is and looks again when
 * it fires. */
void deadline_set(struct loop *l, struct deadline *d, struct mono at);
/* The memory may go when `closed` is called (may be NULL when it outlives the loop by other means).
 */
void deadline_close(struct deadline *d, void (*closed)(void *ctx));

/*
 * Threads that take turns at one owner's work. Whoever is free takes the turn when a message has
 * come or the time has; one of them has it at a time, and what the owner owns is touched in turns
 * only. A call that blocks (a write, a sync) is left behind by the turn and run by the same thread,
 * outside of it, while another one may take the next turn: no thread has to be woken between
 * deciding and doing, nor between what was done and its consequences.
 */
#pragma once
#include "relay/loop/inbox.h"
#include "relay/loop/worker.h"

#define CREW_MAX 4 /* threads */

struct crew;
/* name: for the threads (<= 15 bytes). threads: one more than jobs that can be out at the same
 * time. `turn` follows the handling of what has come, or the time of crew_wake_at. */
struct crew *crew_new(const char *name, unsigned threads, void (*turn)(void *ctx), void *ctx);
/* Its messages are handled in turns. Freed by crew_free. */
struct inbox *crew_inbox(struct crew *c);
int crew_start(struct crew *c); /* 0 or negative errno */

/* Within a turn, or before the start. */
/* The next turn comes at the latest then; asked anew in each turn (otherwise: never). */
void crew_wake_at(struct crew *c, struct mono at);
/* Run when this turn is over, by its thread; then it is a message to its reply, a port of this
 * crew. One a turn. */
void crew_leave(struct crew *c, struct worker_job *job);

/* From any thread: turns and jobs under way are finished, no new ones begin. Returns when the
 * threads have ended. */
void crew_end(struct crew *c);
/* After crew_end. Messages never handled are given to drop (may be NULL: free()). */
void crew_free(struct crew *c, void (*drop)(struct msg *m));

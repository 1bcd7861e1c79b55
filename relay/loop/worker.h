/*
 * A helper thread for calls that block (disk, password hashing): runs jobs in order, answers
 * through a port. One worker is one thread.
 */
#pragma once
#include "relay/loop/inbox.h"

struct worker_job {
    struct msg msg;                    /* sent to `reply` when done */
    void (*run)(struct worker_job *j); /* on the worker's thread */
    const struct port *reply;
};

struct worker;
struct worker *worker_new(const char *name);
/* One whose work can wait a little: it has a lower priority (nice 5) than the threads that carry
 * mail. */
struct worker *worker_new_patient(const char *name);
void worker_push(struct worker *w, struct worker_job *j);
/* Finishes what was pushed, then ends the thread. */
void worker_free(struct worker *w);

/* What the files of this room know of each other. */
#pragma once
#include "relay/loop/loop.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct loop {
    uv_loop_t uv;
    /* An eventfd, the only one: messages and the wish to stop come by it. Not uv_async_t:
     * libuv 1.44 lets a loop that wakes before its sender has left uv_async_send spin until it has,
     * which on a busy or single processor is a whole time slice. */
    uv_poll_t wake;
    int wake_fd;
    uv_prepare_t turn_end; /* others are woken there */
    char name[16];
    unsigned index;
    pthread_t thread;
    uv_timer_t nap;  /* the inbox's */
    bool has_thread; /* to be joined */
    bool running;    /* uv_now is fresh once a turn */
    bool ended;      /* everything but `wake` is closed; nothing is handed out any more */
    atomic_bool stop;
    void (*on_wake)(void *ctx); /* the inbox */
    void *on_wake_ctx;
    struct loop_part *parts;
    struct mono stood_still; /* the turn whose deadlines came late (deadline.c) */
    struct deadline
        *closed_late; /* closed by their owners after the loop had closed their timers */
};

/* From any thread. */
void loop_wake(struct loop *l);
/* Before making a thread, which inherits the mask: signals are for the main thread. */
void loop_block_signals(sigset_t *ret_before);

struct inbox;
struct msg;
struct port;
/* One of somebody else than a loop. `wake`: by who sends and finds it empty. */
struct inbox *inbox_of(void (*wake)(void *ctx), void *ctx);
bool inbox_has(const struct inbox *i);
/* Handles all that is there now; false: nothing was. On the owner's thread. */
bool inbox_hand_out(struct inbox *i);
/* Wakes who is owed it, within a pair of hold and release. */
void inbox_wake_owed(void);
/* Like port_send, without waking: true when it had been empty. */
bool inbox_put(const struct port *p, struct msg *m);

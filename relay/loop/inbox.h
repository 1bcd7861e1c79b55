/*
 * The only channel between threads. A message is moved, never shared: after port_send the sender
 * does not touch it. Each loop has one inbox; a port is an address in it: who handles. Wake-ups are
 * coalesced: one a batch. Messages of one sender to one loop arrive in the order sent.
 *
 * struct store_request { struct msg msg; … };   msg first, so that the handler can cast back.
 */
#pragma once
#include "relay/loop/loop.h"

struct port;
struct msg {
    struct msg *next;
    const struct port *to;
    unsigned type; /* meaning belongs to the receiving room */
};

struct inbox;
struct port {
    struct inbox *inbox;
    void (*fn)(void *ctx, struct msg *m); /* owns m */
    void *ctx;
};

/* Before loop_start. `after_batch` (may be NULL) is called once after a batch has been handed out:
 * the place to do work once for many. */
struct inbox *inbox_new(struct loop *l, void (*after_batch)(void *ctx), void *ctx);
/* Before loop_start. For an owner whose messages can wait a little: the first one wakes it, and
 * what comes within so many ms behind a batch is the next batch, without a wake-up for each. */
void inbox_nap(struct inbox *i, unsigned ms);
/* After loop_join: messages never handled are given to drop (may be NULL: free()). */
void inbox_free(struct inbox *i, void (*drop)(struct msg *m));
/* From any thread. The port must live as long as anyone may send (rooms live as long as the
 * process). Sending to a stopped loop is allowed. */
void port_send(const struct port *p, struct msg *m);
/* Between the two, on this thread: who is to be woken is woken at the end, once for all that was
 * sent to him. For a stretch of work that blocks nowhere; a loop and a crew do it for each of their
 * turns. Pairs may be nested. */
void inbox_hold_wakes(void);
void inbox_release_wakes(void);

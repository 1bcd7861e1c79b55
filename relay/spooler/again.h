/*
 * SPOOLER_AGAIN: events are read once more, on a helper of their own, which is made for the first
 * question. What cannot be read is tried again when the log asks again, once a second, AGAIN_TRIES
 * times; then it is left out, and told as damage. Owner: the spooler's thread; part of its rim.
 */
#pragma once
#include "relay/loop/worker.h"
#include "relay/spooler/spooler.h"

#define AGAIN_TRIES 60

struct damage;

struct again {
    struct spool *spool;
    struct damage *damage;
    const struct port *back; /* where the end comes: again_back */
    struct worker *worker;
    unsigned failures; /* in a row, without an event told */
};

void again_request(struct again *a, struct spooler_again *q); /* owns q */
void again_back(struct again *a, struct msg *m);
/* Ends the helper; what it had comes to again_back still. */
void again_stop(struct again *a);

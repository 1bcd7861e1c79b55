/*
 * SPOOLER_AGAIN: events are read once more, on a helper of their own, which is made for the first
 * question. Owner: the spooler's thread; part of its rim.
 */
#pragma once
#include "relay/loop/worker.h"
#include "relay/spooler/spooler.h"

struct again {
    struct spool *spool;
    const struct port *back; /* where the end comes: again_back */
    struct worker *worker;
};

void again_request(struct again *a, struct spooler_again *q); /* owns q */
void again_back(struct again *a, struct msg *m);
/* Ends the helper; what it had comes to again_back still. */
void again_stop(struct again *a);

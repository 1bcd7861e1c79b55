/*
 * The steps of SPOOLER_CHECK on a helper of their own, which is made for the first check: reading a
 * whole spool stands in nobody's way. Owner: the spooler's thread; part of its rim.
 */
#pragma once
#include "relay/loop/worker.h"
#include "relay/spooler/spooler.h"

struct checker {
    struct spool *spool;
    const struct port *back; /* where a step's end comes: checker_back */
    struct worker *worker;
    bool busy;                   /* a check has begun and not ended */
    struct spool_check *waiting; /* for its asker, between two steps; else NULL */
    struct mono since;
};

void checker_request(struct checker *c, struct spooler_check *q); /* owns q */
void checker_back(struct checker *c, struct msg *m, struct mono now);
/* Now and then: segments that a check has pinned are not freed. An asker who does not go on (he is
 * stopped, or does not read) does not keep them for ever. */
void checker_look(struct checker *c, struct mono now);
/* Ends the helper; what it had comes to checker_back still. */
void checker_stop(struct checker *c);

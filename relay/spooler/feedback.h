/*
 * What an attempt says about the site, for its window (queue/README.md, "Windows"). Pure.
 */
#pragma once
#include "relay/spooler/spooler.h"

struct feedback {
    enum sched_outcome outcome;
    int64_t after_s; /* when it wants to see us again; 0: it does not say */
};

/* Before the attempt is counted. A recipient's own trouble says that the receiver works. False: it
 * says nothing, the trouble was our own, or there was no attempt. */
bool feedback_of(const struct message *m, const struct spooler_result *r, struct feedback *ret);

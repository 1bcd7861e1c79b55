/*
 * What the spool says is damaged: a line in the program's log and an event in the delivery log
 * each, but not a flood; "spool check" has all of it. Findings of opening wait until there is a
 * spooler to write their events. Owner: the spooler's thread, before and while it runs.
 */
#pragma once
#include "relay/loop/inbox.h"
#include <stdint.h>

#define DAMAGE_SAY_MAX 20

struct damage {
    const struct port *port;        /* of the spooler; NULL while the spool is being opened */
    struct msg *early, **early_end; /* notes that wait for it */
    unsigned said;
};

/* spool_options.say; ctx: struct damage. */
void damage_say(void *ctx, const char *line);
/* The spool is open and `found` is the number of all findings: sends what waits. */
void damage_opened(struct damage *d, const struct port *port, uint64_t found);
/* It could not be opened. */
void damage_drop(struct damage *d);

/*
 * Destinations and sites that an operator has suspended: who, when, for how long and why. Pure: a
 * list, and its text, which is a file of the spool's folder:
 *
 *   list = *( since SP until SP name TAB actor TAB reason LF )
 *
 * since and until are microseconds since 1970, until 0: until it is resumed. Texts hold no control
 * characters. A line that is no such one is passed over and counted. Bounds: SUSPEND_MAX entries.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"

enum { SUSPEND_MAX = 1000, SUSPEND_TEXT_MAX = 600 };

struct suspension {
    char *name, *actor, *reason;
    struct wall since, until;
};

struct suspensions {
    struct suspension *list;
    size_t n;
};

void suspensions_done(struct suspensions *s);
/* Adds; returns how many lines made no sense. */
size_t suspensions_read(struct suspensions *s, struct slice text);
void suspensions_write(const struct suspensions *s, struct buf *out);
/* In place of one of the same name. Control characters become blanks. False: there are too many. */
bool suspensions_put(struct suspensions *s, struct slice name, struct slice actor,
                     struct slice reason, struct wall since, struct wall until);
bool suspensions_drop(struct suspensions *s, struct slice name); /* false: there is none */
/* Those whose time is over go; returns how many. */
size_t suspensions_end(struct suspensions *s, struct wall now);

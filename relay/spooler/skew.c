/*
 * The wall clock is set back (by an operator, by NTP after a bad start): what was to be tried in
 * ten minutes would wait a day. The monotonic clock tells; then due times are brought back into
 * reach, a bounded number of messages at a time. Set forward it only makes attempts early.
 */
#include "relay/spooler/core_int.h"

enum { STEP_MESSAGES = 500 };
#define NOTICE_US (30 * WALL_SECOND) /* below, waiting longer harms nobody */

struct wall skew_due(const struct core *c, const struct recipient *r)
{
    const struct sched_limits *way = sched_rcpt_limits(r);
    const struct retry_policy *retry = !way ? &c->widest : way->retry.n ? &way->retry : &c->retry;
    struct wall due = retry_clamp(retry, r->attempts, r->due, c->now),
                release = message_release(recipient_message(r));
    /* The moment that its sender has named is not absurd. */
    if (r->attempts > 0 || release.us <= due.us)
        return due;
    return release.us < r->due.us ? release : r->due;
}

void skew_watch(struct core *c)
{
    int64_t expected = c->skew.wall.us + (c->mono.ms - c->skew.mono.ms) * 1000;
    bool back = c->skew.known && c->now.us < expected - NOTICE_US;
    if (back) {
        c->skew.walking = true;
        c->skew.after = 0;
    }
    if (back || !c->skew.known || c->now.us > expected) {
        c->skew.wall = c->now;
        c->skew.mono = c->mono;
        c->skew.known = true;
    }
}

/* What stands in line, or is with a connection, was due already, and still is should it come back.
 */
static void bring_back(struct core *c, struct recipient *r)
{
    struct slice site, destination;
    struct wall due = skew_due(c, r);
    if (r->active || sched_where(r, &site, &destination)) {
        r->due = r->due.us > c->now.us ? c->now : r->due;
    } else if (r->domain && due.us != r->due.us) {
        sched_remove(c->sched, r);
        r->due = due;
        sched_add(c->sched, r);
    }
}

void skew_step(struct core *c)
{
    for (unsigned i = 0; c->skew.walking && i < STEP_MESSAGES; i++) {
        struct message *m = spool_after(c->spool, c->skew.after);
        if (!m) {
            c->skew.walking = false;
            return;
        }
        c->skew.after = m->id;
        for (uint32_t k = 0; k < m->n_rcpts; k++)
            bring_back(c, &m->rcpts[k]);
    }
}

/*
 * What a verdict does to a recipient, and what the delivery log says about it: one pure function
 * for the first, one for the second.
 *
 * Delivered: DELIVERED, and the event delivered (final); or relayed, where a notice of success was
 * asked for and the receiver cannot send it on. The sender is told "relayed" then, and where BY=…T
 * asked for that (RFC 3461 section 5.2.2, RFC 2852). Of what was captured he is told "delivered",
 * and so says the log: nobody else is there to tell it.
 *
 * Failed: BOUNCED, bounced (final). A DSN is due where outcome_wants_failure.
 *
 * Deferred, lifetime left: QUEUED, deferred. Attempts + 1; next due by the retry policy, at the
 * latest when it expires.
 *
 * Deferred, lifetime over: EXPIRED, expired (final). DSN as above.
 *
 * Deferred by a fault of our own: QUEUED, deferred, for ever: nothing bounces because of us
 * (promise 10). Before anybody was called it is no attempt, and the list's first pause follows,
 * however many there were.
 */
#pragma once
#include "relay/spooler/spooler.h"

struct outcome {
    struct rcpt_change change; /* verdict and host borrowed */
    enum event_name event;
    struct wall expires; /* by the destination's lifetime, where it has one */
};

/* How long and how often it is tried: the destination's way, or the default one. */
struct outcome_policy {
    const struct retry_policy *retry;
    int64_t lifetime_s;  /* 0: the message's own */
    bool double_bounces; /* reports that cannot be delivered are told to a postmaster */
};

/* What the receiver took over with the message. */
struct passed_on {
    bool dsn, deliver_by;
};

/* v->kind is not VERDICT_NONE. */
struct outcome outcome_decide(const struct recipient *r, const struct verdict *v, const char *host,
                              struct passed_on passed, const struct outcome_policy *policy,
                              struct wall now, struct rng *rng);

/* A recipient of whom the receiver hears for the first time was put off by RCPT or after the
 * content, with 450 or 451 and no word of load (too much, busy): the receiver wants to see this
 * mail again, and says nothing about the site (checklist 77). */
bool outcome_is_greylisting(const struct recipient *r, const struct verdict *v);

/* A fault of this host, before anybody was called: no attempt, and it says nothing of the mail. */
bool outcome_is_ours(const struct verdict *v);

/* The end of its way: filed here, not handed to another server. */
bool outcome_is_filed(const struct verdict *v);

/* Late enough that its sender is to hear that it is delayed? It was
 * tried, or stands where nothing is begun (stands_still: sched_stands_still), and now is
 * message_late_at; not where NOTIFY does not want it, and once a message. */
bool outcome_is_late(const struct recipient *r, bool stands_still, int64_t warning_s,
                     struct wall now);

/* NOTIFY=NEVER mutes all; else what is asked for, and for failures also silence. Nobody is told of
 * mail without a sender, but of a report, where double_bounces says so: the report on it is the
 * last word, by NOTIFY=NEVER. */
bool outcome_wants_failure(const struct recipient *r, bool double_bounces);

/* Facts beside the verdict; each may be missing. */
struct outcome_facts {
    const struct attempt *attempt;
    const struct slice *reverse_paths; /* of each recipient that has an event, or NULL, … */
    struct slice reverse_path; /* … and of this one: what it was sent with; "": with its sender */
    struct slice site, destination;
    struct slice actor, reason;
    bool no_attempt; /* decided without one: it is not counted */
    bool ranked;     /* what happened is that its message got another priority */
    int8_t priority;
    struct passed_on passed_on;
};
/* Which recipient of which message it is. */
void outcome_who(struct buf *out, const struct recipient *r);
/* v may be NULL (operators' events). */
void outcome_event(struct buf *out, const struct recipient *r, const struct outcome *o,
                   const struct verdict *v, const struct outcome_facts *f, struct wall now);
/* "… queued as XYZ", "OK id=XYZ": the id under which the receiver has it; "" when it does not say.
 */
struct slice outcome_remote_id(struct slice text);

/* New mail: recorded with its `accepted` events, answered and scheduled when that is durable. */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    EVENT_MAX = 15 * 1024, /* of one event's fields; a line of the log stays under 16 KiB */
    CHANGES_MAX = 100
};

static void refuse(struct core *c, struct spooler_store *s, int error)
{
    s->error = error;
    if (!s->body)
        spool_body_forget(c->spool, s->id);
    body_unref(s->body);
    s->body = NULL;
    core_answer(c, &s->msg, s->reply);
}

/* Of what is due now, the gravest. */
static const char *kind_of(const struct message *m, const struct envelope *e)
{
    bool relayed = false;
    if (e->dsn_rcpt)
        return "failed";
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        const struct verdict *last = recipient_last(r);
        if (r->dsn_due && r->state != RCPT_DELIVERED)
            return "failed";
        relayed = relayed || (r->dsn_due && !(last && outcome_is_filed(last)));
    }
    return e->dsn_delay ? "delayed" : relayed ? "relayed" : "delivered";
}

/* The DSN's record also says, of the message it reports on, that what was due of it is told. */
static void add_dsn_queued(struct core *c, struct buf *out, const struct spooler_store *s)
{
    const struct message *m = spool_find(c->spool, s->envelope.dsn_for);
    char of[QUEUE_ID_SIZE], report[QUEUE_ID_SIZE];
    queue_id_write(s->envelope.dsn_for, of);
    queue_id_write(s->id, report);
    if (m && s->envelope.dsn_rcpt) {
        outcome_who(out, &m->rcpts[s->envelope.dsn_rcpt - 1]);
    } else {
        event_add_str(out, EV_QUEUE_ID, slice_str(of));
        event_add_str(out, EV_MESSAGE_ID, m ? message_message_id(m) : SLICE_NONE);
        event_add_str(out, EV_SENDER, m ? message_sender(m) : SLICE_NONE);
        event_add_str(out, EV_ENVID, m ? message_envid(m) : SLICE_NONE);
    }
    if (m)
        event_add_tags(out, message_tags(m));
    event_add_str(out, EV_DSN_ID, slice_str(report));
    if (m)
        event_add_str(out, EV_DSN_KIND, slice_str(kind_of(m, &s->envelope)));
}

static int64_t seconds_up(int64_t us)
{
    return us / WALL_SECOND + (us % WALL_SECOND != 0);
}

/* Held from the beginning: the change stands right behind its message, most often in the same
 * batch. A message that is not stored takes it along. */
static void hold(struct core *c, const struct spooler_store *s, struct message *m)
{
    struct outcome_facts facts = {.actor = s->actor, .reason = s->reason};
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        DEFER(buf_done) struct buf fields = BUF_MAX(EVENT_MAX);
        struct outcome o = {.change = {.rcpt = i, .state = RCPT_HELD, .due = m->rcpts[i].due},
                            .event = EVENT_HELD};
        outcome_event(&fields, &m->rcpts[i], &o, NULL, &facts, c->now);
        struct spool_event_in event = {o.event, buf_slice(&fields)};
        core_change(c, m, &o.change, 1, &event);
    }
}

/* The lifetime begins when the message may go; BY=…R ends it at the deadline (RFC 2852). */
static uint64_t lifetime_of(const struct core *c, const struct envelope *e)
{
    int64_t waits_us = e->release.us > c->now.us ? e->release.us - c->now.us : 0;
    int64_t usual =
        e->dsn_for && c->lifetime_s > CORE_DSN_LIFETIME_S ? CORE_DSN_LIFETIME_S : c->lifetime_s;
    uint64_t s = e->expires_s ? e->expires_s : (uint64_t)(usual + seconds_up(waits_us));
    int64_t left_us = e->by_deadline.us - c->now.us;
    if (e->params.by != MAIL_BY_RETURN)
        return s;
    uint64_t left = left_us > WALL_SECOND ? (uint64_t)seconds_up(left_us) : 1;
    return left < s ? left : s;
}

void intake_store(struct core *c, struct spooler_store *s)
{
    struct envelope *e = &s->envelope;
    MUST(e->n_rcpts >= 1 && e->n_rcpts <= SPOOL_MESSAGE_MAX_RCPTS);
    bool delay = false;
    int stale = e->dsn_for ? bounce_check(c, s, &delay) : 0;
    int error = stale < 0 ? stale : core_accepting(c);
    if (error < 0) {
        refuse(c, s, error);
        return;
    }
    if (e->dsn_for)
        e->dsn_delay = delay;
    e->expires_s = lifetime_of(c, e);
    DEFER(buf_done) struct buf more = BUF_MAX(EVENT_MAX), told = BUF_MAX(EVENT_MAX);
    event_add_str(&more, EV_ACTOR, s->actor);
    event_add_str(&more, EV_REASON, s->reason);
    if (e->dsn_for)
        add_dsn_queued(c, &told, s);
    MUST(!more.overflow && !told.overflow);
    const struct spool_event_in events[] = {{EVENT_ACCEPTED_ALL, buf_slice(&more)},
                                            {EVENT_DSN_QUEUED, buf_slice(&told)}};
    struct message *m;
    bool body_file = !s->body;
    c->last_number = spool_put(c->spool, s->id, e, TAKE_PTR(s->body), body_file, c->now, events,
                               e->dsn_for ? 2 : 1, &m);
    if (s->held)
        hold(c, s, m);
    if (s->n_dropped)
        intake_drop(c, s, m);
    struct mono until = s->patience_ms > 0 ? mono_add(s->asked, s->patience_ms) : MONO_NEVER;
    core_wait(c, &(struct wait){.number = c->last_number,
                                .kind = WAIT_STORE,
                                .msg = &s->msg,
                                .reply = s->reply,
                                .id = s->id,
                                .held = s->held,
                                .n_dropped = (uint32_t)s->n_dropped,
                                .dsn_for = e->dsn_for,
                                .dsn_rcpt = e->dsn_rcpt,
                                .until = until});
    c->overdue_at = mono_min(c->overdue_at, until);
}

/* --- too late
 * -----------------------------------------------------------------------------------------------
 */

static void cancel_some(struct core *c, struct message *m, const uint32_t *rcpts, size_t n,
                        struct slice reason)
{
    struct rcpt_change changes[CHANGES_MAX];
    struct spool_event_in events[CHANGES_MAX];
    struct buf fields[CHANGES_MAX];
    struct outcome_facts facts = {.reason = reason};
    for (size_t i = 0; i < n; i++) {
        const struct recipient *r = &m->rcpts[rcpts[i]];
        struct outcome o = {.event = EVENT_CANCELLED,
                            .change = {.rcpt = rcpts[i], .state = RCPT_CANCELLED, .due = r->due}};
        fields[i] = BUF_MAX(EVENT_MAX);
        outcome_event(&fields[i], r, &o, NULL, &facts, c->now);
        changes[i] = o.change;
        events[i] = (struct spool_event_in){o.event, buf_slice(&fields[i])};
    }
    metric_add(M_QUEUED, (int64_t)n); /* what is cancelled counts down */
    core_change(c, m, changes, n, events);
    for (size_t i = 0; i < n; i++)
        buf_done(&fields[i]);
}

/* The client has been told 451 and will send it again. The record may become durable yet: what ends
 * it stands right behind it, and no attempt comes between. If the record fails, so does that. */
static void withdraw(struct core *c, const struct spooler_store *s)
{
    struct message *m = spool_find(c->spool, s->id);
    char reason[80];
    MUST(m && !m->durable);
    snprintf(reason, sizeof reason, "the client was told 451 after %lld s",
             (long long)(s->patience_ms / 1000));
    uint32_t rcpts[CHANGES_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        if (!rcpt_state_final(m->rcpts[i].state)) /* else dropped already */
            rcpts[n++] = i;
        if (n == CHANGES_MAX || (n > 0 && i + 1 == m->n_rcpts)) {
            cancel_some(c, m, rcpts, n, slice_str(reason));
            n = 0;
        }
    }
}

void intake_overdue(struct core *c)
{
    struct wait *w, *next;
    if (!mono_reached(c->overdue_at, c->mono))
        return;
    c->overdue_at = MONO_NEVER;
    DL_FOREACH_SAFE (c->waits, w, next) {
        if (w->kind != WAIT_STORE)
            continue;
        /* Held, and its hold is on its way: it cannot be taken back, nor does it go anywhere. */
        const struct message *m = spool_find(c->spool, w->id);
        if (m && m->durable)
            continue;
        if (!mono_reached(w->until, c->mono)) {
            c->overdue_at = mono_min(c->overdue_at, w->until);
            continue;
        }
        if (!wait_claim(w))
            continue;
        struct spooler_store *s = (struct spooler_store *)(void *)w->msg;
        withdraw(c, s);
        s->error = -ETIMEDOUT;
        core_answer(c, &s->msg, s->reply);
    }
}

/* The body stays in memory for the first attempt, unless others already fill the room. */
static void keep_fresh(struct core *c, struct message *m)
{
    if (!m->body)
        return;
    c->fresh_bytes += m->body->n;
    if (c->fresh_bytes > CORE_FRESH_MAX)
        core_fresh_drop(c, m);
}

static void schedule(struct core *c, const struct wait *w, struct message *m)
{
    MUST(m->durable);
    keep_fresh(c, m);
    if (w->held) /* an operator may have released it already, which schedules it */
        core_fresh_drop(c, m);
    for (uint32_t i = 0; i < m->n_rcpts && !w->held; i++) {
        if (rcpt_state_final(m->rcpts[i].state)) /* dropped */
            continue;
        /* The clock may have been set back since it was put: the walk passes over what waits for
         * the disk. */
        m->rcpts[i].due = skew_due(c, &m->rcpts[i]);
        sched_add(c->sched, &m->rcpts[i]);
    }
    metric_add(M_QUEUED, m->n_rcpts - w->n_dropped); /* those were counted */
}

void intake_durable(struct core *c, struct wait *w)
{
    struct message *m = spool_find(c->spool, w->id);
    MUST(m || w->n_dropped); /* all of them were dropped */
    if (m)
        schedule(c, w, m);
    if (w->dsn_for) {
        metric_add(M_DSN_QUEUED, 1);
        bounce_told(c, w->dsn_for, w->dsn_rcpt);
    }
    if (!wait_claim(w))
        return;
    struct spooler_store *s = (struct spooler_store *)(void *)w->msg;
    s->error = 0;
    core_answer(c, &s->msg, s->reply);
}

void intake_note(struct core *c, struct spooler_note *n)
{
    struct spool_event_in in = {.name = n->name, .fields = buf_slice(&n->fields)};
    if (!trouble_takes_note(c))
        return;
    c->last_number = spool_note(c->spool, c->now, &in, 1);
}

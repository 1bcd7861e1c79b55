/*
 * What an operator's verb does to a recipient: decided (a table in words, one function), written,
 * and the scheduler told. What is with a connection is left alone: the verb is noted and done when
 * the attempt has ended and the recipient is still there. Such notes live in memory only, at most
 * one of each kind (its fate, its route) for each recipient that is with a connection.
 *
 *   retry     due now                         release   queued again, or now instead of later
 *   hold      held                            remove    cancelled; nobody is told
 *   bounce    bounced, class admin            expire    expired, with what was last said
 *   redirect  another route, due now          priority  of its message; the rank of all that wait
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { EVENT_MAX = 15 * 1024 };

struct act {
    atomic_uint refs; /* the request is freed by its asker's thread */
    enum admin_verb verb;
    struct buf actor, reason, route;
    int8_t priority;
    uint64_t ranking;        /* the message whose recipients are getting the priority */
    struct verdict returned; /* of bounce; of expire, where nothing was said yet */
};

struct later {
    UT_hash_handle hh;
    struct place {
        uint64_t id;
        uint64_t rcpt;
    } place;
    struct act *route, *fate; /* REDIRECT; any other verb. NULL: none */
};

static struct verdict verdict_for(const struct spooler_admin *a)
{
    if (a->verb == ADMIN_BOUNCE)
        return verdict_of_fault(FAULT_CANCELLED, PHASE_NONE, buf_slice(&a->reason));
    struct verdict v = verdict_of_fault(FAULT_EXPIRED, PHASE_NONE, SLICE_NONE);
    v.kind = VERDICT_DEFERRED; /* and the lifetime is over */
    return v;
}

struct act *act_new(const struct spooler_admin *a)
{
    struct act *act = must_alloc(sizeof *act);
    atomic_init(&act->refs, 1);
    act->verb = a->verb;
    act->actor = buf_of(buf_slice(&a->actor));
    act->reason = buf_of(buf_slice(&a->reason));
    act->route = buf_of(buf_slice(&a->route));
    act->priority = a->priority;
    act->returned = verdict_for(a);
    return act;
}

void act_unref(struct act *a)
{
    if (!a || atomic_fetch_sub(&a->refs, 1) > 1)
        return;
    buf_done(&a->actor);
    buf_done(&a->reason);
    buf_done(&a->route);
    verdict_done(&a->returned);
    free(a);
}

/* --- deciding ------------------------------------------------------------------------------------
 */

/* Not before the time that its sender named (RFC 4865). `retry` leaves it alone: it is not late,
 * and who retries all of a queue does not mean it. `release` sends it now. */
static bool awaits_release(const struct core *c, const struct recipient *r)
{
    struct wall release = message_release(recipient_message(r));
    return r->state == RCPT_QUEUED && r->attempts == 0 && release.us > c->now.us &&
           r->due.us == release.us;
}

static struct wall later(struct wall a, struct wall b)
{
    return a.us > b.us ? a : b;
}

static bool decide_release(const struct core *c, const struct recipient *r, struct outcome *o)
{
    o->event = EVENT_RELEASED;
    o->change.state = RCPT_QUEUED;
    /* Held: as if it had not been, so the time that its sender named counts again. */
    o->change.due = r->state == RCPT_HELD && r->attempts == 0
                        ? later(c->now, message_release(recipient_message(r)))
                        : c->now;
    return r->state == RCPT_HELD || awaits_release(c, r);
}

/* It ends with what was last said about it, as when its lifetime is over. */
static bool decide_expire(const struct core *c, const struct act *a, const struct recipient *r,
                          struct outcome *o)
{
    const struct verdict *last = recipient_last(r);
    const bool said = last && last->kind == VERDICT_DEFERRED && last->fault != FAULT_LOCAL;
    o->event = EVENT_EXPIRED;
    o->change.state = RCPT_EXPIRED;
    o->change.verdict = said ? last : &a->returned;
    o->change.dsn_due = outcome_wants_failure(r, c->report_policy.double_bounces[0]);
    return true;
}

static bool decide_bounce(const struct core *c, const struct act *a, const struct recipient *r,
                          struct outcome *o)
{
    o->event = EVENT_BOUNCED;
    o->change.state = RCPT_BOUNCED;
    o->change.verdict = &a->returned;
    o->change.dsn_due = outcome_wants_failure(r, c->report_policy.double_bounces[0]);
    return true;
}

static bool decide_redirect(const struct core *c, const struct act *a, const struct recipient *r,
                            struct outcome *o)
{
    o->event = EVENT_REROUTED;
    o->change.has_route = true;
    o->change.route = buf_slice(&a->route);
    if (r->state == RCPT_QUEUED && !awaits_release(c, r))
        o->change.due = c->now;
    return !slice_eq(recipient_redirected(r), o->change.route);
}

bool act_decide(const struct core *c, const struct act *a, const struct recipient *r,
                struct outcome *ret)
{
    struct outcome *o = ret;
    *o = (struct outcome){.change = {.rcpt = r->number,
                                     .state = (enum rcpt_state)r->state,
                                     .attempts = r->attempts,
                                     .due = r->due,
                                     .last_attempt = r->last_attempt},
                          .expires = sched_rcpt_expires(r)};
    switch (a->verb) {
    case ADMIN_RETRY:
        o->event = EVENT_RESCHEDULED;
        o->change.due = c->now;
        return r->state == RCPT_QUEUED && !awaits_release(c, r);
    case ADMIN_REMOVE:
        o->event = EVENT_CANCELLED;
        o->change.state = RCPT_CANCELLED;
        return true;
    case ADMIN_HOLD:
        o->event = EVENT_HELD;
        o->change.state = RCPT_HELD;
        return r->state == RCPT_QUEUED;
    case ADMIN_RELEASE:
        return decide_release(c, r, o);
    case ADMIN_BOUNCE:
        return decide_bounce(c, a, r, o);
    case ADMIN_EXPIRE:
        return decide_expire(c, a, r, o);
    case ADMIN_REDIRECT:
        return decide_redirect(c, a, r, o);
    case ADMIN_PRIORITY:
        o->event = EVENT_RESCHEDULED;
        o->change.has_priority = true;
        o->change.priority = a->priority;
        /* The first of its recipients has changed it for all; the others are told of it, too. */
        return recipient_message(r)->priority != a->priority ||
               recipient_message(r)->id == a->ranking;
    case ADMIN_STATUS:
    case ADMIN_QUEUE:
    case ADMIN_DISK:
    case ADMIN_LIST:
    case ADMIN_SHOW:
        break;
    }
    UNREACHABLE();
}

/* --- changing ------------------------------------------------------------------------------------
 */

/* Out of the scheduler while it changes: what ends, what is held, what goes another way; and with a
 * priority all of the message, whose place depends on it. */
static void unschedule(struct core *c, struct message *m, const struct outcome *outcomes, size_t n,
                       bool all)
{
    for (uint32_t i = 0; all && i < m->n_rcpts; i++)
        if (!m->rcpts[i].active)
            sched_remove(c->sched, &m->rcpts[i]);
    for (size_t i = 0; !all && i < n; i++)
        if (outcomes[i].event != EVENT_RESCHEDULED && outcomes[i].event != EVENT_RELEASED)
            sched_remove(c->sched, &m->rcpts[outcomes[i].change.rcpt]);
}

static void schedule(struct core *c, struct recipient *r, enum event_name event)
{
    if (r->domain && (event == EVENT_RESCHEDULED || event == EVENT_RELEASED))
        sched_hurry(c->sched, r, c->now);
    else if (r->state == RCPT_QUEUED && !r->domain && !r->active)
        sched_add(c->sched, r);
}

uint64_t act_change(struct core *c, struct act *a, struct message *m,
                    const struct outcome *outcomes, size_t n)
{
    struct rcpt_change changes[ACT_CHANGES_MAX];
    struct spool_event_in events[ACT_CHANGES_MAX];
    struct buf fields[ACT_CHANGES_MAX];
    const bool ranks = a->verb == ADMIN_PRIORITY && m->priority != a->priority;
    const struct outcome_facts facts = {.actor = buf_slice(&a->actor),
                                        .reason = buf_slice(&a->reason),
                                        .destination = buf_slice(&a->route),
                                        .no_attempt = true,
                                        .ranked = a->verb == ADMIN_PRIORITY,
                                        .priority = a->priority};
    MUST(n >= 1 && n <= ACT_CHANGES_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct outcome *o = &outcomes[i];
        fields[i] = BUF_MAX(EVENT_MAX);
        outcome_event(&fields[i], &m->rcpts[o->change.rcpt], o, o->change.verdict, &facts, c->now);
        events[i] = (struct spool_event_in){o->event, buf_slice(&fields[i])};
        changes[i] = o->change;
        work_count(o->event);
    }
    if (ranks)
        a->ranking = m->id;
    if (ranks || a->verb != ADMIN_PRIORITY)
        unschedule(c, m, outcomes, n, ranks);
    uint64_t record = core_change(c, m, changes, n, events);
    for (size_t i = 0; i < n; i++) {
        if (a->verb != ADMIN_PRIORITY)
            schedule(c, &m->rcpts[outcomes[i].change.rcpt], outcomes[i].event);
        buf_done(&fields[i]);
    }
    for (uint32_t i = 0; ranks && i < m->n_rcpts; i++)
        schedule(c, &m->rcpts[i], EVENT_REROUTED);
    return record;
}

/* --- later ---------------------------------------------------------------------------------------
 */

static struct later *later_find(const struct core *c, uint64_t id, uint32_t rcpt)
{
    const struct place place = {id, rcpt};
    struct later *l;
    HASH_FIND(hh, c->laters, &place, sizeof place, l);
    return l;
}

static struct later *later_new(struct core *c, uint64_t id, uint32_t rcpt)
{
    struct later *l = must_alloc(sizeof *l);
    l->place = (struct place){id, rcpt};
    HASH_ADD(hh, c->laters, place, sizeof l->place, l);
    return l;
}

static void later_free(struct core *c, struct later *l)
{
    HASH_DEL(c->laters, l);
    act_unref(l->route);
    act_unref(l->fate);
    free(l);
}

static struct act **noted(struct later *l, enum admin_verb verb)
{
    return verb == ADMIN_REDIRECT ? &l->route : &l->fate;
}

/* It is what this verb wants, but for what was noted before: that is taken back. A release ends a
 * hold, and nothing that ends the mail. */
static bool take_back(struct core *c, const struct act *a, struct later *l)
{
    struct act **note = l ? noted(l, a->verb) : NULL;
    if (!note || !*note || (a->verb == ADMIN_RELEASE && (*note)->verb != ADMIN_HOLD))
        return false;
    act_unref(TAKE_PTR(*note));
    if (!l->route && !l->fate)
        later_free(c, l);
    return true;
}

bool act_later(struct core *c, struct act *a, const struct recipient *r, bool changes)
{
    const uint64_t id = recipient_message(r)->id;
    struct later *l = later_find(c, id, r->number);
    if (a->verb == ADMIN_RETRY) /* what is tried now need not be tried again at once */
        return false;
    if (!changes)
        return take_back(c, a, l);
    if (!l)
        l = later_new(c, id, r->number);
    struct act **note = noted(l, a->verb);
    act_unref(*note);
    atomic_fetch_add(&a->refs, 1);
    *note = a;
    return true;
}

static bool is_final(const struct recipient *r)
{
    return rcpt_state_final((enum rcpt_state)r->state);
}

static void do_now(struct core *c, struct act *a, struct message *m, const struct recipient *r)
{
    struct outcome o;
    if (a && !is_final(r) && act_decide(c, a, r, &o))
        act_change(c, a, m, &o, 1);
}

void act_ended(struct core *c, struct message *m, const uint32_t *rcpts, size_t n)
{
    for (size_t i = 0; i < n && c->laters; i++) {
        const struct recipient *r = &m->rcpts[rcpts[i]];
        struct later *l = later_find(c, m->id, rcpts[i]);
        if (!l)
            continue;
        /* What ends goes no other way before it. */
        if (!l->fate || l->fate->verb == ADMIN_HOLD)
            do_now(c, l->route, m, r);
        do_now(c, l->fate, m, r);
        later_free(c, l);
    }
}

void act_free_all(struct core *c)
{
    struct later *l, *next;
    HASH_ITER (hh, c->laters, l, next)
        later_free(c, l);
}

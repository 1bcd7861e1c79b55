/*
 * Operators' verbs: each request is one bounded step over messages in id order, from the cursor
 * `after` to `next`. Changes are answered when they are durable. What is with a connection is
 * skipped and counted: it can be asked for again when the attempt has ended.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <stdlib.h>

enum { STEP_MAX = 1000, CHANGES_MAX = 100, EVENT_MAX = 15 * 1024 };

/* --- rows
 * -------------------------------------------------------------------------------------------------
 */

static void row_add(struct spooler_admin *a, const struct recipient *r)
{
    const struct message *m = r->message;
    struct slice site, destination;
    bool ready = sched_where(r, &site, &destination);
    /* Grown by doubling: capacity is the next power of two. */
    if ((a->n_rows & (a->n_rows - 1)) == 0)
        a->rows = must_realloc(a->rows, (a->n_rows ? a->n_rows * 2 : 1) * sizeof *a->rows);
    a->rows[a->n_rows++] = (struct queue_row){
        .id = m->id,
        .queued = m->queued,
        .due = r->due,
        .expires = m->expires,
        .last_attempt = r->last_attempt,
        .size = m->envelope.size,
        .sender = buf_of(m->envelope.sender),
        .recipient = buf_of(r->address),
        .user = buf_of(m->envelope.user),
        .last_reply = buf_of(slice_str(r->last ? r->last->text : NULL)),
        .last_host = buf_of(slice_str(r->last_host)),
        .site = buf_of(site),
        .destination = buf_of(destination),
        .rcpt = (uint32_t)(r - m->rcpts),
        .n_rcpts = m->n_rcpts,
        .attempts = r->attempts,
        .state = (enum rcpt_state)r->state,
        .active = r->active,
        .ready = ready,
    };
}

struct site_rows {
    struct core *c;
    struct spooler_admin *a;
};

static void site_row_add(void *ctx, const struct sched_site_view *v)
{
    struct site_rows *to = ctx;
    struct spooler_admin *a = to->a;
    if ((a->n_sites & (a->n_sites - 1)) == 0)
        a->sites = must_realloc(a->sites, (a->n_sites ? a->n_sites * 2 : 1) * sizeof *a->sites);
    int64_t probe = v->next_probe.ms - to->c->mono.ms;
    a->sites[a->n_sites++] = (struct queue_site_row){
        .site = buf_of(v->site),
        .destination = buf_of(v->destination),
        .ready = v->ready,
        .waiting = v->waiting,
        .connections = v->connections,
        .idle = v->idle,
        .window = v->window,
        .limit = v->limit,
        .dead = v->dead,
        .next_probe_ms = !v->dead    ? -1
                         : probe > 0 ? probe
                                     : 0,
    };
}

/* --- totals
 * -----------------------------------------------------------------------------------------------
 */

static void totals_now(struct core *c, struct spooler_admin *a)
{
    struct queue_totals *t = &a->totals;
    struct spool_counts n;
    const struct message *oldest = spool_after(c->spool, 0);
    core_disk(c, &t->disk);
    spool_count(c->spool, &n);
    sched_count(c->sched, &t->ready, &t->waiting);
    t->held = c->n_held;
    t->active = c->n_active;
    t->messages = n.messages;
    t->recipients = t->ready + t->waiting + t->held + t->active;
    t->live_bytes = n.live_bytes;
    t->disk_bytes = n.disk_bytes;
    t->segments = n.segments;
    t->oldest = oldest ? oldest->queued : (struct wall){0};
    sched_each_site(c->sched, site_row_add, &(struct site_rows){c, a});
}

static void count_age(struct queue_totals *t, const struct message *m, struct wall now)
{
    static const int64_t younger_than_s[] = {60, 600, 3600, 6 * 3600, 24 * 3600};
    int64_t age_s = (now.us - m->queued.us) / WALL_SECOND;
    size_t i = 0;
    while (i < sizeof younger_than_s / sizeof *younger_than_s && age_s >= younger_than_s[i])
        i++;
    t->age_buckets[i]++;
}

/* --- changes
 * ---------------------------------------------------------------------------------------------- */

/* What a verb does to one recipient; false: nothing to do here (already so). */
static bool decide(const struct core *c, enum admin_verb verb, const struct recipient *r,
                   struct outcome *o)
{
    *o = (struct outcome){.change = {.rcpt = (uint32_t)(r - r->message->rcpts),
                                     .state = (enum rcpt_state)r->state,
                                     .attempts = r->attempts,
                                     .due = r->due,
                                     .last_attempt = r->last_attempt}};
    switch (verb) {
    case ADMIN_RETRY:
        o->event = EVENT_RESCHEDULED;
        o->change.due = c->now;
        return r->state == RCPT_QUEUED;
    case ADMIN_REMOVE:
        o->event = EVENT_CANCELLED;
        o->change.state = RCPT_CANCELLED;
        return true;
    case ADMIN_HOLD:
        o->event = EVENT_HELD;
        o->change.state = RCPT_HELD;
        return r->state == RCPT_QUEUED;
    case ADMIN_RELEASE:
        o->event = EVENT_RELEASED;
        o->change.state = RCPT_QUEUED;
        o->change.due = c->now;
        return r->state == RCPT_HELD;
    case ADMIN_STATUS:
    case ADMIN_QUEUE:
    case ADMIN_LIST:
    case ADMIN_SHOW:
        break;
    }
    UNREACHABLE();
}

static void reschedule(struct core *c, struct recipient *r, const struct outcome *o)
{
    if (o->event == EVENT_RESCHEDULED)
        sched_hurry(c->sched, r, c->now);
    else if (o->event == EVENT_RELEASED)
        sched_add(c->sched, r);
}

/* Recipients of one message, in records of at most CHANGES_MAX. */
static void change_some(struct core *c, struct spooler_admin *a, struct message *m,
                        const struct outcome *outcomes, size_t n)
{
    struct rcpt_change changes[CHANGES_MAX];
    struct spool_event_in events[CHANGES_MAX];
    struct buf fields[CHANGES_MAX];
    struct outcome_facts facts = {.actor = buf_slice(&a->actor), .reason = buf_slice(&a->reason)};
    MUST(n >= 1 && n <= CHANGES_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct outcome *o = &outcomes[i];
        struct recipient *r = &m->rcpts[o->change.rcpt];
        fields[i] = BUF_MAX(EVENT_MAX);
        outcome_event(&fields[i], r, o, NULL, &facts, c->now);
        events[i] = (struct spool_event_in){o->event, buf_slice(&fields[i])};
        changes[i] = o->change;
        if (o->event == EVENT_HELD || o->event == EVENT_CANCELLED)
            sched_remove(c->sched, r);
    }
    core_change(c, m, changes, n, events);
    for (size_t i = 0; i < n; i++) {
        reschedule(c, &m->rcpts[outcomes[i].change.rcpt], &outcomes[i]);
        buf_done(&fields[i]);
    }
    a->changed += n;
}

static void change_message(struct core *c, struct spooler_admin *a, struct message *m)
{
    struct outcome outcomes[CHANGES_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (!filter_match(&a->filter, r))
            continue;
        a->matched++;
        if (r->active || !decide(c, a->verb, r, &outcomes[n])) {
            a->skipped++;
            continue;
        }
        if (!a->dry_run && ++n == CHANGES_MAX) {
            change_some(c, a, m, outcomes, n);
            n = 0;
        }
    }
    if (n)
        change_some(c, a, m, outcomes, n);
}

/* --- one message under each verb
 * --------------------------------------------------------------------------- */

static void show_message(struct spooler_admin *a, const struct message *m)
{
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (a->verb == ADMIN_LIST && !filter_match(&a->filter, r))
            continue;
        a->matched++;
        row_add(a, r);
    }
}

static void total_message(struct core *c, struct spooler_admin *a, const struct message *m)
{
    count_age(&a->totals, m, c->now);
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (r->last && r->last->text && filter_match(&a->filter, r))
            error_tally_add(&a->tally, slice_str(r->last->text));
    }
}

static void visit(struct core *c, struct spooler_admin *a, struct message *m)
{
    if (!filter_match_message(&a->filter, m, c->now))
        return;
    switch (a->verb) {
    case ADMIN_STATUS:
        break;
    case ADMIN_QUEUE:
        total_message(c, a, m);
        break;
    case ADMIN_LIST:
    case ADMIN_SHOW:
        show_message(a, m);
        break;
    case ADMIN_RETRY:
    case ADMIN_REMOVE:
    case ADMIN_HOLD:
    case ADMIN_RELEASE:
        change_message(c, a, m);
        break;
    }
}

/* --- the step
 * ------------------------------------------------------------------------------------------------
 */

static struct message *next_message(const struct core *c, const struct queue_filter *f,
                                    uint64_t after)
{
    if (f->n_ids == 0)
        return spool_after(c->spool, after);
    for (uint64_t id = after; (id = filter_next_id(f, id));) {
        struct message *m = spool_find(c->spool, id);
        if (m)
            return m;
    }
    return NULL;
}

static void step(struct core *c, struct spooler_admin *a)
{
    unsigned limit = a->limit && a->limit < STEP_MAX ? a->limit : STEP_MAX;
    a->next = 0;
    for (unsigned looked = 0;; looked++) {
        struct message *m = next_message(c, &a->filter, a->after);
        if (!m)
            return;
        if (looked == limit || a->n_rows >= STEP_MAX) {
            a->next = a->after;
            return;
        }
        a->after = m->id;
        /* Not yet answered 250: for the operator it is not there. One that is finished leaves with
         * its sync. */
        if (m->durable && m->n_left > 0)
            visit(c, a, m);
    }
}

void admin_run(struct core *c, struct spooler_admin *a)
{
    spooler_admin_reset(a);
    uint64_t before = c->last_number;
    if (a->after == 0)
        filter_prepare(&a->filter);
    bool first = a->after == 0;
    if (first && (a->verb == ADMIN_STATUS || a->verb == ADMIN_QUEUE))
        totals_now(c, a);
    if (a->verb == ADMIN_STATUS)
        a->next = 0;
    else
        step(c, a);
    if (a->verb == ADMIN_QUEUE && a->next == 0)
        error_tally_top(a->tally, &a->totals);
    uint64_t number = c->last_number > before ? c->last_number : 0;
    core_answer_durable(c, number, &a->msg, a->reply);
}

/*
 * Operators' verbs: each request is one bounded step over recipients in order, from the cursor `at`
 * to `next`. One step a turn, when all that mail wanted has been done. What is with a connection is
 * skipped and counted; what was asked of it is done when the attempt has ended (act.c).
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <stdlib.h>

/* What a step may do, about a quarter of a millisecond; looking at a recipient is the unit. */
enum { STEP_WORK = 2500, COST_LOOK = 1, COST_ROW = 4, COST_CHANGE = 20 };
enum { PACE_MS = 3, QUIET_MS = 20 };

/* --- rows
 * -------------------------------------------------------------------------------------------------
 */

static struct queue_row row_of(const struct recipient *r, bool whole)
{
    const struct message *m = recipient_message(r);
    const struct verdict *last = recipient_last(r);
    struct queue_row row = {
        .id = m->id,
        .queued = m->queued,
        .due = r->due,
        .expires = sched_rcpt_expires(r),
        .last_attempt = r->last_attempt,
        .size = m->size,
        .sender = message_sender(m),
        .recipient = recipient_address(r),
        .user = message_user(m),
        .last_reply = slice_str(last ? last->text : NULL),
        .last_host = recipient_host(r),
        .envid = message_envid(m),
        .tags = message_tags(m),
        .route = message_route(m),
        .redirected = recipient_redirected(r),
        .message_id = whole ? message_message_id(m) : SLICE_LIT(""),
        .params = message_params(m),
        .release = message_release(m),
        .by_deadline = message_by_deadline(m),
        .rcpt = r->number,
        .n_rcpts = m->n_rcpts,
        .attempts = r->attempts,
        .stands_still = sched_stands_still(r),
        .state = (enum rcpt_state)r->state,
        .active = r->active,
    };
    row.ready = sched_where(r, &row.site, &row.destination);
    return row;
}

bool admin_row(struct spooler_admin *a, const struct recipient *r)
{
    struct queue_row row = row_of(r, a->verb == ADMIN_SHOW);
    if (!spooler_admin_row(a, &row))
        return false;
    a->rows_given++;
    return true;
}

/* --- one message under each verb
 * --------------------------------------------------------------------------- */

/* What a step may still do, in units of looking at one recipient. */
struct step {
    struct core *c;
    struct spooler_admin *a;
    int work;
};

/* Each returns the number of the recipient to go on at: n_rcpts when the message is done, less when
 * the step is over. */
static uint32_t change_message(struct step *s, struct message *m, uint32_t first)
{
    struct spooler_admin *a = s->a;
    struct outcome outcomes[ACT_CHANGES_MAX];
    size_t n = 0;
    uint32_t i = first;
    if (!a->act)
        a->act = act_new(a);
    for (; i < m->n_rcpts && n < ACT_CHANGES_MAX && s->work > 0; i++, s->work -= COST_LOOK) {
        const struct recipient *r = &m->rcpts[i];
        if (!filter_match(&a->filter, r))
            continue;
        if (a->dry_run && a->rows_given < a->rows_max && !admin_row(a, r))
            break;
        a->matched++;
        const bool changes = act_decide(s->c, a->act, r, &outcomes[n]);
        if (r->active && a->verb != ADMIN_PRIORITY) {
            a->skipped++;
            a->in_flight += !a->dry_run && act_later(s->c, a->act, r, changes);
        } else if (!changes) {
            a->skipped++;
        } else if (!a->dry_run) {
            n++;
            s->work -= COST_CHANGE;
        }
    }
    if (n)
        a->record = act_change(s->c, a->act, m, outcomes, n);
    a->changed += n;
    return i;
}

static uint32_t list_message(struct step *s, const struct message *m, uint32_t first)
{
    struct spooler_admin *a = s->a;
    uint32_t i = first;
    for (; i < m->n_rcpts && s->work > 0; i++, s->work -= COST_LOOK) {
        const struct recipient *r = &m->rcpts[i];
        if (!filter_match(&a->filter, r))
            continue;
        if (a->sort) {
            sorted_offer(a, r);
        } else if (a->rows_given < a->rows_max) {
            if (!admin_row(a, r))
                break;
            s->work -= COST_ROW;
        } else if (!a->count) {
            s->work = 0;
            break;
        }
        a->matched++;
    }
    return i;
}

static uint32_t visit(struct step *s, struct message *m, uint32_t first)
{
    s->work -= COST_LOOK;
    /* Not yet answered 250: for the operator it is not there. One that is finished leaves with its
     * sync. */
    if (!m->durable || m->n_left == 0 || !filter_match_message(&s->a->filter, m, s->c->now))
        return m->n_rcpts;
    return s->a->verb == ADMIN_LIST ? list_message(s, m, first) : change_message(s, m, first);
}

/* --- the step
 * ------------------------------------------------------------------------------------------------
 */

/* The first message with an id from this one on that the filter's ids allow. */
static struct message *message_from(const struct core *c, const struct queue_filter *f, uint64_t id)
{
    uint64_t after = id ? id - 1 : 0;
    if (f->n_ids == 0)
        return spool_after(c->spool, after);
    while ((after = filter_next_id(f, after))) {
        struct message *m = spool_find(c->spool, after);
        if (m)
            return m;
    }
    return NULL;
}

static void walk(struct core *c, struct spooler_admin *a)
{
    struct step s = {.c = c, .a = a, .work = STEP_WORK};
    struct message *m;
    for (unsigned looked = 0; (m = message_from(c, &a->filter, a->at.id)); looked++) {
        uint32_t first = m->id == a->at.id ? a->at.rcpt : 0;
        a->next = (struct queue_place){m->id, first};
        if (s.work <= 0 || (a->limit && looked == a->limit))
            return;
        a->next.rcpt = visit(&s, m, first);
        if (a->next.rcpt < m->n_rcpts)
            return;
        a->at = (struct queue_place){m->id + 1, 0};
    }
    a->next = (struct queue_place){0};
}

static void list(struct core *c, struct spooler_admin *a)
{
    if (!sorted_ready(a))
        walk(c, a);
    if (a->sort && a->next.id == 0)
        sorted_page(c, a);
}

/* One message, whatever has become of its recipients. */
static void show(struct core *c, struct spooler_admin *a)
{
    const struct message *m = spool_find(c->spool, a->filter.n_ids ? a->filter.ids[0] : 0);
    if (!m || !m->durable || m->n_left == 0)
        return;
    for (uint32_t i = a->at.id == m->id ? a->at.rcpt : 0; i < m->n_rcpts; i++) {
        if (!admin_row(a, &m->rcpts[i])) {
            a->next = (struct queue_place){m->id, i};
            return;
        }
        a->matched++;
    }
}

static void run(struct core *c, struct spooler_admin *a)
{
    switch (a->verb) {
    case ADMIN_STATUS:
    case ADMIN_QUEUE:
        totals_run(c, a);
        break;
    case ADMIN_DISK:
        core_disk(c, &a->totals.disk);
        break;
    case ADMIN_SHOW:
        show(c, a);
        break;
    case ADMIN_LIST:
        list(c, a);
        break;
    case ADMIN_RETRY:
    case ADMIN_REMOVE:
    case ADMIN_HOLD:
    case ADMIN_RELEASE:
    case ADMIN_BOUNCE:
    case ADMIN_EXPIRE:
    case ADMIN_REDIRECT:
    case ADMIN_PRIORITY:
        walk(c, a);
        break;
    }
}

/* A step does not wait for its own records, or a million of changes would be a sync a page; but
 * what is not on the disk is bounded. */
static uint64_t answer_at(const struct spooler_admin *a)
{
    if (a->next.id == 0)
        return a->record;
    return a->record > ADMIN_UNSYNCED ? a->record - ADMIN_UNSYNCED : 0;
}

/* A store passes this thread twice; a step in its way each time would halve what one connection can
 * hand in. So while mail comes a step waits for a moment without any, or PACE_MS. */
void admin_mail(struct core *c)
{
    c->asked.quiet_at = mono_add(c->mono, QUIET_MS);
}

struct mono admin_deadline(const struct core *c)
{
    return c->asked.first ? mono_min(c->asked.quiet_at, c->asked.step_at) : MONO_NEVER;
}

bool admin_step(struct core *c)
{
    struct spooler_admin *a = (struct spooler_admin *)(void *)c->asked.first;
    if (!a || c->asked.had_turn || !mono_reached(admin_deadline(c), c->mono))
        return false;
    c->asked.had_turn = true;
    c->asked.step_at = mono_add(c->mono, PACE_MS);
    c->asked.first = a->msg.next;
    a->msg.next = NULL;
    spooler_admin_reset(a);
    a->next = (struct queue_place){0};
    if (a->at.id == 0)
        filter_prepare(&a->filter);
    run(c, a);
    core_answer_durable(c, c->asked.let_go ? 0 : answer_at(a), &a->msg, a->reply);
    return true;
}

/* On a full disk they would come when it has room, and the relay could not end before. */
void admin_let_go(struct core *c)
{
    struct wait *w, *next;
    c->asked.let_go = true;
    DL_FOREACH_SAFE (c->waits, w, next) {
        if (w->kind != WAIT_ANSWER || w->msg->type != SPOOLER_ADMIN)
            continue;
        DL_DELETE(c->waits, w);
        core_answer(c, w->msg, w->reply);
        free(w);
    }
}

void admin_ask(struct core *c, struct spooler_admin *a)
{
    a->msg.next = NULL;
    if (c->asked.first)
        c->asked.last->next = &a->msg;
    else
        c->asked.first = &a->msg;
    c->asked.last = &a->msg;
}

void admin_drop(struct core *c)
{
    for (struct msg *m = c->asked.first, *next; m; m = next) {
        next = m->next;
        spooler_request_free(m);
    }
}

/*
 * What waits for the disk, and what follows when a batch is durable. The clients of new mail are
 * answered by who has synced it (the helper), right behind the sync: their 250 waits for no turn.
 * Failures follow when the batch is done, all else (events, schedule) in steps behind that.
 *
 *   a store's wait: WAITING → ANSWERED (the helper)   or   → CLAIMED (the owner)
 *
 * Whoever moves it from WAITING answers, once; for the other one the request is its asker's again.
 * The owner claims a store whose patience is over, that failed, or that the helper was not asked to
 * answer. While the batch is out the helper looks at nothing else of the core's.
 */
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <sched.h>
#include <stdlib.h>

struct core_batch {
    struct spool_batch *batch;
    size_t n;
    struct wait *stores[]; /* the core's; they outlive the batch */
};

static bool claim(struct wait *w, enum wait_state to)
{
    int waiting = WAIT_WAITING;
    return atomic_compare_exchange_strong(&w->state, &waiting, to);
}

bool wait_claim(struct wait *w)
{
    return claim(w, WAIT_CLAIMED);
}

static void store_came(struct core *c)
{
    if (c->gather.waiting++ == 0)
        c->gather.until = mono_add(c->mono, CORE_GATHER_MS);
    c->gather.due -= c->gather.due > 0;
}

void core_wait(struct core *c, const struct wait *w)
{
    struct wait *copy = must_alloc(sizeof *copy);
    *copy = *w;
    if (w->kind == WAIT_STORE)
        store_came(c);
    c->lazy.urgent = c->lazy.urgent || w->kind != WAIT_BOUNCE;
    /* In the order of records: an operator's step may wait for one that lies back. */
    struct wait *before = c->waits ? c->waits->prev : NULL;
    while (before && before->number > w->number)
        before = before == c->waits ? NULL : before->prev;
    if (before)
        DL_APPEND_ELEM(c->waits, before, copy);
    else
        DL_PREPEND(c->waits, copy);
}

void wait_free(struct wait *w)
{
    if (w->msg && atomic_load(&w->state) == WAIT_WAITING)
        spooler_request_free(w->msg);
    free(w);
}

/* --- the batch
 * ------------------------------------------------------------------------------------------- */

/* Not one of an earlier batch, which may still stand here until it is settled. */
static bool is_store_of(const struct wait *w, uint64_t after, uint64_t last)
{
    return w->kind == WAIT_STORE && w->number > after && w->number <= last;
}

struct core_batch *core_batch_take(struct core *c)
{
    struct spool_batch *batch = spool_batch_take(c->spool);
    struct wait *w;
    size_t n = 0;
    if (!batch)
        return NULL;
    const uint64_t after = c->taken_to, last = spool_batch_last(batch);
    DL_FOREACH (c->waits, w)
        n += is_store_of(w, after, last);
    struct core_batch *b = must_alloc(sizeof *b + n * sizeof(struct wait *));
    b->batch = batch;
    DL_FOREACH (c->waits, w) {
        if (is_store_of(w, after, last))
            b->stores[b->n++] = w;
    }
    c->batch_out = true;
    c->taken_to = last > after ? last : after;
    trouble_batch_taken(c);
    if (n > 0)
        c->gather.pays = n > 1;
    c->gather.due = c->gather.coming + n;
    c->gather.waiting = 0;
    c->lazy.n = 0;
    c->lazy.urgent = false;
    return b;
}

int core_batch_run(struct core_batch *b,
                   void (*answer)(void *ctx, const struct port *reply, struct msg *m), void *ctx)
{
    int error = spool_batch_write(b->batch);
    inbox_hold_wakes(); /* each loop hears of all of them at once */
    for (size_t i = 0; error == 0 && answer && i < b->n; i++) {
        struct spooler_store *s = (struct spooler_store *)(void *)b->stores[i]->msg;
        const struct port *reply = b->stores[i]->reply;
        if (!claim(b->stores[i], WAIT_ANSWERED))
            continue;
        s->error = 0;
        answer(ctx, reply, &s->msg);
    }
    inbox_release_wakes();
    /* Where its asker's thread waits for our processor, it goes first: behind this come our next
     * turn and what may be tidied. */
    if (b->n == 1)
        sched_yield();
    spool_batch_tidy(b->batch);
    return error;
}

/* --- its end
 * --------------------------------------------------------------------------------------------- */

static void wait_over(struct core *c, struct wait *w)
{
    switch (w->kind) {
    case WAIT_STORE:
        if (atomic_load(&w->state) != WAIT_CLAIMED) /* else withdrawn */
            intake_durable(c, w);
        break;
    case WAIT_ANSWER:
        core_answer(c, w->msg, w->reply);
        break;
    case WAIT_BOUNCE:
        bounce_wanted(c, w->id);
        break;
    }
}

static void store_failed(void *ctx, uint64_t message_id)
{
    struct core *c = ctx;
    struct wait *w;
    DL_FOREACH (c->waits, w) {
        if (w->kind == WAIT_STORE && w->id == message_id)
            break;
    }
    if (!w)
        return;
    DL_DELETE(c->waits, w);
    if (wait_claim(w))
        DL_APPEND(c->failed, w);
    else
        free(w);
}

/* Each hears the disk's own error. */
static void answer_failed(struct core *c, int error)
{
    while (c->failed) {
        struct wait *w = c->failed;
        struct spooler_store *s = (struct spooler_store *)(void *)w->msg;
        DL_DELETE(c->failed, w);
        free(w);
        s->error = error;
        if (s->held)
            c->n_held -= s->envelope.n_rcpts - s->n_dropped;
        if (s->envelope.dsn_for) /* not told after all */
            bounce_wanted(c, s->envelope.dsn_for);
        core_answer(c, &s->msg, s->reply);
    }
}

static void event_durable(void *ctx, const struct event *e)
{
    struct core *c = ctx;
    if (c->event_fn)
        c->event_fn(c->event_ctx, e);
}

static void settle(struct core *c, size_t max)
{
    c->landed = spool_settle(c->spool, max, event_durable, c);
    while (c->waits && c->waits->number <= spool_durable(c->spool)) {
        struct wait *w = c->waits;
        DL_DELETE(c->waits, w);
        wait_over(c, w);
        free(w);
    }
}

bool durable_step(struct core *c)
{
    if (!c->landed || c->settled_turn >= CORE_SETTLE_TURN)
        return false;
    c->settled_turn += CORE_SETTLE_STEP;
    settle(c, CORE_SETTLE_STEP);
    return true;
}

void core_settle(struct core *c)
{
    settle(c, SIZE_MAX);
}

int core_batch_done(struct core *c, struct core_batch *b, struct err *e)
{
    if (c->landed) /* of one batch at most */
        core_settle(c);
    int rc = spool_batch_end(c->spool, b->batch, event_durable, c, store_failed, e);
    free(b);
    c->batch_out = false;
    c->gather.due_until = mono_add(c->mono, CORE_GATHER_MS);
    c->landed = true;
    metric_add(rc < 0 ? M_SPOOL_ERRORS : M_SPOOL_SYNCS, 1);
    answer_failed(c, rc);
    if (rc < 0) /* the spool has settled all that landed */
        core_settle(c);
    trouble_batch_done(c, rc, e);
    return rc;
}

/*
 * The order of events: seq without gaps. What was left out for want of memory, or by a spool that
 * was read in part, is a gap in what is here, and the spool is asked for it; only what the spool
 * does not have, either, is passed over, and told.
 */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/events/private.h"

void pushed_free(struct events *ev, struct pushed *p)
{
    if (p->counted) {
        uint64_t n = atomic_load_explicit(&ev->given_bytes, memory_order_relaxed) + p->counted;
        atomic_store_explicit(&ev->given_bytes, n, memory_order_release);
    }
    free(p);
}

void list_free(struct events *ev, struct list *l)
{
    while (l->first)
        pushed_free(ev, list_take(l));
}

uint64_t order_held(const struct events *ev)
{
    uint64_t given = atomic_load_explicit(&ev->given_bytes, memory_order_acquire);
    return atomic_load_explicit(&ev->taken_bytes, memory_order_relaxed) - given;
}

static struct list *front(struct events *ev)
{
    return ev->again.first ? &ev->again : &ev->waiting;
}

/* Nobody has what is between next_seq and this one. */
static bool is_vouched(const struct events *ev, uint64_t seq)
{
    return seq - 1 <= ev->vouched || !atomic_load(&ev->asks);
}

struct pushed *order_next(struct events *ev)
{
    for (struct pushed *p; (p = front(ev)->first);) {
        if (p->event.seq >= ev->next_seq)
            return p->event.seq == ev->next_seq || is_vouched(ev, p->event.seq) ? p : NULL;
        pushed_free(ev, list_take(front(ev))); /* told twice */
    }
    return NULL;
}

static void pass_over(struct events *ev, uint64_t to)
{
    LOG(LV_WARN, "delivery_log_lacks", LOG_N("from_seq", ev->next_seq), LOG_N("to_seq", to),
        LOG_S("reason", "neither the log nor the spool has these events"));
    ev->next_seq = to + 1;
}

struct pushed *order_take(struct events *ev)
{
    struct pushed *p = order_next(ev);
    MUST(p);
    if (p->event.seq > ev->next_seq)
        pass_over(ev, p->event.seq - 1);
    ev->next_seq = p->event.seq + 1;
    return list_take(front(ev));
}

void order_back(struct events *ev, struct list *l)
{
    if (!l->first)
        return;
    ev->next_seq = l->first->event.seq;
    list_prepend(&ev->again, l);
}

static void ask(struct events *ev, uint64_t upto)
{
    pthread_mutex_lock(&ev->spool_lock);
    ev->asked = ev->spool.again != NULL;
    if (ev->asked)
        ev->spool.again(ev->spool.ctx, ev->next_seq - 1, upto);
    pthread_mutex_unlock(&ev->spool_lock);
}

void order_ask(struct events *ev)
{
    if (ev->asked || ev->ask_later || ev->trouble || !atomic_load(&ev->asks) || order_next(ev))
        return;
    struct pushed *first = front(ev)->first;
    uint64_t upto = first ? first->event.seq - 1 : atomic_load(&ev->left_out_seq);
    if (upto < ev->next_seq)
        return;
    if (upto > ev->vouched)
        ask(ev, upto);
    else
        pass_over(ev, upto); /* the last ones that were left out, and there are none */
}

void order_answered(struct events *ev, uint64_t through)
{
    ev->asked = false;
    ev->ask_later = through < ev->next_seq && !ev->again.first; /* nothing came of it */
    if (through > ev->vouched)
        ev->vouched = through;
}

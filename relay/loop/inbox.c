/* A stack that senders push to and the loop takes whole: taking turns it round again, so the order
 * of each sender (of all of them, even) is kept, and nobody ever waits for a lock. */
#include "relay/loop/inbox.h"
#include "relay/base/must.h"
#include "relay/loop/private.h"
#include <stdlib.h>

/* More inboxes than a turn sends to, most often; who has no place is woken at once. */
enum { OWED_MAX = 16 };

static _Thread_local struct {
    unsigned held, n;
    struct inbox *inboxes[OWED_MAX];
} owed;

struct inbox {
    _Atomic(struct msg *) newest;
    void (*wake)(void *ctx);
    void *wake_ctx;
    void (*after_batch)(void *ctx);
    void *ctx;
    struct loop *loop; /* NULL: not a loop's */
    unsigned nap_ms;
    /* Lies in the inbox during a nap, so that nobody finds it empty. Goes to nobody. */
    struct msg pillow;
    bool napping;
};

static struct msg *take_oldest_first(struct inbox *i)
{
    struct msg *m = atomic_exchange_explicit(&i->newest, NULL, memory_order_acquire);
    struct msg *oldest = NULL;
    while (m) {
        struct msg *older = m->next;
        m->next = oldest;
        oldest = m;
        m = older;
    }
    return oldest;
}

bool inbox_has(const struct inbox *i)
{
    return atomic_load(&i->newest) != NULL;
}

bool inbox_hand_out(struct inbox *i)
{
    struct msg *m = take_oldest_first(i);
    bool any = false;
    while (m) {
        struct msg *next = m->next;
        m->next = NULL;
        if (m != &i->pillow) {
            any = true;
            m->to->fn(m->to->ctx, m);
        } else {
            i->napping = false;
        }
        m = next;
    }
    return any;
}

static void on_nap_over(uv_timer_t *timer);

/* Who has sent meanwhile has found it empty, and wakes: no nap this time. */
static void begin_nap(struct inbox *i)
{
    struct msg *nothing = NULL;
    if (i->nap_ms == 0 || i->napping)
        return;
    i->pillow.next = NULL;
    if (!atomic_compare_exchange_strong(&i->newest, &nothing, &i->pillow))
        return;
    i->napping = true;
    i->loop->nap.data = i;
    uv_timer_start(&i->loop->nap, on_nap_over, i->nap_ms, 0);
}

static void deliver(void *ctx)
{
    struct inbox *i = ctx;
    if (!inbox_hand_out(i))
        return;
    if (i->after_batch)
        i->after_batch(i->ctx);
    begin_nap(i);
}

static void on_nap_over(uv_timer_t *timer)
{
    deliver(timer->data);
}

void inbox_nap(struct inbox *i, unsigned ms)
{
    MUST(i->loop);
    i->nap_ms = ms;
}

struct inbox *inbox_of(void (*wake)(void *ctx), void *ctx)
{
    struct inbox *i = must_alloc(sizeof *i);
    atomic_init(&i->newest, NULL);
    i->wake = wake;
    i->wake_ctx = ctx;
    return i;
}

static void wake_loop(void *loop)
{
    loop_wake(loop);
}

struct inbox *inbox_new(struct loop *l, void (*after_batch)(void *ctx), void *ctx)
{
    MUST(!l->on_wake); /* one a loop */
    struct inbox *i = inbox_of(wake_loop, l);
    i->after_batch = after_batch;
    i->ctx = ctx;
    i->loop = l;
    l->on_wake = deliver;
    l->on_wake_ctx = i;
    return i;
}

void inbox_free(struct inbox *i, void (*drop)(struct msg *m))
{
    if (!i)
        return;
    struct msg *m = take_oldest_first(i);
    while (m) {
        struct msg *next = m->next;
        if (m != &i->pillow && drop)
            drop(m);
        else if (m != &i->pillow)
            free(m);
        m = next;
    }
    free(i);
}

bool inbox_put(const struct port *p, struct msg *m)
{
    struct inbox *i = p->inbox;
    m->to = p;
    struct msg *before = atomic_load_explicit(&i->newest, memory_order_relaxed);
    do
        m->next = before;
    while (!atomic_compare_exchange_weak(&i->newest, &before, m));
    return !before;
}

/* Whoever found it empty wakes; the others' messages go with that wake-up. */
void port_send(const struct port *p, struct msg *m)
{
    struct inbox *i = p->inbox;
    if (!inbox_put(p, m)) /* `m` is gone here */
        return;
    if (owed.held > 0 && owed.n < OWED_MAX)
        owed.inboxes[owed.n++] = i;
    else
        i->wake(i->wake_ctx);
}

void inbox_hold_wakes(void)
{
    owed.held++;
}

void inbox_wake_owed(void)
{
    while (owed.n > 0) {
        struct inbox *i = owed.inboxes[--owed.n];
        i->wake(i->wake_ctx);
    }
}

void inbox_release_wakes(void)
{
    MUST(owed.held > 0);
    if (--owed.held == 0)
        inbox_wake_owed();
}

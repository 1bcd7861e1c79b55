#include "relay/base/must.h"
#include "relay/loop/private.h"

/* So late is none but where the loop stood still: no processor, or the whole machine asleep. */
enum { STOOD_STILL_MS = 50 };

static void on_timer(uv_timer_t *timer);

/* uv_timer_start counts from uv_now, which stands still while the loop does not run: so does this
 * sum. */
static void start(struct deadline *d, int64_t at_least_ms)
{
    int64_t wait = d->at.ms - (int64_t)uv_now(d->timer.loop);
    if (wait < at_least_ms)
        wait = at_least_ms;
    d->armed = true;
    d->due = (struct mono){(int64_t)uv_now(d->timer.loop) + wait};
    MUST(uv_timer_start(&d->timer, on_timer, (uint64_t)wait, 0) == 0);
}

/* In this turn, as all of its deadlines see it: the first of them is the latest. */
static bool stood_still(const struct deadline *d, struct mono now)
{
    struct loop *l = d->timer.loop->data;
    if (now.ms - d->due.ms >= STOOD_STILL_MS)
        l->stood_still = now;
    return l->stood_still.ms == now.ms;
}

static void on_timer(uv_timer_t *timer)
{
    struct deadline *d = timer->data;
    struct mono now = loop_now(timer->loop->data);
    const bool stood = stood_still(d, now), moved = d->at.ms > d->due.ms;
    d->armed = false;
    /* libuv looks at timers before it looks at what has come. Who answered while we stood still is
     * in time: the next turn polls first, and may move this. What was moved to later stays behind
     * the others. */
    if (stood && !d->heard) {
        d->heard = mono_reached(d->at, now);
        start(d, moved ? 2 : 1);
        return;
    }
    if (!mono_reached(d->at, now)) {
        start(d, 0);
        return;
    }
    d->heard = false;
    d->at = MONO_NEVER;
    d->fn(d->ctx, now);
}

void deadline_init(struct loop *l, struct deadline *d, void (*fn)(void *ctx, struct mono now),
                   void *ctx)
{
    *d = (struct deadline){.fn = fn, .ctx = ctx, .at = MONO_NEVER};
    MUST(uv_timer_init(loop_uv(l), &d->timer) == 0);
    d->timer.data = d;
}

void deadline_set(struct loop *l, struct deadline *d, struct mono at)
{
    (void)l;
    if (uv_is_closing((uv_handle_t *)&d->timer))
        return;
    d->at = at;
    d->heard = false;
    if (at.ms == MONO_NEVER.ms) {
        d->armed = false;
        uv_timer_stop(&d->timer);
        return;
    }
    int64_t due = (int64_t)(uv_now(d->timer.loop) + uv_timer_get_due_in(&d->timer));
    if (!d->armed || due > at.ms)
        start(d, 0);
}

static void on_closed(uv_handle_t *timer)
{
    struct deadline *d = timer->data;
    if (d->closed)
        d->closed(d->ctx);
}

void deadline_close(struct deadline *d, void (*closed)(void *ctx))
{
    struct loop *l = d->timer.loop->data;
    d->closed = closed;
    if (!uv_is_closing((uv_handle_t *)&d->timer)) {
        uv_close((uv_handle_t *)&d->timer, on_closed);
    } else if (closed && l->ended && !l->running) {
        closed(d->ctx); /* the loop is over and has closed the timer long ago */
    } else if (closed) {
        d->next_closed = l->closed_late;
        l->closed_late = d;
    }
}

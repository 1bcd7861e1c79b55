/* The window of a site: how many connections it may have, and what the outcome of a job does to
 * that (README.md, "Windows"). */
#include "queue/sched_int.h"

/* ±10 %: receivers that fell together are not probed together. */
int64_t site_probe_wait(struct sched *s, const struct sched_site *t)
{
    int64_t pause = t->ours ? OURS_MS : t->probe_pause_ms, tenth = pause / 10;
    return pause - tenth + (int64_t)rng_below(&s->rng, (uint64_t)tenth * 2 + 1);
}

/* It grows while too little comes through in between. */
static void pause_grow(struct sched_site *t)
{
    int64_t pause = t->probe_pause_ms;
    if (pause == 0 || t->oks >= OKS_FORGET)
        pause = PROBE_FIRST_MS;
    else if (t->oks < OKS_ENOUGH)
        pause = 2 * pause < PROBE_LAST_MS ? 2 * pause : PROBE_LAST_MS;
    t->probe_pause_ms = pause;
}

/* Alone until its pause has passed, or what the receiver asked for. */
static void site_bury(struct sched *s, struct sched_site *t, bool throttled, int64_t after_s,
                      struct mono now)
{
    int64_t asked_ms = after_s * 1000;
    t->oks = 0;
    t->dead = true;
    t->throttled = throttled;
    t->window = 1;
    t->ceiling = throttled ? 1 : 0; /* one that was unreachable may be as good as before */
    int64_t wait = site_probe_wait(s, t);
    if (asked_ms > wait)
        wait = asked_ms < PROBE_LAST_MS ? asked_ms : PROBE_LAST_MS;
    t->next_probe = mono_add(now, wait);
    conn_ahead_leave_all(t);
    site_close_surplus(s, t);
}

/* It is not made wider for a while; for longer each time that this was just tried. */
static void window_hold(struct sched_site *t, struct mono now)
{
    if (t->trying)
        t->hold_ms = 2 * t->hold_ms < HOLD_LAST_MS ? 2 * t->hold_ms : HOLD_LAST_MS;
    t->trying = false;
    t->step = 1;
    t->ceiling = t->window;
    t->hold_until = mono_add(now, t->hold_ms);
}

static unsigned window_in_use(const struct sched_site *t)
{
    return t->n_conns < t->window ? t->n_conns : t->window;
}

static void window_shrink(struct sched *s, struct sched_site *t, unsigned to)
{
    t->window = to > 1 ? to : 1;
    site_close_surplus(s, t);
}

/* It says nothing of the receiver, and nothing of the connections that there are: only no more of
 * them are opened for a while (no port is free, say). */
static void ours_failed(struct sched *s, struct sched_site *t, struct mono now)
{
    t->epoch++;
    if (t->n_conns > 1) {
        window_shrink(s, t, window_in_use(t) - 1);
        window_hold(t, now);
    } else {
        t->ours = true;
        site_bury(s, t, false, 0, now);
    }
}

static void site_failed(struct sched *s, struct sched_site *t, const struct sched_conn *c,
                        enum sched_outcome o, int64_t after_s, struct mono now)
{
    if (o == SCHED_OURS) {
        ours_failed(s, t, now);
        return;
    }
    bool is_alone = t->n_conns == 1 && t->window == 1;
    bool is_news = c->epoch == t->epoch; /* its job began since the window was last made smaller */
    bool throttled = o == SCHED_THROTTLED || o == SCHED_REFUSED;
    t->fails++;
    if (o == SCHED_BARRED || (throttled ? is_alone : t->fails >= FAILS_DEAD)) {
        t->epoch++;
        window_hold(t, now);
        pause_grow(t);
        site_bury(s, t, throttled, after_s, now);
    } else if (o == SCHED_REFUSED) {
        window_shrink(s, t, window_in_use(t) - 1);
        window_hold(t, now);
    } else if (is_news) {
        t->epoch++;
        window_shrink(s, t, window_in_use(t) / 2);
        if (o ==
            SCHED_THROTTLED) /* a connection that was lost says little of how many are too many */
            window_hold(t, now);
    }
}

/* Wider by one for each job that went well, as long as all of it is in use; past what was too wide
 * once, only after a while, and then by 1, 2, 4 … */
static void window_grow(struct sched_site *t, struct mono now)
{
    unsigned limit = site_limit(t);
    if (t->window >= limit || t->n_conns < t->window)
        return;
    if (t->ceiling == 0 || t->window < t->ceiling) {
        t->window++;
        return;
    }
    if (!mono_reached(t->hold_until, now))
        return;
    if (t->trying) /* and nothing has failed since */
        t->hold_ms = HOLD_FIRST_MS;
    t->window = t->step < limit - t->window ? t->window + t->step : limit;
    t->step *= 2;
    t->trying = true;
    t->ceiling = t->window;
    t->hold_until = mono_add(now, t->hold_ms);
}

static void site_worked(struct sched *s, struct sched_site *t, struct mono now)
{
    t->fails = 0;
    t->oks++;
    if (t->dead) {
        t->dead = t->throttled = t->ours = false;
        heap_drop(&s->probes, &t->probe_index);
    }
    window_grow(t, now);
    site_kick(s, t);
}

/* What fails beside the probe was under way when the site died. One that somebody asked for says
 * nothing new: whoever is impatient does not make everybody wait for longer. */
static void probe_failed(struct sched *s, struct sched_site *t, bool early, enum sched_outcome o,
                         int64_t after_s, struct mono now)
{
    t->oks = 0;
    t->ours = o == SCHED_OURS;
    if (!t->ours && (!early || t->probe_pause_ms == 0))
        pause_grow(t);
    site_bury(s, t, t->throttled, after_s, now);
}

void sched_feedback(struct sched *s, uint64_t conn, enum sched_outcome o, int64_t after_s,
                    struct mono mono)
{
    struct sched_conn *c = conn_find(s, conn);
    if (!c)
        return;
    struct sched_site *t = c->site;
    if (o == SCHED_OK)
        site_worked(s, t, mono);
    else if (!t->dead)
        site_failed(s, t, c, o, after_s, mono);
    else if (c->probe)
        probe_failed(s, t, c->early, o, after_s, mono);
}

/* Sites: who may be connected, which user's turn it is, on which connection the next job goes. */
#include "queue/sched_int.h"
#include "relay/base/must.h"

/* --- life of a site ----------------------------------------------------------------------------
 */

struct sched_site *site_get(struct sched *s, struct slice destination, struct slice name)
{
    size_t n = destination.n + 1 + name.n;
    struct sched_site *made = must_alloc(sizeof *made + n), *t;
    made->destination_n = destination.n;
    made->name_n = name.n;
    if (destination.n)
        memcpy(made->key, destination.p, destination.n);
    if (name.n)
        memcpy(made->key + destination.n + 1, name.p, name.n);
    HASH_FIND(hh, s->sites, made->key, n, t);
    if (t) {
        free(made);
        return t;
    }
    made->hold_ms = HOLD_FIRST_MS;
    made->suspended = site_is_suspended(s, made);
    HASH_ADD_KEYPTR(hh, s->sites, made->key, n, made);
    return made;
}

void site_free(struct sched *s, struct sched_site *t)
{
    for (struct sched_rank *k = t->ranks; k < t->ranks + RANKS; k++) {
        struct sched_lane *lane, *next;
        HASH_ITER (hh, k->lanes, lane, next) {
            HASH_DEL(k->lanes, lane);
            free(lane);
        }
        heap_done(&k->turns);
    }
    if (t->runnable)
        DL_DELETE(s->runnable, t);
    heap_drop(&s->probes, &t->probe_index);
    frozen_unref(t->plan);
    HASH_DEL(s->sites, t);
    free(t->error);
    free(t);
}

/* One that nothing leads to stays until its rate has nothing to say any more: else whoever comes
 * next would begin anew. */
void site_release(struct sched *s, struct sched_site *t)
{
    if (t->n_domains > 0 || t->n_conns > 0 || t->ready > 0)
        return;
    struct mono full = {t->bucket.full_us / 1000 + 1};
    if (mono_reached(full, s->now))
        site_free(s, t);
    else
        heap_set(&s->probes, &t->probe_index, full.ms);
}

/* Half the limit, but two where two are allowed: slow start would leave a good receiver idle. */
static unsigned window_first(const struct sched_site *t)
{
    unsigned limit = site_limit(t), half = limit / 2 > 2 ? limit / 2 : 2;
    unsigned first = t->limits.window ? t->limits.window : half;
    return first < limit ? first : limit;
}

/* Another rate: what the old one had counted says nothing. */
static bool same_rate(const struct sched_limits *a, const struct sched_limits *b)
{
    return a->rate == b->rate && a->rate_ms == b->rate_ms;
}

void site_set_plan(struct sched *s, struct sched_site *t, const struct sched_limits *l,
                   struct frozen *plan, struct mono valid_until)
{
    frozen_ref(plan);
    frozen_unref(t->plan);
    t->plan = plan;
    t->valid_until = valid_until;
    t->refreshing = false;
    if (!same_rate(&t->limits, l))
        t->bucket = (struct bucket){0};
    t->limits = *l;
    if (t->window == 0)
        t->window = window_first(t);
    if (t->window > site_limit(t))
        t->window = site_limit(t);
    site_close_surplus(s, t);
    site_kick(s, t);
}

void site_kick(struct sched *s, struct sched_site *t)
{
    if (t->runnable || t->ready == 0)
        return;
    t->runnable = true;
    DL_APPEND(s->runnable, t);
}

/* --- lanes: users take turns ---------------------------------------------------------------------
 */

struct sched_rank *rank_of(struct sched_site *t, const struct message *m)
{
    enum { HIGH = 4, LOW = -4 };
    return &t->ranks[m->priority >= HIGH ? RANK_HIGH : m->priority <= LOW ? RANK_LOW : RANK_NORMAL];
}

struct sched_lane *lane_find(const struct sched_rank *k, struct slice user)
{
    struct sched_lane *lane;
    const void *key = user.n ? (const void *)user.p : "";
    HASH_FIND(hh, k->lanes, key, user.n, lane);
    return lane;
}

static struct sched_lane *lane_get(struct sched_site *t, struct sched_rank *k, struct slice user)
{
    struct sched_lane *lane = lane_find(k, user);
    if (lane)
        return lane;
    /* What it had before counts, or one that is never empty for long would go before all others. */
    if (!k->lanes && k->clock < t->clock)
        k->clock = t->clock;
    lane = must_alloc(sizeof *lane + user.n + 1);
    lane->user_n = user.n;
    if (user.n)
        memcpy(lane->user, user.p, user.n);
    HASH_ADD_KEYPTR(hh, k->lanes, lane->user, lane->user_n, lane);
    /* A newcomer begins where the others are now: it neither waits behind their past nor is paid
     * for its own. */
    lane->turn = k->turn;
    heap_set(&k->turns, &lane->heap_index, lane->turn);
    return lane;
}

void site_push(struct sched *s, struct sched_site *t, struct recipient *r)
{
    const struct message *m = recipient_message(r);
    struct sched_lane *lane = lane_get(t, rank_of(t, m), message_user(m));
    DL_APPEND(lane->rcpts, r);
    t->ready++;
    site_kick(s, t);
}

void site_unlink(struct sched_site *t, struct recipient *r)
{
    const struct message *m = recipient_message(r);
    struct sched_rank *k = rank_of(t, m);
    struct sched_lane *lane = lane_find(k, message_user(m));
    MUST(lane && t->ready > 0);
    DL_DELETE(lane->rcpts, r);
    r->prev = r->next = NULL;
    t->ready--;
    if (lane->rcpts)
        return;
    heap_drop(&k->turns, &lane->heap_index);
    HASH_DEL(k->lanes, lane);
    free(lane);
}

static struct sched_rank *rank_next(struct sched_site *t)
{
    struct sched_rank *next = NULL;
    for (struct sched_rank *k = t->ranks; k < t->ranks + RANKS; k++)
        if (k->lanes && (!next || k->clock < next->clock))
            next = k;
    MUST(next);
    return next;
}

static struct sched_lane *lane_next(const struct sched_rank *k)
{
    return HEAP_ITEM(heap_top(&k->turns), struct sched_lane, heap_index);
}

static void job_take(struct sched *s, struct sched_job *job, struct recipient *r)
{
    job->rcpts[job->n++] = r;
    sched_lend(s, r);
}

/*
 * Recipients of one message go together. They mostly stand behind one another in the lane; those of
 * another domain at the same site may have come later, so the following recipients of the message
 * are looked at too, up to a bound.
 */
static void job_fill(struct sched *s, struct sched_site *t, struct recipient *first,
                     struct sched_job *job)
{
    enum { LOOK_AT = 512 };
    struct message *m = job->message = recipient_message(first);
    size_t max = sizeof job->rcpts / sizeof *job->rcpts, start = first->number;
    if (t->limits.recipients_per_message && t->limits.recipients_per_message < max)
        max = t->limits.recipients_per_message;
    job->n = 0;
    job_take(s, job, first);
    for (size_t i = 1; i < m->n_rcpts && i < LOOK_AT && job->n < max; i++) {
        struct recipient *r = &m->rcpts[(start + i) % m->n_rcpts];
        if (r->prev && r->domain && r->domain->site == t)
            job_take(s, job, r);
    }
}

static void job_next(struct sched *s, struct sched_site *t, struct sched_job *job)
{
    struct sched_rank *k = rank_next(t);
    struct sched_lane *lane = lane_next(k);
    struct slice user = message_user(recipient_message(lane->rcpts));
    k->turn = lane->turn;
    t->clock = k->clock;
    job_fill(s, t, lane->rcpts, job);
    k->clock += rank_cost[k - t->ranks] * (int64_t)job->n;
    /* The lane is gone when that was its last one. */
    lane = lane_find(k, user);
    if (!lane)
        return;
    lane->turn += (int64_t)job->n;
    heap_set(&k->turns, &lane->heap_index, lane->turn);
}

/* --- connections ---------------------------------------------------------------------------------
 */

static void idle_leave(struct sched *s, struct sched_conn *c)
{
    DL_DELETE(s->idle, c);
    DL_DELETE2(c->site->idle, c, site_prev, site_next);
    c->site->n_idle--;
}

static void conn_close(struct sched *s, struct sched_conn *c)
{
    if (c->state == CONN_IDLE)
        idle_leave(s, c);
    c->state = CONN_CLOSING;
    DL_APPEND(s->closing, c);
}

void site_close_surplus(struct sched *s, struct sched_site *t)
{
    if (t->n_conns > t->window)
        conn_ahead_leave_all(t);
    for (unsigned over = t->n_conns > t->window ? t->n_conns - t->window : 0; over && t->idle;
         over--)
        conn_close(s, t->idle);
}

void sched_forget_plans(struct sched *s)
{
    struct sched_domain *d, *next_domain;
    struct sched_site *t, *next_site;
    struct sched_conn *c, *next_conn;
    HASH_ITER (hh, s->domains, d, next_domain) {
        d->valid_until = (struct mono){0};
        d->outdated = d->asked && d->list != LIST_RESOLVE;
    }
    HASH_ITER (hh, s->sites, t, next_site) {
        t->valid_until = (struct mono){0};
        if (t->dead && !t->throttled)
            site_probe_early(t);
        site_kick(s, t);
    }
    HASH_ITER (hh, s->conns, c, next_conn) {
        c->stale = true;
        conn_ahead_leave(c);
    }
    while (s->idle)
        conn_close(s, s->idle);
}

void sched_conn_ready(struct sched *s, uint64_t conn, struct mono now)
{
    struct sched_conn *c = conn_find(s, conn);
    if (!c || c->state != CONN_BUSY)
        return;
    struct sched_site *t = c->site;
    conn_ahead_leave(c);
    if (c->has_two) { /* and is at work on it */
        c->has_two = false;
        c->epoch = c->next_epoch;
        return;
    }
    if (conn_has_enough(c)) {
        conn_close(s, c);
        return;
    }
    c->state = CONN_IDLE;
    c->idle_since = now;
    DL_APPEND(s->idle, c);
    DL_PREPEND2(t->idle, c, site_prev, site_next);
    t->n_idle++;
    site_kick(s, t);
}

void sched_conn_gone(struct sched *s, uint64_t conn, struct mono now)
{
    s->now = now;
    struct sched_conn *c = conn_find(s, conn);
    if (!c)
        return;
    struct sched_site *t = c->site;
    conn_ahead_leave(c);
    if (c->state == CONN_IDLE)
        idle_leave(s, c);
    else if (c->state == CONN_CLOSING && c->prev)
        DL_DELETE(s->closing, c);
    HASH_DEL(s->conns, c);
    free(c);
    t->n_conns--;
    site_kick(s, t);
    site_release(s, t);
}

/* --- work ----------------------------------------------------------------------------------------
 */

static void fill_work(struct sched *s, struct sched_conn *c, enum sched_act act,
                      struct sched_action *ret)
{
    struct sched_site *t = c->site;
    *ret = (struct sched_action){.act = act,
                                 .site = site_name(t),
                                 .destination = site_destination(t),
                                 .conn = c->id,
                                 .loop = c->loop,
                                 .plan = act == SCHED_OPEN ? t->plan : NULL};
    c->jobs++;
    *(c->has_two ? &c->next_epoch : &c->epoch) = t->epoch;
    job_next(s, t, &ret->job);
}

static struct sched_conn *conn_new(struct sched *s, struct sched_site *t)
{
    struct sched_conn *c = must_alloc(sizeof *c);
    c->id = ++s->last_conn;
    c->site = t;
    c->loop = s->next_loop++ % s->loops;
    HASH_ADD(hh, s->conns, id, sizeof c->id, c);
    t->n_conns++;
    return c;
}

/* May it begin a job now, on an idle connection or on a new one? Where only time is missing, a
 * timer is set. A site that was unreachable may use a connection that it has: that is no probe. */
static bool is_time(struct sched *s, struct sched_site *t, bool has_idle, struct mono mono)
{
    struct mono at = {0};
    if (t->limits.rate)
        at = bucket_next(&t->bucket, t->limits.rate, t->limits.rate_ms);
    if (t->dead && (t->throttled || !has_idle) && t->next_probe.ms > at.ms)
        at = t->next_probe;
    if (mono_reached(at, mono))
        return true;
    heap_set(&s->probes, &t->probe_index, at.ms);
    return false;
}

/* A job begins: it has its token, and where the site is dead it is the probe. */
static void job_begins(struct sched *s, struct sched_site *t, struct sched_conn *c,
                       struct mono mono)
{
    if (t->limits.rate)
        bucket_take(&t->bucket, t->limits.rate, t->limits.rate_ms, mono);
    site_count_job(t, mono);
    c->probe = t->dead;
    c->early = t->dead && t->early;
    t->early = false;
    if (t->dead)
        t->next_probe = mono_add(mono, site_probe_wait(s, t));
}

/* Its plan is good for a new connection; else it is asked for. */
static bool has_plan(struct sched *s, struct sched_site *t, struct mono mono)
{
    if (!mono_reached(t->valid_until, mono))
        return true;
    t->refreshing = true;
    domain_ask(s, lane_next(rank_next(t))->rcpts->domain);
    return false;
}

/* On which connection its next job goes: one that is idle, a new one, one that takes it ahead. */
enum way { WAY_NONE, WAY_IDLE, WAY_OPEN, WAY_AHEAD };

static enum way way_for_work(struct sched *s, struct sched_site *t, struct mono mono)
{
    bool opens = t->n_conns < t->window && !t->refreshing;
    bool has_room = t->idle || opens || t->ahead;
    if (t->ready == 0 || t->suspended || !has_room || !is_time(s, t, t->idle != NULL, mono))
        return WAY_NONE;
    if (t->idle)
        return WAY_IDLE;
    if (opens && has_plan(s, t, mono))
        return WAY_OPEN;
    return t->ahead ? WAY_AHEAD : WAY_NONE;
}

static struct sched_conn *conn_for_work(struct sched *s, struct sched_site *t, enum way way)
{
    struct sched_conn *c = way == WAY_IDLE ? t->idle : t->ahead;
    if (way == WAY_OPEN)
        return conn_new(s, t);
    if (way == WAY_AHEAD) {
        conn_ahead_leave(c);
        c->has_two = true;
        return c;
    }
    idle_leave(s, c);
    c->state = CONN_BUSY;
    return c;
}

bool site_next_work(struct sched *s, struct mono mono, struct sched_action *ret)
{
    struct sched_site *t;
    while ((t = s->runnable)) {
        DL_DELETE(s->runnable, t);
        t->runnable = false;
        enum way way = way_for_work(s, t, mono);
        if (way == WAY_NONE)
            continue;
        struct sched_conn *c = conn_for_work(s, t, way);
        job_begins(s, t, c, mono);
        fill_work(s, c, c->jobs ? SCHED_WORK : SCHED_OPEN, ret);
        site_kick(s, t);
        return true;
    }
    return false;
}

void site_timers(struct sched *s, struct mono mono)
{
    while (s->idle && mono_reached(mono_add(s->idle->idle_since, IDLE_KEEP_MS), mono))
        conn_close(s, s->idle);
    const struct heap_entry *top;
    while ((top = heap_top(&s->probes)) && top->key <= mono.ms) {
        struct sched_site *t = HEAP_ITEM(top, struct sched_site, probe_index);
        heap_drop(&s->probes, &t->probe_index);
        site_kick(s, t);
        site_release(s, t);
    }
}

/* Recipients and domains: what is due, and which plan it needs. Sites and connections:
 * sched_site.c. */
#include "queue/sched.h"
#include "queue/sched_int.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"

#define DUE_AT_ONCE 1000 /* taken in by one call of sched_next */
#define LOOK_AGAIN_S                                                                               \
    (INT64_C(10) * 60) /* when one that is late or expired may still have its only attempt */
#define LAST_TURN_S INT64_C(60) /* for one whose last attempt is due when its lifetime ends */

struct sched *sched_new(unsigned loops, uint64_t seed)
{
    struct sched *s = must_alloc(sizeof *s);
    s->loops = loops ? loops : 1;
    rng_seed(&s->rng, seed);
    return s;
}

void sched_set_loops(struct sched *s, unsigned loops)
{
    s->loops = loops ? loops : 1;
}

/* --- domains -------------------------------------------------------------------------------------
 */

static struct sched_domain *domain_find(const struct sched *s, struct slice name)
{
    struct sched_domain *d;
    const void *key = name.n ? (const void *)name.p : "";
    HASH_FIND(hh, s->domains, key, name.n, d);
    return d;
}

static struct sched_domain *domain_get(struct sched *s, struct slice name)
{
    struct sched_domain *d = domain_find(s, name);
    if (d)
        return d;
    s->n_made++;
    d = must_alloc(sizeof *d + name.n + 1);
    d->name_n = name.n;
    if (name.n)
        memcpy(d->name, name.p, name.n);
    HASH_ADD_KEYPTR(hh, s->domains, d->name, d->name_n, d);
    return d;
}

static void domain_list(struct sched *s, struct sched_domain *d, enum domain_list to)
{
    if (d->list == LIST_RESOLVE)
        DL_DELETE(s->to_resolve, d);
    else if (d->list == LIST_EMPTY)
        DL_DELETE(s->empty, d);
    d->list = to;
    if (to == LIST_RESOLVE)
        DL_APPEND(s->to_resolve, d);
    else if (to == LIST_EMPTY)
        DL_APPEND(s->empty, d);
}

void domain_ask(struct sched *s, struct sched_domain *d)
{
    if (d->asked)
        return;
    d->asked = true;
    domain_list(s, d, LIST_RESOLVE);
}

/* An empty domain is kept only while its plan is good, and while its answer is awaited. */
static void domain_settle(struct sched *s, struct sched_domain *d)
{
    if (d->n == 0 && !d->asked)
        domain_list(s, d, LIST_EMPTY);
}

static void domain_set_site(struct sched *s, struct sched_domain *d, struct sched_site *t)
{
    struct sched_site *old = d->site;
    if (old == t)
        return;
    d->site = t;
    if (t) {
        t->n_domains++;
        t->waiting += d->n_waiting;
    }
    if (old) {
        old->n_domains--;
        old->waiting -= d->n_waiting;
        site_release(s, old);
    }
}

static void domain_free(struct sched *s, struct sched_domain *d)
{
    domain_list(s, d, LIST_NONE);
    domain_set_site(s, d, NULL);
    HASH_DEL(s->domains, d); /* NOLINT(clang-analyzer-core.NullDereference) it is in there */
    free(d);
}

/* Two are looked at in each millisecond, and two for each that was made, so that the list cannot
 * grow by itself. Not in each call: of a thousand destinations each look is at cold memory. */
static void sweep_empty(struct sched *s, struct mono mono)
{
    uint64_t looks = 2 * s->n_made + (mono.ms != s->swept.ms ? 2 : 0);
    s->n_made = 0;
    s->swept = mono;
    for (; looks > 0 && s->empty; looks--) {
        struct sched_domain *d = s->empty;
        if (!d->site || mono_reached(d->valid_until, mono))
            domain_free(s, d);
        else
            domain_list(s, d, LIST_EMPTY); /* to the end */
    }
}

void sched_free(struct sched *s)
{
    sched_suspend_done(s);
    struct sched_domain *d, *next_domain;
    struct sched_conn *c, *next_conn;
    struct sched_site *t, *next_site;
    if (!s)
        return;
    HASH_ITER (hh, s->conns, c, next_conn) {
        HASH_DEL(s->conns, c);
        free(c);
    }
    HASH_ITER (hh, s->domains, d, next_domain) {
        HASH_DEL(s->domains, d);
        free(d);
    }
    HASH_ITER (hh, s->sites, t, next_site) {
        site_free(s, t);
    }
    heap_done(&s->moments);
    heap_done(&s->probes);
    free(s);
}

/* --- recipients ----------------------------------------------------------------------------------
 */

static void count_waiting(struct sched *s, struct sched_domain *d, bool in)
{
    s->waiting += in ? 1 : UINT64_MAX;
    d->n_waiting += in ? 1 : UINT64_MAX;
    if (d->site)
        d->site->waiting += in ? 1 : UINT64_MAX;
}

static bool is_listed(const struct recipient *r)
{
    return r->prev != NULL;
}

/* Off its lane or its domain's list; it is then neither ready nor waiting. */
static void unlist(struct sched *s, struct recipient *r)
{
    struct sched_domain *d = r->domain;
    if (d->site) {
        site_unlink(d->site, r);
    } else {
        DL_DELETE(d->pending, r);
        r->prev = r->next = NULL;
    }
    s->ready--;
    d->n_ready--;
}

static void enlist(struct sched *s, struct recipient *r)
{
    struct sched_domain *d = r->domain;
    s->ready++;
    d->n_ready++;
    if (d->site)
        site_push(s, d->site, r);
    else
        DL_APPEND(d->pending, r);
}

static void leave(struct sched *s, struct recipient *r)
{
    struct sched_domain *d = r->domain;
    if (is_listed(r))
        unlist(s, r);
    else
        count_waiting(s, d, false);
    heap_drop(&s->moments, &r->heap_index);
    r->domain = NULL;
    d->n--;
    domain_settle(s, d);
}

void sched_lend(struct sched *s, struct recipient *r)
{
    const struct sched_site *t = r->domain->site;
    leave(s, r);
    r->active = true;
    r->carrier = t; /* it stays while it has connections, so while this one is out */
}

/* What is to be resolved. A ">" cannot be in a domain. */
static void domain_name(const struct recipient *r, struct buf *out)
{
    struct slice route = recipient_route(r);
    address_domain(recipient_address(r), out);
    if (route.n) {
        buf_add_u8(out, '>');
        buf_add(out, route);
    }
}

void sched_add(struct sched *s, struct recipient *r)
{
    MUST(!r->domain && !r->active && r->heap_index == 0);
    DEFER(buf_done) struct buf name = BUF_MAX(1024);
    domain_name(r, &name);
    struct sched_domain *d = domain_get(s, buf_slice(&name));
    if (d->list == LIST_EMPTY)
        domain_list(s, d, LIST_NONE);
    r->next = NULL;
    r->domain = d;
    r->prev = r->next = NULL;
    d->n++;
    count_waiting(s, d, true);
    heap_set(&s->moments, &r->heap_index, r->due.us);
}

void sched_remove(struct sched *s, struct recipient *r)
{
    MUST(!r->active);
    if (r->domain)
        leave(s, r);
}

void sched_hurry(struct sched *s, struct recipient *r, struct wall now)
{
    r->due = now;
    if (!r->domain)
        return;
    if (!is_listed(r))
        heap_set(&s->moments, &r->heap_index, now.us);
    struct sched_site *t = r->domain->site;
    if (t && t->dead && t->n_conns == 0) {
        site_probe_early(t);
        heap_set(&s->probes, &t->probe_index, 0);
    }
}

/* --- until when
 * -----------------------------------------------------------------------------------
 */

/* Where it stands, or (active) is carried; NULL: at none yet. */
static const struct sched_site *site_of(const struct recipient *r)
{
    return r->active ? r->carrier : r->domain ? r->domain->site : NULL;
}

void sched_set_warning(struct sched *s, int64_t warning_s)
{
    s->warning_s = warning_s;
}

struct wall sched_expires(const struct message *m, int64_t lifetime_s)
{
    struct wall own = message_expires(m), here = wall_add_s(message_first_due(m), lifetime_s);
    return lifetime_s > 0 && here.us < own.us ? here : own;
}

struct wall sched_rcpt_expires(const struct recipient *r)
{
    const struct sched_limits *l = sched_rcpt_limits(r);
    return sched_expires(recipient_message(r), l ? l->lifetime_s : 0);
}

const struct sched_limits *sched_rcpt_limits(const struct recipient *r)
{
    const struct sched_site *t = site_of(r);
    return t ? &t->limits : NULL;
}

bool sched_stands_still(const struct recipient *r)
{
    const struct sched_site *t = site_of(r);
    return t && (t->dead || t->suspended);
}

/* Until when it may stand in line. One that comes there when its lifetime is all but over has a
 * minute for its last attempt. Where nothing is begun it has that once: a job may come back
 * untouched (all hosts refuse our login), or an operator move its mail, and as often as somebody
 * asks for that it would stand there anew. */
static struct wall line_end(const struct recipient *r, struct wall now)
{
    struct wall turn = wall_add_s(now, LAST_TURN_S), end = sched_rcpt_expires(r);
    return end.us > turn.us || (r->last_turn && sched_stands_still(r)) ? end : turn;
}

/* When it is to be looked at while it stands in line: it is late, or it has stood there for long
 * enough. Both depend on where it stands. */
static void watch(struct sched *s, struct recipient *r, struct wall now)
{
    int64_t turn = wall_add_s(now, LAST_TURN_S).us, end = line_end(r, now).us;
    int64_t late = message_late_at(recipient_message(r), s->warning_s).us;
    late = late > turn ? late : turn; /* what has its turn now tells by its end */
    r->last_turn = r->last_turn || (site_of(r) && end == turn);
    heap_set(&s->moments, &r->heap_index, late < end ? late : end);
}

/* --- answers to RESOLVE --------------------------------------------------------------------------
 */

static void rank_pluck(struct sched *s, struct sched_domain *d, const struct sched_rank *k,
                       struct recipient **chain)
{
    struct recipient *r, *next;
    struct sched_lane *lane, *next_lane;
    HASH_ITER (hh, k->lanes, lane, next_lane) {
        for (r = lane->rcpts; r && d->n_ready > 0; r = next) {
            next = r->next;
            if (r->domain != d)
                continue;
            unlist(s, r); /* the lane goes with its last one */
            DL_APPEND(*chain, r);
        }
        if (d->n_ready == 0)
            break;
    }
}

/* Takes the domain's due recipients off their list: a chain by `next`, oldest first. They stay
 * known here. */
static struct recipient *domain_pluck(struct sched *s, struct sched_domain *d)
{
    struct recipient *chain = NULL, *r;
    if (!d->site) {
        while ((r = d->pending)) {
            unlist(s, r);
            DL_APPEND(chain, r);
        }
        return chain;
    }
    for (unsigned k = 0; k < RANKS && d->n_ready > 0; k++)
        rank_pluck(s, d, &d->site->ranks[k], &chain);
    return chain;
}

/* Its destination has another lifetime. */
static void watch_all(struct sched *s, struct sched_site *t)
{
    struct sched_lane *lane, *next;
    struct recipient *r;
    for (struct sched_rank *k = t->ranks; k < t->ranks + RANKS; k++)
        HASH_ITER (hh, k->lanes, lane, next)
            DL_FOREACH (lane->rcpts, r)
                watch(s, r, s->wall);
}

/* The answer tells the ways of before: it is not used. */
static bool asks_anew(struct sched *s, struct sched_domain *d)
{
    if (!d->outdated)
        return false;
    d->outdated = d->asked = false;
    domain_ask(s, d);
    return true;
}

void sched_plan(struct sched *s, struct slice domain, struct slice site, struct slice destination,
                const struct sched_limits *l, struct frozen *plan, struct mono valid_until,
                struct mono now)
{
    struct sched_domain *d = domain_find(s, domain);
    if (!d || asks_anew(s, d))
        return;
    s->now = now;
    struct sched_site *t = site_get(s, destination, site);
    struct mono least = mono_add(now, PLAN_MIN_MS);
    d->asked = false;
    domain_list(s, d, LIST_NONE);
    d->valid_until = valid_until.ms > least.ms ? valid_until : least;
    struct recipient *chain = NULL, *r, *next;
    if (d->site != t) {
        chain = domain_pluck(s, d);
        if (d->site)
            d->site->refreshing = false;
        domain_set_site(s, d, t);
    }
    const int64_t lifetime_s = t->limits.lifetime_s;
    site_set_plan(s, t, l, plan, d->valid_until);
    if (l->lifetime_s != lifetime_s)
        watch_all(s, t);
    DL_FOREACH_SAFE (chain, r, next) {
        r->prev = r->next = NULL;
        enlist(s, r);
        watch(s, r, s->wall);
    }
    domain_settle(s, d);
}

void sched_plan_failed(struct sched *s, struct slice domain,
                       void (*each)(void *ctx, struct recipient *r), void *ctx)
{
    struct sched_domain *d = domain_find(s, domain);
    if (!d || asks_anew(s, d))
        return;
    struct recipient *chain = domain_pluck(s, d), *r, *next;
    if (d->site) {
        d->site->refreshing = false;
        site_kick(s, d->site);
        domain_set_site(s, d, NULL);
    }
    d->asked = false;
    domain_list(s, d, LIST_NONE);
    DL_FOREACH (chain, r) {
        heap_drop(&s->moments, &r->heap_index);
        r->domain = NULL;
        d->n--;
    }
    domain_settle(s, d);
    for (r = chain; r; r = next) {
        next = r->next;
        r->prev = r->next = NULL;
        each(ctx, r);
    }
}

/* --- what is due ---------------------------------------------------------------------------------
 */

static void becomes_ready(struct sched *s, struct recipient *r, struct wall now, struct mono mono)
{
    struct sched_domain *d = r->domain;
    count_waiting(s, d, false);
    enlist(s, r);
    watch(s, r, now);
    /* Checklist 48: each retry resolves again; meanwhile the site's plan, if it is good, may serve.
     */
    if (!d->site || mono_reached(d->valid_until, mono))
        domain_ask(s, d);
}

/*
 * Its lifetime has ended while it stood in line. Where attempts go on, one that never had any waits
 * for its only one; else the last attempt that was made, by it or by the site's probe, was the
 * last. Behind a fault of this host nothing ends.
 */
static bool expires_in_line(struct sched *s, struct recipient *r, struct wall now,
                            struct sched_action *ret)
{
    const struct sched_site *t = r->domain->site;
    const bool ours = t && t->dead && t->ours && !t->suspended;
    if (!t || ours || (r->attempts == 0 && !sched_stands_still(r))) {
        heap_set(&s->moments, &r->heap_index, wall_add_s(now, LOOK_AGAIN_S).us);
        return false;
    }
    leave(s, r);
    *ret = (struct sched_action){.act = SCHED_EXPIRE,
                                 .limits = &t->limits,
                                 .job = {.message = recipient_message(r), .rcpts = {r}, .n = 1}};
    return true;
}

/* Behind a receiver that is dead nothing ends: mail is late all the same. One that had no attempt
 * where attempts go on waits for its own, and is looked at again. */
static bool late_in_line(struct sched *s, struct recipient *r, struct wall now,
                         struct sched_action *ret)
{
    struct message *m = recipient_message(r);
    int64_t end = line_end(r, now).us, again = wall_add_s(now, LOOK_AGAIN_S).us;
    bool waits = r->attempts == 0 && !sched_stands_still(r);
    heap_set(&s->moments, &r->heap_index, waits && again < end ? again : end);
    if (waits)
        return false;
    *ret = (struct sched_action){.act = SCHED_LATE, .job = {.message = m, .rcpts = {r}, .n = 1}};
    return true;
}

static bool take_due(struct sched *s, struct wall now, struct mono mono, struct sched_action *ret)
{
    const struct heap_entry *top;
    for (int i = 0; i < DUE_AT_ONCE && (top = heap_top(&s->moments)) && top->key <= now.us; i++) {
        struct recipient *r = HEAP_ITEM(top, struct recipient, heap_index);
        if (!is_listed(r))
            becomes_ready(s, r, now, mono);
        else if (sched_rcpt_expires(r).us > now.us ? late_in_line(s, r, now, ret)
                                                   : expires_in_line(s, r, now, ret))
            return true;
    }
    return false;
}

static bool next_resolve(struct sched *s, struct sched_action *ret)
{
    struct sched_domain *d = s->to_resolve;
    if (!d)
        return false;
    domain_list(s, d, LIST_NONE);
    *ret = (struct sched_action){.act = SCHED_RESOLVE, .domain = slice_of(d->name, d->name_n)};
    return true;
}

bool sched_next(struct sched *s, struct wall now, struct mono mono, struct sched_action *ret)
{
    s->now = mono;
    s->wall = now;
    sweep_empty(s, mono);
    site_timers(s, mono);
    return take_due(s, now, mono, ret) || site_next_close(s, ret) || next_resolve(s, ret) ||
           site_next_work(s, mono, ret) || next_resolve(s, ret);
}

void sched_deadline(const struct sched *s, struct wall *ret_wall, struct mono *ret_mono)
{
    const struct heap_entry *due = heap_top(&s->moments), *probe = heap_top(&s->probes);
    *ret_wall = WALL_NEVER;
    *ret_mono = MONO_NEVER;
    if (due)
        *ret_wall = (struct wall){due->key};
    if (probe)
        *ret_mono = (struct mono){probe->key};
    if (s->idle)
        *ret_mono = mono_min(*ret_mono, mono_add(s->idle->idle_since, IDLE_KEEP_MS));
}

/* --- views ---------------------------------------------------------------------------------------
 */

uint64_t sched_memory(const struct sched *s)
{
    return heap_memory(&s->moments);
}

void sched_count(const struct sched *s, uint64_t *ret_ready, uint64_t *ret_waiting)
{
    *ret_ready = s->ready;
    *ret_waiting = s->waiting;
}

bool sched_where(const struct recipient *r, struct slice *ret_site, struct slice *ret_destination)
{
    const struct sched_site *t = site_of(r);
    *ret_site = t ? site_name(t) : SLICE_LIT("");
    *ret_destination = t ? site_destination(t) : SLICE_LIT("");
    return r->domain && is_listed(r);
}

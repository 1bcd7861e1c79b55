#include "relay/inbound/clients.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/plural.h"
#include "relay/net/addr.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
/* Keyed: addresses are chosen by others. */
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>
#include <utlist.h>
#include <uv.h>

#define MINUTE_MS (INT64_C(60) * 1000)
#define PLACES_A_CALL 1000
#define SWEPT_A_CALL 2

/* Which list a client waits in to be forgotten; in this order they go. */
enum kind { SEEN, FAILED, BANNED, KINDS, CONNECTED = KINDS };

struct client {
    UT_hash_handle hh;
    struct clients_key key;
    struct client *prev, *next; /* of its kind; not while connected */
    size_t place;
    enum kind kind;
    unsigned open;
    struct guesses *guesses; /* NULL: no login has failed */
    struct mono failed_at, banned_until, heard_at, said_at;
    int64_t paid_until_us; /* the rate as one number: GCRA's theoretical arrival time */
    int64_t minute;        /* since when `now_n` counts; `last_n` is of the minute before */
    unsigned now_n, last_n;
    char *reason; /* of the ban */
};

struct clients {
    uv_mutex_t lock;
    struct client *by_key;
    struct client *idle[KINDS]; /* the one heard of last is at the end */
    size_t n_idle;
    struct client **places; /* for pages: an entry stays at its place; NULL: free */
    size_t *free_places;
    size_t n_places, cap_places, n_free;
    unsigned *by_listener;
    size_t n_listeners;
    unsigned total;
};

/* ---- keys ---- */

static bool key_of(const struct net_cidr *n, struct clients_key *ret)
{
    if (n->family == 0)
        return false;
    *ret = (struct clients_key){.v6 = n->family == AF_INET6};
    memcpy(ret->bytes, n->bytes, ret->v6 ? 8 : 4);
    return true;
}

bool clients_key_of(const struct sockaddr *a, struct clients_key *ret)
{
    const struct net_cidr n = net_cidr_of(a);
    return key_of(&n, ret);
}

bool clients_key_parse(struct slice text, struct clients_key *ret)
{
    struct net_cidr n;
    if (!net_cidr_parse(text, &n))
        return false;
    const unsigned whole = n.family == AF_INET6 ? 128 : 32;
    if (n.bits != whole && !(n.family == AF_INET6 && n.bits == 64))
        return false;
    return key_of(&n, ret);
}

void clients_key_text(const struct clients_key *k, char ret_text[CLIENTS_KEY_SIZE])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    uint8_t bytes[16] = {0};
    memcpy(bytes, k->bytes, sizeof k->bytes);
    inet_ntop(k->v6 ? AF_INET6 : AF_INET, bytes, ip, sizeof ip);
    snprintf(ret_text, CLIENTS_KEY_SIZE, k->v6 ? "%.42s/64" : "%.42s", ip);
}

/* ---- places ---- */

static void take_place(struct clients *c, struct client *one)
{
    if (c->n_free > 0) {
        one->place = c->free_places[--c->n_free];
    } else {
        if (c->n_places == c->cap_places) {
            c->cap_places = c->cap_places ? c->cap_places * 2 : 64;
            c->places = must_realloc(c->places, c->cap_places * sizeof *c->places);
            c->free_places = must_realloc(c->free_places, c->cap_places * sizeof *c->free_places);
        }
        one->place = c->n_places++;
    }
    c->places[one->place] = one;
}

static void leave_place(struct clients *c, const struct client *one)
{
    c->places[one->place] = NULL;
    c->free_places[c->n_free++] = one->place;
}

/* ---- who is kept ---- */

static bool is_banned(const struct client *one, struct mono now)
{
    return !mono_reached(one->banned_until, now);
}

static void unlist(struct clients *c, struct client *one)
{
    if (one->kind == CONNECTED)
        return;
    DL_DELETE(c->idle[one->kind], one);
    c->n_idle--;
}

static void forget(struct clients *c, struct client *one)
{
    unlist(c, one);
    leave_place(c, one);
    HASH_DEL(c->by_key, one);
    free(one->guesses);
    free(one->reason);
    free(one);
}

static bool is_worth_nothing(const struct client *one, struct mono now)
{
    return !is_banned(one, now) && mono_reached(mono_add(one->heard_at, 2 * MINUTE_MS), now) &&
           (!one->guesses || mono_reached(mono_add(one->failed_at, CLIENTS_FORGET_MS), now));
}

/* Each call pays for a little of the cleaning up; the lists keep it short. */
static void sweep(struct clients *c, struct mono now)
{
    for (unsigned k = SEEN; k < KINDS; k++)
        for (unsigned i = 0; i < SWEPT_A_CALL; i++)
            if (c->idle[k] && is_worth_nothing(c->idle[k], now))
                forget(c, c->idle[k]);
    for (unsigned k = SEEN; c->n_idle > CLIENTS_IDLE_MAX; k++)
        while (c->idle[k] && c->n_idle > CLIENTS_IDLE_MAX)
            forget(c, c->idle[k]);
}

static enum kind kind_of(const struct client *one, struct mono now)
{
    if (one->open > 0)
        return CONNECTED;
    return is_banned(one, now) ? BANNED : one->guesses ? FAILED : SEEN;
}

/* Something has changed: to the end of the list where it belongs now. */
static void list(struct clients *c, struct client *one, struct mono now)
{
    unlist(c, one);
    one->kind = kind_of(one, now);
    if (one->kind == CONNECTED)
        return;
    DL_APPEND(c->idle[one->kind], one);
    c->n_idle++;
}

static struct client *find(struct clients *c, const struct clients_key *key)
{
    struct client *one = NULL;
    HASH_FIND(hh, c->by_key, key, sizeof *key, one);
    return one;
}

static void forgive(struct client *one)
{
    free(TAKE_PTR(one->guesses));
}

static struct client *find_or_add(struct clients *c, const struct clients_key *key, struct mono now)
{
    struct client *one = find(c, key);
    if (!one) {
        one = must_alloc(sizeof *one);
        one->key = *key;
        one->kind = CONNECTED; /* in no list yet */
        one->said_at = (struct mono){INT64_MIN};
        one->banned_until = (struct mono){INT64_MIN};
        one->heard_at = now;
        HASH_ADD(hh, c->by_key, key, sizeof one->key, one);
        take_place(c, one);
    }
    if (one->guesses && mono_reached(mono_add(one->failed_at, CLIENTS_FORGET_MS), now))
        forgive(one);
    return one;
}

/* ---- life ---- */

struct clients *clients_new(void)
{
    struct clients *c = must_alloc(sizeof *c);
    MUST(uv_mutex_init(&c->lock) == 0);
    return c;
}

void clients_free(struct clients *c)
{
    struct client *one, *next;
    HASH_ITER (hh, c->by_key, one, next)
        forget(c, one);
    uv_mutex_destroy(&c->lock);
    free(c->places);
    free(c->free_places);
    free(c->by_listener);
    free(c);
}

/* ---- connections ---- */

static unsigned *of_listener(struct clients *c, size_t listener)
{
    for (; c->n_listeners <= listener; c->n_listeners++) {
        c->by_listener =
            must_realloc(c->by_listener, (c->n_listeners + 1) * sizeof *c->by_listener);
        c->by_listener[c->n_listeners] = 0;
    }
    return &c->by_listener[listener];
}

static void count_lately(struct client *one, struct mono now)
{
    const int64_t minute = now.ms / MINUTE_MS;
    if (minute != one->minute) {
        one->last_n = minute == one->minute + 1 ? one->now_n : 0;
        one->now_n = 0;
        one->minute = minute;
    }
    one->now_n++;
}

/* The minute that ends now: so much of the one before as is still in it. */
static unsigned lately(const struct client *one, struct mono now)
{
    const int64_t minute = now.ms / MINUTE_MS, into = now.ms % MINUTE_MS;
    if (minute == one->minute)
        return one->now_n + (unsigned)((uint64_t)one->last_n * (uint64_t)(MINUTE_MS - into) /
                                       (uint64_t)MINUTE_MS);
    if (minute == one->minute + 1)
        return (unsigned)((uint64_t)one->now_n * (uint64_t)(MINUTE_MS - into) /
                          (uint64_t)MINUTE_MS);
    return 0;
}

/* Each connection pays for the time that the rate gives it; a whole period may be paid ahead. */
static bool pays(struct client *one, const struct clients_limits *l, struct mono now)
{
    if (l->rate == 0)
        return true;
    const int64_t now_us = now.ms * 1000, period_us = l->rate_ms * 1000;
    const int64_t price = period_us / l->rate > 0 ? period_us / l->rate : 1;
    const int64_t from = one->paid_until_us > now_us ? one->paid_until_us : now_us;
    if (from + price - now_us > period_us)
        return false;
    one->paid_until_us = from + price;
    return true;
}

static enum clients_answer judge(struct clients *c, struct client *one, size_t listener,
                                 const struct clients_limits *l, struct mono now)
{
    if (!l->exempt && is_banned(one, now))
        return CLIENTS_BANNED;
    if (l->per_client && one->open >= l->per_client)
        return CLIENTS_TOO_MANY;
    if (l->per_listener && *of_listener(c, listener) >= l->per_listener)
        return CLIENTS_FULL;
    if (!l->exempt && !pays(one, l, now))
        return CLIENTS_TOO_FAST;
    return CLIENTS_IN;
}

static void refuse(struct client *one, enum clients_answer a, struct clients_refusal *ret,
                   struct mono now)
{
    *ret = (struct clients_refusal){.say = one->said_at.ms == INT64_MIN ||
                                           now.ms - one->said_at.ms >= MINUTE_MS};
    if (ret->say)
        one->said_at = now;
    if (a == CLIENTS_BANNED) {
        ret->left_ms = one->banned_until.ms - now.ms;
        snprintf(ret->reason, sizeof ret->reason, "%s", one->reason);
    }
}

enum clients_answer clients_enter(struct clients *c, const struct clients_key *key, size_t listener,
                                  const struct clients_limits *limits, struct mono now,
                                  struct client **ret, struct clients_refusal *ret_refusal)
{
    uv_mutex_lock(&c->lock);
    struct client *one = find_or_add(c, key, now);
    one->heard_at = now;
    count_lately(one, now);
    const enum clients_answer a = judge(c, one, listener, limits, now);
    if (a == CLIENTS_IN) {
        one->open++;
        ++*of_listener(c, listener);
        c->total++;
        *ret = one;
    } else {
        refuse(one, a, ret_refusal, now);
    }
    list(c, one, now);
    sweep(c, now);
    uv_mutex_unlock(&c->lock);
    return a;
}

void clients_leave(struct clients *c, struct client *one, size_t listener, struct mono now)
{
    uv_mutex_lock(&c->lock);
    MUST(one->open > 0);
    one->open--;
    --*of_listener(c, listener);
    c->total--;
    one->heard_at = now;
    list(c, one, now);
    sweep(c, now);
    uv_mutex_unlock(&c->lock);
}

unsigned clients_total(struct clients *c)
{
    uv_mutex_lock(&c->lock);
    const unsigned n = c->total;
    uv_mutex_unlock(&c->lock);
    return n;
}

/* ---- logins ---- */

static void ban(struct client *one, int64_t ms, struct slice reason, struct mono now)
{
    one->banned_until = mono_add(now, ms);
    free(one->reason);
    one->reason = slice_dup(slice_head(reason, CLIENTS_REASON_MAX));
}

static int64_t delay_ms(unsigned tries)
{
    static const int64_t seconds[] = {0, 1, 2, 4, 8};
    const size_t last = sizeof seconds / sizeof *seconds - 1;
    return 1000 * seconds[tries - 1 < last ? tries - 1 : last];
}

/* One more; the ban, when it was the last. */
static struct clients_failure count_failure(struct client *one, const struct clients_rules *rules,
                                            struct guess guess, struct mono now)
{
    char reason[CLIENTS_REASON_MAX];
    struct guesses *g = one->guesses = one->guesses ? one->guesses : must_alloc(sizeof *g);
    guesses_add(g, guess);
    one->failed_at = now;
    struct clients_failure f = {.failures = g->failures, .delay_ms = delay_ms(g->tries)};
    if (!rules->exempt && rules->failures && g->failures >= rules->failures) {
        snprintf(reason, sizeof reason, "%u failed login%s", g->failures, plural(g->failures));
        ban(one, rules->ban_ms, slice_str(reason), now);
        forgive(one); /* paid for */
        f.banned = true;
    }
    return f;
}

struct clients_failure clients_auth_failed(struct clients *c, const struct clients_key *key,
                                           const struct clients_rules *rules, struct guess guess,
                                           struct mono now)
{
    struct clients_failure f = {.late = true};
    uv_mutex_lock(&c->lock);
    struct client *one = find_or_add(c, key, now);
    one->heard_at = now;
    if (rules->exempt || !is_banned(one, now)) {
        f = count_failure(one, rules, guess, now);
        list(c, one, now);
        sweep(c, now);
    }
    uv_mutex_unlock(&c->lock);
    return f;
}

bool clients_has_failed(struct clients *c, const struct clients_key *key, uint64_t credential)
{
    uv_mutex_lock(&c->lock);
    const struct client *one = find(c, key);
    const bool has = one && one->guesses && guesses_have(one->guesses, credential);
    uv_mutex_unlock(&c->lock);
    return has;
}

void clients_auth_ok(struct clients *c, const struct clients_key *key, uint64_t name)
{
    uv_mutex_lock(&c->lock);
    struct client *one = find(c, key);
    if (one && one->guesses) {
        guesses_forgive(one->guesses, name);
        if (one->guesses->tries == 0)
            forgive(one); /* its list is put right when it leaves */
    }
    uv_mutex_unlock(&c->lock);
}

bool clients_is_banned(struct clients *c, const struct clients_key *key, struct mono now)
{
    uv_mutex_lock(&c->lock);
    const struct client *one = find(c, key);
    const bool banned = one && is_banned(one, now);
    uv_mutex_unlock(&c->lock);
    return banned;
}

/* ---- operators ---- */

void clients_ban(struct clients *c, const struct clients_key *key, int64_t ms, struct slice reason,
                 struct mono now)
{
    uv_mutex_lock(&c->lock);
    struct client *one = find_or_add(c, key, now);
    ban(one, ms, reason, now);
    list(c, one, now);
    sweep(c, now);
    uv_mutex_unlock(&c->lock);
}

bool clients_allow(struct clients *c, const struct clients_key *key, struct mono now)
{
    uv_mutex_lock(&c->lock);
    struct client *one = find(c, key);
    const bool found = one && (is_banned(one, now) || one->guesses);
    if (found) {
        one->banned_until = now;
        forgive(one);
        list(c, one, now);
    }
    uv_mutex_unlock(&c->lock);
    return found;
}

static bool is_worth_a_row(const struct client *one, struct mono now)
{
    return one->open > 0 || one->guesses || is_banned(one, now);
}

static void fill_row(const struct client *one, struct clients_row *r, struct mono now)
{
    *r = (struct clients_row){.key = one->key, .open = one->open, .lately = lately(one, now)};
    if (one->guesses)
        r->failures = one->guesses->failures;
    if (!is_banned(one, now))
        return;
    r->banned_ms = one->banned_until.ms - now.ms;
    snprintf(r->reason, sizeof r->reason, "%s", one->reason);
}

bool clients_page(struct clients *c, size_t *at, struct clients_row *ret_rows, size_t max,
                  size_t *ret_n, struct mono now)
{
    size_t n = 0;
    uv_mutex_lock(&c->lock);
    for (unsigned looked = 0; looked < PLACES_A_CALL && *at < c->n_places && n < max; looked++) {
        const struct client *one = c->places[(*at)++];
        if (one && is_worth_a_row(one, now))
            fill_row(one, &ret_rows[n++], now);
    }
    const bool more = *at < c->n_places;
    uv_mutex_unlock(&c->lock);
    *ret_n = n;
    return more;
}

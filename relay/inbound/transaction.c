#include "relay/inbound/transaction.h"
#include "relay/base/must.h"
#include <stdlib.h>
/* Keyed: addresses are chosen by others. */
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>

#define ARENA_MAX (512u * 1024)
/* So few are compared one by one: most messages have one recipient, and need no table. */
#define FEW 16
/* Room for more recipients is given back: a session that once had many may idle for long. */
#define ROOM_KEPT 32

/* A recipient that is there already. Local parts differ by letter case, domains do not (RFC 5321
 * section 2.4). */
struct rcpt_key {
    UT_hash_handle hh;
    size_t n;
    uint8_t bytes[];
};

void transaction_init(struct transaction *t)
{
    *t = (struct transaction){0};
    arena_init(&t->arena, ARENA_MAX);
}

static void forget_index(struct transaction *t)
{
    struct rcpt_key *k, *next;
    HASH_ITER (hh, t->index, k, next) {
        HASH_DEL(t->index, k);
        free(k);
    }
}

void transaction_done(struct transaction *t)
{
    forget_index(t);
    arena_done(&t->arena);
    free(t->rcpts);
    free(t->dropped);
    *t = (struct transaction){0};
}

void transaction_reset(struct transaction *t)
{
    forget_index(t);
    arena_reset(&t->arena);
    t->sender = t->envid = SLICE_NONE;
    t->params = (struct mail_params){0};
    t->release = t->by_deadline = (struct wall){0};
    t->n_rcpts = 0;
    free(t->dropped);
    t->dropped = NULL;
    t->n_dropped = t->cap_dropped = 0;
    if (t->cap_rcpts > ROOM_KEPT) {
        free(t->rcpts);
        t->rcpts = NULL;
        t->cap_rcpts = 0;
    }
}

/* False: no room. "" needs none. */
static bool keep(struct transaction *t, struct slice s, struct slice *ret)
{
    *ret = s.n ? arena_dup(&t->arena, s) : SLICE_NONE;
    return s.n == 0 || ret->p;
}

enum transaction_answer transaction_begin(struct transaction *t, const struct smtp_mail *m,
                                          struct wall now)
{
    transaction_reset(t);
    if (!keep(t, m->path, &t->sender) || !keep(t, m->envid, &t->envid)) {
        transaction_reset(t);
        return TRANSACTION_FULL;
    }
    t->params = m->params;
    /* A moment that has passed means now: clocks differ. */
    if (m->hold_s > 0)
        t->release = wall_add_s(now, m->hold_s);
    else if (m->hold_until.us > now.us)
        t->release = m->hold_until;
    if (m->params.by != MAIL_BY_NONE)
        t->by_deadline = wall_add_s(now, m->by_s);
    if (m->params.by == MAIL_BY_RETURN && t->release.us >= t->by_deadline.us) {
        transaction_reset(t);
        return TRANSACTION_NEVER;
    }
    return TRANSACTION_OK;
}

/* ---- recipients ---- */

/* The octets of an address in which letter case counts. */
static size_t local_of(struct slice address)
{
    return address.n - slice_behind_last(address, '@').n;
}

static bool is_same(struct slice a, struct slice b)
{
    const size_t local = local_of(a);
    return a.n == b.n && slice_eq(slice_head(a, local), slice_head(b, local)) &&
           slice_ieq(slice_skip(a, local), slice_skip(b, local));
}

static struct rcpt_key *key_new(struct slice address)
{
    struct rcpt_key *k = must_alloc(sizeof *k + address.n);
    const size_t local = local_of(address);
    k->n = address.n;
    for (size_t i = 0; i < k->n; i++)
        k->bytes[i] = i < local ? address.p[i] : byte_lower(address.p[i]);
    return k;
}

/* Takes k. */
static bool index_has(const struct transaction *t, struct rcpt_key *k)
{
    struct rcpt_key *there = NULL;
    HASH_FIND(hh, t->index, k->bytes, k->n, there);
    free(k);
    return there;
}

static void index_add(struct transaction *t, struct slice address)
{
    struct rcpt_key *k = key_new(address);
    HASH_ADD_KEYPTR(hh, t->index, k->bytes, k->n, k);
}

static bool is_known(const struct transaction *t, struct slice address)
{
    if (t->index)
        return index_has(t, key_new(address));
    for (size_t i = 0; i < t->n_rcpts; i++)
        if (is_same(t->rcpts[i].address, address))
            return true;
    return false;
}

/* The table is made when there are too many to walk through; from then on it has all of them. */
static void note(struct transaction *t, struct slice address)
{
    if (t->n_rcpts == FEW)
        for (size_t i = 0; i < FEW; i++)
            index_add(t, t->rcpts[i].address);
    if (t->n_rcpts >= FEW)
        index_add(t, address);
}

enum transaction_answer transaction_add(struct transaction *t, struct slice address,
                                        const struct smtp_rcpt *r)
{
    struct envelope_rcpt kept = {.notify = r->notify};
    if (is_known(t, address))
        return TRANSACTION_KNOWN;
    if (!keep(t, address, &kept.address) || !keep(t, r->orcpt, &kept.orcpt))
        return TRANSACTION_FULL;
    note(t, kept.address);
    if (t->n_rcpts == t->cap_rcpts) {
        t->cap_rcpts = t->cap_rcpts ? t->cap_rcpts * 2 : 4;
        t->rcpts = must_realloc(t->rcpts, t->cap_rcpts * sizeof *t->rcpts);
    }
    t->rcpts[t->n_rcpts++] = kept;
    return TRANSACTION_OK;
}

void transaction_drop(struct transaction *t, struct slice reason)
{
    struct spooler_dropped d = {.rcpt = (uint32_t)t->n_rcpts - 1};
    if (!keep(t, reason, &d.reason))
        d.reason = SLICE_LIT("Suppressed"); /* no room for more words */
    if (t->n_dropped == t->cap_dropped) {
        t->cap_dropped = t->cap_dropped ? t->cap_dropped * 2 : 4;
        t->dropped = must_realloc(t->dropped, t->cap_dropped * sizeof *t->dropped);
    }
    t->dropped[t->n_dropped++] = d;
}

/* ---- the envelope ---- */

void transaction_fill(const struct transaction *t, struct envelope *e)
{
    e->sender = t->sender;
    e->params = t->params;
    e->envid = t->envid;
    e->release = t->release;
    e->by_deadline = t->by_deadline;
    e->rcpts = t->rcpts;
    e->n_rcpts = t->n_rcpts;
}

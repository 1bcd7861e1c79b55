#include "relay/suppress/list.h"
#include "dns/name.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include <stdlib.h>
/* Keyed: addresses are chosen by others. */
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>
#include <utlist.h>

enum { KEY_MAX = SUPPRESS_USER_MAX + 1 + SUPPRESS_ADDRESS_MAX };

/* A user's name holds no TAB, an address neither. */
#define KEY_SEPARATOR '\t'

struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* counted ones, by their last bounce */
    size_t place;
    bool listed;
    enum suppress_source source;
    struct wall since;
    uint64_t seq; /* the last bounce counted */
    unsigned n_times;
    struct wall *times; /* of bounces, the oldest first; NULL: none */
    char *reason;
    size_t key_n, user_n;
    uint8_t key[]; /* user, KEY_SEPARATOR, address in lower case, its domain in ASCII */
};

struct suppress_list {
    struct entry *table, *counted; /* uthash; utlist */
    struct entry **places;         /* for walks; NULL: free */
    size_t n_places, cap_places;
    size_t *holes; /* places to be used again */
    size_t n_holes, cap_holes;
    size_t n_listed, n_counted;
    uint64_t seen;
};

struct suppress_list *suppress_list_new(void)
{
    return must_alloc(sizeof(struct suppress_list));
}

static void entry_free(struct entry *e)
{
    free(e->times);
    free(e->reason);
    free(e);
}

void suppress_list_free(struct suppress_list *l)
{
    struct entry *e, *next;
    if (!l)
        return;
    HASH_ITER (hh, l->table, e, next) {
        HASH_DEL(l->table, e);
        entry_free(e);
    }
    free(l->places);
    free(l->holes);
    free(l);
}

/* --- names
 * ---------------------------------------------------------------------------------------------- */

struct key {
    size_t n, user_n;
    uint8_t bytes[KEY_MAX];
};

/* "@domain" of an address, "" of what has no @. */
static struct slice domain_of(struct slice address)
{
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    return at ? slice_skip(address, at - 1) : SLICE_NONE;
}

static void key_add(struct key *k, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        k->bytes[k->n++] = byte_lower(s.p[i]);
}

/* False: too long to be one, or a TAB in it. */
static bool key_make(struct key *k, struct slice user, struct slice address)
{
    char ascii[DNS_NAME_SIZE];
    struct slice domain = slice_skip(domain_of(address), 1);
    const struct slice before = slice_head(address, address.n - domain.n);
    if (slice_find(user, KEY_SEPARATOR) < user.n || slice_find(address, KEY_SEPARATOR) < address.n)
        return false;
    /* What lies beyond ASCII and is no name is told apart by its bytes. */
    if (dns_name_parse(domain, ascii))
        domain = slice_str(ascii);
    if (user.n > SUPPRESS_USER_MAX || address.n == 0 || before.n + domain.n > SUPPRESS_ADDRESS_MAX)
        return false;
    if (user.n)
        memcpy(k->bytes, user.p, user.n);
    k->bytes[user.n] = KEY_SEPARATOR;
    k->user_n = user.n;
    k->n = user.n + 1;
    key_add(k, before);
    key_add(k, domain);
    return true;
}

static struct entry *find(struct suppress_list *l, const struct key *k)
{
    struct entry *e = NULL;
    HASH_FIND(hh, l->table, k->bytes, k->n, e);
    return e;
}

static struct entry *find_name(struct suppress_list *l, struct slice user, struct slice address)
{
    struct key k;
    return key_make(&k, user, address) ? find(l, &k) : NULL;
}

static struct slice user_of(const struct entry *e)
{
    return slice_of(e->key, e->user_n);
}

static struct slice address_of(const struct entry *e)
{
    return slice_of(e->key + e->user_n + 1, e->key_n - e->user_n - 1);
}

static void take_place(struct suppress_list *l, struct entry *e)
{
    if (l->n_holes) {
        e->place = l->holes[--l->n_holes];
    } else {
        if (l->n_places == l->cap_places) {
            l->cap_places = l->cap_places ? l->cap_places * 2 : 64;
            l->places = must_realloc(l->places, l->cap_places * sizeof(struct entry *));
        }
        e->place = l->n_places++;
    }
    l->places[e->place] = e;
}

static void leave_place(struct suppress_list *l, const struct entry *e)
{
    if (l->n_holes == l->cap_holes) {
        l->cap_holes = l->cap_holes ? l->cap_holes * 2 : 64;
        l->holes = must_realloc(l->holes, l->cap_holes * sizeof *l->holes);
    }
    l->holes[l->n_holes++] = e->place;
    l->places[e->place] = NULL;
}

static void forget_times(struct suppress_list *l, struct entry *e)
{
    if (!e->n_times)
        return;
    DL_DELETE(l->counted, e);
    l->n_counted--;
    free(e->times);
    e->times = NULL;
    e->n_times = 0;
}

static void forget(struct suppress_list *l, struct entry *e)
{
    forget_times(l, e);
    l->n_listed -= e->listed;
    HASH_DEL(l->table, e);
    leave_place(l, e);
    entry_free(e);
}

static struct entry *get(struct suppress_list *l, const struct key *k)
{
    struct entry *e = find(l, k);
    if (e)
        return e;
    e = must_alloc(sizeof *e + k->n);
    e->key_n = k->n;
    e->user_n = k->user_n;
    memcpy(e->key, k->bytes, k->n);
    HASH_ADD_KEYPTR(hh, l->table, e->key, e->key_n, e);
    take_place(l, e);
    return e;
}

/* --- lines
 * ---------------------------------------------------------------------------------------------- */

static void set_reason(struct entry *e, struct slice reason)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(SUPPRESS_REASON_MAX + 1);
    utf8_clean(&clean, reason, SUPPRESS_REASON_MAX);
    free(e->reason);
    e->reason = clean.n ? slice_dup(buf_slice(&clean)) : NULL;
}

static bool apply_listed(struct suppress_list *l, const struct key *k,
                         const struct suppress_line *line)
{
    struct entry *e = find(l, k);
    if ((!e || !e->listed) && suppress_list_is_full(l))
        return false;
    e = get(l, k);
    forget_times(l, e);
    l->n_listed += !e->listed;
    e->listed = true;
    e->source = line->source;
    e->since = line->time;
    e->seq = line->seq > e->seq ? line->seq : e->seq;
    set_reason(e, line->reason);
    return true;
}

static bool apply_bounced(struct suppress_list *l, const struct key *k,
                          const struct suppress_line *line)
{
    struct entry *e = get(l, k);
    if (e->listed || (line->seq && line->seq <= e->seq))
        return false;
    if (e->n_times)
        DL_DELETE(l->counted, e);
    else
        l->n_counted++;
    if (!e->times)
        e->times = must_alloc(SUPPRESS_BOUNCES_MAX * sizeof *e->times);
    if (e->n_times == SUPPRESS_BOUNCES_MAX)
        memmove(e->times, e->times + 1, --e->n_times * sizeof *e->times);
    e->times[e->n_times++] = line->time;
    DL_APPEND(l->counted, e);
    e->seq = line->seq;
    set_reason(e, line->reason);
    if (l->n_counted > SUPPRESS_COUNTED_MAX)
        forget(l, l->counted);
    return true;
}

static bool apply_gone(struct suppress_list *l, struct entry *e, bool listed)
{
    if (!e || e->listed != listed)
        return false;
    forget(l, e);
    return true;
}

bool suppress_list_apply(struct suppress_list *l, const struct suppress_line *line)
{
    struct key k;
    if (line->seq > l->seen)
        l->seen = line->seq;
    if (line->kind == SUPPRESS_SEEN)
        return true;
    if (!key_make(&k, line->user, line->address))
        return false;
    switch (line->kind) {
    case SUPPRESS_LISTED:
        return apply_listed(l, &k, line);
    case SUPPRESS_BOUNCED:
        return apply_bounced(l, &k, line);
    case SUPPRESS_REMOVED:
        return apply_gone(l, find(l, &k), true);
    case SUPPRESS_FORGIVEN:
        return apply_gone(l, find(l, &k), false);
    case SUPPRESS_SEEN:
        break;
    }
    return false;
}

uint64_t suppress_list_seen(const struct suppress_list *l)
{
    return l->seen;
}

size_t suppress_list_listed(const struct suppress_list *l)
{
    return l->n_listed;
}

size_t suppress_list_counted(const struct suppress_list *l)
{
    return l->n_counted;
}

bool suppress_list_is_full(const struct suppress_list *l)
{
    return l->n_listed >= SUPPRESS_LISTED_MAX;
}

/* --- questions
 * ------------------------------------------------------------------------------------------ */

static bool has_run_out(const struct entry *e, const struct suppress_policy *p, struct wall now)
{
    return e->listed && e->source == SUPPRESS_BY_BOUNCES && p->keep_s > 0 &&
           now.us >= wall_add_s(e->since, p->keep_s).us;
}

bool suppress_list_find(struct suppress_list *l, const struct suppress_policy *p, struct slice user,
                        struct slice address, struct wall now, struct suppress_found *ret)
{
    const struct slice users[] = {SLICE_NONE, user}, names[] = {address, domain_of(address)};
    for (size_t i = 0; l->n_listed && i < 4; i++) {
        if (i / 2 == 1 && user.n == 0)
            break;
        const struct entry *e = find_name(l, users[i / 2], names[i % 2]);
        if (!e || !e->listed || has_run_out(e, p, now))
            continue;
        *ret = (struct suppress_found){.since = e->since, .source = e->source};
        if (e->reason)
            memcpy(ret->reason, e->reason, strlen(e->reason) + 1);
        return true;
    }
    return false;
}

bool suppress_list_has(struct suppress_list *l, struct slice user, struct slice address)
{
    const struct entry *e = find_name(l, user, address);
    return e && e->listed;
}

bool suppress_list_is_counted(struct suppress_list *l, struct slice user, struct slice address)
{
    const struct entry *e = l->n_counted ? find_name(l, user, address) : NULL;
    return e && e->n_times;
}

/* Bounces that still count. A clock that was set back makes none older. */
static unsigned recent(const struct entry *e, const struct suppress_policy *p, struct wall now)
{
    unsigned n = 0;
    for (unsigned i = 0; e && i < e->n_times; i++)
        n += wall_add_s(e->times[i], p->within_s).us > now.us;
    return n;
}

bool suppress_list_judge(struct suppress_list *l, const struct suppress_policy *p, uint64_t seq,
                         struct slice user, struct slice address, struct slice reason,
                         struct wall now, struct suppress_line *ret)
{
    struct entry *e = find_name(l, user, address);
    if (!p->bounces)
        return false;
    if (e && has_run_out(e, p, now)) {
        forget(l, e);
        e = NULL;
    }
    if (e && (e->listed || (seq && seq <= e->seq)))
        return false;
    *ret = (struct suppress_line){.kind = SUPPRESS_BOUNCED,
                                  .source = SUPPRESS_BY_BOUNCES,
                                  .seq = seq,
                                  .time = now,
                                  .user = user,
                                  .address = address,
                                  .reason = reason};
    if (recent(e, p, now) + 1 >= p->bounces)
        ret->kind = SUPPRESS_LISTED;
    return true;
}

/* --- walks
 * ---------------------------------------------------------------------------------------------- */

bool suppress_list_next(struct suppress_list *l, size_t *at, size_t most, struct suppress_row *ret)
{
    size_t i = *at;
    for (size_t looked = 0; i < l->n_places && looked < most; i++, looked++) {
        const struct entry *e = l->places[i];
        if (!e || !e->listed)
            continue;
        *ret = (struct suppress_row){.user = user_of(e),
                                     .address = address_of(e),
                                     .reason = slice_str(e->reason),
                                     .since = e->since,
                                     .source = e->source};
        *at = i + 1;
        return true;
    }
    *at = i < l->n_places ? i : 0;
    return false;
}

static void entry_lines(const struct entry *e, const struct suppress_policy *p, struct wall now,
                        struct buf *out)
{
    struct suppress_line line = {.kind = e->listed ? SUPPRESS_LISTED : SUPPRESS_BOUNCED,
                                 .source = e->source,
                                 .seq = e->seq,
                                 .time = e->since,
                                 .user = user_of(e),
                                 .address = address_of(e),
                                 .reason = slice_str(e->reason)};
    if (e->listed)
        suppress_line_write(out, &line);
    /* All with one event's number but the last would be taken for seen before: the older ones have
     * none. */
    for (unsigned i = 0; !e->listed && i < e->n_times; i++) {
        line.time = e->times[i];
        line.seq = i + 1 < e->n_times ? 0 : e->seq;
        if (wall_add_s(line.time, p->within_s).us > now.us)
            suppress_line_write(out, &line);
    }
}

void suppress_list_lines(struct suppress_list *l, const struct suppress_policy *p, struct wall now,
                         size_t *at, size_t most, struct buf *out)
{
    size_t i = *at;
    for (size_t looked = 0; i < l->n_places && looked < most; i++, looked++) {
        struct entry *e = l->places[i];
        if (!e)
            continue;
        if (has_run_out(e, p, now) || (!e->listed && recent(e, p, now) == 0))
            forget(l, e);
        else
            entry_lines(e, p, now, out);
    }
    *at = i < l->n_places ? i : 0;
}

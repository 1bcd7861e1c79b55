#include "queue/fold.h"
#include "relay/base/must.h"
#include <stdlib.h>

void fold_done(struct fold *f)
{
    for (struct message *m; (m = index_after(&f->index, 0));)
        fold_remove(f, m);
    index_done(&f->index);
    intern_done(&f->strings);
    intern_done(&f->verdicts);
    intern_done(&f->replies);
}

static bool is_left(const struct recipient *r)
{
    return !rcpt_state_final((enum rcpt_state)r->state) || r->dsn_due;
}

static void recount(struct recipient *r, bool was_left)
{
    struct message *m = recipient_message(r);
    if (was_left && !is_left(r))
        m->n_left--;
    else if (!was_left && is_left(r))
        m->n_left++;
}

void fold_dsn_due(struct recipient *r, bool due)
{
    bool was = is_left(r);
    r->dsn_due = due;
    recount(r, was);
}

static const struct last_reply *reply_get(struct fold *f, struct slice verdict, struct slice host,
                                          struct slice route)
{
    struct last_reply r = {intern_get_verdict(&f->verdicts, verdict), intern_get(&f->strings, host),
                           intern_get(&f->strings, route)};
    if (!r.verdict && !r.host && !r.route)
        return NULL;
    return (const void *)intern_text(intern_get(&f->replies, slice_of(&r, sizeof r))).p;
}

static void reply_put(struct fold *f, const struct last_reply *r)
{
    if (!r)
        return;
    struct last_reply parts = *r;
    intern_put(&f->replies, intern_of(r));
    intern_put_verdict(&f->verdicts, parts.verdict);
    intern_put(&f->strings, parts.host);
    intern_put(&f->strings, parts.route);
}

static void apply_change(struct fold *f, struct message *m, const struct change *c)
{
    if (c->rcpt >= m->n_rcpts)
        return;
    struct recipient *r = &m->rcpts[c->rcpt];
    bool was = is_left(r);
    r->state = (uint8_t)c->state;
    r->attempts = c->attempts;
    r->due = c->due;
    r->last_attempt = c->last_attempt;
    r->dsn_due = c->dsn_due;
    if (c->has_verdict || c->has_host || c->has_route) {
        const struct last_reply *old = r->last;
        r->last = reply_get(f, c->has_verdict ? c->verdict : intern_encoding(recipient_last(r)),
                            c->has_host ? c->host : recipient_host(r),
                            c->has_route ? c->route : recipient_redirected(r));
        reply_put(f, old);
    }
    if (c->has_priority) {
        m->priority = c->priority;
        m->ranked = true;
    }
    recount(r, was);
}

static bool apply_changes(struct fold *f, struct message *m, struct slice changes)
{
    struct cursor c = cursor_of(changes);
    struct change change;
    while (change_next(&c, &change))
        apply_change(f, m, &change);
    return !c.bad;
}

/* Whole seconds, rounded up: an old record may have others. */
static uint32_t lifetime_s(struct wall queued, struct wall expires)
{
    if (expires.us <= queued.us)
        return 0;
    uint64_t us = (uint64_t)expires.us - (uint64_t)queued.us, second = (uint64_t)WALL_SECOND;
    uint64_t s = us / second + (us % second != 0);
    if (s > UINT32_MAX)
        return UINT32_MAX;
    /* The end of time is not passed by rounding. */
    return (uint32_t)(s * second > (uint64_t)INT64_MAX - (uint64_t)queued.us ? s - 1 : s);
}

static struct message *take(struct fold *f, const struct message_record *r, struct envelope *e)
{
    e->size = r->body_bytes;
    struct message *m = message_new(r->id, e, r->queued, intern_get(&f->strings, e->sender),
                                    intern_get(&f->strings, e->user));
    m->lifetime_s = lifetime_s(r->queued, r->expires);
    m->in_file = r->flags & MESSAGE_BODY_IN_FILE;
    m->delay_told = m->delay_told || (r->flags & MESSAGE_DELAY_TOLD);
    index_add(&f->index, m);
    f->recipients += m->n_rcpts;
    f->message_memory += must_bytes(message_bytes(m));
    if (m->in_file)
        f->file_bytes += m->size;
    return m;
}

void fold_told(struct fold *f, uint64_t about, bool delay, uint64_t rcpt)
{
    struct message *m = about ? index_find(&f->index, about) : NULL;
    if (!m)
        return;
    m->delay_told = m->delay_told || delay;
    const struct message_range told = message_told(m, rcpt);
    for (uint32_t i = told.from; i < told.to; i++)
        fold_dsn_due(&m->rcpts[i], false);
}

struct message *fold_message(struct fold *f, const struct message_record *r)
{
    struct envelope e;
    if (!envelope_read(r->envelope, &e))
        return NULL;
    struct message *old = index_find(&f->index, r->id);
    if (old)
        fold_remove(f, old);
    struct message *m = take(f, r, &e);
    envelope_done(&e);
    if (r->id > f->last_id)
        f->last_id = r->id;
    if (!apply_changes(f, m, r->changes)) {
        fold_remove(f, m);
        return NULL;
    }
    if (!(r->flags & MESSAGE_IS_COPY))
        fold_told(f, message_dsn_for(m), m->dsn_delay, e.dsn_rcpt);
    return m;
}

struct message *fold_state(struct fold *f, const struct state_record *r, bool *ret_bad)
{
    struct message *m = index_find(&f->index, r->id);
    *ret_bad = m && !apply_changes(f, m, r->changes);
    return m;
}

/* --- homes ---------------------------------------------------------------------------------------
 */

enum { IDS_FIRST = 64 }; /* kept also when nobody is left: in a short queue all come and go */

static void homes_resize(struct fold *f, struct segment *s, size_t cap)
{
    f->home_memory -= s->cap_ids ? must_bytes(s->cap_ids * sizeof *s->ids) : 0;
    f->home_memory += cap ? must_bytes(cap * sizeof *s->ids) : 0;
    if (cap == 0) {
        free(s->ids);
        s->ids = NULL;
    } else {
        s->ids = must_realloc(s->ids, cap * sizeof *s->ids);
    }
    s->cap_ids = cap;
}

/* At least as many have left as stay, so leaving stays cheap. */
static void homes_filter(struct fold *f, struct segment *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_ids && s->n_live; i++) {
        const struct message *m = index_find(&f->index, s->ids[i]);
        if (m && m->home == s)
            s->ids[n++] = s->ids[i];
    }
    s->n_ids = n;
    s->n_gone = 0;
    if (s->cap_ids > IDS_FIRST)
        homes_resize(f, s, n > IDS_FIRST ? n : IDS_FIRST);
}

static void leave_home(struct fold *f, struct message *m)
{
    struct segment *s = m->home;
    if (!s)
        return;
    m->home = NULL;
    s->n_live--;
    s->live_bytes -= m->record_bytes;
    f->live_bytes -= m->record_bytes;
    if (s->n_live < s->n_ids / 2 || s->n_live == 0)
        homes_filter(f, s);
}

void fold_home(struct fold *f, struct message *m, struct segment *s, uint64_t at,
               uint64_t record_bytes)
{
    MUST(at <= UINT32_MAX && record_bytes <= UINT32_MAX);
    leave_home(f, m);
    m->home = s;
    m->record_at = (uint32_t)at;
    m->record_bytes = (uint32_t)record_bytes;
    if (s->n_ids == s->cap_ids)
        homes_resize(f, s, s->cap_ids ? s->cap_ids + s->cap_ids / 4 : IDS_FIRST);
    s->ids[s->n_ids++] = m->id;
    s->n_live++;
    s->live_bytes += record_bytes;
    f->live_bytes += record_bytes;
}

struct message *fold_next_home(struct fold *f, struct segment *s, size_t *at)
{
    if (*at < s->n_gone)
        *at = s->n_gone;
    for (; *at < s->n_ids; s->n_gone += *at == s->n_gone, ++*at) {
        struct message *m = index_find(&f->index, s->ids[*at]);
        if (m && m->home == s) {
            ++*at;
            return m;
        }
    }
    return NULL;
}

void fold_segment_done(struct fold *f, struct segment *s)
{
    s->n_ids = s->n_gone = 0;
    homes_resize(f, s, 0);
}

/* --- leaving -------------------------------------------------------------------------------------
 */

void fold_remove(struct fold *f, struct message *m)
{
    index_remove(&f->index, m->id);
    leave_home(f, m);
    f->recipients -= m->n_rcpts;
    f->message_memory -= must_bytes(message_bytes(m));
    if (m->in_file)
        f->file_bytes -= m->size;
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        reply_put(f, m->rcpts[i].last);
    intern_put(&f->strings, m->sender);
    intern_put(&f->strings, m->user);
    body_unref(m->body);
    free(m);
}

uint64_t fold_memory(const struct fold *f)
{
    return f->message_memory + f->home_memory + index_memory(&f->index) +
           intern_memory(&f->strings) + intern_memory(&f->verdicts) + intern_memory(&f->replies);
}

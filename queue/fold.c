#include "queue/fold.h"
#include "relay/base/must.h"
#include <stdlib.h>
#include <utlist.h>

void fold_done(struct fold *f)
{
    for (struct message *m; (m = index_after(&f->index, 0));)
        fold_remove(f, held_of(m));
    index_done(&f->index);
    intern_done(&f->strings);
    intern_done(&f->verdicts);
}

static bool is_left(const struct recipient *r)
{
    return !rcpt_state_final((enum rcpt_state)r->state) || r->dsn_due;
}

static void recount(struct recipient *r, bool was_left)
{
    struct message *m = r->message;
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
    if (c->has_verdict) {
        const struct verdict *old = r->last;
        r->last = intern_get_verdict(&f->verdicts, c->verdict);
        intern_put_verdict(&f->verdicts, old);
    }
    if (c->has_host) {
        struct slice old = slice_str(r->last_host);
        struct slice host = intern_get(&f->strings, c->host);
        r->last_host = host.n ? (const char *)host.p : NULL;
        intern_put(&f->strings, old);
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

/* Strings that repeat from message to message are shared, the others live behind the recipients. */
static struct slice copy_to(uint8_t **at, struct slice s)
{
    if (s.n == 0)
        return SLICE_LIT("");
    memcpy(*at, s.p, s.n);
    *at += s.n;
    return slice_of(*at - s.n, s.n);
}

static size_t own_bytes(const struct envelope *e)
{
    size_t n = e->session_id.n + e->message_id.n + e->envid.n;
    for (size_t i = 0; i < e->n_rcpts; i++)
        n += e->rcpts[i].address.n + e->rcpts[i].orcpt.n;
    return n;
}

static struct envelope keep_envelope(struct fold *f, const struct envelope *e, uint8_t **at)
{
    struct envelope k = *e;
    k.rcpts = NULL;
    k.sender = intern_get(&f->strings, e->sender);
    k.user = intern_get(&f->strings, e->user);
    k.client_ip = intern_get(&f->strings, e->client_ip);
    k.client_helo = intern_get(&f->strings, e->client_helo);
    k.listener = intern_get(&f->strings, e->listener);
    k.auth_mech = intern_get(&f->strings, e->auth_mech);
    k.session_id = copy_to(at, e->session_id);
    k.message_id = copy_to(at, e->message_id);
    k.envid = copy_to(at, e->envid);
    return k;
}

static void drop_envelope(struct fold *f, struct envelope *e)
{
    intern_put(&f->strings, e->sender);
    intern_put(&f->strings, e->user);
    intern_put(&f->strings, e->client_ip);
    intern_put(&f->strings, e->client_helo);
    intern_put(&f->strings, e->listener);
    intern_put(&f->strings, e->auth_mech);
}

static struct held *held_new(struct fold *f, const struct message_record *r,
                             const struct envelope *e)
{
    size_t n_rcpts = e->n_rcpts;
    struct held *h = must_alloc(sizeof *h + n_rcpts * sizeof(struct recipient) + own_bytes(e));
    struct message *m = &h->message;
    m->rcpts = (struct recipient *)(h + 1);
    uint8_t *at = (uint8_t *)(m->rcpts + n_rcpts);
    m->envelope = keep_envelope(f, e, &at);
    m->id = r->id;
    m->queued = r->queued;
    m->expires = r->expires;
    m->n_rcpts = m->n_left = (uint32_t)n_rcpts;
    m->place = (struct body_place){.in_file = r->flags & MESSAGE_BODY_IN_FILE,
                                   .n = r->body_bytes,
                                   .lost = r->flags & MESSAGE_BODY_LOST};
    m->spool_private = h;
    h->body_crc = r->body_crc;
    for (size_t i = 0; i < n_rcpts; i++)
        m->rcpts[i] = (struct recipient){.message = m,
                                         .address = copy_to(&at, e->rcpts[i].address),
                                         .orcpt = copy_to(&at, e->rcpts[i].orcpt),
                                         .due = r->queued,
                                         .state = RCPT_QUEUED};
    return h;
}

void fold_told(struct fold *f, uint64_t about)
{
    struct message *m = about ? index_find(&f->index, about) : NULL;
    for (uint32_t i = 0; m && i < m->n_rcpts; i++)
        fold_dsn_due(&m->rcpts[i], false);
}

struct held *fold_message(struct fold *f, const struct message_record *r)
{
    struct envelope e;
    if (!envelope_read(r->envelope, &e))
        return NULL;
    struct message *old = index_find(&f->index, r->id);
    if (old)
        fold_remove(f, held_of(old));
    struct held *h = held_new(f, r, &e);
    envelope_done(&e);
    struct message *m = &h->message;
    index_add(&f->index, m);
    f->recipients += m->n_rcpts;
    if (m->place.in_file)
        f->file_bytes += m->place.n;
    if (r->id > f->last_id)
        f->last_id = r->id;
    if (!apply_changes(f, m, r->changes)) {
        fold_remove(f, h);
        return NULL;
    }
    if (!(r->flags & MESSAGE_IS_COPY))
        fold_told(f, m->envelope.dsn_for);
    return h;
}

struct held *fold_state(struct fold *f, const struct state_record *r, bool *ret_bad)
{
    struct message *m = index_find(&f->index, r->id);
    *ret_bad = m && !apply_changes(f, m, r->changes);
    return m ? held_of(m) : NULL;
}

static void leave_home(struct fold *f, struct held *h)
{
    if (!h->home)
        return;
    DL_DELETE(h->home->homes, h);
    f->live_bytes -= h->record_bytes;
    h->home = NULL;
}

void fold_home(struct fold *f, struct held *h, struct segment *s, uint64_t at, uint64_t bytes)
{
    leave_home(f, h);
    h->home = s;
    h->record_at = (uint32_t)at; /* a segment is smaller than 4 GiB */
    h->record_bytes = (uint32_t)bytes;
    DL_APPEND(s->homes, h);
    f->live_bytes += bytes;
}

void fold_remove(struct fold *f, struct held *h)
{
    struct message *m = &h->message;
    leave_home(f, h);
    index_remove(&f->index, m->id);
    f->recipients -= m->n_rcpts;
    if (m->place.in_file)
        f->file_bytes -= m->place.n;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        intern_put_verdict(&f->verdicts, m->rcpts[i].last);
        intern_put(&f->strings, slice_str(m->rcpts[i].last_host));
    }
    drop_envelope(f, &m->envelope);
    body_unref(m->body);
    free(h);
}

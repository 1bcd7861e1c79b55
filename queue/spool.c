#include "queue/spool.h"
#include "queue/id.h"
#include "queue/spool_private.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

/* --- records on their way
 * ------------------------------------------------------------------------------------------- */

void pending_push(struct pending_list *l, struct pending *p)
{
    p->next = NULL;
    if (l->last)
        l->last->next = p;
    else
        l->first = p;
    l->last = p;
}

struct pending *pending_shift(struct pending_list *l)
{
    struct pending *p = l->first;
    if (!p)
        return NULL;
    l->first = p->next;
    if (!l->first)
        l->last = NULL;
    p->next = NULL;
    return p;
}

void pending_free(struct pending *p)
{
    body_unref(p->body);
    free(p->told_rcpts);
    free(p);
}

struct pending *spool_append(struct spool *s, enum record_type type, size_t events_at,
                             size_t n_events)
{
    MUST(!s->encode.overflow);
    struct pending *p = malloc(sizeof *p + s->encode.n);
    MUST(p);
    *p = (struct pending){.number = ++s->last_append,
                          .type = type,
                          .n_events = (uint32_t)n_events,
                          .events_at = (uint32_t)events_at,
                          .head_n = (uint32_t)s->encode.n};
    if (s->encode.n)
        memcpy(p->head, s->encode.p, s->encode.n);
    pending_push(&s->pending, p);
    return p;
}

void spool_body_name(char ret[SEGMENT_NAME_SIZE], uint64_t id)
{
    char text[QUEUE_ID_SIZE];
    queue_id_write(id, text);
    snprintf(ret, SEGMENT_NAME_SIZE, "body/%s.body", text);
}

void id_list_add(struct id_list *l, uint64_t id)
{
    l->at = must_realloc(l->at, (l->n + 1) * sizeof *l->at);
    l->at[l->n++] = id;
}

void spool_body_forget(struct spool *s, uint64_t id)
{
    if (index_find(&s->fold.index, id))
        return;
    for (size_t i = 0; i < s->doubtful.n; i++)
        if (s->doubtful.at[i] == id)
            return;
    id_list_add(&s->unlinks, id);
}

void spool_reap(struct spool *s, struct message *m)
{
    if (m->n_left > 0 || m->pending > 0)
        return;
    if (m->in_file)
        id_list_add(&s->unlinks, m->id);
    fold_remove(&s->fold, m);
}

/* --- changing
 * ---------------------------------------------------------------------------------------------------------
 */

static void add_events(struct spool *s, struct wall now, const struct spool_event_in *events,
                       size_t n)
{
    if (n)
        events_begin(&s->encode, now);
    for (size_t i = 0; i < n; i++)
        events_add(&s->encode, events[i].name, events[i].fields);
}

/* Behind the head that is in s->encode come the events; the record waits for the next batch. */
static struct pending *append_with(struct spool *s, enum record_type type, size_t n_rcpts,
                                   struct wall now, const struct spool_event_in *events, size_t n)
{
    size_t at = s->encode.n;
    add_events(s, now, events, n);
    struct events_cursor ec = events_of(slice_skip(buf_slice(&s->encode), at), n_rcpts);
    struct event e;
    size_t stands_for, total = 0;
    while (events_next(&ec, &e, &stands_for))
        total += stands_for;
    MUST(!ec.c.bad);
    return spool_append(s, type, at, total);
}

/* What a DSN reports, so that they can be due again if it is not stored after all. */
static void remember_told(struct spool *s, struct pending *p, const struct envelope *e)
{
    struct message *m = e->dsn_for ? index_find(&s->fold.index, e->dsn_for) : NULL;
    if (!m)
        return;
    const struct message_range told = message_told(m, e->dsn_rcpt);
    p->told_rcpts = must_alloc((told.to - told.from) * sizeof *p->told_rcpts);
    for (uint32_t i = told.from; i < told.to; i++)
        if (m->rcpts[i].dsn_due)
            p->told_rcpts[p->n_told++] = i;
    p->told_delay = e->dsn_delay && !m->delay_told;
    if (p->n_told == 0 && !p->told_delay)
        return;
    p->told = m;
    m->pending++;
}

uint64_t spool_put(struct spool *s, uint64_t id, const struct envelope *e, struct body *body,
                   bool body_file, struct wall now, const struct spool_event_in *events,
                   size_t n_events, struct message **ret)
{
    MUST(!(body && body_file) && !index_find(&s->fold.index, id));
    MUST(!body || body->n <= SPOOL_INLINE_MAX);
    struct message_record r = {
        .flags = body_file ? MESSAGE_BODY_IN_FILE : 0, .id = id, .queued = now};
    r.body_bytes = body_file ? e->size : body ? body->n : 0;
    r.expires = wall_add_s(now, e->expires_s ? (int64_t)e->expires_s : s->lifetime_s);
    /* The envelope's length stands before it: it is built behind the fixed part and moved by the
     * length of the length. */
    struct buf envelope = BUF_MAX(ENCODE_MAX);
    envelope_write(&envelope, e);
    MUST(!envelope.overflow);
    buf_reset(&s->encode);
    message_record_write(&s->encode, &r);
    buf_add_prefixed(&s->encode, buf_slice(&envelope));
    buf_add_prefixed(&s->encode, SLICE_NONE);
    buf_done(&envelope);

    struct pending *p = append_with(s, RECORD_MESSAGE, e->n_rcpts, now, events, n_events);
    p->body = body_ref(body);
    remember_told(s, p, e);
    MUST(message_record_read(slice_of(p->head, p->head_n), &r));
    struct message *m = fold_message(&s->fold, &r);
    MUST(m);
    p->message = m;
    m->pending++;
    m->body = body;
    if (ret)
        *ret = m;
    return p->number;
}

uint64_t spool_new_id(struct spool *s, struct wall now)
{
    return s->fold.last_id = queue_id_next(s->fold.last_id, now);
}

uint64_t spool_last_id(const struct spool *s)
{
    return s->fold.last_id;
}

static void add_change(struct buf *out, struct buf *scratch, const struct rcpt_change *c,
                       bool last_word)
{
    const struct verdict *verdict = last_word ? NULL : c->verdict;
    const char *host = last_word ? NULL : c->host;
    struct change change = {.rcpt = c->rcpt,
                            .state = c->state,
                            .attempts = c->attempts,
                            .due = c->due,
                            .last_attempt = c->last_attempt,
                            .dsn_due = c->dsn_due,
                            .has_verdict = verdict != NULL,
                            .has_host = host != NULL,
                            .host = slice_str(host),
                            .has_route = c->has_route,
                            .route = c->route,
                            .has_priority = c->has_priority,
                            .priority = c->priority};
    buf_reset(scratch);
    if (verdict)
        verdict_write(scratch, verdict);
    change.verdict = buf_slice(scratch);
    change_write(out, &change);
}

/* Is it the last that is said of a message, so that the index never tells how it ended? Not while
 * something else is on its way that may yet be taken back (a DSN). */
static bool is_last_word(const struct message *m, const struct rcpt_change *c, size_t n)
{
    uint32_t left = m->n_left;
    for (size_t i = 0; i < n; i++) {
        const struct recipient *r = &m->rcpts[c[i].rcpt];
        if (!rcpt_state_final(c[i].state) || c[i].dsn_due || (i && c[i].rcpt <= c[i - 1].rcpt))
            return false;
        left -= !rcpt_state_final((enum rcpt_state)r->state) || r->dsn_due;
    }
    return left == 0 && m->pending == 0;
}

uint64_t spool_change(struct spool *s, struct message *m, const struct rcpt_change *c, size_t n,
                      struct wall now, const struct spool_event_in *events, size_t n_events)
{
    struct buf changes = BUF_MAX(ENCODE_MAX), scratch = BUF_MAX(ENCODE_MAX);
    for (size_t i = 0; i < n; i++)
        MUST(c[i].rcpt < m->n_rcpts);
    bool last_word = is_last_word(m, c, n);
    for (size_t i = 0; i < n; i++)
        add_change(&changes, &scratch, &c[i], last_word);
    MUST(!changes.overflow);
    buf_reset(&s->encode);
    buf_add_u64(&s->encode, m->id);
    buf_add_prefixed(&s->encode, buf_slice(&changes));
    buf_done(&changes);
    buf_done(&scratch);

    struct pending *p = append_with(s, RECORD_STATE, 0, now, events, n_events);
    p->message = m;
    m->pending++;
    struct state_record r;
    bool bad = false;
    MUST(state_record_read(slice_of(p->head, p->head_n), &r));
    MUST(fold_state(&s->fold, &r, &bad) == m && !bad);
    return p->number;
}

uint64_t spool_note(struct spool *s, struct wall now, const struct spool_event_in *events,
                    size_t n_events)
{
    buf_reset(&s->encode);
    return append_with(s, RECORD_EVENT, 0, now, events, n_events)->number;
}

/* --- finding
 * ----------------------------------------------------------------------------------------------------------
 */

uint64_t spool_durable(const struct spool *s)
{
    return s->durable;
}

uint64_t spool_last_seq(const struct spool *s)
{
    return s->durable_seq;
}

void spool_events_kept(struct spool *s, uint64_t seq)
{
    if (seq > s->kept_seq)
        s->kept_seq = seq;
}

struct message *spool_find(struct spool *s, uint64_t id)
{
    return index_find(&s->fold.index, id);
}

struct message *spool_after(struct spool *s, uint64_t after)
{
    return index_after(&s->fold.index, after);
}

uint64_t spool_rank(const struct spool *s, uint64_t id)
{
    return index_rank(&s->fold.index, id);
}

size_t spool_each_reply(const struct spool *s, size_t from, size_t max,
                        void (*each)(void *ctx, const struct spool_reply *r), void *ctx)
{
    const struct intern *t = &s->fold.verdicts;
    size_t end = max < t->cap && from < t->cap - max ? from + max : t->cap;
    for (size_t i = from; i < end; i++) {
        uint64_t hash;
        uint32_t refs;
        const struct verdict *v = intern_verdict_at(t, i, &hash, &refs);
        if (v)
            each(ctx, &(struct spool_reply){slice_str(v->text), v->kind, hash, refs});
    }
    return end < t->cap ? end : 0;
}

void spool_count(const struct spool *s, struct spool_counts *ret)
{
    *ret = (struct spool_counts){.messages = s->fold.index.n,
                                 .recipients = s->fold.recipients,
                                 .live_bytes = s->fold.live_bytes + s->fold.file_bytes,
                                 .disk_bytes = s->disk_bytes + s->litter_bytes + s->spare_bytes +
                                               s->fold.file_bytes};
    for (const struct segment *g = s->segments; g; g = g->next)
        ret->segments++;
}

uint64_t spool_memory(const struct spool *s)
{
    return fold_memory(&s->fold);
}

/* Group commit: the owner places what waits, a helper writes and syncs it (batch_write.c), the
 * owner draws the conclusions. */
#include "queue/outbox.h"
#include "queue/task.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/* --- owner: placing
 * ---------------------------------------------------------------------------------------------------
 */

struct segment *segment_new(uint32_t number, uint64_t size)
{
    struct segment *g = must_alloc(sizeof *g);
    g->number = number;
    g->size = size;
    g->end = SEGMENT_DATA;
    g->fd = -1;
    return g;
}

/* Where the log ends now, as the next segment's header will say. */
static void predecessor(const struct spool *s, const struct spool_batch *b,
                        struct segment_header *h)
{
    const struct segment *g =
        s->segments ? s->segments->prev : NULL; /* utlist: the head's prev is the last */
    if (b->n_chunks) {
        const struct chunk *c = &b->chunks[b->n_chunks - 1];
        h->prev = c->segment->number;
        h->prev_end = c->offset + c->n;
    } else if (g) {
        h->prev = g->number;
        h->prev_end = g->end;
    }
}

/* The chunk that takes `size` more bytes; NULL when the batch is full. */
static struct chunk *chunk_for(struct spool *s, struct spool_batch *b, uint64_t size)
{
    struct chunk *c = b->n_chunks ? &b->chunks[b->n_chunks - 1] : NULL;
    if (c && segment_sector_up(c->offset + c->n + size) <= c->segment->size)
        return c;
    if (b->n_chunks == BATCH_CHUNKS)
        return NULL;
    struct chunk next = {.seq_before = s->next_seq, .header = {.salt = s->salt}};
    /* (One larger than usual was made for one record, and has no room for another.) */
    if (!c && s->tail &&
        segment_sector_up(segment_sector_up(s->tail->end) + size) <= s->tail->size) {
        next.segment = s->tail;
        next.offset = segment_sector_up(s->tail->end);
    } else {
        uint64_t need = segment_sector_up(SEGMENT_DATA + size);
        next.header = (struct segment_header){.number = ++s->last_segment,
                                              .salt = s->salt,
                                              .id_high = s->fold.last_id,
                                              .seq_high = s->next_seq - 1,
                                              .number_high = s->next_record - 1};
        predecessor(s, b, &next.header);
        next.segment =
            segment_new(next.header.number, need > s->segment_bytes ? need : s->segment_bytes);
        next.make = true;
        next.offset = SEGMENT_DATA;
    }
    b->chunks[b->n_chunks] = next;
    return &b->chunks[b->n_chunks++];
}

static void place(struct spool *s, struct spool_batch *b)
{
    uint64_t total = 0, fresh = 0;
    for (struct pending *p; (p = s->pending.first) && total < BATCH_BYTES;) {
        uint64_t size = record_size(p->head_n + (p->body ? p->body->n : 0));
        struct chunk *c = chunk_for(s, b, size);
        if (!c)
            break;
        pending_shift(&s->pending);
        p->home = c->segment;
        p->offset = c->offset + c->n;
        p->record_number = s->next_record++;
        if (p->n_events)
            events_number(p->head + p->events_at, s->next_seq);
        s->next_seq += p->n_events;
        c->n += size;
        total += size;
        fresh += p->copy ? 0 : size;
        pending_push(&c->records, p);
    }
    if (total)
        s->last_batch_bytes = fresh;
    s->fresh_bytes += fresh;
}

/* What could not be freed goes along with records: alone it would be tried without a pause. */
static bool has_work(const struct spool *s)
{
    return s->pending.first || (s->retired && !s->free_failed) || s->spare_again;
}

/* A spare is made while there is still room in the open segment, so that nobody waits for it. When
 * that fails it is not tried with every batch. */
static bool wants_spare(struct spool *s, const struct spool_batch *b)
{
    const struct chunk *last = b->n_chunks ? &b->chunks[b->n_chunks - 1] : NULL;
    bool again = s->spare_again;
    s->spare_again = false;
    if (s->spare)
        return false;
    return again || (!s->no_spare && last && last->offset + last->n > last->segment->size / 2);
}

struct spool_batch *spool_batch_take(struct spool *s)
{
    if (s->out)
        return NULL;
    spool_retire(s);
    if (!has_work(s))
        return NULL;
    struct spool_batch *b = must_alloc(sizeof *b);
    b->fs = s->fs;
    b->segment_bytes = s->segment_bytes;
    b->spare = s->spare;
    b->spare_bytes = s->spare_bytes;
    b->spare_worn = s->spare_worn;
    place(s, b);
    b->free = s->retired;
    b->want_spare = wants_spare(s, b);
    b->spare_number = b->want_spare ? ++s->last_segment : 0;
    b->bytes = s->batch_bytes;
    s->batch_bytes = BUF_MAX(b->bytes.max);
    s->out = b;
    s->dirty = s->dirty || b->n_chunks;
    return b;
}

uint64_t spool_batch_last(const struct spool_batch *b)
{
    return b->n_chunks ? b->chunks[b->n_chunks - 1].records.last->number : 0;
}

/* --- owner: conclusions
 * -------------------------------------------------------------------------------------------------
 */

struct each_event {
    void (*fn)(void *ctx, const struct event *e);
    void *ctx;
};

static void close_fd(struct spool *s, struct segment *g)
{
    if (g->fd >= 0)
        s->fs->close(s->fs->ctx, g->fd);
    g->fd = -1;
}

static void message_stored(struct spool *s, struct pending *p)
{
    struct message *m = p->message;
    uint64_t size = record_size(p->head_n + (p->body ? p->body->n : 0));
    fold_home(&s->fold, m, p->home, p->offset, size);
    s->copies_bytes -= p->copy ? size : 0;
    m->copying = false;
    m->durable = true;
}

/* One record less on its way that speaks of m. */
static void record_landed(struct spool *s, struct message *m)
{
    if (!m)
        return;
    MUST(m->pending > 0);
    m->pending--;
    spool_reap(s, m);
}

static void record_stored(struct spool *s, struct pending *p, const struct each_event *each)
{
    s->durable = p->number;
    if (p->type == RECORD_MESSAGE)
        message_stored(s, p);
    if (p->n_events) {
        s->durable_seq = get_u64(p->head + p->events_at) + p->n_events - 1;
        p->home->max_seq = s->durable_seq;
        if (each->fn)
            outbox_read(p->type, slice_of(p->head, p->head_n), each->fn, each->ctx);
    }
    record_landed(s, p->told);
    record_landed(s, p->message);
    pending_free(p);
}

static void chunk_landed(struct spool *s, struct chunk *c)
{
    struct segment *g = c->segment;
    if (c->make) {
        if (s->tail)
            close_fd(s, s->tail);
        s->tail = g;
        DL_APPEND(s->segments, g);
        s->disk_bytes += g->size;
        while (s->doubtful.n)
            id_list_add(&s->unlinks, s->doubtful.at[--s->doubtful.n]);
    }
    g->end = c->offset + c->n;
    for (struct pending *p; (p = pending_shift(&c->records));)
        pending_push(&s->landed, p);
}

bool spool_settle(struct spool *s, size_t max, void (*each_event)(void *ctx, const struct event *e),
                  void *ctx)
{
    const struct each_event each = {each_event, ctx};
    const struct message *last = NULL;
    while (s->landed.first && (max > 0 || s->landed.first->message == last)) {
        struct pending *p = pending_shift(&s->landed);
        last = p->message;
        max -= max > 0;
        record_stored(s, p, &each);
    }
    if (s->landed.first)
        return true;
    if (s->durable < s->landed_to) /* what failed, or was taken back, needs no waiting for */
        s->durable = s->landed_to;
    spool_retire(s);
    return false;
}

/* What was not stored takes everything with it that spoke of it: one pass, however much waits. */
static void sift(struct pending_list *from, struct pending_list *failed, struct pending_list *kept)
{
    for (struct pending *p; (p = pending_shift(from));) {
        if (p->told && p->told->refused)
            p->told = NULL;
        if (!p->message || !p->message->refused)
            pending_push(kept, p);
        else if (p->type == RECORD_MESSAGE)
            pending_push(failed, p);
        else
            pending_free(p);
    }
}

static void message_failed(struct spool *s, struct pending *p, bool may_return,
                           void (*each_failed)(void *ctx, uint64_t message_id), void *ctx)
{
    struct message *m = p->message;
    uint64_t id = m->id;
    if (m->in_file)
        id_list_add(may_return ? &s->doubtful : &s->unlinks, id);
    for (uint32_t i = 0; p->told && i < p->n_told; i++)
        fold_dsn_due(&p->told->rcpts[p->told_rcpts[i]], true);
    if (p->told && p->told_delay)
        p->told->delay_told = false;
    if (p->told)
        p->told->pending--;
    pending_free(p);
    if (each_failed)
        each_failed(ctx, id);
    fold_remove(&s->fold, m);
}

/* Not when it only had no room, or was made read-only. */
static bool is_bad_disk(int error)
{
    return error != -ENOSPC && error != -EDQUOT && error != -EROFS;
}

/* What was not written waits again, before everything younger; the segment is left where it was
 * durable. */
static void chunks_failed(struct spool *s, struct spool_batch *b,
                          void (*each_failed)(void *ctx, uint64_t message_id), void *ctx)
{
    struct pending_list all = {0}, again = {0}, failed = {0};
    /* Of a segment that had no name yet nothing is ever read. */
    bool may_return = !b->chunks[b->n_done].make || b->named;
    bool made_nothing = b->chunks[b->n_done].make && !b->named;
    s->next_seq = b->chunks[b->n_done].seq_before;
    if (made_nothing) /* what comes into the open segment instead leaves no gap */
        s->next_record = b->chunks[b->n_done].records.first->record_number;
    for (size_t i = b->n_done; i < b->n_chunks; i++) {
        struct chunk *c = &b->chunks[i];
        for (struct pending *p; (p = pending_shift(&c->records));)
            pending_push(&all, p);
        if (c->make)
            free(c->segment);
    }
    /* When the making of a segment failed, nothing was done to the open one: small records may
     * still find room there. Not when the new one may have its name after a crash: what its header
     * says about the end of the open one is to stay true until a later header says it. */
    if (s->tail && !made_nothing) {
        s->tail->evacuate = !b->chunks[b->n_done].make && is_bad_disk(b->error);
        s->evacuating = s->evacuating || s->tail->evacuate;
        close_fd(s, s->tail);
        s->tail = NULL;
    }
    for (struct pending *p = all.first; p; p = p->next)
        if (p->type == RECORD_MESSAGE && !p->copy)
            p->message->refused = true;
    sift(&all, &failed, &again);
    sift(&s->pending, &failed, &again);
    s->pending = again;
    for (struct pending *p; (p = pending_shift(&failed));)
        message_failed(s, p, may_return, each_failed, ctx);
}

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void segment_freed(struct spool *s, struct segment *g, bool recycled)
{
    DL_DELETE(s->retired, g);
    s->disk_bytes -= g->size;
    s->retired_bytes -= g->size;
    fold_segment_done(&s->fold, g);
    if (recycled)
        free(g);
    else
        sweep_add(s, g);
}

static void housekeeping_done(struct spool *s, struct spool_batch *b)
{
    s->spare = b->spare;
    s->spare_bytes = b->spare_bytes;
    s->spare_worn = b->spare_worn;
    if (b->spare || b->no_spare)
        s->no_spare = !b->spare && is_full(b->no_spare) ? b->no_spare : 0;
    s->free_failed = b->free && !b->freed;
    if (b->freed)
        segment_freed(s, b->free, b->recycled);
    s->batch_bytes = b->bytes;
    if (s->batch_bytes.cap > 2 * BATCH_BYTES)
        buf_done(&s->batch_bytes);
}

int spool_batch_end(struct spool *s, struct spool_batch *b,
                    void (*each_event)(void *ctx, const struct event *e), void *ctx,
                    void (*each_failed)(void *ctx, uint64_t message_id), struct err *e)
{
    MUST(s->out == b);
    for (size_t i = 0; i < b->n_done; i++)
        chunk_landed(s, &b->chunks[i]);
    if (b->n_done < b->n_chunks) {
        spool_settle(s, SIZE_MAX, each_event, ctx);
        chunks_failed(s, b, each_failed, ctx);
    }
    s->landed_to = s->pending.first ? s->pending.first->number - 1 : s->last_append;
    if (!s->landed.first)
        s->durable = s->landed_to;
    housekeeping_done(s, b);
    s->out = NULL;
    int error = b->error;
    if (error < 0)
        err_set(e, error, "%s failed", b->what);
    free(b);
    return error;
}

int spool_room(const struct spool *s)
{
    return s->no_spare;
}

void spool_room_again(struct spool *s)
{
    s->spare_again = true;
}

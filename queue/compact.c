/* Giving disk space back: the oldest segment's live messages are copied forward, then it is freed.
 * The records are read by a helper; the owner appends the copies of those that still live. */
#include "queue/crc32c.h"
#include "queue/task.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <utlist.h>

enum { STEP_MESSAGES = 32 };
/* Copies on their way to the disk: a store that comes now waits for them, so they are in proportion
 * to what was stored last. */
#define COPIES_BYTES_MIN (128u * 1024)
#define COPIES_BYTES_MAX (1024u * 1024)

/* A record to be copied: where it lies, and what the helper found there. */
struct copy_item {
    uint64_t id, at;
    uint32_t n;
    uint8_t *bytes;
    struct message_record record; /* borrows from bytes */
    struct body *body;
};

struct copy_task {
    struct spool_task task;
    const struct file_ops *fs;
    uint32_t salt;
    struct segment *segment; /* pinned */
    struct copy_item items[STEP_MESSAGES];
    size_t n, n_read;
    int error;
};

/* --- owner: what to copy
 * --------------------------------------------------------------------------------------------- */

void spool_retire(struct spool *s)
{
    /* The newest one stays, even empty: its header keeps the high-water marks. */
    for (struct segment *g; (g = s->segments) && g->next && g != s->tail && !g->homes &&
                            g->pins == 0 && !g->keep && g->max_seq <= s->kept_seq;) {
        DL_DELETE(s->segments, g);
        DL_APPEND(s->retired, g);
    }
}

static bool wants_space(const struct spool *s)
{
    return s->disk_bytes + s->spare_bytes > 2 * s->fold.live_bytes + 2 * s->segment_bytes;
}

/* The segment whose messages are to be copied now, or NULL. */
static struct segment *segment_to_copy(const struct spool *s)
{
    struct segment *g = s->segments;
    if (!g || g == s->tail || !g->next || g->keep || g->max_seq > s->kept_seq || !wants_space(s))
        return NULL;
    return g;
}

/* A finished one goes by itself as soon as its last record is durable; of one with a record on its
 * way it is not yet known what it will have been. */
static bool may_copy(const struct spool *s, const struct held *h)
{
    return !h->copying && h->message.n_left > 0 && h->last_append <= s->durable;
}

/* The next message of g behind `h` (NULL: from the first) that may be copied. */
static struct held *next_to_copy(const struct spool *s, const struct segment *g, struct held *h)
{
    h = h ? h->next : g->homes;
    while (h && !may_copy(s, h))
        h = h->next;
    return h;
}

static uint64_t room_for_copies(const struct spool *s)
{
    uint64_t most = 2 * s->last_batch_bytes;
    most = most < COPIES_BYTES_MIN ? COPIES_BYTES_MIN : most;
    most = most > COPIES_BYTES_MAX ? COPIES_BYTES_MAX : most;
    return most > s->copies_bytes ? most - s->copies_bytes : 0;
}

struct spool_task *copy_take(struct spool *s)
{
    uint64_t room = room_for_copies(s), bytes = 0;
    struct segment *g = room ? segment_to_copy(s) : NULL;
    struct held *h = g ? next_to_copy(s, g, NULL) : NULL;
    if (!h)
        return NULL;
    struct copy_task *t = must_alloc(sizeof *t);
    t->fs = s->fs;
    t->salt = s->salt;
    t->segment = g;
    g->pins++;
    for (; h && t->n < STEP_MESSAGES && bytes < room; h = next_to_copy(s, g, h)) {
        t->items[t->n++] =
            (struct copy_item){.id = h->message.id, .at = h->record_at, .n = h->record_bytes};
        bytes += h->record_bytes;
    }
    return &t->task;
}

/* --- helper
 * ---------------------------------------------------------------------------------------------- */

/* The record is the one that the index means. */
static bool item_check(const struct copy_task *t, struct copy_item *it, struct record_header *ret)
{
    const uint8_t *head = it->bytes + RECORD_HEADER_SIZE;
    return record_header_read(it->bytes, t->salt, ret) && ret->type == RECORD_MESSAGE &&
           ret->segment == t->segment->number && record_size(ret->length) == it->n &&
           crc32c(t->salt, head, ret->head) == ret->head_crc &&
           message_record_read(slice_of(head, ret->head), &it->record) && it->record.id == it->id;
}

/* The body goes with the sum it had: if it was damaged, the copy is damaged too, and reading it
 * says so. */
static int item_read(const struct copy_task *t, struct copy_item *it)
{
    it->bytes = malloc(it->n);
    MUST(it->bytes);
    int rc = spool_segment_pread(t->fs, t->segment->number, it->at, it->n, it->bytes);
    struct record_header h;
    if (rc < 0 || !item_check(t, it, &h))
        return rc < 0 ? rc : -EBADMSG;
    if (h.length > h.head) {
        it->body = body_new(h.length - h.head);
        memcpy(it->body->bytes, it->bytes + RECORD_HEADER_SIZE + h.head, it->body->n);
    }
    return 0;
}

void copy_run(struct spool_task *task)
{
    struct copy_task *t = (struct copy_task *)(void *)task;
    while (t->n_read < t->n && t->error >= 0) {
        t->error = item_read(t, &t->items[t->n_read]);
        t->n_read += t->error >= 0;
    }
}

/* --- owner: the copies
 * -----------------------------------------------------------------------------------------------
 */

static bool is_default(const struct recipient *r, struct wall queued)
{
    return r->state == RCPT_QUEUED && r->attempts == 0 && r->due.us == queued.us &&
           r->last_attempt.us == 0 && !r->dsn_due && !r->last && !r->last_host;
}

static void write_states(struct buf *out, const struct message *m)
{
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (is_default(r, m->queued))
            continue;
        struct change c = {.rcpt = i,
                           .state = (enum rcpt_state)r->state,
                           .attempts = r->attempts,
                           .due = r->due,
                           .last_attempt = r->last_attempt,
                           .dsn_due = r->dsn_due,
                           .has_verdict = r->last != NULL,
                           .has_host = r->last_host != NULL,
                           .host = slice_str(r->last_host)};
        if (r->last)
            c.verdict = intern_encoding(r->last);
        change_write(out, &c);
    }
}

/* What SMTP said is copied byte by byte, what became of it comes from the index. */
static void append_copy(struct spool *s, struct held *h, struct copy_item *it)
{
    struct buf states = BUF_MAX(ENCODE_MAX);
    write_states(&states, &h->message);
    MUST(!states.overflow);
    it->record.flags |= MESSAGE_IS_COPY;
    buf_reset(&s->encode);
    message_record_write(&s->encode, &it->record);
    buf_add_prefixed(&s->encode, it->record.envelope);
    buf_add_prefixed(&s->encode, buf_slice(&states));
    buf_done(&states);
    struct pending *p = spool_append(s, RECORD_MESSAGE, s->encode.n, 0);
    p->copy = true;
    p->body = TAKE_PTR(it->body);
    p->held = h;
    h->last_append = p->number;
    h->copying = true;
    s->copies_bytes += record_size(p->head_n + (p->body ? p->body->n : 0));
}

/* The message as it is now, when its record is still the one that was read. */
static struct held *still_there(struct spool *s, const struct copy_task *t,
                                const struct copy_item *it)
{
    struct message *m = index_find(&s->fold.index, it->id);
    struct held *h = m ? held_of(m) : NULL;
    return h && h->home == t->segment && h->record_at == it->at && may_copy(s, h) ? h : NULL;
}

bool copy_end(struct spool *s, struct spool_task *task)
{
    struct copy_task *t = (struct copy_task *)(void *)task;
    for (size_t i = 0; i < t->n; i++) {
        struct held *h = i < t->n_read ? still_there(s, t, &t->items[i]) : NULL;
        if (h)
            append_copy(s, h, &t->items[i]);
        body_unref(t->items[i].body);
        free(t->items[i].bytes);
    }
    t->segment->pins--;
    bool more = t->error >= 0;
    free(t);
    return more;
}

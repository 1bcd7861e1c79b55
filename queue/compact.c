/* Giving disk space back: the oldest segment's live messages are copied forward, then it is freed.
 * The owner's part; a helper reads the records (compact_read.c). */
#include "queue/compact.h"
#include "queue/id.h"
#include "queue/replay.h"
#include "relay/base/crc32c.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Copies on their way to the disk: a store that comes now waits for them, so they are in proportion
 * to what was stored last. */
#define COPIES_BYTES_MIN (128u * 1024)
#define COPIES_BYTES_MAX (1024u * 1024)
/* So many messages are looked at for one that may be copied; the others have records on their way
 * and are soon settled. */
enum { LOOK_MAX = 256, EIO_TRIES = 5 };

/* --- owner: what to copy
 * --------------------------------------------------------------------------------------------- */

void spool_retire(struct spool *s)
{
    /* Of what has landed and is not settled, no segment knows yet. */
    if (s->landed.first)
        return;
    /* The newest one stays, even empty: its header keeps the high-water marks. */
    for (struct segment *g; (g = s->segments) && g->next && g->n_live == 0 && g->pins == 0 &&
                            !g->keep && g->max_seq <= s->kept_seq;) {
        DL_DELETE(s->segments, g);
        DL_APPEND(s->retired, g);
        s->retired_bytes += g->size;
        s->footer_bytes -= g->footer_bytes;
    }
}

/* More than twice what lives, and two segments? What goes with the next batch is gone already. */
static bool wants_space(struct spool *s)
{
    uint64_t disk = s->disk_bytes - s->retired_bytes + s->spare_bytes;
    uint64_t bound = 2 * s->fold.live_bytes + 2 * s->segment_bytes;
    if (disk <= bound) {
        /* A spare that is not there now will be soon: that is not yet the end of a round. */
        if (s->spare_bytes || disk + s->segment_bytes <= bound)
            s->round.end = 0;
        return false;
    }
    if (s->segments->number <= s->round.end)
        return true;
    /* All that was there has been copied once, and it has not helped: records so large that they
     * leave half of each segment empty. Not again before something has changed; that footers are
     * written and freed is no change. */
    disk -= s->footer_bytes;
    if (s->round.end && disk >= s->round.disk && disk < s->round.disk + s->segment_bytes &&
        s->fold.live_bytes + s->segment_bytes / 2 > s->round.live &&
        s->fresh_bytes < s->round.fresh + s->segment_bytes)
        return false;
    s->round.end = s->segments->prev->number; /* utlist: the head's prev is the last */
    s->round.disk = disk;
    s->round.live = s->fold.live_bytes;
    s->round.fresh = s->fresh_bytes;
    return true;
}

/* A segment left by a failed write, whose disk is not to be trusted with what was durable. */
static struct segment *segment_to_evacuate(struct spool *s)
{
    for (struct segment *g = s->evacuating ? s->segments : NULL; g; g = g->next)
        if (g->evacuate && g->n_live > 0)
            return g;
    s->evacuating = false;
    return NULL;
}

/* Without a spare segment, what is left of the open one is for done-marks: copies may have a little
 * of it, for a whole segment in return. */
static bool is_affordable(const struct spool *s, const struct segment *g)
{
    uint64_t left = s->tail ? s->tail->size - s->tail->end : 0;
    return !s->no_spare || g->live_bytes <= left / 4;
}

/* The segment whose messages are to be copied now, or NULL. */
static struct segment *segment_to_copy(struct spool *s)
{
    struct segment *g = segment_to_evacuate(s);
    if (g && is_affordable(s, g))
        return g;
    spool_retire(s); /* so that the oldest one is not empty */
    g = s->segments;
    if (!g || !g->next || g->keep || g->max_seq > s->kept_seq || !wants_space(s))
        return NULL;
    return is_affordable(s, g) ? g : NULL;
}

/* A finished one goes by itself as soon as its last record is durable; of one with a record on its
 * way it is not yet known what it will have been. */
static bool may_copy(const struct message *m)
{
    return !m->copying && m->n_left > 0 && m->pending == 0;
}

/* The next message of g from place *at on that may be copied. */
static struct message *next_to_copy(struct spool *s, struct segment *g, size_t *at)
{
    unsigned looks = 0;
    struct message *m = fold_next_home(&s->fold, g, at);
    while (m && !may_copy(m))
        m = ++looks < LOOK_MAX ? fold_next_home(&s->fold, g, at) : NULL;
    return m;
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
    size_t at = 0;
    struct message *m = g ? next_to_copy(s, g, &at) : NULL;
    if (!m)
        return NULL;
    struct copy_task *t = must_alloc(sizeof *t);
    t->fs = s->fs;
    t->salt = s->salt;
    t->segment = g;
    t->last_try = g->eio_tries >= EIO_TRIES;
    g->pins++;
    for (; m && t->n < COPY_STEP_MESSAGES && bytes < room; m = next_to_copy(s, g, &at)) {
        t->items[t->n++] =
            (struct copy_item){.id = m->id, .at = m->record_at, .n = m->record_bytes};
        bytes += m->record_bytes;
    }
    return &t->task;
}

/* --- owner: the copies
 * -----------------------------------------------------------------------------------------------
 */

static bool is_default(const struct recipient *r, struct wall first_due)
{
    return r->state == RCPT_QUEUED && r->attempts == 0 && r->due.us == first_due.us &&
           r->last_attempt.us == 0 && !r->dsn_due && !r->last;
}

static void write_states(struct buf *out, const struct message *m)
{
    struct wall first_due = message_first_due(m);
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        const bool ranks = m->ranked && i == 0; /* it says it for all */
        if (is_default(r, first_due) && !ranks)
            continue;
        struct change c = {.rcpt = i,
                           .state = (enum rcpt_state)r->state,
                           .attempts = r->attempts,
                           .due = r->due,
                           .last_attempt = r->last_attempt,
                           .dsn_due = r->dsn_due,
                           .verdict = intern_encoding(recipient_last(r)),
                           .host = recipient_host(r),
                           .route = recipient_redirected(r),
                           .has_priority = ranks,
                           .priority = m->priority};
        c.has_verdict = c.verdict.n > 0;
        c.has_host = c.host.n > 0;
        c.has_route = c.route.n > 0;
        change_write(out, &c);
    }
}

/* The head of a copy in s->encode: what became of the message comes from the index. */
static void encode_copy(struct spool *s, const struct message *m, const struct message_record *r)
{
    struct buf states = BUF_MAX(ENCODE_MAX);
    write_states(&states, m);
    MUST(!states.overflow);
    buf_reset(&s->encode);
    message_record_write(&s->encode, r);
    buf_add_prefixed(&s->encode, r->envelope);
    buf_add_prefixed(&s->encode, buf_slice(&states));
    buf_done(&states);
}

static void append_copy(struct spool *s, struct message *m, struct body *body)
{
    struct pending *p = spool_append(s, RECORD_MESSAGE, s->encode.n, 0);
    p->copy = true;
    p->body = body;
    p->message = m;
    m->pending++;
    m->copying = true;
    s->copies_bytes += record_size(p->head_n + (body ? body->n : 0));
}

static uint8_t flags_of_copy(const struct message *m, uint8_t flags)
{
    flags |= MESSAGE_IS_COPY;
    return (uint8_t)(m->delay_told ? flags | MESSAGE_DELAY_TOLD : flags);
}

/* What SMTP said is copied byte by byte. */
static void copy_good(struct spool *s, struct message *m, struct copy_item *it)
{
    it->record.flags = flags_of_copy(m, it->record.flags);
    encode_copy(s, m, &it->record);
    append_copy(s, m, TAKE_PTR(it->body));
}

/* Who handed it in, the delivery log has. */
static void write_envelope(struct buf *out, const struct message *m)
{
    struct envelope_rcpt *rcpts = must_alloc(m->n_rcpts * sizeof *rcpts);
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        rcpts[i] = (struct envelope_rcpt){.address = recipient_address(&m->rcpts[i]),
                                          .orcpt = recipient_orcpt(&m->rcpts[i]),
                                          .notify = m->rcpts[i].notify};
    struct envelope e = {.sender = message_sender(m),
                         .user = message_user(m),
                         .message_id = message_message_id(m),
                         .envid = message_envid(m),
                         .tags = message_tags(m),
                         .route = message_route(m),
                         .params = message_params(m),
                         .release = message_release(m),
                         .by_deadline = message_by_deadline(m),
                         .size = m->size,
                         .eight_bit = m->eight_bit,
                         .dsn_for = message_dsn_for(m),
                         .dsn_delay = m->dsn_delay,
                         .expires_s = m->lifetime_s,
                         .rcpts = rcpts,
                         .n_rcpts = m->n_rcpts};
    envelope_write(out, &e);
    free(rcpts);
}

/* Content that is not in a file and not in memory any more is gone: its sender will hear of it. */
static uint8_t flags_from_memory(const struct message *m)
{
    uint8_t flags = flags_of_copy(m, 0);
    if (m->in_file)
        flags |= MESSAGE_BODY_IN_FILE;
    else if (!m->body && m->size > 0)
        flags |= MESSAGE_BODY_LOST;
    return flags;
}

/* Its record cannot be read any more: the message is written again as memory has it. */
static void copy_from_memory(struct spool *s, struct message *m)
{
    struct buf envelope = BUF_MAX(ENCODE_MAX);
    write_envelope(&envelope, m);
    MUST(!envelope.overflow);
    struct message_record r = {.flags = flags_from_memory(m),
                               .body_crc = m->body ? crc32c(0, m->body->bytes, m->body->n) : 0,
                               .id = m->id,
                               .queued = m->queued,
                               .expires = message_expires(m),
                               .body_bytes = m->size,
                               .envelope = buf_slice(&envelope)};
    encode_copy(s, m, &r);
    buf_done(&envelope);
    append_copy(s, m, m->body ? body_ref(m->body) : NULL);
}

static void say_damage(struct spool *s, const struct copy_task *t, const struct copy_item *it)
{
    char id[QUEUE_ID_SIZE], what[100], line[REPLAY_LINE_SIZE];
    queue_id_write(it->id, id);
    snprintf(what, sizeof what, "%s of message %s",
             it->found == COPY_LOST ? "damaged record" : "damaged body", id);
    replay_line(line, t->segment, it->at, it->at + it->n, what);
    if (s->say)
        s->say(s->say_ctx, line);
}

/* The message as it is now, when its record is still the one that was read. */
static struct message *still_there(struct spool *s, const struct copy_task *t,
                                   const struct copy_item *it)
{
    struct message *m = index_find(&s->fold.index, it->id);
    return m && m->home == t->segment && m->record_at == it->at && may_copy(m) ? m : NULL;
}

/* False: trouble. */
static bool item_end(struct spool *s, struct copy_task *t, struct copy_item *it)
{
    if (it->found < COPY_GOOD)
        return false;
    if (it->found != COPY_GOOD)
        say_damage(s, t, it);
    struct message *m = still_there(s, t, it);
    if (m && it->found == COPY_LOST)
        copy_from_memory(s, m);
    else if (m)
        copy_good(s, m, it);
    return true;
}

bool copy_end(struct spool *s, struct spool_task *task)
{
    struct copy_task *t = (struct copy_task *)(void *)task;
    bool ok = true, unreadable = false;
    for (size_t i = 0; i < t->n; i++) {
        struct copy_item *it = &t->items[i];
        ok = item_end(s, t, it) && ok;
        unreadable = unreadable || it->found == COPY_UNREADABLE;
        body_unref(it->body);
        free(it->bytes);
    }
    if (unreadable && t->segment->eio_tries < EIO_TRIES)
        t->segment->eio_tries++;
    t->segment->pins--;
    free(t);
    return ok;
}

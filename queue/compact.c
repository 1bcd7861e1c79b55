/* Giving disk space back: the oldest segment's live messages are copied forward, then it is freed.
 */
#include "queue/spool_private.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <utlist.h>

enum { STEP_MESSAGES = 32 };
#define STEP_BYTES (1024u * 1024)

static bool wants_space(const struct spool *s)
{
    return s->disk_bytes + s->spare_bytes > 2 * s->fold.live_bytes + 2 * s->segment_bytes;
}

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

static void write_envelope(struct buf *out, const struct message *m)
{
    struct envelope e = m->envelope;
    struct envelope_rcpt *rcpts = must_alloc(m->n_rcpts * sizeof *rcpts);
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        rcpts[i] = (struct envelope_rcpt){m->rcpts[i].address, m->rcpts[i].orcpt};
    e.rcpts = rcpts;
    e.n_rcpts = m->n_rcpts;
    envelope_write(out, &e);
    free(rcpts);
}

/* The body goes with the sum it had: if it was damaged, the copy is damaged too, and reading it
 * says so. */
static int read_body(struct spool *s, const struct message *m, struct body **ret)
{
    *ret = NULL;
    if (m->place.in_file || m->place.n == 0)
        return 0;
    struct body *b = body_new((size_t)m->place.n);
    int rc = spool_segment_pread(s->fs, m->place.segment, m->place.offset, b->n, b->bytes);
    if (rc < 0)
        body_unref(b);
    else
        *ret = b;
    return rc;
}

static int copy_message(struct spool *s, struct held *h)
{
    struct message *m = &h->message;
    struct body *body;
    int rc = read_body(s, m, &body);
    if (rc < 0)
        return rc;
    struct message_record r = {
        .body_crc = h->body_crc,
        .flags = (uint8_t)(MESSAGE_IS_COPY | (m->place.in_file ? MESSAGE_BODY_IN_FILE : 0)),
        .id = m->id,
        .queued = m->queued,
        .expires = m->expires,
        .body_bytes = m->place.n};
    struct buf envelope = BUF_MAX(ENCODE_MAX), states = BUF_MAX(ENCODE_MAX);
    write_envelope(&envelope, m);
    write_states(&states, m);
    MUST(!envelope.overflow && !states.overflow);
    buf_reset(&s->encode);
    message_record_write(&s->encode, &r);
    buf_add_prefixed(&s->encode, buf_slice(&envelope));
    buf_add_prefixed(&s->encode, buf_slice(&states));
    buf_done(&envelope);
    buf_done(&states);
    struct pending *p = spool_append(s, RECORD_MESSAGE, s->encode.n, 0);
    p->copy = true;
    p->body = body;
    p->held = h;
    h->last_append = p->number;
    h->copying = true;
    return 0;
}

/* True: something was copied. */
static bool copy_some(struct spool *s, struct segment *g)
{
    unsigned n = 0;
    uint64_t bytes = 0;
    for (struct held *h = g->homes; h && n < STEP_MESSAGES && bytes < STEP_BYTES; h = h->next) {
        /* A finished one goes by itself as soon as its last record is durable. */
        if (h->copying || h->message.n_left == 0)
            continue;
        if (copy_message(s, h) < 0)
            break;
        n++;
        bytes += h->record_bytes;
    }
    return n > 0;
}

bool spool_compact_step(struct spool *s)
{
    struct segment *g = s->segments;
    /* The newest one stays, even empty: its header keeps the high-water marks. */
    if (!g || g == s->tail || !g->next || g->keep || g->max_seq > s->kept_seq)
        return false;
    if (!g->homes && g->pins == 0) {
        DL_DELETE(s->segments, g);
        DL_APPEND(s->retired, g);
        return true;
    }
    return wants_space(s) && copy_some(s, g);
}

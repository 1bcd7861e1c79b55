/*
 * The content of the job that a connection carries, on its way to the machine: from memory, or in
 * pieces through the spooler. Answers may come late: the address, even the host, may be another one
 * by then.
 */
#include "relay/base/must.h"
#include "relay/mail/header.h"
#include "relay/outbound/conn.h"
#include <stdlib.h>

#define PIECE 65536u
#define READ_PIECE SPOOL_INLINE_MAX

/* A question for content, which connection asks, and its how many'th it is. */
struct question {
    struct spooler_read read;
    uint64_t conn, nth;
};

static void ask_for_content(struct out_conn *c)
{
    struct question *q = must_alloc(sizeof *q);
    q->conn = c->id;
    q->nth = ++c->reads;
    q->read.msg.type = SPOOLER_READ;
    q->read.reply = &c->o->port;
    q->read.id = c->load.job->message_id;
    q->read.offset = c->sent;
    q->read.n = READ_PIECE;
    c->reading = true;
    out_send(c->o, &q->read.msg);
}

/* Mail that asks for SMTPUTF8 needs it where its header section has 8-bit bytes; else nobody looks.
 */
static void look_at_header(struct out_conn *c, struct slice start)
{
    struct header_scan scan;
    header_scan_init(&scan, READ_PIECE);
    header_scan_bytes(&scan, start);
    header_scan_end(&scan);
    c->load.utf8_header = scan.facts.eight_bit_header;
    c->load.header_known = true;
    header_scan_done(&scan);
}

bool out_content_header(struct out_conn *c)
{
    const struct out_work *w = c->load.job;
    if (c->load.header_known)
        return true;
    c->load.utf8_header = false;
    c->load.header_known = !w->params.smtputf8 || !w->eight_bit;
    if (!c->load.header_known && w->body)
        look_at_header(c, slice_of(w->body->bytes, w->body->n));
    if (!c->load.header_known && !c->load.peeking) {
        c->load.peeking = true;
        c->sent = 0;
        ask_for_content(c);
    }
    return c->load.header_known;
}

static void content_failed(struct out_conn *c, enum fault f, struct mono now)
{
    struct verdict v = verdict_of_fault(f, PHASE_DATA, SLICE_NONE);
    smtp_client_body_failed(c->client, &v, now);
    verdict_done(&v);
}

/* An empty piece before the end means that there is less content than the envelope says. */
static void give_content(struct out_conn *c, struct slice piece, struct mono now)
{
    c->sent += piece.n;
    bool last = c->sent >= c->load.job->size;
    if (piece.n == 0 && !last)
        content_failed(c, FAULT_BODY_LOST, now);
    else
        smtp_client_body(c->client, piece, last, now);
}

void out_content_body(struct out_conn *c, struct mono now)
{
    const struct body *b = c->load.job->body;
    if (b)
        give_content(c, slice_head(slice_skip(slice_of(b->bytes, b->n), (size_t)c->sent), PIECE),
                     now);
    else
        c->wants_body = true;
    if (c->wants_body && !c->reading)
        ask_for_content(c);
}

/* What cannot be read shows when it is to be sent. The connection may be another one by now, and
 * not be ready yet. */
static void peeked(struct out_conn *c, const struct spooler_read *r, struct mono now)
{
    c->load.peeking = false;
    look_at_header(c, r->error == 0 ? slice_of(r->body->bytes, r->body->n) : SLICE_NONE);
    if (c->client && c->waiting)
        out_job_begin(c, now);
}

void out_conn_read_answer(struct outbound *o, struct spooler_read *r)
{
    struct out_conn *c = NULL;
    const struct question *q = (struct question *)(void *)r;
    uint64_t id = q->conn;
    HASH_FIND(hh, o->conns, &id, sizeof id, c);
    struct mono now = loop_now(o->loop);
    if (c && c->reading && c->reads == q->nth) { /* else for a job that is over */
        c->reading = false;
        if (c->load.peeking) {
            peeked(c, r, now);
        } else if (!c->wants_body) {
            /* the transaction ended while we read; perhaps another one has begun */
        } else if (r->offset != c->sent) {
            ask_for_content(c); /* that was for the one before */
        } else if (r->error == 0) {
            c->wants_body = false;
            give_content(c, slice_of(r->body->bytes, r->body->n), now);
        } else {
            content_failed(c, r->error == -EBADMSG ? FAULT_BODY_LOST : FAULT_LOCAL, now);
        }
        if (c->client)
            out_conn_pump(c, now);
    }
    body_unref(r->body);
    free(r);
}

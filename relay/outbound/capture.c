/*
 * Mail that is captured: a destination with `capture` sends nothing, its messages go into a
 * Maildir. Each job is a connection of its own to the spooler: a result, then it is gone. Content
 * comes from memory or in pieces through the spooler; a helper of the loop writes, syncs and names
 * the file, so that nothing waits for that disk. What cannot be filed waits, as for any fault of
 * ours.
 */
#include "relay/base/defer.h"
#include "relay/base/maildir.h"
#include "relay/base/must.h"
#include "relay/outbound/private.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

struct out_capture {
    struct worker_job job; /* first */
    struct out_capture *prev, *next;
    struct outbound *o;
    struct conf *conf;
    const struct conf_destination *dest;
    struct out_work *work;
    struct port port; /* what is read comes here, and what was written */
    struct body *piece;
    struct filing *filing;
    uint64_t written;
    int error;   /* of the last step … */
    bool unread; /* … which was to read the content */
    struct err why;
};

static void capture_free(struct out_capture *k)
{
    filing_free(k->filing);
    body_unref(k->piece);
    if (k->work)
        out_work_free(k->work);
    conf_unref(k->conf);
    free(k);
}

/* --- on the helper's thread
 * ------------------------------------------------------------------------------------------------------------
 */

static int begin_file(struct out_capture *k)
{
    const struct out_work *w = k->work;
    struct slice *rcpts = must_alloc(w->n * sizeof *rcpts);
    for (size_t i = 0; i < w->n; i++)
        rcpts[i] = buf_slice(&w->addresses[i]);
    int rc = maildir_make(k->dest->capture, &k->why);
    if (rc == 0)
        rc = filing_begin(&k->filing, k->dest->capture, k->conf->hostname, buf_slice(&w->sender),
                          rcpts, w->n, &k->why);
    free(rcpts);
    return rc;
}

/* Content that is shorter than its envelope says is damaged. */
static int write_piece(struct out_capture *k)
{
    if (k->piece->n == 0 && k->written < k->work->size)
        return -EBADMSG;
    int rc = filing_add(k->filing, slice_of(k->piece->bytes, k->piece->n), &k->why);
    k->written += k->piece->n;
    if (rc == 0 && k->written >= k->work->size)
        rc = filing_finish(k->filing, k->dest->capture, &k->why);
    return rc;
}

static void run(struct worker_job *j)
{
    struct out_capture *k = (struct out_capture *)j;
    k->error = k->filing ? 0 : begin_file(k);
    if (k->error == 0)
        k->error = write_piece(k);
}

/* --- on the loop
 * ------------------------------------------------------------------------------------------------------------
 */

static struct verdict verdict_of(const struct out_capture *k)
{
    if (k->error == -EBADMSG)
        return verdict_of_fault(FAULT_BODY_LOST, PHASE_NONE, SLICE_NONE);
    if (k->error < 0) /* of the Maildir: nothing was tried yet; else of this message */
        return verdict_of_fault(FAULT_LOCAL, k->unread ? PHASE_DATA : PHASE_NONE,
                                slice_str(k->why.text));
    struct verdict v = {.kind = VERDICT_DELIVERED, .scope = SCOPE_RECIPIENT, .enhanced = {2, 0, 0}};
    verdict_set_text(&v, SLICE_LIT("captured"));
    return v;
}

static void report(struct out_capture *k)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    struct verdict v = verdict_of(k);
    r->msg.type = SPOOLER_RESULT;
    r->conn = k->work->conn;
    r->attempted = true;
    r->attempt.dns_ms = r->attempt.connect_ms = r->attempt.tls_ms = r->attempt.data_ms = -1;
    r->message_id = k->work->message_id;
    r->n = k->work->n;
    r->rcpts = k->work->rcpts;
    k->work->rcpts = NULL;
    r->verdicts = must_alloc(r->n * sizeof *r->verdicts);
    for (size_t i = 0; i < r->n; i++)
        r->verdicts[i] = verdict_copy(&v);
    verdict_done(&v);
    out_send(k->o, &r->msg);
    out_report_gone(k->o, k->work->conn);
    DL_DELETE(k->o->captures, k);
    capture_free(k);
}

static void write_next(struct out_capture *k, struct body *piece)
{
    struct outbound *o = k->o;
    body_unref(k->piece);
    k->piece = piece;
    if (!o->filer)
        o->filer = worker_new_patient("capture");
    k->job.msg.type = OUT_CAPTURED;
    k->job.run = run;
    k->job.reply = &k->port;
    worker_push(o->filer, &k->job);
}

static void read_next(struct out_capture *k)
{
    struct spooler_read *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_READ;
    q->reply = &k->port;
    q->id = k->work->message_id;
    q->offset = k->written;
    q->n = SPOOL_INLINE_MAX;
    out_send(k->o, &q->msg);
}

static void is_written(struct out_capture *k)
{
    if (k->error < 0 || k->written >= k->work->size)
        report(k);
    else
        read_next(k);
}

static void is_read(struct out_capture *k, struct spooler_read *q)
{
    struct body *piece = q->body;
    k->error = q->error;
    free(q);
    if (k->error < 0) {
        k->unread = true;
        err_set(&k->why, k->error, "the content cannot be read");
        report(k);
        return;
    }
    write_next(k, piece);
}

static void on_msg(void *ctx, struct msg *m)
{
    struct out_capture *k = ctx;
    k->job.run = NULL; /* it is with us again */
    if (m->type == OUT_CAPTURED)
        is_written(k);
    else
        is_read(k, (struct spooler_read *)(void *)m);
}

void out_capture(struct outbound *o, struct conf *conf, const struct conf_destination *d,
                 struct out_work *w)
{
    struct out_capture *k = must_alloc(sizeof *k);
    k->o = o;
    k->conf = conf_ref(conf);
    k->dest = d;
    k->work = w;
    k->port = (struct port){.inbox = o->port.inbox, .fn = on_msg, .ctx = k};
    DL_APPEND(o->captures, k);
    if (w->body)
        write_next(k, body_ref(w->body));
    else
        read_next(k);
}

void out_captures_free(struct outbound *o)
{
    struct out_capture *k, *next;
    worker_free(o->filer); /* what it had is in the inbox now, which drops it */
    DL_FOREACH_SAFE (o->captures, k, next)
        if (!k->job.run)
            capture_free(k);
}

void out_capture_drop(struct msg *m)
{
    capture_free((struct out_capture *)(void *)m);
}

/*
 * queue.export: message by message, each as rows: its envelope, its recipients, its content in
 * pieces, and how the content ended. One message is with us at a time.
 */
#include "relay/admin/asked.h"
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <stdlib.h>

static void send_step(struct peer *p, struct spooler_export *x)
{
    p->task.asked = true;
    p->admin->outstanding++;
    port_send(spooler_port(p->admin->spooler), &x->msg);
}

void export_begin(struct peer *p)
{
    struct spooler_export *x = must_alloc(sizeof *x);
    x->msg.type = SPOOLER_EXPORT;
    x->reply = &p->admin->from_spool;
    x->cookie = p;
    x->filter = p->task.request.filter;
    p->task.request.filter = (struct queue_filter){0};
    send_step(p, x);
}

static void next_step(struct peer *p)
{
    struct spooler_export *x = TAKE_PTR(p->task.exported);
    p->task.at = 0;
    x->after = x->next;
    send_step(p, x);
}

static void end(struct peer *p)
{
    json_t *done = json_object();
    rows_put_number(done, "messages", p->task.given);
    peer_done(p, done);
}

void export_answered(struct peer *p, struct spooler_export *x)
{
    p->task.exported = x;
    if (uv_is_closing((uv_handle_t *)&p->pipe))
        spooler_export_free(TAKE_PTR(p->task.exported));
}

static json_t *envelope_row(const struct spooler_export *x)
{
    char id[QUEUE_ID_SIZE];
    json_t *o = json_object();
    queue_id_write(x->id, id);
    rows_put(o, "queue_id", json_string(id));
    rows_put(o, "sender", rows_text(buf_slice(&x->sender)));
    rows_put_text(o, "user", buf_slice(&x->user));
    rows_put_text(o, "message_id", buf_slice(&x->message_id));
    rows_put_text(o, "envid", buf_slice(&x->envid));
    rows_put_number(o, "size", x->size);
    rows_put(o, "eight_bit", json_boolean(x->eight_bit));
    if (x->delay_told)
        rows_put(o, "delay_told", json_true());
    rows_put(o, "queued_time", rows_time(x->queued));
    rows_put(o, "expires", rows_time(x->expires));
    /* Borrowed. */
    const struct asked asked = {x->params, x->release, x->by_deadline, x->tags, x->route};
    asked_put(o, &asked);
    return o;
}

static json_t *recipient_row(const struct export_rcpt *r)
{
    json_t *o = json_object();
    rows_put_number(o, "rcpt", r->rcpt);
    rows_put(o, "recipient", rows_text(buf_slice(&r->address)));
    rows_put_text(o, "orcpt", buf_slice(&r->orcpt));
    DEFER(buf_done) struct buf notify = BUF_MAX(50);
    asked_notify_write(&notify, r->notify);
    rows_put_text(o, "notify", buf_slice(&notify));
    rows_put(o, "state",
             json_string(r->active  ? "active"
                         : r->held  ? "held"
                         : r->ready ? "ready"
                                    : "waiting"));
    rows_put_number(o, "attempt", r->attempts);
    if (r->last_attempt.us)
        rows_put(o, "last_attempt", rows_time(r->last_attempt));
    if (!r->held && !r->active)
        rows_put(o, "next_attempt", rows_time(r->due));
    rows_put_text(o, "redirected", buf_slice(&r->redirected));
    rows_put_text(o, "mx_host", buf_slice(&r->last_host));
    if (r->code) {
        char enhanced[ENHANCED_SIZE];
        enhanced_write(r->enhanced, enhanced);
        rows_put_number(o, "smtp_code", r->code);
        rows_put_text(o, "enhanced_status", slice_str(enhanced));
    }
    rows_put_text(o, "response", buf_slice(&r->last_reply));
    return o;
}

/* Envelope and recipients; `at` counts both. False: the peer must read first. */
static bool give_rows(struct peer *p)
{
    struct task *t = &p->task;
    for (; t->at <= t->exported->n_rcpts; t->at++) {
        if (peer_unsent(p) > PEER_UNSENT_MAX)
            return false;
        peer_row(p, t->at == 0 ? envelope_row(t->exported)
                               : recipient_row(&t->exported->rcpts[t->at - 1]));
    }
    return true;
}

void export_go_on(struct peer *p)
{
    struct task *t = &p->task;
    if (t->exported->id == 0) {
        if (t->exported->next)
            next_step(p);
        else
            end(p);
    } else if (give_rows(p)) {
        t->request.message = t->exported->id;
        t->giving_content = true;
        content_begin(p, t->exported->size);
    }
}

void export_content_over(struct peer *p, const char *how)
{
    json_t *o = json_object();
    rows_put(o, "content", json_string(how));
    peer_row(p, o);
    p->task.giving_content = false;
    p->task.given++;
    if (p->task.exported->next)
        next_step(p);
    else
        end(p);
}

/* spool.check: the spooler's steps, one after the other, their findings as rows. */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include <errno.h>

static void send_step(struct peer *p, struct spooler_check *q)
{
    p->task.asked = true;
    p->admin->outstanding++;
    port_send(spooler_port(p->admin->spooler), &q->msg);
}

void check_begin(struct peer *p)
{
    struct spooler_check *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_CHECK;
    q->reply = &p->admin->from_spool;
    q->cookie = p;
    q->repair = p->task.request.repair;
    send_step(p, q);
}

void check_answered(struct peer *p, struct spooler_check *q)
{
    p->task.checked = q;
    p->task.at = 0;
    p->task.steps++;
    if (uv_is_closing((uv_handle_t *)&p->pipe))
        check_drop(p);
}

void check_drop(struct peer *p)
{
    struct spooler_check *q = TAKE_PTR(p->task.checked);
    if (!q)
        return;
    q->give_up = true;
    port_send(spooler_port(p->admin->spooler), &q->msg);
}

/* False: the peer must read first. */
static bool give_rows(struct peer *p)
{
    struct task *t = &p->task;
    for (;;) {
        struct slice rest = slice_skip(buf_slice(&t->checked->lines), t->at);
        if (rest.n == 0)
            return true;
        if (peer_unsent(p) > PEER_UNSENT_MAX)
            return false;
        struct slice line = slice_head(rest, slice_find(rest, '\n'));
        json_t *o = json_object();
        rows_put_text(o, "finding", line);
        peer_row(p, o);
        t->at += line.n + 1;
    }
}

static void end(struct peer *p, const struct spool_report *r)
{
    json_t *o = json_object();
    rows_put_number(o, "segments", r->segments);
    rows_put_number(o, "records", r->records);
    rows_put_number(o, "messages", r->messages);
    rows_put_number(o, "damaged", r->damaged);
    rows_put_number(o, "repaired", r->mended);
    peer_done(p, o);
}

static void progress(struct peer *p)
{
    if (!task_owes_progress(p))
        return;
    json_t *o = json_object();
    rows_put_number(o, "steps", p->task.steps);
    peer_progress(p, o);
}

void check_go_on(struct peer *p)
{
    if (!give_rows(p))
        return;
    struct spooler_check *q = TAKE_PTR(p->task.checked);
    if (!q->over) {
        progress(p);
        send_step(p, q);
        return;
    }
    const struct spool_report report = q->report;
    const int error = q->error;
    spooler_request_free(&q->msg);
    if (error == -EBUSY)
        peer_error(p, "busy", "another check is at work; try again when it has ended");
    else
        end(p, &report);
}

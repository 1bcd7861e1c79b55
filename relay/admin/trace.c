/*
 * trace: live transcripts from the net loops, passed on as they come. Each loop has one message of
 * lines out; while the client does not read it is kept here, and what the loop cannot keep
 * meanwhile is lost, counted and told. Ends with the client, after its time or so many rows.
 */
#include "relay/admin/private.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct tracing {
    unsigned sources;   /* whose last lines have not come */
    struct lines *kept; /* until there is room, a list by msg.next */
    struct mono until;
    uint64_t rows, lost, limit;
    bool ending;
};

void trace_drop(struct tracing *t)
{
    if (!t)
        return;
    MUST(t->sources == 0 && !t->kept);
    free(t);
}

static void give_back(struct lines *l)
{
    if (l->back)
        port_send(l->back, &l->msg);
    else
        lines_free(l);
}

static void say_lost(struct peer *p, uint64_t lost)
{
    if (lost == 0)
        return;
    json_t *o = json_object();
    rows_put_number(o, "lost", lost);
    p->task.tracing->lost += lost;
    peer_row(p, o);
}

/* The rows are text that jrow.h has made. */
static void give(struct peer *p, struct lines *l)
{
    struct tracing *t = p->task.tracing;
    for (struct slice rest = buf_slice(&l->text); rest.n && t->rows < t->limit; t->rows++) {
        struct slice line = slice_cut(&rest, '\n');
        buf_add(&p->out, buf_slice(&p->task.head));
        buf_add(&p->out, line);
        buf_add(&p->out, SLICE_LIT("}\n"));
    }
    say_lost(p, l->lost);
    p->task.said = loop_now(p->admin->loop);
}

static void stop_sources(struct peer *p)
{
    struct tracing *t = p->task.tracing;
    const struct admin_hooks *h = &p->admin->hooks;
    if (t->ending)
        return;
    t->ending = true;
    while (t->kept) {
        struct lines *l = t->kept;
        t->kept = (struct lines *)(void *)l->msg.next;
        give_back(l);
    }
    h->trace_end(h->ctx, p);
}

void trace_end(struct peer *p)
{
    if (p->task.tracing)
        stop_sources(p);
}

static void end_if_over(struct peer *p)
{
    struct tracing *t = p->task.tracing;
    if (t->sources > 0)
        return;
    p->task.asked = false;
    p->admin->n_tracing--;
    if (uv_is_closing((uv_handle_t *)&p->pipe)) {
        peer_free_if_over(p);
        return;
    }
    json_t *done = json_object();
    rows_put_number(done, "rows", t->rows);
    rows_put_number(done, "lost", t->lost);
    peer_done(p, done);
}

static bool is_over(const struct peer *p)
{
    const struct tracing *t = p->task.tracing;
    return t->rows >= t->limit || mono_reached(t->until, loop_now(p->admin->loop));
}

void trace_lines(struct peer *p, struct lines *l)
{
    struct tracing *t = p->task.tracing;
    const bool gone = uv_is_closing((uv_handle_t *)&p->pipe), last = l->last;
    if (last) {
        t->sources--;
        p->admin->outstanding--;
    }
    if (!gone && !t->ending && !last && peer_unsent(p) > PEER_UNSENT_MAX) {
        l->msg.next = t->kept ? &t->kept->msg : NULL;
        t->kept = l;
        return;
    }
    if (!gone)
        give(p, l);
    give_back(l);
    if (!gone && is_over(p))
        stop_sources(p);
    if (!gone)
        peer_flush(p);
    if (last)
        end_if_over(p);
}

void trace_go_on(struct peer *p)
{
    struct tracing *t = p->task.tracing;
    if (is_over(p))
        stop_sources(p);
    while (t->kept && peer_unsent(p) <= PEER_UNSENT_MAX) {
        struct lines *l = t->kept;
        t->kept = (struct lines *)(void *)l->msg.next;
        give(p, l);
        give_back(l);
    }
}

void trace_begin(struct peer *p)
{
    const struct request *r = &p->task.request;
    struct admin *a = p->admin;
    char id[QUEUE_ID_SIZE] = "";
    struct err e = {0};
    if (a->n_tracing == ADMIN_TRACERS_MAX) {
        peer_error(p, "busy", "four look on already: end one of them first");
        return;
    }
    if (r->message)
        queue_id_write(r->message, id);
    const struct admin_trace asked = {.from = buf_slice(&r->filter.from),
                                      .to = buf_slice(&r->filter.to),
                                      .site = buf_slice(&r->filter.site),
                                      .client = buf_slice(&r->address),
                                      .id = slice_str(id),
                                      .user = buf_slice(&r->import.user)};
    int n = a->hooks.trace(a->hooks.ctx, &asked, &a->from_nets, p, &e);
    if (n < 0) {
        peer_error(p, "usage", e.text);
        return;
    }
    struct tracing *t = p->task.tracing = must_alloc(sizeof *t);
    const struct mono now = loop_now(a->loop);
    t->sources = (unsigned)n;
    t->until = r->for_s ? mono_add(now, r->for_s * 1000) : MONO_NEVER;
    t->limit = r->limit ? r->limit : UINT64_MAX;
    p->task.asked = true;
    a->outstanding += (unsigned)n;
    a->n_tracing++;
    deadline_set(a->loop, &a->beat_at, mono_add(now, PROGRESS_MS));
    peer_progress(p, json_object()); /* it is looked from now on */
}

/* The end of each kind of message: what it owns is given back. */
#include "relay/spooler/requests.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <stdlib.h>

void attempt_done(struct attempt *a)
{
    buf_done(&a->mx_host);
    buf_done(&a->mx_ip);
    buf_done(&a->source_ip);
    buf_done(&a->tls_version);
    buf_done(&a->tls_cipher);
}

void spooler_result_free(struct spooler_result *r)
{
    for (size_t i = 0; r->verdicts && i < r->n; i++)
        verdict_done(&r->verdicts[i]);
    for (size_t i = 0; r->paths && i < r->n; i++)
        buf_done(&r->paths[i]);
    free(r->verdicts);
    free(r->paths);
    free(r->rcpts);
    attempt_done(&r->attempt);
    free(r);
}

void out_work_free(struct out_work *w)
{
    for (size_t i = 0; w->addresses && i < w->n; i++)
        buf_done(&w->addresses[i]);
    for (size_t i = 0; w->orcpts && i < w->n; i++)
        buf_done(&w->orcpts[i]);
    free(w->addresses);
    free(w->orcpts);
    free(w->notify);
    free(w->rcpts);
    buf_done(&w->envid);
    frozen_unref(w->plan);
    buf_done(&w->site);
    buf_done(&w->destination);
    buf_done(&w->sender);
    buf_done(&w->user);
    body_unref(w->body);
    free(w);
}

void out_dsn_rcpt_done(struct out_dsn_rcpt *r)
{
    buf_done(&r->address);
    buf_done(&r->orcpt);
    buf_done(&r->host);
    verdict_done(&r->verdict);
}

void out_dsn_free(struct out_dsn *d)
{
    for (size_t i = 0; d->rcpts && i < d->n; i++)
        out_dsn_rcpt_done(&d->rcpts[i]);
    free(d->rcpts);
    buf_done(&d->to);
    buf_done(&d->user);
    buf_done(&d->envid);
    buf_done(&d->tags);
    buf_done(&d->route);
    body_unref(d->original);
    free(d);
}

void queue_filter_done(struct queue_filter *f)
{
    free(f->ids);
    buf_done(&f->from);
    buf_done(&f->to);
    buf_done(&f->user);
    buf_done(&f->destination);
    buf_done(&f->site);
    buf_done(&f->reply);
    buf_done(&f->tag);
}

void spooler_admin_reset(struct spooler_admin *a)
{
    for (size_t i = 0; i < a->n_sites; i++)
        queue_site_row_done(&a->sites[i]);
    free(a->sites);
    a->sites = NULL;
    a->n_rows = a->text_n = a->n_sites = 0;
}

void spooler_admin_free(struct spooler_admin *a)
{
    spooler_admin_reset(a);
    free(a->rows);
    queue_filter_done(&a->filter);
    buf_done(&a->actor);
    buf_done(&a->reason);
    buf_done(&a->route);
    for (size_t i = 0; i < sizeof a->totals.errors / sizeof *a->totals.errors; i++)
        buf_done(&a->totals.errors[i].text);
    error_tally_free(a->tally);
    sorted_free(a->sorted);
    act_unref(a->act);
    free(a);
}

static void export_rcpt_done(struct export_rcpt *r)
{
    buf_done(&r->address);
    buf_done(&r->orcpt);
    buf_done(&r->last_reply);
    buf_done(&r->last_host);
    buf_done(&r->redirected);
}

void spooler_export_reset(struct spooler_export *x)
{
    for (size_t i = 0; i < x->n_rcpts; i++)
        export_rcpt_done(&x->rcpts[i]);
    free(x->rcpts);
    x->rcpts = NULL;
    x->n_rcpts = 0;
    x->id = 0;
    buf_done(&x->sender);
    buf_done(&x->user);
    buf_done(&x->message_id);
    buf_done(&x->envid);
    buf_done(&x->tags);
    buf_done(&x->route);
}

void spooler_export_free(struct spooler_export *x)
{
    spooler_export_reset(x);
    queue_filter_done(&x->filter);
    free(x);
}

static void plan_free(struct spooler_plan *p)
{
    buf_done(&p->domain);
    buf_done(&p->site);
    buf_done(&p->destination);
    frozen_unref(p->plan);
    verdict_done(&p->failed);
    free(p);
}

void spooler_request_free(struct msg *m)
{
    void *v = m;
    switch ((enum spooler_type)m->type) {
    case SPOOLER_STORE:
        body_unref(((struct spooler_store *)v)->body);
        break;
    case SPOOLER_BODY:
        buf_done(&((struct spooler_body *)v)->bytes);
        break;
    case SPOOLER_NOTE:
        buf_done(&((struct spooler_note *)v)->fields);
        break;
    case SPOOLER_READ:
        body_unref(((struct spooler_read *)v)->body);
        break;
    case SPOOLER_PLAN:
        plan_free(v);
        return;
    case SPOOLER_RESULT:
        spooler_result_free(v);
        return;
    case SPOOLER_ADMIN:
        spooler_admin_free(v);
        return;
    case SPOOLER_CHECK:
        MUST(!((struct spooler_check *)v)->check);
        buf_done(&((struct spooler_check *)v)->lines);
        break;
    case SPOOLER_EXPORT:
        spooler_export_free(v);
        return;
    case SPOOLER_SUSPEND:
        for (size_t i = 0; i < ((struct spooler_suspend *)v)->n; i++)
            free(((struct spooler_suspend *)v)->names[i]);
        free(((struct spooler_suspend *)v)->names);
        break;
    case SPOOLER_SITE:
        queue_site_row_done(&((struct spooler_site *)v)->row);
        break;
    case SPOOLER_CONN_GONE:
    case SPOOLER_AHEAD:
    case SPOOLER_KEPT:
    case SPOOLER_AGAIN:
    case SPOOLER_CONTROL:
        break;
    }
    free(m);
}

void spooler_order_free(struct msg *m)
{
    void *v = m;
    switch ((enum out_type)m->type) {
    case OUT_RESOLVE:
        buf_done(&((struct out_resolve *)v)->domain);
        free(v);
        return;
    case OUT_WORK:
    case OUT_CLOSE:
        out_work_free(v);
        return;
    case OUT_DSN:
        out_dsn_free(v);
        return;
    }
}

struct buf buf_of(struct slice s)
{
    /* One byte more, so that buf_str has room for its NUL. */
    struct buf b = BUF_MAX(s.n + 1);
    buf_add(&b, s);
    return b;
}

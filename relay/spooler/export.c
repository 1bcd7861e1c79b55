/* Operators' export: one message a step, copied whole, in id order. Nothing is changed. */
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"

enum { STEP_MAX = 256 };

static struct export_rcpt copy_rcpt(const struct recipient *r)
{
    struct slice site, destination;
    const struct verdict *last = recipient_last(r);
    return (struct export_rcpt){
        .address = buf_of(recipient_address(r)),
        .orcpt = buf_of(recipient_orcpt(r)),
        .last_reply = buf_of(slice_str(last ? last->text : NULL)),
        .last_host = buf_of(recipient_host(r)),
        .redirected = buf_of(recipient_redirected(r)),
        .due = r->due,
        .last_attempt = r->last_attempt,
        .rcpt = r->number,
        .attempts = r->attempts,
        .notify = r->notify,
        .code = last ? last->code : 0,
        .enhanced = last ? last->enhanced : (struct enhanced){0},
        .held = r->state == RCPT_HELD,
        .active = r->active,
        .ready = sched_where(r, &site, &destination),
    };
}

static void copy_rcpts(struct spooler_export *x, const struct message *m)
{
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        n += filter_match(&x->filter, &m->rcpts[i]);
    if (n == 0)
        return;
    x->rcpts = must_alloc(n * sizeof *x->rcpts);
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        if (filter_match(&x->filter, &m->rcpts[i]))
            x->rcpts[x->n_rcpts++] = copy_rcpt(&m->rcpts[i]);
}

static bool copy_message(struct core *c, struct spooler_export *x, const struct message *m)
{
    if (!m->durable || !filter_match_message(&x->filter, m, c->now))
        return false;
    copy_rcpts(x, m);
    if (x->n_rcpts == 0)
        return false;
    x->id = m->id;
    x->sender = buf_of(message_sender(m));
    x->user = buf_of(message_user(m));
    x->message_id = buf_of(message_message_id(m));
    x->envid = buf_of(message_envid(m));
    x->tags = buf_of(message_tags(m));
    x->route = buf_of(message_route(m));
    x->params = message_params(m);
    x->release = message_release(m);
    x->by_deadline = message_by_deadline(m);
    x->size = m->size;
    x->eight_bit = m->eight_bit;
    x->delay_told = m->delay_told;
    x->queued = m->queued;
    x->expires = message_expires(m);
    return true;
}

static struct message *next_message(const struct core *c, const struct spooler_export *x)
{
    if (x->filter.n_ids == 0)
        return spool_after(c->spool, x->after);
    for (uint64_t id = x->after; (id = filter_next_id(&x->filter, id));) {
        struct message *m = spool_find(c->spool, id);
        if (m)
            return m;
    }
    return NULL;
}

void export_run(struct core *c, struct spooler_export *x)
{
    spooler_export_reset(x);
    if (x->after == 0)
        filter_prepare(&x->filter);
    x->next = 0;
    for (unsigned looked = 0;; looked++) {
        const struct message *m = next_message(c, x);
        if (!m)
            break;
        if (looked == STEP_MAX) {
            x->next = x->after;
            break;
        }
        x->after = m->id;
        if (copy_message(c, x, m)) {
            x->next = m->id;
            break;
        }
    }
    core_answer(c, &x->msg, x->reply);
}

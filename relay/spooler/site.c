/* How a site stands, for lists of them and for those who ask why mail is not there yet: its state,
 * its last error, and a recipient's place in its line. */
#include "relay/spooler/core_int.h"

static int64_t from_now(const struct core *c, struct mono at)
{
    if (at.ms == MONO_NEVER.ms)
        return -1;
    return at.ms > c->mono.ms ? at.ms - c->mono.ms : 0;
}

void site_row_fill(const struct core *c, struct queue_site_row *r, const struct sched_site_view *v)
{
    r->ready = v->ready;
    r->waiting = v->waiting;
    r->connections = v->connections;
    r->idle = v->idle;
    r->window = v->window;
    r->limit = v->limit;
    r->dead = v->dead;
    r->suspended = v->suspended;
    r->throttled = v->throttled;
    r->ours = v->ours;
    r->next_probe_ms = from_now(c, v->next_probe);
    r->rate = v->rate;
    r->rate_ms = v->rate_ms;
    r->per_minute = v->per_minute;
    r->error = buf_of(v->error);
    r->error_at = v->error_at;
}

static void fill(const struct core *c, struct spooler_site *q, const struct sched_site_view *v)
{
    q->known = true;
    site_row_fill(c, &q->row, v);
    q->fails = v->fails;
    q->next_job_ms = from_now(c, v->next_job);
    q->hold_ms = v->hold.ms > c->mono.ms ? v->hold.ms - c->mono.ms : -1;
}

static void find_standing(struct core *c, struct spooler_site *q)
{
    const struct message *m = spool_find(c->spool, q->id);
    struct slice site, destination;
    if (!m || q->rcpt >= m->n_rcpts)
        return;
    const struct recipient *r = &m->rcpts[q->rcpt];
    q->stands = sched_where(r, &site, &destination) && slice_eq(site, buf_slice(&q->row.site)) &&
                slice_eq(destination, buf_slice(&q->row.destination)) &&
                sched_standing(r, &q->standing);
}

void site_run(struct core *c, struct spooler_site *q)
{
    struct sched_site_view v;
    if (sched_site_look(c->sched, buf_slice(&q->row.destination), buf_slice(&q->row.site), c->mono,
                        &v))
        fill(c, q, &v);
    if (q->known && q->id)
        find_standing(c, q);
    core_answer(c, &q->msg, q->reply);
}

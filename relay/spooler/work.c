/* Jobs: what the scheduler says becomes orders to the net loops; results and plans become changes.
 */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/spooler/core_int.h"
#include "relay/spooler/feedback.h"
#include <errno.h>
#include <stdlib.h>

enum { EVENT_MAX = 15 * 1024, CHANGES_MAX = 100 };

/* --- jobs on connections
 * ---------------------------------------------------------------------------------- */

static bool job_has(const struct job *j, uint32_t rcpt)
{
    for (uint32_t i = 0; i < j->n; i++)
        if (j->rcpts[i] == rcpt)
            return true;
    return false;
}

/* The connection's first job; behind it is the one that it got ahead. */
static struct job *job_first(const struct core *c, uint64_t conn)
{
    struct job *j;
    HASH_FIND(hh, c->jobs, &conn, sizeof conn, j);
    return j;
}

/* The one with this recipient: two may be of the same message. */
static struct job *job_find(const struct core *c, uint64_t conn, uint64_t id, uint32_t rcpt)
{
    struct job *j = job_first(c, conn);
    while (j && (j->id != id || !job_has(j, rcpt)))
        j = j->ahead;
    return j;
}

static void job_note(struct core *c, uint64_t conn, const struct sched_job *job)
{
    struct job *j = must_alloc(sizeof *j + job->n * sizeof j->rcpts[0]);
    j->conn = conn;
    j->id = job->message->id;
    for (size_t i = 0; i < job->n; i++)
        j->rcpts[j->n++] = job->rcpts[i]->number;
    c->n_active += job->n;
    struct job *first = job_first(c, conn);
    if (first) {
        MUST(!first->ahead);
        first->ahead = j;
    } else {
        HASH_ADD(hh, c->jobs, conn, sizeof j->conn, j);
    }
}

static bool job_is_ahead(const struct core *c, const struct job *j)
{
    return job_first(c, j->conn) != j;
}

/* One that it had ahead is its first then. */
static void job_unlink(struct core *c, struct job *j)
{
    struct job *first = job_first(c, j->conn), *ahead = first->ahead;
    if (first != j) {
        first->ahead = NULL;
        return;
    }
    HASH_DEL(c->jobs, j);
    if (ahead)
        HASH_ADD(hh, c->jobs, conn, sizeof ahead->conn, ahead);
}

/* The connection has it no more: recipients are ours again. The caller frees the job. */
static struct message *job_end(struct core *c, struct job *j)
{
    struct message *m = spool_find(c->spool, j->id);
    MUST(m); /* active recipients are not final, so the message is there */
    job_unlink(c, j);
    c->n_active -= j->n;
    for (uint32_t i = 0; i < j->n; i++) {
        MUST(m->rcpts[j->rcpts[i]].active);
        m->rcpts[j->rcpts[i]].active = false;
    }
    return m;
}

/* What is still there waits again; then what an operator asked of it meanwhile is done. */
static void add_again(struct core *c, struct message *m, const struct job *j)
{
    for (uint32_t i = 0; i < j->n; i++) {
        struct recipient *r = &m->rcpts[j->rcpts[i]];
        if (r->state == RCPT_QUEUED && !r->domain)
            sched_add(c->sched, r);
    }
    act_ended(c, m, j->rcpts, j->n);
}

void work_free(struct core *c)
{
    struct job *j, *next;
    HASH_ITER (hh, c->jobs, j, next) {
        HASH_DEL(c->jobs, j);
        free(j->ahead);
        free(j);
    }
}

/* --- orders
 * -------------------------------------------------------------------------------------------------
 */

static void send_order(struct core *c, unsigned loop, struct msg *m, enum out_type type)
{
    m->type = type;
    core_push(c, (struct core_action){.act = CORE_SEND, .loop = loop, .msg = m});
}

static void send_resolve(struct core *c, struct slice domain)
{
    struct out_resolve *q = must_alloc(sizeof *q);
    q->domain = buf_of(domain);
    send_order(c, core_loop_of(c, domain), &q->msg, OUT_RESOLVE);
}

static struct out_work *order_new(const struct sched_action *a)
{
    struct out_work *w = must_alloc(sizeof *w);
    w->conn = a->conn;
    w->open = a->act == SCHED_OPEN;
    w->plan = w->open ? frozen_ref(a->plan) : NULL;
    w->site = buf_of(a->site);
    w->destination = buf_of(a->destination);
    w->loop = a->loop;
    return w;
}

static void order_fill(struct out_work *w, const struct sched_job *job)
{
    const struct message *m = job->message;
    w->message_id = m->id;
    w->sender = buf_of(message_sender(m));
    w->user = buf_of(message_user(m));
    w->size = m->size;
    w->eight_bit = m->eight_bit;
    w->n = job->n;
    w->rcpts = must_alloc(job->n * sizeof *w->rcpts);
    w->addresses = must_alloc(job->n * sizeof *w->addresses);
    w->orcpts = must_alloc(job->n * sizeof *w->orcpts);
    w->notify = must_alloc(job->n * sizeof *w->notify);
    w->params = message_params(m);
    w->envid = buf_of(message_envid(m));
    w->by_deadline = message_by_deadline(m);
    for (size_t i = 0; i < job->n; i++) {
        const struct recipient *r = job->rcpts[i];
        w->rcpts[i] = r->number;
        w->addresses[i] = buf_of(recipient_address(r));
        w->orcpts[i] = buf_of(recipient_orcpt(r));
        w->notify[i] = r->notify;
        w->attempt = r->attempts + 1 > w->attempt ? r->attempts + 1 : w->attempt;
    }
}

static void send_work(struct core *c, const struct sched_action *a)
{
    struct message *m = a->job.message;
    struct out_work *w = order_new(a);
    order_fill(w, &a->job);
    job_note(c, a->conn, &a->job);
    if (m->body || m->in_file) {
        w->body = body_ref(m->body);
        send_order(c, w->loop, &w->msg, OUT_WORK);
        return;
    }
    w->msg.type = OUT_WORK;
    struct core_read *r = core_read_new(c, READ_WORK, m, 0, SIZE_MAX);
    r->work = w;
    core_push(c, (struct core_action){.act = CORE_READ, .read = r});
}

static void send_close(struct core *c, const struct sched_action *a)
{
    struct out_work *w = order_new(a);
    send_order(c, w->loop, &w->msg, OUT_CLOSE);
}

/* --- verdicts
 * ------------------------------------------------------------------------------------------------
 */

void work_count(enum event_name event)
{
    if (event == EVENT_DELIVERED || event == EVENT_RELAYED)
        metric_add(M_DELIVERED, 1);
    else if (event == EVENT_DEFERRED)
        metric_add(M_DEFERRED, 1);
    else if (event == EVENT_BOUNCED)
        metric_add(M_BOUNCED, 1);
    else if (event == EVENT_EXPIRED)
        metric_add(M_EXPIRED, 1);
}

static struct outcome_policy policy_of(const struct core *c, const struct sched_limits *l)
{
    return (struct outcome_policy){.double_bounces = c->report_policy.double_bounces[0],
                                   .retry = l && l->retry.n ? &l->retry : &c->retry,
                                   .lifetime_s = l ? l->lifetime_s : 0};
}

/* Recipients of one message with a verdict each: one record. They are inactive and not with the
 * scheduler. limits: of their destination; NULL: not known. */
static void apply(struct core *c, struct message *m, struct recipient *const *rcpts,
                  const struct verdict *const *verdicts, size_t n,
                  const struct sched_limits *limits, struct outcome_facts *facts)
{
    const struct outcome_policy policy = policy_of(c, limits);
    struct rcpt_change changes[CHANGES_MAX];
    struct spool_event_in events[CHANGES_MAX];
    struct buf fields[CHANGES_MAX];
    MUST(n >= 1 && n <= CHANGES_MAX);
    DEFER(buf_done) struct buf host = BUF_MAX(512);
    const char *last_host = NULL;
    if (facts->attempt && facts->attempt->mx_host.n &&
        buf_add(&host, buf_slice(&facts->attempt->mx_host)))
        last_host = buf_str(&host);
    for (size_t i = 0; i < n; i++) {
        struct outcome o = outcome_decide(rcpts[i], verdicts[i], last_host, facts->passed_on,
                                          &policy, c->now, &c->rng);
        if (facts->no_attempt) {
            o.change.attempts = rcpts[i]->attempts;
            o.change.last_attempt = rcpts[i]->last_attempt;
        }
        facts->reverse_path = facts->reverse_paths ? facts->reverse_paths[i] : SLICE_NONE;
        fields[i] = BUF_MAX(EVENT_MAX);
        outcome_event(&fields[i], rcpts[i], &o, verdicts[i], facts, c->now);
        changes[i] = o.change;
        events[i] = (struct spool_event_in){o.event, buf_slice(&fields[i])};
        work_count(o.event);
    }
    core_fresh_drop(c, m);
    core_change(c, m, changes, n, events);
    for (size_t i = 0; i < n; i++) {
        buf_done(&fields[i]);
        if (changes[i].state == RCPT_QUEUED)
            sched_add(c->sched, rcpts[i]);
    }
}

/* One verdict for all recipients of an ended job. */
static void apply_to_job(struct core *c, struct message *m, const struct job *j,
                         const struct verdict *v, struct outcome_facts *facts)
{
    struct recipient *rcpts[CHANGES_MAX];
    const struct verdict *verdicts[CHANGES_MAX];
    for (uint32_t i = 0; i < j->n; i++) {
        rcpts[i] = &m->rcpts[j->rcpts[i]];
        verdicts[i] = v;
    }
    apply(c, m, rcpts, verdicts, j->n, sched_conn_limits(c->sched, j->conn), facts);
}

/* --- results
 * ---------------------------------------------------------------------------------------------------
 */

static void apply_result(struct core *c, struct message *m, const struct job *j,
                         const struct spooler_result *r)
{
    struct recipient *rcpts[CHANGES_MAX];
    const struct verdict *verdicts[CHANGES_MAX];
    struct slice paths[CHANGES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->n && n < CHANGES_MAX; i++) {
        if (r->verdicts[i].kind == VERDICT_NONE)
            continue;
        MUST(job_has(j, r->rcpts[i]));
        rcpts[n] = &m->rcpts[r->rcpts[i]];
        paths[n] = r->paths ? buf_slice(&r->paths[i]) : SLICE_NONE;
        verdicts[n++] = &r->verdicts[i];
    }
    struct outcome_facts facts = {.attempt = &r->attempt,
                                  .reverse_paths = paths,
                                  .passed_on = {r->dsn_passed_on, r->deliver_by_passed_on}};
    sched_conn_where(c->sched, r->conn, &facts.site, &facts.destination);
    if (n)
        apply(c, m, rcpts, verdicts, n, sched_conn_limits(c->sched, r->conn), &facts);
}

/* For those who look at destinations: what put mail off there last, and who said so. */
static void note_error(struct core *c, const struct spooler_result *r)
{
    enum { WORDS_MAX = 300 };
    const struct verdict *v = NULL;
    char status[ENHANCED_SIZE] = "";
    DEFER(buf_done) struct buf words = BUF_MAX(2048);
    for (size_t i = 0; i < r->n && !v; i++)
        v = r->verdicts[i].kind == VERDICT_DEFERRED ? &r->verdicts[i] : NULL;
    if (!v)
        return;
    if (r->attempt.mx_host.n)
        buf_addf(&words, "%.*s: ", SLICE_ARG(buf_slice(&r->attempt.mx_host)));
    if (v->code && enhanced_is(v->enhanced))
        enhanced_write(v->enhanced, status);
    if (v->code)
        buf_addf(&words, "%u %s%s", v->code, status, status[0] ? " " : "");
    utf8_clean(&words, slice_trim(slice_str(v->text ? v->text : "")), WORDS_MAX);
    sched_note_error(c->sched, r->conn, buf_slice(&words), c->now);
}

void work_result(struct core *c, struct spooler_result *r)
{
    struct job *j = job_find(c, r->conn, r->message_id, r->rcpts[0]);
    struct feedback f = {0};
    if (!j)
        return;
    bool ahead = job_is_ahead(c, j);
    struct message *m = job_end(c, j);
    bool says = feedback_of(m, r, &f); /* before it is counted */
    if (r->attempted) {
        apply_result(c, m, j, r);
        note_error(c, r);
    }
    if (says)
        sched_feedback(c->sched, r->conn, f.outcome, f.after_s, c->mono);
    /* m may be finished, but stays until its record is durable. What has no verdict waits again. */
    add_again(c, m, j);
    bounce_poke(c, j->id);
    free(j);
    if (ahead) /* come back: its turn was too far off */
        sched_conn_back(c->sched, r->conn);
    else if (r->ready)
        sched_conn_ready(c->sched, r->conn, c->mono);
}

/* With a job still on it the loop has not kept its word; the recipients are not to suffer. */
void work_conn_gone(struct core *c, uint64_t conn)
{
    struct job *j;
    while ((j = job_first(c, conn))) {
        add_again(c, job_end(c, j), j);
        free(j);
    }
    sched_conn_gone(c->sched, conn, c->mono);
}

/* --- content read for a job
 * -------------------------------------------------------------------------------------- */

/* The job has not left us: its connection was not opened, stays idle, or has another one. */
static void leave_conn(struct core *c, const struct out_work *w, bool ahead)
{
    if (w->open)
        sched_conn_gone(c->sched, w->conn, c->mono);
    else if (ahead)
        sched_conn_back(c->sched, w->conn);
    else
        sched_conn_ready(c->sched, w->conn, c->mono);
}

/* A fault of ours is no attempt; what is proven damaged goes back to its sender. */
static void job_unreadable(struct core *c, struct job *j, const struct out_work *w, int error)
{
    bool lost = error == -EBADMSG || error == -ENOENT;
    struct verdict v = verdict_of_fault(lost ? FAULT_BODY_LOST : FAULT_LOCAL, PHASE_NONE,
                                        SLICE_LIT("the message could not be read"));
    struct outcome_facts facts = {.site = buf_slice(&w->site),
                                  .destination = buf_slice(&w->destination),
                                  .no_attempt = !lost};
    bool ahead = job_is_ahead(c, j);
    struct message *m = job_end(c, j);
    apply_to_job(c, m, j, &v, &facts);
    verdict_done(&v);
    add_again(c, m, j);
    free(j);
    leave_conn(c, w, ahead);
}

/* The disk failed while the content was read: the attempt does not begin. */
static void job_put_back(struct core *c, struct job *j, const struct out_work *w)
{
    bool ahead = job_is_ahead(c, j);
    add_again(c, job_end(c, j), j);
    free(j);
    leave_conn(c, w, ahead);
}

void work_read_done(struct core *c, struct core_read *r)
{
    struct job *j = job_find(c, r->work->conn, r->work->message_id, r->work->rcpts[0]);
    /* An idle connection may have been closed by the peer meanwhile; then the job went back with
     * it. */
    if (!j)
        return;
    if (r->error < 0) {
        job_unreadable(c, j, r->work, r->error);
        return;
    }
    if (trouble_is(c)) {
        job_put_back(c, j, r->work);
        return;
    }
    struct out_work *w = TAKE_PTR(r->work);
    w->body = TAKE_PTR(r->body);
    send_order(c, w->loop, &w->msg, OUT_WORK);
}

/* --- plans
 * ---------------------------------------------------------------------------------------------------------
 */

struct plucked {
    struct recipient **rcpts;
    size_t n, cap;
};

static void pluck(void *ctx, struct recipient *r)
{
    struct plucked *p = ctx;
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->rcpts = must_realloc(p->rcpts, p->cap * sizeof(struct recipient *));
    }
    p->rcpts[p->n++] = r;
}

/* The domain cannot be reached: every due recipient hears it, those of one message in one record.
 */
static void plan_failed(struct core *c, const struct spooler_plan *p)
{
    const struct verdict *verdicts[CHANGES_MAX];
    struct outcome_facts facts = {0};
    struct plucked due = {0};
    for (size_t i = 0; i < CHANGES_MAX; i++)
        verdicts[i] = &p->failed;
    sched_plan_failed(c->sched, buf_slice(&p->domain), pluck, &due);
    for (size_t i = 0, n; i < due.n; i += n) {
        struct message *m = recipient_message(due.rcpts[i]);
        for (n = 1; n < CHANGES_MAX && i + n < due.n && recipient_message(due.rcpts[i + n]) == m;)
            n++;
        apply(c, m, &due.rcpts[i], verdicts, n, &p->limits, &facts);
    }
    free(due.rcpts);
}

void work_plan(struct core *c, struct spooler_plan *p)
{
    if (p->failed.kind != VERDICT_NONE) {
        plan_failed(c, p);
        return;
    }
    sched_plan(c->sched, buf_slice(&p->domain), buf_slice(&p->site), buf_slice(&p->destination),
               &p->limits, p->plan, mono_add(c->mono, p->ttl_ms), c->mono);
}

/* --- the scheduler's actions
 * ---------------------------------------------------------------------------------------- */

/* Its lifetime ended in line: it ends with what was last said about it. */
static void expire(struct core *c, const struct sched_action *a)
{
    struct recipient *r = a->job.rcpts[0];
    struct outcome_facts facts = {.no_attempt = true};
    const struct verdict *last = recipient_last(r);
    struct verdict v = last && last->kind == VERDICT_DEFERRED && last->fault != FAULT_LOCAL
                           ? verdict_copy(last)
                           : verdict_of_fault(FAULT_EXPIRED, PHASE_NONE, SLICE_NONE);
    v.kind = VERDICT_DEFERRED; /* and the lifetime is over */
    const struct verdict *one = &v;
    apply(c, a->job.message, &r, &one, 1, a->limits, &facts);
    verdict_done(&v);
}

bool work_step(struct core *c)
{
    struct sched_action a;
    if (!sched_next(c->sched, c->now, c->mono, &a))
        return false;
    switch (a.act) {
    case SCHED_RESOLVE:
        send_resolve(c, a.domain);
        break;
    case SCHED_OPEN:
    case SCHED_WORK:
        send_work(c, &a);
        break;
    case SCHED_CLOSE:
        send_close(c, &a);
        break;
    case SCHED_LATE:
        if (bounce_is_due(c, a.job.rcpts[0]))
            bounce_wanted(c, a.job.message->id);
        break;
    case SCHED_EXPIRE:
        expire(c, &a);
        break;
    }
    return true;
}

/* Life of the core, its actions, and what it is told. */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <errno.h>

/* --- life
 * -------------------------------------------------------------------------------------------- */

/* Active at the crash is queued again: whether it arrived nobody knows, so it is sent again
 * (promise 4). */
static void take_in(struct core *c, struct message *m)
{
    bool due = false;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        struct recipient *r = &m->rcpts[i];
        due = due || bounce_is_due(c, r);
        if (r->state == RCPT_HELD) {
            c->n_held++;
        } else if (r->state == RCPT_QUEUED) {
            r->due = skew_due(c, r);
            sched_add(c->sched, r);
        }
        metric_add(M_QUEUED, !rcpt_state_final(r->state));
    }
    if (due)
        bounce_wanted(c, m->id);
}

struct core *core_new(struct spool *spool, const struct core_conf *conf, struct wall now,
                      struct mono mono)
{
    struct core *c = must_alloc(sizeof *c);
    c->spool = spool;
    c->retry = conf->retry;
    c->widest = conf->widest.n ? conf->widest : conf->retry;
    c->lifetime_s = conf->lifetime_s;
    c->delay_warning_s = conf->delay_warning_s;
    c->report_policy = conf->report_policy;
    c->reports.senders = limit_new();
    c->reports.users = limit_new();
    c->overdue_at = c->room_again = MONO_NEVER;
    rng_seed(&c->rng, conf->seed);
    core_set_loops(c, conf->loops);
    sched_set_warning(c->sched, c->delay_warning_s);
    core_time(c, now, mono);
    struct message *m = NULL;
    for (uint64_t id = 0; (m = spool_after(spool, id)); id = m->id)
        take_in(c, m);
    return c;
}

void core_set_loops(struct core *c, unsigned loops)
{
    MUST(!c->jobs);
    loops = loops ? loops : 1;
    if (!c->sched) {
        c->sched = sched_new(loops, rng_next(&c->rng));
        c->loops = loops;
    } else if (loops != c->loops) {
        c->loops = loops;
        sched_set_loops(c->sched, loops);
    }
}

static void action_free(struct core *c, struct core_action *a)
{
    switch (a->act) {
    case CORE_SEND:
        spooler_order_free(a->msg);
        break;
    case CORE_ANSWER:
        spooler_request_free(a->msg);
        break;
    case CORE_READ:
        core_read_free(c, a->read);
        break;
    case CORE_BATCH:
    case CORE_TASK:
        UNREACHABLE(); /* never queued */
    }
}

void core_free(struct core *c)
{
    struct queued_action *a, *next_action;
    struct wait *w, *next_wait;
    if (!c)
        return;
    DL_FOREACH_SAFE (c->actions, a, next_action) {
        action_free(c, &a->action);
        free(a);
    }
    DL_FOREACH_SAFE (c->waits, w, next_wait)
        wait_free(w);
    if (c->pause.msg)
        spooler_request_free(&c->pause.msg->msg);
    work_free(c);
    bounce_free(c);
    limit_free(c->reports.senders);
    limit_free(c->reports.users);
    admin_drop(c);
    act_free_all(c);
    sched_free(c->sched);
    free(c);
}

void core_time(struct core *c, struct wall now, struct mono mono)
{
    c->now = now;
    c->mono = mono;
    c->asked.had_turn = false;
    c->settled_turn = 0;
    skew_watch(c);
    skew_step(c);
}

void core_set_full(struct core *c, const char *why)
{
    c->full = why;
}

void core_set_coming(struct core *c, uint64_t n)
{
    c->gather.coming = n;
}

void core_suspend(struct core *c, char *const *names, size_t n)
{
    struct slice *list = must_alloc((n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = slice_str(names[i]);
    sched_suspend(c->sched, list, n);
    free(list);
}

void core_set_events(struct core *c, void (*fn)(void *ctx, const struct event *e), void *ctx)
{
    c->event_fn = fn;
    c->event_ctx = ctx;
}

/* --- actions
 * ----------------------------------------------------------------------------------------- */

void core_push(struct core *c, struct core_action a)
{
    struct queued_action *q = must_alloc(sizeof *q);
    q->action = a;
    DL_APPEND(c->actions, q);
}

void core_answer(struct core *c, struct msg *m, const struct port *reply)
{
    core_push(c, (struct core_action){.act = CORE_ANSWER, .msg = m, .reply = reply});
}

unsigned core_loop_of(const struct core *c, struct slice key)
{
    return spooler_loop_of(key, c->loops);
}

/* How many stores are on their way, about: what clients are handing in; and, just behind a batch,
 * what was on its way when that began, and what its clients will hand in next. */
static uint64_t expected(const struct core *c)
{
    const bool more = c->gather.due > c->gather.coming;
    return more && !mono_reached(c->gather.due_until, c->mono) ? c->gather.due : c->gather.coming;
}

/* Done-marks that nobody waits for. When stores come together, one that takes them along is near.
 */
static bool may_wait(const struct core *c)
{
    const bool few = c->lazy.n < CORE_LAZY_MAX || (c->gather.pays && expected(c) > 0);
    return c->lazy.n > 0 && few && !c->lazy.urgent && !mono_reached(c->lazy.until, c->mono);
}

/* Stores wait for others, until two thirds of all that are on their way have come. */
static bool gathers(const struct core *c)
{
    return c->gather.pays && c->gather.waiting > 0 && c->gather.waiting < CORE_GATHER_MAX &&
           c->gather.waiting < 2 * expected(c) && !mono_reached(c->gather.until, c->mono);
}

static bool next_batch(struct core *c, struct core_action *ret)
{
    if (c->batch_out || !mono_reached(c->batch_not_before, c->mono) || may_wait(c) || gathers(c))
        return false;
    struct core_batch *b = core_batch_take(c);
    if (!b)
        return false;
    *ret = (struct core_action){.act = CORE_BATCH, .batch = b};
    return true;
}

/* Behind everything else that could be done now. */
static bool next_task(struct core *c, struct core_action *ret)
{
    if (c->task_out || !mono_reached(c->task_not_before, c->mono))
        return false;
    struct spool_task *task = spool_task_take(c->spool, trouble_is(c));
    c->task_out = task != NULL;
    *ret = (struct core_action){.act = CORE_TASK, .task = task};
    return task;
}

void core_task_done(struct core *c, struct spool_task *task)
{
    c->task_out = false;
    if (!spool_task_end(c->spool, task))
        c->task_not_before = mono_add(c->mono, CORE_TASK_AGAIN_MS);
}

static bool next_queued(struct core *c, struct core_action *ret)
{
    struct queued_action *q = c->actions;
    if (!q)
        return false;
    *ret = q->action;
    DL_DELETE(c->actions, q);
    free(q);
    return true;
}

static void end_pause(struct core *c)
{
    struct spooler_control *m = c->pause.msg;
    if (!m || (c->n_active > 0 && !mono_reached(c->pause.until, c->mono)))
        return;
    c->pause.msg = NULL;
    core_answer(c, &m->msg, m->reply);
}

bool core_next(struct core *c, struct core_action *ret)
{
    do {
        end_pause(c);
        intake_overdue(c);
        trouble_look(c);
        /* The disk first: it works while the answers are handed out. */
        if (next_batch(c, ret) || next_queued(c, ret))
            return true;
    } while (durable_step(c) ||
             (!trouble_is(c) && (bounce_step(c) || (!c->paused && work_step(c)))) || admin_step(c));
    return next_queued(c, ret) || next_task(c, ret);
}

bool core_has_more(const struct core *c)
{
    return c->landed || c->actions;
}

void core_deadline(const struct core *c, struct wall *ret_wall, struct mono *ret_mono)
{
    *ret_wall = WALL_NEVER;
    *ret_mono = MONO_NEVER;
    bool trouble = trouble_is(c);
    if (!c->paused && !trouble)
        sched_deadline(c->sched, ret_wall, ret_mono);
    *ret_mono = mono_min(*ret_mono, mono_min(c->overdue_at, c->room_again));
    const struct heap_entry *bounce = heap_top(&c->bounce_times);
    if (bounce && !trouble)
        *ret_mono = mono_min(*ret_mono, (struct mono){bounce->key});
    if (c->pause.msg)
        *ret_mono = mono_min(*ret_mono, c->pause.until);
    if (c->skew.walking || c->landed)
        *ret_mono = c->mono;
    *ret_mono = mono_min(*ret_mono, admin_deadline(c));
    if (!c->task_out && !mono_reached(c->task_not_before, c->mono))
        *ret_mono = mono_min(*ret_mono, c->task_not_before);
    if (!c->batch_out && !mono_reached(c->batch_not_before, c->mono))
        *ret_mono = mono_min(*ret_mono, c->batch_not_before);
    if (!c->batch_out && gathers(c))
        *ret_mono = mono_min(*ret_mono, c->gather.until);
    if (!c->batch_out && may_wait(c))
        *ret_mono = mono_min(*ret_mono, c->lazy.until);
}

/* --- changes
 * ----------------------------------------------------------------------------------------- */

void core_fresh_drop(struct core *c, struct message *m)
{
    if (!m->body)
        return;
    if (m->durable) { /* before, it is on its way and not counted */
        MUST(c->fresh_bytes >= m->body->n);
        c->fresh_bytes -= m->body->n;
    }
    body_unref(m->body);
    m->body = NULL;
}

/* Counts what the changes do; what is final and told leaves the index when its record is durable.
 */
uint64_t core_change(struct core *c, struct message *m, const struct rcpt_change *changes, size_t n,
                     const struct spool_event_in *events)
{
    bool due = false;
    for (size_t i = 0; i < n; i++) {
        const struct rcpt_change *ch = &changes[i];
        enum rcpt_state before = (enum rcpt_state)m->rcpts[ch->rcpt].state;
        if (ch->state == RCPT_HELD && before != RCPT_HELD)
            c->n_held++;
        else if (ch->state != RCPT_HELD && before == RCPT_HELD)
            c->n_held--;
        metric_add(M_QUEUED, rcpt_state_final(before) - rcpt_state_final(ch->state));
    }
    uint64_t number = spool_change(c->spool, m, changes, n, c->now, events, n);
    c->last_number = number;
    for (size_t i = 0; i < n; i++)
        due = due || bounce_is_due(c, &m->rcpts[changes[i].rcpt]);
    if (c->lazy.n++ == 0)
        c->lazy.until = mono_add(c->mono, CORE_LAZY_MS);
    if (m->n_left == 0)
        core_fresh_drop(c, m);
    if (due)
        core_wait(c, &(struct wait){.number = number, .kind = WAIT_BOUNCE, .id = m->id});
    else
        bounce_poke(c, m->id);
    return number;
}

void core_change_untold(struct core *c, struct message *m, const struct rcpt_change *changes,
                        size_t n)
{
    c->last_number = spool_change(c->spool, m, changes, n, c->now, NULL, 0);
    if (c->lazy.n++ == 0)
        c->lazy.until = mono_add(c->mono, CORE_LAZY_MS);
    if (m->n_left == 0)
        core_fresh_drop(c, m);
}

/* --- reading
 * ------------------------------------------------------------------------------------------ */

struct core_read *core_read_new(struct core *c, enum read_kind kind, const struct message *m,
                                uint64_t offset, size_t n)
{
    struct core_read *r = must_alloc(sizeof *r);
    r->kind = kind;
    r->read = spool_read_new(c->spool, m, offset, n);
    return r;
}

void core_read_run(struct core_read *r)
{
    r->error = r->read ? spool_read_run(r->read, &r->body) : -ENOENT;
}

void core_read_free(struct core *c, struct core_read *r)
{
    if (r->read)
        spool_read_free(c->spool, r->read);
    body_unref(r->body);
    if (r->asked)
        spooler_request_free(&r->asked->msg);
    if (r->work)
        spooler_order_free(&r->work->msg);
    if (r->dsn)
        spooler_order_free(&r->dsn->msg);
    free(r);
}

static void asked_done(struct core *c, struct core_read *r)
{
    struct spooler_read *q = TAKE_PTR(r->asked);
    q->error = r->error;
    q->body = r->error < 0 ? NULL : TAKE_PTR(r->body);
    core_answer(c, &q->msg, q->reply);
}

void core_read_done(struct core *c, struct core_read *r)
{
    switch (r->kind) {
    case READ_ASKED:
        asked_done(c, r);
        break;
    case READ_WORK:
        work_read_done(c, r);
        break;
    case READ_BOUNCE:
        bounce_read_done(c, r);
        break;
    }
    core_read_free(c, r);
}

static void read_asked(struct core *c, struct spooler_read *q)
{
    struct message *m = spool_find(c->spool, q->id);
    q->body = NULL;
    q->error = m ? 0 : -ENOENT;
    if (m && m->body && q->offset == 0 && q->n >= m->body->n)
        q->body = body_ref(m->body);
    if (!m || q->body) {
        core_answer(c, &q->msg, q->reply);
        return;
    }
    struct core_read *r = core_read_new(c, READ_ASKED, m, q->offset, q->n);
    r->asked = q;
    core_push(c, (struct core_action){.act = CORE_READ, .read = r});
}

/* --- requests
 * ------------------------------------------------------------------------------------------ */

void core_answer_durable(struct core *c, uint64_t number, struct msg *m, const struct port *reply)
{
    if (number <= spool_durable(c->spool))
        core_answer(c, m, reply);
    else
        core_wait(c,
                  &(struct wait){.number = number, .kind = WAIT_ANSWER, .msg = m, .reply = reply});
}

static void control(struct core *c, struct spooler_control *m)
{
    switch (m->what) {
    case SPOOLER_PAUSE:
        if (c->pause.msg) /* an earlier asker need not wait longer */
            core_answer(c, &c->pause.msg->msg, c->pause.msg->reply);
        c->paused = true;
        c->pause.msg = m;
        c->pause.until = mono_add(c->mono, CORE_PAUSE_MS);
        return;
    case SPOOLER_FLUSH:
        core_answer_durable(c, c->last_number, &m->msg, m->reply);
        return;
    case SPOOLER_RECONFIGURE:
        c->retry = m->retry;
        c->widest = m->widest.n ? m->widest : m->retry;
        c->lifetime_s = m->lifetime_s;
        c->delay_warning_s = m->delay_warning_s;
        c->report_policy = m->report_policy;
        sched_set_warning(c->sched, c->delay_warning_s);
        sched_forget_plans(c->sched);
        core_answer(c, &m->msg, m->reply);
        return;
    case SPOOLER_LET_GO:
        admin_let_go(c);
        core_answer(c, &m->msg, m->reply);
        return;
    }
}

void core_message(struct core *c, struct msg *m)
{
    void *v = m;
    switch ((enum spooler_type)m->type) {
    case SPOOLER_STORE:
        admin_mail(c);
        intake_store(c, v);
        return;
    case SPOOLER_NOTE:
        intake_note(c, v);
        break;
    case SPOOLER_READ:
        read_asked(c, v);
        return;
    case SPOOLER_PLAN:
        work_plan(c, v);
        break;
    case SPOOLER_RESULT:
        admin_mail(c);
        work_result(c, v);
        break;
    case SPOOLER_CONN_GONE:
        work_conn_gone(c, ((struct spooler_conn_gone *)v)->conn);
        break;
    case SPOOLER_AHEAD:
        sched_conn_ahead(c->sched, ((struct spooler_ahead *)v)->conn);
        break;
    case SPOOLER_KEPT:
        spool_events_kept(c->spool, ((struct spooler_kept *)v)->seq);
        break;
    case SPOOLER_SUSPEND:
        core_suspend(c, ((struct spooler_suspend *)v)->names, ((struct spooler_suspend *)v)->n);
        break;
    case SPOOLER_ADMIN:
        admin_ask(c, v);
        return;
    case SPOOLER_CONTROL:
        control(c, v);
        return;
    case SPOOLER_EXPORT:
        export_run(c, v);
        return;
    case SPOOLER_SITE:
        site_run(c, v);
        return;
    case SPOOLER_BODY:
    case SPOOLER_CHECK:
    case SPOOLER_AGAIN:
        UNREACHABLE(); /* the rim's */
    }
    spooler_request_free(m);
}

/*
 * The rim of the core: its threads, its clock. Two threads take turns at the core: who finds a
 * batch to be written writes and syncs it, and the other one has the turn meanwhile. Three helpers,
 * so that no small commit stands behind a large sync or a read: `bodies` writes large content,
 * `reads` reads (and looks at the free space), `keeper` does the spool's housekeeping.
 */
#include "relay/spooler/spooler.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/loop/crew.h"
#include "relay/spooler/advice.h"
#include "relay/spooler/again.h"
#include "relay/spooler/bodies.h"
#include "relay/spooler/check.h"
#include "relay/spooler/core.h"
#include "relay/spooler/damage.h"
#include "relay/spooler/ids.h"
#include "relay/spooler/requests.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_MS = 1000, CREW = 2 };

struct commit_job {
    struct worker_job job;
    struct core_batch *batch;
};
struct read_job {
    struct worker_job job;
    struct core_read *read;
};
struct task_job {
    struct worker_job job;
    struct spool_task *task;
};
struct body_job {
    struct worker_job job;
    struct bodies *bodies;
    struct spooler_body *step;
};
struct space_job {
    struct worker_job job;
    const struct file_ops *fs;
    int64_t free_bytes, free_files;
};

struct spooler {
    struct crew *crew;
    struct port port, commit_port, read_port, task_port, body_port, space_port, check_port,
        again_port;
    struct worker *bodies_worker, *reads, *keeper;
    struct mono next_tick;
    struct file_ops *fs;
    struct spool *spool;
    struct core *core;
    struct bodies *bodies;
    struct checker checker;
    struct again again;
    const struct port **outbound;
    unsigned n_outbound;
    uint64_t min_free_bytes;
    struct marks_conf marks_conf;
    struct marks marks;
    int64_t sync_delay_ms; /* the test hook: at most one batch is out, so one may be delayed */
    struct commit_job *delayed;
    struct mono delayed_until;
    bool space_asked, failing;
    const char *full; /* as last told to the core */
    struct damage damage;
    atomic_bool log_full; /* told by others */
    atomic_int accepting; /* core_accepting, and the marks, for other threads */
    _Atomic(const char *) above;
};

/* --- helpers
 * --------------------------------------------------------------------------------------------- */

static void answer(void *ctx, const struct port *reply, struct msg *m)
{
    (void)ctx;
    if (reply)
        port_send(reply, m);
    else
        spooler_request_free(m);
}

static void commit_run(struct worker_job *j)
{
    core_batch_run(((struct commit_job *)(void *)j)->batch, answer, NULL);
}

static void read_run(struct worker_job *j)
{
    core_read_run(((struct read_job *)(void *)j)->read);
}

static void task_run(struct worker_job *j)
{
    spool_task_run(((struct task_job *)(void *)j)->task);
}

static void body_run(struct worker_job *j)
{
    struct body_job *job = (struct body_job *)(void *)j;
    bodies_step(job->bodies, job->step);
}

static void space_run(struct worker_job *j)
{
    struct space_job *job = (struct space_job *)(void *)j;
    job->free_bytes = job->fs->free_bytes(job->fs->ctx);
    job->free_files = job->fs->free_files(job->fs->ctx);
}

static void push_commit(struct spooler *s, struct core_batch *batch)
{
    struct commit_job *job = must_alloc(sizeof *job);
    job->job.run = commit_run;
    job->job.reply = &s->commit_port;
    job->batch = batch;
    if (s->sync_delay_ms > 0) {
        s->delayed = job;
        s->delayed_until = mono_add(mono_now(), s->sync_delay_ms);
    } else {
        crew_leave(s->crew, &job->job);
    }
}

static void push_read(struct spooler *s, struct core_read *read)
{
    struct read_job *job = must_alloc(sizeof *job);
    job->job.run = read_run;
    job->job.reply = &s->read_port;
    job->read = read;
    worker_push(s->reads, &job->job);
}

static void push_task(struct spooler *s, struct spool_task *task)
{
    struct task_job *job = must_alloc(sizeof *job);
    job->job.run = task_run;
    job->job.reply = &s->task_port;
    job->task = task;
    worker_push(s->keeper, &job->job);
}

static void push_body(struct spooler *s, struct spooler_body *step)
{
    struct body_job *job = must_alloc(sizeof *job);
    job->job.run = body_run;
    job->job.reply = &s->body_port;
    job->bodies = s->bodies;
    job->step = step;
    worker_push(s->bodies_worker, &job->job);
}

static void push_space(struct spooler *s)
{
    if (s->space_asked)
        return;
    struct space_job *job = must_alloc(sizeof *job);
    job->job.run = space_run;
    job->job.reply = &s->space_port;
    job->fs = s->fs;
    s->space_asked = true;
    worker_push(s->reads, &job->job);
}

/* --- the core's actions
 * ---------------------------------------------------------------------------------- */

static void act(struct spooler *s, const struct core_action *a)
{
    switch (a->act) {
    case CORE_SEND:
        MUST(a->loop < s->n_outbound);
        port_send(s->outbound[a->loop], a->msg);
        break;
    case CORE_ANSWER:
        answer(s, a->reply, a->msg);
        break;
    case CORE_BATCH:
        push_commit(s, a->batch);
        break;
    case CORE_READ:
        push_read(s, a->read);
        break;
    case CORE_TASK:
        push_task(s, a->task);
        break;
    }
}

static void set_time(struct spooler *s)
{
    core_time(s->core, wall_now(), mono_now());
}

/* The wall clock may be set at any time: the tick looks again within a second. */
static struct mono next_wake(const struct spooler *s)
{
    struct wall wall, now = wall_now();
    struct mono mono, mono_is = mono_now();
    core_deadline(s->core, &wall, &mono);
    mono = mono_min(mono, s->next_tick);
    if (s->delayed)
        mono = mono_min(mono, s->delayed_until);
    if (wall.us <= now.us)
        return mono_is;
    int64_t wait_ms = (wall.us - now.us) / 1000 + 1;
    return wait_ms < TICK_MS ? mono_min(mono, mono_add(mono_is, wait_ms)) : mono;
}

/* A line when writing begins to fail, and one when it works again. */
static void say_disk(struct spooler *s)
{
    struct spooler_disk disk;
    core_disk(s->core, &disk);
    bool failing = disk.error[0];
    if (failing == s->failing)
        return;
    s->failing = failing;
    if (failing)
        LOG(LV_ERROR, "spool_write_failed", LOG_S("error", disk.error));
    else
        LOG(LV_INFO, "spool_write_recovered", LOG_N("seq", spool_last_seq(s->spool)));
}

static uint64_t gauge(enum metric m)
{
    const int64_t n = metric_get(m);
    return n > 0 ? (uint64_t)n : 0;
}

/* A line when a mark is passed, and one when accepting goes on. */
static void look_at_marks(struct spooler *s)
{
    uint64_t messages, memory;
    core_weight(s->core, &messages, &memory);
    const uint64_t sessions = gauge(M_SESSIONS_IN_OPEN), tls = gauge(M_SESSIONS_IN_TLS);
    memory += gauge(M_INTAKE_BYTES) + tls * MARKS_SESSION_TLS +
              (sessions > tls ? sessions - tls : 0) * MARKS_SESSION;
    if (!marks_look(&s->marks, &s->marks_conf, messages, memory))
        return;
    const char *why = marks_why(&s->marks);
    atomic_store(&s->above, why);
    LOG(why ? LV_ERROR : LV_INFO, why ? "mark_passed" : "mark_over",
        LOG_S("reason", why ? why : "below nine tenths again"), LOG_N("messages", messages),
        LOG_N("memory", memory));
}

static void tell_accepting(struct spooler *s)
{
    int disk = core_accepting(s->core);
    if (disk == 0 && atomic_load(&s->log_full))
        disk = -ENOSPC;
    look_at_marks(s);
    atomic_store(&s->accepting, disk < 0 ? disk : marks_error(&s->marks));
}

/* What the rim itself does by the clock. */
static void look_at_clock(struct spooler *s, struct mono now)
{
    if (mono_reached(s->next_tick, now)) {
        s->next_tick = mono_add(now, TICK_MS);
        push_space(s);
        checker_look(&s->checker, now);
    }
    if (s->delayed && mono_reached(s->delayed_until, now))
        crew_leave(s->crew, &TAKE_PTR(s->delayed)->job);
}

/* When messages have been handled, and when the time has come: everything the core wants done now.
 */
static void turn(void *ctx)
{
    struct spooler *s = ctx;
    struct core_action a;
    look_at_clock(s, mono_now());
    set_time(s);
    core_set_coming(s->core, gauge(M_MESSAGES_COMING));
    bool leaving = false;
    while (!leaving && core_next(s->core, &a)) {
        act(s, &a);
        /* The disk first: the rest is the next one's. */
        leaving = a.act == CORE_BATCH && core_has_more(s->core);
    }
    say_disk(s);
    tell_accepting(s);
    crew_wake_at(s->crew, leaving ? mono_now() : next_wake(s));
}

/* --- what arrives
 * ---------------------------------------------------------------------------------------- */

/* What is the rim's of new defaults. */
static void reconfigure(struct spooler *s, const struct spooler_control *c)
{
    if (c->what != SPOOLER_RECONFIGURE)
        return;
    s->min_free_bytes = c->min_free_bytes;
    s->marks_conf = c->marks;
}

static void on_request(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    if (m->type == SPOOLER_BODY) {
        push_body(s, (struct spooler_body *)(void *)m);
        return;
    }
    if (m->type == SPOOLER_CHECK) {
        checker_request(&s->checker, (struct spooler_check *)(void *)m);
        return;
    }
    if (m->type == SPOOLER_AGAIN) {
        again_request(&s->again, (struct spooler_again *)(void *)m);
        return;
    }
    if (m->type == SPOOLER_CONTROL)
        reconfigure(s, (const struct spooler_control *)(const void *)m);
    set_time(s);
    core_message(s->core, m);
}

static void on_commit(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    struct commit_job *job = (struct commit_job *)(void *)m;
    struct err e = {0};
    set_time(s);
    core_batch_done(s->core, job->batch, &e);
    say_disk(s);
    free(job);
}

static void on_read(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    struct read_job *job = (struct read_job *)(void *)m;
    set_time(s);
    core_read_done(s->core, job->read);
    free(job);
}

static void on_check(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    checker_back(&s->checker, m, mono_now());
}

static void on_again(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    again_back(&s->again, m);
}

static void on_task(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    struct task_job *job = (struct task_job *)(void *)m;
    set_time(s);
    core_task_done(s->core, job->task);
    free(job);
}

/* A file given up after it was finished is known to nobody but its name. */
static void on_body(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    struct body_job *job = (struct body_job *)(void *)m;
    struct spooler_body *step = job->step;
    if (step->step == SPOOLER_BODY_ABANDON)
        spool_body_forget(s->spool, step->id);
    free(job);
    if (step->reply)
        port_send(step->reply, &step->msg);
    else
        spooler_request_free(&step->msg);
}

static void on_space(void *ctx, struct msg *m)
{
    struct spooler *s = ctx;
    int64_t bytes = ((struct space_job *)(void *)m)->free_bytes,
            files = ((struct space_job *)(void *)m)->free_files;
    free(m);
    s->space_asked = false;
    const char *full = trouble_no_room(bytes, files, s->min_free_bytes, s->full);
    if (!full != !s->full)
        LOG(full ? LV_ERROR : LV_INFO, full ? "spool_full" : "spool_has_room",
            LOG_N("free_bytes", bytes), LOG_N("min_free_bytes", s->min_free_bytes),
            LOG_N("free_inodes", files));
    s->full = full;
    core_set_full(s->core, full);
}

int spooler_accepting(const struct spooler *s)
{
    return atomic_load(&s->accepting);
}

void spooler_log_full(struct spooler *s, bool full)
{
    atomic_store(&s->log_full, full);
}

const char *spooler_above(const struct spooler *s)
{
    return atomic_load(&s->above);
}

/* --- life */

static int open_spool(struct spooler *s, const struct spooler_conf *c, struct spool_report *report,
                      struct err *e)
{
    int error = 0;
    s->fs = file_posix_new(c->path, &error);
    if (!s->fs)
        return err_set(e, error < 0 ? error : -error, "cannot open the spool folder %s: %s",
                       c->path, strerror(error < 0 ? -error : error));
    struct spool_options o = {.segment_bytes = c->segment_bytes,
                              .lifetime_s = c->lifetime_s,
                              .node = c->node,
                              .seq_after = c->seq_after,
                              .say = damage_say,
                              .say_ctx = &s->damage};
    int rc = spool_open(&s->spool, s->fs, &o, report, e);
    return rc < 0 ? advice_explain(e, rc, c->path) : rc;
}

static void listen_all(struct spooler *s)
{
    s->crew = crew_new("spooler", CREW, turn, s);
    struct inbox *inbox = crew_inbox(s->crew);
    s->port = (struct port){inbox, on_request, s};
    s->commit_port = (struct port){inbox, on_commit, s};
    s->read_port = (struct port){inbox, on_read, s};
    s->task_port = (struct port){inbox, on_task, s};
    s->check_port = (struct port){inbox, on_check, s};
    s->again_port = (struct port){inbox, on_again, s};
    s->body_port = (struct port){inbox, on_body, s};
    s->space_port = (struct port){inbox, on_space, s};
}

int spooler_new(struct spooler **ret, const struct spooler_conf *c, struct spool_report *ret_report,
                struct err *e)
{
    struct spooler *s = must_alloc(sizeof *s);
    struct spool_report report = {0};
    int rc = open_spool(s, c, &report, e);
    if (rc < 0) {
        damage_drop(&s->damage);
        if (s->fs)
            file_posix_free(s->fs);
        free(s);
        return rc;
    }
    s->min_free_bytes = c->min_free_bytes;
    s->marks_conf = c->marks;
    s->sync_delay_ms = c->sync_delay_ms;
    listen_all(s);
    struct core_conf conf = {.retry = c->retry,
                             .widest = c->widest,
                             .lifetime_s = c->lifetime_s,
                             .delay_warning_s = c->delay_warning_s,
                             .report_policy = c->report_policy,
                             .loops = 1};
    rand_bytes(&conf.seed, sizeof conf.seed);
    s->core = core_new(s->spool, &conf, wall_now(), mono_now());
    s->bodies = bodies_new(s->fs);
    s->checker = (struct checker){.spool = s->spool, .back = &s->check_port};
    s->again = (struct again){.spool = s->spool, .damage = &s->damage, .back = &s->again_port};
    ids_start_above(spool_last_id(s->spool));
    damage_opened(&s->damage, &s->port, report.damaged);
    *ret_report = report;
    *ret = s;
    return 0;
}

void spooler_set_outbound(struct spooler *s, const struct port *const *ports, unsigned n)
{
    s->outbound = must_realloc(s->outbound, n * sizeof(const struct port *));
    for (unsigned i = 0; i < n; i++)
        s->outbound[i] = ports[i];
    s->n_outbound = n;
    core_set_loops(s->core, n);
}

void spooler_set_events(struct spooler *s, void (*fn)(void *ctx, const struct event *e), void *ctx)
{
    core_set_events(s->core, fn, ctx);
}

void spooler_set_suspended(struct spooler *s, char *const *names, size_t n)
{
    core_suspend(s->core, names, n);
}

int spooler_replay(struct spooler *s, uint64_t after, void (*fn)(void *ctx, const struct event *e),
                   void *ctx)
{
    return spool_each_event(s->spool, after, fn, ctx);
}

const struct port *spooler_port(struct spooler *s)
{
    return &s->port;
}

int spooler_start(struct spooler *s)
{
    MUST(s->n_outbound > 0);
    s->bodies_worker = worker_new("bodies");
    s->reads = worker_new("reads");
    s->keeper = worker_new_patient("keeper");
    crew_wake_at(s->crew, mono_now()); /* what recovery found due goes out */
    return crew_start(s->crew);
}

/* After the threads have ended: results and notes still count, questions find nobody to ask. */
static void handle_late(struct msg *m)
{
    struct spooler *s = m->to->ctx;
    if (m->to == &s->port && m->type == SPOOLER_CHECK) /* its next step would find no helper */
        ((struct spooler_check *)(void *)m)->give_up = true;
    if (m->to == &s->port && (m->type == SPOOLER_BODY || m->type == SPOOLER_AGAIN))
        spooler_request_free(m);
    else if (m->to == &s->body_port)
        on_body(s, m);
    else
        m->to->fn(s, m);
}

static void last_flush(struct spooler *s)
{
    struct core_batch *b;
    core_settle(s->core);
    for (int tries = 0; tries < 3 && (b = core_batch_take(s->core));) {
        struct err e = {0};
        core_batch_run(b, answer, NULL);
        int rc = core_batch_done(s->core, b, &e);
        core_settle(s->core);
        say_disk(s);
        tries = rc < 0 ? tries + 1 : 0;
    }
}

static void end_delayed(struct spooler *s)
{
    struct commit_job *job = TAKE_PTR(s->delayed);
    commit_run(&job->job);
    on_commit(s, &job->job.msg);
}

void spooler_free(struct spooler *s)
{
    if (!s)
        return;
    crew_end(s->crew);
    if (s->delayed)
        end_delayed(s);
    worker_free(s->bodies_worker);
    worker_free(s->reads);
    worker_free(s->keeper);
    checker_stop(&s->checker);
    again_stop(&s->again);
    crew_free(s->crew, handle_late);
    last_flush(s);
    bodies_free(s->bodies);
    core_free(s->core);
    spool_close(s->spool);
    file_posix_free(s->fs);
    free(s->outbound);
    free(s);
}

/* Time, disk, power, and everything the core asks its rim for. */
#include "queue/id.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "tests/sim/sim.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define MS INT64_C(1000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)
#define LIFETIME_S (24 * 3600)
/* By then everything has been delivered or has expired, even if the clock was set back twice. */
#define END_US (140 * HOUR)

uint64_t sim_below(struct sim *s, uint64_t n)
{
    return rng_below(&s->rng, n);
}

bool sim_chance(struct sim *s, unsigned percent)
{
    return sim_below(s, 100) < percent;
}

struct wall sim_wall(const struct sim *s)
{
    return (struct wall){s->now_us + s->set_us};
}

struct mono sim_mono(const struct sim *s)
{
    return (struct mono){(s->now_us - s->start_us) / MS + 1};
}

__attribute__((format(printf, 3, 0))) static void print_line(const struct sim *s, const char *what,
                                                             const char *fmt, va_list ap)
{
    printf("seed %llu %12.6f %s", (unsigned long long)s->seed,
           (double)(s->now_us - s->start_us) / 1e6, what);
    vprintf(fmt, ap);
    putchar('\n');
}

void sim_say(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (s->verbose)
        print_line(s, "", fmt, ap);
    va_end(ap);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    print_line(s, "BROKEN: ", fmt, ap);
    va_end(ap);
    s->failed = true;
}

/* --- timers
 * -------------------------------------------------------------------------------------------------
 */

struct timer *sim_after(struct sim *s, int64_t us, enum timer_kind kind, void *p)
{
    struct timer *t = must_alloc(sizeof *t);
    t->kind = kind;
    t->p = p;
    heap_set(&s->timers, &t->heap_index, s->now_us + us);
    return t;
}

void sim_cancel(struct sim *s, struct timer *t)
{
    if (!t)
        return;
    heap_drop(&s->timers, &t->heap_index);
    free(t);
}

/* One sender's messages arrive in order; here all are one sender's. */
void sim_request(struct sim *s, struct msg *m, enum spooler_type type)
{
    m->type = type;
    int64_t at = s->now_us + (int64_t)sim_below(s, 500);
    s->last_message_us = at > s->last_message_us ? at : s->last_message_us + 1;
    sim_after(s, s->last_message_us - s->now_us, T_MESSAGE, m);
}

struct sim_message *sim_message_new(struct sim *s)
{
    MUST(s->n_messages < SIM_MESSAGES_MAX);
    struct sim_message *m = &s->messages[s->n_messages];
    m->number = s->n_messages++;
    m->content = BUF_MAX(1u << 20);
    m->asked.tags = m->asked.route = "";
    return m;
}

struct sim_message *sim_find(struct sim *s, uint64_t id)
{
    for (unsigned i = 0; i < s->n_messages; i++)
        if (s->messages[i].id == id)
            return &s->messages[i];
    return NULL;
}

/* --- actions of the core
 * ------------------------------------------------------------------------------------- */

static void mark_in_flight(struct sim *s, const struct out_work *w)
{
    struct sim_message *m = sim_find(s, w->message_id);
    for (size_t i = 0; m && i < w->n; i++)
        m->sent[w->rcpts[i]]++;
}

static int64_t sync_time(struct sim *s)
{
    bool stuck = sim_chance(s, 1), slow = sim_chance(s, 5);
    return (int64_t)sim_below(s, (uint64_t)(stuck ? 90 * SECOND : slow ? 2 * SECOND : 20 * MS));
}

static void answered(struct sim *s, struct msg *m)
{
    if (m->type == SPOOLER_ADMIN)
        words_answered(s, (const struct spooler_admin *)(const void *)m);
    spooler_request_free(m);
}

static void act(struct sim *s, const struct core_action *a)
{
    bool slow;
    switch (a->act) {
    case CORE_SEND:
        if (a->msg->type == OUT_WORK && s->batch_failed)
            sim_fail(s, "an attempt begins that could not be marked");
        if (a->msg->type == OUT_WORK)
            mark_in_flight(s, (struct out_work *)(void *)a->msg);
        slow = a->msg->type == OUT_DSN && sim_chance(s, 25);
        sim_after(s, (int64_t)sim_below(s, (uint64_t)(slow ? 70 * SECOND : 100 * MS)), T_ORDER,
                  a->msg);
        break;
    case CORE_ANSWER:
        if (a->msg->type == SPOOLER_STORE)
            link_stored(s, (struct spooler_store *)(void *)a->msg);
        else if (a->msg->type == SPOOLER_READ)
            content_read(s, (struct spooler_read *)(void *)a->msg);
        else
            answered(s, a->msg);
        break;
    case CORE_BATCH:
        sim_after(s, sync_time(s), T_COMMIT, a->batch);
        break;
    case CORE_READ:
        sim_after(s, (int64_t)sim_below(s, (uint64_t)(10 * MS)), T_READ, a->read);
        break;
    case CORE_TASK:
        sim_after(s, (int64_t)sim_below(s, (uint64_t)(20 * MS)), T_TASK, a->task);
        break;
    }
}

void sim_pump(struct sim *s)
{
    struct core_action a;
    struct wall wall;
    struct mono mono;
    if (s->dying)
        return;
    core_time(s->core, sim_wall(s), sim_mono(s));
    core_set_coming(s->core, sim_below(s, 4));
    while (core_next(s->core, &a))
        act(s, &a);
    core_deadline(s->core, &wall, &mono);
    int64_t at = wall.us == WALL_NEVER.us ? wall.us : wall.us - s->set_us;
    if (mono.ms != MONO_NEVER.ms && s->start_us + mono.ms * MS < at)
        at = s->start_us + mono.ms * MS;
    if (at == WALL_NEVER.us)
        heap_drop(&s->timers, &s->core_timer.heap_index);
    else
        heap_set(&s->timers, &s->core_timer.heap_index, at > s->now_us ? at : s->now_us + 1);
}

/* --- power
 * ------------------------------------------------------------------------------------------------------
 */

static void on_event(void *ctx, const struct event *e)
{
    struct sim *s = ctx;
    if (!s->dying)
        law_event(s, e, false);
}

static void on_replay(void *ctx, const struct event *e)
{
    law_event(ctx, e, true);
}

static void power_on(struct sim *s)
{
    struct spool_options o = {.segment_bytes = 32 * 1024 + sim_below(s, 64 * 1024),
                              .lifetime_s = LIFETIME_S,
                              .node = SLICE_LIT("sim")};
    struct spool_report report;
    struct err e = {0};
    int rc = spool_open(&s->spool, fake_disk_ops(s->disk), &o, &report, &e);
    if (rc < 0) {
        printf("seed %llu: the spool does not open: %s\n", (unsigned long long)s->seed, e.text);
        abort();
    }
    if (report.damaged && !s->damaged)
        sim_fail(s, "a power cut looks like damage");
    struct core_conf conf = {.retry = {{60, 300, 1800, SIM_PAUSE_MAX_S}, 4, 10},
                             .lifetime_s = LIFETIME_S,
                             .delay_warning_s = 4 * 3600,
                             .loops = 2,
                             .seed = rng_next(&s->rng)};
    s->core = core_new(s->spool, &conf, sim_wall(s), sim_mono(s));
    core_set_events(s->core, on_event, s);
    core_set_full(s->core, s->full ? "no room" : NULL);
    s->batch_failed = false;
    s->bodies = bodies_new(fake_disk_ops(s->disk));
    s->doubtful_files = 0;
    /* An id that was drawn and never stored may be drawn again; the laws find messages by theirs.
     */
    if (spool_last_id(s->spool) > s->last_id)
        s->last_id = spool_last_id(s->spool);
    spool_each_event(s->spool, s->n_log ? s->log[s->n_log - 1].seq : 0, on_replay, s);
    s->dying = false;
    asked_look(s);
    sim_pump(s);
}

/* What was on its way to or from the old process is lost. */
static void drop_timers(struct sim *s)
{
    for (size_t i = 0; i < s->timers.n;) {
        struct timer *t = HEAP_ITEM(&s->timers.entries[i], struct timer, heap_index);
        bool outlives = t->kind == T_SUBMIT || t->kind == T_CRASH || t->kind == T_KEPT ||
                        t->kind == T_CORE || t->kind == T_CLOCK || t->kind == T_OPERATOR ||
                        t->kind == T_LOOK || t->kind == T_ROOM || t->kind == T_FAULT ||
                        t->kind == T_MENDED || t->kind == T_CHECK;
        if (outlives || t->kind == T_LINK) {
            i++;
            continue;
        }
        struct err e;
        if (t->kind == T_MESSAGE) {
            spooler_request_free(t->p);
        } else if (t->kind == T_WORD) {
            free(t->p);
        } else if (t->kind == T_ORDER) {
            spooler_order_free(t->p);
        } else if (t->kind == T_READ) {
            core_read_done(s->core, t->p);
        } else if (t->kind == T_TASK || t->kind == T_TASK_DONE) {
            if (t->kind == T_TASK)
                spool_task_run(t->p);
            core_task_done(s->core, t->p);
        } else if (t->kind == T_COMMIT) {
            core_batch_run(t->p, NULL, NULL);
            core_batch_done(s->core, t->p, &e);
        }
        sim_cancel(s, t);
        i = 0;
    }
}

/* The process ends without a word: nothing of what it still does reaches the disk. */
static void process_dies(struct sim *s)
{
    s->dying = true;
    fake_disk_cut_at(s->disk, fake_disk_steps(s->disk) + 1);
    links_drop_all(s);
    contents_drop_all(s);
    drop_timers(s);
    struct core_action a;
    while (core_next(s->core, &a)) { /* orders and answers that it had ready; batches fail */
        struct err e;
        if (a.act == CORE_SEND) {
            spooler_order_free(a.msg);
        } else if (a.act == CORE_READ) {
            core_read_done(s->core, a.read);
        } else if (a.act == CORE_TASK) {
            spool_task_run(a.task);
            core_task_done(s->core, a.task);
        } else if (a.act == CORE_BATCH) {
            core_batch_run(a.batch, NULL, NULL);
            core_batch_done(s->core, a.batch, &e);
            break;
        } else if (a.msg->type == SPOOLER_STORE) {
            link_stored(s, (struct spooler_store *)(void *)a.msg);
        } else {
            spooler_request_free(a.msg);
        }
    }
    check_ends(s);
    bodies_free(s->bodies);
    core_free(s->core);
    spool_close(s->spool);
    s->core = NULL;
    s->spool = NULL;
}

static void crash(struct sim *s)
{
    static const enum fake_loss losses[] = {FAKE_LOSE_ALL, FAKE_LOSE_NONE, FAKE_LOSE_SOME};
    sim_say(s, "power cut");
    s->crashes++;
    law_in_doubt(s);
    words_lost(s);
    process_dies(s);
    law_lose_log(s);
    fake_disk_power_on(s->disk, losses[sim_below(s, 3)]);
    check_damages(s);
    s->now_us += (int64_t)sim_below(s, (uint64_t)(60 * SECOND));
    power_on(s);
}

/* Either now, or at a chosen operation of the disk within the next ones. */
static void plan_crash(struct sim *s)
{
    if (sim_chance(s, 40)) {
        crash(s);
        return;
    }
    fake_disk_cut_at(s->disk, fake_disk_steps(s->disk) + 1 + sim_below(s, 30));
    sim_say(s, "power cut soon");
}

/* --- what happens at its time
 * ------------------------------------------------------------------------------------ */

static void answered_at_once(void *ctx, const struct port *reply, struct msg *m)
{
    (void)reply;
    link_stored(ctx, (struct spooler_store *)(void *)m);
}

/* As the daemon's helper does it, or as late as a slow thread would. */
static void commit(struct sim *s, struct core_batch *b)
{
    struct err e = {0};
    if (s->faults && sim_chance(s, 3)) {
        s->faults--;
        s->disk_touched = true;
        s->doubtful_files++; /* it may be the removing that fails */
        fake_disk_fail_at(s->disk, fake_disk_steps(s->disk) + 1 + sim_below(s, 4),
                          sim_chance(s, 50) ? -EIO : -ENOSPC);
    }
    core_batch_run(b, sim_chance(s, 80) ? answered_at_once : NULL, s);
    if (fake_disk_is_cut(s->disk)) {
        sim_after(s, 0, T_COMMIT, b); /* ended with the process */
        crash(s);
        return;
    }
    core_time(s->core, sim_wall(s), sim_mono(s));
    s->batch_failed = core_batch_done(s->core, b, &e) < 0;
    if (s->batch_failed)
        sim_say(s, "disk: %s", e.text);
    sim_pump(s);
}

/* Much may happen between the helper's reading and the owner's hearing of it. */
static void task(struct sim *s, struct spool_task *t)
{
    spool_task_run(t);
    sim_after(s, (int64_t)sim_below(s, (uint64_t)(20 * MS)), T_TASK_DONE, t);
    if (fake_disk_is_cut(s->disk))
        crash(s);
}

static void kept(struct sim *s)
{
    struct spooler_kept *k = must_alloc(sizeof *k);
    k->seq = s->kept_seq = s->n_log ? s->log[s->n_log - 1].seq : 0;
    sim_request(s, &k->msg, SPOOLER_KEPT);
    law_not_stuck(s);
    if (s->now_us > s->start_us + 30 * HOUR)
        operator_release_all(s); /* whatever became of the releases asked for */
    sim_after(s, 20 * 60 * SECOND, T_KEPT, NULL);
}

static void submit(struct sim *s)
{
    if (s->to_submit == 0)
        return;
    s->to_submit--;
    struct sim_message *m = sim_message_new(s);
    m->n_rcpts = 1 + (unsigned)sim_below(s, SIM_RCPTS_MAX);
    if (!sim_chance(s, 10))
        snprintf(m->sender, sizeof m->sender, "author%u@x.test", m->number);
    for (unsigned i = 0; i < m->n_rcpts; i++) {
        static const char *const kinds[] = {"good", "good", "good", "bad", "slow"};
        char domain[16] = "nx.test";
        if (!sim_chance(s, 5))
            snprintf(domain, sizeof domain, "%c%u.test", sim_chance(s, 50) ? 'd' : 'e',
                     (unsigned)sim_below(s, SIM_SITES));
        snprintf(m->rcpts[i], sizeof m->rcpts[i], "%s%u.%u@%s", kinds[sim_below(s, 5)], m->number,
                 i, domain);
    }
    asked_choose(s, m);
    link_submit(s, m);
    /* In bursts, so that several wait for one sync. */
    int64_t pause = sim_chance(s, 70) ? 20 * MS : 20 * SECOND;
    sim_after(s, (int64_t)sim_below(s, (uint64_t)pause), T_SUBMIT, NULL);
}

static void fire(struct sim *s, enum timer_kind kind, void *p)
{
    switch (kind) {
    case T_MESSAGE:
        core_time(s->core, sim_wall(s), sim_mono(s));
        core_message(s->core, p);
        sim_pump(s);
        break;
    case T_ORDER:
        sim_order(s, p);
        break;
    case T_COMMIT:
        commit(s, p);
        break;
    case T_READ:
        core_time(s->core, sim_wall(s), sim_mono(s));
        core_read_run(p);
        core_read_done(s->core, p);
        sim_pump(s);
        break;
    case T_TASK:
        task(s, p);
        break;
    case T_TASK_DONE:
        core_time(s->core, sim_wall(s), sim_mono(s));
        core_task_done(s->core, p);
        sim_pump(s);
        break;
    case T_CORE:
        sim_pump(s);
        break;
    case T_LINK:
        link_step(s, p);
        break;
    case T_SUBMIT:
        submit(s);
        break;
    case T_CRASH:
        plan_crash(s);
        break;
    case T_KEPT:
        kept(s);
        break;
    case T_DIE:
        crash(s);
        break;
    case T_CHECK:
        check_begins(s);
        break;
    case T_CHECK_STEP:
        if (!check_goes_on(s))
            crash(s);
        break;
    case T_CLOCK:
        operator_sets_clock(s);
        break;
    case T_OPERATOR:
        operator_acts(s);
        break;
    case T_WORD:
        words_say(s, p);
        break;
    case T_ROOM:
        operator_disk_full(s, false);
        break;
    case T_FAULT:
        operator_disk_fails(s, true);
        break;
    case T_MENDED:
        operator_disk_fails(s, false);
        break;
    case T_LOOK:
        law_not_stuck(s);
        break;
    }
}

static bool quiet(struct sim *s)
{
    struct spool_counts n;
    spool_count(s->spool, &n);
    return n.messages == 0 && s->to_submit == 0 && !s->links &&
           fake_disk_count(s->disk, "body") <= s->doubtful_files;
}

static void run(struct sim *s)
{
    const struct heap_entry *top;
    while (!s->failed && !quiet(s) && (top = heap_top(&s->timers)) &&
           top->key < s->start_us + END_US) {
        struct timer *t = HEAP_ITEM(top, struct timer, heap_index);
        s->now_us = top->key > s->now_us ? top->key : s->now_us;
        enum timer_kind kind = t->kind;
        void *p = t->p;
        if (t == &s->core_timer)
            heap_drop(&s->timers, &t->heap_index);
        else if (kind != T_LINK)
            sim_cancel(s, t);
        fire(s, kind, p);
    }
}

static void sim_done(struct sim *s)
{
    process_dies(s);
    while (s->timers.n) {
        struct timer *t = HEAP_ITEM(heap_top(&s->timers), struct timer, heap_index);
        heap_drop(&s->timers, &t->heap_index);
        if (t != &s->core_timer)
            free(t);
    }
    heap_done(&s->timers);
    fake_disk_free(s->disk);
    for (unsigned i = 0; i < s->n_messages; i++)
        buf_done(&s->messages[i].content);
    free(s->log);
}

bool sim_run(uint64_t seed, bool verbose)
{
    struct sim *s = must_alloc(sizeof *s);
    s->seed = seed;
    s->verbose = verbose;
    rng_seed(&s->rng, seed);
    s->start_us = s->now_us = INT64_C(1800000000) * WALL_SECOND;
    s->core_timer.kind = T_CORE;
    s->disk = fake_disk_new(seed);
    s->to_submit = 5 + (unsigned)sim_below(s, 25) + (sim_chance(s, 20) ? 150 : 0);
    s->faults = sim_chance(s, 30) ? 3 : 0;
    for (int i = 0; i < SIM_SITES; i++)
        if (sim_chance(s, 30))
            s->down_until_us[i] = s->now_us + (int64_t)sim_below(s, (uint64_t)(40 * HOUR));
    power_on(s);
    sim_after(s, 0, T_SUBMIT, NULL);
    sim_after(s, 60 * SECOND, T_KEPT, NULL);
    for (uint64_t n = sim_below(s, 5); n > 0; n--) {
        bool early = sim_chance(s, 70);
        sim_after(s, (int64_t)sim_below(s, (uint64_t)(early ? 90 * SECOND : 20 * HOUR)), T_CRASH,
                  NULL);
    }
    operator_plans(s);
    check_plans(s);
    for (uint64_t n = sim_chance(s, 30) ? 1 + sim_below(s, 3) : 0; n > 0; n--)
        sim_after(s, (int64_t)sim_below(s, (uint64_t)(sim_chance(s, 70) ? 90 * SECOND : HOUR)),
                  T_FAULT, NULL);
    run(s);
    if (!s->failed)
        law_check(s);
    sim_say(s, "%u messages, %u power cuts, %zu events, %llu disk steps, %u last words",
            s->n_messages, s->crashes, s->n_log, (unsigned long long)fake_disk_steps(s->disk),
            s->words_done);
    bool ok = !s->failed;
    sim_done(s);
    free(s);
    return ok;
}

/* Time, the core's rim, and who submits. */
#include "queue/id.h"
#include "relay/base/must.h"
#include "tests/sim/days/days.h"
#include <stdlib.h>

#define CONTENT 120

struct wall days_wall(const struct days *d)
{
    return (struct wall){d->now_us};
}

static struct mono mono_of(const struct days *d)
{
    return (struct mono){1000 + (d->now_us - d->start_us) / 1000};
}

uint64_t days_below(struct days *d, uint64_t n)
{
    return rng_below(&d->rng, n);
}

void days_after(struct days *d, int64_t us, enum what what, void *p)
{
    struct moment *t = must_alloc(sizeof *t);
    t->what = what;
    t->p = p;
    heap_set(&d->moments, &t->heap_index, d->now_us + us);
}

void days_request(struct days *d, int64_t after_us, struct msg *m, enum spooler_type type)
{
    m->type = type;
    days_after(d, after_us, W_MSG, m);
}

/* --- the core's rim ------------------------------------------------------------------------------
 */

static void act(struct days *d, struct core_action *a)
{
    struct err e = {0};
    switch (a->act) {
    case CORE_SEND:
        receiver_order(d, a->msg);
        break;
    case CORE_ANSWER:
        if (a->msg->type == SPOOLER_STORE && ((struct spooler_store *)(void *)a->msg)->error)
            law_fail(d, "a message was not stored");
        spooler_request_free(a->msg);
        break;
    case CORE_BATCH:
        core_batch_run(a->batch, NULL, NULL);
        if (core_batch_done(d->core, a->batch, &e) < 0)
            law_fail(d, "a batch failed: %s", e.text);
        break;
    case CORE_READ:
        core_read_run(a->read);
        core_read_done(d->core, a->read);
        break;
    case CORE_TASK:
        spool_task_run(a->task);
        core_task_done(d->core, a->task);
        break;
    }
}

static void pump(struct days *d)
{
    struct core_action a;
    struct wall wall;
    struct mono mono;
    core_time(d->core, days_wall(d), mono_of(d));
    while (core_next(d->core, &a))
        act(d, &a);
    core_deadline(d->core, &wall, &mono);
    int64_t at = wall.us;
    if (mono.ms != MONO_NEVER.ms && d->start_us + (mono.ms - 1000) * 1000 < at)
        at = d->start_us + (mono.ms - 1000) * 1000;
    if (at == WALL_NEVER.us)
        heap_drop(&d->moments, &d->core_moment.heap_index);
    else
        heap_set(&d->moments, &d->core_moment.heap_index, at > d->now_us ? at : d->now_us + 1);
}

static void on_event(void *ctx, const struct event *e)
{
    law_event(ctx, e);
}

/* The delivery log has what there is: segments may go. */
static void keep_events(struct days *d)
{
    struct spooler_kept *k = must_alloc(sizeof *k);
    k->msg.type = SPOOLER_KEPT;
    k->seq = d->last_seq;
    core_message(d->core, &k->msg);
}

/* --- submissions -------------------------------------------------------------------------------
 */

struct submission {
    struct spooler_store q;
    struct envelope_rcpt rcpts[RCPTS_MAX];
    char addresses[RCPTS_MAX][40], user[16], message_id[40];
};

static struct mail *mail_new(struct days *d, unsigned site, unsigned user, unsigned n)
{
    if (d->n_mails == d->cap_mails) {
        d->cap_mails = d->cap_mails ? 2 * d->cap_mails : 1024;
        d->mails = must_realloc(d->mails, d->cap_mails * sizeof *d->mails);
    }
    if (d->n_rcpts + n > d->cap_rcpts) {
        d->cap_rcpts = 2 * (d->cap_rcpts + n);
        d->rcpts = must_realloc(d->rcpts, d->cap_rcpts * sizeof *d->rcpts);
    }
    struct mail *m = &d->mails[d->n_mails++];
    d->last_id = queue_id_next(d->last_id, days_wall(d));
    *m = (struct mail){d->last_id, (uint32_t)d->n_rcpts, n, d->now_us, site, user};
    for (unsigned i = 0; i < n; i++)
        d->rcpts[d->n_rcpts++] = (struct rcpt){.due_us = d->now_us};
    return m;
}

/* Each site has three domains. */
void days_submit(struct days *d, unsigned site, unsigned user, unsigned n)
{
    MUST(n >= 1 && n <= RCPTS_MAX);
    const struct mail *m = mail_new(d, site, user, n);
    struct submission *s = must_alloc(sizeof *s);
    snprintf(s->user, sizeof s->user, "user%u", user);
    snprintf(s->message_id, sizeof s->message_id, "<%zu@days>", d->n_mails);
    for (unsigned i = 0; i < n; i++) {
        snprintf(s->addresses[i], sizeof s->addresses[i], "r%u@d%u.s%u.test", m->first + i,
                 (m->first + i) % 3, site);
        s->rcpts[i].address = slice_str(s->addresses[i]);
    }
    s->q.id = m->id;
    s->q.asked = mono_of(d);
    s->q.envelope = (struct envelope){.user = slice_str(s->user),
                                      .message_id = slice_str(s->message_id),
                                      .size = CONTENT,
                                      .rcpts = s->rcpts,
                                      .n_rcpts = n};
    s->q.body = body_new(CONTENT);
    memset(s->q.body->bytes, 'x', CONTENT);
    s->q.msg.type = SPOOLER_STORE;
    core_message(d->core, &s->q.msg);
}

/* A campaign now and then, from one user to many; singles from everybody else. The large sites get
 * half of all. */
static unsigned some_site(struct days *d)
{
    unsigned large = d->n_sites / 20 + 1;
    return (unsigned)days_below(d, days_below(d, 2) ? large : d->n_sites);
}

static void submit_some(struct days *d)
{
    bool campaign = days_below(d, 400) == 0;
    unsigned user = campaign ? 0 : 1 + (unsigned)days_below(d, 30);
    size_t left = d->wanted - d->n_rcpts, n = campaign ? d->wanted / 200 : 1 + days_below(d, 20);
    while (n > 0 && left > 0) {
        unsigned take = 1 + (days_below(d, 4) ? 0 : (unsigned)days_below(d, RCPTS_MAX));
        take = take > n ? (unsigned)n : take;
        take = take > left ? (unsigned)left : take;
        days_submit(d, some_site(d), user, take);
        n -= take;
        left -= take;
    }
    if (left == 0)
        return;
    /* What is left, over the time that is left. */
    int64_t time = d->start_us + d->submit_us - d->now_us, each = time / (int64_t)(left / 18 + 1);
    days_after(d, 1 + (int64_t)days_below(d, (uint64_t)(each > 0 ? 2 * each : 1)), W_SUBMIT, NULL);
}

/* --- life ----------------------------------------------------------------------------------------
 */

struct days *days_new(uint64_t seed, unsigned n_sites)
{
    struct days *d = must_alloc(sizeof *d);
    struct spool_options o = {
        .segment_bytes = 8 << 20, .lifetime_s = LIFETIME_S, .node = SLICE_LIT("days")};
    struct spool_report report;
    struct err e = {0};
    d->seed = seed;
    rng_seed(&d->rng, seed);
    d->now_us = d->start_us = INT64_C(1800000000) * SECOND_US;
    d->core_moment.what = W_CORE;
    d->disk = fake_disk_new(seed);
    MUST(spool_open(&d->spool, fake_disk_ops(d->disk), &o, &report, &e) == 0);
    struct core_conf conf = {.retry = {{60, 300, 900, 1800, 3600, 7200, 14400}, 7, 10},
                             .lifetime_s = LIFETIME_S,
                             .loops = 2,
                             .seed = seed};
    d->core = core_new(d->spool, &conf, days_wall(d), mono_of(d));
    core_set_events(d->core, on_event, d);
    d->n_sites = n_sites;
    d->sites = must_alloc(n_sites * sizeof *d->sites);
    return d;
}

void days_free(struct days *d)
{
    const struct heap_entry *top;
    while ((top = heap_top(&d->moments))) {
        struct moment *t = HEAP_ITEM(top, struct moment, heap_index);
        heap_drop(&d->moments, &t->heap_index);
        if (t->what == W_MSG)
            spooler_request_free(t->p);
        if (t->what != W_CORE)
            free(t);
    }
    receiver_free_all(d);
    core_free(d->core);
    spool_close(d->spool);
    fake_disk_free(d->disk);
    heap_done(&d->moments);
    free(d->sites);
    free(d->mails);
    free(d->rcpts);
    free(d);
}

static void happens(struct days *d, struct moment *t)
{
    if (t->what == W_SUBMIT)
        submit_some(d);
    else if (t->what == W_MSG)
        core_message(d->core, t->p);
    else if (t->what == W_DONE)
        receiver_done(d, t->p);
    else if (t->what == W_OPERATOR)
        d->on_operator(d, t->p);
    if (t->what != W_CORE)
        free(t);
}

void days_run(struct days *d, int64_t until_us)
{
    const struct heap_entry *top;
    uint64_t n = 0;
    pump(d);
    while (!d->failed && (top = heap_top(&d->moments)) && top->key <= until_us) {
        d->now_us = top->key > d->now_us ? top->key : d->now_us;
        core_time(d->core, days_wall(d), mono_of(d));
        /* All of this moment, then the core. */
        for (int i = 0; i < 64 && top && top->key <= d->now_us; i++, top = heap_top(&d->moments)) {
            struct moment *t = HEAP_ITEM(top, struct moment, heap_index);
            heap_drop(&d->moments, &t->heap_index);
            happens(d, t);
        }
        pump(d);
        if (++n % 1024 == 0) {
            keep_events(d);
            law_memory(d);
        }
    }
}

/* A queue is delivered down to a sixth of it, in no order, while housekeeping gives the disk back.
 * The owner's calls are timed one by one: none may take so long that mail waits for it. */
#include "queue/id.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/spooler/outcome.h"
#include "tests/bench/spool_load/load.h"
#include <stdio.h>
#include <stdlib.h>

enum { A_BATCH = 200 };

struct drain {
    struct fill fill;
    uint64_t *ids, n;
    struct series calls; /* ms of the owner's calls */
    const char *longest;
    double longest_ms;
    uint64_t steps;
};

static void timed(struct drain *d, const char *what, double begun)
{
    double ms = (seconds_now() - begun) * 1e3;
    series_add(&d->calls, ms);
    if (ms > d->longest_ms) {
        d->longest_ms = ms;
        d->longest = what;
    }
}

static void deliver(struct drain *d, uint64_t id, struct buf *event)
{
    struct message *m = spool_find(d->fill.spool, id);
    struct wall now = wall_now();
    struct attempt attempt;
    struct verdict v = mail_delivered(id);
    mail_attempt(&attempt, id);
    struct outcome o = {.event = EVENT_DELIVERED,
                        .change = {.state = RCPT_DELIVERED,
                                   .attempts = 9,
                                   .due = now,
                                   .last_attempt = now,
                                   .verdict = &v,
                                   .host = buf_str(&attempt.mx_host)}};
    struct outcome_facts facts = {.attempt = &attempt,
                                  .site = SLICE_LIT("mx1.bulk.test"),
                                  .destination = SLICE_LIT("default")};
    buf_reset(event);
    outcome_event(event, &m->rcpts[0], &o, &v, &facts, now);
    struct spool_event_in in = {EVENT_DELIVERED, buf_slice(event)};
    double begun = seconds_now();
    spool_change(d->fill.spool, m, &o.change, 1, now, &in, 1);
    timed(d, "spool_change", begun);
    verdict_done(&v);
    attempt_done(&attempt);
}

/* False: nothing was to be written. */
static bool commit(struct drain *d)
{
    struct spool *s = d->fill.spool;
    struct err e = {0};
    double begun = seconds_now();
    struct spool_batch *b = spool_batch_take(s);
    timed(d, "spool_batch_take", begun);
    if (!b)
        return false;
    spool_batch_run(b); /* a helper's */
    begun = seconds_now();
    if (spool_batch_end(s, b, NULL, NULL, NULL, &e) < 0)
        die("%s", e.text);
    spool_settle(s, SIZE_MAX, NULL, NULL);
    timed(d, "spool_batch_end and spool_settle", begun);
    spool_events_kept(s, spool_last_seq(s));
    return true;
}

/* As the rim does it after a batch. False: there was nothing to do. */
static bool housekeep(struct drain *d)
{
    struct spool *s = d->fill.spool;
    double begun = seconds_now();
    struct spool_task *task = spool_task_take(s, false);
    timed(d, "spool_task_take", begun);
    if (!task)
        return false;
    spool_task_run(task); /* a helper's */
    begun = seconds_now();
    if (!spool_task_end(s, task))
        die("housekeeping met trouble");
    timed(d, "spool_task_end", begun);
    d->steps++;
    return true;
}

static void shuffle(struct drain *d)
{
    struct rng rng;
    rng_seed(&rng, 3);
    for (uint64_t i = d->n; i > 1; i--) {
        uint64_t k = rng_below(&rng, i), id = d->ids[i - 1];
        d->ids[i - 1] = d->ids[k];
        d->ids[k] = id;
    }
}

static void collect(struct drain *d)
{
    struct spool_counts n;
    struct message *m = NULL;
    spool_count(d->fill.spool, &n);
    d->ids = must_alloc(n.messages * sizeof *d->ids);
    for (uint64_t id = 0; (m = spool_after(d->fill.spool, id)); id = m->id)
        d->ids[d->n++] = m->id;
}

static void say(struct drain *d, uint64_t delivered, double took, const struct io_count *io)
{
    struct spool_counts n;
    spool_count(d->fill.spool, &n);
    uint64_t bound = 2 * n.live_bytes + 2 * UINT64_C(64) * 1024 * 1024;
    printf("{\"part\":\"drain\",\"delivered\":%llu,\"left\":%llu,\"seconds\":%.2f,"
           "\"disk_bytes\":%llu,\"live_bytes\":%llu,\"bound_bytes\":%llu,\"steps\":%llu,"
           "\"written\":%llu,\"call_longest_ms\":%.3f,\"call_longest\":\"%s\","
           "\"call_p9999_ms\":%.3f}\n",
           (unsigned long long)delivered, (unsigned long long)n.messages, took,
           (unsigned long long)n.disk_bytes, (unsigned long long)n.live_bytes,
           (unsigned long long)bound, (unsigned long long)d->steps, (unsigned long long)io->bytes,
           d->longest_ms, d->longest, series_part(&d->calls, 0.9999));
}

void part_drain(const struct options *o)
{
    struct drain d = {.longest = "none"};
    DEFER(buf_done) struct buf event = BUF_MAX(16 * 1024);
    fill_open(&d.fill, o->dir);
    fill_messages(&d.fill, o->messages + o->messages / 5, o->size);
    collect(&d);
    shuffle(&d);
    struct io_count before = io_now();
    double begun = seconds_now();
    for (uint64_t i = 0; i < o->messages; i++) {
        deliver(&d, d.ids[i], &event);
        if (i % A_BATCH == A_BATCH - 1) {
            housekeep(&d);
            commit(&d);
        }
    }
    for (bool busy = true; busy;) {
        busy = housekeep(&d);
        busy = commit(&d) || busy;
    }
    struct io_count io = io_since(before);
    say(&d, o->messages, seconds_now() - begun, &io);
    fill_close(&d.fill);
    series_done(&d.calls);
    free(d.ids);
}

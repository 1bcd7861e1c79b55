/* A spool of many messages, as quickly as it can be made: through the spool's own calls, the next
 * batch being put together while one is written. */
#include "queue/record.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/outcome.h"
#include "tests/bench/spool_load/load.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_BYTES (12u * 1024 * 1024)

void fill_open(struct fill *f, const char *dir)
{
    struct err e = {0};
    struct spool_report report;
    struct spool_options o = {.lifetime_s = INT64_C(5) * 86400,
                              .node = SLICE_LIT("relay.bench.test")};
    int error = 0;
    f->fs = file_posix_new(dir, &error);
    if (!f->fs)
        die("%s: %s", dir, strerror(error));
    if (spool_open(&f->spool, f->fs, &o, &report, &e) < 0)
        die("%s", e.text);
}

void fill_close(struct fill *f)
{
    spool_close(f->spool);
    file_posix_free(f->fs);
}

static void *run_batch(void *batch)
{
    spool_batch_run(batch);
    return NULL;
}

struct writing {
    pthread_t thread;
    struct spool_batch *batch;
    uint64_t bodies_from; /* behind this id bodies are still in memory */
};

static void await(struct fill *f, struct writing *w)
{
    struct err e = {0};
    if (!w->batch)
        return;
    pthread_join(w->thread, NULL);
    int rc = spool_batch_end(f->spool, TAKE_PTR(w->batch), NULL, NULL, NULL, &e);
    spool_settle(f->spool, SIZE_MAX, NULL, NULL);
    if (rc < 0)
        die("%s", e.text);
    struct message *m;
    while ((m = spool_after(f->spool, w->bodies_from)) && m->durable) {
        body_unref(m->body);
        m->body = NULL;
        w->bodies_from = m->id;
    }
    spool_events_kept(f->spool, spool_last_seq(f->spool));
}

static bool write_more(struct fill *f, struct writing *w)
{
    await(f, w);
    w->batch = spool_batch_take(f->spool);
    if (w->batch && pthread_create(&w->thread, NULL, run_batch, w->batch) != 0)
        die("cannot start a thread");
    return w->batch != NULL;
}

void fill_flush(struct fill *f)
{
    struct writing w = {.bodies_from = spool_last_id(f->spool)};
    while (write_more(f, &w))
        continue;
}

static void put(struct fill *f, uint64_t i, uint64_t size, struct body *body, struct wall now,
                struct buf *event)
{
    struct mail mail;
    struct message *m;
    mail_make(&mail, i, size);
    uint64_t id = spool_new_id(f->spool, now);
    struct spool_event_in in = {EVENT_ACCEPTED_ALL, SLICE_NONE};
    spool_put(f->spool, id, &mail.envelope, body_ref(body), false, now, &in, 1, &m);

    struct attempt attempt;
    struct verdict v = mail_deferred(i);
    mail_attempt(&attempt, i);
    struct outcome o = {.event = EVENT_DEFERRED,
                        .change = {.state = RCPT_QUEUED,
                                   .attempts = 8,
                                   .due = wall_add_s(now, 4 * 3600 + (int64_t)(i % 7200)),
                                   .last_attempt = now,
                                   .verdict = &v,
                                   .host = buf_str(&attempt.mx_host)}};
    struct outcome_facts facts = {.attempt = &attempt,
                                  .site = SLICE_LIT("mx1.bulk.test"),
                                  .destination = SLICE_LIT("default")};
    buf_reset(event);
    outcome_event(event, &m->rcpts[0], &o, &v, &facts, now);
    in = (struct spool_event_in){EVENT_DEFERRED, buf_slice(event)};
    spool_change(f->spool, m, &o.change, 1, now, &in, 1);
    verdict_done(&v);
    attempt_done(&attempt);
}

void fill_messages(struct fill *f, uint64_t n, uint64_t size)
{
    struct body *body = mail_body(size);
    DEFER(buf_done) struct buf event = BUF_MAX(16 * 1024);
    struct writing w = {.bodies_from = spool_last_id(f->spool)};
    uint64_t each = BATCH_BYTES / (size + 1024) + 1;
    for (uint64_t i = 0; i < n; i++) {
        put(f, i, size, body, wall_now(), &event);
        if (i % each == each - 1)
            write_more(f, &w);
    }
    while (write_more(f, &w))
        continue;
    body_unref(body);
}

/* The bytes of one message by part, by the encoders that write them. */
static void say_parts(uint64_t size)
{
    struct mail mail;
    struct buf b = BUF_MAX(16 * 1024);
    mail_make(&mail, 1234567, size);
    envelope_write(&b, &mail.envelope);
    size_t envelope = b.n;
    buf_reset(&b);
    events_begin(&b, (struct wall){0});
    events_add(&b, EVENT_ACCEPTED_ALL, SLICE_NONE);
    printf(",\"envelope_bytes\":%zu,\"accepted_event_bytes\":%zu", envelope, b.n);
    buf_done(&b);
}

void part_fill(const struct options *o)
{
    struct fill f;
    struct spool_counts n;
    double begun = seconds_now();
    struct io_count before = io_now();
    fill_open(&f, o->dir);
    fill_messages(&f, o->messages, o->size);
    spool_count(f.spool, &n);
    uint64_t seq = spool_last_seq(f.spool);
    fill_close(&f);
    struct io_count io = io_since(before);
    printf("{\"part\":\"fill\",\"messages\":%llu,\"size\":%llu,\"seconds\":%.2f,\"last_seq\":%llu,"
           "\"disk_bytes\":%llu,\"live_bytes\":%llu,\"written\":%llu,\"syncs\":%llu",
           (unsigned long long)n.messages, (unsigned long long)o->size, seconds_now() - begun,
           (unsigned long long)seq, (unsigned long long)n.disk_bytes,
           (unsigned long long)n.live_bytes, (unsigned long long)io.bytes,
           (unsigned long long)io.syncs);
    say_parts(o->size);
    puts("}");
}

void part_keep(const struct options *o)
{
    struct fill f;
    unsigned tasks = 0;
    struct io_count before = io_now();
    fill_open(&f, o->dir);
    double begun = seconds_now();
    for (struct spool_task *t; (t = spool_task_take(f.spool, false)); tasks++) {
        spool_task_run(t);
        if (!spool_task_end(f.spool, t))
            die("housekeeping met trouble");
        fill_flush(&f);
    }
    double took = seconds_now() - begun;
    fill_close(&f);
    struct io_count io = io_since(before);
    printf("{\"part\":\"keep\",\"tasks\":%u,\"seconds\":%.2f,\"written\":%llu}\n", tasks, took,
           (unsigned long long)io.bytes);
}

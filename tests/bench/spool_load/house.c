/* The rest of the house, played by one loop: clients that wait for their 250, and a next hop that
 * takes everything. */
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include "tests/bench/spool_load/load.h"
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEPT_EVERY = 1000 };

struct writer {
    struct spooler_store *request;
    struct house *house;
    struct mail mail;
    double sent;
};

struct house {
    struct spooler *spooler;
    struct loop *loop;
    struct inbox *inbox;
    struct port port;
    bool deliver;
    struct writer *writers;
    sem_t done;
    /* Of the turn; the loop's thread only. */
    struct turn turn;
    struct series answers, before, during, after;
    uint64_t begun, stored, started;
    unsigned running;
    double end;
    _Atomic uint64_t delivered; /* on the spooler's thread */
    uint64_t events;
};

/* --- clients */

static void submit(struct writer *w)
{
    struct house *h = w->house;
    struct spooler_store *q = w->request;
    h->begun++;
    *q = (struct spooler_store){.msg.type = SPOOLER_STORE,
                                .reply = &h->port,
                                .cookie = w,
                                .id = spooler_new_id(wall_now()),
                                .body = mail_body(h->turn.size)};
    mail_make(&w->mail, ++h->started, h->turn.size);
    q->envelope = w->mail.envelope;
    w->sent = seconds_now();
    port_send(spooler_port(h->spooler), &q->msg);
}

static bool more(const struct house *h)
{
    return h->turn.seconds > 0 ? seconds_now() < h->end : h->begun < h->turn.messages;
}

static void note_times(struct house *h, double sent)
{
    double now = seconds_now(), begun, ended;
    series_add(&h->answers, (now - sent) * 1e3);
    if (h->turn.writers > 1)
        return;
    last_commit(&begun, &ended);
    series_add(&h->before, (begun - sent) * 1e3);
    series_add(&h->during, (ended - begun) * 1e3);
    series_add(&h->after, (now - ended) * 1e3);
}

static void answered(struct house *h, struct spooler_store *q)
{
    struct writer *w = q->cookie;
    if (q->error < 0)
        die("a message was refused: %s", strerror(-q->error));
    note_times(h, w->sent);
    h->stored++;
    if (more(h))
        submit(w);
    else if (--h->running == 0)
        sem_post(&h->done);
}

/* --- the next hop */

static void way_free(struct frozen *f)
{
    free(f);
}

static void plan(struct house *h, struct out_resolve *r)
{
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->msg.type = SPOOLER_PLAN;
    p->domain = r->domain;
    p->plan = must_alloc(sizeof *p->plan);
    frozen_init(p->plan, way_free);
    p->site = buf_of(SLICE_LIT("mx1.bulk.test"));
    p->destination = buf_of(SLICE_LIT("default"));
    p->limits = (struct sched_limits){
        .connections = 20, .messages_per_connection = 100, .recipients_per_message = 50};
    p->ttl_ms = INT64_C(3600) * 1000;
    free(r);
    port_send(spooler_port(h->spooler), &p->msg);
}

static void gone(struct house *h, uint64_t conn)
{
    struct spooler_conn_gone *g = must_alloc(sizeof *g);
    g->msg.type = SPOOLER_CONN_GONE;
    g->conn = conn;
    port_send(spooler_port(h->spooler), &g->msg);
}

static void take(struct house *h, struct out_work *w)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    r->msg.type = SPOOLER_RESULT;
    r->conn = w->conn;
    r->ready = r->attempted = true;
    r->message_id = w->message_id;
    r->n = w->n;
    r->rcpts = w->rcpts;
    w->rcpts = NULL;
    r->verdicts = must_alloc(r->n * sizeof *r->verdicts);
    for (size_t i = 0; i < r->n; i++)
        r->verdicts[i] = mail_delivered(w->message_id);
    mail_attempt(&r->attempt, w->message_id);
    r->attempt.reused = !w->open;
    out_work_free(w);
    port_send(spooler_port(h->spooler), &r->msg);
}

static void on_message(void *ctx, struct msg *m)
{
    struct house *h = ctx;
    switch (m->type) {
    case SPOOLER_STORE:
        answered(h, (struct spooler_store *)(void *)m);
        return;
    case OUT_RESOLVE:
        if (h->deliver) {
            plan(h, (struct out_resolve *)(void *)m);
            return;
        }
        break;
    case OUT_WORK:
        take(h, (struct out_work *)(void *)m);
        return;
    case OUT_CLOSE:
        gone(h, ((struct out_work *)(void *)m)->conn);
        break;
    default:
        break;
    }
    spooler_order_free(m);
}

static void on_start(void *ctx, struct msg *m)
{
    struct house *h = ctx;
    free(m);
    h->end = seconds_now() + h->turn.seconds;
    h->running = h->turn.writers;
    for (unsigned i = 0; i < h->turn.writers; i++)
        submit(&h->writers[i]);
}

/* The delivery log, which forgets. */
static void on_event(void *ctx, const struct event *e)
{
    struct house *h = ctx;
    if (e->name == EVENT_DELIVERED)
        h->delivered++;
    if (++h->events % KEPT_EVERY == 0) {
        struct spooler_kept *k = must_alloc(sizeof *k);
        k->msg.type = SPOOLER_KEPT;
        k->seq = e->seq;
        port_send(spooler_port(h->spooler), &k->msg);
    }
}

/* --- life */

struct house *house_new(const char *dir, bool deliver)
{
    struct house *h = must_alloc(sizeof *h);
    struct err e = {0};
    struct spool_report report;
    struct spooler_conf c = {
        .path = dir,
        .retry = {.pause_s = {60, 300, 900, 1800, 3600, 7200, 14400}, .n = 7, .jitter_percent = 10},
        .lifetime_s = INT64_C(5) * 86400,
        .node = SLICE_LIT("relay.bench.test")};
    h->deliver = deliver;
    sem_init(&h->done, 0, 0);
    h->loop = loop_new("bench", 0);
    h->inbox = inbox_new(h->loop, NULL, NULL);
    h->port = (struct port){h->inbox, on_message, h};
    if (spooler_new(&h->spooler, &c, &report, &e) < 0)
        die("%s", e.text);
    const struct port *ports[] = {&h->port};
    spooler_set_outbound(h->spooler, ports, 1);
    spooler_set_events(h->spooler, on_event, h);
    if (loop_start(h->loop) < 0 || spooler_start(h->spooler) < 0)
        die("cannot start a thread");
    return h;
}

static void drop(struct msg *m)
{
    if (m->type >= OUT_RESOLVE)
        spooler_order_free(m);
    else
        spooler_request_free(m);
}

void house_free(struct house *h)
{
    spooler_free(h->spooler);
    loop_stop(h->loop);
    loop_join(h->loop);
    inbox_free(h->inbox, drop);
    loop_free(h->loop);
    sem_destroy(&h->done);
    free(h);
}

static void writers_new(struct house *h)
{
    h->writers = must_alloc(h->turn.writers * sizeof *h->writers);
    for (unsigned i = 0; i < h->turn.writers; i++) {
        h->writers[i].house = h;
        h->writers[i].request = must_alloc(sizeof *h->writers[i].request);
    }
}

static void writers_free(struct house *h)
{
    for (unsigned i = 0; i < h->turn.writers; i++)
        free(h->writers[i].request);
    free(h->writers);
    h->writers = NULL;
}

static void wait_for_deliveries(struct house *h, uint64_t wanted)
{
    for (double end = seconds_now() + 60; h->delivered < wanted; usleep(1000))
        if (seconds_now() > end)
            die("not everything was delivered");
}

struct turn_result house_turn(struct house *h, const struct turn *t)
{
    static struct port start;
    h->turn = *t;
    h->begun = h->stored = 0;
    writers_new(h);
    uint64_t wanted = h->delivered;
    struct io_count before = io_now();
    double begun = seconds_now();
    start = (struct port){h->inbox, on_start, h};
    port_send(&start, must_alloc(sizeof(struct msg)));
    sem_wait(&h->done);
    if (h->deliver)
        wait_for_deliveries(h, wanted + h->stored);
    struct turn_result r = {.stored = h->stored,
                            .seconds = seconds_now() - begun,
                            .io = io_since(before),
                            .answers = h->answers,
                            .before = h->before,
                            .during = h->during,
                            .after = h->after};
    h->answers = h->before = h->during = h->after = (struct series){0};
    writers_free(h);
    return r;
}

void turn_result_done(struct turn_result *r)
{
    series_done(&r->answers);
    series_done(&r->before);
    series_done(&r->during);
    series_done(&r->after);
}

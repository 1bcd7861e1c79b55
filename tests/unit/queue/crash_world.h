/*
 * A scripted life of a spool (put, defer, deliver, bounce, DSN, rotate, compact, large bodies), cut
 * at any operation on the disk, with every kind of loss, and what must hold afterwards. What would
 * break for a user: a message answered 250 is lost, a delivered one is sent again, a queue id or
 * seq means two things, the delivery log has a gap. Shared by crash.c and compact_crash.c.
 */
#pragma once
#include "relay/base/defer.h"
#include "tests/unit/queue/kit.h"

enum { MAILS_MAX = 400, VERSIONS_MAX = 60, EVENTS_MAX = 4000, SEGMENT = 16 * 1024 };

struct version {
    char *dump;
    uint64_t promise; /* durable when spool_durable has reached it */
    bool gone;        /* nothing is left of the message */
};

struct mail {
    uint64_t id;
    size_t n, durable; /* versions; how many of them are durable */
    struct version versions[VERSIONS_MAX];
    size_t body_n;
    bool failed; /* told 451 */
};

/* What the rest of the world knows. */
struct world {
    struct fake_disk *disk;
    struct spool *s;
    struct rng rng;
    struct wall now;
    struct mail *mails;
    size_t n_mails;
    struct {
        enum event_name name;
        uint64_t time, fields;
    } told[EVENTS_MAX]; /* by seq */
    uint64_t last_told, kept;
    uint64_t last_id;
    struct spool_task *task; /* out */
    bool task_ran;
    uint64_t tasks;            /* ended */
    unsigned keeping, putting; /* percent of steps that housekeeping, new mail gets */
    char where[500];
};

static struct world *world;

static void check(bool ok, const char *what, uint64_t number)
{
    if (ok)
        return;
    print_error("%s: %s (%llu)\n", world->where, what, (unsigned long long)number);
    fail();
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < w->n_mails; i++)
        for (size_t v = 0; v < w->mails[i].n; v++)
            free(w->mails[i].versions[v].dump);
    free(w->mails);
    fake_disk_free(w->disk);
    free(w);
    world = NULL;
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = must_alloc(sizeof *w);
    w->disk = fake_disk_new(seed);
    rng_seed(&w->rng, seed);
    w->putting = 30;
    w->now = NOW;
    w->mails = must_alloc(MAILS_MAX * sizeof *w->mails);
    return world = w;
}

static struct mail *mail_of(struct world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_mails; i++)
        if (w->mails[i].id == id)
            return &w->mails[i];
    return NULL;
}

static void version_add(struct mail *m, const struct message *now, uint64_t promise)
{
    MUST(m->n < VERSIONS_MAX);
    m->versions[m->n++] =
        (struct version){.dump = kit_dump_text(now), .promise = promise, .gone = now->n_left == 0};
}

/* --- what is seen
 * -------------------------------------------------------------------------------------------------------
 */

static void on_event(void *ctx, const struct event *e)
{
    struct world *w = ctx;
    MUST(e->seq < EVENTS_MAX);
    check(e->seq == w->last_told + 1, "durable events come in order without gaps", e->seq);
    w->last_told = e->seq;
    w->told[e->seq].name = e->name;
    w->told[e->seq].time = (uint64_t)e->time.us;
    w->told[e->seq].fields = slice_hash(e->fields);
}

static void on_failed(void *ctx, uint64_t id)
{
    struct world *w = ctx;
    struct mail *m = mail_of(w, id);
    check(m && !m->failed && m->durable == 0, "only a message not yet promised fails, once", id);
    m->failed = true;
}

static void count_durable(struct world *w)
{
    for (size_t i = 0; i < w->n_mails; i++) {
        struct mail *m = &w->mails[i];
        while (!m->failed && m->durable < m->n &&
               m->versions[m->durable].promise <= spool_durable(w->s))
            m->durable++;
    }
}

/* A failing batch may take a DSN away: then its original is what it was before. */
static void see_restored(struct world *w)
{
    for (struct message *m = spool_after(w->s, 0); m; m = spool_after(w->s, m->id)) {
        struct mail *mail = mail_of(w, m->id);
        char *dump = kit_dump_text(m);
        if (mail && strcmp(dump, mail->versions[mail->n - 1].dump) != 0)
            version_add(mail, m, 0);
        free(dump);
    }
}

static int commit(struct world *w)
{
    int rc = kit_commit(w->s, on_event, w, on_failed);
    if (rc < 0 && fake_disk_is_cut(w->disk))
        return rc;
    if (rc < 0)
        see_restored(w);
    count_durable(w);
    return rc;
}

/* --- the script
 * ---------------------------------------------------------------------------------------------------------
 */

static int make_file(struct world *w, uint64_t id, size_t n)
{
    struct spool_body_file *f;
    int rc = spool_body_create(fake_disk_ops(w->disk), id, &f);
    if (rc < 0)
        return rc;
    struct body *b = kit_body(id, n);
    rc = spool_body_write(f, slice_of(b->bytes, n / 3));
    if (rc >= 0)
        rc = spool_body_write(f, slice_of(b->bytes + n / 3, n - n / 3));
    body_unref(b);
    if (rc < 0)
        spool_body_abandon(f);
    return rc < 0 ? rc : spool_body_finish(f);
}

static void do_put(struct world *w, uint64_t dsn_for)
{
    size_t n = 1 + rng_below(&w->rng, 3);
    char address[3][40];
    struct envelope_rcpt rcpts[3];
    for (size_t i = 0; i < n; i++) {
        snprintf(address[i], sizeof address[i], "user%zu@d%u.example", w->n_mails,
                 (unsigned)rng_below(&w->rng, 9));
        rcpts[i] = (struct envelope_rcpt){.address = slice_str(address[i])};
    }
    uint64_t id = spool_new_id(w->s, w->now);
    check(id > w->last_id, "ids grow", id);
    w->last_id = id;
    bool large = rng_below(&w->rng, 8) == 0;
    size_t body_n = rng_below(&w->rng, large ? 150000 : 2500);
    if (rng_below(&w->rng, 30) == 0)
        body_n = large ? body_n : 20000; /* a segment of its own size */
    if (large && make_file(w, id, body_n) < 0)
        return;
    struct envelope e = {.sender = dsn_for ? SLICE_NONE : SLICE_LIT("s@example.net"),
                         .user = SLICE_LIT("app"),
                         .message_id = SLICE_LIT("<x@y>"),
                         .size = body_n,
                         .dsn_for = dsn_for,
                         .rcpts = rcpts,
                         .n_rcpts = n};
    kit_ask(&e, rcpts, id);
    /* One entry for all, or as older programs stored them. */
    enum event_name name = id % 4 ? EVENT_ACCEPTED_ALL : EVENT_ACCEPTED;
    struct spool_event_in ev[2] = {{name, SLICE_NONE}, {EVENT_DSN_QUEUED, SLICE_NONE}};
    struct message *m;
    uint64_t promise = spool_put(w->s, id, &e, large ? NULL : kit_body(id, body_n), large, w->now,
                                 ev, 1 + n / 3, &m);
    struct mail *mail = &w->mails[w->n_mails++];
    *mail = (struct mail){.id = id, .body_n = body_n};
    version_add(mail, m, promise);
    struct message *about = dsn_for ? spool_find(w->s, dsn_for) : NULL;
    if (about)
        version_add(mail_of(w, dsn_for), about, promise);
}

/* Some message that may still be worked on. */
static struct message *some_message(struct world *w)
{
    for (int tries = 0; tries < 20 && w->n_mails; tries++) {
        struct mail *mail = &w->mails[rng_below(&w->rng, w->n_mails)];
        struct message *m =
            mail->failed || mail->n > VERSIONS_MAX - 8 ? NULL : spool_find(w->s, mail->id);
        if (m && m->n_left)
            return m;
    }
    return NULL;
}

static void do_change(struct world *w)
{
    struct message *m = some_message(w);
    if (!m)
        return;
    uint32_t rcpt = (uint32_t)rng_below(&w->rng, m->n_rcpts);
    struct recipient *r = &m->rcpts[rcpt];
    if (rcpt_state_final((enum rcpt_state)r->state))
        return;
    struct verdict v =
        verdict_of_fault(FAULT_CONNECT_TIMEOUT, PHASE_CONNECT, slice_str(rcpt ? "x" : "yy"));
    struct rcpt_change c = {
        .rcpt = rcpt, .attempts = r->attempts + 1, .last_attempt = w->now, .verdict = &v};
    c.due = wall_add_s(w->now, 60);
    c.host = rng_below(&w->rng, 2) ? "mx.example [192.0.2.9]" : NULL;
    enum event_name name = EVENT_DEFERRED;
    switch (rng_below(&w->rng, 5)) {
    case 0:
    case 1:
        c.state = RCPT_DELIVERED;
        name = EVENT_DELIVERED;
        break;
    case 2:
        c.state = RCPT_BOUNCED;
        c.dsn_due = true;
        name = EVENT_BOUNCED;
        break;
    case 3:
        c.state = RCPT_HELD;
        c.verdict = NULL;
        name = EVENT_HELD;
        break;
    default:
        break;
    }
    struct spool_event_in ev = {name, SLICE_LIT("\x04\x02")};
    uint64_t promise = spool_change(w->s, m, &c, 1, w->now, &ev, 1);
    version_add(mail_of(w, m->id), m, promise);
    verdict_done(&v);
}

static void do_dsn(struct world *w)
{
    struct message *m = some_message(w);
    bool due = rng_below(&w->rng, 4) == 0; /* it is only late */
    for (uint32_t i = 0; m && i < m->n_rcpts; i++)
        due = due || m->rcpts[i].dsn_due;
    if (due && m && m->durable)
        do_put(w, m->id);
}

/* A task begins, is done by a helper, ends; anything may happen between. */
static void do_task(struct world *w)
{
    if (!w->task) {
        w->task = spool_task_take(w->s, false);
        w->task_ran = false;
    } else if (!w->task_ran) {
        spool_task_run(w->task);
        w->task_ran = true;
    } else {
        spool_task_end(w->s, TAKE_PTR(w->task));
        w->tasks++;
    }
}

static void end_task(struct world *w)
{
    while (w->task)
        do_task(w);
}

static void keep(struct world *w)
{
    w->kept = w->last_told;
    spool_events_kept(w->s, w->kept);
    do_task(w);
}

static void do_something(struct world *w)
{
    w->now.us += 1000;
    uint64_t dice = rng_below(&w->rng, 100);
    if (dice < w->putting) {
        do_put(w, 0);
    } else if (dice < 70) {
        do_change(w);
    } else if (dice < 85) {
        do_dsn(w);
    } else if (dice < 90) {
        struct spool_event_in ev = {EVENT_REJECTED, SLICE_NONE};
        spool_note(w->s, w->now, &ev, 1);
    } else {
        keep(w);
    }
}

/* False: the power went. */
static bool live(struct world *w, int steps)
{
    for (int i = 0; i < steps && !fake_disk_is_cut(w->disk) && w->n_mails < MAILS_MAX - 2; i++) {
        do_something(w);
        if (rng_below(&w->rng, 100) < w->keeping)
            keep(w);
        if (rng_below(&w->rng, 3) == 0 && commit(w) < 0 && fake_disk_is_cut(w->disk))
            return false;
        if (fake_disk_is_cut(w->disk))
            return false;
    }
    return true;
}

/* --- after the crash
 * ----------------------------------------------------------------------------------------------------
 */

static void check_body(struct world *w, const struct mail *mail, const struct message *m)
{
    struct body *b = NULL;
    int rc = kit_read(w->s, m, &b);
    check(rc == 0, "the body of a promised message is read", mail->id);
    check(kit_body_is(b, mail->id, mail->body_n), "the body is the one that was stored", mail->id);
    body_unref(b);
}

static void check_mail(struct world *w, struct mail *mail, bool failed_may_return)
{
    struct message *m = spool_find(w->s, mail->id);
    if (mail->failed && !failed_may_return)
        check(!m, "a message answered 451 is gone", mail->id);
    if (mail->durable == 0)
        return;
    bool fits = false;
    size_t from = mail->durable - 1;
    if (m) {
        char *dump = kit_dump_text(m);
        for (size_t v = from; v < mail->n; v++)
            fits = fits || strcmp(dump, mail->versions[v].dump) == 0;
        if (!fits)
            print_error("found %s\nlast durable %s\nlast %s\n", dump, mail->versions[from].dump,
                        mail->versions[mail->n - 1].dump);
        free(dump);
        check(fits, "a promised message is what it was, or what was done to it last", mail->id);
        check_body(w, mail, m);
    } else {
        for (size_t v = from; v < mail->n; v++)
            fits = fits || mail->versions[v].gone;
        check(fits, "a promised message is there unless it is finished", mail->id);
    }
}

struct seen {
    struct world *w;
    uint64_t last;
};

static void on_again(void *ctx, const struct event *e)
{
    struct seen *seen = ctx;
    struct world *w = seen->w;
    check(e->seq == seen->last + 1, "replayed events have no gap", e->seq);
    seen->last = e->seq;
    if (e->seq > w->last_told)
        return;
    check(w->told[e->seq].name == e->name && w->told[e->seq].time == (uint64_t)e->time.us &&
              w->told[e->seq].fields == slice_hash(e->fields),
          "a seq means the same event again", e->seq);
}

static void check_all(struct world *w, bool failed_may_return)
{
    for (size_t i = 0; i < w->n_mails; i++)
        check_mail(w, &w->mails[i], failed_may_return);
    for (struct message *m = spool_after(w->s, 0); m; m = spool_after(w->s, m->id))
        check(mail_of(w, m->id) != NULL, "nothing comes from nowhere", m->id);
    struct seen seen = {w, w->kept};
    spool_each_event(w->s, w->kept, on_again, &seen);
    check(seen.last >= w->last_told, "every event that was told is replayed", seen.last);
    check(seen.last == spool_last_seq(w->s), "the last seq is the last event's", seen.last);
}

/* What came back unpromised is part of the world from now on. */
static void accept_world(struct world *w)
{
    w->last_id = 0;
    for (size_t i = 0; i < w->n_mails; i++) {
        struct mail *mail = &w->mails[i];
        struct message *m = spool_find(w->s, mail->id);
        if (m && mail->n < VERSIONS_MAX) {
            version_add(mail, m, 0);
            mail->durable = mail->n;
            mail->failed = false;
            w->last_id = m->id > w->last_id ? m->id : w->last_id;
        } else if (!m) { /* finished, or never promised: nobody speaks of it again */
            for (size_t v = 0; v < mail->n; v++)
                free(mail->versions[v].dump);
            mail->n = mail->durable = 0;
            mail->failed = true;
        }
    }
    w->last_told = spool_last_seq(w->s);
    w->kept = w->last_told;
    spool_events_kept(w->s, w->kept);
}

static void reopen(struct world *w, enum fake_loss loss)
{
    end_task(w);
    spool_close(w->s);
    w->s = NULL;
    fake_disk_power_on(w->disk, loss);
    struct spool_report report;
    w->s = kit_open(w->disk, SEGMENT, &report);
    check(report.damaged == 0, "a power cut is not damage", report.damaged);
}

static void after_cut(struct world *w, enum fake_loss loss, bool failed_may_return)
{
    reopen(w, loss);
    check_all(w, failed_may_return);
    char *first = kit_dump_all(w->s);
    reopen(w, FAKE_LOSE_ALL);
    char *second = kit_dump_all(w->s);
    check(strcmp(first, second) == 0, "recovering twice gives the same", 0);
    free(first);
    free(second);
    /* Life goes on, and ends badly again. */
    accept_world(w);
    live(w, 15);
    commit(w);
    reopen(w, FAKE_LOSE_ALL);
    check_all(w, false);
}

/* --- whole lives
 * ------------------------------------------------------------------------------------------------
 */

struct life {
    int steps;
    unsigned keeping, putting;
};

static struct world *world_of(const struct life *l, uint64_t seed)
{
    struct world *w = world_new(seed);
    w->keeping = l->keeping;
    w->putting = l->putting;
    return w;
}

static uint64_t steps_of_life(const struct life *l, uint64_t seed)
{
    struct world *w = world_of(l, seed);
    w->s = kit_open(w->disk, SEGMENT, NULL);
    snprintf(w->where, sizeof w->where, "seed %llu uncut", (unsigned long long)seed);
    live(w, l->steps);
    uint64_t steps = fake_disk_steps(w->disk);
    commit(w);
    reopen(w, FAKE_LOSE_ALL);
    check_all(w, false);
    check(w->tasks * 100 >= (uint64_t)l->steps * l->keeping / 12, "there was housekeeping",
          w->tasks);
    end_task(w);
    spool_close(w->s);
    world_free(w);
    return steps;
}

static bool cut_at(const struct life *l, uint64_t seed, uint64_t at, enum fake_loss loss)
{
    struct world *w = world_of(l, seed);
    fake_disk_cut_at(w->disk, at);
    struct spool_options o = {.segment_bytes = SEGMENT, .lifetime_s = 86400};
    struct err e;
    snprintf(w->where, sizeof w->where, "seed %llu cut at %llu loss %d", (unsigned long long)seed,
             (unsigned long long)at, loss);
    int rc = spool_open(&w->s, fake_disk_ops(w->disk), &o, NULL, &e);
    bool whole = rc >= 0 && live(w, l->steps);
    bool cut = fake_disk_is_cut(w->disk);
    if (cut && !whole) {
        size_t n = strlen(w->where);
        snprintf(w->where + n, sizeof w->where - n, " (%s)", fake_disk_last(w->disk));
    }
    after_cut(w, loss, true);
    end_task(w);
    spool_close(w->s);
    check(fake_disk_open_fds(w->disk) == 0, "no file stays open", fake_disk_open_fds(w->disk));
    world_free(w);
    return cut;
}

static void one_fault(const struct life *l, uint64_t seed, uint64_t at, int error, bool lasting)
{
    struct world *w = world_of(l, seed);
    snprintf(w->where, sizeof w->where, "seed %llu fail %d at %llu%s", (unsigned long long)seed,
             error, (unsigned long long)at, lasting ? " and on" : "");
    if (lasting)
        fake_disk_fail_from(w->disk, at, error);
    else
        fake_disk_fail_at(w->disk, at, error);
    struct spool_options o = {.segment_bytes = SEGMENT, .lifetime_s = 86400};
    struct err e;
    int rc = spool_open(&w->s, fake_disk_ops(w->disk), &o, NULL, &e);
    if (rc < 0) { /* said so; the next start is fine */
        check(e.code == rc && e.text[0], "a failed start says why", at);
        fake_disk_fail_from(w->disk, 0, 0);
        w->s = kit_open(w->disk, SEGMENT, NULL);
    }
    live(w, l->steps);
    fake_disk_fail_from(w->disk, 0, 0);
    /* The disk is well again: without a restart all that was not refused becomes durable. */
    for (int i = 0; i < 10; i++)
        commit(w);
    struct spool_event_in ev = {EVENT_SERVICE_STARTED, SLICE_NONE};
    uint64_t promise = spool_note(w->s, w->now, &ev, 1);
    check(commit(w) == 0 && spool_durable(w->s) >= promise, "a disk that recovers is used again",
          at);
    for (size_t i = 0; i < w->n_mails; i++)
        check(w->mails[i].failed || w->mails[i].durable == w->mails[i].n,
              "what was not refused is durable", i);
    reopen(w, FAKE_LOSE_ALL);
    check_all(w, false);
    end_task(w);
    spool_close(w->s);
    world_free(w);
}

/* What operators ask of the core. */
#include "relay/spooler/core_int.h"
#include "tests/unit/spooler/world.h"

static const struct queue_place begin;

static struct spooler_admin *request(enum admin_verb verb, const char *to)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = verb;
    a->rows_max = UINT64_MAX;
    a->filter.to = buf_of(slice_str(to));
    a->actor = buf_of(SLICE_LIT("root"));
    return a;
}

static struct spooler_admin *give_all(struct world *w, struct spooler_admin *a)
{
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_ADMIN)->msg, a);
    return a;
}

static struct spooler_admin *ask(struct world *w, enum admin_verb verb, const char *to,
                                 struct queue_place at, unsigned limit)
{
    struct spooler_admin *a = request(verb, to);
    a->at = at;
    a->limit = limit;
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_ADMIN)->msg, a);
    return a;
}

static void operators_hold_release_and_remove(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    pump(w);
    forget(w);
    struct spooler_admin *a = ask(w, ADMIN_HOLD, "one@*", begin, 0);
    assert_int_equal(a->matched, 1);
    assert_int_equal(a->changed, 1);
    assert_int_equal(a->next.id, 0);
    forget(w);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].state, RCPT_HELD);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 1); /* only the other one goes */
    assert_int_equal(job->rcpts[0], 1);

    a = ask(w, ADMIN_LIST, "", begin, 0);
    assert_int_equal(a->n_rows, 2);
    assert_true(a->rows[1].active && a->rows[0].state == RCPT_HELD);
    assert_true(a->rows[1].site.n > 0 && a->rows[0].site.n == 0);
    assert_true(slice_eq(a->rows[1].site, buf_slice(&job->site)));
    assert_true(slice_eq(a->rows[1].destination, buf_slice(&job->destination)));
    forget(w);
    a = ask(w, ADMIN_STATUS, "", begin, 0);
    assert_int_equal(a->totals.held, 1);
    assert_int_equal(a->totals.active, 1);
    assert_int_equal(a->n_sites, 1);
    assert_int_equal(a->sites[0].connections, 1);
    forget(w);

    /* What is with a connection is skipped, and tells so. */
    a = ask(w, ADMIN_RETRY, "two@a.test", begin, 0);
    assert_int_equal(a->matched, 1);
    assert_int_equal(a->skipped, 1);
    assert_int_equal(a->in_flight, 0); /* it is being tried */
    forget(w);
    static char words[] = "mailbox full";
    struct verdict full = deferred;
    full.text = words;
    result(w, job, &full, true);
    pump(w);
    forget(w);
    a = ask(w, ADMIN_QUEUE, "", begin, 0);
    assert_int_equal(a->totals.waiting, 1);
    assert_int_equal(a->totals.age_buckets[0], 1);
    assert_int_equal(a->totals.errors[0].n, 1);
    assert_string_equal(buf_str(&a->totals.errors[0].text), "mailbox full");
    assert_int_equal(a->totals.errors[1].n, 0);
    forget(w);
    a = ask(w, ADMIN_REMOVE, "two@a.test", begin, 0);
    assert_int_equal(a->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_CANCELLED);
    assert_null(dsn(w)); /* remove tells nobody */
    forget(w);
    a = ask(w, ADMIN_RELEASE, "", begin, 0);
    assert_int_equal(a->changed, 1);
    assert_non_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
}

static void retry_makes_due_now(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 1, 0, 0);
    result(w, job_of(w), &deferred, true);
    pump(w);
    assert_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
    struct spooler_admin *a = ask(w, ADMIN_RETRY, "", begin, 0);
    assert_int_equal(a->changed, 1);
    assert_non_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
}

/* Events of mail that goes on say when it is tried again and when it is given up. */
static void what_goes_on_tells_its_end(void **state)
{
    struct world *w = *state;
    static const enum admin_verb verbs[] = {ADMIN_RETRY, ADMIN_RELEASE, ADMIN_REDIRECT,
                                            ADMIN_PRIORITY};
    const uint64_t id = store(w, "a@x.test", 1, 0, 0);
    result(w, job_of(w), &deferred, true);
    pump(w);
    const struct recipient *r = &spool_find(w->spool, id)->rcpts[0];
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        struct spooler_admin *a = request(verbs[i], "");
        struct act *act = act_new(a);
        struct outcome o;
        act_decide(w->core, act, r, &o);
        assert_int_equal(o.expires.us, message_expires(recipient_message(r)).us);
        assert_true(o.change.due.us > 0 && o.change.due.us < o.expires.us);
        act_unref(act);
        spooler_admin_free(a);
    }
    forget(w);
}

/* What was asked of mail that is with a connection is forgotten, or done while it is there. */
static void what_is_in_flight_is_changed_later(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct out_work *job = job_of(w);
    assert_int_equal(job->n, 2);
    struct spooler_admin *a = ask(w, ADMIN_HOLD, "", begin, 0);
    assert_int_equal(a->skipped, 2);
    assert_int_equal(a->in_flight, 2);
    forget(w);
    a = ask(w, ADMIN_REMOVE, "two@*", begin, 0); /* the last word counts */
    assert_int_equal(a->in_flight, 1);
    forget(w);
    struct message *m = spool_find(w->spool, id);
    assert_true(m->rcpts[0].active && m->rcpts[0].state == RCPT_QUEUED);
    struct verdict both[] = {deferred, deferred};
    result(w, job, both, true);
    assert_int_equal(m->rcpts[0].state, RCPT_HELD);
    assert_int_equal(m->rcpts[1].state, RCPT_CANCELLED);
    pump(w);
    assert_null(seen(w, CORE_SEND, OUT_WORK));
    forget(w);
    /* What was delivered is not removed any more. */
    forget(w);
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    struct core_action *work = seen(w, CORE_SEND, OUT_WORK);
    job = (struct out_work *)(void *)work->msg;
    *work = w->seen[--w->n];
    forget(w);
    a = ask(w, ADMIN_REMOVE, "one@*", begin, 0);
    assert_int_equal(a->in_flight, 1);
    assert_int_equal(a->changed, 1); /* the held one */
    forget(w);
    result(w, job, &delivered, true);
    pump(w);
    forget(w);
    assert_int_equal(w->events[w->n_events - 1], EVENT_DELIVERED);
}

static struct spooler_admin *ask_route(struct world *w, const char *to, const char *route)
{
    struct spooler_admin *a = request(ADMIN_REDIRECT, to);
    a->route = buf_of(slice_str(route));
    return give_all(w, a);
}

/* The last word counts, also when it is that nothing shall change; what is said of the route does
 * not touch what was said of the rest. `noted`: how many recipients the last word was about. */
static const struct {
    const char *name;
    struct {
        enum admin_verb verb;
        const char *route;
    } said[4];
    size_t n;
    unsigned noted; /* by the last one */
    enum rcpt_state state;
    const char *route;
    enum event_name event; /* the last one */
} last_words[] = {
    {"held", {{ADMIN_HOLD, ""}}, 1, 1, RCPT_HELD, "", EVENT_HELD},
    {"hold, release",
     {{ADMIN_HOLD, ""}, {ADMIN_RELEASE, ""}},
     2,
     1,
     RCPT_QUEUED,
     "",
     EVENT_DEFERRED},
    {"hold, release, hold",
     {{ADMIN_HOLD, ""}, {ADMIN_RELEASE, ""}, {ADMIN_HOLD, ""}},
     3,
     1,
     RCPT_HELD,
     "",
     EVENT_HELD},
    {"hold, retry", {{ADMIN_HOLD, ""}, {ADMIN_RETRY, ""}}, 2, 0, RCPT_HELD, "", EVENT_HELD},
    {"release", {{ADMIN_RELEASE, ""}}, 1, 0, RCPT_QUEUED, "", EVENT_DEFERRED},
    {"remove, release",
     {{ADMIN_REMOVE, ""}, {ADMIN_RELEASE, ""}},
     2,
     0,
     RCPT_CANCELLED,
     "",
     EVENT_CANCELLED},
    {"remove, hold", {{ADMIN_REMOVE, ""}, {ADMIN_HOLD, ""}}, 2, 1, RCPT_HELD, "", EVENT_HELD},
    {"bounce, expire",
     {{ADMIN_BOUNCE, ""}, {ADMIN_EXPIRE, ""}},
     2,
     1,
     RCPT_EXPIRED,
     "",
     EVENT_EXPIRED},
    {"redirected", {{ADMIN_REDIRECT, "b"}}, 1, 1, RCPT_QUEUED, "b", EVENT_REROUTED},
    {"redirect, back",
     {{ADMIN_REDIRECT, "b"}, {ADMIN_REDIRECT, ""}},
     2,
     1,
     RCPT_QUEUED,
     "",
     EVENT_DEFERRED},
    {"redirect, elsewhere",
     {{ADMIN_REDIRECT, "b"}, {ADMIN_REDIRECT, "c"}},
     2,
     1,
     RCPT_QUEUED,
     "c",
     EVENT_REROUTED},
    {"back, where it is", {{ADMIN_REDIRECT, ""}}, 1, 0, RCPT_QUEUED, "", EVENT_DEFERRED},
    {"redirect, hold", {{ADMIN_REDIRECT, "b"}, {ADMIN_HOLD, ""}}, 2, 1, RCPT_HELD, "b", EVENT_HELD},
    {"hold, redirect, release",
     {{ADMIN_HOLD, ""}, {ADMIN_REDIRECT, "b"}, {ADMIN_RELEASE, ""}},
     3,
     1,
     RCPT_QUEUED,
     "b",
     EVENT_REROUTED},
    {"redirect, remove",
     {{ADMIN_REDIRECT, "b"}, {ADMIN_REMOVE, ""}},
     2,
     1,
     RCPT_CANCELLED,
     "",
     EVENT_CANCELLED},
};

static void the_last_word_counts(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < sizeof last_words / sizeof *last_words; i++) {
        uint64_t id = store(w, "a@x.test", 2, 0, 0);
        struct out_work *job = job_of(w);
        uint64_t noted = 0;
        for (size_t k = 0; k < last_words[i].n; k++) {
            const enum admin_verb verb = last_words[i].said[k].verb;
            struct spooler_admin *a = verb == ADMIN_REDIRECT
                                          ? ask_route(w, "two@*", last_words[i].said[k].route)
                                          : ask(w, verb, "two@*", begin, 0);
            noted = a->in_flight;
            assert_int_equal(a->skipped, 1);
            forget(w);
        }
        struct verdict both[] = {delivered, deferred};
        result(w, job, both, true);
        const struct message *m = spool_find(w->spool, id);
        const struct recipient *r = &m->rcpts[1];
        if (noted != last_words[i].noted || r->state != last_words[i].state ||
            !slice_eq(recipient_redirected(r), slice_str(last_words[i].route)))
            fail_msg("%s: noted %u, state %u", last_words[i].name, (unsigned)noted,
                     (unsigned)r->state);
        pump(w);
        assert_int_equal(w->events[w->n_events - 1], last_words[i].event);
        forget(w);
        ask(w, ADMIN_REMOVE, "", begin, 0);
        forget(w);
        close_world(w); /* no note is left, and no connection */
        open_world(w);
        w->n_events = 0;
    }
}

/* Operators' `bounce` and `expire` tell the sender, with a status that says which it was. */
static void bounce_and_expire_tell_the_sender(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    struct verdict both[] = {deferred, deferred};
    both[0].text = both[1].text = (char *)(uintptr_t) "mailbox full";
    result(w, job_of(w), both, true);
    pump(w);
    forget(w);
    struct spooler_admin *a = request(ADMIN_BOUNCE, "one@*");
    a->reason = buf_of(SLICE_LIT("not ours"));
    assert_int_equal(give_all(w, a)->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_BOUNCED);
    struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_int_equal(d->n, 1);
    assert_int_equal(d->rcpts[0].what, OUT_DSN_FAILED);
    assert_int_equal(d->rcpts[0].verdict.enhanced.class, 5);
    assert_int_equal(d->rcpts[0].verdict.class, CLASS_ADMIN);
    assert_non_null(strstr(d->rcpts[0].verdict.text, "not ours"));
    store_envelope(w, &(struct envelope){.dsn_for = id, .rcpts = rcpts, .n_rcpts = 1}, d->serial);
    forget(w);
    pump(w);
    forget(w);
    assert_int_equal(give_all(w, request(ADMIN_EXPIRE, "two@*"))->changed, 1);
    assert_int_equal(spool_find(w->spool, id)->rcpts[1].state, RCPT_EXPIRED);
    d = dsn(w);
    assert_non_null(d);
    assert_string_equal(d->rcpts[0].verdict.text, "mailbox full"); /* what was last said */
    forget(w);
}

/* Expired before it was ever tried, and with a sender who wants to hear nothing. */
static void expire_without_an_attempt(void **state)
{
    struct world *w = *state;
    store(w, "", 1, 0, 0);
    pump(w);
    forget(w);
    assert_int_equal(give_all(w, request(ADMIN_EXPIRE, ""))->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_EXPIRED);
    assert_null(dsn(w));
    forget(w);
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    forget(w);
    assert_int_equal(give_all(w, request(ADMIN_EXPIRE, ""))->changed, 1);
    struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_int_equal(d->rcpts[0].verdict.fault, FAULT_EXPIRED);
    forget(w);
}

static struct slice resolve_wanted(struct world *w)
{
    struct core_action *a = seen(w, CORE_SEND, OUT_RESOLVE);
    assert_non_null(a);
    return buf_slice(&((struct out_resolve *)(void *)a->msg)->domain);
}

/* Mail that was sent another way takes the old one after a restart, or all of the message does. */
static void redirect_is_kept(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    pump(w);
    forget(w);
    struct spooler_admin *a = request(ADMIN_REDIRECT, "one@*");
    a->route = buf_of(SLICE_LIT("backup"));
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    assert_int_equal(a->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_REROUTED);
    assert_true(slice_eq(resolve_wanted(w), SLICE_LIT("a.test>backup")));
    forget(w);
    a = request(ADMIN_REDIRECT, "one@*"); /* it goes there already */
    a->route = buf_of(SLICE_LIT("backup"));
    assert_int_equal(give_all(w, a)->skipped, 1);
    forget(w);
    close_world(w);
    open_world(w);
    struct message *m = spool_find(w->spool, id);
    assert_true(slice_eq(recipient_route(&m->rcpts[0]), SLICE_LIT("backup")));
    assert_int_equal(recipient_route(&m->rcpts[1]).n, 0);
    assert_int_equal(give_all(w, request(ADMIN_REDIRECT, "one@*"))->changed, 1); /* back */
    assert_int_equal(recipient_route(&m->rcpts[0]).n, 0);
    forget(w);
}

/* The priority of queued mail is changed for some recipients only, or until the next restart. */
static void priority_is_of_the_message_and_kept(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    pump(w);
    forget(w);
    plan(w, "a.test"); /* one connection takes both */
    pump(w);
    forget(w);
    uint64_t waits = store(w, "a@x.test", 2, 0, 0);
    pump(w);
    forget(w);
    struct spooler_admin *a = request(ADMIN_PRIORITY, "");
    a->priority = 7;
    assert_int_equal(give_all(w, a)->changed, 4); /* also what is with a connection */
    forget(w);
    a = request(ADMIN_PRIORITY, "one@*");
    a->priority = 7;
    assert_int_equal(give_all(w, a)->skipped, 2);
    forget(w);
    assert_int_equal(w->events[w->n_events - 1], EVENT_RESCHEDULED);
    close_world(w);
    open_world(w);
    assert_int_equal(spool_find(w->spool, id)->priority, 7);
    assert_int_equal(spool_find(w->spool, waits)->priority, 7);
    pump(w);
    forget(w);
    plan(w, "a.test");
    pump(w);
    struct core_action *work = seen(w, CORE_SEND, OUT_WORK);
    assert_non_null(work);
    assert_int_equal(((struct out_work *)(void *)work->msg)->params.priority, 7);
    forget(w);
}

/* Promise 32: no step is larger than asked; pages join without loss. */
static void listings_come_in_pages(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 25; i++) {
        store(w, "a@x.test", 1, 0, 0);
        pump(w);
        forget(w);
    }
    struct queue_place at = begin;
    uint64_t last = 0;
    size_t rows = 0, pages = 0;
    do {
        struct spooler_admin *a = ask(w, ADMIN_LIST, "", at, 10);
        assert_true(a->n_rows <= 10);
        for (size_t i = 0; i < a->n_rows; i++) {
            assert_true(a->rows[i].id > last);
            last = a->rows[i].id;
        }
        rows += a->n_rows;
        at = a->next;
        pages++;
        forget(w);
    } while (at.id);
    assert_int_equal(rows, 25);
    assert_int_equal(pages, 3);
}

/* The disk does not come back with what was changed, and the relay is to end. */
static void answers_wait_for_the_disk_until_they_are_let_go(void **state)
{
    struct world *w = *state;
    store(w, "a@x.test", 2, 0, 0);
    pump(w);
    forget(w);
    w->hold = true;
    give(w, request(ADMIN_HOLD, "one@*"), SPOOLER_ADMIN);
    pump(w);
    assert_non_null(w->held);
    assert_null(seen(w, CORE_ANSWER, SPOOLER_ADMIN));
    forget(w);
    struct spooler_control *c = must_alloc(sizeof *c);
    c->what = SPOOLER_LET_GO;
    give(w, c, SPOOLER_CONTROL);
    pump(w);
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_ADMIN));
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_CONTROL));
    assert_int_equal(w->n, 2);
    forget(w);
    give_all(w, request(ADMIN_HOLD, "two@*")); /* those that come later, too */
    forget(w);
    batch_done(w, w->held);
    w->hold = false;
    pump(w);
    assert_null(seen(w, CORE_ANSWER, SPOOLER_ADMIN)); /* once each */
    forget(w);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(operators_hold_release_and_remove),
        TEST(retry_makes_due_now),
        TEST(what_goes_on_tells_its_end),
        TEST(what_is_in_flight_is_changed_later),
        TEST(the_last_word_counts),
        TEST(bounce_and_expire_tell_the_sender),
        TEST(expire_without_an_attempt),
        TEST(redirect_is_kept),
        TEST(priority_is_of_the_message_and_kept),
        TEST(listings_come_in_pages),
        TEST(answers_wait_for_the_disk_until_they_are_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

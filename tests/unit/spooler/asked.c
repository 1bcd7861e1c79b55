/* What MAIL and RCPT asked for, in the core: release, deadline, notices. If this breaks, mail goes
 * before its time or after it, a sender hears of nothing, or twice. */
#include "tests/unit/spooler/world.h"

static const struct envelope_rcpt one = {.address = {(const uint8_t *)"one@a.test", 10}};

static struct envelope plain(void)
{
    return (struct envelope){.sender = SLICE_LIT("a@x.test"), .rcpts = &one, .n_rcpts = 1};
}

/* Is there an attempt now? What is asked for on the way is answered. */
static bool works_by(struct world *w, const char *domain)
{
    for (int i = 0; i < 3 && !seen(w, CORE_SEND, OUT_WORK); i++) {
        bool asked = seen(w, CORE_SEND, OUT_RESOLVE);
        forget(w);
        if (asked)
            plan(w, domain);
        pump(w);
    }
    return seen(w, CORE_SEND, OUT_WORK);
}

static bool works(struct world *w)
{
    return works_by(w, "a.test");
}

static struct out_work *take_job(struct world *w, const char *domain)
{
    assert_true(works_by(w, domain));
    struct core_action *a = seen(w, CORE_SEND, OUT_WORK);
    struct out_work *job = (struct out_work *)(void *)a->msg;
    *a = w->seen[--w->n];
    forget(w);
    return job;
}

/* The next attempt ends so, and its connection with it. */
static void attempt(struct world *w, const struct verdict *v)
{
    struct out_work *job = take_job(w, "a.test");
    struct spooler_conn_gone *gone = must_alloc(sizeof *gone);
    gone->conn = job->conn;
    result(w, job, v, false);
    give(w, gone, SPOOLER_CONN_GONE);
    pump(w);
}

/* A message that was deferred, where senders are warned after so many seconds. */
static uint64_t tried_once(struct world *w, int64_t delay_warning_s)
{
    w->delay_warning_s = delay_warning_s;
    close_world(w);
    open_world(w);
    uint64_t id = store(w, "a@x.test", 1, 0, 0);
    attempt(w, &deferred);
    return id;
}

/* The report that was asked for under this serial number comes to be stored: the answer to it. */
static int notice_comes(struct world *w, uint64_t about, uint64_t serial)
{
    store(w, "", 1, about, serial);
    pump(w);
    struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_non_null(answer);
    return ((struct spooler_store *)(void *)answer->msg)->error;
}

static struct spooler_admin *ask(struct world *w, enum admin_verb verb)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = verb;
    a->rows_max = UINT64_MAX;
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].msg == &a->msg)
            w->seen[i] = w->seen[--w->n];
    return a;
}

/* RFC 4865: not before, through a restart as well; then at once. It lives from then on. */
static void released_at_its_time(void **state)
{
    struct world *w = *state;
    struct envelope e = plain();
    e.release = wall_add_s(w->now, 7200);
    uint64_t id = store_envelope(w, &e, 0);
    assert_false(works(w));
    forget(w);
    const struct message *m = spool_find(w->spool, id);
    assert_int_equal(m->rcpts[0].due.us, e.release.us);
    assert_int_equal(message_expires(m).us, wall_add_s(e.release, 86400).us);
    struct spooler_admin *list = ask(w, ADMIN_LIST);
    assert_int_equal(list->n_rows, 1);
    assert_true(list->rows[0].state == RCPT_QUEUED && !list->rows[0].ready);
    assert_int_equal(list->rows[0].due.us, e.release.us);
    spooler_admin_free(list);
    close_world(w);
    open_world(w);
    pass(w, 7100 * 1000);
    assert_false(works(w));
    forget(w);
    pass(w, 101 * 1000);
    assert_true(works(w));
    forget(w);
}

/* `retry` of all does not send what is to wait; `release` does, and says so. */
static void operators_and_release_times(void **state)
{
    struct world *w = *state;
    struct envelope e = plain();
    e.release = wall_add_s(w->now, 7200);
    uint64_t id = store_envelope(w, &e, 0);
    pump(w);
    forget(w);
    struct spooler_admin *a = ask(w, ADMIN_RETRY);
    assert_true(a->matched == 1 && a->skipped == 1 && a->changed == 0);
    spooler_admin_free(a);
    assert_false(works(w));
    forget(w);
    /* Held and released it is as before: still too early. */
    spooler_admin_free(ask(w, ADMIN_HOLD));
    a = ask(w, ADMIN_RELEASE);
    assert_int_equal(a->changed, 1);
    spooler_admin_free(a);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].due.us, e.release.us);
    assert_false(works(w));
    forget(w);
    a = ask(w, ADMIN_RELEASE);
    assert_int_equal(a->changed, 1);
    assert_int_equal(w->events[w->n_events - 1], EVENT_RELEASED);
    spooler_admin_free(a);
    assert_true(works(w));
    forget(w);
}

/* A clock that is set back does not let it out, nor keep it longer than its sender said. */
static void the_clock_is_set_back(void **state)
{
    struct world *w = *state;
    struct envelope e = plain();
    e.release = wall_add_s(w->now, 7200);
    uint64_t id = store_envelope(w, &e, 0);
    pump(w);
    forget(w);
    w->now = wall_add_s(w->now, -86400);
    assert_false(works(w));
    forget(w);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].due.us, e.release.us);
    w->now = wall_add_s(w->now, 86400 + 7201);
    assert_true(works(w));
    forget(w);
}

/* BY=…R (RFC 2852): the last attempt at the deadline, then it goes back with X.4.7. */
static void returned_at_its_deadline(void **state)
{
    struct world *w = *state;
    struct envelope e = plain();
    e.params.by = MAIL_BY_RETURN;
    e.by_deadline = wall_add_s(w->now, 30);
    uint64_t id = store_envelope(w, &e, 0);
    assert_int_equal(message_expires(spool_find(w->spool, id)).us, e.by_deadline.us);
    attempt(w, &deferred);
    forget(w);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].due.us, e.by_deadline.us);
    pass(w, 31000);
    struct out_work *job = take_job(w, "a.test");
    assert_int_equal(job->attempt, 2);
    result(w, job, &deferred, true);
    pump(w);
    assert_int_equal(w->events[w->n_events - 1], EVENT_EXPIRED);
    const struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_int_equal(d->rcpts[0].what, OUT_DSN_FAILED);
    assert_true(d->rcpts[0].status.class == 5 && d->rcpts[0].status.subject == 4 &&
                d->rcpts[0].status.detail == 7);
    forget(w);
}

/* The sender hears once that it is late, after a restart as well, and of nothing more when it has
 * arrived. */
static void late_mail_is_told_of_once(void **state)
{
    struct world *w = *state;
    w->delay_warning_s = 100;
    w->lifetime_s = 5 * 86400;
    close_world(w);
    open_world(w);
    uint64_t id = store(w, "a@x.test", 1, 0, 0);
    attempt(w, &deferred);
    assert_null(dsn(w)); /* too early */
    forget(w);
    pass(w, 61000);
    attempt(w, &deferred);
    assert_null(dsn(w));
    forget(w);
    pass(w, 61000);
    struct out_work *job = take_job(w, "a.test");
    w->hold = true;
    result(w, job, &deferred, true);
    pump(w);
    assert_null(dsn(w)); /* not before it is durable */
    batch_done(w, w->held);
    w->hold = false;
    pump(w);
    struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_true(d->n == 1 && d->rcpts[0].what == OUT_DSN_DELAYED);
    assert_true(d->expires.us == message_expires(spool_find(w->spool, id)).us);
    forget(w);
    /* The notice is lost with a crash: it is made again. */
    close_world(w);
    open_world(w);
    pump(w);
    d = dsn(w);
    assert_non_null(d);
    uint64_t serial = d->serial;
    forget(w);
    uint64_t notice = store(w, "", 1, id, serial);
    pump(w);
    assert_true(spool_find(w->spool, notice)->dsn_delay);
    assert_int_equal(spool_find(w->spool, notice)->lifetime_s, CORE_DSN_LIFETIME_S); /* 92 */
    assert_true(spool_find(w->spool, id)->delay_told);
    struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_STORE);
    assert_true(answer && ((struct spooler_store *)(void *)answer->msg)->error == 0);
    forget(w);
    for (int i = 0; i < 2; i++) {
        pass(w, 70000);
        pump(w);
        assert_null(dsn(w));
        forget(w);
        close_world(w);
        open_world(w);
    }
    pump(w);
    assert_null(dsn(w));
    forget(w);
}

/* Reports on one recipient at a time (VERP): each failure once, and the others follow. */
static void one_report_for_each(void **state)
{
    struct world *w = *state;
    uint64_t id = store(w, "a@x.test", 2, 0, 0);
    const struct verdict both[] = {refused, refused};
    result(w, job_of(w), both, true);
    pump(w);
    for (uint32_t i = 0; i < 2; i++) {
        struct out_dsn *d = dsn(w);
        assert_true(d && d->n == 2 - i && d->rcpts[0].number == i);
        const struct envelope e = {.message_id = SLICE_LIT("<r@x>"),
                                   .dsn_for = id,
                                   .dsn_rcpt = i + 1,
                                   .rcpts = rcpts,
                                   .n_rcpts = 1};
        store_envelope(w, &e, d->serial);
        forget(w);
        pump(w);
        struct core_action *answer = seen(w, CORE_ANSWER, SPOOLER_STORE);
        assert_true(answer && ((struct spooler_store *)(void *)answer->msg)->error == 0);
    }
    assert_null(dsn(w));
    assert_null(spool_find(w->spool, id));
    forget(w);
}

/* All connections are busy, or the receiver is dead: it stands in line, no attempt ends, and it is
 * late all the same. */
static void late_in_line(void **state)
{
    struct world *w = *state;
    uint64_t id = tried_once(w, 100);
    forget(w);
    struct out_work *busy[4];
    size_t n = 0;
    for (; n < 4; n++) {
        store(w, "b@x.test", 1, 0, 0);
        if (!works(w))
            break;
        busy[n] = take_job(w, "a.test");
    }
    assert_true(n >= 1);
    forget(w);
    for (int i = 0; i < 13 && !dsn(w); i++) {
        forget(w);
        pass(w, 10000);
        pump(w);
        assert_null(seen(w, CORE_SEND, OUT_WORK));
    }
    const struct out_dsn *d = dsn(w);
    assert_true(d && d->message_id == id && d->rcpts[0].what == OUT_DSN_DELAYED);
    assert_int_equal(spool_find(w->spool, id)->rcpts[0].attempts, 1);
    forget(w);
    while (n > 0)
        out_work_free(busy[--n]);
}

/* It arrives while the notice is under way: there is nothing to be told any more. */
static void arrived_meanwhile(void **state)
{
    struct world *w = *state;
    uint64_t id = tried_once(w, 50);
    forget(w);
    pass(w, 61000);
    attempt(w, &deferred);
    const struct out_dsn *d = dsn(w);
    assert_non_null(d);
    uint64_t serial = d->serial;
    forget(w);
    pass(w, 50000); /* the notice is slow, but not lost */
    struct spooler_admin *a = ask(w, ADMIN_RETRY);
    spooler_admin_free(a);
    result(w, take_job(w, "a.test"), &delivered, true);
    assert_int_equal(notice_comes(w, id, serial), -ESTALE);
    assert_null(spool_find(w->spool, id));
    forget(w);
    pass(w, 120000);
    pump(w);
    assert_null(dsn(w));
    forget(w);
}

/* A delay that becomes a failure while the notice is under way is told as that. */
static void failed_meanwhile(void **state)
{
    struct world *w = *state;
    uint64_t id = tried_once(w, 50);
    forget(w);
    pass(w, 61000);
    attempt(w, &deferred);
    uint64_t serial = dsn(w)->serial;
    forget(w);
    spooler_admin_free(ask(w, ADMIN_RETRY));
    result(w, take_job(w, "a.test"), &refused, true);
    assert_int_equal(notice_comes(w, id, serial), -ESTALE);
    assert_true(spool_find(w->spool, id)->rcpts[0].dsn_due);
    forget(w);
    pass(w, 2000);
    pump(w);
    const struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_int_equal(d->rcpts[0].what, OUT_DSN_FAILED);
    forget(w);
}

/* BY=…N: late at its deadline, whatever the configuration warns after. */
static void notified_at_its_deadline(void **state)
{
    struct world *w = *state;
    struct envelope e = plain();
    e.params.by = MAIL_BY_NOTIFY;
    e.by_deadline = wall_add_s(w->now, 30);
    store_envelope(w, &e, 0);
    attempt(w, &deferred);
    assert_null(dsn(w));
    forget(w);
    pass(w, 31000);
    attempt(w, &deferred);
    const struct out_dsn *d = dsn(w);
    assert_non_null(d);
    assert_int_equal(d->rcpts[0].what, OUT_DSN_DELAYED);
    assert_true(d->rcpts[0].status.class == 4 && d->rcpts[0].status.detail == 7);
    forget(w);
}

/* One report on all that is due of a message; what was taken over by the receiver is not ours. */
static void one_report_on_all(void **state)
{
    struct world *w = *state;
    static const struct envelope_rcpt three[] = {
        {.address = {(const uint8_t *)"one@a.test", 10},
         .orcpt = {(const uint8_t *)"rfc822;o@b", 10},
         .notify = MAIL_NOTIFY_SUCCESS},
        {.address = {(const uint8_t *)"two@a.test", 10}},
        {.address = {(const uint8_t *)"six@a.test", 10}, .notify = MAIL_NOTIFY_NEVER}};
    static const struct verdict how[] = {
        {.kind = VERDICT_DELIVERED, .code = 250, .enhanced = {2, 0, 0}},
        {.kind = VERDICT_FAILED, .code = 550, .enhanced = {5, 1, 1}},
        {.kind = VERDICT_FAILED, .code = 550, .enhanced = {5, 1, 1}}};
    for (int passed = 0; passed < 2; passed++) {
        struct envelope e = plain();
        e.rcpts = three;
        e.n_rcpts = 3;
        e.envid = SLICE_LIT("E1");
        e.tags = SLICE_LIT("k=v");
        e.route = SLICE_LIT("way");
        e.params = (struct mail_params){.ret = MAIL_RET_HDRS, .requiretls = true, .priority = 5};
        uint64_t id = store_envelope(w, &e, 0);
        struct out_work *job = take_job(w, "a.test>way");
        /* What the client session needs of it. */
        assert_true(job->n == 3 && job->notify[0] == MAIL_NOTIFY_SUCCESS && job->notify[1] == 0);
        assert_true(slice_eq(buf_slice(&job->orcpts[0]), three[0].orcpt) && job->orcpts[1].n == 0);
        assert_true(slice_eq(buf_slice(&job->envid), e.envid));
        assert_true(job->params.requiretls && job->params.priority == 5);
        result_passed(w, job, how, true, passed);
        pump(w);
        const struct out_dsn *d = dsn(w);
        assert_non_null(d);
        assert_int_equal(d->n, passed ? 1 : 2);
        assert_int_equal(d->rcpts[0].what, passed ? OUT_DSN_FAILED : OUT_DSN_RELAYED);
        assert_true(slice_eq(buf_slice(&d->rcpts[d->n - 1].address), three[1].address));
        if (!passed)
            assert_true(slice_eq(buf_slice(&d->rcpts[0].orcpt), three[0].orcpt));
        assert_true(slice_eq(buf_slice(&d->tags), e.tags) &&
                    slice_eq(buf_slice(&d->route), e.route));
        assert_true(d->params.ret == MAIL_RET_HDRS && d->params.requiretls);
        uint64_t serial = d->serial;
        forget(w);
        w->n_events = 0;
        store(w, "", 1, id, serial);
        pump(w);
        assert_null(spool_find(w->spool, id));
        forget(w);
    }
}

static size_t matched(struct world *w, const char *tag)
{
    struct spooler_admin *a = must_alloc(sizeof *a);
    a->verb = ADMIN_LIST;
    a->rows_max = UINT64_MAX;
    a->filter.tag = buf_of(slice_str(tag));
    give(w, a, SPOOLER_ADMIN);
    pump(w);
    size_t n = a->n_rows;
    forget(w);
    return n;
}

/* An application finds its mail by what it has written on it. */
static void found_by_tag(void **state)
{
    struct world *w = *state;
    struct envelope e = plain();
    e.release = wall_add_s(w->now, 3600);
    e.params.priority = -5;
    store_envelope(w, &e, 0);
    e.tags = SLICE_LIT("campaign=spring sale\nmailing=7");
    store_envelope(w, &e, 0);
    pump(w);
    forget(w);
    assert_int_equal(matched(w, "mailing=7"), 1);
    assert_int_equal(matched(w, "campaign=spring*"), 1);
    assert_int_equal(matched(w, "campaign=*"), 1);
    assert_int_equal(matched(w, "campaign=7"), 0);
    assert_int_equal(matched(w, "campaig=*"), 0);
    assert_int_equal(matched(w, "mailing="), 0);
    assert_int_equal(matched(w, ""), 2);
    struct spooler_admin *a = ask(w, ADMIN_LIST);
    const struct queue_row *r = &a->rows[1];
    assert_true(slice_eq(r->tags, e.tags) && r->params.priority == -5 && a->rows[0].tags.n == 0);
    assert_int_equal(r->release.us, e.release.us);
    spooler_admin_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(released_at_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(operators_and_release_times, setup, teardown),
        cmocka_unit_test_setup_teardown(the_clock_is_set_back, setup, teardown),
        cmocka_unit_test_setup_teardown(returned_at_its_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(late_mail_is_told_of_once, setup, teardown),
        cmocka_unit_test_setup_teardown(late_in_line, setup, teardown),
        cmocka_unit_test_setup_teardown(one_report_for_each, setup, teardown),
        cmocka_unit_test_setup_teardown(arrived_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(notified_at_its_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(one_report_on_all, setup, teardown),
        cmocka_unit_test_setup_teardown(found_by_tag, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* From verdict to fate and to a line of the log: a wrong row here bounces mail that should wait, or
 * tells a consumer a wrong story. */
#include "relay/spooler/outcome.h"
#include "queue/intern.h"
#include "relay/base/must.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct wall now = {INT64_C(1800000000) * WALL_SECOND};
static const struct retry_policy retry = {.pause_s = {60, 600}, .n = 2, .jitter_percent = 0};

struct world {
    struct intern strings;
    struct message *m;
    struct recipient *r; /* two */
    struct rng rng;
};

static void world_init(struct world *w, const char *sender, int64_t lifetime_left_s)
{
    *w = (struct world){0};
    struct envelope_rcpt bob[] = {{.address = SLICE_LIT("Bob@Example.COM")},
                                  {.address = SLICE_LIT("Bob@Example.COM")}};
    struct envelope e = {
        .message_id = SLICE_LIT("<1@x.test>"), .size = 1234, .rcpts = bob, .n_rcpts = 2};
    struct wall queued = wall_add_s(now, lifetime_left_s < -100 ? lifetime_left_s : -100);
    w->m = message_new(77, &e, queued, intern_get(&w->strings, slice_str(sender)),
                       intern_get(&w->strings, SLICE_LIT("app")));
    w->m->lifetime_s = (uint32_t)((wall_add_s(now, lifetime_left_s).us - queued.us) / WALL_SECOND);
    w->r = w->m->rcpts;
    rng_seed(&w->rng, 1);
}

static void world_done(struct world *w)
{
    intern_done(&w->strings);
    free(w->m);
}

static const struct {
    enum verdict_kind kind;
    enum fault fault;
    int64_t left_s; /* of the lifetime */
    const char *sender;
    enum rcpt_state state;
    enum event_name event;
    bool dsn;
    int64_t due_in_s; /* -1: does not matter */
} fates[] = {
    {VERDICT_DELIVERED, 0, 5000, "a@x", RCPT_DELIVERED, EVENT_DELIVERED, false, -1},
    {VERDICT_DELIVERED, 0, -1, "a@x", RCPT_DELIVERED, EVENT_DELIVERED, false,
     -1}, /* late is not lost */
    {VERDICT_FAILED, 0, 5000, "a@x", RCPT_BOUNCED, EVENT_BOUNCED, true, -1},
    {VERDICT_FAILED, 0, 5000, "", RCPT_BOUNCED, EVENT_BOUNCED, false, -1}, /* checklist 92 */
    {VERDICT_DEFERRED, 0, 5000, "a@x", RCPT_QUEUED, EVENT_DEFERRED, false, 60},
    /* checklist 96: the last attempt is made when the lifetime ends */
    {VERDICT_DEFERRED, 0, 30, "a@x", RCPT_QUEUED, EVENT_DEFERRED, false, 30},
    {VERDICT_DEFERRED, 0, 0, "a@x", RCPT_EXPIRED, EVENT_EXPIRED, true, -1},
    {VERDICT_DEFERRED, FAULT_CONNECT_TIMEOUT, -5, "a@x", RCPT_EXPIRED, EVENT_EXPIRED, true, -1},
    {VERDICT_DEFERRED, 0, -5, "", RCPT_EXPIRED, EVENT_EXPIRED, false, -1},
    /* promise 10: never because of us */
    {VERDICT_DEFERRED, FAULT_LOCAL, -100000, "a@x", RCPT_QUEUED, EVENT_DEFERRED, false, 60},
};

static void each_verdict_has_its_fate(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        struct world w;
        world_init(&w, fates[i].sender, fates[i].left_s);
        struct verdict v = {.kind = fates[i].kind, .fault = fates[i].fault, .enhanced = {4, 0, 0}};
        struct outcome o = outcome_decide(&w.r[1], &v, "mx", &retry, now, &w.rng);
        assert_int_equal(o.change.rcpt, 1);
        assert_int_equal(o.change.state, fates[i].state);
        assert_int_equal(o.event, fates[i].event);
        assert_int_equal(o.change.dsn_due, fates[i].dsn);
        assert_int_equal(o.change.attempts, 1);
        assert_int_equal(o.change.last_attempt.us, now.us);
        if (fates[i].due_in_s >= 0)
            assert_int_equal(o.change.due.us, wall_add_s(now, fates[i].due_in_s).us);
        world_done(&w);
    }
}

static bool find(struct buf *fields, enum event_field f, struct event_value *ret)
{
    struct cursor c = cursor_of(buf_slice(fields));
    while (event_next(&c, ret))
        if (ret->field == f)
            return true;
    return false;
}

static void is_text(struct buf *fields, enum event_field f, const char *want)
{
    struct event_value v;
    bool found = find(fields, f, &v);
    assert_int_equal(found, want != NULL);
    if (want)
        assert_true(slice_eq(v.str, slice_str(want)));
}

static void is_number(struct buf *fields, enum event_field f, int64_t want)
{
    struct event_value v;
    assert_true(find(fields, f, &v));
    assert_int_equal(v.num, want);
}

static struct buf event_of(struct world *w, struct verdict *v, const struct outcome_facts *f)
{
    struct buf out = BUF_MAX(16384);
    struct outcome o = outcome_decide(&w->r[1], v, NULL, &retry, now, &w->rng);
    outcome_event(&out, &w->r[1], &o, v, f, now);
    return out;
}

static void a_line_tells_what_happened(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "a@x", 5000);
    struct attempt a = {.mx_port = 25, .dns_ms = -1, .connect_ms = 12, .tls_ms = -1, .data_ms = 5};
    a.mx_host = BUF_MAX(100);
    a.mx_ip = BUF_MAX(100);
    buf_add_str(&a.mx_host, "mx.example.com");
    buf_add_str(&a.mx_ip, "192.0.2.1");
    struct outcome_facts f = {
        .attempt = &a, .site = SLICE_LIT("mx.example.com"), .destination = SLICE_LIT("default")};
    struct verdict v = {
        .kind = VERDICT_DELIVERED, .code = 250, .enhanced = {2, 0, 0}, .phase = PHASE_EOD};
    verdict_set_text(&v, SLICE_LIT("Ok: queued as ABC123 (more)"));
    struct buf e = event_of(&w, &v, &f);
    is_number(&e, EV_RCPT, 1);
    is_text(&e, EV_RECIPIENT, "Bob@Example.COM");
    is_text(&e, EV_RECIPIENT_DOMAIN, "example.com");
    is_number(&e, EV_QUEUE_SECONDS, 100000);
    is_number(&e, EV_ATTEMPT, 1);
    is_number(&e, EV_SMTP_CODE, 250);
    is_text(&e, EV_ENHANCED_STATUS, "2.0.0");
    is_text(&e, EV_RESPONSE, "Ok: queued as ABC123 (more)");
    is_text(&e, EV_REMOTE_QUEUE_ID, "ABC123");
    is_text(&e, EV_COMMAND, "eod");
    is_text(&e, EV_MX_HOST, "mx.example.com");
    is_number(&e, EV_CONNECT_MS, 12);
    struct event_value none;
    assert_false(find(&e, EV_TLS_MS, &none)); /* what did not happen is absent */
    assert_false(find(&e, EV_NEXT_ATTEMPT, &none));
    is_text(&e, EV_ERROR, NULL);
    buf_done(&e);

    /* Fields stand in the table's order, so that the same event is the same bytes. */
    v.kind = VERDICT_DEFERRED;
    v.class = CLASS_RATE;
    e = event_of(&w, &v, &f);
    struct cursor c = cursor_of(buf_slice(&e));
    struct event_value value;
    unsigned last = 0;
    while (event_next(&c, &value)) {
        assert_true((unsigned)value.field > last);
        last = (unsigned)value.field;
    }
    is_number(&e, EV_NEXT_ATTEMPT, wall_add_s(now, 60).us);
    is_text(&e, EV_CLASS, "rate");
    is_text(&e, EV_REMOTE_QUEUE_ID, NULL);
    buf_done(&e);
    verdict_done(&v);

    /* Without a reply there is a cause, and no response. */
    world_done(&w);
    world_init(&w, "a@x", -1);
    v = verdict_of_fault(FAULT_CONNECT_REFUSED, PHASE_CONNECT, SLICE_NONE);
    e = event_of(&w, &v, &f);
    is_text(&e, EV_ERROR, "connect_refused");
    is_text(&e, EV_RESPONSE, NULL);
    is_text(&e, EV_CLASS, "expired");
    buf_done(&e);
    verdict_done(&v);
    attempt_done(&a);
    world_done(&w);
}

static void ids_of_receivers_are_found(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"Ok: queued as 4XyZ-1", "4XyZ-1"},
        {"2.0.0 Ok: queued as 12345", "12345"},
        {"OK id=1abcDE-0003x-Tz", "1abcDE-0003x-Tz"},
        {"queued as ", ""},
        {"queued as <x>", ""},
        {"thank you", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(slice_eq(outcome_remote_id(slice_str(cases[i][0])), slice_str(cases[i][1])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_verdict_has_its_fate),
        cmocka_unit_test(a_line_tells_what_happened),
        cmocka_unit_test(ids_of_receivers_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

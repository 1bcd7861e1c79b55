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
static const struct outcome_policy policy = {.retry = &retry};

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
    struct envelope e = {.message_id = SLICE_LIT("<1@x.test>"),
                         .tags = SLICE_LIT("a=1\nb=2"),
                         .size = 1234,
                         .rcpts = bob,
                         .n_rcpts = 2};
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
};

static void each_verdict_has_its_fate(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        struct world w;
        world_init(&w, fates[i].sender, fates[i].left_s);
        struct verdict v = {.kind = fates[i].kind, .fault = fates[i].fault, .enhanced = {4, 0, 0}};
        struct outcome o =
            outcome_decide(&w.r[1], &v, "mx", (struct passed_on){0}, &policy, now, &w.rng);
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

/* RFC 3461 section 6.2: what is filed here goes nowhere else, so nobody else tells of it; what
 * another server took, and will not tell of, is relayed. */
static void what_is_filed_is_delivered(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= 250; code += 250) {
        struct world w;
        world_init(&w, "a@x", 5000);
        w.r[1].notify = MAIL_NOTIFY_SUCCESS;
        struct verdict v = {
            .kind = VERDICT_DELIVERED, .code = (uint16_t)code, .enhanced = {2, 0, 0}};
        struct outcome o =
            outcome_decide(&w.r[1], &v, NULL, (struct passed_on){0}, &policy, now, &w.rng);
        assert_int_equal(o.event, code ? EVENT_RELAYED : EVENT_DELIVERED);
        assert_true(o.change.dsn_due);
        world_done(&w);
    }
}

/* Promise 10: never because of us. Before anybody was called it is no attempt, and no pause is the
 * longer for it; what a receiver has seen is one. */
static void a_fault_of_ours_ends_nothing(void **state)
{
    (void)state;
    static const struct {
        enum phase phase;
        uint32_t attempts; /* of five before */
        int64_t due_in_s;
    } rows[] = {{PHASE_NONE, 5, 60}, {PHASE_CONNECT, 5, 60}, {PHASE_MAIL, 6, 600}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world w;
        world_init(&w, "a@x", -100000);
        w.r[1].attempts = 5;
        w.r[1].last_attempt = wall_add_s(now, -7);
        struct verdict v = {.kind = VERDICT_DEFERRED, .fault = FAULT_LOCAL, .phase = rows[i].phase};
        struct outcome o =
            outcome_decide(&w.r[1], &v, NULL, (struct passed_on){0}, &policy, now, &w.rng);
        const bool ours = rows[i].phase != PHASE_MAIL;
        assert_int_equal(outcome_is_ours(&v), ours);
        assert_int_equal(o.change.state, RCPT_QUEUED);
        assert_int_equal(o.event, EVENT_DEFERRED);
        assert_int_equal(o.change.attempts, rows[i].attempts);
        assert_int_equal(o.change.last_attempt.us, wall_add_s(now, ours ? -7 : 0).us);
        assert_int_equal(o.change.due.us, wall_add_s(now, rows[i].due_in_s).us);
        world_done(&w);
    }
}

/* 77: what looks like greylisting waits for the second pause; what does not, for the first. */
static void greylisting_is_known(void **state)
{
    (void)state;
    static const struct {
        enum phase phase;
        uint16_t code;
        uint32_t attempts;
        enum verdict_class class;
        const char *text;
        bool is;
    } cases[] = {
        {PHASE_RCPT, 450, 0, CLASS_POLICY, "Greylisted", true},
        {PHASE_RCPT, 451, 0, CLASS_RATE, "try again later", true},
        {PHASE_EOD, 451, 0, CLASS_OTHER, "please try again", true},
        {PHASE_DATA, 450, 0, CLASS_OTHER, NULL, true},
        {PHASE_RCPT, 450, 1, CLASS_POLICY, "Greylisted", false}, /* heard of before */
        {PHASE_RCPT, 450, 2, CLASS_POLICY, "Greylisted", true},  /* tried, and never heard of */
        {PHASE_MAIL, 450, 0, CLASS_POLICY, "Greylisted", false}, /* no recipient, no triplet */
        {PHASE_BANNER, 450, 0, CLASS_POLICY, "Greylisted", false},
        {PHASE_RCPT, 421, 0, CLASS_POLICY, "Greylisted", false},
        {PHASE_RCPT, 452, 0, CLASS_OTHER, "later", false},
        {PHASE_RCPT, 450, 0, CLASS_FULL, "mailbox full", false},
        {PHASE_RCPT, 451, 0, CLASS_RATE, "rate limit exceeded", false},
        {PHASE_RCPT, 450, 0, CLASS_RATE, "Too many recipients", false},
        {PHASE_RCPT, 450, 0, CLASS_OTHER, "Mailbox busy", false}, /* RFC 5321 section 4.2.2 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_init(&w, "a@x", 86400);
        struct verdict v = {.kind = VERDICT_DEFERRED,
                            .phase = cases[i].phase,
                            .code = cases[i].code,
                            .class = cases[i].class,
                            .enhanced = {4, 7, 1}};
        if (cases[i].text)
            verdict_set_text(&v, slice_str(cases[i].text));
        const struct verdict heard = {.kind = VERDICT_DEFERRED, .phase = PHASE_RCPT},
                             not_heard = {.kind = VERDICT_DEFERRED, .phase = PHASE_CONNECT};
        const struct last_reply last = {.verdict = cases[i].attempts == 1 ? &heard : &not_heard};
        w.r[1].attempts = cases[i].attempts;
        w.r[1].last = cases[i].attempts ? &last : NULL;
        assert_int_equal(outcome_is_greylisting(&w.r[1], &v), cases[i].is);
        struct outcome o =
            outcome_decide(&w.r[1], &v, "mx", (struct passed_on){0}, &policy, now, &w.rng);
        bool long_pause = cases[i].is || cases[i].attempts;
        assert_int_equal(o.change.due.us, wall_add_s(now, long_pause ? 600 : 60).us);
        verdict_done(&v);
        world_done(&w);
    }
}

/* The destination's lifetime ends it, where it is shorter; and the event says so. */
static void a_destination_has_its_own_lifetime(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "a@x", 86400); /* queued 100 s ago */
    struct verdict v = {.kind = VERDICT_DEFERRED, .code = 452, .enhanced = {4, 2, 2}};
    struct outcome_policy left = {.retry = &retry, .lifetime_s = 130},
                          over = {.retry = &retry, .lifetime_s = 100},
                          longer = {.retry = &retry, .lifetime_s = 1000000};
    struct outcome o = outcome_decide(&w.r[0], &v, "", (struct passed_on){0}, &left, now, &w.rng);
    assert_int_equal(o.change.due.us, wall_add_s(now, 30).us);
    assert_int_equal(o.expires.us, wall_add_s(now, 30).us);
    o = outcome_decide(&w.r[0], &v, "", (struct passed_on){0}, &over, now, &w.rng);
    assert_int_equal(o.event, EVENT_EXPIRED);
    o = outcome_decide(&w.r[0], &v, "", (struct passed_on){0}, &longer, now, &w.rng);
    assert_int_equal(o.expires.us, wall_add_s(now, 86400).us);
    world_done(&w);
}

/* 74, 92, 94: what a sender is told, by what he asked for. */
static void notices_are_as_asked_for(void **state)
{
    (void)state;
    enum {
        N = MAIL_NOTIFY_NEVER,
        S = MAIL_NOTIFY_SUCCESS,
        F = MAIL_NOTIFY_FAILURE,
        D = MAIL_NOTIFY_DELAY
    };
    static const struct {
        unsigned notify;
        const char *sender;
        bool passed_on, trace;
        enum mail_by by;
        enum event_name event;
        bool success, failure;
    } rows[] = {
        {0, "a@x", false, false, MAIL_BY_NONE, EVENT_DELIVERED, false, true},
        {N, "a@x", false, false, MAIL_BY_NONE, EVENT_DELIVERED, false, false},
        {F, "a@x", false, false, MAIL_BY_NONE, EVENT_DELIVERED, false, true},
        {D, "a@x", false, false, MAIL_BY_NONE, EVENT_DELIVERED, false, false},
        {S, "a@x", false, false, MAIL_BY_NONE, EVENT_RELAYED, true, false},
        {S | F | D, "a@x", false, false, MAIL_BY_NONE, EVENT_RELAYED, true, true},
        {S, "a@x", true, false, MAIL_BY_NONE, EVENT_DELIVERED, false, false},
        {S, "", false, false, MAIL_BY_NONE, EVENT_RELAYED, false, false},
        /* BY=…T tells of each relay, also where DSN goes on; only NEVER mutes it */
        {0, "a@x", true, true, MAIL_BY_NOTIFY, EVENT_DELIVERED, true, true},
        {F, "a@x", true, true, MAIL_BY_RETURN, EVENT_DELIVERED, true, true},
        {N, "a@x", true, true, MAIL_BY_RETURN, EVENT_DELIVERED, false, false},
        /* BY=…N ends where DELIVERBY is not known, and its sender hears that */
        {0, "a@x", false, false, MAIL_BY_NOTIFY, EVENT_DELIVERED, true, true},
        {0, "a@x", true, false, MAIL_BY_NOTIFY, EVENT_DELIVERED, false, true},
        {N, "a@x", false, false, MAIL_BY_NOTIFY, EVENT_DELIVERED, false, false},
        {0, "a@x", false, false, MAIL_BY_RETURN, EVENT_DELIVERED, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world w;
        world_init(&w, rows[i].sender, 5000);
        w.r[1].notify = rows[i].notify & 15u;
        w.m->by = rows[i].by & 3u;
        w.m->by_trace = rows[i].trace;
        const struct passed_on passed = {rows[i].passed_on, rows[i].passed_on};
        struct verdict v = {.kind = VERDICT_DELIVERED, .code = 250, .enhanced = {2, 0, 0}};
        struct outcome o = outcome_decide(&w.r[1], &v, "mx", passed, &policy, now, &w.rng);
        if (o.event != rows[i].event || o.change.dsn_due != rows[i].success)
            fail_msg("row %zu: %d, %d", i, o.event, o.change.dsn_due);
        assert_int_equal(o.change.state, RCPT_DELIVERED);
        v = (struct verdict){.kind = VERDICT_FAILED, .enhanced = {5, 0, 0}};
        o = outcome_decide(&w.r[1], &v, "mx", passed, &policy, now, &w.rng);
        if (o.change.dsn_due != rows[i].failure)
            fail_msg("row %zu: failure %d", i, o.change.dsn_due);
        world_done(&w);
    }
}

/* An attempt falls on the deadline of BY=…N, and of BY=…R, which is the end of the lifetime. */
static void deadlines_are_due_moments(void **state)
{
    (void)state;
    static const struct {
        int64_t deadline_s; /* from now */
        enum mail_by by;
        int64_t due_in_s;
    } rows[] = {
        {30, MAIL_BY_NOTIFY, 30}, {90, MAIL_BY_NOTIFY, 60}, {-1, MAIL_BY_NOTIFY, 60},
        {0, MAIL_BY_NOTIFY, 60},  {30, MAIL_BY_NONE, 60},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b")};
        struct envelope e = {.rcpts = &rcpt,
                             .n_rcpts = 1,
                             .by_deadline = wall_add_s(now, rows[i].deadline_s),
                             .params = {.by = rows[i].by}};
        struct message *m = message_new(1, &e, wall_add_s(now, -100), NULL, NULL);
        struct rng rng;
        rng_seed(&rng, 1);
        m->lifetime_s = 86400;
        struct verdict v = {.kind = VERDICT_DEFERRED, .enhanced = {4, 0, 0}};
        struct outcome o =
            outcome_decide(&m->rcpts[0], &v, "mx", (struct passed_on){0}, &policy, now, &rng);
        assert_int_equal(o.change.due.us, wall_add_s(now, rows[i].due_in_s).us);
        free(m);
    }
}

/* 93, 94: who is to hear of a delay. */
static void late_by_what_was_asked_for(void **state)
{
    (void)state;
    enum {
        N = MAIL_NOTIFY_NEVER,
        S = MAIL_NOTIFY_SUCCESS,
        F = MAIL_NOTIFY_FAILURE,
        D = MAIL_NOTIFY_DELAY
    };
    static const struct {
        unsigned notify;
        enum mail_by by;
        int64_t release_s, deadline_s, tried_s, warning_s; /* after it was queued; 0: not */
        bool late;
    } rows[] = {
        {0, MAIL_BY_NONE, 0, 0, 3600, 3600, true},
        {0, MAIL_BY_NONE, 0, 0, 3599, 3600, false},
        {0, MAIL_BY_NONE, 0, 0, 9999, 0, false}, /* never */
        {D, MAIL_BY_NONE, 0, 0, 3600, 3600, true},
        {F, MAIL_BY_NONE, 0, 0, 3600, 3600, false},
        {S, MAIL_BY_NONE, 0, 0, 3600, 3600, false},
        {N, MAIL_BY_NONE, 0, 0, 3600, 3600, false},
        {0, MAIL_BY_NONE, 0, 0, 0, 3600, false},       /* not tried yet */
        {0, MAIL_BY_NONE, 5000, 0, 8000, 3600, false}, /* it was to wait */
        {0, MAIL_BY_NONE, 5000, 0, 8600, 3600, true},
        {0, MAIL_BY_NOTIFY, 0, 600, 600, 3600, true}, /* the deadline counts, and only it */
        {0, MAIL_BY_NOTIFY, 0, 600, 599, 3600, false},
        {0, MAIL_BY_NOTIFY, 0, 9000, 5000, 3600, false},
        {F, MAIL_BY_NOTIFY, 0, 600, 600, 0, true}, /* it was asked for by BY itself */
        {N, MAIL_BY_NOTIFY, 0, 600, 600, 3600, false},
        {0, MAIL_BY_RETURN, 0, 9000, 3600, 3600, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static const struct last_reply reply;
        struct intern strings = {0};
        struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b"), .notify = rows[i].notify};
        struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .params = {.by = rows[i].by}};
        if (rows[i].release_s)
            e.release = wall_add_s(now, rows[i].release_s);
        if (rows[i].deadline_s)
            e.by_deadline = wall_add_s(now, rows[i].deadline_s);
        struct message *m = message_new(1, &e, now, intern_get(&strings, SLICE_LIT("s@x")), NULL);
        struct recipient *r = &m->rcpts[0];
        if (rows[i].tried_s) {
            r->last_attempt = now;
            r->attempts = 1;
            r->last = &reply;
        }
        const struct wall then = wall_add_s(now, rows[i].tried_s ? rows[i].tried_s : 99999);
        if (outcome_is_late(r, false, rows[i].warning_s, then) != rows[i].late)
            fail_msg("row %zu", i);
        if (!rows[i].tried_s) /* but not where nothing is begun */
            assert_true(outcome_is_late(r, true, rows[i].warning_s, then));
        m->delay_told = true; /* once */
        assert_false(outcome_is_late(r, false, rows[i].warning_s, then));
        m->delay_told = false;
        r->state = RCPT_HELD; /* its operator knows */
        assert_false(outcome_is_late(r, false, rows[i].warning_s, then));
        r->state = RCPT_QUEUED;
        m->sender = NULL;
        assert_false(outcome_is_late(r, false, rows[i].warning_s, then));
        intern_done(&strings);
        free(m);
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
    struct outcome o =
        outcome_decide(&w->r[1], v, NULL, (struct passed_on){0}, &policy, now, &w->rng);
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
    is_text(&e, EV_REASON, NULL); /* nobody has to be told in our words what he said */
    is_text(&e, EV_REMOTE_QUEUE_ID, "ABC123");
    is_text(&e, EV_COMMAND, "eod");
    is_text(&e, EV_MX_HOST, "mx.example.com");
    is_number(&e, EV_CONNECT_MS, 12);
    is_text(&e, EV_TAGS, "a=1"); /* and so on: each event of a message has them */
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
        assert_true((unsigned)value.field > last || value.field == EV_TAGS);
        last = (unsigned)value.field;
    }
    is_number(&e, EV_NEXT_ATTEMPT, wall_add_s(now, 60).us);
    is_text(&e, EV_CLASS, "rate");
    is_text(&e, EV_REMOTE_QUEUE_ID, NULL);
    buf_done(&e);
    verdict_done(&v);

    /* Without a reply there is a cause with its words, and no response. */
    world_done(&w);
    world_init(&w, "a@x", -1);
    v = verdict_of_fault(FAULT_TLS_VERIFY, PHASE_STARTTLS, SLICE_LIT("certificate has expired"));
    e = event_of(&w, &v, &f);
    is_text(&e, EV_ERROR, "tls_verify");
    is_text(&e, EV_RESPONSE, NULL);
    is_text(&e, EV_REASON,
            "the receiver's certificate is not one for its name that can be trusted: certificate "
            "has expired");
    is_text(&e, EV_CLASS, "expired");
    buf_done(&e);

    /* What an operator did has his words, or none. */
    f.actor = SLICE_LIT("root");
    e = event_of(&w, &v, &f);
    is_text(&e, EV_REASON, NULL);
    buf_done(&e);
    f.reason = SLICE_LIT("moved");
    e = event_of(&w, &v, &f);
    is_text(&e, EV_REASON, "moved");
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
        cmocka_unit_test(a_fault_of_ours_ends_nothing),
        cmocka_unit_test(what_is_filed_is_delivered),
        cmocka_unit_test(greylisting_is_known),
        cmocka_unit_test(a_destination_has_its_own_lifetime),
        cmocka_unit_test(notices_are_as_asked_for),
        cmocka_unit_test(deadlines_are_due_moments),
        cmocka_unit_test(late_by_what_was_asked_for),
        cmocka_unit_test(a_line_tells_what_happened),
        cmocka_unit_test(ids_of_receivers_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

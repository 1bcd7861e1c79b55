/* `accepted` is one entry for all recipients on disk and a line for each in the delivery log. If
 * this breaks, a line says something else than what was handed in, or says it differently when it
 * is written again after a crash, or takes a number that is another event's. */
#include "queue/outbox.h"
#include "queue/spool_private.h"
#include "relay/base/defer.h"
#include "tests/unit/queue/kit.h"

enum { SEGMENT = 64 * 1024, RCPTS_MAX = 7 };

/* What has reached the log, as text: seq, time, name and fields to the last octet. */
struct log {
    struct buf text;
    uint64_t n, last_seq;
};

static void on_event(void *ctx, const struct event *e)
{
    struct log *l = ctx;
    buf_addf(&l->text, "%llu %lld %d ", (unsigned long long)e->seq, (long long)e->time.us, e->name);
    buf_add_prefixed(&l->text, e->fields);
    l->last_seq = e->seq;
    l->n++;
}

/* Whatever may be in an envelope. */
struct mail {
    char strings[12 + 2 * RCPTS_MAX][70];
    size_t n_strings;
    struct envelope_rcpt rcpts[RCPTS_MAX];
    struct envelope e;
    struct buf more;
};

static struct slice some_string(struct mail *m, struct rng *r, const char *between)
{
    char *to = m->strings[m->n_strings++];
    size_t n = rng_below(r, 4) ? rng_below(r, 30) : 0, at = 0;
    for (size_t i = 0; i < n; i++)
        to[at++] = (char)(33 + rng_below(r, 90));
    for (; n && *between; between++)
        to[at++] = *between;
    for (size_t i = 0; i < n; i++)
        to[at++] = (char)(33 + rng_below(r, 90));
    return slice_of(to, at);
}

static void make(struct mail *m, struct rng *r)
{
    *m = (struct mail){.more = BUF_MAX(1000)};
    struct slice *const texts[] = {
        &m->e.sender,     &m->e.user,      &m->e.client_ip,  &m->e.client_helo, &m->e.listener,
        &m->e.session_id, &m->e.auth_mech, &m->e.message_id, &m->e.envid,       &m->e.route};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i] = some_string(m, r, "");
    m->e.size = rng_below(r, 3) ? rng_below(r, 1u << 20) : 0;
    m->e.eight_bit = rng_below(r, 2);
    if (rng_below(r, 2))
        m->e.tags = SLICE_LIT("campaign=spring\nmailing=7");
    m->e.release.us = rng_below(r, 2) ? (int64_t)rng_below(r, 1000000) : 0;
    m->e.by_deadline.us = rng_below(r, 2) ? (int64_t)rng_below(r, 1000000) : 0;
    m->e.params.priority = (int8_t)((int)rng_below(r, 19) - 9);
    m->e.expires_s = rng_below(r, 3) ? 1 + rng_below(r, 1000000) : 0;
    m->e.n_rcpts = 1 + rng_below(r, RCPTS_MAX);
    m->e.rcpts = m->rcpts;
    for (size_t i = 0; i < m->e.n_rcpts; i++)
        m->rcpts[i] =
            (struct envelope_rcpt){.address = some_string(m, r, "@A.Example"),
                                   .orcpt = rng_below(r, 2) ? some_string(m, r, ";") : SLICE_NONE};
    if (rng_below(r, 3) == 0) { /* imported */
        event_add_str(&m->more, EV_ACTOR, SLICE_LIT("root"));
        event_add_str(&m->more, EV_REASON, some_string(m, r, "was"));
    }
}

/* The list of an `accepted` line's fields, once more. */
static void add_line(struct buf *out, uint64_t id, const struct mail *m, size_t i, struct wall now,
                     int64_t lifetime_s)
{
    const struct envelope *e = &m->e;
    char text[QUEUE_ID_SIZE];
    DEFER(buf_done) struct buf domain = BUF_MAX(512);
    queue_id_write(id, text);
    address_domain(e->rcpts[i].address, &domain);
    const struct {
        enum event_field field;
        struct slice text;
    } first[] = {{EV_MESSAGE_ID, e->message_id},
                 {EV_SENDER, e->sender},
                 {EV_RECIPIENT, e->rcpts[i].address},
                 {EV_RECIPIENT_DOMAIN, buf_slice(&domain)},
                 {EV_ORCPT, e->rcpts[i].orcpt},
                 {EV_ENVID, e->envid},
                 {EV_USER, e->user},
                 {EV_CLIENT_IP, e->client_ip},
                 {EV_CLIENT_HELO, e->client_helo},
                 {EV_LISTENER, e->listener},
                 {EV_SESSION_ID, e->session_id},
                 {EV_AUTH_MECH, e->auth_mech}};
    event_add_str(out, EV_QUEUE_ID, slice_str(text));
    event_add_int(out, EV_RCPT, (int64_t)i);
    for (size_t k = 0; k < sizeof first / sizeof *first; k++)
        event_add_str(out, first[k].field, first[k].text);
    event_add_int(out, EV_SIZE, (int64_t)e->size);
    event_add_time(out, EV_QUEUED_TIME, now);
    event_add_time(out, EV_EXPIRES, wall_add_s(now, lifetime_s));
    buf_add(out, buf_slice(&m->more));
    if (e->tags.n) {
        event_add_str(out, EV_TAGS, SLICE_LIT("campaign=spring"));
        event_add_str(out, EV_TAGS, SLICE_LIT("mailing=7"));
    }
    if (e->release.us)
        event_add_time(out, EV_RELEASE, e->release);
    if (e->by_deadline.us)
        event_add_time(out, EV_DEADLINE, e->by_deadline);
    if (e->params.priority)
        event_add_int(out, EV_PRIORITY, e->params.priority);
}

/* One message, its `accepted` as one entry or, as older programs stored them, each in full; behind
 * them another event. */
static void put(struct spool *s, const struct mail *m, struct wall now, bool in_full)
{
    struct buf lines[RCPTS_MAX];
    struct spool_event_in in[RCPTS_MAX + 1] = {{EVENT_ACCEPTED_ALL, buf_slice(&m->more)}};
    size_t n = in_full ? m->e.n_rcpts : 1;
    uint64_t id = spool_new_id(s, now);
    for (size_t i = 0; in_full && i < n; i++) {
        lines[i] = BUF_MAX(10000);
        add_line(&lines[i], id, m, i, now, m->e.expires_s ? (int64_t)m->e.expires_s : 86400);
        in[i] = (struct spool_event_in){EVENT_ACCEPTED, buf_slice(&lines[i])};
    }
    in[n] = (struct spool_event_in){EVENT_DSN_QUEUED, SLICE_LIT("\x04\x02")};
    spool_put(s, id, &m->e, kit_body(id, 10), false, now, in, n + 1, NULL);
    for (size_t i = 0; in_full && i < n; i++)
        buf_done(&lines[i]);
}

static void replay(struct spool *s, struct log *ret)
{
    *ret = (struct log){.text = BUF_MAX(SIZE_MAX / 2)};
    assert_int_equal(spool_each_event(s, 0, on_event, ret), 0);
}

static void assert_same(const struct log *a, const struct log *b)
{
    assert_int_equal(a->n, b->n);
    assert_true(slice_eq(buf_slice(&a->text), buf_slice(&b->text)));
}

/* The law: what the log got when the batch was durable, what it gets again after a power cut, with
 * footers or without, and what it got of the form in full are the same. */
static void test_same_lines(void **state)
{
    (void)state;
    struct log live[2], again;
    for (int in_full = 0; in_full < 2; in_full++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = kit_open(d, SEGMENT, NULL);
        struct spool_report report;
        struct rng r;
        uint64_t events = 0;
        rng_seed(&r, 5);
        live[in_full] = (struct log){.text = BUF_MAX(SIZE_MAX / 2)};
        for (int i = 0; i < 400; i++) {
            struct mail m;
            make(&m, &r);
            put(s, &m, (struct wall){NOW.us + i * 1001}, in_full);
            events += m.e.n_rcpts + 1;
            buf_done(&m.more);
            if (i % 3 == 0)
                assert_int_equal(kit_commit(s, on_event, &live[in_full], NULL), 0);
        }
        assert_int_equal(kit_commit(s, on_event, &live[in_full], NULL), 0);
        assert_int_equal(live[in_full].n, events);
        assert_int_equal(live[in_full].last_seq, events);
        assert_int_equal(spool_last_seq(s), events);
        for (int round = 0; round < 2; round++) {
            fake_disk_cut_at(d, fake_disk_steps(d) + 1);
            spool_close(s);
            fake_disk_power_on(d, FAKE_LOSE_ALL);
            s = kit_open(d, SEGMENT, &report);
            assert_int_equal(report.events, events);
            assert_int_equal(report.damaged, 0);
            assert_int_equal(spool_last_seq(s), events);
            replay(s, &again);
            assert_same(&live[in_full], &again);
            buf_done(&again.text);
            kit_tasks(s); /* footers */
        }
        spool_close(s);
        fake_disk_free(d);
    }
    assert_same(&live[0], &live[1]);
    buf_done(&live[0].text);
    buf_done(&live[1].text);
}

/* A segment whose events are in one entry is not freed before the log has the last of them. */
static void test_holds_its_segment(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    const struct envelope_rcpt to = {.address = SLICE_LIT("a@x.example")};
    const struct envelope_rcpt rcpts[] = {to, to, to};
    const struct envelope e = {.rcpts = rcpts, .n_rcpts = 3};
    struct spool_event_in in = {EVENT_ACCEPTED_ALL, SLICE_NONE};
    uint64_t id = spool_new_id(s, NOW);
    struct log again;
    spool_put(s, id, &e, kit_body(id, 10), false, NOW, &in, 1, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    struct message *sent = spool_after(s, 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct rcpt_change c = {.rcpt = i, .state = RCPT_DELIVERED, .attempts = 1};
        spool_change(s, sent, &c, 1, NOW, NULL, 0);
    }
    kit_settle(s);
    for (int i = 0; i < 2; i++) { /* by its records, by its footer */
        fake_disk_cut_at(d, fake_disk_steps(d) + 1);
        spool_close(s);
        fake_disk_power_on(d, FAKE_LOSE_ALL);
        s = kit_open(d, SEGMENT, NULL);
        struct message *next;
        kit_put(s, NOW, 1, 10, &next);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        kit_settle(s);
        spool_events_kept(s, 2); /* all but the last one of it */
        kit_settle(s);
        replay(s, &again);
        assert_int_equal(again.n, 4 + i);
        buf_done(&again.text);
    }
    spool_events_kept(s, 3);
    kit_settle(s);
    replay(s, &again);
    assert_int_equal(again.n, 2);
    buf_done(&again.text);
    spool_close(s);
    fake_disk_free(d);
}

static void count_in_order(void *ctx, const struct event *e)
{
    uint64_t *n = ctx;
    struct cursor c = cursor_of(e->fields);
    struct event_value v;
    assert_int_equal(e->seq, ++*n);
    assert_int_equal(e->name, EVENT_ACCEPTED);
    assert_true(event_next(&c, &v) && event_next(&c, &v));
    assert_int_equal(v.field, EV_RCPT);
    assert_int_equal(v.num, *n - 1);
}

/* A list of 65,535: its lines cost the log's room, not the spool's. */
static void test_large_list(void **state)
{
    (void)state;
    enum { N = SPOOL_MESSAGE_MAX_RCPTS };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct envelope_rcpt *rcpts = must_alloc(N * sizeof *rcpts);
    struct buf envelope = BUF_MAX(SIZE_MAX / 2);
    struct spool_report report;
    struct message *m;
    uint64_t n = 0;
    for (size_t i = 0; i < N; i++)
        rcpts[i] = (struct envelope_rcpt){.address = SLICE_LIT("somebody@example.com")};
    struct envelope e = {.message_id = SLICE_LIT("<1@x>"), .rcpts = rcpts, .n_rcpts = N};
    struct spool_event_in in = {EVENT_ACCEPTED_ALL, SLICE_NONE};
    uint64_t id = spool_new_id(s, NOW);
    envelope_write(&envelope, &e);
    spool_put(s, id, &e, kit_body(id, 10), false, NOW, &in, 1, &m);
    assert_int_equal(kit_commit(s, count_in_order, &n, NULL), 0);
    assert_int_equal(n, N);
    assert_true(m->record_bytes < envelope.n + 150);
    fake_disk_cut_at(d, fake_disk_steps(d) + 1);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_ALL);
    s = kit_open(d, SEGMENT, &report);
    assert_int_equal(report.events, N);
    assert_int_equal(spool_last_seq(s), N);
    n = 0;
    assert_int_equal(spool_each_event(s, 0, count_in_order, &n), 0);
    assert_int_equal(n, N);
    spool_close(s);
    fake_disk_free(d);
    buf_done(&envelope);
    free(rcpts);
}

static void count_one(void *ctx, const struct event *e)
{
    (void)e;
    ++*(uint64_t *)ctx;
}

/* Entries that no program writes: none is made into lines that were never meant. */
static void test_damaged(void **state)
{
    (void)state;
    enum { ALL = EVENT_ACCEPTED_ALL, OTHER = EVENT_DSN_QUEUED };
    static const struct {
        enum record_type type;
        int names[3]; /* 0: no more */
        bool bad_envelope;
        size_t cut; /* bytes at the end */
        int64_t n;
        uint64_t seen;
    } rows[] = {
        {RECORD_MESSAGE, {ALL}, false, 0, 2, 2},
        {RECORD_MESSAGE, {ALL, OTHER}, false, 0, 3, 3},
        {RECORD_MESSAGE, {OTHER, ALL}, false, 0, 3, 3},
        {RECORD_MESSAGE, {EVENT_ACCEPTED, EVENT_ACCEPTED, OTHER}, false, 0, 3, 3},
        {RECORD_MESSAGE, {0}, false, 0, 0, 0},
        {RECORD_MESSAGE, {ALL, ALL}, false, 0, -1, 2},
        {RECORD_MESSAGE, {OTHER, ALL}, true, 0, -1, 1},
        {RECORD_MESSAGE, {EVENT_ACCEPTED, OTHER}, true, 0, 2, 2},
        {RECORD_MESSAGE, {ALL, OTHER}, false, 1, -1, 2},
        {RECORD_MESSAGE, {ALL}, false, 1, -1, 0},
        {RECORD_STATE, {OTHER, ALL}, false, 0, -1, 1},
        {RECORD_EVENT, {OTHER, ALL}, false, 0, -1, 1},
        {RECORD_STATE, {OTHER}, false, 0, 1, 1},
        {RECORD_EVENT, {OTHER}, false, 0, 1, 1},
    };
    const struct envelope_rcpt rcpts[2] = {{.address = SLICE_LIT("a@x")},
                                           {.address = SLICE_LIT("b@x")}};
    const struct envelope e = {.rcpts = rcpts, .n_rcpts = 2};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf head = BUF_MAX(1000), envelope = BUF_MAX(1000);
        uint64_t seen = 0;
        envelope_write(&envelope, &e);
        if (rows[i].type == RECORD_MESSAGE) {
            message_record_write(&head, &(struct message_record){.id = 1});
            buf_add_prefixed(&head,
                             slice_head(buf_slice(&envelope), envelope.n - rows[i].bad_envelope));
            buf_add_prefixed(&head, SLICE_NONE);
        } else if (rows[i].type == RECORD_STATE) {
            buf_add_u64(&head, 1);
            buf_add_prefixed(&head, SLICE_NONE);
        }
        if (rows[i].names[0])
            events_begin(&head, NOW);
        for (size_t k = 0; k < 3 && rows[i].names[k]; k++)
            events_add(&head, (enum event_name)rows[i].names[k], SLICE_NONE);
        struct slice whole = slice_head(buf_slice(&head), head.n - rows[i].cut);
        assert_int_equal(outbox_read(rows[i].type, whole, count_one, &seen), rows[i].n);
        assert_int_equal(seen, rows[i].seen);
        assert_int_equal(outbox_read(rows[i].type, whole, NULL, NULL), rows[i].n);
        buf_done(&head);
        buf_done(&envelope);
    }
}

/* The reply that ends a message is in its event; the index would forget it at once, so the record
 * of mail that is delivered at once does not have it twice. What stays to be seen is kept. */
static void test_last_word(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_rcpts;
        bool dsn, unsynced, kept;
    } rows[] = {
        {1, false, false, false},
        {2, false, false, true}, /* the other one is still queued */
        {1, true, false, true},  /* its sender is to be told */
        {1, false, true, true},  /* what came before may fail */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = kit_open(d, SEGMENT, NULL);
        struct message *m;
        struct verdict v = verdict_of_fault(FAULT_SMTP_TIMEOUT, PHASE_RCPT, SLICE_NONE);
        kit_put(s, NOW, rows[i].n_rcpts, 100, &m);
        if (!rows[i].unsynced)
            assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        struct rcpt_change c = {.state = rows[i].dsn ? RCPT_BOUNCED : RCPT_DELIVERED,
                                .attempts = 1,
                                .dsn_due = rows[i].dsn,
                                .verdict = &v,
                                .host = "mx.x"};
        spool_change(s, m, &c, 1, NOW, NULL, 0);
        assert_int_equal(recipient_last(&m->rcpts[0]) != NULL, rows[i].kept);
        assert_int_equal(recipient_host(&m->rcpts[0]).n, rows[i].kept ? 4 : 0);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        spool_close(s);
        fake_disk_power_on(d, FAKE_LOSE_ALL);
        s = kit_open(d, SEGMENT, NULL);
        m = spool_after(s, 0);
        assert_int_equal(m != NULL, rows[i].n_rcpts == 2 || rows[i].dsn);
        if (m)
            assert_int_equal(recipient_last(&m->rcpts[0])->fault, FAULT_SMTP_TIMEOUT);
        verdict_done(&v);
        spool_close(s);
        fake_disk_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_lines), cmocka_unit_test(test_holds_its_segment),
        cmocka_unit_test(test_large_list), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_last_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

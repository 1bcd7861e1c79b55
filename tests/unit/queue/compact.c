/*
 * Giving disk space back. What would break for a user: the disk fills up although the mail has left
 * it; a message is lost, changed or sent again because it was being copied; what waits for the disk
 * grows. (Damage: compact_damage.c. Cuts and faults everywhere: compact_crash.c.)
 */
#include "tests/unit/queue/compact_kit.h"

/* --- the bound
 * --------------------------------------------------------------------------------------- */

enum { PUTS = 100000, LIVE_MAX = 3000 };

struct crowd {
    struct rng rng;
    struct alive {
        uint64_t id;
        size_t n;
    } live[LIVE_MAX];
    size_t n;
};

static void put_one(struct spool *s, struct crowd *c)
{
    struct message *m;
    size_t n = rng_below(&c->rng, 10) ? rng_below(&c->rng, 400) : rng_below(&c->rng, 8000);
    uint64_t id = kit_put(s, NOW, 1, n, &m);
    assert_true(c->n < LIVE_MAX);
    c->live[c->n++] = (struct alive){id, n};
}

static void deliver_one(struct spool *s, struct crowd *c, size_t keep)
{
    size_t at = keep + rng_below(&c->rng, c->n - keep);
    struct message *m = spool_find(s, c->live[at].id);
    assert_non_null(m);
    deliver(s, m);
    c->live[at] = c->live[--c->n];
}

/* One step of housekeeping a commit, as a busy spooler has it. */
static void busy_step(struct spool *s)
{
    commit(s);
    struct spool_task *t = take_copy(s);
    if (!t)
        return;
    spool_task_run(t);
    assert_true(spool_task_end(s, t));
}

static void test_bound(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(3);
    struct spool *s = open_spool(d);
    struct crowd *c = must_alloc(sizeof *c);
    size_t keep = 0;
    uint64_t most_over = 0;
    rng_seed(&c->rng, 3);
    for (int i = 0; i < PUTS; i++) {
        put_one(s, c);
        if (i % 200 == 0) { /* stays to the end */
            struct alive last = c->live[c->n - 1];
            c->live[c->n - 1] = c->live[keep];
            c->live[keep++] = last;
        }
        int swing = i % 20000 < 10000 ? i % 20000 : 20000 - i % 20000; /* slowly up and down */
        size_t wanted = keep + 200 + (size_t)swing / 16;
        for (int n = 0; n < 2 && c->n > wanted; n++)
            deliver_one(s, c, keep);
        if (rng_below(&c->rng, 12) == 0)
            busy_step(s);
        struct spool_counts n;
        spool_count(s, &n);
        if (n.disk_bytes > 2 * n.live_bytes + 2 * SEGMENT + most_over)
            most_over = n.disk_bytes - 2 * n.live_bytes - 2 * SEGMENT;
        if (i % 2500 == 0) {
            commit(s);
            kit_settle(s);
            assert_true(is_bounded(s));
        }
    }
    /* With one step a commit, what comes while a round copies is on top of it. */
    print_message("[          ] at most %llu KiB over the bound under load\n",
                  (unsigned long long)most_over / 1024);
    assert_true(most_over <= 16 * SEGMENT);
    while (c->n > keep)
        deliver_one(s, c, keep);
    commit(s);
    kit_settle(s);
    assert_true(is_bounded(s));
    check_reopened(d, &s);
    for (size_t i = 0; i < c->n; i++)
        check_read(s, c->live[i].id, c->live[i].n);
    struct spool_counts n;
    spool_count(s, &n);
    assert_int_equal(n.messages, PUTS / 200);
    free(c);
    spool_close(s);
    fake_disk_free(d);
}

/* Records that leave more than half of a segment empty: the bound cannot be met, and nobody tries
 * for ever. When mail goes, space comes back. */
static void test_hopeless(void **state)
{
    (void)state;
    enum { N = 30, BODY = 13000 };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m[N];
    for (int i = 0; i < N; i++) {
        kit_put(s, NOW, 1, BODY, &m[i]);
        let_go(m[i]);
        commit(s);
    }
    uint64_t steps = fake_disk_steps(d);
    kit_settle(s);
    assert_false(is_bounded(s));
    assert_true(fake_disk_steps(d) - steps < N * 30);
    steps = fake_disk_steps(d);
    kit_settle(s);
    assert_int_equal(fake_disk_steps(d), steps);
    for (int i = 0; i < N; i++) {
        check_read(s, m[i]->id, BODY);
        deliver(s, m[i]);
    }
    commit(s);
    kit_settle(s);
    assert_true(is_bounded(s));
    spool_close(s);
    fake_disk_free(d);
}

/* A message larger than a segment leaves no large file behind. */
static void test_larger_than_a_segment(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    for (int i = 0; i < 5; i++) {
        struct message *m;
        kit_put(s, NOW, 1, 200000, &m);
        commit(s);
        deliver(s, m);
        commit(s);
    }
    kit_settle(s);
    assert_true(is_bounded(s));
    check_reopened(d, &s);
    assert_true(is_bounded(s));
    spool_close(s);
    fake_disk_free(d);
}

/* --- meanwhile
 * --------------------------------------------------------------------------------------- */

enum moment { TAKEN, RAN, ENDED };
enum deed { DEFER, DELIVER, DEFER_AND_COMMIT, DELIVER_AND_COMMIT, BOUNCE };

static void act(struct spool *s, struct message *m, enum deed deed)
{
    struct rcpt_change c = {
        .attempts = 7, .due = {NOW.us + 77}, .last_attempt = NOW, .host = "mx.example"};
    if (deed == DELIVER || deed == DELIVER_AND_COMMIT)
        c = delivered(0);
    if (deed == BOUNCE)
        c = (struct rcpt_change){.state = RCPT_BOUNCED, .attempts = 1, .dsn_due = true};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    if (deed == DEFER_AND_COMMIT || deed == DELIVER_AND_COMMIT)
        commit(s);
}

static void meanwhile(enum moment moment, enum deed deed)
{
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *other;
    uint64_t id = kit_put(s, NOW, 1, 3000, &m), other_id = kit_put(s, NOW, 3, 2000, &other);
    commit(s);
    let_go(m);
    let_go(other);
    uint32_t first = m->home->number;
    struct spool_task *t = until_task(s);
    if (moment == TAKEN)
        act(s, m, deed);
    spool_task_run(t);
    if (moment == RAN)
        act(s, m, deed);
    assert_true(spool_task_end(s, t));
    if (moment == ENDED)
        act(s, m, deed);
    commit(s);
    kit_settle(s);
    m = spool_find(s, id);
    assert_int_equal(m == NULL, deed == DELIVER || deed == DELIVER_AND_COMMIT);
    if (m) {
        assert_true(m->home->number > first);
        assert_int_equal(m->rcpts[0].attempts, deed == BOUNCE ? 1 : 7);
        assert_int_equal(m->rcpts[0].dsn_due, deed == BOUNCE);
    }
    check_reopened(d, &s);
    if (spool_find(s, id))
        check_read(s, id, 3000);
    check_read(s, other_id, 2000);
    spool_close(s);
    fake_disk_free(d);
}

static void test_meanwhile(void **state)
{
    (void)state;
    for (enum moment moment = TAKEN; moment <= ENDED; moment++)
        for (enum deed deed = DEFER; deed <= BOUNCE; deed++)
            meanwhile(moment, deed);
}

/* The DSN is refused: its failures are due again, and no copy made meanwhile says otherwise. */
static void test_refused_dsn(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    uint64_t id = kit_put(s, NOW, 2, 1000, &m); /* one has failed, one still waits */
    act(s, m, BOUNCE);
    commit(s);
    struct spool_task *t = until_task(s);
    spool_task_run(t);
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = id};
    spool_put(s, spool_new_id(s, NOW), &e, kit_body(1, 5), false, NOW, NULL, 0, NULL);
    assert_int_equal(m->n_left, 1);
    spool_task_end(s, t);
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -EIO);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    assert_true(m->rcpts[0].dsn_due);
    kit_settle(s);
    assert_true(m->home->number > 1);
    check_reopened(d, &s);
    assert_true(spool_find(s, id)->rcpts[0].dsn_due);
    spool_close(s);
    fake_disk_free(d);
}

/* A copy of a report tells of nothing again: what has failed since it was stored is still due. */
static void test_copied_report(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *report;
    const uint64_t id = kit_put(s, NOW, 2, 1000, &m);
    const struct rcpt_change first = {.state = RCPT_BOUNCED, .attempts = 1, .dsn_due = true},
                             second = {.rcpt = 1, .state = RCPT_BOUNCED, .dsn_due = true};
    spool_change(s, m, &first, 1, NOW, NULL, 0);
    commit(s);
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = id, .size = 1000};
    const uint64_t told = spool_new_id(s, NOW);
    spool_put(s, told, &e, kit_body(told, 1000), false, NOW, NULL, 0, &report);
    commit(s);
    assert_true(!m->rcpts[0].dsn_due);
    spool_change(s, m, &second, 1, NOW, NULL, 0);
    commit(s);
    let_go(m);
    let_go(report);
    const struct segment *before = m->home;
    struct spool_task *t = until_task(s);
    spool_task_run(t);
    assert_true(spool_task_end(s, t));
    commit(s);
    assert_true(m->home != before && report->home != before && m->rcpts[1].dsn_due);
    check_reopened(d, &s);
    assert_true(spool_find(s, id)->rcpts[1].dsn_due && spool_find(s, told));
    spool_close(s);
    fake_disk_free(d);
}

/* A read that began before the copying ends well, however late. */
static void test_pinned(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    uint64_t id = kit_put(s, NOW, 1, 3000, &m);
    commit(s);
    let_go(m);
    struct segment *first = m->home;
    struct spool_read *r = spool_read_new(s, m, 0, SIZE_MAX);
    struct spool_task *t = until_task(s);
    spool_task_run(t);
    spool_task_end(s, t);
    commit(s);
    kit_settle(s);
    assert_ptr_equal(s->segments, first);
    assert_true(first->n_live == 0 && m->home != first);
    struct body *b = NULL;
    assert_int_equal(spool_read_run(r, &b), 0);
    assert_true(kit_body_is(b, id, 3000));
    body_unref(b);
    spool_read_free(s, r);
    kit_settle(s);
    assert_true(is_bounded(s));
    assert_int_equal(fake_disk_file_size(d, "seg-00000001"), -1);
    spool_close(s);
    fake_disk_free(d);
}

/* However much there is to copy, and however long the disk fails: what waits stays small. */
static void test_in_proportion(void **state)
{
    (void)state;
    enum { N = 3000, SMALL = 2000, LARGE = 1024 * 1024, LIMIT = 128 * 1024 + 3000 };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_sized(d, LARGE);
    struct message *m[N];
    for (int i = 0; i < N; i++) {
        kit_put(s, NOW, 1, SMALL, &m[i]);
        if (i % 64 == 63)
            commit(s);
        if (i % 64 == 63)
            for (int j = i - 63; j <= i; j++)
                let_go(m[j]);
    }
    commit(s);
    for (int i = 0; i < N; i++)
        if (i % 3)
            deliver(s, m[i]);
    commit(s);
    spool_note(s, NOW, &(struct spool_event_in){EVENT_SERVICE_STARTED, SLICE_NONE}, 1);
    commit(s); /* not much is stored any more */
    fake_disk_fail_from(d, 1, -EIO);
    fake_disk_fail_only(d, FAKE_PWRITE);
    uint64_t most = 0;
    for (int i = 0; i < 50; i++) {
        if (i == 20)
            fake_disk_fail_from(d, 0, 0);
        kit_tasks(s);
        uint64_t copies = 0;
        for (const struct pending *p = s->pending.first; p; p = p->next)
            copies += p->copy ? record_size(p->head_n + (p->body ? p->body->n : 0)) : 0;
        most = copies > most ? copies : most;
        kit_commit(s, NULL, NULL, NULL);
    }
    assert_true(most > 64 * 1024 && most <= LIMIT);
    kit_settle(s);
    struct spool_counts n;
    spool_count(s, &n);
    assert_true(n.disk_bytes <= 2 * n.live_bytes + 2 * LARGE);
    for (int i = 0; i < N; i += 3)
        check_read(s, m[i]->id, SMALL);
    spool_close(s);
    fake_disk_free(d);
}

/* A copy has each field of a recipient, also where it is the only one that is not as at the
 * beginning: mail that awaits its release and was sent another way goes that way. */
static void test_each_field_alone(void **state)
{
    static const struct verdict v = {.kind = VERDICT_DEFERRED, .code = 450};
    const struct rcpt_change changes[] = {
        {.due = NOW, .state = RCPT_HELD},
        {.due = NOW, .attempts = 1},
        {.due = {NOW.us + 1}},
        {.due = NOW, .last_attempt = NOW},
        {.due = NOW, .verdict = &v},
        {.due = NOW, .host = "mx.example.org"},
        {.due = NOW, .has_route = true, .route = SLICE_LIT("another")},
        {.due = NOW, .state = RCPT_BOUNCED, .dsn_due = true},
        {.due = NOW, .has_priority = true, .priority = 4},
    };
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = open_spool(d);
        struct message *m;
        const uint64_t id = kit_put(s, NOW, 1, 3000, &m);
        commit(s);
        let_go(m);
        spool_change(s, m, &changes[i], 1, NOW, NULL, 0);
        commit(s);
        const uint32_t before = m->home->number;
        char *was = kit_dump_text(m);
        struct spool_task *t = until_task(s);
        spool_task_run(t);
        assert_true(spool_task_end(s, t));
        commit(s);
        assert_true(spool_find(s, id)->home->number != before);
        for (int k = 0; k < 20 && (s->segments->number == before || s->retired); k++)
            commit(s); /* the change itself is gone, too */
        check_reopened(d, &s);
        assert_true(s->segments->number != before);
        char *is = kit_dump_text(spool_find(s, id));
        assert_string_equal(is, was);
        free(is);
        free(was);
        spool_close(s);
        fake_disk_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_hopeless),
        cmocka_unit_test(test_larger_than_a_segment),
        cmocka_unit_test(test_meanwhile),
        cmocka_unit_test(test_refused_dsn),
        cmocka_unit_test(test_copied_report),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_in_proportion),
        cmocka_unit_test(test_each_field_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Group commit, what it holds and what a failed one takes along. If this breaks, a burst makes one
 * batch of all memory, a large message's segment stays for good because of the small ones in it, or
 * a report that was not stored counts as told.
 */
#include "tests/unit/queue/compact_kit.h"

/* Neither more segments nor more bytes than a batch may have; what is left goes with the next. */
static void test_bounds(void **state)
{
    static const uint64_t sizes[] = {64u << 20, 1u << 20};
    enum { N = 120, BYTES = 200000 };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = open_sized(d, sizes[i]);
        for (int k = 0; k < N; k++)
            kit_put(s, NOW, 1, BYTES, NULL);
        const struct spool_batch *b = spool_batch_take(s);
        uint64_t bytes = 0;
        for (size_t k = 0; k < b->n_chunks; k++)
            bytes += b->chunks[k].n;
        assert_true(s->pending.first && bytes > BATCH_BYTES / 3);
        assert_true(bytes < BATCH_BYTES + BYTES + 1000);
        struct err e = {0};
        spool_batch_run(s->out);
        assert_int_equal(spool_batch_end(s, s->out, NULL, NULL, NULL, &e), 0);
        spool_settle(s, SIZE_MAX, NULL, NULL);
        for (int k = 0; k < 10; k++)
            commit(s);
        assert_int_equal(spool_durable(s), s->last_append);
        check_reopened(d, &s);
        spool_close(s);
        fake_disk_free(d);
    }
}

/* A segment that was made for one large record takes no others: they would keep it. */
static void test_large_alone(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *large, *small;
    kit_put(s, NOW, 1, 3 * SEGMENT, &large);
    commit(s);
    assert_true(large->home->size > SEGMENT);
    kit_put(s, NOW, 1, 10, &small);
    commit(s);
    assert_ptr_not_equal(small->home, large->home);
    assert_int_equal(small->home->size, SEGMENT);
    spool_close(s);
    fake_disk_free(d);
}

/* What is said of one message in one batch is settled in one step: nobody sees half of it. */
static void test_one_message_one_step(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    struct err e = {0};
    const uint64_t id = kit_put(s, NOW, 1, 10, &m);
    deliver(s, m);
    const uint64_t both = s->last_append;
    kit_put(s, NOW, 1, 10, NULL);
    struct spool_batch *b = spool_batch_take(s);
    spool_batch_run(b);
    assert_int_equal(spool_batch_end(s, b, NULL, NULL, NULL, &e), 0);
    assert_true(spool_settle(s, 1, NULL, NULL));
    assert_int_equal(spool_durable(s), both);
    assert_null(spool_find(s, id));
    assert_false(spool_settle(s, 1, NULL, NULL));
    assert_int_equal(spool_durable(s), s->last_append);
    spool_close(s);
    fake_disk_free(d);
}

/* What waits for a record that was taken back waits for nothing. */
static void test_durable_past_failures(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    struct err e = {0};
    kit_put(s, NOW, 2, 10, &m);
    commit(s);
    deliver(s, m);
    const uint64_t kept = s->last_append, lost = kit_put(s, NOW, 1, 10, NULL);
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -EIO);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    assert_null(spool_find(s, lost));
    assert_true(spool_durable(s) < kept);
    struct spool_batch *b = spool_batch_take(s);
    spool_batch_run(b);
    assert_int_equal(spool_batch_end(s, b, NULL, NULL, NULL, &e), 0);
    spool_settle(s, SIZE_MAX, NULL, NULL);
    assert_int_equal(spool_durable(s), s->last_append);
    spool_close(s);
    fake_disk_free(d);
}

static struct message *put_notice(struct spool *s, uint64_t about, bool delay)
{
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = about, .dsn_delay = delay};
    struct message *m;
    spool_put(s, spool_new_id(s, NOW), &e, NULL, false, NOW, NULL, 0, &m);
    return m;
}

/* A notice of a delay, and nothing else, that was not stored has told nobody. */
static void test_delay_not_told(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    kit_put(s, NOW, 1, 10, &m);
    commit(s);
    put_notice(s, m->id, true);
    assert_true(m->delay_told && m->pending == 1);
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -ENOSPC);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -ENOSPC);
    assert_true(!m->delay_told && m->pending == 0);
    check_reopened(d, &s);
    spool_close(s);
    fake_disk_free(d);
}

/* A report that fails together with the message it tells of takes it along, and touches it no more.
 */
static void test_failed_together(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    const uint64_t id = kit_put(s, NOW, 1, 10, &m);
    const struct rcpt_change c = {.state = RCPT_BOUNCED, .attempts = 1, .dsn_due = true};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    const uint64_t report = put_notice(s, id, false)->id;
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -EIO);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    assert_null(spool_find(s, id));
    assert_null(spool_find(s, report));
    check_reopened(d, &s);
    spool_close(s);
    fake_disk_free(d);
}

static void come_and_go(struct spool *s)
{
    struct message *m;
    kit_put(s, NOW, 1, 700, &m);
    deliver(s, m);
    commit(s);
}

/* Numbers go on where they were, also when all that is left after a kill is a segment of copies:
 * what it copies is old. */
static void test_numbers_outlive_their_records(void **state)
{
    enum { OLD = 3000 };
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *old;
    struct spool_task *t = NULL;
    kit_put(s, NOW, 1, OLD, &old);
    commit(s);
    let_go(old);
    for (int i = 0; i < 500 && !t; i++) {
        come_and_go(s);
        t = take_copy(s);
    }
    const uint32_t before = s->tail->number;
    while (s->tail->number == before && segment_sector_up(s->tail->end) + OLD < SEGMENT)
        come_and_go(s);
    spool_task_run(t);
    assert_true(spool_task_end(s, t));
    commit(s); /* the copy, into a segment of its own */
    assert_true(s->tail->number > before && old->home == s->tail);
    assert_int_equal(old->record_at, SEGMENT_DATA);
    for (int i = 0; i < 20 && (s->segments != s->tail || s->retired); i++)
        commit(s); /* what is freed goes one with each */
    assert_true(s->segments == s->tail && !s->retired);
    struct fake_disk *killed = fake_disk_clone(d);
    struct spool *after = open_spool(killed);
    assert_int_equal(after->fold.index.n, 1);
    assert_int_equal(spool_last_id(after), spool_last_id(s));
    assert_int_equal(spool_last_seq(after), spool_last_seq(s));
    spool_close(after);
    fake_disk_free(killed);
    spool_close(s);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_large_alone),
        cmocka_unit_test(test_one_message_one_step),
        cmocka_unit_test(test_durable_past_failures),
        cmocka_unit_test(test_delay_not_told),
        cmocka_unit_test(test_failed_together),
        cmocka_unit_test(test_numbers_outlive_their_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

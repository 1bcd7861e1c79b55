/* Events of a running spool once more. If this breaks, lines are missing from the delivery log, or
 * are others than they would have been, after it could not be written for a while. */
#define HISTORY_SEGMENT (16 * 1024)
#include "tests/unit/queue/history.h"

struct told {
    uint64_t seq, hash, name;
};
struct list {
    struct told at[20000];
    size_t n;
};

static void on_event(void *ctx, const struct event *e)
{
    struct list *l = ctx;
    assert_true(l->n < sizeof l->at / sizeof *l->at);
    assert_true(l->n == 0 || e->seq > l->at[l->n - 1].seq);
    l->at[l->n++] = (struct told){e->seq, slice_hash(e->fields), e->name};
}

/* All of (after, upto], so many bytes at a time: what opening the spool would tell. */
static void check(struct spool *s, const struct list *all, uint64_t after, uint64_t upto,
                  uint64_t bytes)
{
    struct list *got = must_alloc(sizeof *got);
    size_t from = 0, steps = 0;
    for (uint64_t at = after; at < upto; steps++) {
        struct spool_again *a = spool_again_new(s, at, upto, false);
        uint64_t through = spool_again_run(a, bytes, on_event, got);
        spool_again_free(s, a);
        assert_in_range(through, at + 1, upto);
        at = through;
    }
    while (from < all->n && all->at[from].seq <= after)
        from++;
    size_t n = 0;
    while (from + n < all->n && all->at[from + n].seq <= upto)
        n++;
    assert_int_equal(got->n, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(got->at[i].seq == all->at[from + i].seq);
        assert_true(got->at[i].hash == all->at[from + i].hash);
        assert_int_equal(got->at[i].name, all->at[from + i].name);
    }
    assert_true(n == 0 || bytes > 1 || steps > n / 8); /* of a record's end: a few at a time */
    free(got);
}

static void test_the_same_as_at_the_start(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct history h = history_new(seed, true);
        struct list *all = must_alloc(sizeof *all);
        history_run(&h, 600);
        const uint64_t last = spool_last_seq(h.s);
        assert_int_equal(spool_each_event(h.s, 0, on_event, all), 0);
        assert_true(all->n > 20 && all->at[all->n - 1].seq == last);
        const uint64_t first = all->at[0].seq;
        check(h.s, all, 0, last, UINT64_MAX);
        check(h.s, all, first - 1, last, 1);
        check(h.s, all, first - 1, last, 2000);
        check(h.s, all, last - 1, last, UINT64_MAX);
        for (uint64_t at = first; at < last; at += last / 7 + 1)
            check(h.s, all, at, at + 5 < last ? at + 5 : last, 100);
        /* What comes meanwhile is not asked for, and not told; what is read stays. */
        struct spool_again *a = spool_again_new(h.s, first - 1, last, false);
        struct list *got = must_alloc(sizeof *got);
        history_run(&h, 200);
        assert_true(spool_again_run(a, UINT64_MAX, on_event, got) == last);
        assert_int_equal(got->n, all->n);
        assert_memory_equal(got->at, all->at, all->n * sizeof *all->at);
        spool_again_free(h.s, a);
        free(got);
        free(all);
        history_done(&h);
    }
}

/* Segments that are read are not freed meanwhile, and are afterwards. */
static void test_segments_stay(void **state)
{
    (void)state;
    struct history h = history_new(9, false);
    struct spool_counts before, pinned, after;
    struct list *got = must_alloc(sizeof *got);
    for (unsigned i = 0; i < 60; i++) {
        struct message *m;
        kit_put(h.s, NOW, 1, 1500, &m);
        struct rcpt_change c = {.state = RCPT_DELIVERED, .attempts = 1, .last_attempt = NOW};
        struct spool_event_in ev = {EVENT_DELIVERED, SLICE_NONE};
        spool_change(h.s, m, &c, 1, NOW, &ev, 1);
        assert_int_equal(kit_commit(h.s, NULL, NULL, NULL), 0);
    }
    const uint64_t last = spool_last_seq(h.s);
    spool_count(h.s, &before);
    assert_true(before.segments > 4);
    struct spool_again *a = spool_again_new(h.s, 0, last, false);
    spool_events_kept(h.s, last);
    kit_settle(h.s);
    spool_count(h.s, &pinned);
    assert_true(pinned.segments >= before.segments);
    assert_true(spool_again_run(a, UINT64_MAX, on_event, got) == last);
    assert_int_equal(got->n, last);
    spool_again_free(h.s, a);
    for (unsigned i = 0; i < 30; i++) {
        kit_put(h.s, NOW, 1, 10, NULL);
        kit_commit(h.s, NULL, NULL, NULL);
    }
    kit_settle(h.s);
    spool_count(h.s, &after);
    assert_true(after.segments < before.segments);
    free(got);
    history_done(&h);
}

static size_t run(struct history *h, struct list *got, bool passes_over, uint64_t *ret_through,
                  int *ret_error)
{
    uint32_t segment = 0;
    struct spool_again *a = spool_again_new(h->s, 0, spool_last_seq(h->s), passes_over);
    got->n = 0;
    *ret_through = spool_again_run(a, UINT64_MAX, on_event, got);
    *ret_error = spool_again_trouble(a, &segment);
    assert_true(*ret_error == 0 || segment > 0);
    spool_again_free(h->s, a);
    return got->n;
}

/* A file that cannot be opened, now (the first trouble ends it, and all before it was told), or for
 * as long as it is asked: then the others are told all the same. */
static void test_what_cannot_be_read(void **state)
{
    (void)state;
    struct history h = history_new(5, false);
    struct list *all = must_alloc(sizeof *all), *got = must_alloc(sizeof *got);
    uint64_t through;
    int error, broken = 0;
    history_run(&h, 300);
    const uint64_t last = spool_last_seq(h.s);
    assert_true(run(&h, all, false, &through, &error) > 20 && error == 0 && through == last);
    fake_disk_count_reads(h.disk, true);
    fake_disk_fail_only(h.disk, FAKE_PREAD);
    for (uint64_t step = 1; broken >= 0 && step < 200; step++) {
        fake_disk_fail_at(h.disk, fake_disk_steps(h.disk) + step, -EMFILE);
        run(&h, got, false, &through, &error);
        if (error == 0)
            break;
        broken++;
        assert_int_equal(error, -EMFILE);
        assert_true(through < last && through == (got->n ? got->at[got->n - 1].seq : 0));
        assert_memory_equal(got->at, all->at, got->n * sizeof *got->at);
        fake_disk_fail_at(h.disk, fake_disk_steps(h.disk) + step, -EMFILE);
        run(&h, got, true, &through, &error);
        assert_int_equal(error, -EMFILE);
        assert_int_equal(through, last);
        assert_true(got->n < all->n && (got->n > 0 || broken == 0));
    }
    assert_true(broken > 3);
    fake_disk_fail_at(h.disk, 0, 0);
    free(all);
    free(got);
    history_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_as_at_the_start),
        cmocka_unit_test(test_segments_stay),
        cmocka_unit_test(test_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

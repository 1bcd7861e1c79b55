/*
 * Index footers. What would break for a user: a spool that opens with other mail in it than was
 * there, because what a footer says differs from what its records say; or one that needs minutes to
 * open, because it reads all mail again.
 */
#include "tests/unit/queue/history.h"

/* Everything that opening makes of a disk. */
struct opened {
    char *dump;
    struct spool_report report;
    struct spool_counts counts;
    uint64_t last_seq, last_id, next_record;
};

static struct opened open_and_look(struct fake_disk *d)
{
    struct opened o;
    struct spool *s = kit_open(d, HISTORY_SEGMENT, &o.report);
    o.dump = kit_dump_all(s);
    spool_count(s, &o.counts);
    o.last_seq = spool_last_seq(s);
    o.last_id = spool_last_id(s);
    spool_close(s);
    return o;
}

static void assert_same(const struct opened *a, const struct opened *b)
{
    assert_string_equal(a->dump, b->dump);
    assert_memory_equal(&a->report, &b->report, sizeof a->report);
    assert_int_equal(a->counts.live_bytes, b->counts.live_bytes);
    assert_int_equal(a->counts.segments, b->counts.segments);
    assert_int_equal(a->last_seq, b->last_seq);
    assert_int_equal(a->last_id, b->last_id);
}

/* The law: folding footers is folding records. */
static void test_law(void **state)
{
    (void)state;
    size_t footers = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct history h = history_new(seed, true);
        history_run(&h, 400 + (unsigned)seed * 5);
        char *live = kit_dump_all(h.s);
        spool_close(h.s);
        h.s = NULL;
        footers += history_footers(h.disk, NULL);
        struct fake_disk *without = fake_disk_clone(h.disk), *with = fake_disk_clone(h.disk);
        history_drop_footers(without);
        assert_int_equal(history_footers(without, NULL), 0);
        struct opened a = open_and_look(with), b = open_and_look(without);
        assert_int_equal(a.report.damaged, 0);
        assert_string_equal(a.dump, live);
        assert_same(&a, &b);
        struct spool_report report;
        struct err e = {0};
        assert_int_equal(spool_verify(fake_disk_ops(h.disk), false, history_say, NULL, &report, &e),
                         0);
        assert_int_equal(report.records, a.report.records);
        assert_int_equal(report.events, a.report.events);
        free(a.dump);
        free(b.dump);
        free(live);
        fake_disk_free(with);
        fake_disk_free(without);
        history_done(&h);
    }
    assert_true(footers > 100);
}

/* The same life with and without housekeeping in between has the same mail. */
static void test_later_segments(void **state)
{
    (void)state;
    size_t footers = 0;
    for (uint64_t seed = 100; seed < 120; seed++) {
        struct history h = history_new(seed, false);
        history_run(&h, 500);
        kit_tasks(h.s); /* all footers at once, behind finished and changed messages */
        char *live = kit_dump_all(h.s);
        spool_close(h.s);
        footers += history_footers(h.disk, NULL);
        h.s = kit_open(h.disk, HISTORY_SEGMENT, NULL);
        char *again = kit_dump_all(h.s);
        assert_string_equal(live, again);
        free(live);
        free(again);
        history_done(&h);
    }
    assert_true(footers > 20);
}

/* Mail that is delivered at once leaves nothing in a footer; queued mail what the index needs. */
static void test_size(void **state)
{
    (void)state;
    for (unsigned queued = 0; queued < 2; queued++) {
        struct history h = history_new(7, false);
        /* One waits in the first segment, so that the others are not about to be freed. */
        kit_put(h.s, NOW, 1, 100, NULL);
        for (int i = 0; i < 60; i++) {
            struct message *m;
            struct rcpt_change c = {.state = RCPT_DELIVERED, .attempts = 1};
            kit_put(h.s, NOW, 1, 1500, &m);
            if (!queued || i % 2)
                spool_change(h.s, m, &c, 1, NOW, NULL, 0);
            history_commit(&h);
        }
        kit_tasks(h.s);
        uint64_t bytes = 0;
        size_t n = history_footers(h.disk, &bytes);
        assert_true(n >= 3);
        if (queued)
            assert_true(bytes / n > 500 && bytes / n < HISTORY_SEGMENT / 8);
        else /* a handful of bytes for those whose id the next segment's header knows */
            assert_true(bytes / n < FOOTER_HEADER + 200);
        history_done(&h);
    }
}

/* Opening reads headers, footers and the tail: no bodies. */
static void test_opening_reads_no_bodies(void **state)
{
    (void)state;
    enum { MAILS = 400, BODY = 4000, SEGMENT = 256 * 1024 };
    struct fake_disk *d = fake_disk_new(3);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    for (int i = 0; i < MAILS; i++) {
        kit_put(s, NOW, 1, BODY, NULL);
        if (i % 10 == 0)
            assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    spool_note(s, NOW, &(struct spool_event_in){EVENT_SERVICE_STOPPED, SLICE_NONE}, 1);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    kit_tasks(s);
    spool_close(s);
    struct log_found l = history_log(d);
    uint64_t footers = 0, segments = l.n;
    size_t n = history_footers(d, &footers);
    assert_true(n + 1 == segments && segments > 5);
    log_found_done(&l);
    struct fake_disk *again = fake_disk_clone(d);
    uint64_t before = fake_disk_bytes_read(again);
    struct spool_report report;
    s = kit_open(again, SEGMENT, &report);
    uint64_t read = fake_disk_bytes_read(again) - before;
    assert_int_equal(report.messages, MAILS);
    /* The tail is read through a window, and its last batch written again. */
    assert_true(read <= segments * SEGMENT_DATA + footers + 2 * SEGMENT);
    assert_true(read < (uint64_t)MAILS * BODY / 2);
    spool_close(s);
    fake_disk_free(again);
    fake_disk_free(d);
}

/* A footer that is damaged costs nothing: its records are read. */
static void test_damaged_footer(void **state)
{
    (void)state;
    struct history h = history_new(11, false);
    history_run(&h, 120);
    kit_tasks(h.s);
    spool_close(h.s);
    h.s = NULL;
    struct opened want = open_and_look(h.disk);
    struct log_found l = history_log(h.disk);
    unsigned flips = 0;
    for (size_t i = 0; i < l.n && i < 2; i++) {
        const struct segment_found *f = &l.segments[i];
        struct footer footer;
        if (f->end == UINT64_MAX || footer_read(fake_disk_ops(h.disk), f, l.salt, &footer) <= 0)
            continue;
        uint64_t from = footer_at(f->end), to = from + FOOTER_HEADER + footer.entries.n;
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", f->named);
        footer_done(&footer);
        for (uint64_t at = from; at < to; at += at < from + FOOTER_HEADER ? 1 : 7, flips++) {
            struct fake_disk *d = fake_disk_clone(h.disk);
            assert_true(fake_disk_flip(d, name, at, (uint8_t)(1 << at % 8)));
            unsigned said = 0;
            struct err e = {0};
            /* Said by the check; mended by it. */
            assert_int_equal(spool_verify(fake_disk_ops(d), true, history_say, &said, NULL, &e), 1);
            assert_int_equal(said, 1);
            assert_int_equal(spool_verify(fake_disk_ops(d), false, history_say, NULL, NULL, &e), 0);
            fake_disk_flip(d, name, at, 1);
            struct opened got = open_and_look(d);
            got.report.damaged = 0;
            assert_same(&got, &want);
            free(got.dump);
            fake_disk_free(d);
        }
    }
    assert_true(flips > 200);
    log_found_done(&l);
    free(want.dump);
    history_done(&h);
}

/* A footer cannot be written: nothing else suffers, and it comes after the next opening. */
static void test_no_room_for_a_footer(void **state)
{
    (void)state;
    struct history h = history_new(12, false);
    history_run(&h, 200);
    char *live = kit_dump_all(h.s);
    fake_disk_set_room(h.disk, 0);
    kit_tasks(h.s);
    assert_null(spool_task_take(h.s, false));
    fake_disk_set_room(h.disk, -1);
    spool_close(h.s);
    size_t before = history_footers(h.disk, NULL);
    h.s = kit_open(h.disk, HISTORY_SEGMENT, NULL);
    char *again = kit_dump_all(h.s);
    assert_string_equal(live, again);
    kit_tasks(h.s);
    assert_true(history_footers(h.disk, NULL) > before);
    free(live);
    free(again);
    history_done(&h);
}

/* Footers count for the bound on disk use, and compaction keeps it: one does not make work for the
 * other without end. */
static void test_housekeeping_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct history h = history_new(seed, true);
        history_run(&h, 330);
        unsigned n = 0;
        for (bool more = true; more;) {
            more = false;
            for (struct spool_task *t; (t = spool_task_take(h.s, false)); n++) {
                assert_true(n < 100);
                spool_task_run(t);
                assert_true(spool_task_end(h.s, t));
                more = true;
            }
            kit_commit(h.s, NULL, NULL, NULL);
        }
        history_done(&h);
    }
}

/* What opens counts the footers: the files are as large as they are. */
static void test_disk_bytes(void **state)
{
    (void)state;
    struct history h = history_new(13, false);
    history_run(&h, 300);
    for (int i = 0; i < 2; i++) {
        kit_tasks(h.s);
        struct spool_counts counts;
        spool_count(h.s, &counts);
        uint64_t files = 0;
        for (unsigned number = 0; number < 100; number++) {
            char name[SEGMENT_NAME_SIZE];
            int64_t size;
            segment_name(name, "seg", number);
            files += (size = fake_disk_file_size(h.disk, name)) > 0 ? (uint64_t)size : 0;
            segment_name(name, "free", number);
            files += (size = fake_disk_file_size(h.disk, name)) > 0 ? (uint64_t)size : 0;
        }
        for (struct message *m = spool_after(h.s, 0); m; m = spool_after(h.s, m->id))
            files += m->in_file ? m->size : 0;
        assert_int_equal(counts.disk_bytes, files);
        spool_close(h.s);
        h.s = kit_open(h.disk, HISTORY_SEGMENT, NULL);
    }
    history_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_law),
        cmocka_unit_test(test_later_segments),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_opening_reads_no_bodies),
        cmocka_unit_test(test_damaged_footer),
        cmocka_unit_test(test_no_room_for_a_footer),
        cmocka_unit_test(test_housekeeping_ends),
        cmocka_unit_test(test_disk_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

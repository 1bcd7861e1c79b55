/*
 * Where a segment's log ends. What would break for a user: a leftover of a failed making says after
 * a power cut that the log ended earlier, and mail answered 250 since then is gone; a footer is
 * written over what may be log.
 */
#include "queue/spool_private.h"
#include "tests/unit/queue/kit.h"
#include <time.h>

enum { SEGMENT = 32 * 1024, LARGE = 16000 };

/* The open segment is left with little room. */
static struct spool *nearly_full(struct fake_disk *d)
{
    struct spool *s = kit_open(d, SEGMENT, NULL);
    kit_put(s, NOW, 1, LARGE, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    return s;
}

/* The new segment was whole and had its name when syncing the folder failed: the name may be there
 * again after a power cut, with what its header says about the segment before. */
static void leftover(uint64_t seed, unsigned failing)
{
    struct fake_disk *d = fake_disk_new(seed);
    struct spool *s = nearly_full(d);
    fake_disk_fail_only(d, failing);
    fake_disk_fail_from(d, 1, -EIO);
    kit_put(s, NOW, 1, LARGE, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    fake_disk_fail_from(d, 0, 0);
    struct message *m;
    uint64_t id = kit_put(s, NOW, 1, 100, &m);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_true(m->durable);
    fake_disk_cut_at(d, fake_disk_steps(d) + 1);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_SOME);
    s = kit_open(d, SEGMENT, NULL);
    assert_non_null(spool_find(s, id));
    spool_close(s);
    fake_disk_free(d);
}

static void test_leftover(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        leftover(seed, FAKE_SYNC_DIR);
        leftover(seed, FAKE_RENAME);
        leftover(seed, FAKE_RENAME | FAKE_UNLINK | FAKE_SYNC_DIR);
    }
}

/* A failed batch with as much mail as it takes, and more behind it that speaks of that: the owner
 * is back at once, and nothing of them is left. */
static void test_much_is_refused(void **state)
{
    enum { N = 20000 };
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, 64 << 20, NULL);
    struct message *m;
    for (int i = 0; i < N; i++)
        kit_put(s, NOW, 1, 10, &m);
    fake_disk_fail_from(d, 1, -EIO);
    struct spool_batch *b = spool_batch_take(s);
    spool_batch_run(b);
    struct rcpt_change c = {.attempts = 1};
    for (m = spool_after(s, 0); m; m = spool_after(s, m->id))
        spool_change(s, m, &c, 1, NOW, NULL, 0);
    clock_t before = clock();
    struct err e;
    assert_int_equal(spool_batch_end(s, b, NULL, NULL, NULL, &e), -EIO);
    assert_true(clock() - before < 2 * CLOCKS_PER_SEC);
    assert_null(spool_after(s, 0));
    assert_null(s->pending.first);
    spool_close(s);
    fake_disk_free(d);
}

/* --- the end is not known
 * -------------------------------------------------------------------------------------- */

enum { MANY = 60 };

static struct fake_disk *filled(void)
{
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    for (int i = 0; i < MANY; i++) {
        kit_put(s, NOW, 1, 2000, NULL);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    spool_close(s);
    return d;
}

struct lines {
    struct buf text;
};

static void add_line(void *ctx, const char *line)
{
    buf_addf(&((struct lines *)ctx)->text, "%s\n", line);
}

/* Opening finds the same each time, whatever housekeeping and a check that mends did meanwhile. */
static void check_same(struct fake_disk *d)
{
    char *first = NULL;
    for (int i = 0; i < 3; i++) {
        struct lines lines = {BUF_MAX(100000)};
        struct spool_options o = {
            .segment_bytes = SEGMENT, .lifetime_s = 86400, .say = add_line, .say_ctx = &lines};
        struct spool *s = NULL;
        struct err e;
        assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, NULL, &e), 0);
        kit_tasks(s);
        struct spool_check *c = spool_check_new(s, true);
        while (spool_check_step(c, NULL, NULL))
            continue;
        spool_check_free(s, c, NULL, NULL, NULL);
        spool_close(s);
        assert_true(lines.text.n > 0);
        if (first)
            assert_string_equal(first, buf_str(&lines.text));
        if (first)
            buf_done(&lines.text);
        else
            first = (char *)(uintptr_t)buf_str(&lines.text);
    }
    free(first);
}

/* The file was cut where a batch ends: all that is left of it is whole. */
static void test_cut_short(void **state)
{
    (void)state;
    for (uint64_t to = SEGMENT_DATA + 3072; to < SEGMENT - 4096; to += SEGMENT_SECTOR) {
        struct fake_disk *d = filled();
        assert_true(fake_disk_truncate(d, "seg-00000001", to));
        check_same(d);
        fake_disk_free(d);
    }
}

/* Both copies of the next header are gone: the end that is found may be that of the first damage.
 */
static void test_no_next_header(void **state)
{
    (void)state;
    for (uint64_t at = SEGMENT_DATA; at < SEGMENT - 8192; at += 3 * SEGMENT_SECTOR) {
        struct fake_disk *d = filled();
        char next[SEGMENT_NAME_SIZE];
        for (unsigned number = 2; number == 2 || fake_disk_file_size(d, next) < 0; number++)
            segment_name(next, "seg", number);
        assert_true(fake_disk_flip(d, next, 30, 1));
        assert_true(fake_disk_flip(d, next, SEGMENT_HEADER_BLOCK + 30, 1));
        uint8_t before[SEGMENT], after[SEGMENT];
        const struct file_ops *fs = fake_disk_ops(d);
        for (uint64_t i = at; i < SEGMENT - 4096; i += 32) /* up to the end: nothing proves it */
            fake_disk_flip(d, "seg-00000001", i, 1);
        assert_int_equal(spool_segment_pread(fs, 1, 0, SEGMENT, before), 0);
        check_same(d);
        assert_int_equal(spool_segment_pread(fs, 1, 0, SEGMENT, after), 0);
        assert_memory_equal(before, after, SEGMENT);
        fake_disk_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leftover),
        cmocka_unit_test(test_much_is_refused),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_no_next_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Files that the log needs no more. What would break for a user: mail waits for its 250 while a
 * large file is removed; a full disk stays full although the room is there to be given back; files
 * stay behind for ever.
 */
#include "tests/unit/queue/compact_kit.h"

enum { LARGE = 4 * 1024 * 1024, MAIL = 200 * 1024 };

static struct {
    unsigned unlinks, truncates;
    bool fails;
    uint64_t longest; /* step of a truncate, bytes */
} seen;

static int counting_unlink(void *ctx, const char *path)
{
    seen.unlinks++;
    return seen.fails ? -EIO : fake_unlink(ctx, path);
}

static int counting_truncate(void *ctx, int fd, uint64_t bytes)
{
    uint64_t step = (uint64_t)fake_size(ctx, fd) - bytes;
    seen.truncates++;
    seen.longest = step > seen.longest ? step : seen.longest;
    return fake_truncate(ctx, fd, bytes);
}

static struct fake_disk *counting_disk(void)
{
    struct fake_disk *d = fake_disk_new(1);
    d->ops.unlink = counting_unlink;
    d->ops.truncate = counting_truncate;
    memset(&seen, 0, sizeof seen);
    return d;
}

static size_t free_files(struct fake_disk *d)
{
    size_t n = 0;
    for (uint32_t number = 1; number < 100; number++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "free", number);
        n += fake_disk_file_size(d, name) >= 0;
    }
    return n;
}

/* One batch without what kit_commit does behind it. */
static void batch(struct spool *s)
{
    struct err e = {0};
    for (struct spool_batch *b; (b = spool_batch_take(s));) {
        spool_batch_run(b);
        assert_int_equal(spool_batch_end(s, b, NULL, NULL, NULL, &e), 0);
        spool_settle(s, SIZE_MAX, NULL, NULL);
        spool_events_kept(s, spool_last_seq(s));
    }
}

/* Mail for `n` segments comes and goes, all of it at once: only one of them is the next spare. */
static void fill_and_empty(struct spool *s, unsigned n)
{
    struct message *m[200];
    unsigned mails = n * (LARGE / MAIL);
    assert_true(mails <= 200);
    for (unsigned i = 0; i < mails; i++) {
        kit_put(s, NOW, 1, MAIL, &m[i]);
        batch(s);
    }
    for (unsigned i = 0; i < mails; i++)
        deliver(s, m[i]);
    batch(s);
}

static void test_not_between_batches(void **state)
{
    (void)state;
    struct fake_disk *d = counting_disk();
    struct spool *s = open_sized(d, LARGE);
    fill_and_empty(s, 5);
    assert_true(free_files(d) >= 4);
    assert_int_equal(seen.unlinks, 0);
    assert_int_equal(seen.truncates, 0);
    struct spool_counts before, after;
    spool_count(s, &before);
    kit_sweep(s);
    spool_count(s, &after);
    assert_int_equal(free_files(d), 1); /* the spare */
    assert_true(after.disk_bytes + 3 * LARGE <= before.disk_bytes);
    assert_true(seen.truncates >= 3 * (LARGE / (1024 * 1024) - 1));
    assert_true(seen.longest <= 1024 * 1024);
    spool_close(s);
    fake_disk_free(d);
}

static void test_failed(void **state)
{
    (void)state;
    struct fake_disk *d = counting_disk();
    struct spool *s = open_sized(d, LARGE);
    fill_and_empty(s, 4);
    size_t there = free_files(d);
    seen.fails = true;
    kit_sweep(s); /* ends, although nothing can be removed */
    assert_int_equal(seen.unlinks, 1);
    assert_int_equal(free_files(d), there);
    seen.fails = false;
    kit_sweep(s);
    assert_int_equal(free_files(d), there);     /* not before there is more of it */
    spool_body_forget(s, spool_new_id(s, NOW)); /* a body is none of it */
    kit_sweep(s);
    assert_int_equal(free_files(d), there);
    fill_and_empty(s, 3);
    kit_sweep(s);
    assert_int_equal(free_files(d), 1);
    spool_close(s);
    fake_disk_free(d);
}

/* What a process left that was killed before it had swept. */
static void test_opened_again(void **state)
{
    (void)state;
    struct fake_disk *d = counting_disk();
    struct spool *s = open_sized(d, LARGE);
    fill_and_empty(s, 5);
    struct fake_disk *killed = fake_disk_clone(d);
    assert_true(free_files(killed) >= 4);
    spool_close(s);
    fake_disk_free(d);
    s = open_sized(killed, LARGE);
    assert_int_equal(said.n, 0);
    assert_true(free_files(killed) >= 4);
    kit_sweep(s);
    assert_int_equal(free_files(killed), 1);
    spool_close(s);
    fake_disk_free(killed);
}

/* No batch ends well on a full disk: what gives room back is done all the same, and nothing else.
 */
static void test_in_trouble(void **state)
{
    (void)state;
    struct fake_disk *d = counting_disk();
    struct spool *s = open_sized(d, LARGE);
    fill_and_empty(s, 5);
    for (struct spool_task *t; (t = spool_task_take(s, true));) {
        assert_int_equal(t->kind, TASK_SWEEP);
        spool_task_run(t);
        spool_task_end(s, t);
    }
    assert_int_equal(free_files(d), 1);
    spool_close(s);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_between_batches),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_opened_again),
        cmocka_unit_test(test_in_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

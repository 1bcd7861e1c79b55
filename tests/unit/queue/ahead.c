/*
 * Zeros ahead of small batches. What would break for a user: a client alone waits half as long
 * again for each 250; or the zeros meet what is promised, fill the disk, or make a commit fail.
 */
#include "queue/spool_private.h"
#include "tests/unit/queue/kit.h"

enum { SMALL_SEGMENT = 64 * 1024, BODY = 3000, FILES_MAX = 100 };
#define SEGMENT (UINT64_C(1) << 20)

/* The real table; what is written to the log is looked at, and zeros can fail. */
static struct {
    struct file_ops ops;
    const struct file_ops *real;
    unsigned zeros, tried;   /* writes of nothing else; those that began */
    uint64_t end[FILES_MAX]; /* of what else was last written, by descriptor */
    uint64_t most;           /* of the last zeros */
    bool fail;
} disk;

static bool is_zeros(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == 0)
        n--;
    return n == 0;
}

static ssize_t look_at_pwrite(void *ctx, int fd, const void *p, size_t n, uint64_t offset)
{
    assert_in_range(fd, 0, FILES_MAX - 1);
    if (!is_zeros(p, n)) {
        disk.end[fd] = offset + n;
        return disk.real->pwrite(ctx, fd, p, n, offset);
    }
    assert_true(offset >= disk.end[fd]); /* never over what was just promised */
    disk.tried++;
    if (disk.fail)
        return -EIO;
    disk.zeros++;
    disk.most = offset + n;
    return disk.real->pwrite(ctx, fd, p, n, offset);
}

static struct spool *open_on(struct fake_disk *d, uint64_t segment_bytes)
{
    struct spool_options o = {
        .segment_bytes = segment_bytes, .lifetime_s = 86400, .node = SLICE_LIT("test")};
    struct spool *s = NULL;
    struct spool_report report;
    struct err e = {0};
    memset(&disk, 0, sizeof disk);
    disk.real = fake_disk_ops(d);
    disk.ops = *disk.real;
    disk.ops.pwrite = look_at_pwrite;
    assert_int_equal(spool_open(&s, &disk.ops, &o, &report, &e), 0);
    return s;
}

static struct message *put_one(struct spool *s)
{
    struct message *m;
    kit_put(s, NOW, 1, BODY, &m);
    return m;
}

static void commit(struct spool *s)
{
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
}

static void end_it(struct spool *s, struct message *m)
{
    struct rcpt_change c = {.rcpt = 0, .state = RCPT_DELIVERED, .attempts = 1};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
}

/* One write of zeros serves many batches, and after a power cut all is there. */
static void test_small_batches(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_on(d, SEGMENT);
    for (int i = 0; i < 100; i++) {
        put_one(s);
        commit(s);
        assert_true(disk.most > s->tail->end);
    }
    assert_in_range(disk.zeros, 2, 4);
    char *before = kit_dump_all(s);
    fake_disk_cut_at(d, 1);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_SOME);
    s = kit_open(d, SEGMENT, NULL);
    char *after = kit_dump_all(s);
    assert_string_equal(before, after);
    free(before);
    free(after);
    spool_close(s);
    fake_disk_free(d);
}

/* Where many share a sync it is theirs, and the disk is not written twice for it. */
static void test_large_batches(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_on(d, SEGMENT);
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 4; k++)
            put_one(s);
        commit(s);
    }
    assert_int_equal(disk.tried, 0);
    spool_close(s);
    fake_disk_free(d);
}

/* A segment keeps its size. */
static void test_end_of_segment(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_on(d, SMALL_SEGMENT);
    for (int i = 0; i < 40; i++) {
        put_one(s);
        commit(s);
        assert_true(disk.most <= SMALL_SEGMENT);
        assert_int_equal(fake_disk_file_size(d, "seg-00000001"), SMALL_SEGMENT);
    }
    assert_true(disk.zeros >= 2); /* one a segment */
    spool_close(s);
    fake_disk_free(d);
}

/* They are no part of what was promised: the log goes on without them. */
static void test_failing(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_on(d, SEGMENT);
    disk.fail = true;
    for (int i = 0; i < 20; i++) {
        put_one(s);
        commit(s);
    }
    assert_int_equal(disk.tried, 1);
    spool_close(s);
    fake_disk_free(d);
}

/* What was a segment before has been written through: nothing to win, so nothing is written. */
static void test_recycled(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_on(d, SMALL_SEGMENT);
    for (int i = 0; i < 300; i++) {
        struct message *m = put_one(s);
        commit(s);
        end_it(s, m);
        commit(s);
        spool_events_kept(s, spool_last_seq(s));
        kit_settle(s);
    }
    assert_true(s->last_segment >= 15);
    assert_in_range(disk.zeros, 1, 5);
    spool_close(s);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_batches),  cmocka_unit_test(test_large_batches),
        cmocka_unit_test(test_end_of_segment), cmocka_unit_test(test_failing),
        cmocka_unit_test(test_recycled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

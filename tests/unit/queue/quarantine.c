/*
 * What is set aside. What would break for a user: the one copy of damaged mail is empty, cut short
 * or replaced by another one; the same damage fills the disk with each start.
 */
#include "queue/spool_private.h"
#include "tests/unit/queue/kit.h"
#include <fcntl.h>

enum { N = 20000, FROM = 700, TO = 15100 };

static struct fake_disk *disk_new(uint64_t seed, uint8_t bytes[N])
{
    struct fake_disk *d = fake_disk_new(seed);
    const struct file_ops *fs = fake_disk_ops(d);
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < N; i++)
        bytes[i] = (uint8_t)rng_next(&r);
    assert_int_equal(fs->mkdir(fs->ctx, "quarantine", 0700), 0);
    int fd = fs->open(fs->ctx, "seg-00000007", O_RDWR | O_CREAT, 0600);
    assert_int_equal(fs->pwrite(fs->ctx, fd, bytes, N, 0), N);
    assert_int_equal(fs->fdatasync(fs->ctx, fd), 0);
    assert_int_equal(fs->fsync_dir(fs->ctx, "."), 0);
    fs->close(fs->ctx, fd);
    return d;
}

/* Some file in the folder has these bytes (and maybe more behind them). */
static bool is_there(struct fake_disk *d, const uint8_t *bytes, size_t n)
{
    const struct file_ops *fs = fake_disk_ops(d);
    bool found = false;
    for (size_t i = 0; i < d->now.n; i++) {
        uint8_t got[N];
        if (!name_in_folder(d->now.at[i].path, "quarantine"))
            continue;
        int fd = fs->open(fs->ctx, d->now.at[i].path, O_RDONLY, 0);
        found = found ||
                (fs->pread(fs->ctx, fd, got, n, 0) == (ssize_t)n && memcmp(got, bytes, n) == 0);
        fs->close(fs->ctx, fd);
    }
    return found;
}

/* The power goes at any moment: the next try does not take what is left for a copy. */
static void test_power_cut(void **state)
{
    (void)state;
    static const enum fake_loss losses[] = {FAKE_LOSE_ALL, FAKE_LOSE_NONE, FAKE_LOSE_SOME};
    for (uint64_t seed = 1; seed <= 30; seed++) {
        for (uint64_t step = 1; step < 10; step++) {
            uint8_t bytes[N];
            struct fake_disk *d = disk_new(seed, bytes);
            fake_disk_cut_at(d, fake_disk_steps(d) + step);
            int rc = spool_quarantine(fake_disk_ops(d), 7, FROM, TO);
            fake_disk_power_on(d, losses[seed % 3]);
            if (rc >= 0)
                assert_true(is_there(d, bytes + FROM, TO - FROM));
            assert_int_equal(spool_quarantine(fake_disk_ops(d), 7, FROM, TO), 0);
            fake_disk_power_on(d, FAKE_LOSE_ALL);
            assert_true(is_there(d, bytes + FROM, TO - FROM));
            assert_true(fake_disk_count(d, "quarantine") <= 2);
            fake_disk_free(d);
        }
    }
}

/* A record is set aside, then the damage is found to be longer, then the place is damaged again. */
static void test_same_place(void **state)
{
    (void)state;
    uint8_t bytes[N];
    struct fake_disk *d = disk_new(1, bytes);
    const struct file_ops *fs = fake_disk_ops(d);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(spool_quarantine(fs, 7, FROM, FROM + 300), 0);
        assert_int_equal(spool_quarantine(fs, 7, FROM, TO), 0);
        assert_true(is_there(d, bytes + FROM, TO - FROM));
        assert_int_equal(fake_disk_count(d, "quarantine"), 1);
    }
    fake_disk_flip(d, "seg-00000007", FROM + 5000, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(spool_quarantine(fs, 7, FROM, TO), 0);
        assert_true(is_there(d, bytes + FROM, TO - FROM));
        bytes[FROM + 5000] ^= 1;
        assert_true(is_there(d, bytes + FROM, TO - FROM));
        bytes[FROM + 5000] ^= 1;
        assert_int_equal(fake_disk_count(d, "quarantine"), 2);
    }
    fake_disk_free(d);
}

/* A file that ends before the damage does, and blocks that cannot be read. */
static void test_what_there_is(void **state)
{
    (void)state;
    uint8_t bytes[N];
    struct fake_disk *d = disk_new(1, bytes);
    const struct file_ops *fs = fake_disk_ops(d);
    assert_int_equal(spool_quarantine(fs, 7, N - 100, N + 5000), 0);
    assert_true(is_there(d, bytes + N - 100, 100));
    fake_disk_unreadable(d, "seg-00000007", 4096, 4097);
    assert_int_equal(spool_quarantine(fs, 7, FROM, TO), 0);
    memset(bytes + 4096, 0, 4096);
    assert_true(is_there(d, bytes + FROM, TO - FROM));
    assert_int_equal(spool_quarantine(fs, 8, FROM, TO), -ENOENT);
    assert_int_equal(fake_disk_open_fds(d), 0);
    fake_disk_free(d);
}

/* --- at the start */

static bool no_copies;

static int open_but_no_copy(void *ctx, const char *path, int flags, unsigned mode)
{
    return no_copies && name_in_folder(path, "quarantine") ? -ENOSPC
                                                           : fake_open(ctx, path, flags, mode);
}

static void count_lines(void *ctx, const char *line)
{
    assert_non_null(strstr(line, "damaged record"));
    ++*(unsigned *)ctx;
}

static struct spool *open_telling(struct fake_disk *d, unsigned *said)
{
    struct spool_options o = {
        .segment_bytes = 64 * 1024, .lifetime_s = 86400, .say = count_lines, .say_ctx = said};
    struct spool *s = NULL;
    struct spool_report report;
    struct err e = {0};
    *said = 0;
    assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, &report, &e), 0);
    return s;
}

static void deliver_all(struct spool *s)
{
    const struct rcpt_change end = {.rcpt = 0, .state = RCPT_DELIVERED, .attempts = 1};
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id))
        spool_change(s, m, &end, 1, NOW, NULL, 0);
    kit_settle(s);
    spool_events_kept(s, spool_last_seq(s));
    kit_put(s, NOW, 1, 60000, NULL); /* the next segment: the first one is not needed any more */
    kit_settle(s);
}

/* 101: a damaged record is passed over, told, and copied before its segment goes; where it cannot
 * be copied the segment stays, until a start that can. */
static void test_at_the_start(void **state)
{
    (void)state;
    enum { BODY = 3000 };
    struct fake_disk *d = fake_disk_new(1);
    d->ops.open = open_but_no_copy;
    unsigned said;
    struct spool *s = open_telling(d, &said);
    struct message *m[3];
    uint64_t ids[3];
    for (unsigned i = 0; i < 3; i++) {
        ids[i] = kit_put(s, NOW, 1, BODY, &m[i]);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    const uint32_t number = m[1]->home->number;
    const uint64_t at = m[1]->record_at;
    char seg[SEGMENT_NAME_SIZE];
    segment_name(seg, "seg", number);
    spool_close(s);
    assert_true(fake_disk_flip(d, seg, at + RECORD_HEADER_SIZE + 9, 1));
    uint8_t bytes[BODY];
    int fd = d->ops.open(d, seg, O_RDONLY, 0);
    assert_int_equal(d->ops.pread(d, fd, bytes, BODY, at), BODY);
    d->ops.close(d, fd);

    no_copies = true;
    s = open_telling(d, &said);
    assert_int_equal(said, 1);
    assert_non_null(spool_find(s, ids[0]));
    assert_null(spool_find(s, ids[1]));
    assert_non_null(spool_find(s, ids[2]));
    deliver_all(s);
    spool_close(s);
    assert_true(fake_disk_file_size(d, seg) > 0);
    assert_int_equal(fake_disk_count(d, "quarantine"), 0);

    no_copies = false;
    s = open_telling(d, &said);
    assert_int_equal(said, 1);
    assert_true(is_there(d, bytes, BODY));
    deliver_all(s);
    spool_close(s);
    assert_true(fake_disk_file_size(d, seg) < 0);
    assert_true(is_there(d, bytes, BODY));
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_same_place),
        cmocka_unit_test(test_what_there_is),
        cmocka_unit_test(test_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * A disk that does not answer for a moment. What would break for a user: mail that is whole is
 * mended away; the delivery log lacks lines because the spool could not be read at the start.
 */
#include "queue/spool_private.h"
#include "tests/unit/queue/kit.h"
#include <fcntl.h>

enum { SEGMENT = 32 * 1024, MAILS = 24 };

/* The real table, but for reads of seg-00000001 while it is away: until something is written. */
static struct away {
    struct file_ops ops;
    const struct file_ops *real;
    int fd; /* of the file, or -1 */
    bool away;
    int reads_left; /* before it goes away */
} away;

static int away_open(void *ctx, const char *path, int flags, mode_t mode)
{
    int fd = away.real->open(ctx, path, flags, mode);
    if (strcmp(path, "seg-00000001") == 0)
        away.fd = fd;
    else if (fd == away.fd)
        away.fd = -1;
    return fd;
}

static ssize_t away_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    if (away.away && fd == away.fd && offset + n > SEGMENT_DATA && away.reads_left-- <= 0)
        return -EIO;
    return away.real->pread(ctx, fd, p, n, offset);
}

static ssize_t away_pwrite(void *ctx, int fd, const void *p, size_t n, uint64_t offset)
{
    away.away = false;
    return away.real->pwrite(ctx, fd, p, n, offset);
}

static const struct file_ops *away_ops(struct fake_disk *d, int after_reads)
{
    away.real = fake_disk_ops(d);
    away.ops = *away.real;
    away.ops.open = away_open;
    away.ops.pread = away_pread;
    away.ops.pwrite = away_pwrite;
    away.fd = -1;
    away.away = true;
    away.reads_left = after_reads;
    return &away.ops;
}

static struct fake_disk *filled(char **ret_dump)
{
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    for (int i = 0; i < MAILS; i++) {
        struct message *m;
        struct rcpt_change c = {.attempts = 1, .host = "mx"};
        kit_put(s, NOW, 1, 3000, &m);
        spool_change(s, m, &c, 1, NOW, NULL, 0);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    *ret_dump = kit_dump_all(s);
    spool_close(s);
    return d;
}

static void check_whole(struct fake_disk *d, const char *dump)
{
    struct spool *s = kit_open(d, SEGMENT, NULL);
    char *now = kit_dump_all(s);
    assert_string_equal(now, dump);
    free(now);
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        struct body *b = NULL;
        assert_int_equal(kit_read(s, m, &b), 0);
        body_unref(b);
    }
    spool_close(s);
}

static void test_mending(void **state)
{
    (void)state;
    for (int after = 0; after < 40; after++) {
        char *dump;
        struct fake_disk *d = filled(&dump);
        struct err e;
        assert_true(spool_verify(away_ops(d, after), true, NULL, NULL, NULL, &e) >= 0);
        check_whole(d, dump);
        free(dump);
        fake_disk_free(d);
    }
}

static void on_event(void *ctx, const struct event *e)
{
    assert_int_equal(e->seq, ++*(uint64_t *)ctx);
}

/* Some other trouble than bad blocks: the caller hears that the events are not all there. */
static void test_events(void **state)
{
    (void)state;
    char *dump;
    struct fake_disk *d = filled(&dump);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    fake_disk_count_reads(d, true);
    uint64_t steps = fake_disk_steps(d), all = 0;
    assert_int_equal(spool_each_event(s, 0, on_event, &all), 0);
    assert_int_equal(all, MAILS);
    steps = fake_disk_steps(d) - steps;
    assert_true(steps > 4);
    for (uint64_t at = 1; at <= steps; at++) {
        uint64_t seen = 0;
        fake_disk_fail_at(d, fake_disk_steps(d) + at, -ENOMEM);
        assert_int_equal(spool_each_event(s, 0, on_event, &seen), -ENOMEM);
        assert_true(seen < all);
    }
    spool_close(s);
    free(dump);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mending),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

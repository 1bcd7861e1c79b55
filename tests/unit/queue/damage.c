/*
 * Damage to a spool with several segments, footers, copies and body files. What would break for a
 * user: a bad sector, a file that an administrator moved or copied, a truncated file – and the
 * daemon does not start, or more mail is lost than what lay there, or nobody is told.
 */
#include "tests/unit/queue/damage.h"

/* Lost blocks read as zeros: what lay in them is lost, or its content only, where a footer knows
 * the rest. */
static void test_zeroed_blocks(void **state)
{
    (void)state;
    struct world w = world_new(4, 330);
    const struct file_ops *ops;
    static const uint8_t zeros[4096];
    for (size_t i = 1; i < w.log.n; i += 2) {
        const struct segment_found *f = &w.log.segments[i];
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", f->named);
        for (unsigned block = 512; block <= 4096; block *= 8) {
            for (uint64_t at = 0; at + block <= f->size; at += block) {
                struct fake_disk *d = fake_disk_clone(w.disk);
                ops = fake_disk_ops(d);
                int fd = ops->open(ops->ctx, name, O_RDWR, 0);
                assert_int_equal(ops->pwrite(ops->ctx, fd, zeros, block, at), (ssize_t)block);
                assert_int_equal(ops->fdatasync(ops->ctx, fd), 0);
                ops->close(ops->ctx, fd);
                struct spool_report report;
                int found = check_disk(d);
                unsigned lost = open_damaged(&w, d, &report);
                /* The very last batches of all look as if they had never been synced. */
                assert_true(!lost || found || i + 1 == w.log.n);
                assert_true(lost <= block / 128 + 2);
                if (at < SEGMENT_DATA || (f->end != UINT64_MAX && at >= f->end))
                    assert_int_equal(lost, 0);
                fake_disk_free(d);
            }
        }
    }
    world_done(&w);
}

static struct {
    const char *path;
    uint64_t from, to;
} bad;

static ssize_t pread_bad(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    const struct fake_disk *d = ctx;
    if (strcmp(d->fds[fd].path, bad.path) == 0 && offset < bad.to && offset + n > bad.from)
        return -EIO;
    return fake_pread(ctx, fd, p, n, offset);
}

static void test_unreadable_blocks(void **state)
{
    (void)state;
    struct world w = world_new(6, 330);
    for (size_t i = 0; i < w.log.n; i++) {
        const struct segment_found *f = &w.log.segments[i];
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", f->named);
        for (uint64_t at = 0; at < f->size; at += 4096) {
            struct fake_disk *d = fake_disk_clone(w.disk);
            d->ops.pread = pread_bad;
            bad.path = name;
            bad.from = at;
            bad.to = at + 4096;
            struct spool_report report;
            int found = check_disk(d);
            unsigned lost = open_damaged(&w, d, &report);
            assert_true(!lost || found);
            assert_true(!lost || report.damaged || f->end != UINT64_MAX); /* a footer hides it */
            if (at < SEGMENT_DATA)
                assert_true(found > 0);
            fake_disk_free(d);
        }
    }
    world_done(&w);
}

/* What was answered 250 and cannot be read is no torn tail, even in the last batch of a process
 * that was killed: a power cut leaves blocks that can be read. */
static void test_unreadable_tail(void **state)
{
    (void)state;
    enum { MAILS = 12, SEGMENT = 64 * 1024 };
    struct fake_disk *killed = fake_disk_new(1);
    struct spool *s = kit_open(killed, SEGMENT, NULL);
    uint64_t ids[MAILS];
    for (unsigned i = 0; i < MAILS; i++) {
        ids[i] = kit_put(s, NOW, 1, 900, NULL);
        if (i % 3 == 2)
            assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    unsigned told = 0;
    for (uint64_t at = SEGMENT_DATA; at < SEGMENT; at += 4096) {
        struct fake_disk *d = fake_disk_clone(killed);
        d->ops.pread = pread_bad;
        bad.path = "seg-00000001";
        bad.from = at;
        bad.to = at + 4096;
        struct spool_report report;
        int found = check_disk(d);
        struct spool *after = kit_open(d, SEGMENT, &report);
        unsigned lost = 0;
        for (unsigned i = 0; i < MAILS; i++)
            lost += !spool_find(after, ids[i]);
        assert_true(!lost || (found && report.damaged));
        assert_true(lost <= 4096 / 900 + 2);
        told += lost > 0;
        uint64_t next = kit_put(after, NOW, 1, 10, NULL);
        assert_int_equal(kit_commit(after, NULL, NULL, NULL), 0);
        spool_close(after);
        after = kit_open(d, SEGMENT, NULL);
        assert_non_null(spool_find(after, next));
        spool_close(after);
        fake_disk_free(d);
    }
    assert_true(told >= 2);
    spool_close(s);
    fake_disk_free(killed);
}

static void test_every_length(void **state)
{
    (void)state;
    struct world w = world_new(11, 330);
    for (size_t i = 0; i + 1 < w.log.n; i++) {
        const struct segment_found *f = &w.log.segments[i];
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", f->named);
        for (uint64_t size = 0; size < f->size; size += 193) {
            struct fake_disk *d = fake_disk_clone(w.disk);
            assert_true(fake_disk_truncate(d, name, size));
            struct spool_report report;
            int found = check_disk(d);
            unsigned lost = open_damaged(&w, d, &report);
            assert_true(!lost || (found && report.damaged));
            if (size >= f->end) /* only the footer is gone */
                assert_int_equal(lost, 0);
            fake_disk_free(d);
        }
    }
    world_done(&w);
}

/* --- names
 * ---------------------------------------------------------------------------------------------- */

static void copy_file(struct fake_disk *d, const char *from, const char *to)
{
    const struct file_ops *ops = fake_disk_ops(d);
    int64_t size = fake_disk_file_size(d, from);
    uint8_t *p = must_alloc((size_t)size);
    int fd = ops->open(ops->ctx, from, O_RDONLY, 0);
    assert_int_equal(ops->pread(ops->ctx, fd, p, (size_t)size, 0), (ssize_t)size);
    ops->close(ops->ctx, fd);
    fd = ops->open(ops->ctx, to, O_RDWR | O_CREAT, 0600);
    assert_int_equal(ops->pwrite(ops->ctx, fd, p, (size_t)size, 0), (ssize_t)size);
    assert_int_equal(ops->fdatasync(ops->ctx, fd), 0);
    ops->close(ops->ctx, fd);
    free(p);
}

struct said {
    char text[2000];
};

static void remember(void *ctx, const char *line)
{
    struct said *said = ctx;
    size_t n = strlen(said->text);
    snprintf(said->text + n, sizeof said->text - n, "%s\n", line);
}

/* The check and the start say the same, nothing is lost, and afterwards all is right. */
static void check_names(const struct world *w, struct fake_disk *d, const char *want,
                        size_t quarantined)
{
    struct said checked = {{0}}, opened = {{0}};
    struct spool_options o = {
        .segment_bytes = HISTORY_SEGMENT, .lifetime_s = 86400, .say = remember, .say_ctx = &opened};
    struct spool_report report;
    struct err e = {0};
    struct spool *s;
    uint64_t steps = fake_disk_steps(d);
    assert_true(spool_verify(fake_disk_ops(d), false, remember, &checked, &report, &e) > 0);
    assert_int_equal(fake_disk_steps(d), steps);
    assert_string_equal(checked.text, want);
    assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, &report, &e), 0);
    assert_string_equal(opened.text, want);
    struct history_look look = history_look(s);
    assert_int_equal(history_differences(&w->look, &look), 0);
    history_look_done(&look);
    spool_close(s);
    assert_int_equal(fake_disk_count(d, "quarantine"), quarantined);
    assert_int_equal(check_disk(d), 0);
}

static void test_names(void **state)
{
    (void)state;
    struct world w = world_new(8, 330);
    char a[SEGMENT_NAME_SIZE], b[SEGMENT_NAME_SIZE], other[SEGMENT_NAME_SIZE], want[400];
    segment_name(a, "seg", w.log.segments[1].number);
    segment_name(b, "seg", w.log.segments[2].number);
    static const uint32_t others[] = {0xfff, 0}; /* behind all, before all */
    for (size_t i = 0; i < 2; i++) {
        segment_name(other, "seg", others[i]);
        struct fake_disk *d = fake_disk_clone(w.disk);
        copy_file(d, a, other);
        snprintf(want, sizeof want, "%s: a duplicate of segment %s\n", other, a);
        check_names(&w, d, want, 1);
        fake_disk_free(d);

        d = fake_disk_clone(w.disk);
        assert_int_equal(d->ops.rename(d, a, other), 0);
        snprintf(want, sizeof want, "%s: is segment %s under another name\n", other, a);
        check_names(&w, d, want, 0);
        assert_true(fake_disk_file_size(d, a) > 0 && fake_disk_file_size(d, other) < 0);
        fake_disk_free(d);
    }
    /* Two have changed their names. */
    struct fake_disk *d = fake_disk_clone(w.disk);
    assert_int_equal(d->ops.rename(d, a, "x"), 0);
    assert_int_equal(d->ops.rename(d, b, a), 0);
    assert_int_equal(d->ops.rename(d, "x", b), 0);
    snprintf(want, sizeof want,
             "%s: is segment %s under another name\n%s: is segment %s under another name\n", b, a,
             a, b);
    check_names(&w, d, want, 0);
    fake_disk_free(d);
    world_done(&w);
}

/* The power goes while names are set right: nothing is lost by it. */
static void test_names_power_cut(void **state)
{
    (void)state;
    struct world w = world_new(8, 330);
    char a[SEGMENT_NAME_SIZE], b[SEGMENT_NAME_SIZE];
    segment_name(a, "seg", w.log.segments[1].number);
    segment_name(b, "seg", w.log.segments[2].number);
    bool done = false;
    for (uint64_t cut = 1; !done; cut++) {
        struct fake_disk *d = fake_disk_clone(w.disk);
        assert_int_equal(d->ops.rename(d, a, "x"), 0);
        assert_int_equal(d->ops.rename(d, b, a), 0);
        assert_int_equal(d->ops.rename(d, "x", b), 0);
        copy_file(d, a, "seg-00000fff");
        fake_disk_power_on(d, FAKE_LOSE_NONE);
        struct fake_disk *cutting = fake_disk_clone(d);
        fake_disk_cut_at(cutting, fake_disk_steps(cutting) + cut);
        struct spool_options o = {.segment_bytes = HISTORY_SEGMENT};
        struct spool_report report;
        struct err e = {0};
        struct spool *s = NULL;
        if (spool_open(&s, fake_disk_ops(cutting), &o, &report, &e) >= 0) {
            done = !fake_disk_is_cut(cutting);
            spool_close(s);
        }
        fake_disk_power_on(cutting, FAKE_LOSE_SOME);
        s = kit_open(cutting, HISTORY_SEGMENT, &report);
        struct history_look look = history_look(s);
        assert_int_equal(history_differences(&w.look, &look), 0);
        history_look_done(&look);
        spool_close(s);
        fake_disk_free(cutting);
        fake_disk_free(d);
    }
    world_done(&w);
}

/* A segment between others is gone: its mail is, no other, and it is said. */
static void test_missing(void **state)
{
    (void)state;
    struct world w = world_new(17, 330);
    char name[SEGMENT_NAME_SIZE], want[200];
    segment_name(name, "seg", w.log.segments[1].number);
    assert_int_equal(w.disk->ops.unlink(w.disk, name), 0);
    struct spool_report report;
    struct said said = {{0}};
    struct spool_options o = {.segment_bytes = HISTORY_SEGMENT, .say = remember, .say_ctx = &said};
    struct spool *s;
    struct err e = {0};
    assert_int_equal(check_disk(w.disk), 1);
    assert_int_equal(spool_open(&s, fake_disk_ops(w.disk), &o, &report, &e), 0);
    snprintf(want, sizeof want, "%s: the segment is missing\n", name);
    assert_string_equal(said.text, want);
    struct history_look look = history_look(s);
    assert_true(look.n >= w.look.n / 2);
    history_look_done(&look);
    spool_close(s);
    world_done(&w);
}

/* The clock was set back a day: ids grow, nothing is lost. */
static void test_clock_set_back(void **state)
{
    (void)state;
    struct world w = world_new(10, 330);
    struct spool *s = kit_open(w.disk, HISTORY_SEGMENT, NULL);
    struct wall yesterday = wall_add_s(NOW, -86400);
    uint64_t last = spool_last_id(s), id = kit_put(s, yesterday, 1, 10, NULL);
    assert_true(id > last);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    spool_close(s);
    struct spool_report report;
    s = kit_open(w.disk, HISTORY_SEGMENT, &report);
    assert_int_equal(report.damaged, 0);
    assert_int_equal(report.messages, w.look.n + 1);
    assert_int_equal(spool_find(s, id)->queued.us, yesterday.us);
    spool_close(s);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {

        cmocka_unit_test(test_zeroed_blocks),   cmocka_unit_test(test_unreadable_blocks),
        cmocka_unit_test(test_unreadable_tail), cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_names_power_cut),
        cmocka_unit_test(test_missing),         cmocka_unit_test(test_clock_set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

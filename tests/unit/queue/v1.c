/*
 * Promise 31: a spool that an older program left is read, and goes on; one of a newer program is
 * refused with a sentence, untouched. What would break for a user: an upgrade that loses the queue.
 */
#include "tests/unit/queue/data/v1.inc"
#include "queue/segment.h"
#include "relay/base/crc32c.h"
#include "tests/unit/queue/kit.h"

enum { SEGMENT = 16 * 1024, LAST_SEQ = 38 };
#define LAST_ID UINT64_C(1492544520192002)

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static void write_piece(const struct file_ops *ops, int fd, const struct fixture_piece *p)
{
    size_t n = strlen(p->hex) / 2;
    uint8_t *bytes = must_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(hex_digit(p->hex[2 * i]) << 4 | hex_digit(p->hex[2 * i + 1]));
    if (n)
        assert_int_equal(ops->pwrite(ops->ctx, fd, bytes, n, p->at), (ssize_t)n);
    free(bytes);
}

static struct fake_disk *fixture_disk(void)
{
    struct fake_disk *d = fake_disk_new(1);
    const struct file_ops *ops = fake_disk_ops(d);
    assert_int_equal(ops->mkdir(ops->ctx, "body", 0700), 0);
    for (size_t i = 0; i < sizeof fixture / sizeof *fixture; i++) {
        const struct fixture_file *f = &fixture[i];
        int fd = ops->open(ops->ctx, f->path, O_RDWR | O_CREAT, 0600);
        assert_true(fd >= 0);
        static const uint8_t zeros[SEGMENT];
        assert_int_equal(ops->pwrite(ops->ctx, fd, zeros, f->size, 0), (ssize_t)f->size);
        for (unsigned k = 0; k < f->n; k++)
            write_piece(ops, fd, &f->pieces[k]);
        assert_int_equal(ops->fdatasync(ops->ctx, fd), 0);
        ops->close(ops->ctx, fd);
    }
    struct fake_disk *synced = fake_disk_clone(d);
    fake_disk_free(d);
    return synced;
}

static uint32_t version_of(struct fake_disk *d, uint32_t number)
{
    char name[SEGMENT_NAME_SIZE];
    uint8_t block[12];
    segment_name(name, "seg", number);
    int fd = d->ops.open(d, name, O_RDONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(d->ops.pread(d, fd, block, sizeof block, 0), (ssize_t)sizeof block);
    d->ops.close(d, fd);
    return get_u32(block + 8);
}

static void test_opens(void **state)
{
    (void)state;
    struct fake_disk *d = fixture_disk();
    struct spool_report report;
    struct err e = {0};
    assert_int_equal(version_of(d, 3), 1);
    assert_int_equal(spool_verify(fake_disk_ops(d), false, NULL, NULL, &report, &e), 0);
    struct spool *s = kit_open(d, SEGMENT, &report);
    assert_int_equal(report.damaged, 0);
    char *dump = kit_dump_all(s);
    struct buf want = BUF_MAX(SIZE_MAX / 2);
    for (size_t i = 0; i < sizeof fixture_index / sizeof *fixture_index; i++)
        buf_add_str(&want, fixture_index[i]);
    assert_string_equal(dump, buf_str(&want));
    buf_done(&want);
    free(dump);
    assert_int_equal(spool_last_seq(s), LAST_SEQ);
    assert_true(spool_last_id(s) == LAST_ID);
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        struct body *b = NULL;
        assert_int_equal(kit_read(s, m, &b), 0);
        assert_true(kit_body_is(b, m->id, b->n));
        body_unref(b);
    }
    spool_close(s);
    fake_disk_free(d);
}

/* New mail goes into segments of version 4, footers behind old ones, too; in the end the old ones
 * are freed. */
static void test_goes_on(void **state)
{
    (void)state;
    struct fake_disk *d = fixture_disk();
    struct spool *s = kit_open(d, SEGMENT, NULL);
    uint64_t id = kit_put(s, NOW, 2, 1000, NULL);
    assert_true(id > LAST_ID);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(version_of(d, 3), 1);
    assert_int_equal(version_of(d, 6), 4);
    kit_tasks(s);
    char *before = kit_dump_all(s);
    spool_close(s);
    struct spool_report report;
    struct err e = {0};
    assert_int_equal(spool_verify(fake_disk_ops(d), false, NULL, NULL, &report, &e), 0);
    s = kit_open(d, SEGMENT, &report);
    assert_int_equal(report.damaged, 0);
    char *after = kit_dump_all(s);
    assert_string_equal(before, after);
    free(before);
    free(after);
    for (struct message *m = spool_after(s, 0), *next; m; m = next) {
        struct rcpt_change c[3] = {{.rcpt = 0, .state = RCPT_DELIVERED},
                                   {.rcpt = 1, .state = RCPT_DELIVERED},
                                   {.rcpt = 2, .state = RCPT_DELIVERED}};
        next = spool_after(s, m->id);
        spool_change(s, m, c, m->n_rcpts, NOW, NULL, 0);
    }
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    spool_events_kept(s, spool_last_seq(s));
    kit_settle(s);
    assert_true(fake_disk_file_size(d, "seg-00000003") < 0);
    spool_close(s);
    fake_disk_free(d);
}

static void test_newer_is_refused(void **state)
{
    (void)state;
    struct fake_disk *d = fixture_disk();
    uint8_t block[SEGMENT_DATA];
    segment_header_write(block, &(struct segment_header){.number = 6, .salt = 1, .prev = 5});
    for (size_t copy = 0; copy < 2; copy++) {
        uint8_t *p = block + copy * SEGMENT_HEADER_BLOCK;
        put_u32(p + 8, 5);
        put_u32(p + 4092, crc32c(0, p, 4092));
    }
    int fd = d->ops.open(d, "seg-00000006", O_RDWR | O_CREAT, 0600);
    assert_int_equal(d->ops.pwrite(d, fd, block, sizeof block, 0), (ssize_t)sizeof block);
    assert_int_equal(d->ops.fdatasync(d, fd), 0);
    d->ops.close(d, fd);
    struct fake_disk *before = fake_disk_clone(d);
    struct spool_options o = {.segment_bytes = SEGMENT};
    struct spool *s = NULL;
    struct err e = {0};
    assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, NULL, &e), -EPROTO);
    assert_string_equal(e.text, "spool segment seg-00000006 has format version 5, this program "
                                "knows version 4: use the newer program that wrote it (nothing "
                                "was changed)");
    assert_int_equal(spool_verify(fake_disk_ops(d), true, NULL, NULL, NULL, &e), -EPROTO);
    /* Not a byte of any file. */
    for (size_t i = 0; i < sizeof fixture / sizeof *fixture; i++) {
        const char *path = fixture[i].path;
        assert_int_equal(fake_disk_file_size(d, path), fake_disk_file_size(before, path));
        int a = d->ops.open(d, path, O_RDONLY, 0), b = before->ops.open(before, path, O_RDONLY, 0);
        uint8_t x[SEGMENT], y[SEGMENT];
        assert_int_equal(d->ops.pread(d, a, x, fixture[i].size, 0), (ssize_t)fixture[i].size);
        assert_int_equal(before->ops.pread(before, b, y, fixture[i].size, 0),
                         (ssize_t)fixture[i].size);
        assert_memory_equal(x, y, fixture[i].size);
        d->ops.close(d, a);
        before->ops.close(before, b);
    }
    fake_disk_free(before);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_newer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

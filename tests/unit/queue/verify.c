/*
 * Damage: every byte flipped, every length cut. The spool always opens, loses the record that was
 * hit and no other, says so, and keeps what it could not read. What would break for a user: one bad
 * sector, and the whole queue is gone, or mail is lost in silence.
 */
#include "queue/segment.h"
#include "relay/base/crc32c.h"
#include "tests/unit/queue/kit.h"
#include <errno.h>

enum { SEGMENT = 16 * 1024, MAILS = 6, BIG = 6200 };

struct small {
    struct fake_disk *disk;
    uint64_t ids[MAILS];
    char *dump;
};

/* Six messages in two segments; the second one finished, the third deferred. */
static struct small small_new(void)
{
    struct small w = {.disk = fake_disk_new(1)};
    struct spool *s = kit_open(w.disk, SEGMENT, NULL);
    for (size_t i = 0; i < MAILS; i++) {
        struct message *m;
        w.ids[i] = kit_put(s, NOW, 1, i == 3 ? BIG : 200, &m);
        struct rcpt_change c = {
            .state = i == 1 ? RCPT_DELIVERED : RCPT_QUEUED, .attempts = 1, .host = "mx"};
        struct spool_event_in ev = {i == 1 ? EVENT_DELIVERED : EVENT_DEFERRED, SLICE_NONE};
        if (i == 1 || i == 2)
            spool_change(s, m, &c, 1, NOW, &ev, 1);
        if (i % 2)
            assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    w.dump = kit_dump_all(s);
    spool_close(s);
    return w;
}

static void small_done(struct small *w)
{
    free(w->dump);
    fake_disk_free(w->disk);
}

/* What may differ: one message gone or back in an older state, or one body unreadable. Returns the
 * number of differences. */
static unsigned differences(const struct small *w, struct spool *s)
{
    unsigned n = 0;
    for (size_t i = 0; i < MAILS; i++) {
        struct message *m = spool_find(s, w->ids[i]);
        if (i == 1) { /* its done-mark or its MESSAGE */
            n += m != NULL;
            continue;
        }
        struct body *b = NULL;
        if (!m) {
            n++;
            continue;
        }
        int rc = kit_read(s, m, &b);
        if (rc == 0)
            assert_true(kit_body_is(b, m->id, i == 3 ? BIG : 200));
        else
            assert_int_equal(rc, -EBADMSG);
        n += rc != 0;
        body_unref(b);
        char *dump = kit_dump_text(m);
        n += strstr(w->dump, dump) == NULL;
        free(dump);
    }
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        bool known = false;
        for (size_t i = 0; i < MAILS; i++)
            known = known || w->ids[i] == m->id;
        assert_true(known);
    }
    return n;
}

static void on_event(void *ctx, const struct event *e)
{
    assert_true(e->seq > *(uint64_t *)ctx);
    *(uint64_t *)ctx = e->seq;
}

static void say(void *ctx, const char *line)
{
    assert_true(strlen(line) > 10);
    ++*(unsigned *)ctx;
}

static void check_damaged(const struct small *w, struct fake_disk *d, const char *where,
                          uint64_t at)
{
    struct spool_report checked, opened;
    struct err e = {0};
    unsigned said = 0;
    int found = spool_verify(fake_disk_ops(d), false, say, &said, &checked, &e);
    assert_true(found >= 0 && (found > 0) == (said > 0));
    struct spool *s = kit_open(d, SEGMENT, &opened);
    unsigned lost = differences(w, s);
    uint64_t seq = 0, last_seq = spool_last_seq(s);
    spool_each_event(s, 0, on_event, &seq);
    if (lost > 1 || (lost && !found) || (opened.damaged && !found))
        print_error("%s byte %llu: %u lost, %d found, %llu reported\n", where,
                    (unsigned long long)at, lost, found, (unsigned long long)opened.damaged);
    assert_true(lost <= 1);
    assert_true(!lost || found);
    if (opened.damaged) {
        assert_true(found);
        assert_true(fake_disk_count(d, "quarantine") > 0 || strcmp(where, "header") == 0 ||
                    lost == 0);
    }
    /* Numbers are not used again, and the spool goes on. */
    assert_int_equal(last_seq, 8);
    uint64_t id = kit_put(s, NOW, 1, 10, NULL);
    assert_true(id > w->ids[MAILS - 1]);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    spool_close(s);
}

static void test_every_byte(void **state)
{
    (void)state;
    struct small w = small_new();
    unsigned files = 0;
    for (unsigned number = 1; number < 8; number++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", number);
        int64_t size = fake_disk_file_size(w.disk, name);
        if (size < 0)
            continue;
        files++;
        for (uint64_t at = 0; at < (uint64_t)size;
             at += at < SEGMENT_DATA - 100 && at % 4096 > 80 ? 97 : 1) {
            struct fake_disk *d = fake_disk_clone(w.disk);
            assert_true(fake_disk_flip(d, name, at, (uint8_t)(1 << at % 8)));
            check_damaged(&w, d, at < SEGMENT_DATA ? "header" : name, at);
            fake_disk_free(d);
        }
    }
    assert_true(files >= 2);
    small_done(&w);
}

/* A lost 512-byte sector, read as zeros or as an error, costs what lay in it. */
static void test_bad_blocks(void **state)
{
    (void)state;
    struct small w = small_new();
    for (uint64_t at = 0; at < SEGMENT; at += 512) {
        struct fake_disk *d = fake_disk_clone(w.disk);
        for (uint64_t i = at; i < at + 512; i++)
            fake_disk_flip(d, "seg-00000001", i, 0x5a);
        struct spool_report report;
        struct spool *s = kit_open(d, SEGMENT, &report);
        assert_true(differences(&w, s) <= 3);
        spool_close(s);
        fake_disk_free(d);
    }
    small_done(&w);
}

static void test_every_length(void **state)
{
    (void)state;
    struct small w = small_new();
    for (uint64_t size = 0; size < SEGMENT; size += 61) {
        struct fake_disk *d = fake_disk_clone(w.disk);
        assert_true(fake_disk_truncate(d, "seg-00000001", size));
        struct spool_report report;
        struct err e;
        assert_true(spool_verify(fake_disk_ops(d), false, NULL, NULL, &report, &e) >= 0);
        struct spool *s = kit_open(d, SEGMENT, &report);
        unsigned lost = differences(&w, s);
        assert_true(!lost || report.damaged);
        /* The second segment is whole. */
        assert_non_null(spool_find(s, w.ids[MAILS - 1]));
        assert_int_equal(spool_last_seq(s), 8);
        spool_close(s);
        fake_disk_free(d);
    }
    small_done(&w);
}

/* Reading fails once, at any place: the start says so, or nothing is lost by it. */
static void test_read_errors(void **state)
{
    (void)state;
    struct small w = small_new();
    for (uint64_t at = 1; at < 60; at++) {
        struct fake_disk *d = fake_disk_clone(w.disk);
        struct spool_options o = {.segment_bytes = SEGMENT};
        struct spool_report report;
        struct spool *s;
        struct err e = {0};
        fake_disk_count_reads(d, true);
        fake_disk_fail_at(d, at, -EIO);
        int rc = spool_open(&s, fake_disk_ops(d), &o, &report, &e);
        if (rc < 0) {
            assert_true(e.text[0] != 0);
        } else {
            fake_disk_fail_at(d, 0, 0);
            assert_true(differences(&w, s) == 0);
            spool_close(s);
        }
        fake_disk_free(d);
    }
    small_done(&w);
}

static void test_other_version(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    const struct file_ops *ops = fake_disk_ops(d);
    uint8_t block[SEGMENT_DATA];
    segment_header_write(block, &(struct segment_header){.number = 1});
    put_u32(block + 8, 5);
    int fd = ops->open(ops->ctx, "seg-00000001", 0102, 0600);
    assert_true(fd >= 0);
    put_u32(block + 4092, crc32c(0, block, 4092));
    assert_int_equal(ops->pwrite(ops->ctx, fd, block, sizeof block, 0), (ssize_t)sizeof block);
    ops->close(ops->ctx, fd);
    struct spool_options o = {0};
    struct spool *s = NULL;
    struct err e = {0};
    assert_int_equal(spool_open(&s, ops, &o, NULL, &e), -EPROTO);
    assert_null(s);
    assert_non_null(strstr(e.text, "version 5"));
    assert_int_equal(fake_disk_file_size(d, "seg-00000001"), SEGMENT_DATA);
    assert_int_equal(fake_disk_open_fds(d), 0);
    fake_disk_free(d);
}

struct said {
    unsigned n;
    char text[400];
};

static void remember(void *ctx, const char *line)
{
    struct said *said = ctx;
    said->n++;
    snprintf(said->text, sizeof said->text, "%s", line);
}

/* Both the start and "spool check" find one damage and name the place. */
static void check_said(struct fake_disk *d, const char *want)
{
    struct said checked = {0}, opened = {0};
    struct spool_options o = {.segment_bytes = SEGMENT, .say = remember, .say_ctx = &opened};
    struct spool_report report;
    struct spool *s;
    struct err e = {0};
    assert_int_equal(spool_verify(fake_disk_ops(d), false, remember, &checked, &report, &e), 1);
    assert_int_equal(checked.n, 1);
    assert_string_equal(checked.text, want);
    assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, &report, &e), 0);
    assert_int_equal(report.damaged, 1);
    assert_int_equal(opened.n, 1);
    assert_string_equal(opened.text, want);
    spool_close(s);
}

static void test_header_copy(void **state)
{
    (void)state;
    for (unsigned copy = 0; copy < 2; copy++) {
        struct small w = small_new();
        assert_true(fake_disk_flip(w.disk, "seg-00000001", copy * 4096 + 30, 4));
        char want[200];
        snprintf(want, sizeof want,
                 "seg-00000001: damaged copy of the segment header at %u, 4096 bytes", copy * 4096);
        check_said(w.disk, want);
        struct spool *s = kit_open(w.disk, SEGMENT, NULL);
        assert_int_equal(differences(&w, s), 0);
        spool_close(s);
        small_done(&w);
    }
}

/* A file of the log was deleted by hand: what is in the others is there, and the loss is said. */
static void test_missing_segment(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    const struct file_ops *ops = fake_disk_ops(d);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    uint64_t first = kit_put(s, NOW, 1, 5000, NULL), last = 0;
    for (int i = 0; i < 5; i++) {
        last = kit_put(s, NOW, 1, 5000, NULL);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    spool_close(s);
    unsigned middle = 0;
    for (unsigned number = 9; number > 1 && !middle; number--) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", number);
        if (fake_disk_file_size(d, name) < 0)
            continue;
        segment_name(name, "seg", number + 2);
        if (fake_disk_file_size(d, name) < 0)
            segment_name(name, "seg", number + 1);
        if (fake_disk_file_size(d, name) >= 0)
            middle = number;
    }
    assert_true(middle > 1);
    char name[SEGMENT_NAME_SIZE], want[200];
    segment_name(name, "seg", middle);
    assert_int_equal(ops->unlink(ops->ctx, name), 0);
    snprintf(want, sizeof want, "%s: the segment is missing", name);
    check_said(d, want);
    s = kit_open(d, SEGMENT, NULL);
    assert_non_null(spool_find(s, first));
    assert_non_null(spool_find(s, last));
    spool_close(s);
    fake_disk_free(d);
}

/* A body file that nobody names is kept when damage may be why. */
static void test_orphan_after_damage(void **state)
{
    (void)state;
    struct small w = small_new();
    struct spool_body_file *f;
    assert_int_equal(spool_body_create(fake_disk_ops(w.disk), 99, &f), 0);
    assert_int_equal(spool_body_finish(f), 0);
    assert_true(fake_disk_flip(w.disk, "seg-00000001", SEGMENT_DATA + 60, 1));
    struct spool_report report;
    struct spool *s = kit_open(w.disk, SEGMENT, &report);
    assert_true(report.damaged > 0);
    assert_int_equal(fake_disk_count(w.disk, "body"), 0);
    assert_int_equal(fake_disk_count(w.disk, "quarantine"), 2);
    spool_close(s);
    small_done(&w);
}

static void test_verify_changes_nothing(void **state)
{
    (void)state;
    struct small w = small_new();
    uint64_t before = fake_disk_steps(w.disk);
    struct spool_report report;
    struct err e;
    assert_int_equal(spool_verify(fake_disk_ops(w.disk), false, NULL, NULL, &report, &e), 0);
    assert_int_equal(fake_disk_steps(w.disk), before);
    assert_true(report.messages == MAILS - 1 && report.recipients == MAILS - 1);
    assert_true(report.events == 8 && report.records == 9 && report.segments >= 2);
    small_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_bad_blocks),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_read_errors),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_header_copy),
        cmocka_unit_test(test_missing_segment),
        cmocka_unit_test(test_orphan_after_damage),
        cmocka_unit_test(test_verify_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

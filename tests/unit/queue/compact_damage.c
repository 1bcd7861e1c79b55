/*
 * Damage met while copying, blocks that cannot be read, segments that are not to be trusted. What
 * would break for a user: the spool stops giving space back; more is lost than what was damaged; a
 * disk that was away for a moment costs mail.
 */
#include "tests/unit/queue/compact_kit.h"

/* --- damage
 * ------------------------------------------------------------------------------------------ */

static const struct harm {
    const char *name;
    enum { BODY, HEAD, HEADER, FILE_HEAD, FRESH, REMOVED, CUT_SHORT } what;
    int read; /* what reading the content says afterwards */
    size_t in_quarantine;
} faults[] = {
    {"a flipped bit in the body", BODY, -EBADMSG, 0},
    {"a flipped bit in the head", HEAD, -EBADMSG, 1},
    {"a flipped bit in the header", HEADER, -EBADMSG, 1},
    {"the head of a large message: its file is whole", FILE_HEAD, 0, 1},
    {"the head of one whose content is in memory", FRESH, 0, 1},
    {"the segment file is gone", REMOVED, -EBADMSG, 0},
    {"the segment file is cut short", CUT_SHORT, -EBADMSG, 1},
};

static uint64_t put_large(struct fake_disk *d, struct spool *s, size_t n, struct message **ret)
{
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@example.com")};
    struct envelope e = {.sender = SLICE_LIT("s@x"), .size = n, .rcpts = &rcpt, .n_rcpts = 1};
    struct spool_body_file *f;
    uint64_t id = spool_new_id(s, NOW);
    struct body *b = kit_body(id, n);
    assert_int_equal(spool_body_create(fake_disk_ops(d), id, &f), 0);
    assert_int_equal(spool_body_write(f, slice_of(b->bytes, b->n)), 0);
    assert_int_equal(spool_body_finish(f), 0);
    body_unref(b);
    spool_put(s, id, &e, NULL, true, NOW, NULL, 0, ret);
    return id;
}

static void break_it(struct fake_disk *d, const struct harm *f, const struct message *m)
{
    static const char name[] = "seg-00000001";
    switch (f->what) {
    case BODY:
        assert_true(fake_disk_flip(d, name, m->record_at + m->record_bytes - 20, 4));
        return;
    case HEADER:
        assert_true(fake_disk_flip(d, name, m->record_at + 17, 4));
        return;
    case HEAD:
    case FILE_HEAD:
    case FRESH:
        assert_true(fake_disk_flip(d, name, m->record_at + RECORD_HEADER_SIZE + 30, 4));
        return;
    case REMOVED:
        assert_int_equal(fake_disk_ops(d)->unlink(d, name), 0);
        return;
    case CUT_SHORT:
        assert_true(fake_disk_truncate(d, name, m->record_at + 20));
        return;
    }
}

static void one_damage(const struct harm *f)
{
    enum { N = 3000 };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    uint64_t id = f->what == FILE_HEAD ? put_large(d, s, N, &m) : kit_put(s, NOW, 1, N, &m);
    struct rcpt_change c = {.attempts = 7, .due = {NOW.us + 77}, .host = "mx.example"};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    commit(s);
    if (f->what != FRESH)
        let_go(m);
    break_it(d, f, m);
    struct spool_task *t = until_task(s);
    spool_task_run(t);
    assert_true(spool_task_end(s, t));
    assert_int_equal(said.n, 1);
    assert_true(strncmp(said.lines[0], "seg-00000001: damaged ", 22) == 0);
    commit(s);
    let_go(m);
    kit_settle(s);
    assert_true(is_bounded(s));
    assert_int_equal(fake_disk_count(d, "quarantine"), f->in_quarantine);
    assert_int_equal(fake_disk_file_size(d, "seg-00000001"), -1);
    for (int opened = 0; opened < 3; opened++) {
        struct body *b = NULL;
        m = spool_find(s, id);
        assert_non_null(m);
        assert_int_equal(m->rcpts[0].attempts, 7);
        assert_int_equal(kit_read(s, m, &b), f->read);
        assert_true(!b || kit_body_is(b, id, N));
        body_unref(b);
        /* It may be copied again, as it is. */
        t = until_task(s);
        spool_task_run(t);
        assert_true(spool_task_end(s, t));
        commit(s);
        kit_settle(s);
        check_reopened(d, &s);
        assert_true(said.n == 0 || f->what == BODY);
    }
    spool_close(s);
    fake_disk_free(d);
}

static void test_damage(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        print_message("[          ] %s\n", faults[i].name);
        one_damage(&faults[i]);
    }
}

/* Blocks that cannot be read: a disk that comes back costs nothing, one that does not costs the
 * message in them, and only when it can still be written to. */
static void unreadable(int back_after, bool no_quarantine)
{
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *other;
    uint64_t id = kit_put(s, NOW, 1, 3000, &m), other_id = kit_put(s, NOW, 1, 3000, &other);
    commit(s);
    let_go(m);
    let_go(other);
    fake_disk_unreadable(d, "seg-00000001", SEGMENT_DATA, SEGMENT_DATA + 1);
    struct spool_task *t = until_task(s);
    fake_disk_fail_only(d, FAKE_OPEN);
    if (no_quarantine)
        fake_disk_fail_from(d, 1, -ENOSPC);
    int tries = 0;
    for (bool ok = false; !ok && tries < 20; tries++) {
        if (tries == back_after)
            fake_disk_unreadable(d, "", 0, 0);
        spool_task_run(t);
        ok = spool_task_end(s, t);
        commit(s);
        t = ok ? NULL : take_copy(s);
        assert_true(ok || t);
    }
    fake_disk_fail_from(d, 0, 0);
    if (t) {
        spool_task_run(t);
        assert_true(spool_task_end(s, t));
    }
    assert_int_equal(tries, back_after < 6 ? back_after + 1 : no_quarantine ? 20 : 6);
    commit(s);
    kit_settle(s);
    check_reopened(d, &s);
    check_read(s, other_id, 3000);
    struct body *b = NULL;
    assert_int_equal(kit_read(s, spool_find(s, id), &b), back_after < 6 ? 0 : -EBADMSG);
    body_unref(b);
    spool_close(s);
    fake_disk_free(d);
}

static void test_unreadable(void **state)
{
    (void)state;
    unreadable(0, false);
    unreadable(3, true);
    unreadable(5, false);
    unreadable(99, false);
    unreadable(99, true);
}

/* --- evacuation
 * -------------------------------------------------------------------------------- */

/* After a failed sync nothing that was durable depends on that segment's pages any more. */
static void evacuation(int error, bool wanted)
{
    enum { N = 40 };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m, *lost;
    uint64_t ids[N];
    for (int i = 0; i < N; i++) {
        ids[i] = kit_put(s, NOW, 1, 300, &m);
        commit(s);
        let_go(m);
    }
    const struct segment *g = s->tail;
    uint32_t number = g->number;
    assert_true(g->n_live > 5);
    kit_put(s, NOW, 1, 300, &lost);
    fake_disk_fail_at(d, fake_disk_steps(d) + 2, error);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), error);
    struct spool_task *t = take_copy(s);
    assert_int_equal(t != NULL, wanted);
    if (t) {
        spool_task_run(t);
        assert_true(spool_task_end(s, t));
    }
    kit_settle(s);
    assert_int_equal(m->home->number != number, wanted);
    if (wanted) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(name, "seg", number);
        fake_disk_unreadable(d, name, 0, SEGMENT);
    }
    for (int i = 0; i < N; i++)
        check_read(s, ids[i], 300);
    fake_disk_unreadable(d, "", 0, 0);
    check_reopened(d, &s);
    spool_close(s);
    fake_disk_free(d);
}

static void test_evacuation(void **state)
{
    (void)state;
    evacuation(-EIO, true);
    evacuation(-ENOSPC, false);
    evacuation(-EDQUOT, false);
    evacuation(-EROFS, false);
}

/* Room in the last segment of a full disk is for done-marks: what was durable stays where it is
 * until there is more. */
static void test_evacuation_on_a_full_disk(void **state)
{
    enum { N = 40 };
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    for (int i = 0; i < N; i++) {
        kit_put(s, NOW, 1, 300, &m);
        commit(s);
        let_go(m);
    }
    fake_disk_set_room(d, 0);
    kit_put(s, NOW, 1, 300, NULL);
    fake_disk_fail_at(d, fake_disk_steps(d) + 2, -EIO);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    deliver(s, m);
    commit(s); /* into the spare one */
    spool_room_again(s);
    commit(s);
    assert_int_equal(spool_room(s), -ENOSPC);
    const struct segment *bad = s->segments;
    assert_null(take_copy(s));
    fake_disk_set_room(d, -1);
    spool_room_again(s);
    commit(s);
    assert_int_equal(spool_room(s), 0);
    assert_true(s->segments == bad && bad->n_live > 0);
    kit_settle(s);
    assert_int_equal(fake_disk_file_size(d, "seg-00000001"), -1);
    check_reopened(d, &s);
    spool_close(s);
    fake_disk_free(d);
}

static void add_lines(void *ctx, const char *line)
{
    buf_addf(ctx, "%s\n", line);
}

/* A body file is missed wherever its message has been copied to meanwhile. */
static void test_missing_file_of_a_copy(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = open_spool(d);
    struct message *m;
    uint64_t id = put_large(d, s, 3000, &m);
    commit(s);
    const struct segment *first = m->home;
    char path[SEGMENT_NAME_SIZE];
    spool_body_name(path, id);
    assert_int_equal(fake_disk_ops(d)->unlink(d, path), 0);
    struct spool_task *t = until_task(s);
    struct spool_check *c = spool_check_new(s, false);
    while (spool_check_step(c, NULL, NULL))
        continue;
    spool_task_run(t);
    assert_true(spool_task_end(s, t));
    commit(s);
    assert_true(m->home != first);
    struct buf lines = BUF_MAX(1000);
    struct spool_report report;
    spool_check_free(s, c, add_lines, &lines, &report);
    assert_int_equal(report.damaged, 1);
    assert_non_null(strstr(buf_str(&lines), "body file missing"));
    buf_done(&lines);
    spool_close(s);
    fake_disk_free(d);
}

/* Whoever began a check and does not go on with it does not fill the disk. */
static void test_check_that_waits(void **state)
{
    (void)state;
    for (int steps = 0; steps < 6; steps++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = open_spool(d);
        struct message *m[60];
        for (int i = 0; i < 60; i++) {
            kit_put(s, NOW, 1, 2000, &m[i]);
            commit(s);
        }
        struct spool_check *c = spool_check_new(s, true);
        for (int i = 0; i < steps; i++)
            spool_check_step(c, NULL, NULL);
        for (int i = 0; i < 60; i++)
            deliver(s, m[i]);
        commit(s);
        kit_settle(s);
        assert_false(is_bounded(s));
        spool_check_release(s, c);
        kit_settle(s);
        assert_true(is_bounded(s));
        while (spool_check_step(c, NULL, NULL))
            continue;
        struct spool_report report;
        spool_check_free(s, c, NULL, NULL, &report);
        assert_int_equal(report.damaged, 1);
        check_reopened(d, &s);
        spool_close(s);
        fake_disk_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_evacuation),
        cmocka_unit_test(test_evacuation_on_a_full_disk),
        cmocka_unit_test(test_missing_file_of_a_copy),
        cmocka_unit_test(test_check_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

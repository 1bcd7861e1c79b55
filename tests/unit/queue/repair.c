/*
 * spool check, its mending, and the check of a spool that is running. What would break for a user:
 * a repair that loses mail which the damage had left, or brings finished mail back; a check that
 * cries wolf on a busy spool, or keeps its disk from being freed.
 */
#define HISTORY_SEGMENT (16 * 1024)
#define HISTORY_BODY 160
#include "tests/unit/queue/history.h"

static struct fake_disk *closed_spool(uint64_t seed)
{
    struct history h = history_new(seed, true);
    history_run(&h, 330);
    kit_settle(h.s);
    spool_close(h.s);
    return h.disk;
}

static struct history_look open_look(const struct fake_disk *d)
{
    struct fake_disk *copy = fake_disk_clone(d);
    struct spool *s = kit_open(copy, HISTORY_SEGMENT, NULL);
    struct history_look look = history_look(s);
    spool_close(s);
    fake_disk_free(copy);
    return look;
}

/* Lines that mending leaves: content that is gone. */
static void only_lost(void *ctx, const char *line)
{
    if (!strstr(line, "goes back to its sender at its next attempt"))
        print_error("left: %s\n", line);
    assert_non_null(strstr(line, "goes back to its sender at its next attempt"));
    ++*(unsigned *)ctx;
}

/* Mends d; the index is what it was, and only lost content is found afterwards. Returns what was
 * found before. */
static int check_mended(struct fake_disk *d)
{
    struct history_look before = open_look(d);
    struct spool_report report = {0};
    struct err e = {0};
    unsigned said = 0, left = 0;
    int found = spool_verify(fake_disk_ops(d), true, history_say, &said, &report, &e);
    assert_true(found >= 0 && (unsigned)found == said && report.mended <= report.damaged);
    int again = spool_verify(fake_disk_ops(d), false, only_lost, &left, NULL, &e);
    assert_true(again >= 0 && (unsigned)again == left);
    assert_int_equal(again, report.damaged - report.mended);
    struct history_look after = open_look(d);
    /* What could not be read for want of the zeros behind it can be read again. */
    for (size_t i = 0; i < before.n && before.n == after.n; i++)
        before.mails[i].readable = before.mails[i].readable || after.mails[i].readable;
    assert_int_equal(history_differences(&before, &after), 0);
    history_look_done(&before);
    history_look_done(&after);
    return found;
}

static void zero_block(struct fake_disk *d, const char *name, uint64_t at, size_t n)
{
    static const uint8_t zeros[4096];
    int fd = d->ops.open(d, name, O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(d->ops.pwrite(d, fd, zeros, n, at), (ssize_t)n);
    assert_int_equal(d->ops.fdatasync(d, fd), 0);
    d->ops.close(d, fd);
}

static void test_mended(void **state)
{
    (void)state;
    unsigned found = 0;
    for (unsigned footers = 0; footers < 2; footers++) {
        struct fake_disk *whole = closed_spool(21 + footers);
        if (!footers)
            history_drop_footers(whole);
        struct log_found l = history_log(whole);
        assert_true(l.n >= 4);
        for (size_t i = 0; i + 1 < l.n; i++) {
            char name[SEGMENT_NAME_SIZE];
            segment_name(name, "seg", l.segments[i].named);
            for (uint64_t at = i % 7; at < l.segments[i].size; at += at < 8192 ? 499 : 61) {
                struct fake_disk *d = fake_disk_clone(whole);
                fake_disk_flip(d, name, at, (uint8_t)(1 << at % 8));
                found += check_mended(d) > 0;
                fake_disk_free(d);
            }
            for (uint64_t at = SEGMENT_DATA; at < l.segments[i].end; at += 512) {
                struct fake_disk *d = fake_disk_clone(whole);
                zero_block(d, name, at, at % 4096 ? 512 : 4096);
                found += check_mended(d) > 0;
                fake_disk_free(d);
            }
            for (uint64_t size = SEGMENT_DATA; size < l.segments[i].size; size += 601) {
                struct fake_disk *d = fake_disk_clone(whole);
                assert_true(fake_disk_truncate(d, name, size));
                found += check_mended(d) > 0;
                fake_disk_free(d);
            }
        }
        log_found_done(&l);
        fake_disk_free(whole);
    }
    assert_true(found > 500);
}

/* The power goes in the middle of mending: done again it is as good. */
static void test_interrupted(void **state)
{
    (void)state;
    struct fake_disk *whole = closed_spool(23);
    struct log_found l = history_log(whole);
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", l.segments[1].named);
    log_found_done(&l);
    fake_disk_flip(whole, name, 50, 1);
    zero_block(whole, name, SEGMENT_DATA + 1024, 512);
    zero_block(whole, name, SEGMENT_DATA + 4096, 512);
    fake_disk_power_on(whole, FAKE_LOSE_NONE);
    struct history_look want = open_look(whole);
    bool done = false;
    unsigned cuts = 0;
    for (uint64_t cut = 1; !done; cut++, cuts++) {
        struct fake_disk *d = fake_disk_clone(whole);
        struct spool_report report;
        struct err e = {0};
        fake_disk_cut_at(d, fake_disk_steps(d) + cut);
        spool_verify(fake_disk_ops(d), true, NULL, NULL, &report, &e);
        done = !fake_disk_is_cut(d);
        fake_disk_power_on(d, FAKE_LOSE_SOME);
        check_mended(d);
        struct history_look after = open_look(d);
        assert_int_equal(history_differences(&want, &after), 0);
        history_look_done(&after);
        fake_disk_free(d);
    }
    assert_true(cuts > 10);
    history_look_done(&want);
    fake_disk_free(whole);
}

static void test_lock(void **state)
{
    (void)state;
    struct fake_disk *d = closed_spool(24);
    struct spool *s = kit_open(d, HISTORY_SEGMENT, NULL);
    struct err e = {0};
    assert_int_equal(spool_verify(fake_disk_ops(d), true, NULL, NULL, NULL, &e), -EWOULDBLOCK);
    assert_non_null(strstr(e.text, "in use"));
    spool_close(s);
    assert_int_equal(spool_verify(fake_disk_ops(d), true, NULL, NULL, NULL, &e), 0);
    assert_int_equal(fake_disk_open_fds(d), 0);
    fake_disk_free(d);
}

/* --- a running spool
 * ---------------------------------------------------------------------------------------------- */

static int check_running(struct history *h, bool repair, bool busy, struct spool_report *ret)
{
    unsigned said = 0;
    struct spool_report report;
    struct spool_check *c = spool_check_new(h->s, repair);
    for (bool more = true; more;) {
        more = spool_check_step(c, history_say, &said);
        for (int i = 0; busy && i < 20; i++)
            history_step(h);
        if (busy)
            history_commit(h);
    }
    spool_check_free(h->s, c, history_say, &said, ret ? ret : &report);
    assert_int_equal(said, ret ? ret->damaged : report.damaged);
    return (int)said;
}

static void test_running(void **state)
{
    (void)state;
    for (uint64_t seed = 30; seed < 50; seed++) {
        struct history h = history_new(seed, true);
        history_run(&h, 300);
        for (int i = 0; i < 4; i++)
            assert_int_equal(check_running(&h, i % 2, true, NULL), 0);
        /* Nothing is held any more: the disk is freed as before. */
        for (struct message *m = spool_after(h.s, 0), *next; m; m = next) {
            struct rcpt_change c[3] = {{.rcpt = 0, .state = RCPT_DELIVERED},
                                       {.rcpt = 1, .state = RCPT_DELIVERED},
                                       {.rcpt = 2, .state = RCPT_DELIVERED}};
            next = spool_after(h.s, m->id);
            if (m->n_left)
                spool_change(h.s, m, c, m->n_rcpts, h.now, NULL, 0);
        }
        history_commit(&h);
        history_commit(&h);
        spool_note(h.s, h.now, NULL, 0);
        kit_settle(h.s);
        struct spool_counts counts;
        spool_count(h.s, &counts);
        assert_true(counts.segments <= 2);
        history_done(&h);
    }
}

/* Damage under a running spool is found and mended, and what lives there moves away from it. */
static void test_running_damage(void **state)
{
    (void)state;
    struct history h = history_new(61, true);
    history_run(&h, 330);
    kit_settle(h.s);
    struct message *m = spool_after(h.s, 0);
    while (m && (m->in_file || !m->size))
        m = spool_after(h.s, m->id);
    assert_non_null(m);
    uint64_t id = m->id;
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", m->home->number);
    assert_true(fake_disk_flip(h.disk, name, m->record_at + 60, 1)); /* its head */
    struct history_look before = history_look(h.s);
    struct spool_report report;
    /* The record, and what it means for the message. */
    assert_int_equal(check_running(&h, true, false, &report), 2);
    assert_int_equal(report.mended, 1);
    kit_settle(h.s);
    m = spool_find(h.s, id);
    assert_non_null(m);
    char other[SEGMENT_NAME_SIZE];
    segment_name(other, "seg", m->home->number);
    assert_string_not_equal(name, other);
    spool_close(h.s);
    h.s = kit_open(h.disk, HISTORY_SEGMENT, &report);
    assert_int_equal(report.damaged, 0);
    struct history_look after = history_look(h.s);
    assert_true(history_differences(&before, &after) <= 1);
    assert_int_equal(before.n, after.n);
    history_look_done(&before);
    history_look_done(&after);
    history_done(&h);
}

/* Body files: damaged, cut, missing; of a message that is gone nobody speaks. */
static void test_body_files(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct history h = history_new(70 + how, false);
        history_run(&h, 20);
        uint64_t id = history_put(&h, 1, 200000, 0, true);
        history_commit(&h);
        char name[SEGMENT_NAME_SIZE], text[QUEUE_ID_SIZE];
        queue_id_write(id, text);
        snprintf(name, sizeof name, "body/%s.body", text);
        struct message *m = spool_find(h.s, id);
        assert_non_null(m);
        assert_int_equal(check_running(&h, false, false, NULL), 0);
        if (how == 0)
            assert_true(fake_disk_flip(h.disk, name, 150000, 1));
        else if (how == 1)
            assert_true(fake_disk_truncate(h.disk, name, 65540));
        else
            assert_int_equal(h.disk->ops.unlink(h.disk, name), 0);
        if (how == 3) {
            struct rcpt_change c = {.state = RCPT_CANCELLED};
            spool_change(h.s, m, &c, 1, h.now, NULL, 0);
            history_commit(&h);
            history_commit(&h);
        }
        assert_int_equal(check_running(&h, true, false, NULL), how == 3 ? 0 : 1);
        spool_close(h.s);
        h.s = NULL;
        unsigned left = 0;
        struct err e = {0};
        assert_int_equal(spool_verify(fake_disk_ops(h.disk), true, only_lost, &left, NULL, &e),
                         how == 3 ? 0 : 1);
        history_done(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mended),         cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_lock),           cmocka_unit_test(test_running),
        cmocka_unit_test(test_running_damage), cmocka_unit_test(test_body_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

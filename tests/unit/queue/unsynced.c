/*
 * A sync fails, the process is killed, the next one finds the bytes in memory, and then the power
 * goes. What would break for a user: mail accepted by the second process stands behind bytes that
 * the disk never had, and is lost or called damage.
 */
#include "tests/unit/queue/kit.h"

/* The process ends here and does nothing more. */
static struct spool *restart(struct fake_disk *d, struct spool *s, enum fake_loss loss,
                             struct spool_report *ret)
{
    fake_disk_cut_at(d, fake_disk_steps(d) + 1);
    spool_close(s);
    fake_disk_power_on(d, loss);
    return kit_open(d, 64 * 1024, ret);
}

static size_t refused;
static void on_failed(void *ctx, uint64_t id)
{
    (void)ctx;
    (void)id;
    refused++;
}

static void one_life(uint64_t seed, unsigned puts)
{
    struct spool_report report;
    struct fake_disk *d = fake_disk_new(seed);
    struct spool *s = kit_open(d, 64 * 1024, NULL);
    uint64_t before = kit_put(s, NOW, 1, 3000, NULL), doubtful[8];
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    for (unsigned i = 0; i < puts; i++)
        doubtful[i] = kit_put(s, NOW, 2, 1500 + 700 * i, NULL);
    fake_disk_fail_only(d, FAKE_SYNC);
    fake_disk_fail_at(d, fake_disk_steps(d) + 2, -EIO);
    refused = 0;
    assert_int_equal(kit_commit(s, NULL, NULL, on_failed), -EIO);
    assert_int_equal(refused, puts);
    fake_disk_fail_only(d, 0);

    s = restart(d, s, FAKE_LOSE_NONE, &report);
    assert_int_equal(report.damaged, 0);
    bool back[8];
    for (unsigned i = 0; i < puts; i++)
        back[i] = spool_find(s, doubtful[i]) != NULL;
    uint64_t after = kit_put(s, NOW, 1, 500, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);

    s = restart(d, s, FAKE_LOSE_ALL, &report);
    assert_int_equal(report.damaged, 0);
    assert_non_null(spool_find(s, before));
    assert_non_null(spool_find(s, after));
    for (unsigned i = 0; i < puts; i++)
        assert_int_equal(spool_find(s, doubtful[i]) != NULL, back[i]);
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        struct body *b = NULL;
        assert_int_equal(kit_read(s, m, &b), 0);
        body_unref(b);
    }
    spool_close(s);
    fake_disk_free(d);
}

static void test_failed_sync_kill_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        one_life(seed, 1 + (unsigned)(seed % 8));
}

/* A disk that cannot make it durable is not built on. */
static void test_disk_stays_bad(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(3);
    struct spool *s = kit_open(d, 64 * 1024, NULL);
    uint64_t id = kit_put(s, NOW, 1, 3000, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    fake_disk_cut_at(d, fake_disk_steps(d) + 1);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_NONE);
    fake_disk_fail_only(d, FAKE_SYNC);
    fake_disk_fail_from(d, fake_disk_steps(d) + 1, -EIO);
    struct spool_options o = {.segment_bytes = 64 * 1024, .lifetime_s = 86400};
    struct err e = {0};
    assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, NULL, &e), -EIO);
    assert_true(strstr(e.text, "sync") != NULL);
    fake_disk_fail_from(d, 0, 0);
    s = kit_open(d, 64 * 1024, NULL);
    assert_non_null(spool_find(s, id));
    spool_close(s);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_sync_kill_power_cut),
        cmocka_unit_test(test_disk_stays_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

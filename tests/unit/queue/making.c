/*
 * The making of a segment fails, and life goes on. What would break for a user: a leftover of the
 * failed making says after a power cut where the log ended, and mail answered 250 since then is
 * gone.
 */
#include "queue/spool_private.h"
#include "tests/unit/queue/kit.h"

enum { SEGMENT = 32 * 1024, LARGE = 16000 };

/* The open segment is left with little room. */
static struct spool *nearly_full(struct fake_disk *d)
{
    struct spool *s = kit_open(d, SEGMENT, NULL);
    kit_put(s, NOW, 1, LARGE, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    return s;
}

/* The new segment was whole and had its name when syncing the folder failed: the name may be there
 * again after a power cut, with what its header says about the segment before. */
static void leftover(uint64_t seed, unsigned failing)
{
    struct fake_disk *d = fake_disk_new(seed);
    struct spool *s = nearly_full(d);
    fake_disk_fail_only(d, failing);
    fake_disk_fail_from(d, 1, -EIO);
    kit_put(s, NOW, 1, LARGE, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    fake_disk_fail_from(d, 0, 0);
    struct message *m;
    uint64_t id = kit_put(s, NOW, 1, 100, &m);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_true(m->durable);
    fake_disk_cut_at(d, fake_disk_steps(d) + 1);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_SOME);
    s = kit_open(d, SEGMENT, NULL);
    assert_non_null(spool_find(s, id));
    spool_close(s);
    fake_disk_free(d);
}

static void test_leftover(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        leftover(seed, FAKE_SYNC_DIR);
        leftover(seed, FAKE_RENAME);
        leftover(seed, FAKE_RENAME | FAKE_UNLINK | FAKE_SYNC_DIR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leftover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

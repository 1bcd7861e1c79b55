/* A spool's life cut at every operation on the disk, with every kind of loss; and with operations
 * failing. */
#include "tests/unit/queue/crash_world.h"

static const struct life life = {.steps = 50, .putting = 30};

static void test_cut_everywhere(void **state)
{
    (void)state;
    uint64_t cuts = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t steps = steps_of_life(&life, seed);
        assert_true(steps > 40);
        for (uint64_t at = 1; at <= steps; at++) {
            cuts += cut_at(&life, seed, at, FAKE_LOSE_ALL);
            cut_at(&life, seed, at, FAKE_LOSE_NONE);
            cut_at(&life, seed, at, FAKE_LOSE_SOME);
        }
    }
    assert_true(cuts > 200);
}

/* Many lives with torn sectors at one random place each. */
static void test_torn(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    for (uint64_t seed = 100; seed < 350; seed++)
        cut_at(&life, seed, 5 + rng_below(&r, 100), FAKE_LOSE_SOME);
}

static void test_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t steps = steps_of_life(&life, seed);
        for (uint64_t at = 1; at <= steps; at++) {
            one_fault(&life, seed, at, -EIO, false);
            one_fault(&life, seed, at, -ENOSPC, false);
            if (at % 4 == 0)
                one_fault(&life, seed, at, at % 8 ? -EIO : -ENOSPC, true);
        }
    }
}

/* A failure, life going on, then a cut: what was refused stays away when anything was promised
 * after it. */
static void test_fault_then_cut(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 9);
    for (uint64_t seed = 1000; seed < 1300; seed++) {
        struct world *w = world_new(seed);
        w->s = kit_open(w->disk, SEGMENT, NULL);
        snprintf(w->where, sizeof w->where, "seed %llu fault then cut", (unsigned long long)seed);
        fake_disk_fail_at(w->disk, 5 + rng_below(&r, 40), -EIO);
        live(w, 40);
        for (int i = 0; i < 3; i++)
            commit(w);
        fake_disk_fail_at(w->disk, 0, 0);
        struct spool_event_in ev = {EVENT_SERVICE_STARTED, SLICE_NONE};
        spool_note(w->s, w->now, &ev, 1);
        check(commit(w) == 0, "one good batch", seed);
        after_cut(w, FAKE_LOSE_SOME, false);
        end_task(w);
        spool_close(w->s);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_fault_then_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

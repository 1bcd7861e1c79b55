/* The same laws for a spool that is busy giving space back: copies are read, appended, synced,
 * their originals freed, while mail comes and goes; cut and failing at every operation. */
#include "tests/unit/queue/crash_world.h"

static const struct life busy = {.steps = 160, .keeping = 90, .putting = 26};

static void test_cut_everywhere(void **state)
{
    (void)state;
    for (uint64_t seed = 50; seed < 51; seed++) {
        uint64_t steps = steps_of_life(&busy, seed);
        for (uint64_t at = 1; at <= steps; at++) {
            cut_at(&busy, seed, at, FAKE_LOSE_ALL);
            cut_at(&busy, seed, at, FAKE_LOSE_NONE);
            cut_at(&busy, seed, at, FAKE_LOSE_SOME);
        }
    }
}

/* A failed write leaves a segment to be evacuated; a full disk does not. */
static void test_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 60; seed < 61; seed++) {
        uint64_t steps = steps_of_life(&busy, seed);
        for (uint64_t at = 1; at <= steps; at++) {
            one_fault(&busy, seed, at, -EIO, false);
            if (at % 4 == 0)
                one_fault(&busy, seed, at, -ENOSPC, false);
            if (at % 16 == 0)
                one_fault(&busy, seed, at, at % 32 ? -EIO : -ENOSPC, true);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Numbers of events across spools. */
#include "tests/unit/queue/kit.h"

#define SEGMENT (64u * 1024)

static void keep_seq(void *ctx, const struct event *e)
{
    *(uint64_t *)ctx = e->seq;
}

/* A spool begun anew beside an old delivery log must not repeat its numbers: the replay after a
 * crash would take the new events for written ones. */
static void numbers_go_on_behind_the_log(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool_options o = {.segment_bytes = SEGMENT, .lifetime_s = 1, .seq_after = 41};
    const struct spool_event_in in = {.name = EVENT_SERVICE_STARTED};
    for (uint64_t want = 42; want < 44; want++) {
        struct spool *s = NULL;
        struct err e = {0};
        uint64_t seq = 0;
        assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, NULL, &e), 0);
        spool_note(s, NOW, &in, 1);
        assert_int_equal(kit_commit(s, keep_seq, &seq, NULL), 0);
        assert_int_equal(seq, want); /* the second time the spool itself is ahead */
        spool_close(s);
    }
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_go_on_behind_the_log)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

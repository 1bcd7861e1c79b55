/*
 * Bit rot: each byte of a spool with footers flipped in turn. What would break for a user: one
 * wrong bit, and more than the mail that it hit is gone, or nobody is told.
 */
#include "tests/unit/queue/damage.h"

/* Is `at` in the body of a message that is gone, or lives in a younger copy? Nothing is lost by
 * damage there, and nobody need be told. */
static bool in_dead_body(const struct world *w, const struct segment_found *f, uint64_t at)
{
    struct segment_reader r;
    struct record rec;
    bool dead = false;
    assert_int_equal(segment_reader_init(&r, fake_disk_ops(w->disk), f, w->log.salt), 0);
    while (segment_reader_next(&r, &rec) > 0) {
        uint64_t body = rec.offset + RECORD_HEADER_SIZE + rec.header.head;
        struct message_record m;
        if (at < body || at >= rec.offset + record_size(rec.header.length) ||
            rec.header.type != RECORD_MESSAGE || !message_record_read(rec.head, &m))
            continue;
        dead = true;
        for (size_t i = 0; i < w->look.n; i++)
            if (w->places[i].segment == f->number && w->places[i].at == rec.offset)
                dead = false;
    }
    segment_reader_done(&r);
    return dead;
}

/* Nothing of the log stands there: the zeros behind the last byte of a record. */
static bool in_record_padding(const struct world *w, const struct segment_found *f, uint64_t at)
{
    struct segment_reader r;
    struct record rec;
    bool padding = false;
    assert_int_equal(segment_reader_init(&r, fake_disk_ops(w->disk), f, w->log.salt), 0);
    while (segment_reader_next(&r, &rec) > 0)
        padding = padding || (at >= rec.offset + RECORD_HEADER_SIZE + rec.header.length &&
                              at < rec.offset + record_size(rec.header.length));
    segment_reader_done(&r);
    return padding;
}

static void check_flip(const struct world *w, const struct segment_found *f, uint64_t at)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", f->named);
    struct fake_disk *d = fake_disk_clone(w->disk);
    assert_true(fake_disk_flip(d, name, at, (uint8_t)(1 << at % 8)));
    struct spool_report report;
    int found = check_disk(d);
    unsigned lost = open_damaged(w, d, &report);
    /* A DSN that is lost makes the failures due again that it told of. */
    if (lost > 2 || (lost && !found))
        print_error("%s byte %llu: %u lost, %d found\n", name, (unsigned long long)at, lost, found);
    assert_true(lost <= 2);
    assert_true(!lost || found);
    if (f->end != UINT64_MAX && !found && at < f->end)
        assert_true(in_dead_body(w, f, at) || in_record_padding(w, f, at));
    fake_disk_free(d);
}

static void test_every_byte(void **state)
{
    (void)state;
    struct world w = world_new(3, 330);
    uint64_t flips = 0;
    for (size_t i = 0; i < w.log.n; i++) {
        const struct segment_found *f = &w.log.segments[i];
        /* Every byte of one sealed segment and its footer; of the others some. */
        bool all = i == 1;
        for (uint64_t at = 0; at < f->size; flips++) {
            check_flip(&w, f, at);
            bool quiet = at < SEGMENT_DATA ? at % 4096 > 60 && at % 4096 < 4090
                                           : f->end == UINT64_MAX && at > SEGMENT_DATA + 4096;
            at += quiet ? 211 : all ? 1 : 31;
        }
    }
    assert_true(flips > 6000);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Bit rot: each byte of a spool with footers flipped in turn. What would break for a user: one
 * wrong bit, and more than the mail that it hit is gone, or nobody is told.
 *
 * Each flip costs a check and a start of all that is there, so the spool is the smallest that holds
 * everything (stands_for_all says what): three segments of the least size, two dozen mails. Flipped
 * are: every byte of both headers' contents of each segment, every byte of the records and the
 * footer of a sealed one; of the records and footers of the others each seventh; of what is zeros
 * some.
 */
#define HISTORY_SEGMENT (12 * 1024)
#include "tests/unit/queue/damage.h"

/* The segment whose bytes are all flipped; the life that leads to it (damage.h). */
enum { SEALED = 1, SEED = 14, STEPS = 70 };

/* How often each thing came of a flip: none of them is never. */
struct outcomes {
    uint64_t flips, lost, found, dead, padding;
};

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

static void check_flip(const struct world *w, const struct segment_found *f, uint64_t at,
                       struct outcomes *o)
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
    if (f->end != UINT64_MAX && !found && at < f->end) {
        const bool dead = in_dead_body(w, f, at), padding = in_record_padding(w, f, at);
        assert_true(dead || padding);
        o->dead += dead;
        o->padding += padding;
    }
    o->flips++;
    o->lost += lost > 0;
    o->found += found > 0;
    fake_disk_free(d);
}

/* Every kind of record and of footer entry that a settled spool has, body files, and a segment on
 * each side of the sealed one whose bytes are all flipped. */
static void stands_for_all(const struct world *w)
{
    bool records[RECORD_VOID + 1] = {false}, entries[FOOTER_TOLD_ONE + 1] = {false};
    for (size_t i = 0; i < w->log.n; i++) {
        const struct segment_found *f = &w->log.segments[i];
        struct segment_reader r;
        struct record rec;
        struct footer footer;
        struct footer_entry e;
        assert_int_equal(segment_reader_init(&r, fake_disk_ops(w->disk), f, w->log.salt), 0);
        while (segment_reader_next(&r, &rec) > 0)
            records[rec.header.type] = true;
        segment_reader_done(&r);
        if (i != SEALED)
            continue;
        assert_int_equal(footer_read(fake_disk_ops(w->disk), f, w->log.salt, &footer), 1);
        for (struct footer_cursor c = footer_entries(&footer); footer_next(&c, &e);)
            entries[e.kind] = true;
        footer_done(&footer);
    }
    assert_true(records[RECORD_MESSAGE] && records[RECORD_STATE] && records[RECORD_MARK]);
    assert_true(entries[FOOTER_MESSAGE] && entries[FOOTER_STATE] && entries[FOOTER_GONE]);
    assert_true(w->log.n > SEALED + 1 && fake_disk_count(w->disk, "body") > 0);
}

static void test_every_byte(void **state)
{
    (void)state;
    struct world w = world_new(SEED, STEPS);
    struct outcomes o = {0};
    stands_for_all(&w);
    for (size_t i = 0; i < w.log.n; i++) {
        const struct segment_found *f = &w.log.segments[i];
        for (uint64_t at = 0; at < f->size;) {
            const bool header = at < SEGMENT_DATA;
            const bool zeros = header ? at % 4096 > 60 && at % 4096 < 4090
                                      : f->end == UINT64_MAX && at > SEGMENT_DATA + 4096;
            check_flip(&w, f, at, &o);
            at += zeros ? 211 : header || i == SEALED ? 1 : 7;
        }
    }
    assert_true(o.flips > 6000);
    assert_true(o.lost && o.found && o.dead && o.padding);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

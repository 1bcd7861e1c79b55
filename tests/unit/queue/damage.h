/* What the tests of damage share: a spool with several segments, footers, copies and body files,
 * and how it is opened and compared when something is wrong with it. */
#pragma once
#ifndef HISTORY_SEGMENT
#define HISTORY_SEGMENT (16 * 1024)
#endif
#define HISTORY_BODY 160
#include "tests/unit/queue/history.h"

struct world {
    struct fake_disk *disk;
    struct history_look look;
    struct log_found log;
    struct place {
        uint32_t segment, at;
    } * places; /* of the mails in look */
};

static inline struct world world_new(uint64_t seed, unsigned steps)
{
    struct history h = history_new(seed, true);
    history_run(&h, steps);
    kit_settle(h.s);
    spool_close(h.s);
    /* Once more, so that the newest segment is a fresh one, with little in it. */
    h.s = kit_open(h.disk, HISTORY_SEGMENT, NULL);
    history_run(&h, 20);
    kit_settle(h.s);
    struct world w = {.disk = h.disk, .look = history_look(h.s)};
    w.places = must_alloc(w.look.n * sizeof *w.places);
    for (size_t i = 0; i < w.look.n; i++) {
        const struct message *m = spool_find(h.s, w.look.mails[i].id);
        w.places[i] = (struct place){m->home->number, m->record_at};
    }
    spool_close(h.s);
    w.log = history_log(h.disk);
    assert_true(w.log.n >= 3 && w.look.n > 10);
    assert_true(history_footers(h.disk, NULL) > 0);
    return w;
}

static inline void world_done(struct world *w)
{
    history_look_done(&w->look);
    log_found_done(&w->log);
    free(w->places);
    fake_disk_free(w->disk);
}

static inline int check_disk(struct fake_disk *d)
{
    struct spool_report report;
    struct err e = {0};
    unsigned said = 0;
    int found = spool_verify(fake_disk_ops(d), false, history_say, &said, &report, &e);
    assert_true(found >= 0 && (unsigned)found == said);
    return found;
}

/* Opens, compares; now and then goes on, and opens again. */
static inline unsigned open_damaged(const struct world *w, struct fake_disk *d,
                                    struct spool_report *ret_report)
{
    static unsigned calls;
    struct spool *s = kit_open(d, HISTORY_SEGMENT, ret_report);
    struct history_look look = history_look(s);
    unsigned n = history_differences(&w->look, &look);
    if (++calls % 8) {
        spool_close(s);
        history_look_done(&look);
        return n;
    }
    uint64_t id = kit_put(s, NOW, 1, 10, NULL);
    for (size_t i = 0; i < w->look.n; i++)
        assert_true(id > w->look.mails[i].id);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    spool_close(s);
    history_look_done(&look);
    s = kit_open(d, HISTORY_SEGMENT, NULL);
    assert_non_null(spool_find(s, id));
    spool_close(s);
    return n;
}

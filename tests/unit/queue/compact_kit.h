/* What the tests of compaction share. */
#pragma once
#include "queue/task.h"
#include "tests/unit/queue/kit.h"

enum { SEGMENT = 32 * 1024, SAID_MAX = 20 };

static struct {
    char lines[SAID_MAX][200];
    size_t n;
} said;

static inline void remember(void *ctx, const char *line)
{
    (void)ctx;
    assert_true(said.n < SAID_MAX);
    snprintf(said.lines[said.n++], sizeof said.lines[0], "%s", line);
}

static inline struct spool *open_sized(struct fake_disk *d, uint64_t segment_bytes)
{
    struct spool_options o = {.segment_bytes = segment_bytes, .lifetime_s = 86400, .say = remember};
    struct spool *s = NULL;
    struct err e = {0};
    said.n = 0;
    assert_int_equal(spool_open(&s, fake_disk_ops(d), &o, NULL, &e), 0);
    return s;
}

static inline struct spool *open_spool(struct fake_disk *d)
{
    return open_sized(d, SEGMENT);
}

static inline void commit(struct spool *s)
{
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    spool_events_kept(s, spool_last_seq(s));
}

static inline struct rcpt_change delivered(uint32_t rcpt)
{
    return (struct rcpt_change){
        .rcpt = rcpt, .state = RCPT_DELIVERED, .attempts = 1, .last_attempt = NOW};
}

static inline void deliver(struct spool *s, struct message *m)
{
    struct rcpt_change c = delivered(0);
    spool_change(s, m, &c, 1, NOW, NULL, 0);
}

static inline void let_go(struct message *m)
{
    body_unref(m->body);
    m->body = NULL;
}

/* The next step of compaction; whatever else there is to do is done. */
static inline struct spool_task *take_copy(struct spool *s)
{
    struct spool_task *t;
    while ((t = spool_task_take(s, false)) && t->kind != TASK_COPY) {
        spool_task_run(t);
        spool_task_end(s, t);
    }
    return t;
}

/* Mail comes and goes until there is something to be copied. */
static inline struct spool_task *until_task(struct spool *s)
{
    struct spool_task *t = NULL;
    for (int i = 0; i < 200 && !t; i++) {
        struct message *m;
        kit_put(s, NOW, 1, 3000, &m);
        deliver(s, m);
        commit(s);
        t = take_copy(s);
    }
    assert_non_null(t);
    return t;
}

static inline bool is_bounded(struct spool *s)
{
    struct spool_counts n;
    spool_count(s, &n);
    return n.disk_bytes <= 2 * n.live_bytes + 2 * SEGMENT;
}

static inline void check_reopened(struct fake_disk *d, struct spool **s)
{
    char *before = kit_dump_all(*s);
    spool_close(*s);
    fake_disk_power_on(d, FAKE_LOSE_ALL);
    *s = open_spool(d);
    kit_sweep(*s);
    char *after = kit_dump_all(*s);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static inline void check_read(struct spool *s, uint64_t id, size_t n)
{
    struct body *b = NULL;
    assert_int_equal(kit_read(s, spool_find(s, id), &b), 0);
    assert_true(kit_body_is(b, id, n));
    body_unref(b);
}

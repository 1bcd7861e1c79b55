/* A seeded life of a spool: mail with several recipients, deferrals, bounces and what tells of
 * them, finished messages, copies, footers, failed batches. And what is to be known of its files.
 */
#pragma once
#include "queue/footer.h"
#include "tests/unit/queue/kit.h"

#ifndef HISTORY_SEGMENT
#define HISTORY_SEGMENT (32 * 1024)
#endif
#ifndef HISTORY_BODY
#define HISTORY_BODY 3000
#endif

struct history {
    struct fake_disk *disk;
    struct spool *s;
    struct rng r;
    struct wall now;
    bool tasks; /* housekeeping is done: copies, footers */
};

static inline struct message *history_any(struct history *h)
{
    struct message *m = NULL;
    uint64_t last = spool_last_id(h->s);
    struct message *first = spool_after(h->s, 0);
    if (first)
        m = spool_after(h->s, first->id + rng_below(&h->r, last - first->id + 1));
    return m ? m : first;
}

static inline uint64_t history_put(struct history *h, size_t n_rcpts, size_t body_n,
                                   uint64_t dsn_for, bool file)
{
    struct envelope_rcpt rcpts[3] = {
        {.address = SLICE_LIT("a@Example.COM")},
        {.address = SLICE_LIT("b@example.org"), .orcpt = SLICE_LIT("rfc822;o@x")},
        {.address = SLICE_LIT("c@example.net")}};
    struct envelope e = {.sender = dsn_for ? SLICE_NONE : SLICE_LIT("sender@example.net"),
                         .user = SLICE_LIT("app"),
                         .client_ip = SLICE_LIT("192.0.2.1"),
                         .session_id = SLICE_LIT("S1"),
                         .message_id = SLICE_LIT("<1@example.net>"),
                         .envid = rng_below(&h->r, 3) ? SLICE_NONE : SLICE_LIT("E1"),
                         .eight_bit = rng_below(&h->r, 2),
                         .size = body_n,
                         .dsn_for = dsn_for,
                         .rcpts = rcpts,
                         .n_rcpts = n_rcpts};
    struct spool_event_in ev = {EVENT_ACCEPTED, SLICE_NONE};
    uint64_t id = spool_new_id(h->s, h->now);
    kit_ask(&e, rcpts, id);
    struct body *b = kit_body(id, body_n);
    if (file) {
        struct spool_body_file *f;
        assert_int_equal(spool_body_create(fake_disk_ops(h->disk), id, &f), 0);
        assert_int_equal(spool_body_write(f, slice_of(b->bytes, body_n)), 0);
        assert_int_equal(spool_body_finish(f), 0);
        body_unref(b);
    }
    spool_put(h->s, id, &e, file ? NULL : b, file, h->now, &ev, 1, NULL);
    return id;
}

static inline void history_change(struct history *h, struct message *m)
{
    static const enum rcpt_state states[] = {RCPT_QUEUED,  RCPT_QUEUED,    RCPT_HELD,
                                             RCPT_BOUNCED, RCPT_DELIVERED, RCPT_DELIVERED};
    struct verdict v = {.kind = VERDICT_DEFERRED, .code = 451, .text = (char *)(uintptr_t) "later"};
    struct rcpt_change c[3];
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        if (rng_below(&h->r, 3) == 0)
            continue;
        enum rcpt_state state = states[rng_below(&h->r, sizeof states / sizeof *states)];
        c[n++] = (struct rcpt_change){.rcpt = i,
                                      .state = state,
                                      .attempts = (uint32_t)rng_below(&h->r, 9),
                                      .due = wall_add_s(h->now, 60),
                                      .last_attempt = h->now,
                                      .dsn_due = state == RCPT_BOUNCED && rng_below(&h->r, 2),
                                      .verdict = rng_below(&h->r, 2) ? &v : NULL,
                                      .host = rng_below(&h->r, 2) ? "mx.example.org" : NULL,
                                      .has_route = rng_below(&h->r, 5) == 0,
                                      .route = rng_below(&h->r, 3) ? SLICE_LIT("way") : SLICE_NONE,
                                      .has_priority = rng_below(&h->r, 6) == 0,
                                      .priority = (int8_t)((int)rng_below(&h->r, 19) - 9)};
    }
    struct spool_event_in ev = {EVENT_DEFERRED, SLICE_NONE};
    if (n)
        spool_change(h->s, m, c, n, h->now, &ev, 1);
}

/* The message of some failures that nobody was told of. */
static inline uint64_t history_failed(struct history *h)
{
    for (struct message *m = spool_after(h->s, 0); m; m = spool_after(h->s, m->id))
        for (uint32_t i = 0; i < m->n_rcpts; i++)
            if (m->rcpts[i].dsn_due)
                return m->id;
    return 0;
}

static inline void history_commit(struct history *h)
{
    kit_commit(h->s, NULL, NULL, NULL);
    spool_events_kept(h->s, spool_last_seq(h->s));
    if (h->tasks)
        kit_tasks(h->s);
}

static inline void history_step(struct history *h)
{
    struct message *m = history_any(h);
    uint64_t what = rng_below(&h->r, 20), failed = 0;
    h->now.us += 1000;
    if (what < 6)
        history_put(h, 1 + rng_below(&h->r, 3), rng_below(&h->r, HISTORY_BODY), 0,
                    rng_below(&h->r, 10) == 0);
    else if (what < 15 && m && m->n_left)
        history_change(h, m);
    else if (what == 15 && (failed = history_failed(h)))
        history_put(h, 1, HISTORY_BODY / 10, failed, false);
    else if (what > 15)
        history_commit(h);
}

static inline struct history history_new(uint64_t seed, bool tasks)
{
    struct history h = {.disk = fake_disk_new(seed), .now = NOW, .tasks = tasks};
    rng_seed(&h.r, seed);
    h.s = kit_open(h.disk, HISTORY_SEGMENT, NULL);
    return h;
}

static inline void history_run(struct history *h, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++)
        history_step(h);
    history_commit(h);
}

static inline void history_done(struct history *h)
{
    if (h->s)
        spool_close(h->s);
    fake_disk_free(h->disk);
}

/* --- its files
 * ---------------------------------------------------------------------------------------------- */

static inline struct log_found history_log(struct fake_disk *d)
{
    struct log_found l;
    struct err e = {0};
    assert_int_equal(log_find(fake_disk_ops(d), &l, &e), 0);
    return l;
}

/* How many good footers there are; their bytes. */
static inline size_t history_footers(struct fake_disk *d, uint64_t *ret_bytes)
{
    struct log_found l = history_log(d);
    size_t n = 0;
    for (size_t i = 0; i < l.n; i++) {
        struct footer f;
        if (l.segments[i].end == UINT64_MAX ||
            footer_read(fake_disk_ops(d), &l.segments[i], l.salt, &f) <= 0)
            continue;
        n++;
        if (ret_bytes)
            *ret_bytes += FOOTER_HEADER + f.entries.n;
        footer_done(&f);
    }
    log_found_done(&l);
    return n;
}

/* Leaves none. */
static inline void history_drop_footers(struct fake_disk *d)
{
    struct log_found l = history_log(d);
    const struct file_ops *ops = fake_disk_ops(d);
    static const uint8_t zeros[FOOTER_HEADER];
    for (size_t i = 0; i < l.n; i++) {
        const struct segment_found *f = &l.segments[i];
        char name[SEGMENT_NAME_SIZE];
        if (f->end == UINT64_MAX || f->size < footer_at(f->end) + FOOTER_HEADER)
            continue;
        segment_name(name, "seg", f->named);
        int fd = ops->open(ops->ctx, name, O_RDWR, 0);
        assert_true(fd >= 0);
        assert_int_equal(ops->pwrite(ops->ctx, fd, zeros, sizeof zeros, footer_at(f->end)),
                         (ssize_t)sizeof zeros);
        assert_int_equal(ops->fdatasync(ops->ctx, fd), 0);
        ops->close(ops->ctx, fd);
    }
    log_found_done(&l);
}

/* The index as text, a message a line block; and whether each body can be read. */
struct history_look {
    char *dump;
    struct history_mail {
        uint64_t id;
        char *text;
        bool readable;
    } * mails;
    size_t n;
};

static inline struct history_look history_look(struct spool *s)
{
    struct history_look l = {0};
    struct buf dump = BUF_MAX(SIZE_MAX / 2);
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id)) {
        struct body *b = NULL;
        assert_ptr_equal(spool_find(s, m->id), m);
        l.mails = must_realloc(l.mails, (l.n + 1) * sizeof *l.mails);
        l.mails[l.n++] = (struct history_mail){m->id, kit_dump_text(m), kit_read(s, m, &b) == 0};
        assert_true(!b || kit_body_is(b, m->id, b->n));
        body_unref(b);
        buf_add_str(&dump, l.mails[l.n - 1].text);
        buf_add_str(&dump, "\n");
    }
    l.dump = (char *)(uintptr_t)buf_str(&dump);
    return l;
}

static inline void history_look_done(struct history_look *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->mails[i].text);
    free(l->mails);
    free(l->dump);
}

/* Messages that are not the same in both. */
static inline unsigned history_differences(const struct history_look *a,
                                           const struct history_look *b)
{
    unsigned n = 0;
    for (size_t i = 0, j = 0; i < a->n || j < b->n;) {
        if (j == b->n || (i < a->n && a->mails[i].id < b->mails[j].id))
            n++, i++;
        else if (i == a->n || b->mails[j].id < a->mails[i].id)
            n++, j++;
        else {
            n += a->mails[i].readable != b->mails[j].readable ||
                 strcmp(a->mails[i].text, b->mails[j].text) != 0;
            i++, j++;
        }
    }
    return n;
}

static inline void history_say(void *ctx, const char *line)
{
    if (ctx)
        ++*(unsigned *)ctx;
    else
        print_error("said: %s\n", line);
}

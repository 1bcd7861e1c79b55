/* Opening (recovery), replay of events, closing. */
#include "queue/id.h"
#include "queue/names.h"
#include "queue/outbox.h"
#include "queue/replay.h"
#include "queue/task.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

enum { BLOCK = 4096, CLOSE_TRIES = 8 };

/* --- damage is set aside
 * ---------------------------------------------------------------------------------------------- */

static void say_line(struct spool *s, const char *line)
{
    if (s->say)
        s->say(s->say_ctx, line);
}

static void on_damage(void *ctx, struct segment *g, uint64_t from, uint64_t to, const char *what)
{
    struct spool *s = ctx;
    char line[REPLAY_LINE_SIZE];
    replay_line(line, g, from, to, what);
    say_line(s, line);
    if (to > from && spool_quarantine(s->fs, g->number, from, to) < 0)
        g->keep = true;
}

/* --- opening
 * ----------------------------------------------------------------------------------------------------------
 */

static int make_folders(struct spool *s, struct err *e)
{
    static const char *const names[] = {"body", "quarantine"};
    for (size_t i = 0; i < 2; i++) {
        int rc = s->fs->mkdir(s->fs->ctx, names[i], 0700);
        if (rc < 0 && rc != -EEXIST)
            return err_set(e, rc, "cannot make folder %s in the spool", names[i]);
    }
    int rc = s->fs->fsync_dir(s->fs->ctx, ".");
    return rc < 0 ? err_set(e, rc, "cannot sync the spool folder") : 0;
}

/*
 * The last batch found in the newest segment may never have been synced: its process was killed
 * before, or the sync failed, and then the kernel calls the pages clean although the disk does not
 * have them. It is read as if it were durable, so it is made so before anything is built on it: the
 * same bytes are written again to the same place (needs no room, and costs nothing when the power
 * goes now) and synced. All batches before it were durable before it was written.
 */
static int write_again(const struct file_ops *fs, int fd, uint64_t from, uint64_t to)
{
    uint8_t block[BLOCK];
    ssize_t rc = 0;
    for (uint64_t at = from, n; at < to && rc >= 0; at += n) {
        n = BLOCK - at % BLOCK < to - at ? BLOCK - at % BLOCK : to - at;
        rc = fs->pread(fs->ctx, fd, block, (size_t)n, at);
        if (rc == -EIO) /* told as damage: nothing of it counts */
            rc = 0;
        else if (rc > 0)
            rc = fs->pwrite(fs->ctx, fd, block, (size_t)rc, at);
    }
    return rc < 0 ? (int)rc : fs->fdatasync(fs->ctx, fd);
}

static int secure_tail(struct spool *s, uint64_t last_batch, struct err *e)
{
    if (!s->segments)
        return 0;
    const struct segment *newest = s->segments->prev; /* utlist: the head's prev is the last */
    uint64_t end = segment_sector_up(newest->end);
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", newest->number);
    int fd = s->fs->open(s->fs->ctx, name, O_RDWR, 0);
    int rc = fd < 0 ? fd : write_again(s->fs, fd, last_batch ? last_batch : end, end);
    if (fd >= 0)
        s->fs->close(s->fs->ctx, fd);
    return rc < 0 ? err_set(e, rc, "cannot sync segment %s", name) : 0;
}

static int replay_each(struct spool *s, struct replay *rp, const struct log_found *l, struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct segment_found *f = &l->segments[i];
        struct segment *g = segment_new(f->number, f->size);
        DL_APPEND(s->segments, g);
        s->disk_bytes += g->size;
        int rc = replay_segment(rp, f, g);
        if (rc < 0)
            return err_set(e, rc, "cannot read segment seg-%08x", f->number);
        g->end_unsure = f->cut_short || (f->end == UINT64_MAX && i + 1 < l->n);
        if (g->has_footer && g->size > s->segment_bytes)
            s->footer_bytes += g->footer_bytes = g->size - s->segment_bytes;
        /* Torn records were promised to nobody; a copy costs little, and a disk may have lied. */
        if (rp->torn_to)
            spool_quarantine(s->fs, f->number, rp->torn_from, rp->torn_to);
        rp->torn_from = rp->torn_to = 0;
    }
    return 0;
}

static int replay_all(struct spool *s, const struct log_found *l, struct spool_report *report,
                      struct err *e)
{
    struct replay rp = {.fs = s->fs,
                        .fold = &s->fold,
                        .report = report,
                        .salt = l->salt,
                        .damage = on_damage,
                        .ctx = s};
    int rc = replay_each(s, &rp, l, e);
    replay_end(&rp);
    s->next_record = rp.last_record + 1;
    s->next_seq = s->fold.last_seq + 1;
    s->durable_seq = s->fold.last_seq;
    return rc < 0 ? rc : secure_tail(s, rp.last_batch, e);
}

/* Segment files whose names are not what their headers say. */
static int settle_names(struct spool *s, struct log_found *l, struct spool_report *report,
                        struct err *e)
{
    char line[NAMES_LINE_SIZE];
    for (size_t i = 0; i < l->n_strays; i++) {
        names_stray_line(line, &l->strays[i]);
        say_line(s, line);
        report->damaged++;
    }
    for (size_t i = 0; i < l->n; i++) {
        if (l->segments[i].named == l->segments[i].number)
            continue;
        names_moved_line(line, &l->segments[i]);
        say_line(s, line);
        report->damaged++;
    }
    return names_settle(s->fs, l, e);
}

/* Leftovers; what cannot be removed is tried again at the next opening. */
static void tidy_segments(struct spool *s, const struct log_found *l)
{
    char name[SEGMENT_NAME_SIZE];
    for (size_t i = 0; i < l->n_disowned; i++) {
        segment_name(name, "seg", l->disowned[i]);
        s->fs->unlink(s->fs->ctx, name);
    }
    for (size_t i = 0; i < l->n_spares; i++) {
        segment_name(name, "free", l->spares[i]);
        int fd = s->fs->open(s->fs->ctx, name, O_RDWR, 0);
        int64_t size = fd < 0 ? 0 : s->fs->size(s->fs->ctx, fd);
        if (fd >= 0)
            s->fs->close(s->fs->ctx, fd);
        if (!s->spare && size == (int64_t)s->segment_bytes) {
            s->spare = l->spares[i];
            s->spare_bytes = (uint64_t)size;
        } else {
            sweep_add(s, segment_new(l->spares[i], size < 0 ? 0 : (uint64_t)size));
        }
    }
}

struct orphans {
    struct spool *s;
    bool damaged;
    char (*names)[SEGMENT_NAME_SIZE];
    size_t n;
};

static void each_body(void *ctx, const char *name)
{
    struct orphans *o = ctx;
    struct slice rest = slice_str(name), id_text = slice_cut(&rest, '.');
    uint64_t id = 0;
    if (!queue_id_parse(id_text, &id) || !slice_eq(rest, SLICE_LIT("body")))
        return;
    const struct message *m = index_find(&o->s->fold.index, id);
    if (m && m->in_file)
        return;
    o->names = must_realloc(o->names, (o->n + 1) * sizeof *o->names);
    queue_id_write(id, o->names[o->n++]);
}

/* Where records were damaged, a body without a message may be all that is left of one: it is kept
 * aside. */
static void tidy_bodies(struct spool *s, bool damaged)
{
    struct orphans o = {.s = s};
    s->fs->list(s->fs->ctx, "body", each_body, &o);
    for (size_t i = 0; i < o.n; i++) {
        char from[2 * SEGMENT_NAME_SIZE], to[2 * SEGMENT_NAME_SIZE];
        snprintf(from, sizeof from, "body/%s.body", o.names[i]);
        snprintf(to, sizeof to, "quarantine/%s.body", o.names[i]);
        if (damaged)
            s->fs->rename(s->fs->ctx, from, to);
        else
            s->fs->unlink(s->fs->ctx, from);
    }
    free(o.names);
}

static int recover(struct spool *s, struct spool_report *report, struct err *e)
{
    struct log_found l = {0};
    int rc = make_folders(s, e);
    if (rc >= 0)
        rc = log_find(s->fs, &l, e);
    if (rc >= 0)
        rc = settle_names(s, &l, report, e);
    if (rc >= 0)
        rc = replay_all(s, &l, report, e);
    if (rc >= 0) {
        s->last_segment = l.last_number;
        s->salt = l.salt;
        while (s->salt == 0)
            rand_bytes(&s->salt, sizeof s->salt);
        tidy_segments(s, &l);
        tidy_bodies(s, report->damaged > 0);
        report->messages = s->fold.index.n;
        report->recipients = s->fold.recipients;
    }
    log_found_done(&l);
    return rc;
}

static void spool_free(struct spool *s)
{
    for (struct pending *p; (p = pending_shift(&s->pending));)
        pending_free(p);
    fold_done(&s->fold);
    struct segment *lists[] = {s->segments, s->retired, s->litter};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (struct segment *g = lists[i], *next; g; g = next) {
            next = g->next;
            if (g->fd >= 0)
                s->fs->close(s->fs->ctx, g->fd);
            fold_segment_done(&s->fold, g);
            free(g);
        }
    }
    if (s->lock_fd >= 0)
        s->fs->close(s->fs->ctx, s->lock_fd);
    buf_done(&s->encode);
    buf_done(&s->batch_bytes);
    free(s->unlinks.at);
    free(s->doubtful.at);
    free(s->node);
    free(s);
}

int spool_open(struct spool **ret, const struct file_ops *fs, const struct spool_options *o,
               struct spool_report *ret_report, struct err *e)
{
    struct spool_report report = {0};
    int lock = fs->lock(fs->ctx, "lock");
    if (lock == -EWOULDBLOCK)
        return err_set(e, lock, "the spool is in use by another process");
    if (lock < 0)
        return err_set(e, lock, "cannot lock the spool");
    struct spool *s = must_alloc(sizeof *s);
    s->fs = fs;
    s->lock_fd = lock;
    s->lifetime_s = o->lifetime_s;
    s->segment_bytes = o->segment_bytes ? o->segment_bytes : SEGMENT_BYTES_DEFAULT;
    s->segment_bytes = s->segment_bytes < SEGMENT_BYTES_MAX ? s->segment_bytes : SEGMENT_BYTES_MAX;
    s->segment_bytes =
        (s->segment_bytes + SEGMENT_HEADER_BLOCK - 1) & ~(uint64_t)(SEGMENT_HEADER_BLOCK - 1);
    s->node = slice_dup(o->node);
    s->fold.last_seq = o->seq_after;
    s->say = o->say;
    s->say_ctx = o->say_ctx;
    s->encode = BUF_MAX(ENCODE_MAX);
    s->batch_bytes = BUF_MAX(SEGMENT_BYTES_MAX);
    int rc = recover(s, &report, e);
    if (rc < 0) {
        spool_free(s);
        return rc;
    }
    if (ret_report)
        *ret_report = report;
    *ret = s;
    return 0;
}

/* --- events again
 * -------------------------------------------------------------------------------------------------------
 */

struct replay_events {
    uint64_t after;
    void (*each)(void *ctx, const struct event *e);
    void *ctx;
};

static void each_held_event(void *ctx, const struct event *e)
{
    struct replay_events *re = ctx;
    if (e->seq > re->after)
        re->each(re->ctx, e);
}

int spool_each_event(struct spool *s, uint64_t after,
                     void (*each)(void *ctx, const struct event *e), void *ctx)
{
    struct replay_events re = {after, each, ctx};
    for (const struct segment *g = s->segments; g; g = g->next) {
        if (g->max_seq <= after)
            continue;
        struct segment_found f = {
            .number = g->number, .named = g->number, .size = g->size, .end = g->end};
        struct segment_reader reader;
        struct record rec;
        int rc = segment_reader_init(&reader, s->fs, &f, s->salt);
        if (rc < 0)
            return rc;
        while ((rc = segment_reader_next(&reader, &rec)) > 0)
            outbox_read(rec.header.type, rec.head, each_held_event, &re);
        segment_reader_done(&reader);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* --- closing
 * ------------------------------------------------------------------------------------------------------------
 */

static void flush(struct spool *s)
{
    for (int tries = 0; tries < CLOSE_TRIES;) {
        struct spool_batch *b = spool_batch_take(s);
        if (!b)
            return;
        bool writes = b->n_chunks > 0;
        spool_batch_run(b);
        if (spool_batch_end(s, b, NULL, NULL, NULL, NULL) < 0 || !writes)
            tries++;
        spool_settle(s, SIZE_MAX, NULL, NULL);
    }
}

/* What is left is removed when the spool is opened again. */
static void sweep(struct spool *s)
{
    struct spool_task *task;
    for (int tries = 0; tries < CLOSE_TRIES && (task = spool_task_take(s, true)); tries++) {
        spool_task_run(task);
        spool_task_end(s, task);
    }
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    MUST(!s->out && !s->task_out);
    spool_settle(s, SIZE_MAX, NULL, NULL);
    flush(s);
    if (s->dirty && !s->pending.first) {
        buf_reset(&s->encode);
        buf_add_u64(&s->encode, s->fold.last_id);
        buf_add_u64(&s->encode, s->durable_seq);
        spool_append(s, RECORD_MARK, s->encode.n, 0);
        flush(s);
    }
    sweep(s);
    spool_free(s);
}

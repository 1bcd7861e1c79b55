/*
 * The writing. An event goes through three lists, in order, and leaves memory only when it is safe:
 *
 *   waiting ──rendered──▶ lined (its line is in `out`) ──written──▶ unsynced ──fdatasync──▶
 * kept(seq), freed
 *
 * (order.c says which one of those that wait is next.)
 *
 * Trouble (a full disk, a failed rename) moves nothing: what is in a list stays there, and every
 * second it is tried again. A failed sync says that written lines may be lost: the file is set
 * aside and its unsynced lines are written again to a new one, under the same ids. `out` always
 * begins at the start of a line; its first `head` bytes are in the file already.
 */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/events/private.h"
#include <inttypes.h>
#include <stdio.h>

enum { SYNC_MS = 1000, RETRY_MS = 1000, FAILED_SYNCS_MAX = 8 }; /* 1 s … 4 min */

/* ---- trouble ---- */

static void trouble_tell(struct events *ev, const struct err *e)
{
    if (!ev->trouble)
        LOG(LV_ERROR, "delivery_log_stuck", LOG_S("path", ev->file.path), LOG_S("problem", e->text),
            LOG_S("effect", "events wait in memory and in the spool; tried again each second"));
    ev->trouble = true;
    deadline_set(ev->loop, &ev->retry_at,
                 mono_add(loop_now(ev->loop), RETRY_MS << ev->failed_syncs));
}

static void trouble_over(struct events *ev)
{
    if (ev->trouble)
        LOG(LV_INFO, "delivery_log_goes_on", LOG_S("path", ev->file.path));
    ev->trouble = false;
}

/* Lines that are not whole in the file go back to the events they were made from. */
static void unline(struct events *ev)
{
    order_back(ev, &ev->lined);
    buf_reset(&ev->out);
    ev->head = 0;
    ev->service = false;
}

static void leave_file(struct events *ev)
{
    unline(ev);
    buf_reset(&ev->torn);
    logfile_close(&ev->file);
    ev->fresh = false;
    ev->spoiled = false;
    ev->dirty = false;
}

/* ---- syncing ---- */

bool writer_sync(struct events *ev)
{
    struct err e = {0};
    deadline_set(ev->loop, &ev->sync_at, MONO_NEVER);
    if (!ev->dirty || ev->file.fd < 0)
        return true;
    ev->next_sync = mono_add(loop_now(ev->loop), SYNC_MS);
    if (logfile_sync(&ev->file, &e) < 0) {
        list_prepend(&ev->lined, &ev->unsynced);
        unline(ev);
        ev->spoiled = true;
        /* Each failure costs a file: a disk that goes on failing is asked ever more seldom. */
        if (ev->failed_syncs < FAILED_SYNCS_MAX)
            ev->failed_syncs++;
        trouble_tell(ev, &e);
        return false;
    }
    ev->dirty = false;
    ev->failed_syncs = 0;
    if (!ev->unsynced.first)
        return true;
    uint64_t seq = ev->unsynced.last->event.seq;
    list_free(ev, &ev->unsynced);
    pthread_mutex_lock(&ev->spool_lock);
    if (ev->spool.kept)
        ev->spool.kept(ev->spool.ctx, seq);
    pthread_mutex_unlock(&ev->spool_lock);
    return true;
}

/* Once a second; sooner when what is not synced takes much of the memory that events may take. */
static void sync_soon(struct events *ev)
{
    if (!ev->dirty || ev->spoiled)
        return;
    if (ev->unsynced.first && order_held(ev) > ev->memory / 4)
        writer_sync(ev);
    else
        deadline_set(ev->loop, &ev->sync_at, ev->next_sync);
}

/* ---- which file ---- */

/* The name is taken away first: should we die in between, only the closing line is missing. */
static void close_for_good(struct events *ev)
{
    DEFER(buf_done) struct buf line = BUF_MAX(LINE_MAX_BYTES);
    size_t n;
    line_closed(&line, ev->file.id, ev->node, wall_now(), ev->last_seq + 1);
    if (logfile_append(&ev->file, buf_slice(&line), &n, NULL) == 0)
        logfile_sync(&ev->file, NULL);
    leave_file(ev);
}

static void rotate(struct events *ev)
{
    struct err e = {0};
    if (!writer_sync(ev))
        return;
    if (logfile_moved(&ev->file)) {
        close_for_good(ev);
        return;
    }
    if (logfile_set_aside(&ev->file, wall_now(), ev->last_seq, false, &e) < 0) {
        LOG(LV_ERROR, "delivery_log_not_rotated", LOG_S("problem", e.text));
        ev->rotate_refused = true;
        return;
    }
    LOG(LV_INFO, "delivery_log_rotated", LOG_N("bytes", ev->file.size),
        LOG_N("last_seq", ev->last_seq));
    close_for_good(ev);
    keeper_soon(ev);
}

static bool may_rotate(const struct events *ev)
{
    return ev->file.fd >= 0 && ev->file.regular && !ev->fresh && !ev->spoiled && ev->out.n == 0 &&
           ev->torn.n == 0;
}

/* By size, or by age; a file without an event is not too old. */
static bool rotation_due(struct events *ev)
{
    const struct events_conf *c = &ev->conf;
    if (!may_rotate(ev) || ev->rotate_refused)
        return false;
    if (c->rotate_bytes > 0 && ev->file.size >= c->rotate_bytes)
        return true;
    if (c->rotate_s == 0 || ev->last_seq == ev->file.before)
        return false;
    struct wall now = wall_now();
    if (ev->file.began.us > now.us) /* the clock was set back */
        ev->file.began = now;
    return now.us >= wall_add_s(ev->file.began, c->rotate_s).us;
}

static bool set_spoiled_aside(struct events *ev)
{
    struct err e = {0};
    logfile_sync(&ev->file, NULL);
    if (!logfile_moved(&ev->file) &&
        logfile_set_aside(&ev->file, wall_now(), ev->last_seq, true, &e) < 0) {
        trouble_tell(ev, &e);
        return false;
    }
    LOG(LV_WARN, "delivery_log_set_aside", LOG_S("path", ev->file.path),
        LOG_S("reason", "its end is damaged and cannot be completed"));
    leave_file(ev);
    return true;
}

int writer_open(struct events *ev, struct err *e)
{
    struct logfile_tail tail;
    int rc = logfile_open(&ev->file, &tail, e);
    if (rc < 0)
        return rc;
    ev->fresh = tail.empty;
    ev->spoiled = tail.spoiled;
    /* What an earlier process wrote may not be on the disk yet. */
    ev->dirty = !tail.empty;
    buf_reset(&ev->torn);
    buf_add(&ev->torn, buf_slice(&tail.torn));
    if (tail.has_seq && tail.seq > ev->last_seq)
        ev->last_seq = tail.seq;
    logfile_tail_done(&tail);
    return 0;
}

/* A torn last line is completed by the event it was made from, or spoils the file. */
static void join_torn(struct events *ev)
{
    DEFER(buf_done) struct buf line = BUF_MAX(LINE_MAX_BYTES);
    line_event(&line, &order_next(ev)->event, &ev->style);
    if (slice_starts(buf_slice(&line), buf_slice(&ev->torn)))
        ev->head = ev->torn.n;
    else
        ev->spoiled = true;
    buf_reset(&ev->torn);
}

/* The live file is open and at the start of a line, or `head` bytes into the first one of out. */
static bool prepare(struct events *ev)
{
    struct err e = {0};
    if (ev->file.fd >= 0 && rotation_due(ev))
        rotate(ev);
    for (;;) {
        if (ev->file.fd >= 0 && ev->spoiled && !set_spoiled_aside(ev))
            return false;
        if (ev->file.fd < 0 && writer_open(ev, &e) < 0) {
            trouble_tell(ev, &e);
            return false;
        }
        if (ev->torn.n > 0 && order_next(ev))
            join_torn(ev);
        if (!ev->spoiled)
            return true;
    }
}

/* ---- writing ---- */

static void begin_file(struct events *ev)
{
    uint64_t id[2];
    const struct pushed *first = order_next(ev);
    uint64_t next = first ? first->event.seq : ev->next_seq;
    rand_bytes(id, sizeof id);
    snprintf(ev->file.id, sizeof ev->file.id, "%016" PRIx64 "%016" PRIx64, id[0], id[1]);
    ev->file.began = wall_now();
    ev->file.before = next - 1;
    line_opened(&ev->out, ev->file.id, ev->node, ev->file.began, next);
    ev->service = true;
    ev->fresh = false;
}

/* Lines up to a batch, and at most one past the size at which the file is rotated. */
static void fill(struct events *ev)
{
    if (ev->out.n > 0)
        return;
    if (ev->fresh)
        begin_file(ev);
    const uint64_t rotate_bytes = ev->conf.rotate_bytes;
    size_t room = BATCH_BYTES;
    if (rotate_bytes > ev->file.size && rotate_bytes - ev->file.size < room)
        room = (size_t)(rotate_bytes - ev->file.size);
    while (order_next(ev) && (!ev->lined.first || ev->out.n < room)) {
        struct pushed *p = order_take(ev);
        line_event(&ev->out, &p->event, &ev->style);
        list_add(&ev->lined, p);
    }
    MUST(!ev->out.overflow);
}

/* Whole lines in the file leave `out`; their events wait for the sync. */
static void settle(struct events *ev)
{
    size_t done = 0, events_from = 0;
    int64_t lines = 0;
    for (;;) {
        struct slice rest = slice_skip(buf_slice(&ev->out), done);
        size_t n = slice_find(rest, '\n');
        if (n == rest.n || done + n + 1 > ev->head)
            break;
        done += n + 1;
        if (ev->service) {
            ev->service = false;
            events_from = done;
            continue;
        }
        struct pushed *p = list_take(&ev->lined);
        ev->last_seq = p->event.seq;
        list_add(&ev->unsynced, p);
        lines++;
    }
    if (ev->tee)
        tee_add(ev->tee, slice_skip(slice_head(buf_slice(&ev->out), done), events_from));
    buf_drop(&ev->out, done);
    ev->head -= done;
    metric_add(M_EVENTS_WRITTEN, lines);
    atomic_store(&ev->written_seq, ev->last_seq);
}

static bool write_out(struct events *ev)
{
    struct err e = {0};
    size_t n;
    while (ev->head < ev->out.n) {
        if (logfile_append(&ev->file, slice_skip(buf_slice(&ev->out), ev->head), &n, &e) < 0) {
            trouble_tell(ev, &e);
            return false;
        }
        ev->dirty = true;
        ev->head += n;
        settle(ev);
    }
    trouble_over(ev);
    return true;
}

static void reopen_if_moved(struct events *ev)
{
    ev->reopen = false;
    if (!logfile_moved(&ev->file))
        return;
    if (!writer_sync(ev)) /* its unsynced lines go into the new file as well */
        ev->trouble = false;
    LOG(LV_INFO, "delivery_log_reopened", LOG_S("path", ev->file.path));
    if (ev->head == 0 && !ev->spoiled)
        close_for_good(ev);
    else
        leave_file(ev);
}

void writer_rotate(struct events *ev)
{
    if (logfile_moved(&ev->file))
        reopen_if_moved(ev);
    else if (may_rotate(ev) && ev->last_seq != ev->file.before)
        rotate(ev);
    writer_flush(ev);
}

static bool has_work(struct events *ev)
{
    return order_next(ev) || ev->out.n > 0 || ev->file.fd < 0 || ev->spoiled;
}

void writer_flush(struct events *ev)
{
    if (ev->reopen)
        reopen_if_moved(ev);
    if (ev->file.fd >= 0 && rotation_due(ev))
        rotate(ev);
    while (has_work(ev)) {
        if (!prepare(ev))
            return;
        fill(ev);
        if (!write_out(ev))
            break;
    }
    sync_soon(ev);
    order_ask(ev);
}

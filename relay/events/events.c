/* The thread around the writer: what is told to it, its clock, its end. */
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/events/private.h"
#include <stdlib.h>

enum { SWEEP_MS = 3600 * 1000 };
enum { MSG_PUSH = 1, MSG_REOPEN, MSG_STOP };

static void on_sync(void *ctx, struct mono now)
{
    struct events *ev = ctx;
    (void)now;
    writer_sync(ev);
}

static void on_retry(void *ctx, struct mono now)
{
    (void)now;
    writer_flush(ctx);
}

static void on_sweep(void *ctx, struct mono now)
{
    struct events *ev = ctx;
    ev->rotate_refused = false;
    writer_sweep(ev);
    deadline_set(ev->loop, &ev->sweep_at, mono_add(now, SWEEP_MS));
}

static void on_msg(void *ctx, struct msg *m)
{
    struct events *ev = ctx;
    if (m->type == MSG_PUSH) {
        list_add(&ev->waiting, (struct pushed *)(void *)m);
        return;
    }
    ev->reopen |= m->type == MSG_REOPEN;
    ev->stopping |= m->type == MSG_STOP;
    free(m);
}

static void after_batch(void *ctx)
{
    struct events *ev = ctx;
    if (!ev->trouble || ev->reopen || ev->stopping)
        writer_flush(ev);
    if (!ev->stopping)
        return;
    writer_sync(ev);
    if (ev->waiting.first || ev->lined.first || ev->unsynced.first)
        LOG(LV_WARN, "delivery_log_behind", LOG_N("written_seq", ev->last_seq),
            LOG_S("effect", "the spool keeps the rest for the next start"));
    loop_stop(ev->loop);
}

int events_new(struct events **ret, const struct events_conf *c, uint64_t *ret_last_seq,
               struct err *e)
{
    struct events *ev = must_alloc(sizeof *ev);
    ev->loop = loop_new("events", 0);
    ev->inbox = inbox_new(ev->loop, after_batch, ev);
    ev->port = (struct port){.inbox = ev->inbox, .fn = on_msg, .ctx = ev};
    deadline_init(ev->loop, &ev->sync_at, on_sync, ev);
    deadline_init(ev->loop, &ev->retry_at, on_retry, ev);
    deadline_init(ev->loop, &ev->sweep_at, on_sweep, ev);
    MUST(pthread_mutex_init(&ev->kept_lock, NULL) == 0);
    ev->node = slice_dup(slice_str(c->node));
    ev->rotate_bytes = c->rotate_bytes;
    ev->keep_s = c->keep_s;
    buf_init(&ev->out, 2 * BATCH_BYTES);
    buf_init(&ev->torn, LINE_MAX_BYTES);
    ev->file.fd = -1;
    int rc = logfile_init(&ev->file, c->path, e);
    if (rc == 0)
        rc = writer_open(ev, e);
    if (rc < 0) {
        events_free(ev);
        return rc;
    }
    if (ev->last_seq == 0)
        logfile_newest_seq(&ev->file, &ev->last_seq);
    atomic_store(&ev->written_seq, ev->last_seq);
    atomic_store(&ev->pushed_seq, ev->last_seq);
    *ret_last_seq = ev->last_seq;
    *ret = ev;
    return 0;
}

void events_set_kept(struct events *ev, void (*kept)(void *ctx, uint64_t seq), void *ctx)
{
    pthread_mutex_lock(&ev->kept_lock);
    ev->kept = kept;
    ev->kept_ctx = ctx;
    pthread_mutex_unlock(&ev->kept_lock);
}

void events_push(struct events *ev, const struct event *e)
{
    struct pushed *p = must_alloc(sizeof *p + e->fields.n);
    p->msg.type = MSG_PUSH;
    p->event = *e;
    if (e->fields.n > 0)
        memcpy(p->fields, e->fields.p, e->fields.n);
    p->event.fields = slice_of(p->fields, e->fields.n);
    atomic_store(&ev->pushed_seq, e->seq);
    port_send(&ev->port, &p->msg);
}

static void tell(struct events *ev, unsigned type)
{
    struct msg *m = must_alloc(sizeof *m);
    m->type = type;
    port_send(&ev->port, m);
}

int events_start(struct events *ev)
{
    deadline_set(ev->loop, &ev->sweep_at, loop_now(ev->loop));
    int rc = loop_start(ev->loop);
    ev->started = rc == 0;
    return rc;
}

void events_reopen(struct events *ev)
{
    tell(ev, MSG_REOPEN);
}

void events_free(struct events *ev)
{
    if (!ev)
        return;
    if (ev->started || ev->file.fd >= 0)
        tell(ev, MSG_STOP);
    if (ev->started)
        loop_join(ev->loop);
    else if (ev->file.fd >= 0)
        loop_run_here(ev->loop);
    inbox_free(ev->inbox, NULL);
    loop_free(ev->loop);
    list_free(&ev->waiting);
    list_free(&ev->lined);
    list_free(&ev->unsynced);
    logfile_done(&ev->file);
    buf_done(&ev->out);
    buf_done(&ev->torn);
    pthread_mutex_destroy(&ev->kept_lock);
    free(ev->node);
    free(ev);
}

uint64_t events_written_seq(const struct events *ev)
{
    return atomic_load(&ev->written_seq);
}

uint64_t events_pushed_seq(const struct events *ev)
{
    return atomic_load(&ev->pushed_seq);
}

bool events_stuck(const struct events *ev)
{
    return atomic_load(&ev->trouble);
}

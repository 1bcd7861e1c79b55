/* The thread around the writer: what is told to it, its clock, its end. */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/events/private.h"
#include <stdlib.h>
#include <unistd.h>

/* Nobody waits for a line as a client waits for its 250: the spool has the event. */
enum { LOOK_MS = 1000, NAP_MS = 5, MIN_FREE_FILES = 100 };
enum { MSG_PUSH = 1, MSG_AGAIN, MSG_AGAIN_END, MSG_CONF, MSG_REOPEN, MSG_ROTATE, MSG_STOP };

struct again_end {
    struct msg msg;
    uint64_t through;
};
struct new_conf {
    struct msg msg;
    struct events_conf conf;
};
struct rotation {
    struct msg msg;
    struct rotation *next;
    struct msg *answer;
    const struct port *reply;
};

/* ---- its clock ---- */

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

/* What was full has room again with a little more than that: no flapping. */
static void look_at_room(struct events *ev)
{
    uint64_t bytes, files;
    const uint64_t wanted = ev->conf.min_free + (ev->full ? ev->conf.min_free / 16 : 0);
    if (!ev->file.regular || !logfile_room(&ev->file, &bytes, &files))
        return;
    const bool full = ev->conf.min_free > 0 && (bytes < wanted || files < MIN_FREE_FILES);
    if (full == ev->full)
        return;
    atomic_store(&ev->full, full);
    LOG(full ? LV_ERROR : LV_INFO, full ? "delivery_log_full" : "delivery_log_has_room",
        LOG_N("free_bytes", bytes), LOG_N("min_free_bytes", ev->conf.min_free),
        LOG_N("free_inodes", files));
    pthread_mutex_lock(&ev->spool_lock);
    if (ev->spool.room)
        ev->spool.room(ev->spool.ctx, full);
    pthread_mutex_unlock(&ev->spool_lock);
}

static void on_look(void *ctx, struct mono now)
{
    struct events *ev = ctx;
    deadline_set(ev->loop, &ev->look_at, mono_add(now, LOOK_MS));
    ev->ask_later = false;
    look_at_room(ev);
    if (!ev->trouble)
        writer_flush(ev);
}

/* ---- what is told to it ---- */

static void configure(struct events *ev, const struct events_conf *c)
{
    ev->conf = *c;
    ev->conf.path = ev->conf.node = NULL;
    ev->style = (struct line_style){ev->node, c->recipients, ev->conf.key, ev->conf.key_n};
    if (c->to_stdout && !ev->tee)
        ev->tee = tee_new(STDOUT_FILENO);
    if (!c->to_stdout)
        tee_free(TAKE_PTR(ev->tee));
}

static void on_conf(struct events *ev, const struct new_conf *n)
{
    writer_flush(ev); /* what was pushed before is written as it was said then */
    configure(ev, &n->conf);
    keeper_soon(ev);
}

static void add_rotation(struct events *ev, struct rotation *r)
{
    r->next = ev->rotations;
    ev->rotations = r;
    ev->rotate = true;
}

static void on_msg(void *ctx, struct msg *m)
{
    struct events *ev = ctx;
    switch (m->type) {
    case MSG_PUSH:
        list_add(&ev->waiting, (struct pushed *)(void *)m);
        return;
    case MSG_AGAIN:
        list_add(&ev->again, (struct pushed *)(void *)m);
        return;
    case MSG_ROTATE:
        add_rotation(ev, (struct rotation *)(void *)m);
        return;
    case MSG_AGAIN_END:
        order_answered(ev, ((struct again_end *)(void *)m)->through);
        break;
    case MSG_CONF:
        on_conf(ev, (struct new_conf *)(void *)m);
        break;
    case MSG_REOPEN:
        ev->reopen = true;
        break;
    case MSG_STOP:
        ev->stopping = true;
        break;
    default:
        UNREACHABLE();
    }
    free(m);
}

static void answer_rotations(struct events *ev)
{
    for (struct rotation *r; (r = ev->rotations); free(r)) {
        ev->rotations = r->next;
        if (r->reply)
            port_send(r->reply, r->answer);
        else
            free(r->answer);
    }
}

static void after_batch(void *ctx)
{
    struct events *ev = ctx;
    if (!ev->trouble || ev->reopen || ev->rotate || ev->stopping)
        writer_flush(ev);
    if (ev->rotate) {
        ev->rotate = false;
        writer_rotate(ev);
        answer_rotations(ev);
    }
    if (!ev->stopping)
        return;
    writer_sync(ev);
    if (ev->last_seq < atomic_load(&ev->pushed_seq) || ev->unsynced.first)
        LOG(LV_WARN, "delivery_log_behind", LOG_N("written_seq", ev->last_seq),
            LOG_S("effect", "the spool keeps the rest for the next start"));
    loop_stop(ev->loop);
}

/* ---- from other threads ---- */

static void tell(struct events *ev, struct msg *m, unsigned type)
{
    m->type = type;
    port_send(&ev->port, m);
}

static struct pushed *copy_of(const struct event *e, size_t bytes)
{
    struct pushed *p = must_alloc(bytes);
    p->event = *e;
    if (e->fields.n > 0)
        memcpy(p->fields, e->fields.p, e->fields.n);
    p->event.fields = slice_of(p->fields, e->fields.n);
    return p;
}

/* Once one was left out, so are those behind it, until half of the memory is free again: few large
 * gaps are filled sooner than many small ones. */
static bool is_left_out(struct events *ev, size_t bytes)
{
    const uint64_t most = ev->leaving_out ? ev->memory / 2 : ev->memory;
    ev->leaving_out = order_held(ev) + bytes > most;
    return ev->leaving_out;
}

void events_push(struct events *ev, const struct event *e)
{
    const size_t bytes = sizeof(struct pushed) + e->fields.n;
    const bool first = !ev->started && atomic_load(&ev->left_out_seq) == 0;
    atomic_store(&ev->pushed_seq, e->seq);
    if (first) /* the replay: what it does not have is nowhere */
        ev->vouched = e->seq - 1;
    if (is_left_out(ev, bytes)) {
        atomic_store(&ev->left_out_seq, e->seq);
        return;
    }
    struct pushed *p = copy_of(e, bytes);
    p->counted = bytes;
    uint64_t taken = atomic_load_explicit(&ev->taken_bytes, memory_order_relaxed) + bytes;
    atomic_store_explicit(&ev->taken_bytes, taken, memory_order_relaxed);
    tell(ev, &p->msg, MSG_PUSH);
}

void events_again(struct events *ev, const struct event *e)
{
    tell(ev, &copy_of(e, sizeof(struct pushed) + e->fields.n)->msg, MSG_AGAIN);
}

void events_again_end(struct events *ev, uint64_t through)
{
    struct again_end *end = must_alloc(sizeof *end);
    end->through = through;
    tell(ev, &end->msg, MSG_AGAIN_END);
}

void events_set_spool(struct events *ev, const struct events_spool *s)
{
    pthread_mutex_lock(&ev->spool_lock);
    ev->spool = s ? *s : (struct events_spool){0};
    if (ev->spool.again)
        atomic_store(&ev->asks, true);
    pthread_mutex_unlock(&ev->spool_lock);
}

void events_reconfigure(struct events *ev, const struct events_conf *c)
{
    struct new_conf *n = must_alloc(sizeof *n);
    n->conf = *c;
    tell(ev, &n->msg, MSG_CONF);
}

void events_reopen(struct events *ev)
{
    tell(ev, must_alloc(sizeof(struct msg)), MSG_REOPEN);
}

void events_rotate(struct events *ev, struct msg *m, const struct port *reply)
{
    struct rotation *r = must_alloc(sizeof *r);
    r->answer = m;
    r->reply = reply;
    tell(ev, &r->msg, MSG_ROTATE);
}

/* ---- life ---- */

static void make(struct events *ev, const struct events_conf *c)
{
    ev->loop = loop_new("events", 0);
    ev->inbox = inbox_new(ev->loop, after_batch, ev);
    inbox_nap(ev->inbox, NAP_MS);
    ev->port = (struct port){.inbox = ev->inbox, .fn = on_msg, .ctx = ev};
    deadline_init(ev->loop, &ev->sync_at, on_sync, ev);
    deadline_init(ev->loop, &ev->retry_at, on_retry, ev);
    deadline_init(ev->loop, &ev->look_at, on_look, ev);
    MUST(pthread_mutex_init(&ev->spool_lock, NULL) == 0);
    ev->node = slice_dup(slice_str(c->node));
    ev->memory = c->memory ? c->memory : EVENTS_MEMORY;
    keeper_init(ev);
    buf_init(&ev->out, 2 * BATCH_BYTES);
    buf_init(&ev->torn, LINE_MAX_BYTES);
    ev->file.fd = -1;
    configure(ev, c);
}

int events_new(struct events **ret, const struct events_conf *c, uint64_t *ret_last_seq,
               struct err *e)
{
    struct events *ev = must_alloc(sizeof *ev);
    make(ev, c);
    int rc = logfile_init(&ev->file, c->path, e);
    if (rc == 0)
        rc = writer_open(ev, e);
    if (rc < 0) {
        events_free(ev);
        return rc;
    }
    if (ev->last_seq == 0)
        logfile_newest_seq(&ev->file, &ev->last_seq);
    ev->next_seq = ev->last_seq + 1;
    ev->vouched = ev->last_seq;
    atomic_store(&ev->written_seq, ev->last_seq);
    atomic_store(&ev->pushed_seq, ev->last_seq);
    *ret_last_seq = ev->last_seq;
    *ret = ev;
    return 0;
}

int events_start(struct events *ev)
{
    keeper_begin(ev);
    deadline_set(ev->loop, &ev->look_at, loop_now(ev->loop));
    int rc = loop_start(ev->loop);
    ev->started = rc == 0;
    return rc;
}

static void end_thread(struct events *ev)
{
    if (ev->started || ev->file.fd >= 0)
        tell(ev, must_alloc(sizeof(struct msg)), MSG_STOP);
    if (ev->started)
        loop_join(ev->loop);
    else if (ev->file.fd >= 0)
        loop_run_here(ev->loop);
}

void events_free(struct events *ev)
{
    if (!ev)
        return;
    end_thread(ev);
    keeper_end(ev);
    tee_free(ev->tee);
    inbox_free(ev->inbox, keeper_drop);
    loop_free(ev->loop);
    list_free(ev, &ev->waiting);
    list_free(ev, &ev->again);
    list_free(ev, &ev->lined);
    list_free(ev, &ev->unsynced);
    logfile_done(&ev->file);
    buf_done(&ev->out);
    buf_done(&ev->torn);
    pthread_mutex_destroy(&ev->spool_lock);
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

bool events_full(const struct events *ev)
{
    return atomic_load(&ev->full);
}

#include "relay/base/must.h"
#include "relay/loop/inbox.h"
#include "relay/loop/private.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void on_wake(uv_poll_t *handle, int status, int events)
{
    struct loop *l = handle->data;
    eventfd_t wakes;
    (void)status;
    (void)events;
    eventfd_read(l->wake_fd, &wakes); /* first: what is sent from here on wakes again */
    if (l->ended)
        return;
    if (l->on_wake)
        l->on_wake(l->on_wake_ctx);
    if (atomic_load_explicit(&l->stop, memory_order_acquire))
        uv_stop(&l->uv);
}

/* Before it sleeps: those it has sent to are woken once for all of a turn, and by then what it has
 * to write is written. */
static void on_turn_end(uv_prepare_t *handle)
{
    (void)handle;
    inbox_wake_owed();
}

struct loop *loop_new(const char *name, unsigned index)
{
    /* libuv writes without MSG_NOSIGNAL: a peer that is gone must be EPIPE, not our end. */
    signal(SIGPIPE, SIG_IGN);
    struct loop *l = must_alloc(sizeof *l);
    snprintf(l->name, sizeof l->name, "%s", name);
    l->index = index;
    atomic_init(&l->stop, false);
    MUST(uv_loop_init(&l->uv) == 0);
    l->uv.data = l;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MUST(l->wake_fd >= 0);
    MUST(uv_poll_init(&l->uv, &l->wake, l->wake_fd) == 0);
    l->wake.data = l;
    MUST(uv_poll_start(&l->wake, UV_READABLE, on_wake) == 0);
    /* libuv calls the one that was started first last: behind what the rooms do at a turn's end. */
    MUST(uv_prepare_init(&l->uv, &l->turn_end) == 0 &&
         uv_prepare_start(&l->turn_end, on_turn_end) == 0);
    uv_unref((uv_handle_t *)&l->turn_end);
    MUST(uv_timer_init(&l->uv, &l->nap) == 0);
    uv_unref((uv_handle_t *)&l->nap);
    return l;
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

unsigned loop_index(const struct loop *l)
{
    return l->index;
}

struct mono loop_now(const struct loop *l)
{
    if (!l->running)
        return mono_now();
    /* libuv reads CLOCK_MONOTONIC too, or its coarse form where that ticks every millisecond. */
    return (struct mono){(int64_t)uv_now(&l->uv)};
}

void loop_part_add(struct loop *l, struct loop_part *p)
{
    MUST(!loop_part_find(l, p->key));
    p->next = l->parts;
    l->parts = p;
}

struct loop_part *loop_part_find(const struct loop *l, const void *key)
{
    for (struct loop_part *p = l->parts; p; p = p->next)
        if (p->key == key)
            return p;
    return NULL;
}

static void close_left_open(uv_handle_t *handle, void *ctx)
{
    const struct loop *l = ctx;
    if (handle != (const uv_handle_t *)&l->wake && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Closes all but `wake`, which senders may use until loop_free. Callbacks of the closing may open
 * new handles: they are closed too. */
static void end(struct loop *l)
{
    if (l->ended)
        return;
    l->ended = true;
    for (struct loop_part *p = l->parts; p; p = p->next)
        if (p->end)
            p->end(p);
    uv_unref((uv_handle_t *)&l->wake);
    while (uv_walk(&l->uv, close_left_open, l), uv_loop_alive(&l->uv))
        uv_run(&l->uv, UV_RUN_ONCE);
    while (l->closed_late) {
        struct deadline *d = l->closed_late;
        l->closed_late = d->next_closed;
        d->closed(d->ctx);
    }
    l->running = false;
}

static void run(struct loop *l)
{
    inbox_hold_wakes();
    while (!atomic_load_explicit(&l->stop, memory_order_acquire))
        uv_run(&l->uv, UV_RUN_DEFAULT);
    end(l);
    inbox_release_wakes();
}

static void *thread_main(void *arg)
{
    struct loop *l = arg;
    pthread_setname_np(pthread_self(), l->name);
    run(l);
    return NULL;
}

/* Only those stay that a fault raises in its own thread. */
void loop_block_signals(sigset_t *ret_before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

int loop_start(struct loop *l)
{
    MUST(!l->running && !l->ended);
    sigset_t before;
    loop_block_signals(&before); /* no moment without it */
    uv_update_time(&l->uv);
    l->running = true;
    int code = pthread_create(&l->thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->has_thread = code == 0;
    if (code)
        l->running = false;
    return -code;
}

void loop_run_here(struct loop *l)
{
    MUST(!l->running && !l->ended);
    uv_update_time(&l->uv);
    l->running = true;
    run(l);
}

/* Full (EAGAIN) is awake. */
void loop_wake(struct loop *l)
{
    eventfd_write(l->wake_fd, 1);
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stop, true, memory_order_release);
    loop_wake(l);
}

void loop_join(struct loop *l)
{
    if (!l->has_thread)
        return;
    MUST(pthread_join(l->thread, NULL) == 0);
    l->has_thread = false;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    MUST(!l->has_thread);
    end(l); /* one that never ran has handles too */
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    MUST(uv_loop_close(&l->uv) == 0);
    close(l->wake_fd);
    while (l->parts) {
        struct loop_part *p = l->parts;
        l->parts = p->next;
        if (p->free)
            p->free(p);
    }
    free(l);
}

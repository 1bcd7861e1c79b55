#include "relay/loop/crew.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/loop/private.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

struct hand {
    struct crew *crew;
    pthread_t thread;
    /* Where it waits. No condition variable: one that was waited for leaves its mutex marked as
     * contended, which costs a system call more each time, and it cannot say whom it wakes. */
    sem_t call;
    bool waiting;      /* nobody has called it yet */
    struct mono until; /* waiting: it looks again by itself then */
};

struct crew {
    char name[16];
    struct inbox *inbox;
    void (*turn)(void *ctx);
    void *ctx;
    struct hand hands[CREW_MAX];
    unsigned n, started;
    pthread_mutex_t lock; /* guards hands, busy, wake_at, stop */
    bool busy;            /* somebody has the turn */
    struct mono wake_at;
    bool stop;
    /* Whoever sends and finds nobody at it, nor on the way to it, calls. A turn that ends, and who
     * comes because of a call, says so first and then looks at the inbox: one of the two sees the
     * other. */
    atomic_bool idle;
    /* Of the turn. */
    struct mono next_wake;
    struct worker_job *left;
};

/* The lock is held. NULL: all are at work, or called already. Who is called is owed a sem_post. */
static struct hand *call_one(struct crew *c)
{
    for (unsigned i = 0; i < c->started; i++) {
        struct hand *h = &c->hands[i];
        if (!h->waiting)
            continue;
        h->waiting = false;
        atomic_store(&c->idle, false);
        return h;
    }
    return NULL;
}

static void wake_one(struct crew *c)
{
    pthread_mutex_lock(&c->lock);
    struct hand *h = c->busy ? NULL : call_one(c);
    pthread_mutex_unlock(&c->lock);
    if (h)
        sem_post(&h->call);
}

static void on_sent(void *ctx)
{
    struct crew *c = ctx;
    if (atomic_load(&c->idle))
        wake_one(c);
}

struct crew *crew_new(const char *name, unsigned threads, void (*turn)(void *ctx), void *ctx)
{
    MUST(threads >= 1 && threads <= CREW_MAX);
    struct crew *c = must_alloc(sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", name);
    c->n = threads;
    c->turn = turn;
    c->ctx = ctx;
    c->inbox = inbox_of(on_sent, c);
    c->wake_at = c->next_wake = MONO_NEVER;
    atomic_init(&c->idle, true);
    MUST(pthread_mutex_init(&c->lock, NULL) == 0);
    for (unsigned i = 0; i < CREW_MAX; i++) {
        c->hands[i].crew = c;
        MUST(sem_init(&c->hands[i].call, 0, 0) == 0);
    }
    return c;
}

struct inbox *crew_inbox(struct crew *c)
{
    return c->inbox;
}

void crew_wake_at(struct crew *c, struct mono at)
{
    c->next_wake = at;
}

void crew_leave(struct crew *c, struct worker_job *job)
{
    MUST(!c->left);
    c->left = job;
}

/* --- the threads
 * ---------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct crew *c)
{
    return inbox_has(c->inbox) || mono_reached(c->wake_at, mono_now());
}

/* Without the lock; what it leaves. */
static struct worker_job *take_turn(struct crew *c)
{
    c->next_wake = MONO_NEVER;
    inbox_hold_wakes();
    inbox_hand_out(c->inbox);
    c->turn(c->ctx);
    inbox_release_wakes();
    return TAKE_PTR(c->left);
}

/* Returns for no reason now and then: a call may come when its time is over, too. */
static void wait_for_call(struct hand *h, struct mono until)
{
    if (until.ms == MONO_NEVER.ms) {
        sem_wait(&h->call);
        return;
    }
    const struct timespec at = {.tv_sec = until.ms / 1000,
                                .tv_nsec = (long)(until.ms % 1000) * 1000000};
    sem_clockwait(&h->call, CLOCK_MONOTONIC, &at);
}

/* The lock is held, and let go meanwhile. */
static void wait_for_more(struct crew *c, struct hand *h)
{
    h->waiting = true;
    h->until = c->busy ? MONO_NEVER : c->wake_at;
    const struct mono until = h->until;
    pthread_mutex_unlock(&c->lock);
    wait_for_call(h, until);
    pthread_mutex_lock(&c->lock);
    h->waiting = false;
    if (!c->busy)
        atomic_store(&c->idle, true);
}

/* Does one of those that wait look at the clock in time? */
static bool is_watched(const struct crew *c)
{
    for (unsigned i = 0; i < c->started; i++)
        if (c->hands[i].waiting && c->hands[i].until.ms <= c->wake_at.ms)
            return true;
    return false;
}

/* The lock is held, and let go meanwhile. */
static void run_left(struct crew *c, struct worker_job *job)
{
    struct hand *h = inbox_has(c->inbox) || !is_watched(c) ? call_one(c) : NULL;
    pthread_mutex_unlock(&c->lock);
    if (h)
        sem_post(&h->call);
    job->run(job);
    inbox_put(job->reply, &job->msg); /* who has the turn, or we, will see it */
    pthread_mutex_lock(&c->lock);
}

static void *thread_main(void *arg)
{
    struct hand *h = arg;
    struct crew *c = h->crew;
    pthread_setname_np(pthread_self(), c->name);
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        if (c->busy || !is_wanted(c)) {
            wait_for_more(c, h);
            continue;
        }
        c->busy = true;
        atomic_store(&c->idle, false);
        pthread_mutex_unlock(&c->lock);
        struct worker_job *job = take_turn(c);
        pthread_mutex_lock(&c->lock);
        c->wake_at = c->next_wake;
        c->busy = false;
        atomic_store(&c->idle, true);
        if (job)
            run_left(c, job);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int crew_start(struct crew *c)
{
    sigset_t before;
    int code = 0;
    c->wake_at = c->next_wake;
    loop_block_signals(&before);
    pthread_mutex_lock(&c->lock);
    for (; c->started < c->n && code == 0; c->started += code == 0) {
        struct hand *h = &c->hands[c->started];
        code = pthread_create(&h->thread, NULL, thread_main, h);
    }
    pthread_mutex_unlock(&c->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -code;
}

void crew_end(struct crew *c)
{
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < CREW_MAX; i++)
        sem_post(&c->hands[i].call);
    for (unsigned i = 0; i < c->started; i++)
        MUST(pthread_join(c->hands[i].thread, NULL) == 0);
    pthread_mutex_lock(&c->lock); /* others may still send */
    c->started = 0;
    pthread_mutex_unlock(&c->lock);
}

void crew_free(struct crew *c, void (*drop)(struct msg *m))
{
    if (!c)
        return;
    MUST(c->started == 0);
    inbox_free(c->inbox, drop);
    for (unsigned i = 0; i < CREW_MAX; i++)
        sem_destroy(&c->hands[i].call);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

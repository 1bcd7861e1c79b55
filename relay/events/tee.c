#include "relay/events/tee.h"
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_S = 2 };

struct tee {
    pthread_t thread;
    int fd;
    pthread_mutex_t lock; /* guards waiting, left_out, stop, gone */
    pthread_cond_t more;
    struct buf waiting;
    uint64_t left_out; /* lines, since the last one that was taken */
    bool stop, gone;   /* gone: nobody reads any more */
    struct buf going;  /* the thread's */
};

static uint64_t count_lines(struct slice s)
{
    uint64_t n = 0;
    for (size_t at; (at = slice_find(s, '\n')) < s.n; n++)
        s = slice_skip(s, at + 1);
    return n;
}

/* The only place where the thread may be ended from outside: a reader who has stopped holds it. */
static ssize_t write_some(int fd, struct slice s)
{
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    ssize_t n = write(fd, s.p, s.n);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return n;
}

/* False: nobody reads there any more. */
static bool write_going(struct tee *t)
{
    for (struct slice s = buf_slice(&t->going); s.n > 0;) {
        ssize_t n = write_some(t->fd, s);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        s = slice_skip(s, n > 0 ? (size_t)n : 0);
    }
    return true;
}

/* What waits becomes what goes; false: the end. */
static bool take(struct tee *t)
{
    pthread_mutex_lock(&t->lock);
    while (t->waiting.n == 0 && !t->stop)
        pthread_cond_wait(&t->more, &t->lock);
    struct buf swap = t->going;
    t->going = t->waiting;
    t->waiting = swap;
    buf_reset(&t->waiting);
    pthread_mutex_unlock(&t->lock);
    return t->going.n > 0;
}

static void *thread_main(void *arg)
{
    struct tee *t = arg;
    pthread_setname_np(pthread_self(), "events-out");
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    while (take(t)) {
        if (write_going(t))
            continue;
        pthread_mutex_lock(&t->lock);
        t->gone = true;
        pthread_mutex_unlock(&t->lock);
        LOG(LV_ERROR, "delivery_log_stdout_gone", LOG_S("effect", "lines go to the file only"));
        break;
    }
    return NULL;
}

struct tee *tee_new(int fd)
{
    struct tee *t = must_alloc(sizeof *t);
    t->fd = fd;
    buf_init(&t->waiting, TEE_MAX);
    buf_init(&t->going, TEE_MAX);
    MUST(pthread_mutex_init(&t->lock, NULL) == 0 && pthread_cond_init(&t->more, NULL) == 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    MUST(pthread_create(&t->thread, NULL, thread_main, t) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t;
}

void tee_add(struct tee *t, struct slice lines)
{
    if (lines.n == 0)
        return;
    pthread_mutex_lock(&t->lock);
    bool added = t->gone || buf_add(&t->waiting, lines);
    uint64_t told = added ? t->left_out : 0;
    bool first = !added && t->left_out == 0;
    t->left_out = added ? 0 : t->left_out + count_lines(lines);
    if (t->gone)
        buf_reset(&t->waiting);
    t->waiting.overflow = false;
    pthread_mutex_unlock(&t->lock);
    pthread_cond_signal(&t->more);
    if (first)
        LOG(LV_WARN, "delivery_log_stdout_slow",
            LOG_S("effect", "lines are left out of standard output; the file has them"));
    if (told > 0)
        LOG(LV_WARN, "delivery_log_stdout_goes_on", LOG_N("left_out", told));
}

void tee_free(struct tee *t)
{
    if (!t)
        return;
    const struct timespec until = {.tv_sec = wall_now().us / WALL_SECOND + PATIENCE_S};
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_mutex_unlock(&t->lock);
    pthread_cond_signal(&t->more);
    if (pthread_timedjoin_np(t->thread, NULL, &until) != 0) {
        pthread_cancel(t->thread); /* it is in write(2) */
        MUST(pthread_join(t->thread, NULL) == 0);
    }
    pthread_cond_destroy(&t->more);
    pthread_mutex_destroy(&t->lock);
    buf_done(&t->waiting);
    buf_done(&t->going);
    free(t);
}

#include "relay/loop/worker.h"
#include "relay/base/must.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { PATIENT_NICE = 5 };

struct worker {
    pthread_t thread;
    char name[16];
    bool patient;
    pthread_mutex_t lock; /* guards first, last, stop */
    pthread_cond_t more;
    struct worker_job *first, *last; /* linked by msg.next */
    bool stop;
};

static struct worker_job *job_of(struct msg *m)
{
    return (struct worker_job *)(void *)m;
}

/* All that wait at once; NULL: the end. */
static struct worker_job *take_jobs(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->stop)
        pthread_cond_wait(&w->more, &w->lock);
    struct worker_job *jobs = w->first;
    w->first = w->last = NULL;
    pthread_mutex_unlock(&w->lock);
    return jobs;
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    pthread_setname_np(pthread_self(), w->name);
    if (w->patient)
        setpriority(PRIO_PROCESS, 0, PATIENT_NICE); /* Linux: of this thread */
    struct worker_job *j;
    while ((j = take_jobs(w))) {
        while (j) {
            struct worker_job *next = j->msg.next ? job_of(j->msg.next) : NULL;
            j->run(j);
            if (j->reply)
                port_send(j->reply, &j->msg);
            j = next;
        }
    }
    return NULL;
}

static struct worker *start(const char *name, bool patient)
{
    struct worker *w = must_alloc(sizeof *w);
    w->patient = patient;
    snprintf(w->name, sizeof w->name, "%s", name);
    MUST(pthread_mutex_init(&w->lock, NULL) == 0 && pthread_cond_init(&w->more, NULL) == 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    MUST(pthread_create(&w->thread, NULL, thread_main, w) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return w;
}

struct worker *worker_new(const char *name)
{
    return start(name, false);
}

struct worker *worker_new_patient(const char *name)
{
    return start(name, true);
}

void worker_push(struct worker *w, struct worker_job *j)
{
    j->msg.next = NULL;
    pthread_mutex_lock(&w->lock);
    MUST(!w->stop);
    bool was_empty = !w->first;
    if (w->last)
        w->last->msg.next = &j->msg;
    else
        w->first = j;
    w->last = j;
    pthread_mutex_unlock(&w->lock);
    if (was_empty)
        pthread_cond_signal(&w->more);
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_mutex_unlock(&w->lock);
    pthread_cond_signal(&w->more);
    MUST(pthread_join(w->thread, NULL) == 0);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

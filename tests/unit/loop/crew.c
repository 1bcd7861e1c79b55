/* Turns: one at a time, whoever has them; a job that blocks holds up nobody else's turn. If this
 * breaks, two threads are in the spool at once, or mail waits behind a sync that is not its own. */
#include "relay/loop/crew.h"
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SENDERS = 4, EACH = 5000, CREW = 2 };

struct owner {
    struct crew *crew;
    struct port port, job_port;
    atomic_int inside; /* threads that have the turn */
    unsigned overlaps, next[SENDERS], disorder, got, turns;
    unsigned jobs_left, jobs_back;
    bool job_out;
    unsigned jobs_wanted;
    struct mono wake_at;
    sem_t all_here, in_job, may_end_job, saw_time;
};

struct note {
    struct msg msg;
    unsigned sender, number;
};

struct job {
    struct worker_job job;
    struct owner *owner;
    bool waits; /* for the test to let it end */
};

static void on_note(void *ctx, struct msg *m)
{
    struct owner *o = ctx;
    struct note *n = (struct note *)(void *)m;
    o->disorder += n->number != o->next[n->sender]++;
    free(n);
    if (++o->got == SENDERS * EACH)
        sem_post(&o->all_here);
}

static void on_job(void *ctx, struct msg *m)
{
    struct owner *o = ctx;
    o->jobs_back++;
    o->job_out = false;
    free(m);
}

static void run_job(struct worker_job *j)
{
    struct job *job = (struct job *)(void *)j;
    if (!job->waits)
        return;
    sem_post(&job->owner->in_job);
    sem_wait(&job->owner->may_end_job);
}

static void leave_job(struct owner *o, bool waits)
{
    struct job *j = calloc(1, sizeof *j);
    *j = (struct job){.job = {.run = run_job, .reply = &o->job_port}, .owner = o, .waits = waits};
    o->job_out = true;
    o->jobs_left++;
    crew_leave(o->crew, &j->job);
}

static void turn(void *ctx)
{
    struct owner *o = ctx;
    o->overlaps += atomic_fetch_add(&o->inside, 1) != 0;
    o->turns++;
    if (!o->job_out && o->jobs_left < o->jobs_wanted)
        leave_job(o, o->jobs_wanted == 1);
    if (o->wake_at.ms != MONO_NEVER.ms && mono_reached(o->wake_at, mono_now())) {
        o->wake_at = MONO_NEVER;
        sem_post(&o->saw_time);
    }
    crew_wake_at(o->crew, o->wake_at);
    atomic_fetch_sub(&o->inside, 1);
}

static void owner_init(struct owner *o, unsigned jobs)
{
    *o = (struct owner){.jobs_wanted = jobs, .wake_at = MONO_NEVER};
    o->crew = crew_new("owner", CREW, turn, o);
    o->port = (struct port){crew_inbox(o->crew), on_note, o};
    o->job_port = (struct port){crew_inbox(o->crew), on_job, o};
    sem_init(&o->all_here, 0, 0);
    sem_init(&o->in_job, 0, 0);
    sem_init(&o->may_end_job, 0, 0);
    sem_init(&o->saw_time, 0, 0);
}

struct sender {
    pthread_t thread;
    unsigned number;
    struct owner *to;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct note *n = calloc(1, sizeof *n);
        n->sender = s->number;
        n->number = i;
        port_send(&s->to->port, &n->msg);
    }
    return NULL;
}

static void start_senders(struct sender *senders, struct owner *to)
{
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.number = i, .to = to};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
}

static void join_senders(struct sender *senders)
{
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
}

static void one_turn_at_a_time_and_nothing_lost(void **state)
{
    (void)state;
    struct owner o;
    struct sender senders[SENDERS];
    owner_init(&o, 1000);
    assert_int_equal(crew_start(o.crew), 0);
    start_senders(senders, &o);
    join_senders(senders);
    sem_wait(&o.all_here);
    crew_end(o.crew);
    crew_free(o.crew, NULL); /* a job that came back last is freed here */
    assert_int_equal(o.overlaps, 0);
    assert_int_equal(o.disorder, 0);
    assert_int_equal(o.got, SENDERS * EACH);
    assert_true(o.jobs_left > 0 && o.jobs_back + 1 >= o.jobs_left);
}

/* All of it is handled while the job still blocks. */
static void a_job_holds_up_no_turn(void **state)
{
    (void)state;
    struct owner o;
    struct sender senders[SENDERS];
    owner_init(&o, 1);
    assert_int_equal(crew_start(o.crew), 0);
    start_senders(senders, &o);
    sem_wait(&o.in_job);
    sem_wait(&o.all_here);
    join_senders(senders);
    sem_post(&o.may_end_job);
    crew_end(o.crew);
    crew_free(o.crew, NULL);
    assert_int_equal(o.overlaps, 0);
    assert_int_equal(o.got, SENDERS * EACH);
    assert_int_equal(o.jobs_left, 1);
}

/* The time is kept, also by the one that waited without a time when the other went off to a job. */
static void wakes_at_its_time(void **state)
{
    (void)state;
    for (unsigned jobs = 0; jobs < 2; jobs++) {
        struct owner o;
        owner_init(&o, jobs);
        struct mono begun = mono_now();
        o.wake_at = mono_add(begun, 30);
        crew_wake_at(o.crew, begun);
        assert_int_equal(crew_start(o.crew), 0);
        sem_wait(&o.saw_time);
        assert_true(mono_reached(mono_add(begun, 30), mono_now()));
        sem_post(&o.may_end_job);
        crew_end(o.crew);
        crew_free(o.crew, NULL);
        assert_int_equal(o.jobs_left, jobs);
    }
}

static unsigned dropped;
static void count_drop(struct msg *m)
{
    dropped++;
    free(m);
}

static void what_comes_late_is_given_back(void **state)
{
    (void)state;
    struct owner o;
    owner_init(&o, 0);
    assert_int_equal(crew_start(o.crew), 0);
    crew_end(o.crew);
    struct sender one = {.to = &o};
    send_all(&one);
    dropped = 0;
    crew_free(o.crew, count_drop);
    assert_int_equal(dropped, EACH);
    assert_int_equal(o.got, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_turn_at_a_time_and_nothing_lost),
        cmocka_unit_test(a_job_holds_up_no_turn),
        cmocka_unit_test(wakes_at_its_time),
        cmocka_unit_test(what_comes_late_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages between threads: none lost, none twice, the order of each sender kept. If this breaks,
 * an answer of the spooler reaches no session, or the wrong order of records reaches the disk. */
#include "relay/loop/inbox.h"
#include "relay/loop/private.h"
#include "relay/loop/worker.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SENDERS = 6, EACH = 20000 };

struct note {
    struct msg msg;
    unsigned sender, number;
};

struct side {
    struct loop *loop;
    struct inbox *inbox;
    struct port port;
    unsigned next[SENDERS]; /* the number expected of each sender */
    unsigned got, batches, batch_fill, disorder;
    struct side *forward_to;
    unsigned stop_at;
};

static void on_note(void *ctx, struct msg *m)
{
    struct side *s = ctx;
    struct note *n = (struct note *)(void *)m;
    if (n->number != s->next[n->sender]++)
        s->disorder++;
    s->got++;
    s->batch_fill++;
    if (s->forward_to)
        port_send(&s->forward_to->port, m);
    else
        free(n);
    if (s->got == s->stop_at)
        loop_stop(s->loop);
}

static void after_batch(void *ctx)
{
    struct side *s = ctx;
    s->batches++;
    if (s->batch_fill == 0)
        s->disorder++; /* called without a batch */
    s->batch_fill = 0;
}

static void side_init(struct side *s, const char *name, unsigned index)
{
    *s = (struct side){.loop = loop_new(name, index)};
    s->inbox = inbox_new(s->loop, after_batch, s);
    s->port = (struct port){.inbox = s->inbox, .fn = on_note, .ctx = s};
}

static void side_done(struct side *s)
{
    loop_join(s->loop);
    inbox_free(s->inbox, NULL);
    loop_free(s->loop);
}

struct sender {
    pthread_t thread;
    unsigned number;
    const struct port *to;
};

static void *send_many(void *arg)
{
    const struct sender *s = arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct note *n = calloc(1, sizeof *n);
        n->sender = s->number;
        n->number = i;
        port_send(s->to, &n->msg);
    }
    return NULL;
}

static void many_senders_two_loops(void **state)
{
    (void)state;
    struct side first, second;
    side_init(&first, "first", 0);
    side_init(&second, "second", 1);
    first.forward_to = &second;
    second.stop_at = SENDERS * EACH;
    assert_int_equal(loop_start(first.loop), 0);
    assert_int_equal(loop_start(second.loop), 0);
    struct sender senders[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.number = i, .to = &first.port};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_many, &senders[i]), 0);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    loop_join(second.loop); /* stops by itself when it has all */
    loop_stop(first.loop);
    side_done(&first);
    side_done(&second);
    assert_int_equal(first.got, SENDERS * EACH);
    assert_int_equal(second.got, SENDERS * EACH);
    assert_int_equal(first.disorder + second.disorder, 0);
    assert_true(first.batches > 0 && first.batches <= first.got);
    for (unsigned i = 0; i < SENDERS; i++)
        assert_int_equal(second.next[i], EACH);
}

static void sent_before_start_and_after_stop(void **state)
{
    (void)state;
    struct side s;
    side_init(&s, "s", 0);
    struct sender one = {.to = &s.port};
    s.stop_at = EACH;
    send_many(&one); /* nobody runs yet */
    assert_int_equal(loop_start(s.loop), 0);
    loop_join(s.loop);
    assert_int_equal(s.got, EACH);
    assert_int_equal(s.batches, 1); /* one wake-up for all of them */
    send_many(&one);                /* nobody runs any more: inbox_free gives them back */
    side_done(&s);
    assert_int_equal(s.got, EACH);
    assert_int_equal(s.disorder, 0);
}

static unsigned dropped;
static void count_drop(struct msg *m)
{
    dropped++;
    free(m);
}

static void stop_before_start(void **state)
{
    (void)state;
    struct side s;
    side_init(&s, "s", 0);
    loop_stop(s.loop);
    assert_int_equal(loop_start(s.loop), 0);
    loop_join(s.loop);
    struct sender one = {.to = &s.port};
    send_many(&one);
    dropped = 0;
    inbox_free(s.inbox, count_drop);
    loop_free(s.loop);
    assert_int_equal(dropped + s.got, EACH);
}

struct job {
    struct worker_job job;
    unsigned number;
    unsigned *ran;
    unsigned ran_as;
};

struct asker {
    struct loop *loop;
    unsigned answers, wrong;
};

static void run_job(struct worker_job *j)
{
    struct job *job = (struct job *)(void *)j;
    job->ran_as = (*job->ran)++;
}

static void on_answer(void *ctx, struct msg *m)
{
    struct asker *a = ctx;
    struct job *job = (struct job *)(void *)m;
    if (job->number != a->answers++ || job->ran_as != job->number || m->type != 7)
        a->wrong++;
    if (a->answers == 1000)
        loop_stop(a->loop);
    free(job);
}

static void worker_in_order(void **state)
{
    (void)state;
    struct asker a = {.loop = loop_new("asker", 0)};
    struct inbox *inbox = inbox_new(a.loop, NULL, NULL);
    struct port port = {.inbox = inbox, .fn = on_answer, .ctx = &a};
    struct worker *w = worker_new("worker");
    unsigned ran = 0;
    assert_int_equal(loop_start(a.loop), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct job *j = calloc(1, sizeof *j);
        j->job = (struct worker_job){.run = run_job, .reply = &port, .msg.type = 7};
        j->number = i;
        j->ran = &ran;
        worker_push(w, &j->job);
    }
    worker_free(w); /* finishes what was pushed */
    assert_int_equal(ran, 1000);
    loop_join(a.loop);
    inbox_free(inbox, NULL);
    loop_free(a.loop);
    assert_int_equal(a.answers, 1000);
    assert_int_equal(a.wrong, 0);
}

static void on_counted(void *ctx, struct msg *m)
{
    ++*(unsigned *)ctx;
    free(m);
}

static void count_wake(void *ctx)
{
    ++*(unsigned *)ctx;
}

/* A thread that sends many messages in one stretch wakes each receiver once; and nobody is
 * forgotten: a message without a wake-up is a client that never hears its 250. */
static void wakes_are_held_and_owed(void **state)
{
    enum { MANY = 40 };
    (void)state;
    unsigned wakes[MANY] = {0}, handled = 0;
    struct port ports[MANY];
    for (unsigned i = 0; i < MANY; i++)
        ports[i] = (struct port){inbox_of(count_wake, &wakes[i]), on_counted, &handled};
    port_send(&ports[0], calloc(1, sizeof(struct msg)));
    assert_int_equal(wakes[0], 1); /* outside of a stretch: at once */
    assert_true(inbox_hand_out(ports[0].inbox));
    inbox_hold_wakes();
    for (unsigned k = 0; k < 3; k++)
        port_send(&ports[1], calloc(1, sizeof(struct msg)));
    inbox_hold_wakes();
    port_send(&ports[2], calloc(1, sizeof(struct msg)));
    inbox_release_wakes();
    assert_int_equal(wakes[1] + wakes[2], 0);
    inbox_release_wakes();
    assert_int_equal(wakes[1], 1);
    assert_int_equal(wakes[2], 1);
    assert_true(inbox_hand_out(ports[1].inbox) && inbox_hand_out(ports[2].inbox));
    inbox_hold_wakes();
    for (unsigned i = 0; i < MANY; i++) /* more than anybody remembers */
        port_send(&ports[i], calloc(1, sizeof(struct msg)));
    inbox_release_wakes();
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(wakes[i], i < 3 ? 2 : 1);
        assert_true(inbox_hand_out(ports[i].inbox));
        inbox_free(ports[i].inbox, NULL);
    }
    assert_int_equal(handled, MANY + 5);
}

/* An owner that naps is woken once for all that comes meanwhile, hears all of it by itself, and the
 * first one behind a pause at once. */
static void a_nap_loses_nothing(void **state)
{
    enum { NAP_MS = 20, NOTES = 400 };
    (void)state;
    struct side s;
    side_init(&s, "napper", 0);
    inbox_nap(s.inbox, NAP_MS);
    s.stop_at = NOTES;
    assert_int_equal(loop_start(s.loop), 0);
    const struct mono begun = mono_now();
    for (unsigned i = 0; i < NOTES; i++) {
        struct note *n = calloc(1, sizeof *n);
        n->number = i;
        port_send(&s.port, &n->msg);
        usleep(200);
    }
    const int64_t took = mono_now().ms - begun.ms;
    side_done(&s); /* ends when it has all */
    assert_int_equal(s.got, NOTES);
    assert_int_equal(s.disorder, 0);
    assert_in_range(s.batches, 2, 2 * took / NAP_MS + 3); /* no nap when it is woken just then */
}

/* What lies in the inbox at the end goes to `drop`, and nothing else does. */
static void ends_in_the_middle_of_a_nap(void **state)
{
    (void)state;
    struct side s;
    side_init(&s, "napper", 0);
    inbox_nap(s.inbox, 10000);
    assert_int_equal(loop_start(s.loop), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct note *n = calloc(1, sizeof *n);
        n->number = i;
        port_send(&s.port, &n->msg);
        usleep(20000);
    }
    loop_stop(s.loop);
    loop_join(s.loop);
    struct note *late = calloc(1, sizeof *late);
    port_send(&s.port, &late->msg);
    dropped = 0;
    inbox_free(s.inbox, count_drop);
    loop_free(s.loop);
    assert_int_equal(s.got + dropped, 3);
    assert_in_range(dropped, 1, 2); /* the second one was heard when the loop was told to stop */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nap_loses_nothing),
        cmocka_unit_test(ends_in_the_middle_of_a_nap),
        cmocka_unit_test(wakes_are_held_and_owed),
        cmocka_unit_test(many_senders_two_loops),
        cmocka_unit_test(sent_before_start_and_after_stop),
        cmocka_unit_test(stop_before_start),
        cmocka_unit_test(worker_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Deadlines: called once, in order, never early. If this breaks, a session is cut in the middle of
 * a slow but honest dialogue, or a dead one is kept for ever. */
#include "relay/loop/loop.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = 5 };

struct world {
    struct loop *loop;
    struct deadline d[MANY], last;
    unsigned order[16], fired, early, closed, waited;
    struct mono wanted[MANY];
};

struct one {
    struct world *w;
    unsigned index;
};

static void on_one(void *ctx, struct mono now)
{
    const struct one *o = ctx;
    struct world *w = o->w;
    w->order[w->fired++ % 16] = o->index;
    if (now.ms < w->wanted[o->index].ms || loop_now(w->loop).ms != now.ms || mono_now().ms < now.ms)
        w->early++;
}

/* Where all of them came late, one that had been moved may come behind this one. */
static void on_last(void *ctx, struct mono now)
{
    struct world *w = ctx;
    if (w->fired < 4 && w->waited++ < 100)
        deadline_set(w->loop, &w->last, mono_add(now, 10));
    else
        loop_stop(w->loop);
}

/* ms: behind the loop's time, which stands still until it runs, whatever time the setting takes. */
static void set(struct world *w, unsigned i, int64_t ms)
{
    w->wanted[i] = mono_add(loop_now(w->loop), ms);
    deadline_set(w->loop, &w->d[i], w->wanted[i]);
}

static void fire_in_order(void **state)
{
    (void)state;
    struct world w = {.loop = loop_new("deadlines", 0)};
    struct one ones[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        ones[i] = (struct one){&w, i};
        deadline_init(w.loop, &w.d[i], on_one, &ones[i]);
    }
    deadline_init(w.loop, &w.last, on_last, &w);
    set(&w, 0, 60);
    set(&w, 1, 20);
    set(&w, 2, 10);
    set(&w, 2, 90); /* to later */
    set(&w, 3, 5000);
    set(&w, 3, 40); /* to earlier */
    set(&w, 4, 30);
    deadline_set(w.loop, &w.d[4], MONO_NEVER);
    deadline_set(w.loop, &w.last, mono_add(loop_now(w.loop), 150));
    loop_run_here(w.loop);
    static const unsigned expected[] = {1, 3, 0, 2};
    assert_int_equal(w.fired, 4);
    assert_int_equal(w.early, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(w.order[i], expected[i]);
    loop_free(w.loop);
}

static void on_again(void *ctx, struct mono now)
{
    struct world *w = ctx;
    if (++w->fired < 3)
        deadline_set(w->loop, &w->d[0], mono_add(now, 5));
    else
        loop_stop(w->loop);
}

static void on_closed(void *ctx)
{
    struct world *w = ctx;
    w->closed++;
}

static void again_and_close(void **state)
{
    (void)state;
    struct world w = {.loop = loop_new("again", 3)};
    assert_int_equal(loop_index(w.loop), 3);
    deadline_init(w.loop, &w.d[0], on_again, &w);
    deadline_init(w.loop, &w.d[1], on_again, &w);
    deadline_set(w.loop, &w.d[0], mono_now()); /* a moment that has come already */
    deadline_set(w.loop, &w.d[1], mono_now());
    deadline_close(&w.d[1], on_closed); /* never fires */
    loop_run_here(w.loop);
    assert_int_equal(w.fired, 3);
    assert_int_equal(w.closed, 1);
    deadline_close(&w.d[0], on_closed); /* the loop has closed its timer long ago */
    assert_int_equal(w.closed, 2);
    loop_free(w.loop);
}

/* A peer and its session on a loop that stands still for longer than the peer has. */
struct stall {
    struct loop *loop;
    struct deadline patience, behind;
    uv_poll_t begin, peer;
    int begin_fds[2], peer_fds[2];
    char story[8];
    unsigned n;
    bool moves;
};

static void on_begin(uv_poll_t *p, int status, int events)
{
    struct stall *s = p->data;
    const struct mono now = loop_now(s->loop);
    (void)status, (void)events;
    uv_poll_stop(p);
    deadline_set(s->loop, &s->patience, mono_add(now, 5));
    deadline_set(s->loop, &s->behind, mono_add(now, 190)); /* late too, by less */
    assert_int_equal(write(s->peer_fds[1], "x", 1), 1);
    usleep(200000);
}

static void on_patience(void *ctx, struct mono now)
{
    struct stall *s = ctx;
    (void)now;
    s->story[s->n++] = 'p';
}

static void on_behind(void *ctx, struct mono now)
{
    struct stall *s = ctx;
    (void)now;
    s->story[s->n++] = 'b';
    loop_stop(s->loop);
}

static void on_peer(uv_poll_t *p, int status, int events)
{
    struct stall *s = p->data;
    (void)status, (void)events;
    s->story[s->n++] = 'x';
    uv_poll_stop(p);
    if (s->moves)
        deadline_set(s->loop, &s->patience, mono_add(loop_now(s->loop), 3600000));
}

static void hear(struct stall *s, uv_poll_t *p, int *fds, uv_poll_cb fn)
{
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(uv_poll_init(loop_uv(s->loop), p, fds[0]), 0);
    p->data = s;
    assert_int_equal(uv_poll_start(p, UV_READABLE, fn), 0);
}

/* The answer that had come in time counts, whatever the machine did; who is silent is over all the
 * same, and nobody is overtaken. */
static void what_came_meanwhile_is_heard_first(void **state)
{
    (void)state;
    for (int moves = 0; moves < 2; moves++) {
        struct stall s = {.loop = loop_new("stall", 0), .moves = moves};
        deadline_init(s.loop, &s.patience, on_patience, &s);
        deadline_init(s.loop, &s.behind, on_behind, &s);
        hear(&s, &s.begin, s.begin_fds, on_begin);
        hear(&s, &s.peer, s.peer_fds, on_peer);
        assert_int_equal(write(s.begin_fds[1], "x", 1), 1);
        loop_run_here(s.loop);
        assert_string_equal(s.story, moves ? "xb" : "xpb");
        loop_free(s.loop);
        for (int i = 0; i < 2; i++) {
            close(s.begin_fds[i]);
            close(s.peer_fds[i]);
        }
    }
}

struct part {
    struct loop_part part;
    struct world *w;
    unsigned ended, freed;
};
static char key, other_key;

/* What a room does at the end: closes its own, and even asks for something new. */
static void part_end(struct loop_part *p)
{
    struct part *part = (struct part *)(void *)p;
    part->ended++;
    deadline_close(&part->w->d[0], on_closed);
    deadline_init(part->w->loop, &part->w->d[2], on_again, part->w);
    deadline_set(part->w->loop, &part->w->d[2], mono_add(mono_now(), 60000));
}

static void part_free(struct loop_part *p)
{
    struct part *part = (struct part *)(void *)p;
    part->freed++;
}

static void ends_with_open_handles(void **state)
{
    (void)state;
    for (int started = 0; started < 2; started++) {
        struct world w = {.loop = loop_new("end", 0)};
        struct part p = {.part = {.key = &key, .end = part_end, .free = part_free}, .w = &w};
        loop_part_add(w.loop, &p.part);
        assert_ptr_equal(loop_part_find(w.loop, &key), &p.part);
        assert_null(loop_part_find(w.loop, &other_key));
        deadline_init(w.loop, &w.d[0], on_again, &w);
        deadline_init(w.loop, &w.d[1], on_again, &w);
        deadline_set(w.loop, &w.d[1], mono_add(mono_now(), 60000));
        if (started) {
            assert_int_equal(loop_start(w.loop), 0);
            loop_stop(w.loop);
            loop_join(w.loop);
            assert_int_equal(w.closed, 1);
        }
        loop_free(w.loop);
        assert_int_equal(w.closed, 1);
        assert_int_equal(p.ended, 1);
        assert_int_equal(p.freed, 1);
        assert_int_equal(w.fired, 0);
    }
}

static void look_at_signals(void *ctx, struct mono now)
{
    struct world *w = ctx;
    sigset_t mask;
    (void)now;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    w->fired = (unsigned)(sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1 &&
                          sigismember(&mask, SIGSEGV) == 0);
    loop_stop(w->loop);
}

/* SIGTERM must reach the main thread, which waits for it. */
static void no_signals_in_loops(void **state)
{
    (void)state;
    struct world w = {.loop = loop_new("signals", 0)};
    deadline_init(w.loop, &w.d[0], look_at_signals, &w);
    deadline_set(w.loop, &w.d[0], mono_now());
    assert_int_equal(loop_start(w.loop), 0);
    loop_join(w.loop);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
    assert_int_equal(w.fired, 1);
    loop_free(w.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fire_in_order),
        cmocka_unit_test(again_and_close),
        cmocka_unit_test(what_came_meanwhile_is_heard_first),
        cmocka_unit_test(ends_with_open_handles),
        cmocka_unit_test(no_signals_in_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

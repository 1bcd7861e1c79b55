/*
 * The main loop: signals, and the orderly end in stages, each with its time:
 *   sessions end (a message whose final dot has come is answered) -> deliveries under way end ->
 * everything is durable -> loops stop.
 */
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/house.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define SESSIONS_MS 10000
#define DELIVERIES_MS 10000
#define FLUSH_MS 10000
#define TICK_MS 20

enum { RUNNING, SESSIONS, DELIVERIES, FLUSH, OVER };

static void control(struct house *h, int what)
{
    struct spooler_control *c = must_alloc(sizeof *c);
    c->msg.type = SPOOLER_CONTROL;
    c->reply = &h->port;
    c->what = (__typeof__(c->what))what;
    port_send(spooler_port(h->spooler), &c->msg);
}

static void mask(int signum, int how)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signum);
    MUST(pthread_sigmask(how, &one, NULL) == 0);
}

/* libuv gives a signal that nobody watches its default back, which is to die: in the middle of the
 * end, by who asks for it a second time, or has the log opened anew. One that comes between the two
 * waits, blocked here as in all other threads, and is dropped with what is ignored. */
static void ignore(uv_signal_t *s)
{
    const int signum = s->signum;
    mask(signum, SIG_BLOCK);
    uv_signal_stop(s);
    signal(signum, SIG_IGN);
}

static void end_loop(struct house *h)
{
    ignore(&h->on_term);
    ignore(&h->on_int);
    ignore(&h->on_hup);
    loop_stop(h->loop);
}

static void enter(struct house *h, int stage, int64_t at_most_ms)
{
    h->stage = stage;
    h->give_up = mono_add(loop_now(h->loop), at_most_ms);
    if (stage == SESSIONS)
        house_drain(h);
    else if (stage == DELIVERIES)
        control(h, SPOOLER_PAUSE);
    else if (stage == FLUSH)
        house_note(h, EVENT_SERVICE_STOPPED), control(h, SPOOLER_FLUSH);
    else
        end_loop(h);
}

static void next_stage(struct house *h)
{
    static const int64_t times[] = {
        [SESSIONS] = SESSIONS_MS, [DELIVERIES] = DELIVERIES_MS, [FLUSH] = FLUSH_MS, [OVER] = 0};
    enter(h, h->stage + 1, times[h->stage + 1]);
}

static void on_tick(void *ctx, struct mono now)
{
    struct house *h = ctx;
    if (h->stage == OVER)
        return;
    bool quiet = h->stage == SESSIONS && inbound_shared_sessions(h->shared) == 0;
    if (quiet || mono_reached(h->give_up, now))
        next_stage(h);
    deadline_set(h->loop, &h->tick, mono_add(now, TICK_MS));
}

/* The spooler has answered: paused, or flushed. An answer that comes after its stage is old news.
 */
void house_on_msg(void *ctx, struct msg *m)
{
    struct house *h = ctx;
    struct spooler_control *c = (struct spooler_control *)m;
    if ((c->what == SPOOLER_PAUSE && h->stage == DELIVERIES) ||
        (c->what == SPOOLER_FLUSH && h->stage == FLUSH))
        next_stage(h);
    free(c);
}

static void on_stop(uv_signal_t *s, int signum)
{
    struct house *h = s->data;
    LOG(LV_INFO, "stopping", LOG_N("signal", signum));
    if (h->stage == RUNNING) {
        next_stage(h);
        deadline_set(h->loop, &h->tick, mono_add(loop_now(h->loop), TICK_MS));
    }
}

static void on_reload(uv_signal_t *s, int signum)
{
    struct house *h = s->data;
    struct err e = {0};
    (void)signum;
    if (h->stage == RUNNING && house_reload(h, &e) < 0)
        LOG(LV_ERROR, "reload_refused", LOG_S("problem", e.text));
    events_reopen(h->events);
}

void house_ask_stop(void)
{
    kill(getpid(), SIGTERM);
}

static void watch(struct house *h, uv_signal_t *s, int signum,
                  void (*fn)(uv_signal_t *s, int signum))
{
    MUST(uv_signal_init(loop_uv(h->loop), s) == 0);
    s->data = h;
    MUST(uv_signal_start(s, fn, signum) == 0);
}

static void on_look(void *ctx, struct mono now)
{
    house_look(ctx, now);
}

void house_hold_reloads(void)
{
    mask(SIGHUP, SIG_BLOCK);
}

void house_watch(struct house *h)
{
    watch(h, &h->on_term, SIGTERM, on_stop);
    watch(h, &h->on_int, SIGINT, on_stop);
    watch(h, &h->on_hup, SIGHUP, on_reload);
    mask(SIGHUP, SIG_UNBLOCK);
}

void house_run(struct house *h)
{
    deadline_init(h->loop, &h->tick, on_tick, h);
    deadline_init(h->loop, &h->look, on_look, h);
    house_look(h, loop_now(h->loop));
    loop_run_here(h->loop);
}

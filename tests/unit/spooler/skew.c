/* Promise 9: the wall clock is set by a day, and no message waits for it. */
#include "relay/spooler/core.h"
#include "relay/spooler/requests.h"
#include "tests/unit/queue/kit.h"

enum { MAILS = 1200 };

struct world {
    struct fake_disk *disk;
    struct spool *spool;
    struct core *core;
    struct wall now;
    struct mono mono;
};

static void open_world(struct world *w)
{
    struct core_conf conf = {.retry = {{600}, 1, 0}, .lifetime_s = 5 * 86400, .loops = 1};
    w->core = core_new(w->spool, &conf, w->now, w->mono);
}

static void pump(struct world *w)
{
    struct core_action a;
    struct err e = {0};
    core_time(w->core, w->now, w->mono);
    while (core_next(w->core, &a)) {
        if (a.act == CORE_BATCH) {
            core_batch_run(a.batch, NULL, NULL);
            core_batch_done(w->core, a.batch, &e);
        } else if (a.act == CORE_TASK) {
            spool_task_run(a.task);
            core_task_done(w->core, a.task);
        } else if (a.act == CORE_SEND) {
            spooler_order_free(a.msg);
        }
    }
}

/* Each was tried once, the last time now, and waits ten minutes. */
static struct world new_world(void)
{
    struct world w = {.disk = fake_disk_new(1), .now = NOW, .mono = {1000}};
    w.spool = kit_open(w.disk, 4 << 20, NULL);
    for (int i = 0; i < MAILS; i++) {
        struct message *m;
        struct rcpt_change c = {.attempts = 1, .due = wall_add_s(w.now, 600)};
        kit_put(w.spool, w.now, 1, 10, &m);
        spool_change(w.spool, m, &c, 1, w.now, NULL, 0);
    }
    assert_int_equal(kit_commit(w.spool, NULL, NULL, NULL), 0);
    open_world(&w);
    pump(&w);
    return w;
}

static void world_done(struct world *w)
{
    core_free(w->core);
    spool_close(w->spool);
    fake_disk_free(w->disk);
}

static int64_t longest_wait_s(struct world *w)
{
    int64_t longest = 0;
    for (struct message *m = spool_after(w->spool, 0); m; m = spool_after(w->spool, m->id)) {
        int64_t wait = (m->rcpts[0].due.us - w->now.us) / WALL_SECOND;
        longest = wait > longest ? wait : longest;
    }
    return longest;
}

static void set_back_while_running(void **state)
{
    (void)state;
    struct world w = new_world();
    struct wall wall;
    struct mono mono;
    assert_int_equal(longest_wait_s(&w), 600);
    w.now.us -= 86400 * WALL_SECOND;
    w.mono.ms += 5;
    pump(&w);
    /* One step is bounded; it is asked for again at once until all has been seen. */
    assert_true(longest_wait_s(&w) > 86400);
    for (int i = 0; i < 4; i++) {
        core_deadline(w.core, &wall, &mono);
        if (!mono_reached(mono, w.mono))
            break;
        pump(&w);
    }
    core_deadline(w.core, &wall, &mono);
    assert_false(mono_reached(mono, w.mono));
    assert_int_equal(longest_wait_s(&w), 1200);
    assert_true(wall.us <= wall_add_s(w.now, 1200).us);
    world_done(&w);
}

static void set_back_in_small_steps(void **state)
{
    (void)state;
    struct world w = new_world();
    for (int i = 0; i < 3600; i++) { /* an hour, a second a second */
        w.now.us -= WALL_SECOND;
        w.mono.ms += 1;
        pump(&w);
    }
    assert_true(longest_wait_s(&w) <= 1200 + 31);
    world_done(&w);
}

static void ordinary_time_changes_nothing(void **state)
{
    (void)state;
    struct world w = new_world();
    struct wall due = spool_after(w.spool, 0)->rcpts[0].due;
    for (int i = 0; i < 500; i++) {
        w.now.us += WALL_SECOND / 2 + (i % 3 - 1) * 1000;
        w.mono.ms += 500;
        pump(&w);
    }
    w.now.us += 100 * WALL_SECOND; /* set forward: nothing is moved, it only comes earlier */
    pump(&w);
    assert_int_equal(spool_after(w.spool, 0)->rcpts[0].due.us, due.us);
    world_done(&w);
}

static void set_back_while_stopped(void **state)
{
    (void)state;
    struct world w = new_world();
    core_free(w.core);
    spool_close(w.spool);
    w.now.us -= 86400 * WALL_SECOND;
    w.spool = kit_open(w.disk, 4 << 20, NULL);
    open_world(&w);
    assert_int_equal(longest_wait_s(&w), 1200);
    world_done(&w);
}

/* One that was due, handed out, and comes back untried is still due. */
static void set_back_while_with_a_connection(void **state)
{
    (void)state;
    struct world w = {.disk = fake_disk_new(1), .now = NOW, .mono = {1000}};
    struct core_action a;
    struct message *m;
    w.spool = kit_open(w.disk, 4 << 20, NULL);
    kit_put(w.spool, w.now, 1, 10, &m);
    assert_int_equal(kit_commit(w.spool, NULL, NULL, NULL), 0);
    open_world(&w);
    pump(&w);
    struct spooler_plan *p = must_alloc(sizeof *p);
    p->msg.type = SPOOLER_PLAN;
    p->domain = buf_of(SLICE_LIT("example.com"));
    p->site = buf_of(SLICE_LIT("mx"));
    p->destination = buf_of(SLICE_LIT("default"));
    p->limits = (struct sched_limits){
        .connections = 1, .messages_per_connection = 1, .recipients_per_message = 1};
    p->ttl_ms = 3600 * 1000;
    core_message(w.core, &p->msg);
    uint64_t conn = 0;
    while (core_next(w.core, &a)) {
        if (a.act == CORE_READ) {
            core_read_run(a.read);
            core_read_done(w.core, a.read);
        } else if (a.act == CORE_SEND) {
            conn = ((struct out_work *)(void *)a.msg)->conn;
            spooler_order_free(a.msg);
        }
    }
    assert_true(conn && m->rcpts[0].active);
    w.now.us -= 86400 * WALL_SECOND;
    w.mono.ms += 5;
    pump(&w);
    struct spooler_conn_gone *g = must_alloc(sizeof *g);
    g->msg.type = SPOOLER_CONN_GONE;
    g->conn = conn;
    core_message(w.core, &g->msg);
    assert_false(m->rcpts[0].active);
    assert_true(m->rcpts[0].due.us <= w.now.us);
    world_done(&w);
}

/* Stored, but not durable yet when the clock is set back: the walk over the queue finds it outside
 * of the scheduler. */
static void set_back_while_on_its_way_to_the_disk(void **state)
{
    (void)state;
    struct world w = {.disk = fake_disk_new(1), .now = NOW, .mono = {1000}};
    static const struct envelope_rcpt rcpt = {.address = {(const uint8_t *)"r@a.test", 8}};
    struct core_action a;
    struct err e = {0};
    w.spool = kit_open(w.disk, 4 << 20, NULL);
    open_world(&w);
    core_time(w.core, w.now, w.mono);
    struct spooler_store *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_STORE;
    q->id = 1 << 20;
    q->body = kit_body(1, 10);
    q->envelope = (struct envelope){.sender = SLICE_LIT("a@x"), .rcpts = &rcpt, .n_rcpts = 1};
    core_message(w.core, &q->msg);
    assert_true(core_next(w.core, &a) && a.act == CORE_BATCH);
    w.now.us -= 86400 * WALL_SECOND;
    w.mono.ms += 5;
    core_time(w.core, w.now, w.mono);
    core_batch_run(a.batch, NULL, NULL);
    assert_int_equal(core_batch_done(w.core, a.batch, &e), 0);
    core_settle(w.core);
    assert_int_equal(longest_wait_s(&w), 0);
    bool asked = false;
    while (core_next(w.core, &a)) {
        asked = asked || (a.act == CORE_SEND && a.msg->type == OUT_RESOLVE);
        if (a.act == CORE_SEND)
            spooler_order_free(a.msg);
        else if (a.act == CORE_ANSWER)
            spooler_request_free(a.msg);
    }
    assert_true(asked);
    world_done(&w);
}

/* What its sender wants to go tomorrow does not go today because the clock was set back; nor later
 * than he said. */
static void set_back_before_a_release(void **state)
{
    (void)state;
    struct world w = {.disk = fake_disk_new(1), .now = NOW, .mono = {1000}};
    static const struct envelope_rcpt rcpt = {.address = {(const uint8_t *)"r@a.test", 8}};
    const struct wall release = wall_add_s(NOW, 86400);
    w.spool = kit_open(w.disk, 4 << 20, NULL);
    const struct envelope e = {
        .sender = SLICE_LIT("a@x"), .rcpts = &rcpt, .n_rcpts = 1, .size = 10, .release = release};
    struct spool_event_in ev = {EVENT_ACCEPTED, SLICE_NONE};
    struct message *m;
    const uint64_t id = spool_new_id(w.spool, w.now);
    spool_put(w.spool, id, &e, kit_body(id, 10), false, w.now, &ev, 1, &m);
    assert_int_equal(kit_commit(w.spool, NULL, NULL, NULL), 0);
    open_world(&w);
    pump(&w);
    assert_int_equal(m->rcpts[0].due.us, release.us);
    w.now.us -= 2 * 86400 * WALL_SECOND;
    w.mono.ms += 5;
    pump(&w);
    assert_int_equal(m->rcpts[0].due.us, release.us);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_back_while_running),
        cmocka_unit_test(set_back_in_small_steps),
        cmocka_unit_test(set_back_while_with_a_connection),
        cmocka_unit_test(set_back_while_on_its_way_to_the_disk),
        cmocka_unit_test(ordinary_time_changes_nothing),
        cmocka_unit_test(set_back_while_stopped),
        cmocka_unit_test(set_back_before_a_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

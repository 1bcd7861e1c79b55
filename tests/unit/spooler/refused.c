/* Large content whose STORE is refused leaves the disk at once: a full disk is when it matters. */
#include "relay/spooler/core.h"
#include "relay/spooler/requests.h"
#include "tests/unit/queue/kit.h"

static const struct envelope_rcpt rcpt = {.address = {(const uint8_t *)"r@a.test", 8}};

struct world {
    struct fake_disk *disk;
    struct spool *spool;
    struct core *core;
    int answer;
};

static void pump(struct world *w)
{
    struct core_action a;
    struct err e = {0};
    core_time(w->core, NOW, (struct mono){1000});
    while (core_next(w->core, &a)) {
        if (a.act == CORE_BATCH) {
            core_batch_run(a.batch, NULL, NULL);
            core_batch_done(w->core, a.batch, &e);
        } else if (a.act == CORE_TASK) {
            spool_task_run(a.task);
            core_task_done(w->core, a.task);
        } else if (a.act == CORE_ANSWER) {
            w->answer = ((struct spooler_store *)(void *)a.msg)->error;
            spooler_request_free(a.msg);
        } else {
            spooler_order_free(a.msg);
        }
    }
}

static void store_large(struct world *w, uint64_t dsn_for)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    struct spool_body_file *f;
    q->msg.type = SPOOLER_STORE;
    q->id = spool_new_id(w->spool, NOW);
    q->envelope = (struct envelope){.size = 4, .dsn_for = dsn_for, .rcpts = &rcpt, .n_rcpts = 1};
    assert_int_equal(spool_body_create(fake_disk_ops(w->disk), q->id, &f), 0);
    assert_int_equal(spool_body_write(f, SLICE_LIT("body")), 0);
    assert_int_equal(spool_body_finish(f), 0);
    core_time(w->core, NOW, (struct mono){1000});
    core_message(w->core, &q->msg);
    pump(w);
}

static void refused_content_is_removed(void **state)
{
    (void)state;
    struct world w = {.disk = fake_disk_new(1)};
    struct core_conf conf = {.retry = {{60}, 1, 0}, .lifetime_s = 86400, .loops = 1};
    w.spool = kit_open(w.disk, 64 * 1024, NULL);
    w.core = core_new(w.spool, &conf, NOW, (struct mono){1000});
    store_large(&w, 0);
    assert_int_equal(w.answer, 0);
    assert_int_equal(fake_disk_count(w.disk, "body"), 1);
    store_large(&w, 4711); /* a report that nobody waits for */
    assert_int_equal(w.answer, -ESTALE);
    assert_int_equal(fake_disk_count(w.disk, "body"), 1);
    core_set_full(w.core, "no room");
    store_large(&w, 0);
    assert_int_equal(w.answer, -ENOSPC);
    assert_int_equal(fake_disk_count(w.disk, "body"), 1);
    core_free(w.core);
    spool_close(w.spool);
    fake_disk_free(w.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused_content_is_removed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is of which batch: if this breaks, a client is answered twice or by a store that is not on
 * the disk, a burst fills the memory, or mail that was to be held goes out. */
#include "tests/unit/spooler/world.h"

static struct spooler_store *told[4];
static size_t n_told;

static void tell(void *ctx, const struct port *reply, struct msg *m)
{
    (void)ctx;
    (void)reply;
    assert_true(n_told < 4);
    told[n_told++] = (struct spooler_store *)(void *)m;
}

/* The next batch goes out before the last one's stores are settled: they are not in it. */
static void a_store_is_of_one_batch(void **state)
{
    struct world *w = *state;
    struct err e = {0};
    w->hold = true;
    n_told = 0;
    store(w, "a@x.test", 1, 0, 0);
    pump(w);
    struct core_batch *first = w->held;
    w->held = NULL;
    core_batch_run(first, NULL, NULL);
    uint64_t second = store(w, "b@x.test", 1, 0, 0);
    assert_int_equal(core_batch_done(w->core, first, &e), 0);
    pump(w);
    assert_non_null(w->held);
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_STORE)); /* the first one's */
    forget(w);
    assert_int_equal(core_batch_run(w->held, tell, NULL), 0);
    assert_int_equal(n_told, 1);
    assert_true(told[0]->id == second);
    spooler_request_free(&told[0]->msg);
    assert_int_equal(core_batch_done(w->core, w->held, &e), 0);
    w->held = NULL;
    w->hold = false;
    pump(w);
    forget(w);
}

enum { LARGE = 250000 }; /* four to a segment of this world */

static struct spooler_store *store_large(struct world *w, const struct envelope *e)
{
    struct spooler_store *q = must_alloc(sizeof *q);
    q->id = w->last_id = queue_id_next(w->last_id, w->now);
    q->envelope = *e;
    q->envelope.size = LARGE;
    q->body = body_new(LARGE);
    memset(q->body->bytes, 'x', LARGE);
    return q;
}

static const struct envelope to_one = {
    .sender = {(const uint8_t *)"a@x.test", 8}, .rcpts = rcpts, .n_rcpts = 1};

/* Mail for a place that cannot be looked up waits on the disk, not in memory. */
static void fresh_content_is_bounded(void **state)
{
    struct world *w = *state;
    uint64_t messages, memory;
    for (int i = 0; i < 80; i++) {
        give(w, store_large(w, &to_one), SPOOLER_STORE);
        if (i % 16 == 15) {
            pump(w);
            forget(w);
        }
    }
    core_weight(w->core, &messages, &memory);
    assert_int_equal(messages, 80);
    assert_true(memory > CORE_FRESH_MAX / 2 && memory < CORE_FRESH_MAX + (1u << 20));
}

/* 92: a message that is to be held from the start has come to the disk, and what holds it goes with
 * the next batch: nobody takes it back in between, whatever time it is. */
static void a_held_message_in_two_batches(void **state)
{
    enum { N = 1000, BATCH = 32 };
    struct world *w = *state;
    struct envelope_rcpt many[N];
    char texts[N][16];
    for (int i = 0; i < N; i++) {
        snprintf(texts[i], sizeof texts[i], "r%d@a.test", i);
        many[i] = (struct envelope_rcpt){.address = slice_str(texts[i])};
    }
    core_set_events(w->core, NULL, NULL); /* more than there is room for */
    w->hold = true;
    for (int i = 0; i < BATCH - 1; i++)
        give(w, store_large(w, &to_one), SPOOLER_STORE);
    struct envelope e = to_one;
    e.rcpts = many;
    e.n_rcpts = N;
    struct spooler_store *held = store_large(w, &e);
    const uint64_t id = held->id;
    held->held = true;
    held->asked = w->mono;
    held->patience_ms = 1000;
    give(w, held, SPOOLER_STORE);
    pump(w);
    struct core_batch *first = w->held;
    w->held = NULL;
    batch_done(w, first);
    pump(w);
    forget(w);
    assert_non_null(w->held); /* the rest of what holds it */
    assert_true(spool_find(w->spool, id)->durable);
    pass(w, 2000);
    pump(w);
    assert_null(seen(w, CORE_ANSWER, SPOOLER_STORE));
    w->hold = false;
    batch_done(w, w->held);
    w->held = NULL;
    pump(w);
    assert_non_null(seen(w, CORE_ANSWER, SPOOLER_STORE));
    assert_ptr_equal(seen(w, CORE_ANSWER, SPOOLER_STORE)->msg, &held->msg);
    assert_int_equal(held->error, 0);
    forget(w);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_store_is_of_one_batch),
        TEST(fresh_content_is_bounded),
        TEST(a_held_message_in_two_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * What a queued message costs in memory, and that nothing is lost by keeping it small: a million
 * waiting messages must fit, and a bound that is passed unnoticed is a server without memory.
 */
#include "queue/fold.h"
#include "queue/sched.h"
#include "tests/unit/queue/kit.h"
#include <malloc.h>

enum { MESSAGES = 20000, BYTES_MAX = 300, SENDERS = 100, BATCH = 500 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MALLOC_IS_GLIBC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MALLOC_IS_GLIBC 0
#endif
#endif
#ifndef MALLOC_IS_GLIBC
#define MALLOC_IS_GLIBC 1
#endif

/* --- bytes a message -----------------------------------------------------------------------------
 */

/* A 25-byte address, a 45-byte Message-ID; the content is not what is measured here. */
static struct message *put_typical(struct spool *s, unsigned i)
{
    char address[40], message_id[60], sender[40];
    snprintf(address, sizeof address, "u%07u@%04u.example.org", i, i % 1000);
    snprintf(message_id, sizeof message_id, "<%09u.0123456789abcdef0123@host.example>", i);
    snprintf(sender, sizeof sender, "sender%u@example.net", i % SENDERS);
    assert_int_equal(strlen(address), 25);
    assert_int_equal(strlen(message_id), 45);
    struct envelope_rcpt rcpt = {.address = slice_str(address)};
    struct envelope e = {.sender = slice_str(sender),
                         .user = SLICE_LIT("app"),
                         .client_ip = SLICE_LIT("192.0.2.1"),
                         .client_helo = SLICE_LIT("client.example.net"),
                         .listener = SLICE_LIT("submission"),
                         .session_id = SLICE_LIT("0123456789ab"),
                         .auth_mech = SLICE_LIT("SCRAM-SHA-256"),
                         .message_id = slice_str(message_id),
                         .rcpts = &rcpt,
                         .n_rcpts = 1};
    struct message *m;
    spool_put(s, spool_new_id(s, NOW), &e, NULL, false, NOW, NULL, 0, &m);
    return m;
}

static void commit_and_schedule(struct spool *s, struct sched *sched, struct message **m, size_t n)
{
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    for (size_t i = 0; i < n; i++)
        sched_add(sched, &m[i]->rcpts[0]);
}

static void fill(struct spool *s, struct sched *sched)
{
    struct message *m[BATCH];
    for (unsigned i = 0; i < MESSAGES; i++) {
        m[i % BATCH] = put_typical(s, i);
        if (i % BATCH == BATCH - 1)
            commit_and_schedule(s, sched, m, BATCH);
    }
}

/* Each is tried once and waits: a few hosts, each with its words. */
static void defer_all(struct spool *s, struct sched *sched)
{
    struct verdict v = {.kind = VERDICT_DEFERRED, .code = 450, .enhanced = {4, 2, 1}};
    verdict_set_text(&v, SLICE_LIT("Mailbox busy, try again later"));
    unsigned i = 0;
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id), i++) {
        char host[40];
        snprintf(host, sizeof host, "mx%u.example.org", i % 50);
        sched_remove(sched, &m->rcpts[0]);
        struct rcpt_change c = {.attempts = 1,
                                .due = wall_add_s(NOW, 600 + i),
                                .last_attempt = NOW,
                                .verdict = &v,
                                .host = host};
        spool_change(s, m, &c, 1, NOW, NULL, 0);
        sched_add(sched, &m->rcpts[0]);
    }
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    verdict_done(&v);
}

static void check_cost(const struct spool *s, const struct sched *sched, const char *when)
{
    uint64_t bytes = spool_memory(s) + sched_memory(sched);
    if (bytes > (uint64_t)MESSAGES * BYTES_MAX)
        print_error("%s: %llu bytes a message\n", when, (unsigned long long)bytes / MESSAGES);
    assert_true(bytes <= (uint64_t)MESSAGES * BYTES_MAX);
    assert_true(bytes >= (uint64_t)MESSAGES * 200); /* it is counted at all */
}

static void take_in(struct spool *s, struct sched *sched)
{
    for (struct message *m = spool_after(s, 0); m; m = spool_after(s, m->id))
        sched_add(sched, &m->rcpts[0]);
}

static void finish_all(struct spool *s, struct sched *sched)
{
    struct rcpt_change c = {.state = RCPT_DELIVERED, .attempts = 1, .last_attempt = NOW};
    for (struct message *m; (m = spool_after(s, 0));) {
        uint64_t last = 0;
        for (; m; m = spool_after(s, last)) {
            last = m->id;
            sched_remove(sched, &m->rcpts[0]);
            spool_change(s, m, &c, 1, NOW, NULL, 0);
        }
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
}

static void test_bytes_a_message(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, 1024 * 1024, NULL);
    struct sched *sched = sched_new(1, 1);
    uint64_t empty = spool_memory(s);
    fill(s, sched);
    check_cost(s, sched, "fresh");
    defer_all(s, sched);
    check_cost(s, sched, "tried");
    sched_free(sched);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_ALL);
    s = kit_open(d, 1024 * 1024, NULL);
    sched = sched_new(1, 1);
    take_in(s, sched);
    check_cost(s, sched, "opened again");
    finish_all(s, sched);
    assert_true(spool_memory(s) <= empty + 64 * 1024); /* and it comes back */
    sched_free(sched);
    spool_close(s);
    fake_disk_free(d);
}

/* What is counted is what malloc has given away. The fold alone, so that no disk is in between. */
static void test_counted_is_true(void **state)
{
    (void)state;
    if (!MALLOC_IS_GLIBC)
        skip();
    struct mallinfo2 before = mallinfo2();
    struct fold f = {0};
    struct segment g = {.number = 1};
    struct buf envelope = BUF_MAX(1000);
    for (unsigned i = 0; i < MESSAGES; i++) {
        char address[40], sender[40];
        snprintf(address, sizeof address, "u%07u@%04u.example.org", i, i % 1000);
        snprintf(sender, sizeof sender, "sender%u@example.net", i);
        struct envelope_rcpt rcpt = {.address = slice_str(address)};
        struct envelope e = {.sender = slice_str(sender), .rcpts = &rcpt, .n_rcpts = 1};
        buf_reset(&envelope);
        envelope_write(&envelope, &e);
        struct message_record r = {.id = i + 1, .envelope = buf_slice(&envelope)};
        fold_home(&f, fold_message(&f, &r), &g, 8192, 400);
    }
    struct mallinfo2 after = mallinfo2();
    uint64_t given = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    uint64_t counted = fold_memory(&f);
    assert_true(given <= counted + counted / 50 && counted <= given + given / 50);
    fold_done(&f);
    fold_segment_done(&f, &g);
    assert_int_equal(fold_memory(&f), 0);
    buf_done(&envelope);
}

/* --- bounds --------------------------------------------------------------------------------------
 */

/* Recipient 65,534 is not recipient 65,534 - 65,536. */
static void test_most_recipients(void **state)
{
    (void)state;
    enum { N = SPOOL_MESSAGE_MAX_RCPTS };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, 8 * 1024 * 1024, NULL);
    struct sched *sched = sched_new(1, 1);
    struct envelope_rcpt *rcpts = must_alloc(N * sizeof *rcpts);
    char(*names)[24] = must_alloc(N * sizeof *names);
    for (unsigned i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "r%u@example.org", i);
        rcpts[i].address = slice_str(names[i]);
    }
    rcpts[N - 1].orcpt = SLICE_LIT("rfc822;last@example.org");
    struct envelope e = {.sender = SLICE_LIT("a@b"), .rcpts = rcpts, .n_rcpts = N};
    struct message *m;
    uint64_t id = spool_new_id(s, NOW);
    spool_put(s, id, &e, kit_body(id, 10), false, NOW, NULL, 0, &m);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    for (unsigned i = 0; i < N; i++)
        sched_add(sched, &m->rcpts[i]);
    uint64_t ready, waiting;
    sched_count(sched, &ready, &waiting);
    assert_true(ready == 0 && waiting == N);
    struct rcpt_change c = {.rcpt = N - 1, .state = RCPT_DELIVERED, .attempts = 7};
    sched_remove(sched, &m->rcpts[N - 1]);
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    char *before = kit_dump_all(s);
    sched_free(sched);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_ALL);
    s = kit_open(d, 8 * 1024 * 1024, NULL);
    char *after = kit_dump_all(s);
    assert_string_equal(before, after);
    m = spool_find(s, id);
    assert_true(m->n_rcpts == N && m->n_left == N - 1 && m->rcpts[N - 1].attempts == 7);
    for (unsigned i = 0; i < N; i++)
        assert_true(slice_eq(recipient_address(&m->rcpts[i]), rcpts[i].address));
    assert_true(slice_eq(recipient_orcpt(&m->rcpts[N - 1]), rcpts[N - 1].orcpt));
    free(before);
    free(after);
    free(names);
    free(rcpts);
    spool_close(s);
    fake_disk_free(d);
}

/* A lifetime is rounded up, but never passes the end of time. */
static void test_lifetimes(void **state)
{
    (void)state;
    static const struct {
        int64_t queued, expires, want;
    } rows[] = {
        {0, 0, 0},
        {1000, 999, 1000},
        {7, 8, 7 + WALL_SECOND},
        {7, 7 + WALL_SECOND, 7 + WALL_SECOND},
        {7, 8 + WALL_SECOND, 7 + 2 * WALL_SECOND},
        {-5, 5, -5 + WALL_SECOND},
        {0, INT64_MAX, UINT32_MAX * WALL_SECOND},
        {INT64_MAX - 10, INT64_MAX, INT64_MAX - 10},
        {INT64_MAX - WALL_SECOND, INT64_MAX, INT64_MAX},
        {INT64_MIN, INT64_MAX, INT64_MIN + UINT32_MAX * WALL_SECOND},
    };
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1};
    struct buf envelope = BUF_MAX(100);
    envelope_write(&envelope, &e);
    struct fold f = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message_record r = {.id = 1,
                                   .queued = {rows[i].queued},
                                   .expires = {rows[i].expires},
                                   .envelope = buf_slice(&envelope)};
        const struct message *m = fold_message(&f, &r);
        assert_non_null(m);
        assert_int_equal(message_expires(m).us, rows[i].want);
    }
    fold_done(&f);
    buf_done(&envelope);
}

/* --- last replies --------------------------------------------------------------------------------
 */

static void say(struct spool *s, struct message *m, const char *words, const char *host)
{
    struct verdict v = {.kind = VERDICT_DEFERRED, .code = 450, .enhanced = {4, 2, 1}};
    if (words)
        verdict_set_text(&v, slice_str(words));
    struct rcpt_change c = {.attempts = 1, .verdict = words ? &v : NULL, .host = host};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    verdict_done(&v);
}

static void is_said(const struct message *m, const char *words, const char *host)
{
    const struct verdict *v = recipient_last(&m->rcpts[0]);
    assert_true(slice_eq(slice_str(v ? v->text : NULL), slice_str(words)));
    assert_true(slice_eq(recipient_host(&m->rcpts[0]), slice_str(host)));
}

static void sum_replies(void *ctx, const struct spool_reply *r)
{
    if (slice_eq(r->text, SLICE_LIT("busy")))
        *(uint64_t *)ctx += r->recipients;
}

static uint64_t how_many_busy(const struct spool *s)
{
    uint64_t n = 0;
    assert_int_equal(spool_each_reply(s, 0, SIZE_MAX / 2, sum_replies, &n), 0);
    return n;
}

/* Verdict and host are shared together, and still change one without the other. */
static void test_replies(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, 0, NULL);
    struct message *m[3];
    for (unsigned i = 0; i < 3; i++)
        kit_put(s, NOW, 1, 10, &m[i]);
    is_said(m[0], NULL, NULL);
    say(s, m[0], "busy", "mx.a");
    say(s, m[1], "busy", "mx.a");
    say(s, m[2], "busy", "mx.b");
    assert_ptr_equal(m[0]->rcpts[0].last, m[1]->rcpts[0].last);
    assert_ptr_not_equal(m[0]->rcpts[0].last, m[2]->rcpts[0].last);
    assert_int_equal(how_many_busy(s), 3);
    say(s, m[0], "full", NULL);
    is_said(m[0], "full", "mx.a");
    is_said(m[1], "busy", "mx.a");
    say(s, m[2], NULL, "mx.a");
    is_said(m[2], "busy", "mx.a");
    assert_ptr_equal(m[1]->rcpts[0].last, m[2]->rcpts[0].last);
    assert_int_equal(how_many_busy(s), 2);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    char *before = kit_dump_all(s);
    spool_close(s);
    fake_disk_power_on(d, FAKE_LOSE_ALL);
    s = kit_open(d, 0, NULL);
    char *after = kit_dump_all(s);
    assert_string_equal(before, after);
    assert_int_equal(how_many_busy(s), 2);
    free(before);
    free(after);
    spool_close(s);
    fake_disk_free(d);
}

/* --- the list of a segment's messages ------------------------------------------------------------
 */

enum { SEGMENTS = 3, PLACES = 500 };

struct homes {
    struct fold f;
    struct segment g[SEGMENTS];
    int home[PLACES];    /* of the message that is at this place; -1: none. Its id is … */
    uint64_t id[PLACES]; /* … a multiple of PLACES and the place: never used again */
};

static void check_homes(struct homes *h)
{
    for (int g = 0; g < SEGMENTS; g++) {
        size_t n = 0, at = 0, want = 0;
        bool seen[PLACES] = {false};
        for (struct message *m; (m = fold_next_home(&h->f, &h->g[g], &at)); n++) {
            size_t i = m->id % PLACES;
            assert_true(h->home[i] == g && h->id[i] == m->id && !seen[i]);
            seen[i] = true;
        }
        for (int i = 0; i < PLACES; i++)
            want += h->home[i] == g;
        assert_int_equal(n, want);
        assert_int_equal(h->g[g].n_live, want);
        assert_int_equal(h->g[g].live_bytes, 100 * want);
        assert_true(h->g[g].n_ids <= 2 * want + 1);
    }
}

/* One message, at random: it comes, moves forward, or goes. */
static void move_one(struct homes *h, struct rng *r, struct slice envelope, bool filling)
{
    size_t i = rng_below(r, PLACES);
    int at = h->home[i];
    struct message *m = index_find(&h->f.index, h->id[i]);
    if (at < 0 && filling) {
        struct message_record rec = {.id = h->id[i] += PLACES, .envelope = envelope};
        h->home[i] = 0;
        fold_home(&h->f, fold_message(&h->f, &rec), &h->g[0], 8192, 100);
    } else if (at >= 0 && at < SEGMENTS - 1 && rng_below(r, 2)) {
        h->home[i]++;
        fold_home(&h->f, m, &h->g[at + 1], 8192, 100);
    } else if (at == SEGMENTS - 1 || (at >= 0 && !filling)) {
        h->home[i] = -1;
        fold_remove(&h->f, m);
    }
}

/* Each segment's list has exactly its own messages, each once, and does not grow by those that have
 * left. */
static void test_homes(void **state)
{
    (void)state;
    struct homes h = {.g = {{.number = 1}, {.number = 2}, {.number = 3}}};
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1};
    struct buf envelope = BUF_MAX(100);
    envelope_write(&envelope, &e);
    struct rng r;
    rng_seed(&r, 5);
    for (size_t i = 0; i < PLACES; i++) {
        h.home[i] = -1;
        h.id[i] = i;
    }
    for (int round = 0; round < 20000; round++) {
        move_one(&h, &r, buf_slice(&envelope), round / 2500 % 2 == 0);
        if (round % 50 == 0)
            check_homes(&h);
    }
    check_homes(&h);
    fold_done(&h.f);
    for (int g = 0; g < SEGMENTS; g++)
        fold_segment_done(&h.f, &h.g[g]);
    assert_true(h.f.live_bytes == 0 && fold_memory(&h.f) == 0);
    buf_done(&envelope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_a_message), cmocka_unit_test(test_counted_is_true),
        cmocka_unit_test(test_most_recipients), cmocka_unit_test(test_lifetimes),
        cmocka_unit_test(test_replies),         cmocka_unit_test(test_homes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

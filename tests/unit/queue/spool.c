/*
 * The spool in ordinary life: what goes in comes out, opening again changes nothing, ids and seqs
 * go on, space is given back, failures are told, large bodies are whole. (Cuts and faults
 * everywhere: crash.c; damage: verify.c.)
 */
#include "queue/spool_private.h" /* the size of what is kept in memory */
#include "tests/unit/queue/kit.h"
#include <errno.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENT = 32 * 1024 };

static struct rcpt_change delivered(uint32_t rcpt)
{
    return (struct rcpt_change){
        .rcpt = rcpt, .state = RCPT_DELIVERED, .attempts = 1, .last_attempt = NOW};
}

static struct rcpt_change bounced(uint32_t rcpt)
{
    return (struct rcpt_change){
        .rcpt = rcpt, .state = RCPT_BOUNCED, .attempts = 1, .last_attempt = NOW, .dsn_due = true};
}

static struct spool *again(struct fake_disk *d, struct spool *s, enum fake_loss loss)
{
    spool_close(s);
    fake_disk_power_on(d, loss);
    return kit_open(d, SEGMENT, NULL);
}

static void test_everything_comes_back(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct envelope_rcpt rcpts[] = {{.address = SLICE_LIT("a@x"), .orcpt = SLICE_LIT("rfc822;a@y")},
                                    {.address = SLICE_LIT("b@x")}};
    struct envelope e = {.sender = SLICE_LIT("s@x"),
                         .user = SLICE_LIT("u"),
                         .client_ip = SLICE_LIT("192.0.2.1"),
                         .client_helo = SLICE_LIT("h"),
                         .listener = SLICE_LIT("l"),
                         .session_id = SLICE_LIT("sid"),
                         .auth_mech = SLICE_LIT("PLAIN"),
                         .message_id = SLICE_LIT("<m@x>"),
                         .envid = SLICE_LIT("env"),
                         .size = 10,
                         .eight_bit = true,
                         .expires_s = 3600,
                         .rcpts = rcpts,
                         .n_rcpts = 2};
    struct message *m;
    uint64_t id = spool_new_id(s, NOW);
    uint64_t promise = spool_put(s, id, &e, kit_body(id, 10), false, NOW, NULL, 0, &m);
    assert_true(message_expires(m).us == NOW.us + 3600 * WALL_SECOND &&
                m->rcpts[0].due.us == NOW.us);
    assert_false(m->durable);
    assert_true(spool_durable(s) < promise);
    struct verdict v = verdict_of_fault(FAULT_SMTP_TIMEOUT, PHASE_RCPT, SLICE_NONE);
    struct rcpt_change c = {.rcpt = 1,
                            .attempts = 3,
                            .due = {NOW.us + 12345},
                            .last_attempt = {NOW.us + 7},
                            .verdict = &v,
                            .host = "mx.x [192.0.2.5]:25"};
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    c = (struct rcpt_change){.rcpt = 0, .state = RCPT_HELD};
    promise = spool_change(s, m, &c, 1, NOW, NULL, 0);
    verdict_done(&v);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_true(spool_durable(s) >= promise && m->durable);
    char *before = kit_dump_all(s);
    assert_non_null(strstr(before, "state=1"));
    assert_non_null(strstr(before, "attempts=3"));
    s = again(d, s, FAKE_LOSE_ALL);
    char *after = kit_dump_all(s);
    assert_string_equal(before, after);
    struct body *b = NULL;
    assert_int_equal(kit_read(s, spool_find(s, id), &b), 0);
    assert_true(kit_body_is(b, id, 10));
    body_unref(b);
    free(before);
    free(after);
    spool_close(s);
    fake_disk_free(d);
}

static void count_one(void *ctx, const struct event *e)
{
    (void)e;
    ++*(uint64_t *)ctx;
}

/* A finished message leaves when that is durable, not before. */
static void test_finished(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *m;
    uint64_t id = kit_put(s, NOW, 2, 100, &m);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    struct rcpt_change c = delivered(0);
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    c = bounced(1);
    spool_change(s, m, &c, 1, NOW, NULL, 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_ptr_equal(spool_find(s, id), m);
    assert_int_equal(m->n_left, 1);
    assert_true(message_tried(m));

    struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = id};
    uint64_t dsn = spool_new_id(s, NOW);
    spool_put(s, dsn, &e, kit_body(dsn, 5), false, NOW, NULL, 0, NULL);
    assert_int_equal(m->n_left, 0);
    assert_ptr_equal(spool_find(s, id), m);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_null(spool_find(s, id));
    assert_non_null(spool_find(s, dsn));
    s = again(d, s, FAKE_LOSE_ALL);
    assert_null(spool_find(s, id));
    assert_non_null(spool_find(s, dsn));
    uint64_t n = 0;
    spool_each_event(s, 0, count_one, &n);
    assert_int_equal(n, 1);
    spool_close(s);
    fake_disk_free(d);
}

static void test_ids_never_twice(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *m;
    uint64_t last = 0;
    for (int round = 0; round < 5; round++) {
        /* Each time the clock is a day earlier, the message is finished and its segment freed. */
        uint64_t id = kit_put(s, wall_add_s(NOW, -86400 * round), 1, 20000, &m);
        assert_true(id > last);
        last = id;
        struct rcpt_change c = delivered(0);
        spool_change(s, m, &c, 1, NOW, NULL, 0);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        spool_events_kept(s, spool_last_seq(s));
        kit_settle(s);
        s = again(d, s, round % 2 ? FAKE_LOSE_ALL : FAKE_LOSE_NONE);
        assert_true(spool_last_id(s) >= last);
        assert_int_equal(spool_last_seq(s), (uint64_t)round + 1);
    }
    spool_close(s);
    fake_disk_free(d);
}

/* Random life with reopening: memory and disk never differ, and disk use stays bounded. */
static void test_reopen_equals(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct fake_disk *d = fake_disk_new(seed);
        struct spool *s = kit_open(d, SEGMENT, NULL);
        struct rng r;
        rng_seed(&r, seed);
        for (int i = 0; i < 600; i++) {
            struct message *m = NULL;
            struct wall now = {NOW.us + i};
            if (rng_below(&r, 3) == 0)
                kit_put(s, now, 1 + rng_below(&r, 3), rng_below(&r, 3000), &m);
            else
                m = spool_after(s, rng_below(&r, spool_last_id(s) + 1));
            if (m && m->n_left && rng_below(&r, 3)) {
                uint32_t rcpt = (uint32_t)rng_below(&r, m->n_rcpts);
                struct rcpt_change c =
                    rng_below(&r, 4)
                        ? delivered(rcpt)
                        : (struct rcpt_change){.rcpt = rcpt, .attempts = 2, .host = "h"};
                if (!rcpt_state_final((enum rcpt_state)m->rcpts[rcpt].state))
                    spool_change(s, m, &c, 1, now, NULL, 0);
            }
            if (rng_below(&r, 5) == 0)
                assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
            spool_events_kept(s, spool_last_seq(s));
            kit_tasks(s);
            if (rng_below(&r, 60) == 0) {
                kit_settle(s);
                struct spool_counts n;
                spool_count(s, &n);
                assert_true(n.disk_bytes <= 2 * n.live_bytes + 2 * SEGMENT);
                char *before = kit_dump_all(s);
                s = again(d, s, FAKE_LOSE_ALL);
                char *after = kit_dump_all(s);
                assert_string_equal(before, after);
                free(before);
                free(after);
            }
        }
        spool_close(s);
        assert_int_equal(fake_disk_open_fds(d), 0);
        fake_disk_free(d);
    }
}

/* Bodies survive being copied forward, and a read under way keeps its segment. */
static void test_compaction(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *m, *first;
    uint64_t id = kit_put(s, NOW, 3, 5000, &first);
    struct rcpt_change c = {.rcpt = 1, .attempts = 4, .host = "mx", .due = {NOW.us + 1}};
    spool_change(s, first, &c, 1, NOW, NULL, 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    body_unref(first->body);
    first->body = NULL;
    struct spool_read *r = spool_read_new(s, first, 10, 100);
    uint32_t segment = first->home->number;
    for (int i = 0; i < 100; i++) {
        kit_put(s, NOW, 1, 3000, &m);
        c = delivered(0);
        spool_change(s, m, &c, 1, NOW, NULL, 0);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        spool_events_kept(s, spool_last_seq(s));
        kit_settle(s);
    }
    assert_true(first->home->number > segment);
    struct body *b = NULL;
    assert_int_equal(spool_read_run(r, &b), 0);
    struct body *want = kit_body(id, 5000);
    assert_true(b->n == 100 && memcmp(b->bytes, want->bytes + 10, 100) == 0);
    body_unref(want);
    body_unref(b);
    spool_read_free(s, r);
    kit_settle(s);
    struct spool_counts n;
    spool_count(s, &n);
    assert_true(n.messages == 1 && n.recipients == 3);
    assert_true(n.disk_bytes <= 2 * n.live_bytes + 2 * SEGMENT);
    s = again(d, s, FAKE_LOSE_ALL);
    m = spool_find(s, id);
    assert_non_null(m);
    assert_true(m->rcpts[1].attempts == 4 &&
                slice_eq(recipient_host(&m->rcpts[1]), SLICE_LIT("mx")));
    assert_int_equal(kit_read(s, m, &b), 0);
    assert_true(kit_body_is(b, id, 5000));
    body_unref(b);
    spool_close(s);
    fake_disk_free(d);
}

/* Segments stay until the delivery log has their events. */
static void test_events_hold_segments(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *m;
    for (int i = 0; i < 40; i++) {
        kit_put(s, NOW, 1, 4000, &m);
        struct rcpt_change c = delivered(0);
        struct spool_event_in ev = {EVENT_DELIVERED, SLICE_NONE};
        spool_change(s, m, &c, 1, NOW, &ev, 1);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        assert_false(kit_tasks(s));
        assert_null(spool_batch_take(s));
    }
    s = again(d, s, FAKE_LOSE_ALL);
    uint64_t n = 0;
    spool_each_event(s, 30, count_one, &n);
    assert_int_equal(n, 50);
    spool_events_kept(s, 80);
    kit_settle(s);
    struct spool_counts counts;
    spool_count(s, &counts);
    assert_int_equal(counts.segments, 1);
    spool_close(s);
    fake_disk_free(d);
}

static uint64_t failed_id;
static int n_failed;
static void on_failed(void *ctx, uint64_t id)
{
    (void)ctx;
    failed_id = id;
    n_failed++;
}

static uint64_t seen_seq;
static void on_event(void *ctx, const struct event *e)
{
    (void)ctx;
    assert_int_equal(e->seq, seen_seq + 1);
    seen_seq = e->seq;
}

static void test_failed_batch(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *old, *fresh;
    uint64_t old_id = kit_put(s, NOW, 1, 100, &old);
    assert_int_equal(kit_commit(s, on_event, NULL, on_failed), 0);
    struct rcpt_change c = bounced(0);
    struct spool_event_in ev = {EVENT_BOUNCED, SLICE_NONE};
    uint64_t fresh_id = kit_put(s, NOW, 1, 100, &fresh);
    uint64_t promise = spool_change(s, old, &c, 1, NOW, &ev, 1);
    fake_disk_fail_only(d, FAKE_SYNC);
    fake_disk_fail_at(d, fake_disk_steps(d) + 2, -EIO);
    assert_int_equal(kit_commit(s, on_event, NULL, on_failed), -EIO);
    assert_true(n_failed == 1 && failed_id == fresh_id);
    assert_null(spool_find(s, fresh_id));
    assert_true(spool_durable(s) < promise);
    assert_int_equal(old->rcpts[0].state, RCPT_BOUNCED);
    assert_int_equal(seen_seq, 1);
    /* A DSN that fails leaves the failure untold. */
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("sender@example.net")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .dsn_for = old_id};
    fake_disk_fail_at(d, fake_disk_steps(d) + 4, -ENOSPC);
    fake_disk_fail_only(d, 0);
    uint64_t dsn = spool_new_id(s, NOW);
    spool_put(s, dsn, &e, NULL, false, NOW, NULL, 0, NULL);
    assert_int_equal(old->n_left, 0);
    assert_int_equal(kit_commit(s, on_event, NULL, on_failed), -ENOSPC);
    assert_true(n_failed == 2 && failed_id == dsn);
    assert_true(old->n_left == 1 && old->rcpts[0].dsn_due);
    assert_int_equal(kit_commit(s, on_event, NULL, on_failed), 0);
    assert_true(spool_durable(s) >= promise);
    assert_int_equal(seen_seq, 2);
    s = again(d, s, FAKE_LOSE_ALL);
    old = spool_find(s, old_id);
    assert_true(old && old->rcpts[0].dsn_due && old->rcpts[0].state == RCPT_BOUNCED);
    assert_null(spool_find(s, fresh_id));
    spool_close(s);
    fake_disk_free(d);
}

/* With a full disk new mail is refused, and what is delivered can still be written down. */
static void test_full_disk(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *m[3];
    for (int i = 0; i < 3; i++)
        kit_put(s, NOW, 1, 1000, &m[i]);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    fake_disk_set_room(d, 0);
    uint64_t refused = kit_put(s, NOW, 1, 200000, NULL);
    n_failed = 0;
    assert_int_equal(kit_commit(s, NULL, NULL, on_failed), -ENOSPC);
    assert_true(n_failed == 1 && failed_id == refused);
    struct rcpt_change c = delivered(0);
    uint64_t promise = spool_change(s, m[0], &c, 1, NOW, NULL, 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_true(spool_durable(s) >= promise);
    fake_disk_set_room(d, -1);
    kit_put(s, NOW, 1, 200000, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    spool_close(s);
    fake_disk_free(d);
}

static uint64_t put_file(struct fake_disk *d, struct spool *s, size_t n)
{
    struct spool_body_file *f;
    uint64_t id = spool_new_id(s, NOW);
    assert_int_equal(spool_body_create(fake_disk_ops(d), id, &f), 0);
    struct body *b = kit_body(id, n);
    struct rng r;
    rng_seed(&r, n);
    for (size_t at = 0; at < n;) { /* in pieces of any size */
        size_t part = 1 + rng_below(&r, 70000);
        struct slice piece = slice_head(slice_skip(slice_of(b->bytes, n), at), part);
        assert_int_equal(spool_body_write(f, piece), 0);
        at += piece.n;
    }
    assert_int_equal(spool_body_finish(f), 0);
    body_unref(b);
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1, .size = n};
    spool_put(s, id, &e, NULL, true, NOW, NULL, 0, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    return id;
}

static int read_part(struct spool *s, uint64_t id, uint64_t offset, size_t n, struct body **ret)
{
    struct spool_read *r = spool_read_new(s, spool_find(s, id), offset, n);
    int rc = spool_read_run(r, ret);
    spool_read_free(s, r);
    return rc;
}

static void test_large_bodies(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131072, 700001};
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t id = put_file(d, s, sizes[i]);
        s = again(d, s, FAKE_LOSE_ALL);
        struct body *want = kit_body(id, sizes[i]), *b = NULL;
        for (uint64_t at = 0; at <= sizes[i]; at += 50001) {
            assert_int_equal(read_part(s, id, at, 50001, &b), 0);
            size_t n = sizes[i] - at < 50001 ? (size_t)(sizes[i] - at) : 50001;
            assert_true(b->n == n && (n == 0 || memcmp(b->bytes, want->bytes + at, n) == 0));
            body_unref(b);
        }
        char name[SEGMENT_NAME_SIZE];
        spool_body_name(name, id);
        if (sizes[i] > 1) { /* one bad byte is noticed where it is read, one missing anywhere */
            assert_true(fake_disk_flip(d, name, sizes[i] - 1, 1));
            assert_int_equal(read_part(s, id, sizes[i] - 2, 2, &b), -EBADMSG);
            assert_true(fake_disk_flip(d, name, sizes[i] - 1, 1));
            assert_true(fake_disk_truncate(d, name, sizes[i]));
            assert_int_equal(read_part(s, id, 0, 1, &b), -EBADMSG);
        }
        body_unref(want);
    }
    spool_close(s);
    fake_disk_free(d);
}

static void test_body_files_come_and_go(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    uint64_t id = put_file(d, s, 300000), lost = put_file(d, s, 100);
    struct spool_body_file *f;
    assert_int_equal(spool_body_create(fake_disk_ops(d), 5, &f), 0);
    assert_int_equal(spool_body_finish(f), 0); /* never put: an orphan */
    assert_int_equal(spool_body_create(fake_disk_ops(d), 6, &f), 0);
    spool_body_abandon(f);
    assert_int_equal(fake_disk_count(d, "body"), 3);
    s = again(d, s, FAKE_LOSE_ALL);
    assert_int_equal(fake_disk_count(d, "body"), 2);
    char name[SEGMENT_NAME_SIZE];
    spool_body_name(name, lost);
    assert_int_equal(fake_disk_ops(d)->unlink(d, name), 0);
    s = again(d, s, FAKE_LOSE_NONE);
    struct body *b = NULL;
    assert_int_equal(kit_read(s, spool_find(s, lost), &b), -ENOENT);
    struct rcpt_change c = delivered(0);
    spool_change(s, spool_find(s, id), &c, 1, NOW, NULL, 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(fake_disk_count(d, "body"), 0);
    spool_close(s);
    fake_disk_free(d);
}

static void test_listing(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, 0, NULL);
    struct rng r;
    rng_seed(&r, 3);
    enum { N = 3000 };
    static uint64_t ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = kit_put(s, (struct wall){NOW.us + i * 500}, 1, 0, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(spool_rank(s, ids[i]), i);
        assert_int_equal(spool_rank(s, ids[i] + 1), i + 1);
    }
    assert_int_equal(spool_rank(s, 0), 0);
    assert_int_equal(spool_rank(s, UINT64_MAX), N);
    /* While somebody goes through it with a cursor, others finish. */
    uint64_t cursor = 0;
    for (int i = 0; i < N; i++) {
        struct message *m = spool_after(s, cursor);
        assert_non_null(m);
        assert_int_equal(m->id, ids[i]);
        cursor = m->id;
        if (rng_below(&r, 2)) {
            struct rcpt_change c = delivered(0);
            spool_change(s, m, &c, 1, NOW, NULL, 0);
            if (rng_below(&r, 50) == 0)
                assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        }
    }
    assert_null(spool_after(s, cursor));
    assert_null(spool_after(s, UINT64_MAX));
    assert_null(spool_find(s, 0));
    spool_close(s);
    fake_disk_free(d);
}

static void test_one_process(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL), *second = NULL;
    struct spool_options o = {.segment_bytes = SEGMENT};
    struct err e = {0};
    assert_int_equal(spool_open(&second, fake_disk_ops(d), &o, NULL, &e), -EWOULDBLOCK);
    assert_null(second);
    assert_non_null(strstr(e.text, "in use"));
    spool_close(s);
    s = kit_open(d, SEGMENT, NULL);
    spool_close(s);
    fake_disk_free(d);
}

static void remove_tree(const char *path)
{
    char command[200];
    static const char *const names[] = {"body", "quarantine", "lock"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(command, sizeof command, "%s/%s", path, names[i]);
        (void)(rmdir(command) == 0 || unlink(command) == 0);
    }
    for (unsigned i = 0; i < 64; i++) {
        snprintf(command, sizeof command, "%s/seg-%08x", path, i);
        unlink(command);
        snprintf(command, sizeof command, "%s/free-%08x", path, i);
        unlink(command);
    }
    rmdir(path);
}

/* The real file system does what the fake one promises. */
static void test_on_a_real_disk(void **state)
{
    (void)state;
    char root[] = "/tmp/pw-spool-XXXXXX", below[100];
    assert_non_null(mkdtemp(root));
    snprintf(below, sizeof below, "%s/spool", root);
    int error = 0;
    struct file_ops *ops = file_posix_new(below, &error), *other;
    assert_non_null(ops);
    struct spool_options o = {.segment_bytes = 256 * 1024, .lifetime_s = 60};
    struct spool *s, *second;
    struct err e;
    assert_int_equal(spool_open(&s, ops, &o, NULL, &e), 0);
    other = file_posix_new(below, &error);
    assert_non_null(other);
    assert_int_equal(spool_open(&second, other, &o, NULL, &e), -EWOULDBLOCK);
    file_posix_free(other);
    for (int i = 0; i < 300; i++) {
        struct message *m;
        kit_put(s, NOW, 1, 5000, &m);
        struct rcpt_change c = delivered(0);
        if (i % 10)
            spool_change(s, m, &c, 1, NOW, NULL, 0);
        if (i % 7 == 0)
            assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        spool_events_kept(s, spool_last_seq(s));
        kit_tasks(s);
    }
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    char *before = kit_dump_all(s);
    spool_close(s);
    struct spool_report report;
    assert_int_equal(spool_verify(ops, false, NULL, NULL, &report, &e), 0);
    assert_int_equal(spool_open(&s, ops, &o, &report, &e), 0);
    assert_int_equal(report.damaged, 0);
    char *after = kit_dump_all(s);
    assert_string_equal(before, after);
    assert_true(ops->free_bytes(ops->ctx) > 0);
    free(before);
    free(after);
    spool_close(s);
    file_posix_free(ops);
    remove_tree(below);
    assert_int_equal(rmdir(root), 0);
    assert_null(file_posix_new("/nowhere/at/all", &error));
    assert_int_equal(error, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_comes_back),
        cmocka_unit_test(test_finished),
        cmocka_unit_test(test_ids_never_twice),
        cmocka_unit_test(test_reopen_equals),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_events_hold_segments),
        cmocka_unit_test(test_failed_batch),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_body_files_come_and_go),
        cmocka_unit_test(test_listing),
        cmocka_unit_test(test_one_process),
        cmocka_unit_test(test_on_a_real_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Body files that no message has. What would break for a user: a disk filled by content that was
 * refused, or a message that comes back after a crash without its content.
 */
#include "queue/spool_private.h" /* where a record lies */
#include "tests/unit/queue/kit.h"

enum { SEGMENT = 64 * 1024, SIZE = 100000 };

static void make_file(struct fake_disk *d, uint64_t id)
{
    struct spool_body_file *f;
    struct body *b = kit_body(id, SIZE);
    assert_int_equal(spool_body_create(fake_disk_ops(d), id, &f), 0);
    assert_int_equal(spool_body_write(f, slice_of(b->bytes, b->n)), 0);
    assert_int_equal(spool_body_finish(f), 0);
    body_unref(b);
}

static void put_file(struct spool *s, uint64_t id, size_t size)
{
    static const struct envelope_rcpt rcpt = {.address = {(const uint8_t *)"r@example.net", 13}};
    struct envelope e = {.size = size, .rcpts = &rcpt, .n_rcpts = 1};
    spool_put(s, id, &e, NULL, true, NOW, NULL, 0, NULL);
}

static uint64_t put_large(struct fake_disk *d, struct spool *s)
{
    uint64_t id = spool_new_id(s, NOW);
    make_file(d, id);
    put_file(s, id, SIZE);
    return id;
}

static size_t files(struct fake_disk *d)
{
    return fake_disk_count(d, "body");
}

static void test_forgotten(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    uint64_t stored = put_large(d, s), refused = spool_new_id(s, NOW);
    make_file(d, refused);
    spool_body_forget(s, stored); /* it has a message: nothing happens */
    spool_body_forget(s, refused);
    spool_body_forget(s, refused);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(files(d), 1);
    struct body *b = NULL;
    assert_int_equal(kit_read(s, spool_find(s, stored), &b), 0);
    assert_true(kit_body_is(b, stored, SIZE));
    body_unref(b);
    spool_close(s);
    fake_disk_free(d);
}

/* 98: a file goes when the end of its message is durable, not when it is known: whatever is swept
 * meanwhile, a crash brings back a message with its content. */
static void test_stays_until_its_end_is_durable(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    uint64_t id = put_large(d, s);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    const struct rcpt_change end = {.rcpt = 0, .state = RCPT_DELIVERED, .attempts = 1};
    spool_change(s, spool_find(s, id), &end, 1, NOW, NULL, 0);
    kit_sweep(s);
    struct spool_batch *b = spool_batch_take(s);
    assert_non_null(b);
    kit_sweep(s);
    assert_int_equal(files(d), 1);

    struct fake_disk *killed = fake_disk_clone(d);
    fake_disk_power_on(killed, FAKE_LOSE_ALL);
    struct spool *after = kit_open(killed, SEGMENT, NULL);
    struct body *body = NULL;
    assert_non_null(spool_find(after, id));
    assert_int_equal(kit_read(after, spool_find(after, id), &body), 0);
    assert_true(kit_body_is(body, id, SIZE));
    body_unref(body);
    spool_close(after);
    fake_disk_free(killed);

    struct err e = {0};
    spool_batch_run(b);
    assert_int_equal(spool_batch_end(s, b, NULL, NULL, NULL, &e), 0);
    spool_settle(s, SIZE_MAX, NULL, NULL);
    kit_sweep(s);
    assert_int_equal(files(d), 0);
    spool_close(s);
    fake_disk_free(d);
}

/* The refused record may come back until a segment says where the log ended: so does its file. */
static void test_failed_batch(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    kit_put(s, NOW, 1, 10, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    uint64_t id = put_large(d, s);
    fake_disk_fail_only(d, FAKE_SYNC);
    fake_disk_fail_at(d, fake_disk_steps(d) + 2, -EIO);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -EIO);
    fake_disk_fail_only(d, 0);
    spool_body_forget(s, id);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(files(d), 1);

    struct fake_disk *killed = fake_disk_clone(d);
    struct spool *next = kit_open(killed, SEGMENT, NULL);
    struct message *m = spool_find(next, id);
    assert_non_null(m);
    struct body *b = NULL;
    assert_int_equal(kit_read(next, m, &b), 0);
    body_unref(b);
    spool_close(next);
    fake_disk_free(killed);

    kit_put(s, NOW, 1, 10, NULL);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(files(d), 0);
    spool_close(s);
    fake_disk_free(d);
}

/* Removing fails: it is tried again, but not in a loop. */
static void test_unlink_fails(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    uint64_t id = spool_new_id(s, NOW);
    make_file(d, id);
    fake_disk_fail_only(d, FAKE_UNLINK);
    fake_disk_fail_from(d, fake_disk_steps(d) + 1, -EIO);
    spool_body_forget(s, id);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_null(spool_batch_take(s));
    fake_disk_fail_from(d, 0, 0);
    for (int i = 0; i < 3; i++) {
        kit_put(s, NOW, 1, SEGMENT - 20000, NULL);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    }
    assert_int_equal(files(d), 0);
    spool_close(s);
    fake_disk_free(d);
}

/* A full disk: the room comes back although no segment can be made. */
static void test_no_room_for_a_segment(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    put_large(d, s);
    fake_disk_set_room(d, 100);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), -ENOSPC);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    assert_int_equal(files(d), 0);
    fake_disk_set_room(d, -1);
    spool_close(s);
    fake_disk_free(d);
}

/* Inline content is read with its record: whatever byte of that is bad, nobody is sent something
 * else; and the padding does not matter. */
static void test_flipped_while_open(void **state)
{
    (void)state;
    enum { BODY = 150 };
    struct fake_disk *d = fake_disk_new(1);
    struct spool *s = kit_open(d, SEGMENT, NULL);
    struct message *m;
    uint64_t id = kit_put(s, NOW, 2, BODY, &m);
    assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
    body_unref(m->body);
    m->body = NULL;
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", m->home->number);
    for (uint32_t at = 0; at < m->record_bytes; at++) {
        struct body *b = NULL;
        assert_true(fake_disk_flip(d, name, m->record_at + at, (uint8_t)(1 + at % 255)));
        int rc = kit_read(s, m, &b);
        assert_true(rc == -EBADMSG || (rc == 0 && at > m->record_bytes - 8));
        assert_true(rc < 0 || kit_body_is(b, id, BODY));
        body_unref(b);
        assert_true(fake_disk_flip(d, name, m->record_at + at, (uint8_t)(1 + at % 255)));
    }
    struct body *b = NULL;
    assert_int_equal(kit_read(s, m, &b), 0);
    assert_true(kit_body_is(b, id, BODY));
    body_unref(b);
    spool_close(s);
    fake_disk_free(d);
}

/* A signature is put into its place when all the rest is written: read back, its sums must hold. */
static void test_patched(void **state)
{
    (void)state;
    static const size_t sizes[] = {3000, 65535, 65536, 65537, 200000};
    enum { AT = 500 };
    uint8_t fresh[1000];
    memset(fresh, '!', sizeof fresh);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct fake_disk *d = fake_disk_new(1);
        struct spool *s = kit_open(d, SEGMENT, NULL);
        struct spool_body_file *f;
        const uint64_t id = spool_new_id(s, NOW);
        struct body *b = kit_body(7, sizes[i]), *got = NULL;
        assert_int_equal(spool_body_create(fake_disk_ops(d), id, &f), 0);
        assert_int_equal(spool_body_write(f, slice_of(b->bytes, 2000)), 0);
        assert_int_equal(spool_body_write(f, slice_skip(slice_of(b->bytes, b->n), 2000)), 0);
        assert_int_equal(spool_body_patch(f, AT, slice_of(fresh, sizeof fresh)), 0);
        assert_int_equal(spool_body_finish(f), 0);
        put_file(s, id, sizes[i]);
        assert_int_equal(kit_commit(s, NULL, NULL, NULL), 0);
        assert_int_equal(kit_read(s, spool_find(s, id), &got), 0);
        assert_int_equal(got->n, sizes[i]);
        memcpy(b->bytes + AT, fresh, sizeof fresh);
        assert_memory_equal(got->bytes, b->bytes, sizes[i]);
        body_unref(got);
        body_unref(b);
        spool_close(s);
        fake_disk_free(d);
    }
}

/* The disk fails just then: the message is not taken, and nothing is left of it. */
static void test_patch_fails(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct spool_body_file *f;
    struct body *b = kit_body(7, SIZE);
    assert_int_equal(spool_body_create(fake_disk_ops(d), 7, &f), 0);
    assert_int_equal(spool_body_write(f, slice_of(b->bytes, b->n)), 0);
    fake_disk_fail_at(d, fake_disk_steps(d) + 1, -EIO);
    assert_int_equal(spool_body_patch(f, 10, slice_of(b->bytes, 100)), -EIO);
    fake_disk_fail_at(d, 0, 0);
    spool_body_abandon(f);
    assert_int_equal(files(d), 0);
    body_unref(b);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patched),
        cmocka_unit_test(test_patch_fails),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_stays_until_its_end_is_durable),
        cmocka_unit_test(test_failed_batch),
        cmocka_unit_test(test_unlink_fails),
        cmocka_unit_test(test_flipped_while_open),
        cmocka_unit_test(test_no_room_for_a_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

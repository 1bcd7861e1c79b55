/* The list outlives what happens to its file: power cuts at every step, damage at every byte, a
 * disk that fails. What was promised is there after, and nothing that never was. */
#include "relay/base/rand.h"
#include "tests/unit/suppress/kit.h"

static void write_file(struct fake_disk *d, const char *text, size_t n)
{
    const struct file_ops *fs = fake_disk_ops(d);
    int fd = fs->open(fs->ctx, "list", O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_true(fs->truncate(fs->ctx, fd, 0) >= 0);
    assert_true(fs->pwrite(fs->ctx, fd, text, n, 0) >= 0);
    assert_int_equal(fs->fdatasync(fs->ctx, fd), 0);
    assert_int_equal(fs->fsync_dir(fs->ctx, "."), 0);
    fs->close(fs->ctx, fd);
}

static size_t read_file(struct fake_disk *d, const char *name, char *text, size_t max)
{
    const struct file_ops *fs = fake_disk_ops(d);
    int fd = fs->open(fs->ctx, name, O_RDONLY, 0);
    if (fd < 0)
        return 0;
    ssize_t n = fs->pread(fs->ctx, fd, text, max, 0);
    fs->close(fs->ctx, fd);
    assert_true(n >= 0 && (size_t)n < max);
    return (size_t)n;
}

static void add(struct suppress *s, unsigned i)
{
    char name[64];
    snprintf(name, sizeof name, "u%u@rcpt.test", i);
    suppress_add(s, SLICE_NONE, slice_str(name), SLICE_LIT("x"), SUPPRESS_BY_OPERATOR,
                 (struct wall){0});
}

static bool has(struct suppress *s, unsigned i)
{
    char name[64];
    snprintf(name, sizeof name, "u%u@rcpt.test", i);
    return kit_is_listed(s, "", name);
}

static void it_outlives_a_restart(void **state)
{
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &two_in_a_month, NULL);
    struct err e = {0};
    kit_bounce(s, 7, "shop", "bob@rcpt.test", 0);
    add(s, 1);
    add(s, 2);
    suppress_remove(s, SLICE_NONE, SLICE_LIT("u1@rcpt.test"));
    assert_int_equal(suppress_sync(s, &e), 0);
    kit_tell(s, &(struct kit_event){EVENT_DEFERRED, 9, NULL, "x@y.test", NULL, NULL, 0});
    suppress_free(s);
    for (unsigned life = 0; life < 3; life++) {
        s = kit_open(d, &two_in_a_month, NULL);
        assert_int_equal(suppress_seen(s), 9);
        assert_true(has(s, 2) && !has(s, 1));
        assert_false(kit_is_listed(s, "shop", "bob@rcpt.test"));
        suppress_free(s);
    }
    s = kit_open(d, &two_in_a_month, NULL);
    kit_bounce(s, 10, "shop", "bob@rcpt.test", 0); /* the second: the first was not forgotten */
    assert_true(kit_is_listed(s, "shop", "bob@rcpt.test"));
    suppress_free(s);
    fake_disk_free(d);
}

/* One life of changes, each synced, until the disk says no. How many were promised. */
static unsigned live(struct fake_disk *d, unsigned n)
{
    struct err e = {0};
    unsigned promised = 0;
    size_t damaged;
    struct suppress *s = NULL;
    if (suppress_new(&s, fake_disk_ops(d), &two_in_a_month, &damaged, &e) < 0)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        add(s, i);
        if (suppress_sync(s, &e) < 0)
            break;
        promised = i + 1;
    }
    suppress_free(s);
    return promised;
}

/* Every change that was answered is there, in order: none behind it without those before. */
static void power_cut_at_every_step(void **state)
{
    (void)state;
    enum { N = 6 };
    for (uint64_t step = 1;; step++) {
        struct fake_disk *d = fake_disk_new(step);
        fake_disk_cut_at(d, step);
        const unsigned promised = live(d, N);
        const bool was_cut = fake_disk_is_cut(d);
        fake_disk_power_on(d, step % 2 ? FAKE_LOSE_SOME : FAKE_LOSE_ALL);
        size_t damaged;
        struct suppress *s = kit_open(d, &two_in_a_month, &damaged);
        assert_non_null(s);
        for (unsigned i = 0; i < promised; i++)
            assert_true(has(s, i));
        for (unsigned i = promised + 1; i < N; i++)
            assert_false(has(s, i));
        suppress_free(s);
        fake_disk_free(d);
        if (!was_cut)
            break;
        assert_true(step < 1000);
    }
}

/* Any one step fails: the operator hears it, the list goes on, and the next time all is written. */
static void a_step_fails(void **state)
{
    (void)state;
    enum { N = 6 };
    bool more = true;
    for (uint64_t step = 1; more; step++) {
        struct fake_disk *d = fake_disk_new(step);
        struct err e = {0};
        struct suppress *s = kit_open(d, &two_in_a_month, NULL);
        fake_disk_fail_at(d, fake_disk_steps(d) + step, -ENOSPC);
        const uint64_t before = fake_disk_steps(d);
        unsigned failed = 0;
        for (unsigned i = 0; i < N; i++) {
            add(s, i);
            failed += suppress_sync(s, &e) < 0;
            assert_true(has(s, i));
        }
        more = fake_disk_steps(d) - before >= step;
        assert_true(failed <= 1 && (!failed || e.code == -ENOSPC));
        fake_disk_fail_at(d, 0, 0); /* the step that failed was the last one, perhaps */
        assert_int_equal(suppress_sync(s, &e), 0);
        fake_disk_cut_at(d, fake_disk_steps(d) + 1); /* nothing of this life is written any more */
        suppress_free(s);
        fake_disk_power_on(d, FAKE_LOSE_ALL);
        s = kit_open(d, &two_in_a_month, NULL);
        for (unsigned i = 0; i < N; i++)
            assert_true(has(s, i));
        suppress_free(s);
        fake_disk_free(d);
        assert_true(step < 1000);
    }
}

/* One damaged byte costs its line, is counted, and the file is kept to be looked at. */
static void damage_costs_a_line(void **state)
{
    static char text[4096], again[4096];
    (void)state;
    enum { N = 4 };
    struct fake_disk *d = fake_disk_new(1);
    assert_int_equal(live(d, N), N);
    const size_t n = read_file(d, "list", text, sizeof text);
    assert_true(n > 0);
    fake_disk_free(d);
    const size_t title = (size_t)(strchr(text, '\n') - text);
    for (size_t i = title + 1; i < n; i++) {
        size_t damaged;
        unsigned found = 0;
        d = fake_disk_new(1);
        text[i] ^= 0x10;
        write_file(d, text, n);
        struct suppress *s = kit_open(d, &two_in_a_month, &damaged);
        assert_non_null(s);
        for (unsigned k = 0; k < N; k++)
            found += has(s, k);
        /* A line end that is gone costs two lines; that of the last one is a torn line. */
        assert_true(damaged <= 2 && found >= N - 2);
        assert_true(damaged > 0 || i == n - 1);
        if (damaged) {
            assert_int_equal(read_file(d, "list.damaged", again, sizeof again), n);
            assert_memory_equal(again, text, n);
        }
        suppress_free(s);
        s = kit_open(d, &two_in_a_month, &damaged); /* mended */
        assert_int_equal(damaged, 0);
        suppress_free(s);
        text[i] ^= 0x10;
        fake_disk_free(d);
    }
}

/* Promise 31: what a later version wrote is not touched. */
static void a_later_format_is_refused(void **state)
{
    static const char later[] = "postwain suppression 2\nwho knows\n";
    char text[100];
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = NULL;
    struct err e = {0};
    size_t damaged;
    write_file(d, later, sizeof later - 1);
    assert_int_equal(suppress_new(&s, fake_disk_ops(d), &two_in_a_month, &damaged, &e),
                     -EPROTONOSUPPORT);
    assert_non_null(strstr(e.text, "later version"));
    assert_int_equal(read_file(d, "list", text, sizeof text), sizeof later - 1);
    assert_memory_equal(text, later, sizeof later - 1);
    fake_disk_free(d);
}

/* Years of coming and going: the file stays as large as the list, and nothing is lost by that. */
static void the_file_does_not_grow(void **state)
{
    static char text[4u << 20];
    (void)state;
    struct fake_disk *d = fake_disk_new(1);
    struct suppress *s = kit_open(d, &two_in_a_month, NULL);
    struct err e = {0};
    uint64_t seq = 1;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 500; i++) {
            char name[64];
            snprintf(name, sizeof name, "u%u@rcpt.test", i);
            add(s, i);
            kit_bounce(s, ++seq, NULL, "counted@rcpt.test", -DAY);
            kit_tell(s, &(struct kit_event){EVENT_DELIVERED, ++seq, NULL, "counted@rcpt.test", NULL,
                                            NULL, 0});
            if (i % 10)
                suppress_remove(s, SLICE_NONE, slice_str(name));
        }
        assert_int_equal(suppress_sync(s, &e), 0);
    }
    suppress_free(s);
    assert_true(read_file(d, "list", text, sizeof text) < 15000 * 90);
    s = kit_open(d, &two_in_a_month, NULL);
    assert_int_equal(suppress_count(s), 50);
    assert_int_equal(suppress_seen(s), seq);
    suppress_free(s);
    fake_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_outlives_a_restart),
        cmocka_unit_test(power_cut_at_every_step),
        cmocka_unit_test(a_step_fails),
        cmocka_unit_test(damage_costs_a_line),
        cmocka_unit_test(a_later_format_is_refused),
        cmocka_unit_test(the_file_does_not_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The files of the delivery log. If this breaks, a consumer misses an event, sees one under two
 * numbers, or finds half a line in the middle of a file after a crash, a full disk, a rotation.
 * Promise 11. */
#include "tests/unit/events/folder.h"

static void test_new_log(void **state)
{
    (void)state;
    uint64_t last = 99;
    struct events *ev = open_log(0, &last);
    assert_int_equal(last, 0);
    push(ev, 1, 2);
    assert_int_equal(events_start(ev), 0);
    push(ev, 3, 500);
    assert_true(wait_kept(500));
    assert_int_equal(events_written_seq(ev), 500);
    assert_int_equal(events_pushed_seq(ev), 500);
    push(ev, 501, 503);
    events_free(ev);
    assert_int_equal(atomic_load(&kept), 503);
    assert_live_holds(1, 503);
}

/* What was pushed is written even when the thread was never started. */
static void test_free_without_start(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_log(0, &last);
    push(ev, 1, 3);
    events_free(ev);
    assert_live_holds(1, 3);
    assert_int_equal(atomic_load(&kept), 3);
}

/* A crash may leave any prefix of what was being written. The replay makes the file what it would
 * have been, byte for byte. */
static void test_torn_at_every_byte(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_log(0, &last);
    push(ev, 1, 4);
    events_free(ev);
    DEFER(buf_done) struct buf whole = read_live();
    size_t opening = first_line(&whole);
    for (size_t cut = 0; cut <= whole.n; cut += cut + 61 < opening ? 61 : 1) {
        empty_folder();
        write_live(slice_head(buf_slice(&whole), cut));
        ev = open_log(0, &last);
        uint64_t lines = 0;
        for (size_t i = opening; i < cut; i++)
            lines += whole.p[i] == '\n';
        assert_int_equal(last, lines);
        push(ev, last + 1, 4);
        events_free(ev);
        DEFER(buf_done) struct buf again = read_live();
        if (cut >= opening) {
            assert_true(slice_eq(buf_slice(&again), buf_slice(&whole)));
            continue;
        }
        assert_live_holds(1, 4);
        char *names[64];
        size_t n = list_folder(names);
        assert_int_equal(n, cut > 0 ? 2 : 1); /* the torn opening line is set aside */
        free_names(names, n);
    }
}

/* A torn line that no event completes is never cut off: its file is set aside as it is. */
static void test_torn_without_a_match(void **state)
{
    (void)state;
    uint64_t last = 0;
    DEFER(buf_done) struct buf torn = BUF_MAX(1 << 20);
    add_lines(&torn, 7, 8);
    buf_cut(&torn, torn.n - 20);
    write_live(buf_slice(&torn));
    struct events *ev = open_as("other-name", 0, 0, &last);
    assert_int_equal(last, 7);
    push(ev, 8, 9);
    events_free(ev);
    char *names[64];
    size_t n = list_folder(names);
    assert_int_equal(n, 2);
    assert_non_null(strstr(names[0], "Z-7-torn.jsonl"));
    DEFER(buf_done) struct buf aside = read_named(names[0]), now = read_live();
    assert_true(slice_eq(buf_slice(&aside), buf_slice(&torn)));
    assert_opened(&now, 8);
    free_names(names, n);
}

static void test_garbage_at_the_end(void **state)
{
    (void)state;
    static const size_t sizes[] = {LINE_MAX_BYTES - 1, LINE_MAX_BYTES, 5 * LINE_MAX_BYTES};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t last = 0;
        DEFER(buf_done) struct buf b = BUF_MAX(1 << 20);
        empty_folder();
        add_lines(&b, 1, 3);
        memset(buf_reserve(&b, sizes[i]), 0,
               sizes[i]); /* what some file systems leave after a power cut */
        buf_commit(&b, sizes[i]);
        write_live(buf_slice(&b));
        struct events *ev = open_log(0, &last);
        assert_int_equal(last, sizes[i] < 4 * LINE_MAX_BYTES ? 3 : 0);
        push(ev, 4, 5);
        events_free(ev);
        assert_live_holds(4, 5);
        char *names[64];
        size_t n = list_folder(names);
        DEFER(buf_done) struct buf aside = read_named(names[0]);
        assert_true(slice_eq(buf_slice(&aside), buf_slice(&b)));
        free_names(names, n);
    }
}

static void test_folder_is_made(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf path = BUF_MAX(4096), inner = BUF_MAX(4096);
    uint64_t last = 0;
    struct events *ev = NULL;
    struct err e = {0};
    buf_addf(&path, "%s/a/b/log", folder);
    const struct events_conf c = {.path = buf_str(&path), .node = "node"};
    assert_int_equal(events_new(&ev, &c, &last, &e), 0);
    push(ev, 1, 1);
    events_free(ev);
    assert_int_equal(unlink(buf_str(&path)), 0);
    buf_addf(&inner, "%s/a/b", folder);
    assert_int_equal(rmdir(buf_str(&inner)), 0);
    buf_reset(&inner);
    buf_addf(&inner, "%s/a", folder);
    assert_int_equal(rmdir(buf_str(&inner)), 0);
}

static void test_bad_paths_are_told(void **state)
{
    (void)state;
    static const char *const paths[] = {"/proc/none/delivery.jsonl", "/tmp/", "/dev/null/x"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct events *ev = NULL;
        struct err e = {0};
        uint64_t last = 77;
        const struct events_conf c = {.path = paths[i], .node = "node"};
        assert_true(events_new(&ev, &c, &last, &e) < 0);
        assert_true(strlen(e.text) > 10);
        assert_null(ev);
        assert_int_equal(last, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_new_log, setup),
        cmocka_unit_test_setup(test_free_without_start, setup),
        cmocka_unit_test_setup(test_torn_at_every_byte, setup),
        cmocka_unit_test_setup(test_torn_without_a_match, setup),
        cmocka_unit_test_setup(test_garbage_at_the_end, setup),
        cmocka_unit_test_setup(test_folder_is_made, setup),
        cmocka_unit_test_setup(test_bad_paths_are_told, setup),
    };
    return run_in_folder(tests, sizeof tests / sizeof *tests);
}

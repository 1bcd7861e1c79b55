/* Files that end and begin. If this breaks, a consumer that goes from file to file misses events,
 * or a collector takes two files for one. */
#include "relay/events/logfile.h"
#include "tests/unit/events/folder.h"

static bool seq_of_name(const char *name, uint64_t *ret)
{
    bool packed = false;
    return names_parse(slice_str(name), &of_log, ret, &packed) && !packed;
}

/* All files together hold each event once, in order; each begins with a line of its own and says
 * how it ends. */
static void check_rotated(uint64_t to, size_t at_least)
{
    char *names[64];
    size_t n = list_folder(names), ids = 0;
    uint64_t next = 1;
    struct buf files[64], opening[64];
    assert_true(n > at_least);
    for (uint64_t found = 1; found > 0 && next <= to;) {
        found = 0;
        for (size_t i = 0; i < n; i++) {
            struct buf b = read_named(names[i]);
            uint64_t seq = 0;
            line_seq(slice_head(buf_slice(&b), first_line(&b)), &seq);
            if (seq + 1 != next) {
                buf_done(&b);
                continue;
            }
            found = 1;
            assert_opened(&b, next);
            files[ids] = b;
            opening[ids++] = (struct buf){.p = b.p, .n = first_line(&b)};
            struct slice rest = slice_skip(buf_slice(&b), first_line(&b));
            while (rest.n > 0) {
                struct slice line = slice_head(rest, slice_find(rest, '\n') + 1);
                rest = slice_skip(rest, line.n);
                if (slice_starts(line, SLICE_LIT("{\"v\":1,\"event\":\"log_closed\""))) {
                    assert_int_equal(rest.n, 0);
                    assert_string_not_equal(names[i], "delivery.jsonl");
                    continue;
                }
                assert_true(line_seq(line, &seq));
                assert_int_equal(seq, next++);
            }
            uint64_t in_name = next - 1;
            if (strcmp(names[i], "delivery.jsonl") != 0)
                assert_true(seq_of_name(names[i], &in_name));
            assert_int_equal(in_name, next - 1);
            break;
        }
    }
    assert_int_equal(next, to + 1);
    for (size_t i = 0; i < ids; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(slice_eq(buf_slice(&opening[i]), buf_slice(&opening[j])));
    for (size_t i = 0; i < ids; i++)
        buf_done(&files[i]);
    free_names(names, n);
}

static void test_rotation(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_log(4000, &last);
    events_start(ev);
    push(ev, 1, 100);
    assert_true(wait_kept(100));
    push(ev, 101, 120);
    events_free(ev);
    check_rotated(120, 5);
    /* A new process goes on where the old one was. */
    ev = open_log(4000, &last);
    assert_int_equal(last, 120);
    push(ev, 121, 150);
    events_free(ev);
    check_rotated(150, 6);
}

/* Between the renaming and the first line of the new file, the number stands in the newest old one.
 */
static void test_last_seq_from_rotated(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_log(2000, &last);
    push(ev, 1, 60);
    events_free(ev);
    for (int empty = 0; empty < 2; empty++) {
        char *names[64];
        size_t n = list_folder(names);
        uint64_t want = 0, seq = 0;
        for (size_t i = 0; i < n; i++)
            if (seq_of_name(names[i], &seq) && seq > want)
                want = seq;
        free_names(names, n);
        unlink(live);
        if (empty)
            write_live(SLICE_NONE);
        ev = open_log(2000, &last);
        assert_int_equal(last, want);
        push(ev, last + 1, 60);
        events_free(ev);
        check_rotated(60, 4);
    }
}

static void test_retention(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool old, gone;
    } rows[] = {
        {"delivery-20260102T030405Z-17.jsonl", true, true},
        {"delivery-20260102T030405Z-17-2.jsonl", true, true},
        {"delivery-20260102T030405Z-17-torn.jsonl", true, true},
        {"delivery-20260102T030405Z-18.jsonl", false, false},
        {"delivery-20260102T030405Z-x.jsonl", true, false},
        {"delivery-20260102T030405-17.jsonl", true, false},
        {"delivery-notes.jsonl", true, false},
        {"delivery-20260102T030405Z-17.jsonl.gz", true, false},
        {"other-20260102T030405Z-17.jsonl", true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf path = BUF_MAX(4096);
        buf_addf(&path, "%s/%s", folder, rows[i].name);
        int fd = open(buf_str(&path), O_CREAT | O_WRONLY, 0600);
        struct timespec then[2] = {
            {.tv_sec = wall_now().us / WALL_SECOND - (rows[i].old ? 7200 : 60)}};
        then[1] = then[0];
        assert_int_equal(futimens(fd, then), 0);
        close(fd);
    }
    uint64_t last = 0;
    struct events *ev = open_as("node", 0, 3600, &last);
    push(ev, 19, 19);
    events_start(ev);
    assert_true(wait_kept(19));
    events_free(ev);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf path = BUF_MAX(4096);
        buf_addf(&path, "%s/%s", folder, rows[i].name);
        assert_int_equal(access(buf_str(&path), F_OK) != 0, rows[i].gone);
    }
}

/* logrotate: the file is renamed, then SIGHUP. A reload without a rename changes nothing. */
static void test_reopen(void **state)
{
    (void)state;
    uint64_t last = 0, seq = 0;
    DEFER(buf_done) struct buf moved = BUF_MAX(4096);
    struct events *ev = open_log(0, &last);
    events_start(ev);
    push(ev, 1, 5);
    events_reopen(ev);
    assert_true(wait_kept(5));
    assert_live_holds(1, 5);
    buf_addf(&moved, "%s/moved", folder);
    assert_int_equal(rename(live, buf_str(&moved)), 0);
    push(ev, 6, 6); /* still into the old file */
    assert_true(wait_kept(6));
    events_reopen(ev);
    for (int i = 0; i < 6000 && access(live, F_OK) != 0; i++)
        usleep(10000);
    push(ev, 7, 8);
    events_free(ev);
    assert_live_holds(7, 8);
    DEFER(buf_done) struct buf old = read_named("moved"), want = BUF_MAX(1 << 20);
    add_lines(&want, 1, 6);
    struct slice events = slice_head(slice_skip(buf_slice(&old), first_line(&old)), want.n);
    assert_true(slice_eq(events, buf_slice(&want)));
    struct slice tail = slice_skip(buf_slice(&old), first_line(&old) + want.n);
    assert_true(slice_starts(tail, SLICE_LIT("{\"v\":1,\"event\":\"log_closed\"")));
    assert_true(line_seq(tail, &seq));
    assert_int_equal(seq, 6);
    assert_int_equal(slice_find(tail, '\n') + 1, tail.n);
}

/* A crash right behind a rotation by others: the new file's first line tells the number. */
static void test_opening_line_tells_the_number(void **state)
{
    (void)state;
    uint64_t last = 0;
    DEFER(buf_done) struct buf b = BUF_MAX(1 << 20);
    line_opened(&b, "00112233445566778899aabbccddeeff", "node", (struct wall){0}, 33);
    write_live(buf_slice(&b));
    struct events *ev = open_log(0, &last);
    assert_int_equal(last, 32);
    push(ev, 33, 34);
    events_free(ev);
    assert_live_holds(33, 34);
}

/* A file that is put aside replaces none of the same moment and number, nor the place of one that
 * has been compressed. */
static void test_nothing_is_replaced(void **state)
{
    enum { N = 4 };
    (void)state;
    struct logfile f;
    struct err e = {0};
    char *names[64];
    assert_int_equal(logfile_init(&f, live, &e), 0);
    for (int i = 0; i < N; i++) {
        struct logfile_tail tail;
        char text[16];
        snprintf(text, sizeof text, "line %d\n", i);
        write_live(slice_str(text));
        assert_int_equal(logfile_open(&f, &tail, &e), 0);
        logfile_tail_done(&tail);
        assert_int_equal(
            logfile_set_aside(&f, (struct wall){INT64_C(1767323045000000)}, 7, false, &e), 0);
        logfile_close(&f);
        const size_t n = list_folder(names);
        assert_int_equal(n, i + 1);
        DEFER(buf_done) struct buf from = BUF_MAX(4096), to = BUF_MAX(4096);
        if (i == 1) { /* the second one is compressed: its name is taken all the same */
            buf_addf(&from, "%s/%s", folder, names[1]);
            buf_addf(&to, "%s/%s" NAMES_PACKED, folder, names[1]);
            assert_int_equal(rename(buf_str(&from), buf_str(&to)), 0);
        }
        free_names(names, n);
    }
    DEFER(buf_done) struct buf all = BUF_MAX(4096);
    const size_t n = list_folder(names);
    for (size_t i = 0; i < n; i++) {
        DEFER(buf_done) struct buf one = read_named(names[i]);
        buf_add(&all, buf_slice(&one));
        for (size_t k = 0; k < i; k++) /* none is another one's compressed self */
            assert_false(slice_starts(slice_str(names[i]), slice_str(names[k])) &&
                         strstr(names[i], NAMES_PACKED));
    }
    free_names(names, n);
    for (int i = 0; i < N; i++) {
        char text[16];
        snprintf(text, sizeof text, "line %d\n", i);
        assert_non_null(strstr(buf_str(&all), text));
    }
    logfile_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rotation, setup),
        cmocka_unit_test_setup(test_last_seq_from_rotated, setup),
        cmocka_unit_test_setup(test_retention, setup),
        cmocka_unit_test_setup(test_reopen, setup),
        cmocka_unit_test_setup(test_nothing_is_replaced, setup),
        cmocka_unit_test_setup(test_opening_line_tells_the_number, setup),
    };
    return run_in_folder(tests, sizeof tests / sizeof *tests);
}

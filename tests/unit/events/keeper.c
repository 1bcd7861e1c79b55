/* Files that were set aside: compressed, removed; and files that end by age or on demand. If this
 * breaks, a disk fills up with logs, an event is gone with a file that nobody could read in time,
 * or a consumer finds half a file. */
#include "tests/unit/events/folder.h"
#include <zstd.h>

static struct events *open_with(struct events_conf c)
{
    struct events *ev = NULL;
    struct err e = {0};
    uint64_t last = 0;
    c.path = live;
    c.node = "node";
    assert_int_equal(events_new(&ev, &c, &last, &e), 0);
    events_set_spool(ev, &(struct events_spool){.kept = on_kept});
    atomic_store(&kept, 0);
    return ev;
}

static void write_named(const char *name, struct slice s, int64_t age_s)
{
    DEFER(buf_done) struct buf path = BUF_MAX(4096);
    buf_addf(&path, "%s/%s", folder, name);
    int fd = open(buf_str(&path), O_CREAT | O_TRUNC | O_WRONLY, 0640);
    assert_true(fd >= 0 && write(fd, s.p, s.n) == (ssize_t)s.n);
    struct timespec then[2] = {{.tv_sec = wall_now().us / WALL_SECOND - age_s}};
    then[1] = then[0];
    assert_int_equal(futimens(fd, then), 0);
    close(fd);
}

static bool is_there(const char *name, struct stat *st)
{
    DEFER(buf_done) struct buf path = BUF_MAX(4096);
    buf_addf(&path, "%s/%s", folder, name);
    return stat(buf_str(&path), st) == 0;
}

static void wait_gone(const char *name)
{
    struct stat st;
    for (int i = 0; i < 6000 && is_there(name, &st); i++)
        usleep(10000);
    assert_false(is_there(name, &st));
}

static void assert_packed(const char *name, struct slice want)
{
    DEFER(buf_done) struct buf packed = read_named(name);
    assert_int_equal(ZSTD_getFrameContentSize(packed.p, packed.n), want.n);
    uint8_t *whole = malloc(want.n + 1);
    assert_int_equal(ZSTD_decompress(whole, want.n + 1, packed.p, packed.n), want.n);
    assert_true(slice_eq(slice_of(whole, want.n), want));
    free(whole);
}

/* Old enough: compressed, with every octet, its time and its mode; the rest stays. */
static void test_compressed(void **state)
{
    (void)state;
    static const char old[] = "delivery-20260102T030405Z-9000.jsonl",
                      packed[] = "delivery-20260102T030405Z-9000.jsonl.zst",
                      fresh[] = "delivery-20260102T040405Z-9001.jsonl",
                      torn[] = "delivery-20260102T030405Z-9000-torn.jsonl",
                      other[] = "delivery-notes.jsonl",
                      left[] = ".delivery-20260102T030405Z-8000.jsonl.zst.new";
    DEFER(buf_done) struct buf lines = BUF_MAX(8 << 20);
    struct stat st;
    add_lines(&lines, 1, 9000); /* several pieces */
    write_named(old, buf_slice(&lines), 7200);
    write_named(torn, buf_slice(&lines), 7200);
    write_named(other, buf_slice(&lines), 7200);
    write_named(fresh, buf_slice(&lines), 60);
    write_named(left, SLICE_LIT("half a frame"), 60);
    struct events *ev = open_with((struct events_conf){.compress_s = 3600, .keep_s = 86400});
    events_start(ev);
    wait_gone(old);
    events_free(ev);
    assert_packed(packed, buf_slice(&lines));
    assert_true(is_there(packed, &st));
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_in_range(wall_now().us / WALL_SECOND - st.st_mtim.tv_sec, 7100, 7300);
    assert_true(is_there(fresh, &st) && is_there(torn, &st) && is_there(other, &st));
    assert_false(is_there(left, &st));
}

/* Between the two steps of a crash: the plain one goes, the compressed one is not made again. */
static void test_compressed_already(void **state)
{
    (void)state;
    static const char plain[] = "delivery-20260102T030405Z-17.jsonl",
                      packed[] = "delivery-20260102T030405Z-17.jsonl.zst";
    write_named(plain, SLICE_LIT("{}\n"), 7200);
    write_named(packed, SLICE_LIT("as it is"), 7200);
    struct events *ev = open_with((struct events_conf){.compress_s = 3600});
    events_start(ev);
    wait_gone(plain);
    events_free(ev);
    DEFER(buf_done) struct buf now = read_named(packed);
    assert_string_equal(buf_str(&now), "as it is");
}

/* A name whose file was compressed is taken: a file set aside in the same second gets another. */
static void test_name_of_a_compressed_file_is_taken(void **state)
{
    (void)state;
    uint64_t seq = 0;
    bool is_packed = false;
    struct stat st;
    struct events *ev = open_with((struct events_conf){.rotate_bytes = 1500, .compress_s = 1});
    events_start(ev);
    push(ev, 1, 40);
    assert_true(wait_kept(40));
    for (int i = 0; i < 6000; i++, usleep(10000)) { /* all but the live one end as .zst */
        char *names[64];
        size_t n = list_folder(names), plain = 0;
        for (size_t k = 0; k < n; k++)
            plain += names_parse(slice_str(names[k]), &of_log, &seq, &is_packed) && !is_packed;
        free_names(names, n);
        if (plain == 0)
            break;
    }
    events_free(ev);
    DEFER(names_list_done) struct names_list l;
    assert_int_equal(names_list(&l, &of_log), 0);
    assert_true(l.n > 5 && l.n < 40);
    for (size_t i = 0; i < l.n; i++)
        assert_true(l.at[i].packed && is_there(l.at[i].name, &st));
    for (size_t i = 1; i < l.n; i++)
        assert_true(l.at[i].seq > l.at[i - 1].seq);
}

/* Oldest first, until the rest fits; by age whatever their size. */
static void test_removed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t bytes;
        int64_t age_s;
        bool gone;
    } rows[] = {
        {"delivery-20260102T030401Z-1.jsonl", 10, 999999, true}, /* too old */
        {"delivery-20260102T030402Z-2.jsonl.zst", 4000, 50, true},
        {"delivery-20260102T030402Z-3.jsonl", 4000, 40, true},
        {"delivery-20260102T030403Z-4.jsonl.zst", 4000, 30, false},
        {"delivery-20260102T030403Z-10.jsonl", 4000, 20, false},
        {"delivery-notes.jsonl", 100000, 999999, false},
    };
    static uint8_t zeros[100000];
    struct stat st;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        write_named(rows[i].name, slice_of(zeros, rows[i].bytes), rows[i].age_s);
    struct events *ev = open_with((struct events_conf){.keep_s = 3600, .keep_bytes = 8000});
    events_start(ev);
    push(ev, 11, 11);
    assert_true(wait_kept(11));
    wait_gone(rows[2].name);
    events_free(ev);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(is_there(rows[i].name, &st), !rows[i].gone);
}

static size_t count_put_aside(void)
{
    struct names_list l;
    assert_int_equal(names_list(&l, &of_log), 0);
    size_t n = l.n;
    names_list_done(&l);
    return n;
}

static void wait_put_aside(size_t n)
{
    for (int i = 0; i < 6000 && count_put_aside() < n; i++)
        usleep(10000);
    assert_int_equal(count_put_aside(), n);
}

/* A file ends when it is a second old, but only if it has an event; also one of an earlier process.
 */
static void test_rotation_by_age(void **state)
{
    (void)state;
    struct events *ev = open_with((struct events_conf){.rotate_s = 1});
    push(ev, 1, 3); /* before the start: they come together */
    events_start(ev);
    wait_put_aside(1);
    events_free(ev);
    ev = open_with((struct events_conf){.rotate_s = 0});
    push(ev, 4, 4);
    events_free(ev);
    usleep(1100000);
    assert_int_equal(count_put_aside(), 1);
    ev = open_with((struct events_conf){.rotate_s = 1});
    events_start(ev);
    wait_put_aside(2);
    usleep(2200000); /* two empty seconds */
    assert_int_equal(count_put_aside(), 2);
    push(ev, 5, 5);
    events_free(ev);
}

/* Checklist 99: the clock was set back by a year: the file's beginning lies ahead, and it does not
 * grow for a year. */
static void test_rotation_by_age_when_the_clock_was_set_back(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(1 << 20);
    line_opened(&b, "00112233445566778899aabbccddeeff", "node", wall_add_s(wall_now(), 31536000),
                1);
    add_lines(&b, 1, 2);
    write_live(buf_slice(&b));
    struct events *ev = open_with((struct events_conf){.rotate_s = 1});
    events_start(ev);
    wait_put_aside(1);
    events_free(ev);
}

static atomic_uint answers;

static void on_answer(void *ctx, struct msg *m)
{
    (void)ctx;
    free(m);
    atomic_fetch_add(&answers, 1);
}

/* On demand: what was pushed before is in the file that ended when the answer comes. */
static void test_rotation_on_demand(void **state)
{
    (void)state;
    struct loop *loop = loop_new("asker", 0);
    struct inbox *inbox = inbox_new(loop, NULL, NULL);
    const struct port port = {.inbox = inbox, .fn = on_answer};
    struct events *ev = open_with((struct events_conf){.rotate_bytes = 0});
    assert_int_equal(loop_start(loop), 0);
    events_start(ev);
    push(ev, 1, 7);
    for (unsigned i = 1; i <= 3; i++) { /* the second and third find no event */
        events_rotate(ev, calloc(1, sizeof(struct msg)), &port);
        for (int k = 0; k < 12000 && atomic_load(&answers) < i; k++)
            usleep(5000);
        assert_int_equal(atomic_load(&answers), i);
        assert_int_equal(count_put_aside(), 1);
    }
    DEFER(names_list_done) struct names_list l;
    assert_int_equal(names_list(&l, &of_log), 0);
    assert_int_equal(l.at[0].seq, 7);
    push(ev, 8, 9);
    events_free(ev);
    assert_live_holds(8, 9);
    loop_stop(loop);
    loop_join(loop);
    inbox_free(inbox, NULL);
    loop_free(loop);
}

/* Changed while it runs: the style from the next event on, the sizes at once. */
static void test_reconfigured(void **state)
{
    (void)state;
    struct events *ev = open_with((struct events_conf){.rotate_bytes = 0});
    events_start(ev);
    push(ev, 1, 20);
    assert_true(wait_kept(20));
    assert_int_equal(count_put_aside(), 0);
    events_reconfigure(ev, &(struct events_conf){.rotate_bytes = 2000});
    push(ev, 21, 30);
    assert_true(wait_kept(30));
    events_free(ev);
    assert_true(count_put_aside() >= 2);
}

static atomic_int full;

static void on_room(void *ctx, bool is_full)
{
    (void)ctx;
    atomic_store(&full, is_full);
}

/* Checklist 100: less room than wanted is told, and when there is enough again. */
static void test_room(void **state)
{
    (void)state;
    struct events *ev = open_with((struct events_conf){.min_free = UINT64_MAX / 32});
    events_set_spool(ev, &(struct events_spool){.kept = on_kept, .room = on_room});
    events_start(ev);
    for (int i = 0; i < 6000 && !atomic_load(&full); i++)
        usleep(10000);
    assert_true(atomic_load(&full) && events_full(ev));
    push(ev, 1, 3); /* what is queued goes on */
    assert_true(wait_kept(3));
    events_reconfigure(ev, &(struct events_conf){.min_free = 1});
    for (int i = 0; i < 6000 && atomic_load(&full); i++)
        usleep(10000);
    assert_false(atomic_load(&full) || events_full(ev));
    events_free(ev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_compressed, setup),
        cmocka_unit_test_setup(test_compressed_already, setup),
        cmocka_unit_test_setup(test_name_of_a_compressed_file_is_taken, setup),
        cmocka_unit_test_setup(test_removed, setup),
        cmocka_unit_test_setup(test_rotation_by_age, setup),
        cmocka_unit_test_setup(test_rotation_by_age_when_the_clock_was_set_back, setup),
        cmocka_unit_test_setup(test_rotation_on_demand, setup),
        cmocka_unit_test_setup(test_reconfigured, setup),
        cmocka_unit_test_setup(test_room, setup),
    };
    return run_in_folder(tests, sizeof tests / sizeof *tests);
}

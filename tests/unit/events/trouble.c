/* A full disk and a failing one. If this breaks, events are lost, or the journal forgets what the
 * log does not have. Promises 5 and 11. */
#include "tests/unit/events/folder.h"

static atomic_bool sync_fails;
static atomic_uint failed_syncs;
static atomic_uint n_syncs; /* that went well */

/* Instead of libc's: a disk that cannot keep what it took. */
int fdatasync(int fd)
{
    if (atomic_load(&sync_fails)) {
        atomic_fetch_add(&failed_syncs, 1);
        errno = EIO;
        return -1;
    }
    const int rc = (int)syscall(SYS_fdatasync, fd);
    n_syncs += rc == 0;
    return rc;
}

static void limit_file_size(rlim_t n)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* The disk is full at any byte of a line: nothing is reported as kept that is not there, and
 * nothing is missing when it is over. */
static void test_full_disk(void **state)
{
    (void)state;
    for (size_t room = 0; room < 3; room++) {
        uint64_t last = 0;
        empty_folder();
        struct events *ev = open_log(0, &last);
        events_start(ev);
        push(ev, 1, 10);
        assert_true(wait_kept(10));
        DEFER(buf_done) struct buf so_far = read_live();
        limit_file_size(so_far.n + room * 301);
        push(ev, 11, 30);
        usleep(300000);
        assert_true(atomic_load(&kept) < 30);
        push(ev, 31, 40);
        limit_file_size(RLIM_INFINITY);
        assert_true(wait_kept(40));
        events_free(ev);
        assert_live_holds(1, 40);
    }
}

/* The same, and the process ends before there is room again. */
static void test_full_disk_then_restart(void **state)
{
    (void)state;
    for (size_t room = 0; room < 700; room += 97) {
        uint64_t last = 0;
        empty_folder();
        struct events *ev = open_log(0, &last);
        events_start(ev);
        push(ev, 1, 3);
        assert_true(wait_kept(3));
        DEFER(buf_done) struct buf so_far = read_live();
        limit_file_size(so_far.n + room);
        push(ev, 4, 9);
        events_free(ev);
        limit_file_size(RLIM_INFINITY);
        ev = open_log(0, &last);
        assert_in_range(last, 3, 8);
        push(ev, last + 1, 9);
        events_free(ev);
        assert_live_holds(1, 9);
    }
}

/* A failed sync may have lost what was written: those lines go into a new file, and only then they
 * count as kept. */
static void test_failed_sync(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_log(0, &last);
    events_start(ev);
    push(ev, 1, 10);
    assert_true(wait_kept(10));
    atomic_store(&sync_fails, true);
    push(ev, 11, 20);
    for (int i = 0; i < 6000 && atomic_load(&failed_syncs) == 0; i++)
        usleep(10000);
    usleep(500000);
    assert_int_equal(atomic_load(&kept), 10);
    atomic_store(&sync_fails, false);
    assert_true(wait_kept(20));
    events_free(ev);
    assert_live_holds(11, 20);
    char *names[64];
    size_t n = list_folder(names);
    assert_true(n >= 2);
    DEFER(buf_done) struct buf first = read_named(names[0]);
    assert_opened(&first, 1);
    free_names(names, n);
}

/* What a process wrote that was killed may not be on the disk, though it stands in the file: the
 * next one sees to that, also when nothing happens any more. */
static void test_written_by_another(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_log(0, &last);
    push(ev, 1, 10);
    events_free(ev);
    atomic_store(&n_syncs, 0);
    ev = open_log(0, &last);
    assert_int_equal(last, 10);
    events_start(ev);
    events_free(ev);
    assert_true(atomic_load(&n_syncs) > 0);
    assert_live_holds(1, 10);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_full_disk, setup),
        cmocka_unit_test_setup(test_full_disk_then_restart, setup),
        cmocka_unit_test_setup(test_failed_sync, setup),
        cmocka_unit_test_setup(test_written_by_another, setup),
    };
    return run_in_folder(tests, sizeof tests / sizeof *tests);
}

/* More events than memory may hold, and events that the spool has to tell again. If this breaks, a
 * log that cannot be written takes all memory, or lines are missing, twice, or out of order when it
 * can be written again. Promises 11 and 15; checklist 100. */
#include "tests/unit/events/folder.h"

/* What the log asked for; the test answers as the spool would. */
static struct {
    _Atomic uint64_t after, upto;
    atomic_uint asked;
    _Atomic int64_t at_ms; /* the last time */
    unsigned answered;
} question;

static void on_again(void *ctx, uint64_t after, uint64_t upto)
{
    (void)ctx;
    atomic_store(&question.after, after);
    atomic_store(&question.upto, upto);
    atomic_store(&question.at_ms, mono_now().ms);
    atomic_fetch_add(&question.asked, 1);
}

static struct events *open_small(uint64_t memory, uint64_t *ret_last)
{
    struct events *ev = NULL;
    struct err e = {0};
    const struct events_conf c = {.path = live, .node = "node", .memory = memory};
    assert_int_equal(events_new(&ev, &c, ret_last, &e), 0);
    events_set_spool(ev, &(struct events_spool){.kept = on_kept, .again = on_again});
    atomic_store(&kept, 0);
    atomic_store(&question.asked, 0);
    question.answered = 0;
    return ev;
}

static void tell_again(struct events *ev, uint64_t from, uint64_t to)
{
    DEFER(buf_done) struct buf fields = BUF_MAX(4096);
    for (uint64_t seq = from; seq <= to; seq++) {
        struct event e = event_n(&fields, seq);
        events_again(ev, &e);
    }
}

/* Answers, at most `n` events at a time, those in between that the spool has, until `to` is kept.
 */
static void answer_until(struct events *ev, uint64_t to, uint64_t n, uint64_t has_from)
{
    for (int i = 0; i < 12000 && atomic_load(&kept) != to; i++, usleep(5000)) {
        if (atomic_load(&question.asked) == question.answered)
            continue;
        question.answered++;
        uint64_t after = atomic_load(&question.after), upto = atomic_load(&question.upto);
        uint64_t last = upto - after > n ? after + n : upto;
        tell_again(ev, after + 1 > has_from ? after + 1 : has_from, last);
        events_again_end(ev, last);
    }
    assert_int_equal(atomic_load(&kept), to);
}

static void limit_file_size(rlim_t n)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* The disk is full for 20,000 events, of which memory holds a few hundred: nobody has asked while
 * nothing could be written, and then all of them come, once and in order. */
static void test_memory_is_bounded(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_small(64 << 10, &last);
    events_start(ev);
    push(ev, 1, 10);
    assert_true(wait_kept(10));
    DEFER(buf_done) struct buf so_far = read_live();
    limit_file_size(so_far.n + 100);
    for (uint64_t seq = 11; seq <= 20000; seq++) {
        push(ev, seq, seq);
        if (seq % 1000 == 0)
            usleep(1000);
    }
    assert_int_equal(events_pushed_seq(ev), 20000);
    for (int i = 0; i < 12000 && !events_stuck(ev); i++)
        usleep(5000);
    assert_true(events_stuck(ev));
    assert_int_equal(atomic_load(&question.asked), 0);
    limit_file_size(RLIM_INFINITY);
    answer_until(ev, 20000, 3000, 1);
    assert_true(question.answered > 5);
    assert_false(events_stuck(ev));
    push(ev, 20001, 20010); /* and it goes on as before */
    assert_true(wait_kept(20010));
    events_free(ev);
    assert_live_holds(1, 20010);
}

/* New events come while old ones are told again: they wait behind them. */
static void test_live_events_meanwhile(void **state)
{
    (void)state;
    uint64_t last = 0, next = 2001;
    struct events *ev = open_small(32 << 10, &last);
    push(ev, 1, 2000); /* before the start: a replay that is larger than memory */
    events_start(ev);
    for (int i = 0; i < 12000 && atomic_load(&kept) < 4000; i++) {
        if (next <= 4000) {
            push(ev, next, next + 9);
            next += 10;
        } else {
            usleep(5000);
        }
        if (atomic_load(&question.asked) == question.answered)
            continue;
        question.answered++;
        uint64_t after = atomic_load(&question.after), upto = atomic_load(&question.upto);
        uint64_t to = upto - after > 150 ? after + 150 : upto;
        tell_again(ev, after + 1, to);
        events_again_end(ev, to);
    }
    assert_int_equal(atomic_load(&kept), 4000);
    assert_true(question.answered > 3);
    events_free(ev);
    assert_live_holds(1, 4000);
}

/* What the spool does not have, either (its disk was damaged), is passed over: a gap is better than
 * a log that stands still. */
static void test_nobody_has_it(void **state)
{
    (void)state;
    uint64_t last = 0, seq = 0;
    struct events *ev = open_small(0, &last);
    events_start(ev);
    push(ev, 1, 5);
    push(ev, 9, 12);
    answer_until(ev, 12, 100, 8); /* it has the eighth */
    events_free(ev);
    DEFER(buf_done) struct buf got = read_live(), want = BUF_MAX(1 << 20);
    add_lines(&want, 1, 5);
    add_lines(&want, 8, 12);
    assert_true(slice_eq(slice_skip(buf_slice(&got), first_line(&got)), buf_slice(&want)));
    assert_true(line_seq(buf_slice(&got), &seq) && seq == 0);
}

/* A spool that cannot be read now is asked again, not at once and not never: with the next look,
 * which is a second after the first one, when the thread began. */
static void test_trouble_is_asked_again(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_small(0, &last);
    const struct mono begun = mono_now();
    events_start(ev);
    push(ev, 1, 5);
    push(ev, 9, 12);
    for (int i = 0; i < 12000 && atomic_load(&question.asked) == 0; i++)
        usleep(5000);
    assert_int_equal(atomic_load(&question.asked), 1);
    question.answered++;
    events_again_end(ev, 5);
    answer_until(ev, 12, 100, 1);
    assert_int_equal(question.answered, 2);
    assert_true(atomic_load(&question.at_ms) - begun.ms >= 990);
    events_free(ev);
    assert_live_holds(1, 12);
}

/* What the spool tells again may have come the other way, too. */
static void test_told_twice(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_small(0, &last);
    events_start(ev);
    push(ev, 1, 5);
    push(ev, 9, 12);
    for (int i = 0; i < 12000 && atomic_load(&question.asked) == 0; i++)
        usleep(5000);
    tell_again(ev, 3, 10);
    events_again_end(ev, 10);
    assert_true(wait_kept(12));
    events_free(ev);
    assert_live_holds(1, 12);
}

/* Without anybody to ask, at the end, nothing is passed over: the spool has it for the next start.
 */
static void test_stop_with_a_gap(void **state)
{
    (void)state;
    uint64_t last = 0;
    struct events *ev = open_small(0, &last);
    events_start(ev);
    push(ev, 1, 5);
    assert_true(wait_kept(5));
    push(ev, 9, 12);
    events_set_spool(ev, NULL);
    events_free(ev);
    assert_live_holds(1, 5);
    ev = open_small(0, &last);
    assert_int_equal(last, 5);
    push(ev, 6, 12);
    events_free(ev);
    assert_live_holds(1, 12);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_memory_is_bounded, setup),
        cmocka_unit_test_setup(test_live_events_meanwhile, setup),
        cmocka_unit_test_setup(test_nobody_has_it, setup),
        cmocka_unit_test_setup(test_trouble_is_asked_again, setup),
        cmocka_unit_test_setup(test_told_twice, setup),
        cmocka_unit_test_setup(test_stop_with_a_gap, setup),
    };
    return run_in_folder(tests, sizeof tests / sizeof *tests);
}

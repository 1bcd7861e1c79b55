/* spool.check over the control socket. If this breaks, a finding is not told, or a check that
 * nobody listens to keeps all later ones out. */
#include "tests/unit/admin/world.h"

enum { STEPS = 40, LINES = 200 };

static int inside; /* of the spool: never looked into */
static atomic_int begun, steps, given_up, ended;
static atomic_bool repair, busy;

static void step(struct spooler_check *q)
{
    if (!q->check)
        atomic_fetch_add(&begun, 1);
    q->check = (struct spool_check *)(void *)&inside;
    q->lines.max = 1 << 20;
    buf_reset(&q->lines);
    for (int i = 0; i < LINES; i++)
        buf_addf(&q->lines, "seg-%08x: damaged record %d \001\n", (unsigned)q->report.segments, i);
    atomic_fetch_add(&steps, 1);
    atomic_store(&repair, q->repair);
    if (++q->report.segments < STEPS)
        return;
    q->report.damaged = LINES * STEPS;
    q->report.mended = 7;
    q->over = true;
    q->check = NULL;
    atomic_fetch_add(&ended, 1);
}

static const struct port *my_part(struct spooler *s, struct msg *m)
{
    struct spooler_check *q = (struct spooler_check *)(void *)m;
    (void)s;
    assert_int_equal(m->type, SPOOLER_CHECK);
    if (q->give_up) {
        atomic_fetch_add(&given_up, 1);
        buf_done(&q->lines);
        free(q);
        return NULL;
    }
    if (atomic_load(&busy)) {
        q->error = -EBUSY;
        q->over = true;
    } else {
        step(q);
    }
    return q->reply;
}

static void reset(void)
{
    play = my_part;
    atomic_store(&begun, 0);
    atomic_store(&steps, 0);
    atomic_store(&given_up, 0);
    atomic_store(&ended, 0);
}

static void test_findings(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    say(f, "{\"id\":1,\"verb\":\"spool.check\",\"args\":{\"repair\":true}}");
    struct answer a = hear(f);
    assert_true(a.ok && atomic_load(&repair));
    assert_int_equal(a.rows, LINES * STEPS);
    assert_string_equal(string(a.first_row, "finding"), "seg-00000000: damaged record 0  ");
    assert_string_equal(string(a.last_row, "finding"), "seg-00000027: damaged record 199  ");
    assert_int_equal(number(a.last, "segments"), STEPS);
    assert_int_equal(number(a.last, "damaged"), LINES * STEPS);
    assert_int_equal(number(a.last, "repaired"), 7);
    answer_done(&a);
    atomic_store(&busy, true);
    say(f, "{\"id\":2,\"verb\":\"spool.check\"}");
    a = hear(f);
    atomic_store(&busy, false);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), "busy");
    answer_done(&a);
    say(f, "{\"id\":3,\"verb\":\"spool.check\"}");
    a = hear(f);
    assert_true(a.ok && !atomic_load(&repair));
    answer_done(&a);
    assert_int_equal(atomic_load(&begun), 2);
    fclose(f);
}

/* One that does not read is waited for: no further step is made. When it goes, the check ends. */
static void test_gone(void **state)
{
    (void)state;
    FILE *f = call();
    reset();
    for (int i = 0; i < 100; i++) /* more than the socket and the peer hold */
        say(f, "{\"id\":1,\"verb\":\"spool.check\"}");
    for (int i = 0, still = 0, at = -1; i < 300 && still < 5; i++) { /* until it stands still */
        still = atomic_load(&steps) == at ? still + 1 : 0;
        at = atomic_load(&steps);
        usleep(200000);
    }
    assert_true(atomic_load(&steps) < 50 * STEPS);
    fclose(f);
    for (int i = 0; i < 6000; i++) {
        if (atomic_load(&begun) == atomic_load(&ended) + atomic_load(&given_up))
            return;
        usleep(10000);
    }
    fail_msg("%d begun, %d ended, %d given up", begun, ended, given_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_findings),
        cmocka_unit_test(test_gone),
    };
    return run_with_admin(tests, sizeof tests / sizeof *tests);
}

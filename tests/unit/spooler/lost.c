/* 28, 101: content that is lost for good goes back to its sender at once, not after days of
 * attempts that cannot be made. (Trouble that may pass: trouble.c.) */
#include "tests/unit/spooler/world.h"

static ssize_t (*good_pread)(void *ctx, int fd, void *p, size_t n, uint64_t at);
static int reading_says;

static ssize_t bad_pread(void *ctx, int fd, void *p, size_t n, uint64_t at)
{
    return reading_says < 0 ? reading_says : good_pread(ctx, fd, p, n, at);
}

static void goes_back(void **state)
{
    static const struct {
        int error;
        bool lost;
    } rows[] = {{-EBADMSG, true}, {-ENOENT, true}, {-EIO, false}, {-EMFILE, false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *made;
        setup(&made);
        struct world *w = made;
        good_pread = w->fs->pread;
        w->fs->pread = bad_pread;
        const uint64_t id = store(w, "a@x.test", 1, 0, 0);
        result(w, job_of(w), &deferred, true); /* content leaves memory */
        pump(w);
        forget(w);
        reading_says = rows[i].error;
        w->n_events = 0;
        pass(w, 70000);
        pump(w);
        assert_null(seen(w, CORE_SEND, OUT_WORK)); /* nothing is begun with it */
        forget(w);
        pump(w); /* its mark waited for company */
        assert_int_equal(w->n_events, 1);
        assert_int_equal(w->events[0], rows[i].lost ? EVENT_BOUNCED : EVENT_DEFERRED);
        const struct recipient *r = &spool_find(w->spool, id)->rcpts[0];
        assert_int_equal(r->state, rows[i].lost ? RCPT_BOUNCED : RCPT_QUEUED);
        assert_int_equal(r->attempts, rows[i].lost ? 2 : 1);
        forget(w);
        reading_says = 0;
        teardown(&made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Clients leave at any moment: what was not ended with its dot is never stored, what was answered
 * 250 always is, and nothing of the others stays (checklist 32, 33). */
#include "relay/base/metrics.h"
#include "tests/unit/inbound/world.h"

static const char dialogue[] = "EHLO c\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n"
                               "Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n";

static void say_all(int fd, const char *s, size_t n)
{
    struct line l = {.fd = fd};
    say_bytes(&l, s, n);
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    const size_t n = sizeof dialogue - 1,
                 dot = (size_t)(strstr(dialogue, "\r\n.\r\n") - dialogue) + 5;
    uint64_t whole = 0;
    for (size_t cut = 0; cut <= n; cut++) {
        int fd = call(w, TRUSTED);
        say_all(fd, dialogue, cut);
        hang_up(fd, cut < dot && cut % 3 == 0);
        whole += cut >= dot;
    }
    /* Greeted last: all of them have been accepted, and are sessions to wait for. */
    struct line last = {.fd = call(w, TRUSTED)};
    hear(&last, "220 ");
    hang_up(last.fd, false);
    all_sessions_end(w);
    assert_int_equal(metric_get(M_MESSAGES_COMING), 0);
    assert_int_equal(world_free(w), whole);
}

static const char *lines_of(size_t n)
{
    static char text[2 << 20];
    for (size_t i = 0; i < n; i++)
        text[i] = "x\r\n"[i % 64 == 62 ? 1 : i % 64 == 63 ? 2 : 0];
    return text;
}

static struct line sending(const struct world *w)
{
    struct line l = {.fd = call(w, TRUSTED)};
    hear(&l, "220 ");
    talk(&l, "EHLO c\r\n", "250 ");
    talk(&l, "MAIL FROM:<s@a.test>\r\n", "250 ");
    talk(&l, "RCPT TO:<r@b.test>\r\n", "250 ");
    talk(&l, "DATA\r\n", "354 ");
    return l;
}

/* Content that has begun to go to a file, and never ends. */
static void large_content_cut(void **state)
{
    (void)state;
    static const size_t cuts[] = {1, 200000, 253952, 262144, 262208, 300032, 600064, 1200000};
    static const char *const ends[] = {"", "RSET\r\n", "\r", "\r\n", "\r\n.", "\r\n.\n", "\n"};
    struct world *w = world_new(0, "");
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
            struct line l = sending(w);
            say_bytes(&l, lines_of(cuts[i]), cuts[i]);
            say(&l, ends[k]);
            hang_up(l.fd, k % 2);
        }
    }
    all_sessions_end(w);
    for (int i = 0; body_files(w) > 0; i++) { /* the last ones go */
        assert_true(i < PATIENCE_S * 100);
        usleep(10000);
    }
    assert_int_equal(world_free(w), 0);
}

/* Sizes around every bound of the way: in memory, one piece, several. */
static void any_size_is_stored_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,      64,     248 * 1024, 253888, 253952, 254016,
                                   262080, 262144, 262208,     524288, 600000, 1600000};
    const size_t n = sizeof sizes / sizeof *sizes;
    struct world *w = world_new(0, "");
    struct line l = {.fd = call(w, TRUSTED)};
    hear(&l, "220 ");
    talk(&l, "EHLO c\r\n", "250 ");
    for (size_t i = 0; i < n; i++) {
        talk(&l, "MAIL FROM:<s@a.test>\r\n", "250 ");
        talk(&l, "RCPT TO:<r@b.test>\r\n", "250 ");
        if (i % 2) {
            char command[64];
            snprintf(command, sizeof command, "BDAT %zu LAST\r\n", sizes[i]);
            say(&l, command);
            say_bytes(&l, lines_of(sizes[i]), sizes[i]);
        } else {
            talk(&l, "DATA\r\n", "354 ");
            say_bytes(&l, lines_of(sizes[i] / 64 * 64), sizes[i] / 64 * 64);
            say(&l, ".\r\n");
        }
        hear(&l, "250 2.0.0 Ok: queued as ");
    }
    talk(&l, "QUIT\r\n", "221 ");
    line_end(&l);
    all_sessions_end(w);
    assert_true(body_files(w) >= 4);
    assert_int_equal(world_free(w), n);
}

/* The one message that was coming has come whole: the spooler has it. */
static void until_it_is_stored(void)
{
    for (int i = 0; metric_get(M_MESSAGES_COMING) > 0; i++) {
        assert_true(i < PATIENCE_S * 100);
        usleep(10000);
    }
}

/* The client is gone while the disk is busy with its message. */
static void gone_during_the_sync(void **state)
{
    (void)state;
    for (unsigned large = 0; large < 2; large++) {
        struct world *w = world_new(200, "");
        for (unsigned reset = 0; reset < 2; reset++) {
            struct line l = sending(w);
            if (large)
                say_bytes(&l, lines_of(640000), 640000);
            say(&l, "Subject: x\r\n\r\nhello\r\n.\r\n");
            until_it_is_stored();
            hang_up(l.fd, reset);
        }
        all_sessions_end(w);
        for (int i = 0; w->accepted < 2 && i < PATIENCE_S * 100; i++)
            usleep(10000); /* told behind the answer */
        assert_int_equal(w->accepted, 2);
        assert_int_equal(world_free(w), 2);
    }
}

/* The daemon ends while the disk is busy, or while content comes: nothing is freed twice, nothing
 * stays. */
static void daemon_ends_in_the_middle(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 4; step++) {
        struct world *w = world_new(step == 3 ? 300 : 0, "");
        struct line l = step == 0 ? (struct line){.fd = call(w, TRUSTED)} : sending(w);
        if (step == 2)
            say_bytes(&l, lines_of(900032), 900032);
        if (step == 3)
            say(&l, "Subject: x\r\n\r\nhello\r\n.\r\n");
        if (step == 3)
            until_it_is_stored();
        else
            usleep(50000);
        uint64_t stored = world_free(w);
        assert_int_equal(stored, step == 3);
        line_end(&l);
    }
}

/* 421 comes between commands; a message whose content is on its way is taken and answered. */
static void stop(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct line idle = {.fd = call(w, TRUSTED)}, busy = sending(w);
    hear(&idle, "220 ");
    say(&busy, "Subject: x\r\n");
    inbound_stop(w->in);
    hear(&idle, "421 4.3.2");
    hear_end(&idle);
    talk(&busy, "\r\nhello\r\n.\r\n", "250 2.0.0 Ok: queued as ");
    hear(&busy, "421 4.3.2");
    hear_end(&busy);
    line_end(&idle);
    line_end(&busy);
    all_sessions_end(w);
    assert_int_equal(world_free(w), 1);
}

/* The spooler is told how many are handing something in, and waits for none that do not. */
static void who_hands_something_in_is_counted(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct line a = sending(w), b = {.fd = call(w, TRUSTED)};
    hear(&b, "220 ");
    talk(&b, "EHLO c\r\n", "250 ");
    assert_int_equal(metric_get(M_MESSAGES_COMING), 1);
    talk(&b, "MAIL FROM:<s@a.test>\r\n", "250 ");
    assert_int_equal(metric_get(M_MESSAGES_COMING), 2);
    talk(&b, "RSET\r\n", "250 ");
    assert_int_equal(metric_get(M_MESSAGES_COMING), 1);
    talk(&b, "MAIL FROM:<s@a.test>\r\n", "250 ");
    talk(&a, "x\r\n.\r\n", "250 ");
    assert_int_equal(metric_get(M_MESSAGES_COMING), 1);
    hang_up(b.fd, false);
    hang_up(a.fd, false);
    all_sessions_end(w);
    assert_int_equal(metric_get(M_MESSAGES_COMING), 0);
    assert_int_equal(world_free(w), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_hands_something_in_is_counted),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(large_content_cut),
        cmocka_unit_test(any_size_is_stored_whole),
        cmocka_unit_test(gone_during_the_sync),
        cmocka_unit_test(daemon_ends_in_the_middle),
        cmocka_unit_test(stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

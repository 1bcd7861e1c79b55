/* The server session when nothing comes, too little, or no more: timeouts, shutdown, a client that
 * has gone. If this breaks, sessions are held for ever, or a message is lost or doubled at a stop.
 */
#include "tests/unit/smtp/server_kit.h"

/* ---- time ---- */

static void timeouts(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        int64_t ms;
        const char *actions;
    } rows[] = {
        {"", 300000, "refused 421\nclose\n"},
        {HELLO "NOO", 300000, "refused 421\nclose\n"},
        {HELLO ENVELOPE, 300000, "abort\nclose\n"},
        {HELLO ENVELOPE "DATA\r\nhello", 180000, "abort\nclose\n"},
        {HELLO ENVELOPE "BDAT 9\r\nhello", 180000, "abort\nclose\n"},
        {HELLO "AUTH LOGIN\r\n", 300000, "refused 421\nclose\n"},
    };
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct drive d = begin(&conf, rows[i].before);
        assert_int_equal(smtp_server_deadline(d.s).ms - d.now.ms, rows[i].ms);
        later(&d, rows[i].ms - 1);
        assert_false(d.closed);
        later(&d, 1);
        expect(&d, "421 4.4.2 nothing came in time", rows[i].actions);
        drive_done(&d);
    }
}

#define HUNDRED                                                                                    \
    "eighteen and crlf \r\neighteen and crlf \r\neighteen and crlf \r\neighteen and crlf "         \
    "\r\neighteen and crlf \r\n"
#define SIX_HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED

/* Promise 16: a command that comes a byte a minute does not hold a session for ever; content that
 * moves may take long. */
static void slowloris(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct drive d = begin(&conf, HELLO);
    int minutes = 0;
    for (; !d.closed && minutes < 60; minutes++) {
        later(&d, 60000);
        talk(&d, "N");
    }
    assert_int_equal(minutes, 5);
    drive_done(&d);

    conf.min_data_rate = 10;
    d = begin(&conf, HELLO ENVELOPE "DATA\r\n");
    for (minutes = 0; !d.closed && minutes < 60; minutes++) {
        talk(&d, minutes < 5 ? SIX_HUNDRED : "x");
        later(&d, 60000);
    }
    assert_int_equal(minutes, 6);
    expect(&d, "421 4.4.2 the content comes too slowly", "refused 421\nabort\nclose\n");
    drive_done(&d);
}

/* A slow disk is not a slow client: the driver's time counts against nobody. */
static void driver_time_is_free(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.min_data_rate = 1000;
    struct mono now = {0};
    struct smtp_server *s = smtp_server_new(&conf, false, now);
    struct slice in = SLICE_LIT(HELLO ENVELOPE "DATA\r\nhello\r\n");
    struct smtp_server_action a = {0};
    while (a.act != SRV_BODY) {
        in = slice_skip(in, smtp_server_bytes(s, in, now));
        while (smtp_server_next(s, &a) && a.act != SRV_BODY)
            smtp_server_answer(s, &SMTP_REPLY(250, 2, 0, 0, "Ok"), now);
    }
    now.ms += 1000000;
    smtp_server_tick(s, now);
    assert_false(smtp_server_next(s, &a));
    smtp_server_body_taken(s, now);
    assert_int_equal(smtp_server_deadline(s).ms, now.ms + 60000);
    smtp_server_tick(s, mono_add(now, 59999));
    assert_false(smtp_server_next(s, &a));
    smtp_server_free(s);
}

/* A refusal that comes from a slow disk tells no time: the client gets its full time from the next
 * moment that is known. */
static void time_after_refused_body(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct drive d = begin(&conf, HELLO ENVELOPE "DATA\r\n");
    struct smtp_server_action a;
    smtp_server_bytes(d.s, SLICE_LIT("hello\r\n"), d.now);
    assert_true(smtp_server_next(d.s, &a) && a.act == SRV_BODY);
    d.now.ms += 1000000;
    smtp_server_body_refuse(d.s, &SMTP_REPLY(451, 4, 3, 0, "disk"));
    smtp_server_tick(d.s, d.now);
    drive_pump(&d, NULL);
    assert_false(d.closed);
    talk(&d, ".\r\n");
    expect(&d, "451 4.3.0 disk", "abort");
    drive_done(&d);
}

/* Promise 21: no password stays in the memory of a session. */
static void passwords_are_wiped(void **state)
{
    (void)state;
    static const char *const lines[] = {"AUTH PLAIN AGdvb2QAZ29vZA==\r\n",
                                        "AUTH LOGIN\r\nZ29vZA==\r\n", "AUTH PLAIN AGdvb2QAYmFk\r\n",
                                        "AUTH LOGIN\r\n*\r\n", "AUTH OTHER AGdvb2QAZ29vZA==\r\n"};
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct drive d = begin(&conf, HELLO);
        talk(&d, lines[i]);
        assert_null(d.s->line.text.p);
        drive_done(&d);
    }
}

/* ---- ends ---- */

/* Checklist 33, promise 13: between commands at once, in content after its answer. */
static void shutdown_anywhere(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
        bool at_once, commits;
    } rows[] = {
        {"", "", true, false},
        {HELLO, "", true, false},
        {HELLO ENVELOPE, "", true, false},
        {HELLO ENVELOPE "BDAT 3\r\nabc", "", true, false},
        {HELLO "AUTH LOGIN\r\n", "", true, false},
        {HELLO ENVELOPE "DATA\r\nhello", "\r\n.\r\n", false, true},
        {HELLO ENVELOPE "BDAT 5 LAST\r\nab", "cde", false, true},
        {HELLO ENVELOPE "DATA\r\nhe\nllo", "\r\n.\r\n", false, false},
    };
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct drive d = begin(&conf, rows[i].before);
        smtp_server_shutdown(d.s, d.now);
        drive_pump(&d, NULL);
        assert_int_equal(d.closed, rows[i].at_once);
        talk(&d, rows[i].after);
        talk(&d, "NOOP\r\n");
        expect(&d, "421 4.3.2 the service is stopping", "close\n");
        assert_int_equal(did(&d, "commit"), rows[i].commits);
        assert_int_equal(said(&d, "queued"), rows[i].commits);
        drive_done(&d);
    }
}

static void eof_anywhere(void **state)
{
    (void)state;
    static const struct {
        const char *before, *actions;
    } rows[] = {
        {"", "close\n"},
        {HELLO "NOO", "close\n"},
        {HELLO ENVELOPE, "rcpt <c@d.test>\nabort\nclose\n"},
        {HELLO ENVELOPE "DATA\r\nhello", "body hello\nabort\nclose\n"},
        {HELLO ENVELOPE "DATA\r\nhello\r\n.\r", "body hello\\r\\n\nabort\nclose\n"},
        {HELLO ENVELOPE "BDAT 9 LAST\r\nhello", "body hello\nabort\nclose\n"},
    };
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct drive d = begin(&conf, rows[i].before);
        smtp_server_eof(d.s);
        smtp_server_eof(d.s);
        drive_pump(&d, NULL);
        expect(&d, "", rows[i].actions);
        assert_false(did(&d, "commit"));
        drive_done(&d);
    }
}

/* Checklist 32: the client has gone, the message is whole: it counts, and the session ends after
 * the answer. */
static void eof_while_committing(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct mono now = {0};
    struct smtp_server *s = smtp_server_new(&conf, false, now);
    struct slice in = SLICE_LIT(HELLO ENVELOPE "DATA\r\n.\r\n");
    struct smtp_server_action a = {0};
    while (in.n || a.act != SRV_COMMIT) {
        in = slice_skip(in, smtp_server_bytes(s, in, now));
        while (smtp_server_next(s, &a) && a.act != SRV_COMMIT)
            smtp_server_answer(s, &SMTP_REPLY(250, 2, 0, 0, "Ok"), now);
    }
    smtp_server_eof(s);
    assert_false(smtp_server_next(s, &a));
    smtp_server_answer(s, &SMTP_REPLY(250, 2, 0, 0, "Ok: queued as X"), now);
    assert_true(smtp_server_next(s, &a));
    assert_int_equal(a.act, SRV_CLOSE);
    assert_false(smtp_server_next(s, &a));
    smtp_server_free(s);
}

/* The client has gone while a question is open: it is taken back, the late answer does no harm. */
static void eof_while_asked(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    for (int pulled = 0; pulled <= 1; pulled++) {
        struct mono now = {0};
        struct smtp_server *s = smtp_server_new(&conf, false, now);
        struct smtp_server_action a;
        smtp_server_bytes(s, SLICE_LIT(HELLO "MAIL FROM:<a@b.test>\r\n"), now);
        if (pulled)
            assert_true(smtp_server_next(s, &a) && a.act == SRV_ASK_MAIL);
        smtp_server_eof(s);
        if (pulled)
            assert_true(smtp_server_next(s, &a) && a.act == SRV_ABORT);
        assert_true(smtp_server_next(s, &a) && a.act == SRV_CLOSE);
        smtp_server_answer(s, &SMTP_REPLY(250, 2, 1, 0, "Ok"), now);
        smtp_server_body_taken(s, now);
        assert_false(smtp_server_next(s, &a));
        assert_int_equal(smtp_server_deadline(s).ms, INT64_MAX);
        smtp_server_free(s);
    }
}

/* A handshake that never ends: no clear text is spoken into it. */
static void tls_never_comes(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.starttls = true;
    struct mono now = {0};
    struct smtp_server *s = smtp_server_new(&conf, false, now);
    struct smtp_server_action a;
    smtp_server_bytes(s, SLICE_LIT("STARTTLS\r\n"), now);
    assert_true(smtp_server_next(s, &a) && a.act == SRV_STARTTLS);
    smtp_server_sent(s, smtp_server_output(s).n);
    now = smtp_server_deadline(s);
    assert_int_equal(now.ms, 300000);
    smtp_server_tick(s, now);
    assert_true(smtp_server_next(s, &a) && a.act == SRV_CLOSE);
    assert_int_equal(smtp_server_output(s).n, 0);
    smtp_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeouts),
        cmocka_unit_test(slowloris),
        cmocka_unit_test(driver_time_is_free),
        cmocka_unit_test(time_after_refused_body),
        cmocka_unit_test(passwords_are_wiped),
        cmocka_unit_test(shutdown_anywhere),
        cmocka_unit_test(eof_anywhere),
        cmocka_unit_test(eof_while_committing),
        cmocka_unit_test(eof_while_asked),
        cmocka_unit_test(tls_never_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

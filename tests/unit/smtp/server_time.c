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

/* Checklist 14, 50: in every phase, bytes that come one by one move no deadline. */
static void no_byte_buys_time(void **state)
{
    (void)state;
    static const struct {
        const char *what, *before, *drip, *reply;
        int64_t most_ms; /* until the session has ended */
    } rows[] = {
        {"a command", HELLO, "N", "421 4.4.2", 300000},
        {"a command that is too long", HELLO, "NNNNNNNNNN", "421 4.4.2", 600000},
        {"a line behind a bare LF", HELLO "NOOP\nx", "N", "421 4.4.2", 300000},
        {"a response in AUTH", HELLO "AUTH LOGIN\r\n", "b", "421 4.4.2", 300000},
        {"DATA", HELLO ENVELOPE "DATA\r\n", "x", "421 4.4.2", 60000},
        {"DATA that is refused", HELLO ENVELOPE "DATA\r\na\nb", "x", "421 4.4.2", 60000},
        {"BDAT", HELLO ENVELOPE "BDAT 90000\r\n", "x", "421 4.4.2", 60000},
        {"BDAT that is refused", HELLO "BDAT 90000\r\n", "x", "421 4.4.2", 60000},
        {"tiny chunks", HELLO ENVELOPE, "BDAT 1\r\nx", "421 4.4.2", 60000},
        {"empty chunks", HELLO ENVELOPE, "BDAT 0\r\n", "421 4.4.2", 60000},
    };
    struct smtp_server_conf conf = drive_conf();
    conf.min_data_rate = 100;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct drive d = begin(&conf, rows[i].before);
        const int64_t from = d.now.ms;
        while (!d.closed && d.now.ms - from <= rows[i].most_ms) {
            talk(&d, rows[i].drip);
            later(&d, 1000);
        }
        if (!d.closed || d.now.ms - from > rows[i].most_ms || !said(&d, rows[i].reply))
            fail_msg("%s: %lld ms", rows[i].what, (long long)(d.now.ms - from));
        drive_done(&d);
    }
}

/* Checklist 50: a message has a time as a whole, so that recipients without an end, or content that
 * moves just fast enough, hold a session no longer than an idle one could. So has the wait for one:
 * a session that only refuses is no place to sleep. */
static void no_message_takes_for_ever(void **state)
{
    (void)state;
    static const struct {
        const char *what, *before, *drip, *reply, *actions;
    } rows[] = {
        {"recipients", HELLO ENVELOPE, "RCPT TO:<c@d.test>\r\n", "421 4.4.2 the message as a whole",
         "refused 421\nabort\nclose\n"},
        {"recipients that are refused", HELLO ENVELOPE, "RCPT TO:<refuse@d.test>\r\n",
         "421 4.4.2 the message as a whole", "refused 421\nabort\nclose\n"},
        {"DATA", HELLO ENVELOPE "DATA\r\n", HUNDRED, "421 4.4.2 the message as a whole",
         "refused 421\nabort\nclose\n"},
        {"DATA that is refused", HELLO ENVELOPE "DATA\r\na\nb", HUNDRED,
         "421 4.4.2 the message as a whole", "refused 421\nclose\n"},
        {"chunks", HELLO ENVELOPE, "BDAT 100\r\n" HUNDRED, "421 4.4.2 the message as a whole",
         "refused 421\nabort\nclose\n"},
        {"chunks without an envelope", HELLO, "BDAT 100\r\n" HUNDRED, "421 4.4.2 no message came",
         "refused 421\nclose\n"},
        {"MAIL that is no command", HELLO, "MAIL FROM:<\r\n", "421 4.4.2 no message came",
         "refused 421\nclose\n"},
        {"recipients behind a message", HELLO MESSAGE, "RCPT TO:<c@d.test>\r\n",
         "421 4.4.2 no message came", "refused 421\nclose\n"},
    };
    struct smtp_server_conf conf = drive_conf();
    conf.max_errors = 0;
    conf.max_message_size = 1 << 20;
    conf.max_recipients = 10000;
    conf.min_data_rate = 10;
    conf.message_timeout_ms = 1800000;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct drive d = begin(&conf, HELLO);
        later(&d, 200000); /* a step that is done counts no more */
        talk(&d, rows[i].before + strlen(HELLO));
        const int64_t from = strcmp(rows[i].before, HELLO) == 0 ? 1000 : d.now.ms;
        while (!d.closed && d.now.ms - from <= conf.message_timeout_ms) {
            talk(&d, rows[i].drip);
            later(&d, 1000);
        }
        if (d.now.ms - from != conf.message_timeout_ms)
            fail_msg("%s: %lld ms", rows[i].what, (long long)(d.now.ms - from));
        expect(&d, rows[i].reply, rows[i].actions);
        drive_done(&d);
    }
}

/* What the driver takes to store content is not the client's time; a message whose end has come is
 * never cut off. */
static void our_time_is_not_the_messages(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct smtp_server_action a;
    conf.message_timeout_ms = 60000;
    struct drive d = begin(&conf, HELLO ENVELOPE "DATA\r\n");
    const struct slice content = SLICE_LIT("hello\r\n"), end = SLICE_LIT(".\r\n");
    assert_int_equal(smtp_server_bytes(d.s, content, d.now), content.n);
    assert_true(smtp_server_next(d.s, &a) && a.act == SRV_BODY);
    later(&d, 100000); /* a disk that hangs */
    assert_false(d.closed);
    smtp_server_body_taken(d.s, d.now);
    later(&d, 59999);
    assert_false(d.closed);
    assert_int_equal(smtp_server_bytes(d.s, end, d.now), end.n);
    assert_true(smtp_server_next(d.s, &a) && a.act == SRV_COMMIT);
    later(&d, 100000);
    assert_false(d.closed);
    smtp_server_answer(d.s, &SMTP_REPLY(250, 2, 0, 0, "Ok"), d.now);
    later(&d, 59999);
    assert_false(d.closed);
    later(&d, 1);
    expect(&d, "421 4.4.2 no message came", "refused 421\nclose\n");
    drive_done(&d);
}

/* Content in chunks that moves may take long, pauses and all. */
static void chunks_that_move(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.min_data_rate = 10;
    struct drive d = begin(&conf, HELLO ENVELOPE);
    for (int i = 0; i < 60; i++) {
        later(&d, 50000);
        talk(&d, "BDAT 600\r\n");
        talk(&d, SIX_HUNDRED);
    }
    talk(&d, "BDAT 0 LAST\r\n");
    expect(&d, "250 2.0.0 Ok: queued", "commit");
    later(&d, 299999); /* a command again */
    assert_false(d.closed);
    drive_done(&d);
}

/* Where AUTH is required, whoever has not logged in by then is gone, whatever he does meanwhile. */
static void no_login_in_time(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.auth_required = true;
    conf.login_timeout_ms = 120000;
    conf.max_idle = 0;
    for (int logs_in = 0; logs_in <= 1; logs_in++) {
        struct drive d = begin(&conf, HELLO);
        if (logs_in)
            talk(&d, "AUTH PLAIN AGdvb2QAZ29vZA==\r\n");
        int seconds = 0;
        for (; !d.closed && seconds < 200; seconds += 10) {
            talk(&d, "NOOP\r\n");
            later(&d, 10000);
        }
        assert_int_equal(d.closed, !logs_in);
        assert_int_equal(seconds, logs_in ? 200 : 120);
        assert_int_equal(said(&d, "421 4.7.0 no login came in time"), !logs_in);
        drive_done(&d);
    }
    conf.auth_required = false; /* a trusted network */
    struct drive d = begin(&conf, HELLO);
    later(&d, 200000);
    assert_false(d.closed);
    drive_done(&d);
}

/* A greeting that waits: who waits for it is served, who does not hears why. */
static void delayed_greeting(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.greeting_delay_ms = 5000;
    struct drive d = begin(&conf, "");
    assert_int_equal(d.out.n, 0);
    assert_int_equal(smtp_server_deadline(d.s).ms - d.now.ms, 5000);
    later(&d, 5000);
    assert_true(said(&d, "220 relay.test"));
    assert_int_equal(smtp_server_deadline(d.s).ms - d.now.ms, 300000);
    talk(&d, HELLO MESSAGE);
    expect(&d, "queued", "commit");
    drive_done(&d);

    d = begin(&conf, "E");
    expect(&d, "554 5.5.1 you spoke before the greeting", "refused 554\nclose\n");
    assert_false(said(&d, "220"));
    assert_true(d.closed);
    drive_done(&d);

    d = begin(&conf, "");
    smtp_server_shutdown(d.s, d.now);
    drive_pump(&d, NULL);
    assert_true(slice_starts(buf_slice(&d.out), SLICE_LIT("421 4.3.2")) && d.closed);
    drive_done(&d);

    d = begin(&conf, "");
    smtp_server_eof(d.s);
    drive_pump(&d, NULL);
    assert_true(d.closed && d.out.n == 0);
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
        cmocka_unit_test(no_byte_buys_time),
        cmocka_unit_test(no_message_takes_for_ever),
        cmocka_unit_test(our_time_is_not_the_messages),
        cmocka_unit_test(chunks_that_move),
        cmocka_unit_test(no_login_in_time),
        cmocka_unit_test(delayed_greeting),
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

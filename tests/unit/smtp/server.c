/* The server session: the law of any split, and what no dialogue file can say: back pressure,
 * limits, the driver's side. */
#include "tests/unit/smtp/server_kit.h"

/* ---- the law ---- */

#define FIVE "A\r\nB\r\nC\r\nD\r\nE\r\n"

static const char *const dialogues[] = {
    HELLO MESSAGE "QUIT\r\n",
    HELLO MESSAGE MESSAGE "RSET\r\n" MESSAGE "QUIT\r\nNOOP\r\n",
    "HELO x\r\n" MESSAGE "EHLO y\r\nHELP\r\nVRFY a\r\nEXPN b\r\nNOOP c\r\nRSET d\r\n",
    "NOOP\nNOOP\r\nNOOP\rNOOP\r\n\r\nBOGUS\r\nEHLO\r\nNOOP\x01\r\n\xff\xfe\r\n",
    "MAIL FROM:<a@b.test>\r\n" HELLO "RCPT TO:<a@b.test>\r\nDATA\r\n" ENVELOPE
    "MAIL FROM:<a@b.test>\r\n" HELLO "DATA\r\n",
    HELLO "MAIL FROM:<refuse@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nQUIT\r\n",
    HELLO "MAIL FROM:<a@b.test> SIZE=100001\r\nMAIL FROM:<a@b.test> FOO=1\r\nMAIL FROM:<a@b.test> "
          "BODY=8BITMIME SIZE=9\r\nRCPT TO:<>\r\n"
          "RCPT TO:<refuse@d.test>\r\nDATA\r\nRCPT TO:<defer@d.test>\r\nRCPT "
          "TO:<postmaster>\r\nDATA\r\n..x\r\n.y\r\n\r\n.\r\nQUIT\r\n",
    HELLO ENVELOPE "DATA\r\nrefuse this\r\n.\r\n" MESSAGE,
    HELLO ENVELOPE "DATA\r\na\nb\r\n.\r\n" MESSAGE,
    HELLO ENVELOPE "DATA\r\na\rb\r\n.\r\n" MESSAGE,
    HELLO ENVELOPE "BDAT 7\r\nhello\r\nBDAT 5 LAST\r\nworld" ENVELOPE "BDAT 0 LAST\r\n" ENVELOPE
                   "BDAT 3\r\na\rbBDAT 0 LAST\r\nQUIT\r\n",
    HELLO "BDAT 6\r\nQUIT\r\nMAIL FROM:<a@b.test>\r\nBDAT 6 LAST\r\nQUIT\r\nRCPT "
          "TO:<a@b.test>\r\nQUIT\r\n",
    HELLO ENVELOPE "BDAT 3\r\na\r\nDATA\r\nRCPT TO:<x@y.test>\r\nMAIL FROM:<x@y.test>\r\nBDAT 1 "
                   "LAST\r\n\r" MESSAGE,
    HELLO ENVELOPE "BDAT 2\r\na\rBDAT 1 LAST\r\n\n" MESSAGE,
    HELLO ENVELOPE "BDAT x\r\nQUIT\r\nNOOP\r\n",
    HELLO ENVELOPE "BDAT 60000\r\nBDAT 999999999999 LAST\r\nabc",
    HELLO ENVELOPE "BDAT 999999999999 LAST\r\nabc",
    HELLO "AUTH PLAIN\r\nAGdvb2QAZ29vZA==\r\nAUTH PLAIN\r\n" MESSAGE,
    HELLO "AUTH LOGIN bW9yZQ==\r\n*\r\nAUTH LOGIN\r\nbW9yZQ==\r\nZ29vZA==\r\n",
    HELLO "AUTH PLAIN x\r\nAUTH FOO\r\nAUTH\r\nAUTH PLAIN =\r\nAUTH LOGIN\r\nAUTH\nLOGIN\r\nAUTH "
          "PLAIN =\r\nAUTH PLAIN =\r\nNOOP\r\n",
    HELLO "MAIL FROM:<a@b.test>\r\nAUTH PLAIN\r\nRCPT TO:<goaway@b.test>\r\nNOOP\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    FIVE FIVE FIVE FIVE FIVE,
    "BDAT 3\nNOOP\r\n",
};

static void run_all(struct drive *d, const struct smtp_server_conf *conf, struct slice dialogue,
                    uint64_t split)
{
    drive_init(d, conf, false);
    drive_split(d, dialogue, split);
    smtp_server_eof(d->s);
    drive_pump(d, NULL);
}

static void compare_splits(const struct smtp_server_conf *conf, struct slice dialogue)
{
    struct drive whole;
    run_all(&whole, conf, dialogue, 0);
    for (uint64_t split = 1; split < 30; split++) {
        struct drive d;
        run_all(&d, conf, dialogue, split);
        if (!slice_eq(buf_slice(&whole.out), buf_slice(&d.out)) ||
            !slice_eq(buf_slice(&whole.actions), buf_slice(&d.actions)))
            fail_msg("%.*s\nsplit %u:\n%.*s%.*s\nat once:\n%.*s%.*s", SLICE_ARG(dialogue),
                     (unsigned)split, SLICE_ARG(buf_slice(&d.out)),
                     SLICE_ARG(buf_slice(&d.actions)), SLICE_ARG(buf_slice(&whole.out)),
                     SLICE_ARG(buf_slice(&whole.actions)));
        assert_true(d.closed);
        drive_done(&d);
    }
    drive_done(&whole);
}

/* Checklist 4, 16: what a client hears must not depend on how the network cuts its bytes. */
static void any_split(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < sizeof dialogues / sizeof *dialogues; i++)
        compare_splits(&conf, slice_str(dialogues[i]));
}

/* The same around each limit of content: one octet decides, not a buffer border. */
static void any_split_at_limits(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.max_message_size = 2000;
    for (size_t size = 1990; size <= 2010; size++)
        for (int fault = 0; fault <= 1; fault++) {
            struct buf b = BUF_MAX(1 << 16);
            buf_add_str(&b, HELLO ENVELOPE "DATA\r\n");
            for (size_t n = 0; n < size - 20; n += 20)
                buf_add_str(&b, "..................\r\n"); /* one dot is the stuffing */
            buf_add_str(&b, fault ? "a\nb\r\n.\r\n" : ".\r\n");
            buf_add_str(&b, MESSAGE "QUIT\r\n");
            compare_splits(&conf, buf_slice(&b));
            buf_done(&b);
        }
}

/* ---- one message in is one message out ---- */

/* Promise 18, checklist 1-4: none of these ends the data; what stands behind is neither command nor
 * second message. */
static void smuggling(void **state)
{
    (void)state;
    static const char *const ends[] = {"\n.\n",     "\n.\r\n",     "\r.\r\n",     "\r\n.\n",
                                       "\r\n.\r",   "\r.\r",       "\r.\n",       "\n.\r",
                                       "\n\n.\n\n", "\r\r.\r\r",   "\r\n.\r\r\n", "\r\r\n.\r\r\n",
                                       "\n\r.\n\r", "\r\n.\n\r\n", "\n\r\n.\n"};
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (uint64_t split = 0; split < 8; split++) {
            struct buf b = BUF_MAX(4096);
            buf_addf(&b, HELLO ENVELOPE "DATA\r\nSubject: x\r\n\r\nhello%s", ends[i]);
            buf_add_str(&b, "MAIL FROM:<evil@b.test>\r\nRCPT "
                            "TO:<evil@d.test>\r\nDATA\r\nevil\r\n.\r\nQUIT\r\n");
            struct drive d;
            drive_init(&d, &conf, false);
            drive_split(&d, buf_slice(&b), split);
            assert_false(did(&d, "evil"));
            assert_false(did(&d, "commit"));
            expect(&d, "550 5.5.2 ", "abort\nrefused 550\nclose\n");
            drive_done(&d);
            buf_done(&b);
        }
}

/* Promise 17, checklist 8: whole, the injection is seen and the session closed; in pieces, the
 * driver drops it. Never is it carried out. */
static void starttls_injection(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.starttls = true;
    const struct slice text = SLICE_LIT(HELLO "STARTTLS\r\nMAIL FROM:<evil@b.test>\r\n");
    for (size_t cut = 1; cut < text.n; cut++) {
        struct drive d;
        drive_init(&d, &conf, false);
        drive_arrive(&d, slice_head(text, cut));
        if (!d.tls_seen)
            drive_arrive(&d, slice_skip(text, cut));
        assert_false(did(&d, "evil"));
        assert_true(d.tls_seen != d.closed);
        assert_int_equal(d.closed, said(&d, "554 5.5.1 "));
        drive_done(&d);
    }
    /* A machine that waits for TLS takes nothing, however often it is offered. */
    struct smtp_server *s = smtp_server_new(&conf, false, (struct mono){0});
    struct smtp_server_action a;
    assert_int_equal(smtp_server_bytes(s, SLICE_LIT("STARTTLS\r\n"), (struct mono){0}), 10);
    assert_int_equal(smtp_server_bytes(s, SLICE_LIT("NOOP\r\n"), (struct mono){0}), 0);
    assert_true(smtp_server_next(s, &a));
    assert_int_equal(a.act, SRV_STARTTLS);
    assert_int_equal(smtp_server_bytes(s, SLICE_LIT("NOOP\r\n"), (struct mono){0}), 0);
    smtp_server_free(s);
}

/* RFC 3207 section 4.2: what was said in clear is forgotten, STARTTLS is offered no more. */
static void starttls_forgets(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.starttls = true;
    struct drive d = begin(&conf, HELLO "AUTH PLAIN AGdvb2QAZ29vZA==\r\nSTARTTLS\r\n");
    assert_true(d.tls_seen && smtp_server_tls(d.s));
    assert_false(smtp_server_authenticated(d.s));
    assert_int_equal(smtp_server_helo(d.s).n, 0);
    buf_reset(&d.out);
    talk(&d, "MAIL FROM:<a@b.test>\r\nEHLO x\r\nSTARTTLS\r\n");
    expect(&d, "503 5.5.1 say EHLO first", "refused 503");
    expect(&d, "503 5.5.1 TLS is on", "");
    assert_false(said(&d, "250-STARTTLS"));
    drive_done(&d);
}

/* ---- back pressure ---- */

/* While a question is open nothing is consumed, so a slow spool needs no buffer. */
static void question_stops_input(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct mono now = {0};
    struct smtp_server *s = smtp_server_new(&conf, false, now);
    struct slice in = SLICE_LIT(HELLO "MAIL FROM:<a@b.test>\r\nNOOP\r\n");
    struct smtp_server_action a;
    size_t n = smtp_server_bytes(s, in, now);
    assert_int_equal(n, in.n - 6);
    assert_int_equal(smtp_server_bytes(s, slice_skip(in, n), now), 0);
    assert_true(smtp_server_next(s, &a) && a.act == SRV_ASK_MAIL);
    assert_false(smtp_server_next(s, &a));
    assert_int_equal(smtp_server_bytes(s, slice_skip(in, n), now), 0);
    assert_int_equal(smtp_server_deadline(s).ms, INT64_MAX);
    smtp_server_answer(s, &SMTP_REPLY(250, 2, 1, 0, "Ok"), now);
    assert_int_equal(smtp_server_bytes(s, slice_skip(in, n), now), 6);
    smtp_server_free(s);
}

/* Promise 15: a client that never reads its replies cannot make us grow. */
static void silent_reader(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.max_idle = 0;
    struct drive d = begin(&conf, "");
    d.mute = true;
    for (int i = 0; i < 20000; i++)
        talk(&d, "NOOP\r\n");
    assert_true(smtp_server_output(d.s).n < 20000);
    assert_true(d.unread.n > 50000);
    d.mute = false;
    talk(&d, "");
    while (d.unread.n)
        talk(&d, "");
    assert_int_equal(count(&d.out, "250 2.0.0 Ok\r\n"), 20000);
    drive_done(&d);
}

/* ---- limits ---- */

static struct buf data_of(size_t octets)
{
    struct buf b = BUF_MAX(1 << 20);
    buf_add_str(&b, HELLO ENVELOPE "DATA\r\n");
    const size_t start = b.n;
    while (b.n - start + 52 <= octets)
        buf_add_str(&b, "12345678901234567890123456789012345678901234567890\r\n");
    for (size_t left = octets - (b.n - start); left > 2; left--)
        buf_add_u8(&b, 'x');
    if (octets > b.n - start)
        buf_add_str(&b, "\r\n");
    buf_add_str(&b, ".\r\n");
    return b;
}

/* Checklist 15: the limit counts real octets, and the message that fits exactly is taken. */
static void size_limit(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.max_message_size = 5002;
    for (size_t octets = 4990; octets < 5010; octets++) {
        struct buf b = data_of(octets);
        struct drive d;
        drive_init(&d, &conf, false);
        drive_arrive(&d, buf_slice(&b));
        if (octets <= conf.max_message_size)
            expect(&d, "250 2.0.0 Ok: queued", "commit");
        else
            expect(&d, "552 5.3.4 message too big; the limit in octets is: 5002",
                   "abort\nrefused 552");
        talk(&d, MESSAGE);
        assert_int_equal(count(&d.actions, "commit\n"),
                         octets <= conf.max_message_size ? 2 : 1); /* checklist 12 */
        drive_done(&d);
        buf_done(&b);
    }
}

/* Checklist 6, 14: what is refused is not skipped for ever. */
static void skipping_is_bounded(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.max_message_size = 1000;
    struct drive d = begin(&conf, HELLO ENVELOPE "DATA\r\n");
    size_t fed = 0;
    for (; !d.closed && fed < 10000000; fed += 52)
        talk(&d, "12345678901234567890123456789012345678901234567890\r\n");
    assert_true(fed > 1000000 && fed < 1200000);
    expect(&d, "552 5.3.4 ", "abort\nrefused 552\nclose\n");
    drive_done(&d);
}

/* Checklist 18: the first hundred are taken, the others put off, the message goes to those that
 * were. */
static void too_many_recipients(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct drive d = begin(&conf, HELLO "MAIL FROM:<>\r\n");
    for (int i = 0; i < 150; i++)
        talk(&d, "RCPT TO:<a@b.test>\r\n");
    assert_int_equal(count(&d.out, "250 2.1.5 Ok"), 100);
    assert_int_equal(count(&d.out, "452 4.5.3 too many recipients"), 50);
    talk(&d, "DATA\r\n.\r\n");
    expect(&d, "250 2.0.0 Ok: queued", "refused 452 rcpt <a@b.test>\n");
    drive_done(&d);
}

static void limits_of_a_session(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    conf.max_errors = 3;
    struct drive d = begin(&conf, "A\r\nB\r\n" HELLO MESSAGE "A\r\nB\r\n");
    assert_false(d.closed); /* a message taken forgives */
    talk(&d, "C\r\nNOOP\r\n");
    expect(&d, "421 4.7.0 too many errors", "refused 500\nrefused 421\nclose\n");
    assert_false(said(&d, "250 2.0.0 Ok\r\n"));
    drive_done(&d);

    conf.max_messages = 2;
    d = begin(&conf, HELLO MESSAGE MESSAGE MESSAGE);
    expect(&d, "421 4.7.0 enough messages", "close");
    assert_int_equal(count(&d.actions, "commit\n"), 2);
    drive_done(&d);

    /* Checklist 10. */
    d = begin(
        &conf, HELLO
        "AUTH PLAIN YmFk\r\nAUTH PLAIN YmFk\r\nAUTH PLAIN YmFk\r\nAUTH PLAIN AGdvb2QAZ29vZA==\r\n");
    expect(&d, "421 4.7.0 too many failed authentications", "close");
    assert_int_equal(count(&d.out, "535 5.7.8"), 3);
    assert_false(smtp_server_authenticated(d.s));
    drive_done(&d);
}

/* ---- the driver's side ---- */

static struct smtp_reply full_disk(struct drive *d, const struct smtp_server_action *a)
{
    if (a->act == SRV_BODY)
        return SMTP_REPLY(452, 4, 3, 1, "no room");
    return drive_answer(d, a);
}

/* Checklist 34: the rest is consumed unseen, then the sender hears why, and the session lives on.
 */
static void driver_refuses_body(void **state)
{
    (void)state;
    static const char *const messages[] = {
        ENVELOPE "DATA\r\nhello\r\nMAIL FROM:<evil@b.test>\r\n.\r\n",
        ENVELOPE "BDAT 5\r\nhelloBDAT 8 LAST\r\nMAIL\r\nXX",
    };
    struct smtp_server_conf conf = drive_conf();
    for (size_t i = 0; i < 2; i++)
        for (uint64_t split = 0; split < 20; split++) {
            struct drive d = begin(&conf, HELLO);
            d.answer = full_disk;
            drive_split(&d, slice_str(messages[i]), split);
            expect(&d, "452 4.3.1 no room\r\n", "abort\n");
            assert_int_equal(count(&d.actions, "abort"), 1);
            assert_false(did(&d, "mail <evil") || did(&d, "commit") || d.closed);
            d.answer = drive_answer;
            talk(&d, MESSAGE);
            expect(&d, "queued", "commit");
            drive_done(&d);
        }
}

/* Promise 36: no text of the driver becomes a second line, or leaves ASCII. */
static struct smtp_reply dirty(struct drive *d, const struct smtp_server_action *a)
{
    (void)d;
    (void)a;
    return SMTP_REPLY(550, 5, 1, 1, "a\r\x1b[2J\xc3\xa4\0b\nsecond");
}

/* Checklist 21: whoever wrote a reply's text, no control and no 8-bit byte leaves in it. */
static void replies_are_clean(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct drive d = begin(&conf, HELLO);
    d.answer = dirty;
    talk(&d, "MAIL FROM:<a@b.test>\r\n");
    expect(&d, "550-5.1.1 a??[2J???b\r\n550 5.1.1 second\r\n", "mail <a@b.test>");
    drive_done(&d);
}

/* Checklist 21: the name in Received: and the log holds nothing that has a meaning there. */
static void helo_is_clean(void **state)
{
    (void)state;
    struct smtp_server_conf conf = drive_conf();
    struct drive d = begin(&conf, "EHLO a(b)\"c\\;\xc3\xa4_d-[1.2] for evil\r\n");
    struct slice helo = smtp_server_helo(d.s);
    assert_true(slice_eq(helo, SLICE_LIT("a?b??c?????_d-[1.2]")) ||
                slice_eq(helo, SLICE_LIT("a?b??c????_d-[1.2]")));
    assert_true(smtp_server_esmtp(d.s));
    talk(&d, "HELO x\r\n");
    assert_false(smtp_server_esmtp(d.s));
    drive_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split),           cmocka_unit_test(any_split_at_limits),
        cmocka_unit_test(smuggling),           cmocka_unit_test(starttls_injection),
        cmocka_unit_test(starttls_forgets),    cmocka_unit_test(question_stops_input),
        cmocka_unit_test(silent_reader),       cmocka_unit_test(size_limit),
        cmocka_unit_test(skipping_is_bounded), cmocka_unit_test(too_many_recipients),
        cmocka_unit_test(limits_of_a_session), cmocka_unit_test(driver_refuses_body),
        cmocka_unit_test(replies_are_clean),   cmocka_unit_test(helo_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The report a sender gets: a strict reader takes it apart again. 92, 93, 94, and 21: what peers
 * write stays words. */
#include "tests/unit/mail/dsn_kit.h"

/* 92, 93: a refused recipient, as mail programs and bounce processors read it. */
static void a_refusal_says_who_what_and_why(void **state)
{
    (void)state;
    struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "no such user here");
    struct dsn_recipient rcpt = recipient_for(&v);
    struct dsn_input in = input_for(&rcpt, 1);
    DEFER(buf_done) struct buf out = BUF_MAX(100000);
    struct report r;
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "From", "\"Mail Delivery System\" <postmaster@example.com>");
    assert_value(&r.top, "To", "<app@example.com>");
    assert_value(&r.top, "Subject", "Undelivered mail to bob@example.net");
    assert_value(&r.top, "Date", "Tue, 14 Nov 2023 23:13:20 +0000");
    assert_value(&r.top, "Message-ID", "<01HF7YAT01@relay.example.com>");
    assert_value(&r.top, "Auto-Submitted", "auto-replied");
    assert_value(&r.top, "MIME-Version", "1.0");
    assert_value(&r.top, "Content-Transfer-Encoding", "");
    assert_value(&r.text, "Content-Type", "text/plain; charset=us-ascii");
    assert_true(has(r.text.body, "<bob@example.net>"));
    assert_true(has(r.text.body, "knows no such mailbox"));
    assert_true(
        has(r.text.body, "mx.example.net answered:\r\n        550 5.1.1 no such user here"));
    assert_true(has(r.text.body, "check the part before the @"));
    assert_true(has(r.text.body, "01HF7YAT00"));
    assert_value(&r.status, "Reporting-MTA", "dns; relay.example.com");
    assert_value(&r.status, "X-Postwain-Queue-ID", "01HF7YAT00");
    assert_value(&r.status, "Arrival-Date", "Tue, 14 Nov 2023 22:13:20 +0000");
    assert_int_equal(r.n_recipients, 1);
    assert_value(&r.recipients[0], "Original-Recipient", "");
    assert_value(&r.recipients[0], "Final-Recipient", "rfc822; bob@example.net");
    assert_value(&r.recipients[0], "Action", "failed");
    assert_value(&r.recipients[0], "Status", "5.1.1");
    assert_value(&r.recipients[0], "Remote-MTA", "dns; mx.example.net");
    assert_value(&r.recipients[0], "Diagnostic-Code", "smtp; 550 5.1.1 no such user here");
    assert_value(&r.recipients[0], "Last-Attempt-Date", "Tue, 14 Nov 2023 23:13:19 +0000");
    assert_value(&r.recipients[0], "Will-Retry-Until", "");
    assert_value(&r.original, "Content-Type", "message/rfc822");
    assert_true(slice_eq(r.original.body, SLICE_LIT(ORIGINAL)));
}

/* 93: RFC 3464 section 9.3: a host that is known by its address only is written as a literal. */
static void a_host_without_a_name(void **state)
{
    static const struct {
        const char *host, *value;
    } rows[] = {
        {"192.0.2.1", "dns; [192.0.2.1]"},       {"2001:db8::1", "dns; [IPv6:2001:db8::1]"},
        {"[192.0.2.1]", "dns; [192.0.2.1]"},     {"mx1.example.net", "dns; mx1.example.net"},
        {"1.2.3.example", "dns; 1.2.3.example"}, {"a b:c", "dns; a?b:c"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "no such user here");
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.remote_mta = slice_str(rows[i].host);
        struct dsn_input in = input_for(&rcpt, 1);
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_value(&r.recipients[0], "Remote-MTA", rows[i].value);
    }
}

/* 93: a delay and a failure in one report; a cause without a reply is not called an SMTP answer. */
static void delays_and_local_causes(void **state)
{
    (void)state;
    struct verdict local = verdict_with(0, (struct enhanced){5, 1, 2}, "the domain does not exist");
    struct verdict later = {.kind = VERDICT_DEFERRED, .code = 451, .enhanced = {4, 7, 1}};
    local.class = CLASS_BAD_DOMAIN;
    struct dsn_recipient rcpts[] = {recipient_for(&local), recipient_for(&later)};
    rcpts[0].remote_mta = SLICE_NONE;
    rcpts[1].action = DSN_DELAYED;
    rcpts[1].address = SLICE_LIT("eve@example.org");
    rcpts[1].will_retry_until = (struct wall){INT64_C(1700400000) * WALL_SECOND};
    struct dsn_input in = input_for(rcpts, 2);
    DEFER(buf_done) struct buf out = BUF_MAX(100000);
    struct report r;
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "Subject", "Undelivered mail");
    assert_int_equal(r.n_recipients, 2);
    assert_value(&r.recipients[0], "Diagnostic-Code", "x-postwain; the domain does not exist");
    assert_value(&r.recipients[0], "Remote-MTA", "");
    assert_true(has(r.text.body, "Reason:\r\n        the domain does not exist\r\n"));
    assert_value(&r.recipients[1], "Action", "delayed");
    assert_value(&r.recipients[1], "Status", "4.7.1");
    assert_value(&r.recipients[1], "Diagnostic-Code", "smtp; 451 4.7.1");
    assert_value(&r.recipients[1], "Will-Retry-Until", "Sun, 19 Nov 2023 13:20:00 +0000");
    assert_true(has(r.text.body, "Tries go on until Sun, 19 Nov 2023 13:20:00 +0000."));
    in.rcpts = &rcpts[1];
    in.n_rcpts = 1;
    buf_reset(&out);
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "Subject", "Delayed mail to eve@example.org");
    assert_true(has(r.text.body, "you do not need to send it again") ||
                has(r.text.body, "do not need to\r\nsend it again"));
}

/* 74, 93: what went to a server that tells nobody; and all three kinds in one report. */
static void relayed_and_all_kinds(void **state)
{
    (void)state;
    struct verdict taken = {.kind = VERDICT_DELIVERED, .code = 250, .enhanced = {2, 0, 0}};
    struct verdict failed = verdict_with(550, (struct enhanced){5, 1, 1}, "no such user here");
    struct verdict later = {.kind = VERDICT_DEFERRED, .code = 451, .enhanced = {4, 7, 1}};
    struct dsn_recipient rcpts[] = {recipient_for(&taken), recipient_for(&failed),
                                    recipient_for(&later)};
    rcpts[0].action = DSN_RELAYED;
    rcpts[2].action = DSN_DELAYED;
    rcpts[2].status = (struct enhanced){4, 4, 7};
    struct dsn_input in = input_for(rcpts, 1);
    in.envid = SLICE_LIT("QQ314159+x");
    in.headers_only = true;
    DEFER(buf_done) struct buf out = BUF_MAX(100000);
    struct report r;
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "Subject", "Relayed mail to bob@example.net");
    assert_value(&r.status, "Original-Envelope-Id", "QQ314159+x");
    assert_value(&r.recipients[0], "Action", "relayed");
    rcpts[0].action = DSN_DELIVERED; /* RFC 3461 section 6.2: it goes nowhere from here */
    buf_reset(&out);
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "Subject", "Delivered mail to bob@example.net");
    assert_value(&r.recipients[0], "Action", "delivered");
    assert_true(has(r.text.body, "The message was delivered."));
    rcpts[0].action = DSN_RELAYED;
    buf_reset(&out);
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.recipients[0], "Status", "2.0.0");
    assert_value(&r.recipients[0], "Diagnostic-Code", "smtp; 250"); /* nothing made up */
    assert_true(has(r.text.body, "was handed on for the recipients"));
    in.n_rcpts = 3;
    in.n_more = 2;
    buf_reset(&out);
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "Subject",
                 "Undelivered mail to 3 recipients"); /* the gravest are counted */
    static const char *const actions[] = {"relayed", "failed", "delayed"}, *const statuses[] = {
                                                                               "2.0.0", "5.1.1",
                                                                               "4.4.7"};
    assert_int_equal(r.n_recipients, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_value(&r.recipients[i], "Action", actions[i]);
        assert_value(&r.recipients[i], "Status", statuses[i]);
    }
    assert_true(has(r.text.body, "what became of it is said"));
    in.envid = SLICE_LIT("E\r\nStatus: 2.0.0");
    buf_reset(&out);
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.status, "Original-Envelope-Id", "E??Status: 2.0.0");
    assert_value(&r.status, "Status", "");
}

/* 95, promise 37: in UTF-8 only where the sender has asked for that and an address needs it. */
static void international_reports(void **state)
{
    (void)state;
    static const struct {
        const char *to, *rcpt, *orcpt;
        bool asked, global;
        const char *final;
    } rows[] = {
        {"app@example.com", "bob@example.net", "", true, false, "rfc822; bob@example.net"},
        {"app@example.com", "b\xc3\xb6@example.net", "", true, true,
         "utf-8; b\xc3\xb6@example.net"},
        {"app@example.com", "bob@example.net", "utf-8;b\xc3\xb6@x", true, true,
         "rfc822; bob@example.net"},
        {"\xc3\xa4@example.com", "bob@example.net", "", true, true, "rfc822; bob@example.net"},
        {"app@example.com", "b\xc3\xb6@example.net", "", false, false,
         "utf-8; b\\x{F6}@example.net"},
        {"app@example.com", "b\xc3\xb6+t@example.net", "", false, false,
         "utf-8; b\\x{F6}\\x{2B}t@example.net"},
    };
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        const size_t k = i / 2;
        struct verdict v =
            verdict_with(550, (struct enhanced){5, 1, 1}, "kein Empf\xc3\xa4nger \r\n");
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.address = slice_str(rows[k].rcpt);
        rcpt.orcpt = slice_str(rows[k].orcpt);
        struct dsn_input in = input_for(&rcpt, 1);
        in.to = slice_str(rows[k].to);
        in.smtputf8 = rows[k].asked;
        in.headers_only = i % 2;
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_int_equal(dsn_is_global(&in), rows[k].global);
        assert_int_equal(dsn_needs_smtputf8(&in), in.to.p[0] >= 0x80);
        assert_true(dsn_write(&out, &in));
        read_typed(buf_slice(&out), &r,
                   rows[k].global ? "message/global-delivery-status" : "message/delivery-status");
        /* Its own header asks for SMTPUTF8 only where its sender's address does. */
        const struct slice all = buf_slice(&out);
        bool ascii = true;
        for (size_t n = 0; n < slice_find_slice(all, SLICE_LIT("\r\n\r\n")); n++)
            ascii = ascii && all.p[n] < 0x80;
        assert_int_equal(ascii, !dsn_needs_smtputf8(&in));
        assert_value(&r.recipients[0], "Final-Recipient", rows[k].final);
        assert_value(&r.recipients[0], "Diagnostic-Code",
                     rows[k].global ? "smtp; 550 5.1.1 kein Empf\xc3\xa4nger"
                                    : "smtp; 550 5.1.1 kein Empf\\x{E4}nger ??");
        assert_value(&r.original, "Content-Type",
                     rows[k].global ? (i % 2 ? "message/global-headers" : "message/global")
                                    : (i % 2 ? "text/rfc822-headers" : "message/rfc822"));
        assert_value(&r.top, "Content-Transfer-Encoding", rows[k].global ? "8bit" : "");
        assert_value(&r.text, "Content-Type",
                     rows[k].global ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii");
        assert_int_equal(r.n_recipients, 1);
    }
}

/* 93, 94: the class of Status fits the Action; expiry keeps its 4.x.x. */
static void status_fits_the_action(void **state)
{
    (void)state;
    static const struct {
        enum dsn_action action;
        struct enhanced e;
        const char *status;
    } rows[] = {
        {DSN_FAILED, {5, 7, 26}, "5.7.26"}, {DSN_FAILED, {4, 4, 7}, "4.4.7"},
        {DSN_FAILED, {4, 2, 1}, "4.2.1"},   {DSN_FAILED, {0, 0, 0}, "5.0.0"},
        {DSN_FAILED, {2, 1, 5}, "5.0.0"},   {DSN_DELAYED, {4, 2, 0}, "4.2.0"},
        {DSN_DELAYED, {5, 1, 1}, "4.0.0"},  {DSN_DELAYED, {0, 0, 0}, "4.0.0"},
        {DSN_RELAYED, {2, 6, 0}, "2.6.0"},  {DSN_RELAYED, {0, 0, 0}, "2.0.0"},
        {DSN_RELAYED, {5, 1, 1}, "2.0.0"},  {DSN_DELIVERED, {0, 0, 0}, "2.0.0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct verdict v = verdict_with(0, rows[i].e, "x");
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.action = rows[i].action;
        struct dsn_input in = input_for(&rcpt, 1);
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_value(&r.recipients[0], "Status", rows[i].status);
        if (rows[i].e.class == 4 && rows[i].action == DSN_FAILED)
            assert_true(has(r.text.body, "no more attempts are made"));
    }
}

/* Every class has its own words, and no verdict at all is survived. */
static void each_class_has_words(void **state)
{
    (void)state;
    for (int c = CLASS_NONE; c <= CLASS_OTHER + 1; c++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 0, 0}, "x");
        v.class = c <= CLASS_OTHER ? (enum verdict_class)c : CLASS_OTHER;
        struct dsn_recipient rcpt = recipient_for(c <= CLASS_OTHER ? &v : NULL);
        struct dsn_input in = input_for(&rcpt, 1);
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_true(has(r.text.body, "Please "));
        assert_true(has(r.text.body, "message was not delivered"));
    }
}

/* 94: a 4xx that an administrator's row made final has not run out of time; what waited has. */
static void a_final_4xx_is_not_late(void **state)
{
    (void)state;
    for (unsigned waited = 0; waited < 2; waited++) {
        struct verdict v = verdict_with(452, (struct enhanced){4, 2, 2}, "full");
        v.class = CLASS_FULL;
        v.kind = waited ? VERDICT_DEFERRED : VERDICT_FAILED;
        struct dsn_recipient rcpt = recipient_for(&v);
        struct dsn_input in = input_for(&rcpt, 1);
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_int_equal(has(r.text.body, "not delivered in time"), waited);
        assert_int_equal(has(r.text.body, "the mailbox is full"), !waited);
    }
}

/* 21, 95: whatever a peer says, the report keeps its shape, and the words can still be recognised.
 */
static void hostile_words_stay_words(void **state)
{
    (void)state;
    static char huge[VERDICT_TEXT_MAX + 1], wide[VERDICT_TEXT_MAX + 1],
        blanks[VERDICT_TEXT_MAX + 1];
    memset(huge, 'x', VERDICT_TEXT_MAX);
    for (int i = 0; i + 2 <= VERDICT_TEXT_MAX; i += 2)
        memcpy(wide + i, "\xc3\xb6", 2);
    memset(blanks, ' ', VERDICT_TEXT_MAX);
    const struct {
        const char *text, *shown;
    } rows[] = {
        {"Empf\xc3\xa4nger unbekannt \xe2\x82\xac \xf0\x9f\x98\x80",
         "Empf\\x{E4}nger unbekannt \\x{20AC} \\x{1F600}"},
        {"bad \xff\xc3", "bad ??"},
        {"a\r\nStatus: 2.0.0\r\n\r\nFinal-Recipient: rfc822; x@y", "a??Status:"},
        {"--01HF7YAT01=--", "--01HF7YAT01=--"},
        {"see https://example.net/help?a=(b)\\c", "(b)\\c"},
        {"\x1b[31m\x07", "?[31m?"},
        {huge, "xxxxxxxxxx"},
        {wide, "\\x{F6}\\x{F6}"},
        {blanks, "550 5.1.1"},
        {"", "550 5.1.1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, rows[i].text);
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.remote_mta = SLICE_LIT("mx\r\n\r\n.example (\xc3\xb6)");
        struct dsn_input in = input_for(&rcpt, 1);
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_int_equal(r.n_recipients, 1);
        assert_value(&r.recipients[0], "Final-Recipient", "rfc822; bob@example.net");
        assert_value(&r.recipients[0], "Status", "5.1.1");
        assert_true(slice_starts(value_of(&r.recipients[0], "Diagnostic-Code"),
                                 SLICE_LIT("smtp; 550 5.1.1")));
        assert_true(has(value_of(&r.recipients[0], "Diagnostic-Code"), rows[i].shown));
        assert_true(has(r.text.body, rows[i].shown));
        assert_value(&r.recipients[0], "Remote-MTA", "dns; mx????.example?????");
    }
}

/* 23: ORCPT is shown as it was before its xtext; line ends in it stay harmless, and nothing that
 * looks like xtext is decoded a second time. */
static void the_original_recipient_is_shown_when_given(void **state)
{
    (void)state;
    static const struct {
        const char *orcpt, *shown;
    } rows[] = {
        {"rfc822;bob+x@example.net", "rfc822;bob+x@example.net"},
        {"rfc822;a\r\nStatus: 2.0.0@b", "rfc822;a??Status: 2.0.0@b"},
        {"rfc822;a+0D+0Ab", "rfc822;a+0D+0Ab"},
        {"rfc822;a+", "rfc822;a+"},
        {"utf-8;a\xc3\xb6@b", "utf-8;a\\x{F6}@b"},
        /* RFC 6533 section 3: what its reader would take for something else has a number, too. */
        {"UTF-8;a+\xc3\xb6=\\x{41}@b", "UTF-8;a\\x{2B}\\x{F6}\\x{3D}\\x{5C}x{41}@b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "x");
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.orcpt = slice_str(rows[i].orcpt);
        struct dsn_input in = input_for(&rcpt, 1);
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_value(&r.recipients[0], "Original-Recipient", rows[i].shown);
        assert_value(&r.recipients[0], "Status", "5.1.1");
    }
}

/* 19 of the promises: the original comes back byte for byte, and the report says 8bit exactly when
 * it must. */
static void the_original_is_carried_whole(void **state)
{
    (void)state;
    static const struct {
        const char *original, *headers;
        bool eight, eight_headers;
    } rows[] = {
        {"A: b\r\n\r\nbody\r\n", "A: b\r\n", false, false},
        {"A: b\r\n c\r\n\r\nb\xc3\xb6"
         "dy\r\n",
         "A: b\r\n c\r\n", true, false},
        {"A: \xc3\xb6\r\n\r\n", "A: \xc3\xb6\r\n", true, true},
        {"A: b\r\n\r\nno final line end", "A: b\r\n", false, false},
        {"A: b\r\n\r\n\r\n\r\n", "A: b\r\n", false, false},
        {"A: b\r\n\r\n--01HF7YAT01=\r\n\r\n--01HF7YAT01=--\r\n--01HF7YAT01=0=--\r\n", "A: b\r\n",
         false, false},
        {"A: b\r\n", "A: b\r\n", false, false},
        {"\r\nonly a body\r\n", "", false, false},
        {"no header\r\n", "", false, false},
        {"", "", false, false},
    };
    struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "x");
    struct dsn_recipient rcpt = recipient_for(&v);
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        bool only = i % 2, eight = only ? rows[i / 2].eight_headers : rows[i / 2].eight;
        struct dsn_input in = input_for(&rcpt, 1);
        in.original = slice_str(rows[i / 2].original);
        in.headers_only = only;
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_value(&r.original, "Content-Type", only ? "text/rfc822-headers" : "message/rfc822");
        assert_value(&r.original, "Content-Transfer-Encoding", eight ? "8bit" : "");
        assert_value(&r.top, "Content-Transfer-Encoding", eight ? "8bit" : "");
        assert_true(slice_eq(r.original.body, only ? slice_str(rows[i / 2].headers) : in.original));
    }
}

/* 93: mail programs show the report beside what was sent; what is no message id names nothing. */
static void the_report_belongs_to_its_message(void **state)
{
    (void)state;
    static const struct {
        const char *original, *id;
    } rows[] = {
        {"A: b\r\nmessage-id: <1.a@b>\r\n\r\nMessage-ID: <2@b>\r\n", "<1.a@b>"},
        {"Message-ID:\r\n <folded@b>  \r\n\r\n", "<folded@b>"},
        {"Message-ID: <1@b>\r\nMessage-ID: <2@b>\r\n\r\n", "<1@b>"},
        {"Message-ID: <1@b> (comment)\r\n\r\n", ""},
        {"Message-ID: <a b@c>\r\n\r\n", ""},
        {"Message-ID: <a\r\n To: x@y>\r\n\r\n", ""},
        {"Message-ID: <\xc3\xb6@b>\r\n\r\n", ""},
        {"Message-ID: <>\r\n\r\n", ""},
        {"Message-ID: none\r\n\r\n", ""},
        {"A: b\r\n\r\nMessage-ID: <body@b>\r\n", ""},
        {"", ""},
    };
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "x");
        struct dsn_recipient rcpt = recipient_for(&v);
        struct dsn_input in = input_for(&rcpt, 1);
        in.original = slice_str(rows[i / 2].original);
        in.headers_only = i % 2;
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_value(&r.top, "In-Reply-To", rows[i / 2].id);
        assert_value(&r.top, "References", rows[i / 2].id);
        assert_value(&r.top, "Message-ID", "<01HF7YAT01@relay.example.com>");
    }
}

/* A header section of which only a part has room ends with a whole field. */
static void a_header_that_was_cut(void **state)
{
    (void)state;
    static const char header[] = "A: b\r\nC: d\r\n e\r\nF: \xc3\xb6\r\n";
    static const size_t fields[] = {6, 12, 16, 23}; /* ends; the second one is of a line */
    for (size_t n = 0; n < sizeof header; n++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "x");
        struct dsn_recipient rcpt = recipient_for(&v);
        struct dsn_input in = input_for(&rcpt, 1);
        size_t whole = 0;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            whole = fields[i] <= n ? fields[i] : whole;
        /* Cut within a fold the field does not stand there; cut at its line end nobody can tell. */
        whole = n > 12 && n < 16 ? 6 : whole;
        in.original = slice_of(header, n);
        in.headers_only = true;
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_int_equal(r.original.body.n, whole);
    }
}

/* Addresses at their bounds and of odd shapes stay one field each. */
static void odd_addresses(void **state)
{
    (void)state;
    struct buf longest = BUF_MAX(300);
    for (int i = 0; i < 64; i++)
        buf_add_u8(&longest, 'l');
    for (int i = 0; i < 189; i++)
        buf_add_u8(&longest, i == 0 ? '@' : i % 60 == 0 ? '.' : 'd');
    const struct slice odd[] = {buf_slice(&longest), SLICE_LIT("\"a b; c\"@example.net"),
                                SLICE_LIT("postmaster"), SLICE_LIT("=?utf-8?q?x?=@example.net"),
                                SLICE_LIT("a@[IPv6:2001:db8::1]")};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "x");
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.address = odd[i];
        struct dsn_input in = input_for(&rcpt, 1);
        in.to = odd[i];
        in.postmaster = SLICE_NONE;
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        struct slice final = value_of(&r.recipients[0], "Final-Recipient");
        assert_true(slice_eq(slice_skip(final, 8), odd[i]));
        assert_value(&r.top, "From", "\"Mail Delivery System\" <MAILER-DAEMON@relay.example.com>");
        assert_int_equal(has(value_of(&r.top, "Subject"), "=?"), false);
    }
    buf_done(&longest);
}

/* Whatever room is missing: false, and what was in the buffer before is all that is in it. */
static void a_report_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "no such user here");
    struct dsn_recipient rcpt = recipient_for(&v);
    struct dsn_input in = input_for(&rcpt, 1);
    struct buf full = BUF_MAX(100000);
    buf_add_str(&full, "before");
    assert_true(dsn_write(&full, &in));
    for (size_t max = 6; max <= full.n; max++) {
        struct buf out = BUF_MAX(max);
        buf_add_str(&out, "before");
        assert_int_equal(dsn_write(&out, &in), max == full.n);
        assert_true(
            slice_eq(buf_slice(&out), max == full.n ? buf_slice(&full) : SLICE_LIT("before")));
        buf_done(&out);
    }
    buf_done(&full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_says_who_what_and_why),
        cmocka_unit_test(a_host_without_a_name),
        cmocka_unit_test(delays_and_local_causes),
        cmocka_unit_test(relayed_and_all_kinds),
        cmocka_unit_test(international_reports),
        cmocka_unit_test(status_fits_the_action),
        cmocka_unit_test(each_class_has_words),
        cmocka_unit_test(a_final_4xx_is_not_late),
        cmocka_unit_test(hostile_words_stay_words),
        cmocka_unit_test(the_original_recipient_is_shown_when_given),
        cmocka_unit_test(the_original_is_carried_whole),
        cmocka_unit_test(the_report_belongs_to_its_message),
        cmocka_unit_test(a_header_that_was_cut),
        cmocka_unit_test(odd_addresses),
        cmocka_unit_test(a_report_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

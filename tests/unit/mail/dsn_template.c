/* An administrator's own words: read with the place of each mistake, filled in, and a report stays
 * a report (93) whatever they say. */
#include "relay/mail/encoded.h"
#include "tests/unit/mail/dsn_kit.h"

struct told {
    unsigned lines[32], n;
    char last[400];
};

static void say(void *ctx, unsigned line, const char *problem)
{
    struct told *t = ctx;
    assert_true(t->n < 32 && strlen(problem) > 5);
    t->lines[t->n++] = line;
    snprintf(t->last, sizeof t->last, "%s", problem);
}

static struct dsn_template *parsed(const char *text)
{
    struct told t = {0};
    struct dsn_template *words = dsn_template_parse(slice_str(text), say, &t);
    if (!words)
        fail_msg("line %u: %s", t.lines[0], t.last);
    return words;
}

/* What would go out in an administrator's name although it is wrong. */
static void each_mistake_has_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned line;
        const char *says;
    } rows[] = {
        {"[failure]\n${recipients}\n${recipent}\n", 3, "no variable ${recipent}"},
        {"[failure]\nHello\n", 1, "no line ${recipients}"},
        {"[failure]\n\n[delay]\n${recipients}\n", 1, "empty"},
        {"[recipient]\n# only this\n", 1, "empty"},
        {"[failures]\nx ${nothing}\n", 1, "[failures] is no section"},
        {"[failure\n", 1, "is no section"},
        {"[]\nx\n", 1, "is no section"},
        {"[\nx\n", 1, "is no section"},
        {"[reason]\nx\n", 1, "is no section"},
        {"[reason bad_mail]\nx\n", 1, "is no section"},
        {"[reason none]\nx\n", 1, "is no section"},
        {"[recipient]\na\n[recipient]\nb\n", 3, "twice"},
        {"hello\n[recipient]\na\n", 1, "before the first section: hello"},
        {"[recipient]\n${address} ${count}\n", 2, "${count} means nothing"},
        {"[failure]\n${recipients}\n${address}\n", 3, "${address} means nothing"},
        {"[reason full]\n${advice}\n", 2, "${advice} means nothing"},
        {"[failure]\nfor: ${recipients}\n", 2, "a line of its own"},
        {"[failure]\nSubject: ${recipients}\n${recipients}\n", 2, "a line of its own"},
        {"[failure]\nSubject:  \n${recipients}\n", 2, "Subject: has no text"},
        {"[recipient]\n5 $ \n", 2, "written $$"},
        {"[recipient]\n${address\n", 2, "written $$"},
        {"[recipient]\n$address\n", 2, "written $$"},
        {"[recipient]\na\x01z\n", 2, "control"},
        {"[recipient]\na\xe2\x80\xae\n", 2, "control"}, /* turns the direction round */
        {"[recipient]\na\xff\n", 2, "no UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct told t = {0};
        assert_null(dsn_template_parse(slice_str(rows[i].text), say, &t));
        if (t.n != 1 || t.lines[0] != rows[i].line || !strstr(t.last, rows[i].says))
            fail_msg("%zu: %u problems, the last in line %u: %s", i, t.n, t.lines[0], t.last);
    }
    static char large[DSN_TEMPLATE_BYTES_MAX + 2], line[600] = "[recipient]\n";
    struct told t = {0};
    memset(large, '\n', sizeof large - 1);
    assert_null(dsn_template_parse(slice_of(large, sizeof large - 1), say, &t));
    assert_true(t.n == 1 && t.lines[0] == 0 && strstr(t.last, "too long"));
    memset(line + 12, 'x', 501);
    assert_null(dsn_template_parse(slice_str(line), say, &t));
    assert_true(t.n == 2 && t.lines[1] == 2 && strstr(t.last, "500 octets"));
    line[12 + 500] = 0;
    dsn_template_free(parsed(line));
    dsn_template_free(parsed(""));
    dsn_template_free(parsed("\xEF\xBB\xBF# with a mark, as some editors write it\r\n"));
}

/* Decodes the text part, which may be quoted-printable. */
static void decode(struct buf *out, const struct part *text)
{
    struct slice s = text->body;
    if (value_of(text, "Content-Transfer-Encoding").n == 0) {
        buf_add(out, s);
        return;
    }
    assert_value(text, "Content-Transfer-Encoding", "quoted-printable");
    while (s.n) {
        if (slice_starts(s, SLICE_LIT("=\r\n"))) {
            s = slice_skip(s, 3);
        } else if (s.p[0] == '=') {
            char hex[3] = {(char)s.p[1], (char)s.p[2], 0};
            char *end;
            buf_add_u8(out, (uint8_t)strtoul(hex, &end, 16));
            assert_int_equal(*end, 0);
            s = slice_skip(s, 3);
        } else {
            buf_add_u8(out, s.p[0]);
            s = slice_skip(s, 1);
        }
    }
}

#define GERMAN                                                                                     \
    "# Deutsch\n"                                                                                  \
    "[failure]\n"                                                                                  \
    "Subject: Nicht zugestellt: ${recipient} \xe2\x80\x93 leider\n"                                \
    "\n"                                                                                           \
    "Hier schreibt ${hostname}. Ihre Nachricht vom ${arrived} kam nicht an.\n"                     \
    "Kennung: ${envid}\n"                                                                          \
    "\n"                                                                                           \
    "  ${recipients}\n"                                                                            \
    "# ein Kommentar\n"                                                                            \
    "... und ${more} weitere.\n"                                                                   \
    "Es kostet $$5. ${count} / ${postmaster} / ${sender} / ${queue_id}\n"                          \
    "\n"                                                                                           \
    "[recipient]\n"                                                                                \
    "<${address}> (${status})\n"                                                                   \
    "  ${happened}\n"                                                                              \
    "  Antwort von ${host}: ${answer}\n"                                                           \
    "  Grund: ${cause}\n"                                                                          \
    "  Zuletzt versucht: ${attempted}\n"                                                           \
    "  Versuche bis: ${until}\n"                                                                   \
    "  ${advice}\n"                                                                                \
    "[reason bad_mailbox]\n"                                                                       \
    "Das Postfach ${address} gibt es nicht.\n"                                                     \
    "\n"                                                                                           \
    "Bitte pr\xc3\xbc"                                                                             \
    "fen Sie den Teil vor dem @.\n"                                                                \
    "Oder rufen Sie an.\n"                                                                         \
    "[reason other]\n"                                                                             \
    "Es ging nicht.\n"

/* A reader finds his own language, the peer's own words, and no line that says nothing. */
static void a_report_in_german(void **state)
{
    (void)state;
    struct dsn_template *words = parsed(GERMAN);
    struct verdict refused =
        verdict_with(550, (struct enhanced){5, 1, 1}, "Empf\xc3\xa4nger unbekannt");
    struct verdict local = {.kind = VERDICT_FAILED, .enhanced = {5, 4, 4}, .class = CLASS_NETWORK};
    char reason[] = "no route";
    local.text = reason;
    struct dsn_recipient rcpts[] = {recipient_for(&refused), recipient_for(&local)};
    rcpts[1].address = SLICE_LIT("eve@example.org");
    rcpts[1].remote_mta = SLICE_NONE;
    rcpts[1].last_attempt = (struct wall){0};
    struct dsn_input in = input_for(rcpts, 2);
    in.words = words;
    DEFER(buf_done) struct buf out = BUF_MAX(100000), text = BUF_MAX(100000);
    struct report r;
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r); /* ASCII up to the original, three parts */
    assert_value(&r.text, "Content-Type", "text/plain; charset=utf-8");
    assert_value(&r.top, "Content-Transfer-Encoding", "");
    decode(&text, &r.text);
    static const char want[] =
        "Hier schreibt relay.example.com. Ihre Nachricht vom Tue, 14 Nov 2023 22:13:20\r\n"
        "+0000 kam nicht an.\r\n"
        "\r\n"
        "  <bob@example.net> (5.1.1)\r\n"
        "    Das Postfach bob@example.net gibt es nicht.\r\n"
        "    Antwort von mx.example.net: 550 5.1.1 Empf\xc3\xa4nger unbekannt\r\n"
        "    Zuletzt versucht: Tue, 14 Nov 2023 23:13:19 +0000\r\n"
        "    Bitte pr\xc3\xbc"
        "fen Sie den Teil vor dem @.\r\n"
        "    Oder rufen Sie an.\r\n"
        "\r\n"
        "  <eve@example.org> (5.4.4)\r\n"
        "    Es ging nicht.\r\n"
        "    Grund: no route\r\n"
        "Es kostet $5. 2 / postmaster@example.com / app@example.com / 01HF7YAT00\r\n";
    if (!slice_eq(buf_slice(&text), slice_str(want)))
        fail_msg("%.*s", SLICE_ARG(buf_slice(&text)));
    /* The subject in encoded words; the fields for programs as ever. */
    struct slice subject = value_of(&r.top, "Subject");
    assert_true(slice_starts(subject, SLICE_LIT("=?UTF-8?B?TmljaHQgenVnZXN0ZWxsdDog")));
    assert_value(&r.recipients[0], "Diagnostic-Code", "smtp; 550 5.1.1 Empf\\x{E4}nger unbekannt");
    assert_value(&r.recipients[1], "Diagnostic-Code", "x-postwain; no route");
    in.n_more = 7;
    in.envid = SLICE_LIT("E\r\n1");
    buf_reset(&out);
    buf_reset(&text);
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    decode(&text, &r.text);
    assert_true(has(buf_slice(&text), "... und 7 weitere.\r\n"));
    assert_true(has(buf_slice(&text), "Kennung: E  1\r\n"));
    dsn_template_free(words);
}

/* What a template leaves out stays ours; each kind of report has its own section. */
static void section_by_section(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum dsn_action action;
        bool double_bounce;
        const char *subject, *with, *without;
    } rows[] = {
        {"[delay]\nSubject: Later\nLATE\n${recipients}\n", DSN_DELAYED, false, "Later", "LATE",
         "This is the mail system"},
        {"[delay]\nLATE\n${recipients}\n", DSN_DELAYED, false, "Delayed mail to bob@example.net",
         "LATE", "This is the mail system"},
        {"[delay]\nLATE\n${recipients}\n", DSN_FAILED, false, "Undelivered mail to bob@example.net",
         "This is the mail system", "LATE"},
        {"[relayed]\nON\n${recipients}\n", DSN_RELAYED, false, "Relayed mail to bob@example.net",
         "ON", "handed on"},
        {"[double]\nSubject: Twice\nDOUBLE\n${recipients}\n", DSN_FAILED, true, "Twice", "DOUBLE",
         "could not be delivered itself"},
        {"[failure]\nX\n${recipients}\n", DSN_FAILED, true, "Undelivered report to bob@example.net",
         "could not be delivered itself", "X\r\n"},
        {"[reason delayed]\nPATIENCE\n", DSN_DELAYED, false, "Delayed mail to bob@example.net",
         "    PATIENCE\r\n", "You need not do anything"},
        {"[reason relayed]\nGONE\n", DSN_DELAYED, false, "Delayed mail to bob@example.net",
         "The message is delayed.", "GONE"},
        {"[reason expired]\nTOO LATE\n", DSN_FAILED, false, "Undelivered mail to bob@example.net",
         "knows no such mailbox", "TOO LATE"},
        {"[recipient]\nTO ${address}\n", DSN_FAILED, false, "Undelivered mail to bob@example.net",
         "This is the mail system", "knows no such mailbox"},
        {"[failure]\nSubject: =?UTF-8?Q?x?= to ${recipient}\n${recipients}\n", DSN_FAILED, false,
         "=?UTF-8?B?PT9VVEYtOD9RP3g/PSB0byBib2JAZXhhbXBsZS5uZXQ=?=", "knows no such", "=?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dsn_template *words = parsed(rows[i].text);
        struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "no such user");
        struct dsn_recipient rcpt = recipient_for(&v);
        rcpt.action = rows[i].action;
        rcpt.will_retry_until = (struct wall){INT64_C(1700400000) * WALL_SECOND};
        struct dsn_input in = input_for(&rcpt, 1);
        in.words = words;
        in.double_bounce = rows[i].double_bounce;
        DEFER(buf_done) struct buf out = BUF_MAX(100000);
        struct report r;
        assert_true(dsn_write(&out, &in));
        read_report(buf_slice(&out), &r);
        assert_value(&r.top, "Subject", rows[i].subject);
        assert_value(&r.text, "Content-Type", "text/plain; charset=us-ascii");
        if (!has(r.text.body, rows[i].with) || has(r.text.body, rows[i].without))
            fail_msg("%zu: %.*s", i, SLICE_ARG(r.text.body));
        dsn_template_free(words);
    }
}

/* 36: a peer's words come into the text, and do not become more of it. */
static void hostile_words_stay_words(void **state)
{
    (void)state;
    struct dsn_template *words = parsed("[failure]\nSubject: \xc3\xa4 ${recipient}\n${recipients}\n"
                                        "[recipient]\n${address}: ${answer}\n");
    struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1},
                                    "${sender}\r\n--01HF7YAT01=--\r\n\x1b[31m =41 \xff");
    struct dsn_recipient rcpt = recipient_for(&v);
    rcpt.address = SLICE_LIT("a\r\nBcc: x@\xc3\xb6");
    struct dsn_input in = input_for(&rcpt, 1);
    in.words = words;
    DEFER(buf_done) struct buf out = BUF_MAX(100000), text = BUF_MAX(100000);
    struct report r;
    assert_true(dsn_write(&out, &in));
    read_report(buf_slice(&out), &r);
    assert_value(&r.top, "Bcc", "");
    decode(&text, &r.text);
    if (!slice_eq(
            buf_slice(&text),
            SLICE_LIT("a  Bcc: x@\xc3\xb6: 550 5.1.1 ${sender}  --01HF7YAT01=--   [31m =41 ?\r\n")))
        fail_msg("%.*s", SLICE_ARG(buf_slice(&text)));
    dsn_template_free(words);
}

/* Written whole or not at all, also where the words alone have no room. */
static void what_has_no_room(void **state)
{
    (void)state;
    struct dsn_template *words = parsed(GERMAN);
    struct verdict v = verdict_with(550, (struct enhanced){5, 1, 1}, "x");
    struct dsn_recipient rcpts[200];
    for (size_t i = 0; i < 200; i++)
        rcpts[i] = recipient_for(&v);
    struct dsn_input in = input_for(rcpts, 200);
    in.words = words;
    for (size_t room = 100; room < 60000; room += 997) {
        DEFER(buf_done) struct buf out = BUF_MAX(room);
        assert_false(dsn_write(&out, &in));
        assert_int_equal(out.n, 0);
    }
    dsn_template_free(words);
}

/* RFC 2045 section 6.7, RFC 2047 section 2: the lines that no reader breaks. */
static void encodings(void **state)
{
    (void)state;
    static const struct {
        const char *in, *quoted, *words;
    } rows[] = {
        {"", "", ""},
        {"a=b \r\n\tc\t\r\n", "a=3Db=20\r\n\tc=09\r\n", NULL},
        {"\xc3\xa4", "=C3=A4", "=?UTF-8?B?w6Q=?="},
        {"0123456789012345678901234567890123456789012345678901234567890123456789012345",
         "0123456789012345678901234567890123456789012345678901234567890123456789012345", NULL},
        {"01234567890123456789012345678901234567890123456789012345678901234567890123456",
         "012345678901234567890123456789012345678901234567890123456789012345678901234=\r\n56",
         NULL},
        {"0123456789012345678901234567890123456789\xc3\xa4\xc3\xb6", NULL,
         "=?UTF-8?B?MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OcOk?=\r\n "
         "=?UTF-8?B?w7Y=?="},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf a = BUF_MAX(1000), b = BUF_MAX(1000);
        encoded_quoted_printable(&a, slice_str(rows[i].in));
        encoded_words(&b, slice_str(rows[i].in));
        if (rows[i].quoted)
            assert_string_equal(buf_str(&a), rows[i].quoted);
        if (rows[i].words)
            assert_string_equal(buf_str(&b), rows[i].words);
    }
}

/* The manual has every section and every variable. */
static void the_manual_has_them(void **state)
{
    (void)state;
    static char manual[1 << 19];
    char name[64];
    FILE *f = fopen("../contrib/man/postwain.conf.5", "r");
    assert_non_null(f);
    manual[fread(manual, 1, sizeof manual - 1, f)] = 0;
    fclose(f);
    size_t n = 0;
    for (const char *s; (s = dsn_template_variable(n)); n++) {
        snprintf(name, sizeof name, ".It Li ${%s}\n", s);
        assert_non_null(strstr(manual, name));
    }
    assert_true(n > 15);
    for (size_t i = 0; dsn_template_section(i); i++) {
        snprintf(name, sizeof name, ".It Li [%s]\n", dsn_template_section(i));
        assert_non_null(strstr(manual, name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mistake_has_its_line), cmocka_unit_test(a_report_in_german),
        cmocka_unit_test(section_by_section),        cmocka_unit_test(hostile_words_stay_words),
        cmocka_unit_test(what_has_no_room),          cmocka_unit_test(encodings),
        cmocka_unit_test(the_manual_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

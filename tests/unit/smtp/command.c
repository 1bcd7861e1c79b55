/* Command lines and their words: checklist 1, 6, 19, 20, 24, 25. */
#include "relay/smtp/command.h"
#include "relay/base/defer.h"
#include "relay/smtp/line.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void verbs(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum verb verb;
        const char *args;
    } rows[] = {
        {"EHLO x", VERB_EHLO, "x"},
        {"ehlo  x ", VERB_EHLO, "x"},
        {"QuIt", VERB_QUIT, ""},
        {"QUIT ", VERB_QUIT, ""},
        {"MAIL FROM:<a@b.test> SIZE=1", VERB_MAIL, "FROM:<a@b.test> SIZE=1"},
        {"MAILFROM:<a@b.test>", VERB_UNKNOWN, ""},
        {" QUIT", VERB_UNKNOWN, "QUIT"},
        {"", VERB_UNKNOWN, ""},
        {"GET / HTTP/1.1", VERB_GET, "/ HTTP/1.1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice args;
        assert_int_equal(command_verb(slice_str(rows[i].line), &args), rows[i].verb);
        assert_true(slice_eq(args, slice_str(rows[i].args)));
    }
}

/* What servers of old offer. */
#define OLD (SMTP_SIZE | SMTP_EIGHTBITMIME | SMTP_AUTH)

/* path == NULL: refused with `fault`. */
static const struct mail_row {
    const char *args, *path;
    enum command_fault fault;
    uint64_t size;
    enum mail_body body;
    const char *auth, *culprit;
} mail_rows[] = {
    {"FROM:<a@b.test>", "a@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"from:<a@b.test>", "a@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM: <a@b.test>", "a@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<>", "", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<> SIZE=0", "", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<A.B@B.test>", "A.B@B.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<\"a b\"@b.test>", "\"a b\"@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<\"a> SIZE=1\"@b.test>", "\"a> SIZE=1\"@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "",
     ""},
    {"FROM:<@x.test,@y.test:a@b.test>", "a@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", COMMAND_FINE, 0, MAIL_BODY_7BIT, "", ""},
    {"FROM:<a@b.test> SIZE=18446744073709551615 BODY=8BITMIME", "a@b.test", COMMAND_FINE,
     UINT64_MAX, MAIL_BODY_8BITMIME, "", ""},
    {"FROM:<a@b.test>   body=7bit  size=5", "a@b.test", COMMAND_FINE, 5, MAIL_BODY_7BIT, "", ""},
    {"FROM:<a@b.test> AUTH=<>", "a@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT, "<>", ""},
    {"FROM:<a@b.test> AUTH=c+2Bd@b.test", "a@b.test", COMMAND_FINE, 0, MAIL_BODY_7BIT,
     "c+2Bd@b.test", ""},
    {"FROM:a@b.test", NULL, COMMAND_SYNTAX, 0, 0, "", ""},
    {"<a@b.test>", NULL, COMMAND_SYNTAX, 0, 0, "", ""},
    {"FROM <a@b.test>", NULL, COMMAND_SYNTAX, 0, 0, "", ""},
    {"FROM:", NULL, COMMAND_SYNTAX, 0, 0, "", ""},
    {"FROM:<a@b.test", NULL, COMMAND_PATH, 0, 0, "", ""},
    {"FROM:<a>", NULL, COMMAND_PATH, 0, 0, "", ""},
    {"FROM:<postmaster>", NULL, COMMAND_PATH, 0, 0, "", ""},
    {"FROM:<a@b.test>SIZE=1", NULL, COMMAND_PATH, 0, 0, "", ""},
    {"FROM:<a b@b.test>", NULL, COMMAND_PATH, 0, 0, "", ""},
    {"FROM:<a@@b.test>", NULL, COMMAND_PATH, 0, 0, "", ""},
    {"FROM:<j\xc3\xb6rg@b.test>", NULL, COMMAND_NOT_ASCII, 0, 0, "", ""},
    {"FROM:<a@b\xff>", NULL, COMMAND_NOT_ASCII, 0, 0, "", ""},
    {"FROM:<a@b.test> RET=HDRS", NULL, COMMAND_PARAM_UNKNOWN, 0, 0, "", "RET"},
    {"FROM:<a@b.test> SMTPUTF8", NULL, COMMAND_PARAM_UNKNOWN, 0, 0, "", "SMTPUTF8"},
    {"FROM:<a@b.test> HOLDFOR=5", NULL, COMMAND_PARAM_UNKNOWN, 0, 0, "", "HOLDFOR"},
    {"FROM:<a@b.test> SIZE", NULL, COMMAND_PARAM_VALUE, 0, 0, "", "SIZE=octets"},
    {"FROM:<a@b.test> SIZE=", NULL, COMMAND_PARAM_VALUE, 0, 0, "", "SIZE=octets"},
    {"FROM:<a@b.test> SIZE=-1", NULL, COMMAND_PARAM_VALUE, 0, 0, "", "SIZE=octets"},
    {"FROM:<a@b.test> SIZE=18446744073709551616", NULL, COMMAND_PARAM_VALUE, 0, 0, "",
     "SIZE=octets"},
    {"FROM:<a@b.test> SIZE=1 SIZE=1", NULL, COMMAND_PARAM_TWICE, 0, 0, "", "SIZE"},
    {"FROM:<a@b.test> BODY=BINARYMIME", NULL, COMMAND_PARAM_VALUE, 0, 0, "",
     "BODY=7BIT|8BITMIME|BINARYMIME"},
    {"FROM:<a@b.test> AUTH=a+2", NULL, COMMAND_PARAM_VALUE, 0, 0, "",
     "AUTH=mailbox in xtext, or <>"},
    {"FROM:<a@b.test> AUTH=a+2b", NULL, COMMAND_PARAM_VALUE, 0, 0, "",
     "AUTH=mailbox in xtext, or <>"},
    {"FROM:<a@b.test> AUTH=a=b", NULL, COMMAND_PARAM_VALUE, 0, 0, "",
     "AUTH=mailbox in xtext, or <>"},
    {"FROM:<a@b.test> =1", NULL, COMMAND_PARAM_VALUE, 0, 0, "", ""},
    {"FROM:<a@b.test> A_B=1", NULL, COMMAND_PARAM_VALUE, 0, 0, "", ""},
    {"FROM:<a@b.test> <c@d.test>", NULL, COMMAND_PARAM_VALUE, 0, 0, "", ""},
};

static void mail(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mail_rows / sizeof *mail_rows; i++) {
        const struct mail_row *r = &mail_rows[i];
        struct smtp_mail m = {0};
        struct slice culprit;
        DEFER(buf_done) struct buf text = BUF_MAX(1024);
        const struct command_rules rules = {.offered = OLD, .text = &text};
        enum command_fault fault = command_mail(slice_str(r->args), &rules, &m, &culprit);
        if (fault != r->fault || !slice_eq(culprit, slice_str(r->culprit)))
            fail_msg("%s: fault %d at \"%.*s\"", r->args, fault, SLICE_ARG(culprit));
        if (!r->path)
            continue;
        if (!slice_eq(m.path, slice_str(r->path)))
            fail_msg("%s: path \"%.*s\"", r->args, SLICE_ARG(m.path));
        assert_int_equal(m.size, r->size);
        assert_int_equal(m.params.body, r->body);
        assert_true(slice_eq(m.auth, slice_str(r->auth)));
    }
}

/* Where AUTH is not offered, AUTH= is a parameter like any unknown one (RFC 4954 section 5). */
static void mail_auth_not_offered(void **state)
{
    (void)state;
    struct smtp_mail m;
    struct slice culprit;
    DEFER(buf_done) struct buf text = BUF_MAX(1024);
    const struct command_rules rules = {.offered = OLD & ~(unsigned)SMTP_AUTH, .text = &text};
    assert_int_equal(command_mail(SLICE_LIT("FROM:<> AUTH=<>"), &rules, &m, &culprit),
                     COMMAND_PARAM_UNKNOWN);
}

static void rcpt(void **state)
{
    (void)state;
    static const struct {
        const char *args, *path;
        enum command_fault fault;
    } rows[] = {
        {"TO:<a@b.test>", "a@b.test", COMMAND_FINE},
        {"To: <a@b.test> ", "a@b.test", COMMAND_FINE},
        {"TO:<postmaster>", "postmaster", COMMAND_FINE}, /* checklist 19 */
        {"TO:<PostMaster>", "PostMaster", COMMAND_FINE},
        {"TO:<@hop.test:a@b.test>", "a@b.test", COMMAND_FINE}, /* checklist 20 */
        {"TO:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", COMMAND_FINE},
        {"TO:<>", NULL, COMMAND_PATH},
        {"TO:<root>", NULL, COMMAND_PATH},
        {"TO:a@b.test", NULL, COMMAND_SYNTAX},
        {"FROM:<a@b.test>", NULL, COMMAND_SYNTAX},
        {"TO:<a@b.test> NOTIFY=NEVER", NULL, COMMAND_PARAM_UNKNOWN}, /* checklist 24 */
        {"TO:<\xc3\xa4@b.test>", NULL, COMMAND_NOT_ASCII},           /* checklist 25 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_rcpt r = {0};
        struct slice culprit;
        DEFER(buf_done) struct buf text = BUF_MAX(1024);
        const struct command_rules rules = {.offered = OLD, .text = &text};
        assert_int_equal(command_rcpt(slice_str(rows[i].args), &rules, &r, &culprit),
                         rows[i].fault);
        if (rows[i].path)
            assert_true(slice_eq(r.path, slice_str(rows[i].path)));
    }
}

/* Checklist 14: a size that is misread would turn content into commands. */
static void bdat(void **state)
{
    (void)state;
    static const struct {
        const char *args;
        bool good;
        uint64_t size;
        bool last;
    } rows[] = {
        {"0", true, 0, false},
        {"0 LAST", true, 0, true},
        {"86 last", true, 86, true},
        {"000000000000000000086", false, 0, false},
        {"18446744073709551615", true, UINT64_MAX, false},
        {"18446744073709551616", false, 0, false},
        {"", false, 0, false},
        {"-1", false, 0, false},
        {"+1", false, 0, false},
        {"0x10", false, 0, false},
        {"1 FIRST", false, 0, false},
        {"1 LAST LAST", false, 0, false},
        {"LAST", false, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t size = 1;
        bool last = true;
        const bool good = command_bdat(slice_str(rows[i].args), &size, &last) == COMMAND_FINE;
        assert_int_equal(good, rows[i].good);
        if (good) {
            assert_true(size == rows[i].size);
            assert_int_equal(last, rows[i].last);
        }
    }
}

/* Checklist 9: "=" is an empty response, which is not the same as none. */
static void auth(void **state)
{
    (void)state;
    struct slice mechanism, response;
    bool has;
    assert_int_equal(command_auth(SLICE_LIT("plain"), &mechanism, &response, &has), COMMAND_FINE);
    assert_true(slice_eq(mechanism, SLICE_LIT("plain")) && !has);
    assert_int_equal(command_auth(SLICE_LIT("PLAIN ="), &mechanism, &response, &has), COMMAND_FINE);
    assert_true(has && response.n == 0);
    assert_int_equal(command_auth(SLICE_LIT("PLAIN AGEAYg=="), &mechanism, &response, &has),
                     COMMAND_FINE);
    assert_true(has && slice_eq(response, SLICE_LIT("AGEAYg==")));
    assert_int_equal(command_auth(SLICE_LIT("PLAIN A*=="), &mechanism, &response, &has),
                     COMMAND_PARAM_VALUE);
    assert_int_equal(command_auth(SLICE_LIT("PLAIN AGE"), &mechanism, &response, &has),
                     COMMAND_PARAM_VALUE);
    assert_int_equal(command_auth(SLICE_LIT("PLAIN AGEA AGEA"), &mechanism, &response, &has),
                     COMMAND_SYNTAX);
    assert_int_equal(command_auth(SLICE_LIT("A-MECHANISM-TOO-LONG-X"), &mechanism, &response, &has),
                     COMMAND_SYNTAX);
}

/* The events of a whole input, one letter each: W with its text, B, L, E. */
static void lines_of(struct slice in, size_t step, bool auth_lines, struct buf *out)
{
    struct line l;
    line_init(&l);
    for (size_t at = 0; at < in.n;) {
        enum line_event event;
        const size_t n = line_read(&l, slice_head(slice_skip(in, at), step), auth_lines, &event);
        assert_true(n > 0); /* a driver takes none for "not now" */
        at += n;
        if (event == LINE_MORE)
            continue;
        buf_add_u8(out, (uint8_t) " WBLE"[event]);
        if (event == LINE_WHOLE)
            buf_add(out, buf_slice(&l.text));
        buf_add_u8(out, '|');
        line_next(&l);
        if (event == LINE_ENDLESS)
            break;
    }
    line_done(&l);
}

/* Checklist 1, 4 and 6: a row that splits elsewhere lets a second command hide in a first. */
static void lines(void **state)
{
    (void)state;
    static const struct {
        const char *in, *events;
    } rows[] = {
        {"a\r\nb\r\n", "Wa|Wb|"},
        {"\r\n", "W|"},
        {"a\r", ""},
        {"a\nb\r\nc\r\n", "B|Wc|"},
        {"a\n\n\n\r\nc\r\n", "B|Wc|"},
        {"a\rb\r\nc\r\n", "B|Wc|"},
        {"a\r\r\nc\r\n", "B|Wc|"},
        {"a\n\rb\r\nc\r\n", "B|Wc|"},
        {"\nb\r\n", "B|"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step < 12; step++) {
            struct buf events = BUF_MAX(256);
            lines_of(slice_str(rows[i].in), step, false, &events);
            if (!slice_eq(buf_slice(&events), slice_str(rows[i].events)))
                fail_msg("row %zu by %zu: %s", i, step, buf_str(&events));
            buf_done(&events);
        }
}

static void line_limits(void **state)
{
    (void)state;
    static const struct {
        const char *start;
        size_t length;
        bool auth, good;
    } rows[] = {
        {"MAIL ", 2048, false, true},   {"MAIL ", 2049, false, false},
        {"AUTH ", 2049, false, true},   {"AUTH ", 12288, false, true},
        {"auth ", 12289, false, false}, {"AAAA", 12288, true, true},
        {"AAAA", 12289, true, false},   {"AUTHPLAIN", 2049, false, false},
    };
    static const size_t steps[] = {1, 7, 2048, 2049, 20000};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            struct buf in = BUF_MAX(1 << 16), events = BUF_MAX(1 << 16);
            buf_add_str(&in, rows[i].start);
            while (in.n < rows[i].length)
                buf_add_u8(&in, 'A');
            buf_add_str(&in, "\r\nNOOP\r\n");
            lines_of(buf_slice(&in), steps[k], rows[i].auth, &events);
            assert_int_equal(events.p[0], rows[i].good ? 'W' : 'L');
            assert_true(slice_iends(buf_slice(&events), SLICE_LIT("|WNOOP|")));
            assert_int_equal(events.n, rows[i].good ? rows[i].length + 8 : 8);
            buf_done(&in);
            buf_done(&events);
        }
}

/* A line that never ends is skipped for 64 KiB and no longer. */
static void line_endless(void **state)
{
    (void)state;
    static uint8_t flood[100000];
    memset(flood, 'a', sizeof flood);
    for (size_t step = 1; step <= sizeof flood; step *= 10) {
        struct buf events = BUF_MAX(64);
        lines_of(slice_of(flood, sizeof flood), step, false, &events);
        assert_true(slice_eq(buf_slice(&events), SLICE_LIT("L|E|")));
        buf_done(&events);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbs),
        cmocka_unit_test(mail),
        cmocka_unit_test(mail_auth_not_offered),
        cmocka_unit_test(rcpt),
        cmocka_unit_test(bdat),
        cmocka_unit_test(auth),
        cmocka_unit_test(lines),
        cmocka_unit_test(line_limits),
        cmocka_unit_test(line_endless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

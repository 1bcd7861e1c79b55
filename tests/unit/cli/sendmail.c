/* The classic command line. If this breaks, a program's options mean something else, a message
 * loses a line or gains a header, or a recipient is somebody else. */
#include "relay/cli/sendmail.h"
#include "relay/base/defer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- options ---- */

static int parse(struct sendmail_args *a, const char *line)
{
    static char copy[1000], *words[64];
    int n = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *p = copy; *p;) {
        words[n++] = p;
        while (*p && *p != ' ')
            p++;
        if (*p)
            *p++ = 0;
    }
    words[n] = NULL;
    return sendmail_args(a, n, words);
}

/* "mode flags sender name rcpts", as a program's words give them. */
static const struct {
    const char *line, *want;
} good[] = {
    {"sendmail bob@x", "0 --- - - bob@x"},
    {"sendmail -t", "0 t-- - - "},
    {"sendmail -ti", "0 ti- - - "},
    {"sendmail -t -oi -v", "0 tiv - - "},
    {"sendmail -i -f ann@x -- bob@x -c", "0 -i- ann@x - bob@x -c"},
    {"sendmail -fann@x -FAnn bob@x", "0 --- ann@x Ann bob@x"},
    {"sendmail -r ann@x -F Ann bob@x", "0 --- ann@x Ann bob@x"},
    {"sendmail -f <> -oem -oi bob@x carol@x", "0 -i- <> - bob@x carol@x"},
    {"sendmail -FCronDaemon -i -odi -oem -oi -t", "0 ti- - CronDaemon "},
    {"sendmail -odb -odq -om -n -m -G -U -x -h 3 -L tag -X log -p r -O a=b -A c -e p bob@x",
     "0 --- - - bob@x"},
    {"sendmail -d -d0.1 bob@x", "0 --- - - bob@x"},
    {"sendmail -bm bob@x", "0 --- - - bob@x"},
    {"sendmail -bs", "1 --- - - "},
    {"sendmail -bp", "2 --- - - "},
    {"mailq", "2 --- - - "},
    {"mailq -v", "2 --v - - "},
    {"sendmail -q", "3 --- - - "},
    {"sendmail -bi", "4 --- - - "},
    {"sendmail -I", "4 --- - - "},
    {"newaliases", "4 --- - - "},
    {"sendmail -q30m", "5 --- - - "},
    {"sendmail --help", "6 --- - - "},
};

static void options_mean_what_programs_mean(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct sendmail_args a;
        DEFER(buf_done) struct buf got = BUF_MAX(1000);
        if (parse(&a, good[i].line) != EX_OK)
            fail_msg("%s: %s", good[i].line, a.problem);
        buf_addf(&got, "%d %c%c%c %s %s ", (int)a.mode, a.from_header ? 't' : '-',
                 a.dot_is_text ? 'i' : '-', a.verbose ? 'v' : '-', a.sender ? a.sender : "-",
                 a.fullname ? a.fullname : "-");
        for (int r = 0; r < a.n_rcpts; r++)
            buf_addf(&got, "%s%s", r ? " " : "", a.rcpts[r]);
        if (strcmp(buf_str(&got), good[i].want) != 0)
            fail_msg("%s: \"%s\"", good[i].line, buf_str(&got));
    }
}

static void parameters_are_read(void **state)
{
    (void)state;
    struct sendmail_args a;
    assert_int_equal(parse(&a, "sendmail -N Success,delay -R HDRS -V e1 -B 8bitmime -C f b@x"), 0);
    assert_int_equal(a.notify, MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY);
    assert_int_equal(a.ret, MAIL_RET_HDRS);
    assert_int_equal(a.body, MAIL_BODY_8BITMIME);
    assert_string_equal(a.envid, "e1");
    assert_string_equal(a.config, "f");
    assert_int_equal(parse(&a, "sendmail -N never -R full -B 7BIT b@x"), 0);
    assert_int_equal(a.notify, MAIL_NOTIFY_NEVER);
    assert_int_equal(a.ret, MAIL_RET_FULL);
    assert_int_equal(parse(&a, "sendmail -qRexample.com"), 0);
    assert_string_equal(a.only[SENDMAIL_ONLY_TO], "example.com");
    assert_int_equal(parse(&a, "sendmail -qI001"), 0);
    assert_string_equal(a.only[SENDMAIL_ONLY_ID], "001");
    assert_int_equal(parse(&a, "sendmail -qSann@x"), 0);
    assert_string_equal(a.only[SENDMAIL_ONLY_FROM], "ann@x");
}

static void wrong_usage_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } bad[] = {{"sendmail", "name the recipients"},
               {"sendmail -i", "name the recipients"},
               {"sendmail -z b@x", "no option -z"},
               {"sendmail -t -f", "-f needs a value"},
               {"sendmail b@x -t", "-t: options stand in front"},
               {"sendmail -bd", "postwain serve"},
               {"sendmail -bv b@x", "only -bm"},
               {"sendmail -N now b@x", "success,failure,delay"},
               {"sendmail -N never,delay b@x", "stands alone"},
               {"sendmail -N , b@x", "success,failure,delay"},
               {"sendmail -R some b@x", "full or hdrs"},
               {"sendmail -B binary b@x", "7BIT or 8BITMIME"},
               {"sendmail -V \xc3\xbc b@x", "printable ASCII"},
               {"sendmail -qI", "missing"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sendmail_args a;
        assert_int_equal(parse(&a, bad[i].line), EX_USAGE);
        if (!strstr(a.problem, bad[i].words))
            fail_msg("%s: %s", bad[i].line, a.problem);
    }
}

/* ---- reading ---- */

static const struct {
    const char *in, *out, *out_dots; /* out_dots: with -i, NULL: the same */
} texts[] = {
    {"", "", NULL},
    {"a\nb\n", "a\r\nb\r\n", NULL},
    {"a\r\nb\r\n", "a\r\nb\r\n", NULL},
    {"no end", "no end\r\n", NULL},
    {"10%\r50%\r100%\n", "10% 50% 100%\r\n", NULL},
    {"a\r\r\nb\r", "a \r\nb\r\n", NULL},
    {"\r\n\r", "\r\n\r\n", NULL},
    {"a\n.\nb\n", "a\r\n", "a\r\n.\r\nb\r\n"},
    {"a\r\n.\r\nb\n", "a\r\n", "a\r\n.\r\nb\r\n"},
    {".\n", "", ".\r\n"},
    {".", "", ".\r\n"},
    {"..\n.a\n. \n", "..\r\n.a\r\n. \r\n", NULL},
    {"a\r.\rb\n.\r.\n", "a . b\r\n. .\r\n", NULL},
    {"a\n.\r\r\nb\n", "a\r\n. \r\nb\r\n", NULL},
};

static void lines_are_made_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t at = 0; at <= strlen(texts[i].in); at++)
            for (int dots = 0; dots < 2; dots++) {
                struct sendmail_reader r = {.text = BUF_MAX(1000), .dot_is_text = dots};
                const struct slice all = slice_str(texts[i].in);
                const char *want = dots && texts[i].out_dots ? texts[i].out_dots : texts[i].out;
                sendmail_read(&r, slice_head(all, at));
                sendmail_read(&r, slice_skip(all, at));
                sendmail_read_end(&r);
                if (strcmp(buf_str(&r.text), want) != 0)
                    fail_msg("%zu at %zu: \"%s\"", i, at, buf_str(&r.text));
                buf_done(&r.text);
            }
}

/* ---- composing ---- */

static const struct sendmail_who who = {.login = "ann",
                                        .fullname = "Ann Example",
                                        .hostname = "h.test",
                                        .postmaster = "admin@corp.test"};

/* text with LF for CR LF; the result the same way: "sender > recipients", then the content. */
static const struct {
    const char *line, *text, *want;
} composed[] = {
    {"sendmail b@x.test", "Subject: s\n\nt\n",
     "ann@h.test > b@x.test\nSubject: s\nFrom: \"Ann Example\"\n <ann@h.test>\n\nt\n"},
    {"sendmail -f c@y.test -F N b@x.test", "\nt\n",
     "c@y.test > b@x.test\nFrom: \"N\"\n <c@y.test>\n\nt\n"},
    {"sendmail -f <> b@x.test", "t\n", " > b@x.test\nFrom: \"Ann Example\"\n <ann@h.test>\n\nt\n"},
    {"sendmail -f www bob root Postmaster b@x.test,c@x.test", "From: x@y.test\n\n",
     "www@h.test > bob@h.test admin@corp.test b@x.test c@x.test\nFrom: x@y.test\n\n"},
    {"sendmail -t",
     "From: root (Cron Daemon)\nTo: root, bob\nCc: us: c@x.test, d;\nBcc: e@x.test\n\n",
     "ann@h.test > admin@corp.test bob@h.test c@x.test d@h.test e@x.test\n"
     "From: root@h.test (Cron Daemon)\nTo: root@h.test, bob@h.test\nCc: us: c@x.test, d@h.test;\n"
     "Bcc: e@x.test\n\n"},
    {"sendmail -t -G z@x.test", "From: root\nTo: bob\n\n",
     "ann@h.test > z@x.test bob@h.test\nFrom: root\nTo: bob\n\n"},
    {"sendmail -t", "To: a@x.test\nResent-From: r@x.test\nResent-To: b@x.test\n\n",
     "ann@h.test > b@x.test\nTo: a@x.test\nResent-From: r@x.test\nResent-To: b@x.test\n\n"},
    {"sendmail -t", "From ann Thu Jan 1\nTo: a@x.test,\n\tB <b@x.test>\nFrom: x\n\n\nt\n",
     "ann@h.test > a@x.test b@x.test\nTo: a@x.test,\n\tB <b@x.test>\nFrom: x@h.test\n\n\nt\n"},
    {"sendmail b@x.test b@x.test", "Reply-To: no list at all\nFrom: x@y.test\nno field\n",
     "ann@h.test > b@x.test\nReply-To: no list at all\nFrom: x@y.test\n\nno field\n"},
    {"sendmail -F J\xc3\xb6rg b@x.test", "\n",
     "ann@h.test > b@x.test\nFrom: =?UTF-8?B?SsO2cmc=?=\n <ann@h.test>\n\n"},
    {"sendmail -F a\"b\\c b@x.test", "\n",
     "ann@h.test > b@x.test\nFrom: \"a\\\"b\\\\c\"\n <ann@h.test>\n\n"},
    {"sendmail -F a\nBcc:evil@x.test b@x.test", "\n",
     "ann@h.test > b@x.test\nFrom: <ann@h.test>\n\n"},
    {"sendmail -F \xff b@x.test", "\n", "ann@h.test > b@x.test\nFrom: <ann@h.test>\n\n"},
};

static void with_crlf(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            buf_add_u8(out, '\r');
        buf_add_u8(out, (uint8_t)*text);
    }
}

static int compose(struct sendmail_mail *m, const char *line, const char *text, char problem[160])
{
    struct sendmail_args a;
    DEFER(buf_done) struct buf crlf = BUF_MAX(100000);
    with_crlf(&crlf, text);
    if (parse(&a, line) != EX_OK)
        fail_msg("%s: %s", line, a.problem);
    return sendmail_compose(m, &a, &who, buf_slice(&crlf), problem);
}

static void messages_are_completed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof composed / sizeof *composed; i++) {
        char problem[160];
        struct sendmail_mail m;
        DEFER(buf_done) struct buf got = BUF_MAX(10000), want = BUF_MAX(10000);
        if (compose(&m, composed[i].line, composed[i].text, problem) != EX_OK)
            fail_msg("%s: %s", composed[i].line, problem);
        buf_addf(&got, "%s >", buf_str(&m.sender));
        for (size_t r = 0; r < m.n_rcpts; r++)
            buf_addf(&got, " %.*s", SLICE_ARG(m.rcpts[r]));
        buf_add_str(&got, "\r\n");
        buf_add(&got, buf_slice(&m.content));
        with_crlf(&want, composed[i].want);
        if (strcmp(buf_str(&got), buf_str(&want)) != 0)
            fail_msg("%s:\n%s", composed[i].line, buf_str(&got));
        assert_false(m.utf8);
        sendmail_mail_done(&m);
    }
}

static void what_cannot_be_sent_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *line, *text;
        int code;
        const char *words;
    } bad[] = {
        {"sendmail -f a@@b b@x.test", "\n", EX_USAGE, "-f a@@b: the sender"},
        {"sendmail -f a@x.test,b@x.test b@x.test", "\n", EX_USAGE, "the sender"},
        {"sendmail b@", "\n", EX_USAGE, "b@: the recipient"},
        {"sendmail b@x..test", "\n", EX_USAGE, "the recipient"},
        {"sendmail <>", "\n", EX_USAGE, "the recipient"},
        {"sendmail us:;", "\n", EX_USAGE, "no recipient"},
        {"sendmail -t", "Subject: x\n\nTo: b@x.test\n", EX_DATAERR, "names no recipients"},
        {"sendmail -t", "To: Ann b@x.test\n\n", EX_DATAERR, "To: the field"},
        {"sendmail -t b@x.test", "Bcc: <<b@x.test>\n\n", EX_DATAERR, "Bcc: the field"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char problem[160];
        struct sendmail_mail m;
        assert_int_equal(compose(&m, bad[i].line, bad[i].text, problem), bad[i].code);
        if (!strstr(problem, bad[i].words))
            fail_msg("%s: %s", bad[i].line, problem);
        sendmail_mail_done(&m);
    }
}

static void an_address_beyond_ascii_needs_smtputf8(void **state)
{
    (void)state;
    char problem[160];
    struct sendmail_mail m;
    assert_int_equal(compose(&m, "sendmail j\xc3\xb6rg@x.test", "\n", problem), EX_OK);
    assert_true(m.utf8);
    sendmail_mail_done(&m);
}

/* Item 7: no line is too long for the wire, and none of it is lost. */
static void long_lines_become_base64(void **state)
{
    (void)state;
    char problem[160], text[3000];
    struct sendmail_mail m;
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "Subject: s\n\n", 12);
    text[sizeof text - 1] = 0;
    assert_int_equal(compose(&m, "sendmail b@x.test", text, problem), EX_OK);
    assert_non_null(strstr(buf_str(&m.content), "Content-Transfer-Encoding: base64\r\n"));
    for (struct slice rest = buf_slice(&m.content); rest.n;) {
        const size_t n = slice_find(rest, '\n');
        assert_true(n <= 999);
        rest = slice_skip(rest, n + 1);
    }
    sendmail_mail_done(&m);
}

/* ---- the listener that trusts this host ---- */

static void the_first_trusting_listener_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *address, *trust, *host;
        enum conf_listener_tls tls;
        unsigned port;
        const char *proxies;
        enum sendmail_trust found;
    } rows[] = {
        {"127.0.0.1:25", "127.0.0.0/8", "127.0.0.1", CONF_TLS_NONE, 25, "198.51.100.0/24",
         SENDMAIL_TRUSTED},
        {"0.0.0.0:587", "127.0.0.1", "127.0.0.1", CONF_TLS_STARTTLS, 587, "198.51.100.0/24",
         SENDMAIL_TRUSTED},
        {"[::]:587", "::1/128", "::1", CONF_TLS_STARTTLS, 587, "198.51.100.0/24", SENDMAIL_TRUSTED},
        {"[::1]:2525", "::/0", "::1", CONF_TLS_NONE, 2525, "198.51.100.0/24", SENDMAIL_TRUSTED},
        {"10.1.2.3:25", "10.1.0.0/16", "10.1.2.3", CONF_TLS_NONE, 25, "198.51.100.0/24",
         SENDMAIL_TRUSTED},
        {"10.1.2.3:25", "127.0.0.0/8", NULL, CONF_TLS_NONE, 0, "198.51.100.0/24",
         SENDMAIL_NO_TRUST},
        {"127.0.0.1:25", "126.0.0.0/8", NULL, CONF_TLS_NONE, 0, "198.51.100.0/24",
         SENDMAIL_NO_TRUST},
        {"127.0.0.1:25", "127.0.0.2/31", NULL, CONF_TLS_NONE, 0, "198.51.100.0/24",
         SENDMAIL_NO_TRUST},
        {"127.0.0.1:25", "::1", NULL, CONF_TLS_NONE, 0, "198.51.100.0/24", SENDMAIL_NO_TRUST},
        {"127.0.0.1:465", "127.0.0.0/8", NULL, CONF_TLS_IMPLICIT, 0, "198.51.100.0/24",
         SENDMAIL_NO_TRUST},
        {"127.0.0.1:25", "127.0.0.0/8", "127.0.0.1", CONF_TLS_NONE, 25, "127.0.0.1",
         SENDMAIL_BEHIND_PROXY},
        {"[::1]:25", "::1", "::1", CONF_TLS_NONE, 25, "::/0", SENDMAIL_BEHIND_PROXY},
        {"10.1.2.3:25", "10.1.0.0/16", "10.1.2.3", CONF_TLS_NONE, 25, "127.0.0.0/8",
         SENDMAIL_TRUSTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *address[] = {"192.0.2.1:1", rows[i].address},
                   *trust[] = {"192.0.2.77", rows[i].trust}, *proxies[] = {rows[i].proxies};
        struct conf_listener listener = {.tls = rows[i].tls,
                                         .address = {.items = address, .n = 2},
                                         .trust = {.items = trust, .n = 2},
                                         .proxy_protocol = {.items = proxies, .n = 1}};
        struct conf conf = {.listeners = &listener, .n_listeners = 1};
        struct sendmail_place place;
        assert_int_equal(sendmail_trusting(&conf, &place), rows[i].found);
        if (rows[i].host) {
            assert_string_equal(place.host, rows[i].host);
            assert_int_equal(place.port, rows[i].port);
        }
    }
}

/* A listener that waits for a PROXY header from this host is passed over for one that does not. */
static void a_listener_behind_a_balancer_is_passed_over(void **state)
{
    (void)state;
    const char *first[] = {"127.0.0.1:25"}, *second[] = {"127.0.0.1:2525"}, *here[] = {"127.0.0.1"};
    struct conf_listener listeners[] = {
        {.address = {.items = first, .n = 1},
         .trust = {.items = here, .n = 1},
         .proxy_protocol = {.items = here, .n = 1}},
        {.address = {.items = second, .n = 1}, .trust = {.items = here, .n = 1}}};
    struct conf conf = {.listeners = listeners, .n_listeners = 2};
    struct sendmail_place place;
    assert_int_equal(sendmail_trusting(&conf, &place), SENDMAIL_TRUSTED);
    assert_int_equal(place.port, 2525);
    conf.n_listeners = 1;
    assert_int_equal(sendmail_trusting(&conf, &place), SENDMAIL_BEHIND_PROXY);
    assert_int_equal(place.port, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_mean_what_programs_mean),
        cmocka_unit_test(parameters_are_read),
        cmocka_unit_test(wrong_usage_is_told),
        cmocka_unit_test(lines_are_made_at_every_split),
        cmocka_unit_test(messages_are_completed),
        cmocka_unit_test(what_cannot_be_sent_is_told),
        cmocka_unit_test(an_address_beyond_ascii_needs_smtputf8),
        cmocka_unit_test(long_lines_become_base64),
        cmocka_unit_test(the_first_trusting_listener_is_taken),
        cmocka_unit_test(a_listener_behind_a_balancer_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Whole dialogues of the client machine with a peer from a script, each fed at once, byte by byte
 * and in random pieces: the same words and the same fate must come out. What breaks for a user when
 * one fails: mail bounced, doubled or lost by a peer's odd manners.
 *
 * The script, a line each:  S text  the peer says a line        C text   we must say this line next
 *                           A text  the next action must be this  ! verb  what the driver does
 */
#include "relay/smtp/client.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { WHOLE, BYTEWISE, RANDOM };

struct talk {
    struct smtp_client_conf conf;
    struct smtp_client *client;
    struct mono now;
    struct slice rcpts[400];
    struct buf said; /* by us */
    struct buf acts; /* "READY\n" … */
    struct buf feed; /* the peer's words that are not fed yet */
    struct rng rng;
    int mode;
    bool hold_output; /* the peer does not read */
};

static const char *const kinds[] = {"none", "delivered", "deferred", "failed"};
static const char *const scopes[] = {"recipient", "message", "host", "site"};

static void show_verdict(struct buf *to, const struct verdict *v)
{
    char code[ENHANCED_SIZE];
    enhanced_write(v->enhanced, code);
    const char *phase = phase_name(v->phase), *class = class_name(v->class);
    buf_addf(to, "%s %s %s %s ", kinds[v->kind], scopes[v->scope], class ? class : "-",
             phase ? phase : "-");
    if (v->fault)
        buf_addf(to, "%s %s", fault_name(v->fault), code);
    else
        buf_addf(to, "%u %s", v->code, code);
    assert_true(v->kind != VERDICT_NONE);
    assert_true(enhanced_is(v->enhanced));
    assert_true((v->fault == FAULT_NONE) == (v->code != 0));
}

/* All actions that wait, and all output: what a driver's loop does after each call. */
static void pull(struct talk *t)
{
    struct smtp_client_action a;
    while (smtp_client_next(t->client, &a)) {
        static const char *const act_names[] = {"STARTTLS", "READY",  "BODY",
                                                "DONE",     "FAILED", "CLOSE"};
        buf_add_str(&t->acts, act_names[a.act]);
        if (a.act == CLI_TXN_DONE) {
            buf_add_str(&t->acts, a.reusable ? " reusable" : " last");
            for (size_t i = 0; i < a.n; i++) {
                buf_add_str(&t->acts, i ? " | " : ": ");
                show_verdict(&t->acts, &a.verdicts[i]);
            }
        } else if (a.act == CLI_FAILED) {
            buf_add_str(&t->acts, ": ");
            show_verdict(&t->acts, a.verdict);
        }
        buf_add_str(&t->acts, "\n");
    }
    struct slice out = smtp_client_output(t->client);
    if (t->hold_output)
        return;
    buf_add(&t->said, out);
    smtp_client_sent(t->client, out.n, t->now);
    if (out.n)
        pull(t);
}

static void feed(struct talk *t, struct slice bytes)
{
    while (bytes.n) {
        size_t n = t->mode == WHOLE ? bytes.n : 1;
        if (t->mode == RANDOM)
            n = 1 + (size_t)rng_below(&t->rng, bytes.n < 40 ? bytes.n : 40);
        /* A copy of its own size, so that a sanitizer sees a byte too far. */
        DEFER_FREE char *copy = slice_dup(slice_head(bytes, n));
        size_t taken = smtp_client_bytes(t->client, slice_of(copy, n), t->now);
        assert_true(taken > 0 && taken <= n);
        bytes = slice_skip(bytes, taken);
        pull(t);
    }
}

static void feed_pending(struct talk *t)
{
    struct buf now = t->feed;
    t->feed = BUF_MAX(now.max);
    feed(t, buf_slice(&now));
    buf_done(&now);
}

static void talk_start(struct talk *t, int mode, enum smtp_tls_level tls, bool tls_on)
{
    *t = (struct talk){.mode = mode,
                       .conf = {.helo = SLICE_LIT("me.example"), .tls = tls, .tls_on = tls_on}};
    t->said = t->acts = t->feed = BUF_MAX((size_t)64 << 20);
    rng_seed(&t->rng, (uint64_t)mode + 7);
    t->now.ms = 1000;
    t->client = smtp_client_new(&t->conf, t->now);
}

static void talk_end(struct talk *t)
{
    smtp_client_free(t->client);
    buf_done(&t->said);
    buf_done(&t->acts);
    buf_done(&t->feed);
}

/* "begin N": that many recipients; "begin N 8bit", "begin N size=M". */
static void begin(struct talk *t, struct slice args)
{
    static char names[400][64];
    uint64_t n = 0, size = 100;
    assert_true(slice_u64(slice_cut(&args, ' '), 400, &n));
    bool eight_bit = slice_eq(args, SLICE_LIT("8bit"));
    if (slice_starts(args, SLICE_LIT("size=")))
        assert_true(slice_u64(slice_skip(args, 5), UINT64_MAX, &size));
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "r%zu@example.org", i);
        t->rcpts[i] = slice_str(names[i]);
    }
    /* On this stack: only what it points to is borrowed. */
    struct smtp_client_txn txn = {.sender = SLICE_LIT("s@example.net"),
                                  .rcpts = t->rcpts,
                                  .n_rcpts = (size_t)n,
                                  .size = size,
                                  .eight_bit = eight_bit};
    smtp_client_begin(t->client, &txn, t->now);
}

static struct slice unescape(struct slice s, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n) {
            i++;
            to[n++] = s.p[i] == 'r' ? '\r' : s.p[i] == 'n' ? '\n' : (char)s.p[i];
        } else {
            to[n++] = (char)s.p[i];
        }
    }
    return slice_of(to, n);
}

static void drive(struct talk *t, struct slice args)
{
    char bytes[512];
    struct slice verb = slice_cut(&args, ' ');
    uint64_t ms;
    if (slice_eq(verb, SLICE_LIT("begin")))
        begin(t, args);
    else if (slice_eq(verb, SLICE_LIT("body")))
        smtp_client_body(t->client, unescape(args, bytes), false, t->now);
    else if (slice_eq(verb, SLICE_LIT("last")))
        smtp_client_body(t->client, unescape(args, bytes), true, t->now);
    else if (slice_eq(verb, SLICE_LIT("quit")))
        smtp_client_quit(t->client, t->now);
    else if (slice_eq(verb, SLICE_LIT("tls")))
        smtp_client_tls_done(t->client, slice_eq(args, SLICE_LIT("ok")), SLICE_LIT("why"), t->now);
    else if (slice_eq(verb, SLICE_LIT("lost")))
        smtp_client_lost(t->client, SLICE_LIT("reset by peer"), t->now);
    else if (slice_eq(verb, SLICE_LIT("unread")))
        t->hold_output = true;
    else if (slice_eq(verb, SLICE_LIT("damaged"))) {
        struct verdict v = verdict_of_fault(FAULT_BODY_LOST, PHASE_DATA, SLICE_NONE);
        smtp_client_body_failed(t->client, &v, t->now);
        verdict_done(&v);
    } else if (slice_eq(verb, SLICE_LIT("wait")) && slice_u64(args, INT64_MAX, &ms)) {
        t->now.ms += (int64_t)ms;
        smtp_client_tick(t->client, t->now);
    } else {
        fail_msg("no such verb: %.*s", SLICE_ARG(verb));
    }
    pull(t);
}

static void expect(struct buf *have, struct slice line, const char *eol, const char *script)
{
    size_t n = slice_find_slice(buf_slice(have), slice_str(eol));
    struct slice got = slice_head(buf_slice(have), n);
    if (!slice_eq(got, line) || have->n == 0)
        fail_msg("expected '%.*s'\n     got '%.*s'\nin\n%s", SLICE_ARG(line), SLICE_ARG(got),
                 script);
    size_t used = n + strlen(eol);
    buf_drop(have, used < have->n ? used : have->n);
}

static void step_through(struct talk *t, const char *script)
{
    struct slice rest = slice_str(script);
    while (rest.n) {
        struct slice line = slice_cut(&rest, '\n');
        char kind = line.n ? (char)line.p[0] : ' ';
        struct slice text = slice_skip(line, 2);
        if (kind != 'S')
            feed_pending(t);
        if (kind == 'S') {
            buf_add(&t->feed, text);
            buf_add_str(&t->feed, "\r\n");
        } else if (kind == 'C') {
            expect(&t->said, text, "\r\n", script);
        } else if (kind == 'A') {
            expect(&t->acts, text, "\n", script);
        } else {
            assert_int_equal(kind, '!');
            drive(t, text);
        }
    }
}

static void play(struct talk *t, const char *script, enum smtp_tls_level tls, bool tls_on, int mode)
{
    talk_start(t, mode, tls, tls_on);
    step_through(t, script);
    feed_pending(t);
}

static void run_mode(const char *script, enum smtp_tls_level tls, bool tls_on, int mode)
{
    struct talk t;
    play(&t, script, tls, tls_on, mode);
    if (t.said.n || t.acts.n)
        fail_msg("left over: said '%.*s' actions '%.*s' in\n%s", SLICE_ARG(buf_slice(&t.said)),
                 SLICE_ARG(buf_slice(&t.acts)), script);
    talk_end(&t);
}

static void run(const char *script, enum smtp_tls_level tls, bool tls_on)
{
    run_mode(script, tls, tls_on, WHOLE);
    run_mode(script, tls, tls_on, BYTEWISE);
    run_mode(script, tls, tls_on, RANDOM);
}

#define LONG_LINE                                                                                  \
    "S 250-X-FEATURE-OF-A-LONG-NAME and with many words behind it that nobody needs at all\n"
#define LONG_LINES                                                                                 \
    LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE      \
        LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE LONG_LINE
#define HELLO                                                                                      \
    "S 220 mx ready\nC EHLO me.example\nS 250-mx hello\nS 250-SIZE 1000\nS 250 8bitmime\nA "       \
    "READY\n"
#define HELLO_PIPE                                                                                 \
    "S 220 mx ready\nC EHLO me.example\nS 250-mx hello\nS 250-Pipelining\nS 250 ok\nA READY\n"
#define HELLO_TLS                                                                                  \
    "S 220 mx ready\nC EHLO me.example\nS 250-mx hello\nS 250-PIPELINING\nS 250 STARTTLS\n"        \
    "C STARTTLS\n"
#define OK "S 250 ok\n"
#define BEGIN1 "! begin 1\nC MAIL FROM:<s@example.net> SIZE=100\n"
#define RCPT0 "C RCPT TO:<r0@example.org>\n"
#define PIPE1 "! begin 1\nC MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\nC DATA\n"
#define PIPE2                                                                                      \
    "! begin 2\nC MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\n"                         \
    "C RCPT TO:<r1@example.org>\nC DATA\n"
#define GO "S 354 go\nA BODY\n"
#define DELIVERED "delivered recipient - eod 250 2.0.0"
#define NO_USER "failed recipient bad_mailbox rcpt 550 5.1.1"
#define TO_DOT HELLO_PIPE PIPE1 OK OK GO "! last x\\r\\n\nC x\nC .\n"
#define TO_CONTENT HELLO_PIPE PIPE1 OK OK GO

struct row {
    const char *about, *script;
    enum smtp_tls_level tls;
    bool tls_on;
};

static const struct row rows[] = {
    {"one by one, dots doubled, QUIT",
     HELLO
     "! begin 2 8bit\nC MAIL FROM:<s@example.net> SIZE=100 BODY=8BITMIME\nS 250 2.1.0 ok\n" RCPT0 OK
     "C RCPT TO:<r1@example.org>\nS 250 2.1.5 ok\nC DATA\n" GO
     "! body A: b\\r\\n\\r\\n.dot\\r\\n\nC A: b\nC \nC ..dot\nA BODY\n"
     "! last end\nC end\nC .\nS 250 2.0.0 queued as 1\n"
     "A DONE reusable: " DELIVERED " | " DELIVERED
     "\nA READY\n! quit\nC QUIT\nS 221 bye\nA CLOSE\n",
     0, 0},
    {"8-bit content to a peer without 8BITMIME goes as it is (72)",
     HELLO_PIPE "! begin 1 8bit\nC MAIL FROM:<s@example.net>\n" RCPT0 "C DATA\n", 0, 0},
    {"empty content",
     HELLO_PIPE PIPE1 OK OK GO "! last \nC .\n" OK "A DONE reusable: " DELIVERED "\nA READY\n", 0,
     0},
    {"61: each recipient has its own answer; nothing is left behind, so no RSET",
     HELLO_PIPE PIPE2 OK OK "S 550 5.1.1 no\n" GO "! last x\\r\\n\nC x\nC .\n" OK
                            "A DONE reusable: " DELIVERED " | " NO_USER "\nA READY\n" PIPE1,
     0, 0},
    {"61: the dot's reply binds the accepted ones only",
     HELLO_PIPE PIPE2 OK "S 550 5.1.1 no\n" OK GO "! last x\\r\\n\nC x\nC .\nS 554 5.7.1 spam\n"
                         "A DONE reusable: " NO_USER
                         " | failed message spam eod 554 5.7.1\nA READY\n" PIPE1,
     0, 0},
    {"62: 354 though nobody was taken: a lone dot, and a yes to it delivers nothing",
     HELLO_PIPE PIPE1 OK "S 550 5.1.1 no\nS 354 go\nC .\n" OK "A DONE reusable: " NO_USER
                         "\nA READY\n" PIPE1,
     0, 0},
    {"62: the same when MAIL was refused, even if RCPT was not",
     HELLO_PIPE PIPE1 "S 550 5.1.8 no\n" OK "S 354 go\nC .\nS 554 no\n"
                      "A DONE reusable: failed message policy mail 550 5.1.8\nA READY\n" PIPE1,
     0, 0},
    {"all refused, DATA refused: RSET before the next, and the next goes well",
     HELLO_PIPE PIPE1 OK
     "S 550 5.1.1 no\nS 503 no recipients\nA DONE reusable: " NO_USER "\nA READY\n"
     "! begin 1\nC RSET\n" OK "C MAIL FROM:<s@example.net>\n" RCPT0 "C DATA\n" OK OK GO
     "! last \nC .\n" OK "A DONE reusable: " DELIVERED "\nA READY\n",
     0, 0},
    {"all refused one by one: no DATA at all, RSET next time",
     HELLO BEGIN1 OK RCPT0 "S 550 5.1.1 no\nA DONE reusable: " NO_USER
                           "\nA READY\n! begin 1\nC RSET\n",
     0, 0},
    {"MAIL refused one by one: nothing more is said, no RSET",
     HELLO BEGIN1
     "S 451 later\nA DONE reusable: deferred message other mail 451 4.0.0\nA READY\n" BEGIN1,
     0, 0},
    {"67: MAIL 5xx fails all recipients",
     HELLO_PIPE PIPE2
     "S 552 5.3.4 big\nS 503 no\nS 503 no\nS 503 no\nA DONE reusable: failed message size mail "
     "552 5.3.4 | failed message size mail 552 5.3.4\nA READY\n",
     0, 0},
    {"DATA refused after RCPT was taken",
     HELLO_PIPE PIPE1 OK OK
     "S 451 4.3.0 later\nA DONE reusable: deferred message other data 451 4.3.0\nA READY\n"
     "! begin 1\nC RSET\n",
     0, 0},
    {"RSET refused: nothing is said about the mail, even by 5xx (68)",
     HELLO BEGIN1 OK RCPT0 "S 550 5.1.1 no\nA DONE reusable: " NO_USER
                           "\nA READY\n! begin 1\nC RSET\nS 500 what\n"
                           "A DONE last: deferred host other mail 500 5.0.0\nA CLOSE\nC QUIT\n",
     0, 0},
    {"66: too many recipients",
     HELLO_PIPE PIPE2 OK OK "S 452 4.5.3 too many recipients\n" GO "! last \nC .\n" OK
                            "A DONE reusable: " DELIVERED
                            " | deferred recipient other rcpt 452 4.5.3\nA READY\n",
     0, 0},
    {"71: larger than the peer takes: said here, not there",
     HELLO "! begin 1 size=1001\nA DONE reusable: failed message size mail too_big 5.3.4\nA READY\n"
           "! begin 1 size=1000\nC MAIL FROM:<s@example.net> SIZE=1000\n",
     0, 0},

    /* hello */
    {"52: EHLO refused: HELO on the same connection",
     "S 220 hi\nC EHLO me.example\nS 502 what\nC HELO me.example\nS 250 hi\nA READY\n! begin 1\n"
     "C MAIL FROM:<s@example.net>\n" OK RCPT0,
     SMTP_TLS_MAY, 0},
    {"52: not where TLS is required",
     "S 220 hi\nC EHLO me.example\nS 502 what\nA FAILED: deferred host other ehlo 502 5.0.0\nA "
     "CLOSE\nC QUIT\n",
     SMTP_TLS_ENCRYPT, 0},
    {"HELO refused too",
     "S 220 hi\nC EHLO me.example\nS 502 what\nC HELO me.example\nS 550 no\n"
     "A FAILED: deferred host policy ehlo 550 5.0.0\nA CLOSE\nC QUIT\n",
     0, 0},
    {"51: a greeting that refuses is temporary",
     "S 554 5.7.1 go away\nA FAILED: deferred host policy banner 554 5.7.1\nA CLOSE\nC QUIT\n", 0,
     0},
    {"79: throttled at the banner, no QUIT behind 421",
     "S 421 4.7.0 too many\nA FAILED: deferred site rate banner 421 4.7.0\nA CLOSE\n", 0, 0},
    {"features of a long EHLO reply are all heard, past what is kept of its text",
     "S 220 hi\nC EHLO me.example\nS 250-hello\n" LONG_LINES "S 250 PIPELINING\nA READY\n" PIPE1, 0,
     0},
    {"an EHLO name is no keyword",
     "S 220 hi\nC EHLO me.example\nS 250 PIPELINING\nA READY\n! begin 1\nC MAIL "
     "FROM:<s@example.net>\n",
     0, 0},

    /* TLS */
    {"STARTTLS, EHLO again, what was said before is forgotten (80)",
     HELLO_TLS "S 220 go\nA STARTTLS\n! tls ok\nC EHLO me.example\nS 250-hi\nS 250 SIZE 1000\nA "
               "READY\n" BEGIN1,
     SMTP_TLS_MAY, 0},
    {"required and not offered",
     "S 220 hi\nC EHLO me.example\nS 250 hi\nA FAILED: deferred host tls ehlo tls_unavailable "
     "4.7.4\nA CLOSE\nC QUIT\n",
     SMTP_TLS_ENCRYPT, 0},
    {"offered and not wanted", "S 220 hi\nC EHLO me.example\nS 250-hi\nS 250 STARTTLS\nA READY\n",
     0, 0},
    {"already under TLS: not again",
     "S 220 hi\nC EHLO me.example\nS 250-hi\nS 250 STARTTLS\nA READY\n", SMTP_TLS_ENCRYPT, true},
    {"84: STARTTLS refused is a failed handshake",
     HELLO_TLS "S 454 4.7.0 not now\nA FAILED: deferred host tls starttls tls_handshake 4.7.5\nA "
               "CLOSE\nC QUIT\n",
     SMTP_TLS_MAY, 0},
    {"84: by 5xx too",
     HELLO_TLS
     "S 500 what\nA FAILED: deferred host tls starttls tls_handshake 4.7.5\nA CLOSE\nC QUIT\n",
     SMTP_TLS_ENCRYPT, 0},
    {"handshake failed: no plain QUIT",
     HELLO_TLS "S 220 go\nA STARTTLS\n! tls no\nA FAILED: deferred host tls starttls tls_handshake "
               "4.7.5\nA CLOSE\n",
     SMTP_TLS_MAY, 0},
    {"handshake never ends",
     HELLO_TLS "S 220 go\nA STARTTLS\n! wait 119999\n! wait 1\n"
               "A FAILED: deferred host tls starttls tls_handshake 4.7.5\nA CLOSE\n",
     SMTP_TLS_MAY, 0},
    {"connection lost in the handshake",
     HELLO_TLS "S 220 go\nA STARTTLS\n! lost\nA FAILED: deferred host tls starttls tls_handshake "
               "4.7.5\nA CLOSE\n",
     SMTP_TLS_MAY, 0},

    /* endings */
    {"38, 57: 421 behind the yes: delivered",
     TO_DOT OK "A DONE reusable: " DELIVERED "\nA READY\n! wait 1\nS 421 bye\nA CLOSE\n", 0, 0},
    {"38: reset behind the yes",
     TO_DOT OK "A DONE reusable: " DELIVERED "\nA READY\n! lost\nA CLOSE\n", 0, 0},
    {"38: reset after QUIT",
     TO_DOT OK "A DONE reusable: " DELIVERED "\nA READY\n! quit\nC QUIT\n! lost\nA CLOSE\n", 0, 0},
    {"38, 70: silence after QUIT is not waited for",
     TO_DOT OK "A DONE reusable: " DELIVERED
               "\nA READY\n! quit\nC QUIT\n! wait 4999\n! wait 1\nA CLOSE\n",
     0, 0},
    {"65: an odd answer to QUIT",
     TO_DOT OK "A DONE reusable: " DELIVERED "\nA READY\n! quit\nC QUIT\nS 500 no\nA CLOSE\n", 0,
     0},
    {"57: 421 to the dot is no yes",
     TO_DOT "S 421 4.3.2 down\nA DONE last: deferred host other eod 421 4.3.2\nA CLOSE\n", 0, 0},
    {"57: 421 in the middle: what is decided stands",
     HELLO_PIPE PIPE2 OK "S 550 5.1.1 no\nS 421 4.3.2 down\nA DONE last: " NO_USER
                         " | deferred host other rcpt 421 4.3.2\nA CLOSE\n",
     0, 0},
    {"59: lost before the dot",
     TO_CONTENT "! lost\nA DONE last: deferred host network data conn_lost 4.4.2\nA CLOSE\n", 0, 0},
    {"59: lost after the dot",
     TO_DOT "! lost\nA DONE last: deferred host network eod conn_lost_eod 4.4.2\nA CLOSE\n", 0, 0},
    {"lost in the envelope: what is decided stands",
     HELLO_PIPE PIPE2 OK "S 550 5.1.1 no\n! lost\nA DONE last: " NO_USER
                         " | deferred host network rcpt conn_lost 4.4.2\nA CLOSE\n",
     0, 0},
    {"half a yes is no yes",
     TO_DOT
     "S 250-yes\n! lost\nA DONE last: deferred host network eod conn_lost_eod 4.4.2\nA CLOSE\n",
     0, 0},
    {"the lone dot's reply never comes: nothing was in doubt",
     HELLO_PIPE PIPE1 OK "S 550 5.1.1 no\nS 354 go\nC .\n! lost\nA DONE last: " NO_USER
                         "\nA CLOSE\n",
     0, 0},
    {"49: the dot's reply may take ten minutes",
     TO_DOT "! wait 599999\n! wait 1\nA DONE last: deferred host network eod smtp_timeout_eod "
            "4.4.2\nA CLOSE\n",
     0, 0},
    {"50: each reply has its own time",
     HELLO_PIPE PIPE2 "! wait 299999\n" OK "! wait 299999\n" OK "! wait 299999\n" OK
                      "! wait 119999\n" GO,
     0, 0},
    {"idle connections have no deadline here",
     HELLO "! wait 99999999\n" BEGIN1 "! wait 299999\n" OK RCPT0, 0, 0},
    {"69: closed while idle before the first mail speaks of the host",
     HELLO "! lost\nA FAILED: deferred host network ehlo conn_lost 4.4.2\nA CLOSE\n", 0, 0},
    {"69: 421 while idle before the first mail",
     HELLO "! wait 1\nS 421 4.4.2 idle\nA FAILED: deferred host network ehlo 421 4.4.2\nA CLOSE\n",
     0, 0},
    {"closed between READY and begin: the transaction ends all the same",
     HELLO "! lost\nA FAILED: deferred host network ehlo conn_lost 4.4.2\nA CLOSE\n! begin 1\n"
           "A DONE last: deferred host network mail conn_lost 4.4.2\nA CLOSE\n",
     0, 0},

    /* replies nobody waits for */
    {"60: an early refusal stops the content",
     TO_CONTENT "! body abc\\r\\n\nC abc\nA BODY\nS 552 5.3.4 too big\n"
                "A DONE last: failed message size data 552 5.3.4\nA CLOSE\n! body more\n",
     0, 0},
    {"60: by 421",
     TO_CONTENT "S 421 4.3.2 down\nA DONE last: deferred host other data 421 4.3.2\nA CLOSE\n", 0,
     0},
    {"64: an early yes delivers nothing",
     TO_CONTENT "! body abc\\r\\n\nC abc\nA BODY\n" OK
                "A DONE last: deferred host other data smtp_protocol 4.5.0\nA CLOSE\n",
     0, 0},
    {"64: a yes of which the start came before the dot was written delivers nothing",
     TO_CONTENT "S 250-ok\n! last abc\nS 250 ok\nA DONE last: deferred host other data "
                "smtp_protocol 4.5.0\nA CLOSE\n",
     0, 0},
    {"64: surplus while idle",
     TO_DOT OK "A DONE reusable: " DELIVERED "\nA READY\n! wait 1\n" OK "A CLOSE\n", 0, 0},
    {"the peer talks on after its greeting was refused",
     "S 554 no\nA FAILED: deferred host other banner 554 5.0.0\nA CLOSE\nC QUIT\nS 221 bye\n", 0,
     0},
    {"content that cannot be read: no dot, ever",
     TO_CONTENT "! body abc\\r\\n\nC abc\nA BODY\n! damaged\nA DONE last: failed message other "
                "data body_lost 5.3.0\nA CLOSE\n",
     0, 0},
    {"content with a bare LF is damaged: no dot",
     TO_CONTENT "! last a\\nb\nA DONE last: failed message other data body_lost 5.3.0\nA CLOSE\n",
     0, 0},
};

static void test_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run(rows[i].script, rows[i].tls, rows[i].tls_on);
}

/* 64, 80: replies that came along with the last one awaited, before we said anything more. How the
 * bytes are cut decides what can be noticed here, so these are fed whole. */
static void test_surplus_in_one_piece(void **state)
{
    (void)state;
    run_mode(TO_DOT "S 250 ok\nS 421 bye\nA DONE last: " DELIVERED "\nA CLOSE\n", 0, 0, WHOLE);
    run_mode(TO_DOT "S 250 ok\nS 250 what\nA DONE last: " DELIVERED "\nA CLOSE\n", 0, 0, WHOLE);
    /* An answer to the dot that is older than the dot. */
    run_mode(HELLO_PIPE PIPE1 OK OK
             "S 354 go\nS 250 ok\n"
             "A DONE last: deferred host other data smtp_protocol 4.5.0\nA CLOSE\n",
             0, 0, WHOLE);
    run_mode(HELLO_PIPE PIPE1 OK OK "S 354 go\nS 552 5.3.4 no\n"
                                    "A DONE last: failed message size data 552 5.3.4\nA CLOSE\n",
             0, 0, WHOLE);
    run_mode(
        "S 220 hi\nS 250 hi\nA FAILED: deferred host other ehlo smtp_protocol 4.5.0\nA CLOSE\n", 0,
        0, WHOLE);
    run_mode("S 220 hi\nS 421 no\nA FAILED: deferred host other ehlo 421 4.0.0\nA CLOSE\n", 0, 0,
             WHOLE);
    run_mode(
        HELLO BEGIN1
        "S 250 ok\nS 250 ok\nA DONE last: deferred host other rcpt smtp_protocol 4.5.0\nA CLOSE\n",
        0, 0, WHOLE);
    run_mode(HELLO_TLS "S 220 go\nS 250 injected\nA FAILED: deferred host other starttls "
                       "smtp_protocol 4.5.0\nA CLOSE\n",
             SMTP_TLS_MAY, 0, WHOLE);
    /* Cut, the action is out; then the bytes must not reach the machine, and when they do, it ends.
     */
    run_mode(HELLO_TLS "S 220 go\nA STARTTLS\nS 250 injected\n"
                       "A FAILED: deferred host other starttls smtp_protocol 4.5.0\nA CLOSE\n",
             SMTP_TLS_MAY, 0, BYTEWISE);
}

/* ---- every phase, every kind of answer ---- */

static const struct {
    const char *name, *before;
    bool in_doubt;
} phases[] = {
    {"banner", "", false},
    {"ehlo", "S 220 hi\nC EHLO me.example\n", false},
    {"starttls", HELLO_TLS, false},
    {"mail", HELLO BEGIN1, false},
    {"rcpt", HELLO BEGIN1 OK RCPT0, false},
    {"data", HELLO BEGIN1 OK RCPT0 OK "C DATA\n", false},
    {"data", HELLO BEGIN1 OK RCPT0 OK "C DATA\nS 354 go\nA BODY\n! body x\nC x\nA BODY\n",
     false}, /* content */
    {"eod", HELLO BEGIN1 OK RCPT0 OK "C DATA\nS 354 go\nA BODY\n! last x\nC x\nC .\n", true},
};

static const struct {
    const char *answer;
    /* The verdict in each phase; NULL: the session goes on. %s: the phase. */
    const char *host, *starttls, *mail, *rcpt, *data, *content, *eod;
} answers[] = {
    {"S 250 2.0.0 ok\n", NULL, NULL, NULL, NULL, "deferred host other %s smtp_protocol 4.5.0",
     "deferred host other %s smtp_protocol 4.5.0", "delivered recipient - %s 250 2.0.0"},
    {"S 354 go\n", "deferred host other %s smtp_protocol 4.5.0",
     "deferred host other %s smtp_protocol 4.5.0", "deferred host other %s smtp_protocol 4.5.0",
     "deferred host other %s smtp_protocol 4.5.0", NULL,
     "deferred host other %s smtp_protocol 4.5.0", "deferred host other %s smtp_protocol 4.5.0"},
    {"S 451 4.3.0 later\n", "deferred host other %s 451 4.3.0",
     "deferred host tls %s tls_handshake 4.7.5", "deferred message other %s 451 4.3.0",
     "deferred recipient other %s 451 4.3.0", "deferred message other %s 451 4.3.0",
     "deferred message other %s 451 4.3.0", "deferred message other %s 451 4.3.0"},
    {"S 554 5.3.0 no\n", "deferred host other %s 554 5.3.0",
     "deferred host tls %s tls_handshake 4.7.5", "failed message other %s 554 5.3.0",
     "failed recipient other %s 554 5.3.0", "failed message other %s 554 5.3.0",
     "failed message other %s 554 5.3.0", "failed message other %s 554 5.3.0"},
    {"S 421 4.3.2 down\n", "deferred host other %s 421 4.3.2", "deferred host other %s 421 4.3.2",
     "deferred host other %s 421 4.3.2", "deferred host other %s 421 4.3.2",
     "deferred host other %s 421 4.3.2", "deferred host other %s 421 4.3.2",
     "deferred host other %s 421 4.3.2"},
#define EVERYWHERE(answer, v)                                                                      \
    {                                                                                              \
        answer, v, v, v, v, v, v, v                                                                \
    }
    EVERYWHERE("S HTTP/1.1 400 Bad Request\n", "deferred host other %s smtp_protocol 4.5.0"),
    EVERYWHERE("S \n", "deferred host other %s smtp_protocol 4.5.0"),
    EVERYWHERE("S 150 what\n", "deferred host other %s smtp_protocol 4.5.0"),
    EVERYWHERE("S 650 what\n", "deferred host other %s smtp_protocol 4.5.0"),
    EVERYWHERE("S 250-ok\nS 251 not the same\n", "deferred host other %s smtp_protocol 4.5.0"),
    EVERYWHERE("! lost\n", "deferred host network %s conn_lost 4.4.2"),
    EVERYWHERE("! wait 600000\n", "deferred host network %s smtp_timeout 4.4.2"),
};

static void test_every_phase_and_answer(void **state)
{
    (void)state;
    for (size_t a = 0; a < sizeof answers / sizeof *answers; a++) {
        for (size_t p = 0; p < sizeof phases / sizeof *phases; p++) {
            const char *verdicts[] = {answers[a].host,    answers[a].host, answers[a].starttls,
                                      answers[a].mail,    answers[a].rcpt, answers[a].data,
                                      answers[a].content, answers[a].eod};
            const char *verdict = verdicts[p];
            if (p == 1 && slice_starts(slice_str(answers[a].answer), SLICE_LIT("S 554")))
                verdict = NULL; /* HELO is tried */
            for (int mode = WHOLE; mode <= RANDOM; mode++) {
                struct talk t;
                play(&t, phases[p].before, p == 2 ? SMTP_TLS_MAY : SMTP_TLS_NONE, false, mode);
                step_through(&t, answers[a].answer);
                feed_pending(&t);
                DEFER(buf_done) struct buf want = BUF_MAX(512);
                if (verdict) {
                    struct slice head =
                        slice_head(slice_str(verdict), slice_find(slice_str(verdict), '%'));
                    buf_add_str(&want, p < 3 ? "FAILED: " : "DONE ");
                    if (p >= 3) {
                        bool reusable = strstr(answers[a].answer, "S 451") ||
                                        strstr(answers[a].answer, "S 554") ||
                                        strstr(answers[a].answer, "S 250 2.0.0");
                        bool open = p == 6 || strstr(verdict, "smtp_protocol");
                        buf_add_str(&want, reusable && !open ? "reusable: " : "last: ");
                    }
                    buf_add(&want, head);
                    buf_add_str(&want, phases[p].name);
                    struct slice tail = slice_skip(slice_str(verdict), head.n + 2);
                    struct slice fault =
                        slice_head(slice_skip(tail, 1), slice_find(slice_skip(tail, 1), ' '));
                    buf_addf(&want, " %.*s", SLICE_ARG(fault));
                    if (phases[p].in_doubt && (slice_eq(fault, SLICE_LIT("conn_lost")) ||
                                               slice_eq(fault, SLICE_LIT("smtp_timeout"))))
                        buf_add_str(&want, "_eod");
                    buf_add(&want, slice_skip(tail, 1 + fault.n));
                }
                struct slice got =
                    slice_head(buf_slice(&t.acts), slice_find(buf_slice(&t.acts), '\n'));
                bool ends =
                    slice_starts(got, SLICE_LIT("FAILED")) || slice_starts(got, SLICE_LIT("DONE"));
                if (verdict ? !slice_eq(got, buf_slice(&want)) : ends)
                    fail_msg("%s in %s (%zu):\n  wanted %s\n     got %.*s", answers[a].answer,
                             phases[p].name, p, buf_str(&want), SLICE_ARG(got));
                talk_end(&t);
            }
        }
    }
}

/* ---- bounds ---- */

/* 63: commands run ahead of their replies only so far, and all of them arrive in the end. */
static void test_ahead_is_capped(void **state)
{
    (void)state;
    struct talk t;
    play(&t, HELLO_PIPE "! begin 400\n", 0, 0, WHOLE);
    size_t replies = 0, commands = 0;
    DEFER(buf_done) struct buf all = BUF_MAX(1 << 20);
    while (replies < 402) {
        assert_true(t.said.n <= 4096 + 64);
        buf_add(&all, buf_slice(&t.said));
        size_t n = 0;
        for (size_t i = 0; i < t.said.n; i++)
            n += t.said.p[i] == '\n';
        buf_reset(&t.said);
        commands += n;
        assert_true(commands > replies && commands - replies <= 128);
        step_through(&t, replies < 401 ? OK : "S 354 go\n");
        feed_pending(&t);
        replies++;
    }
    assert_int_equal(commands, 402);
    const struct slice end = SLICE_LIT("<r399@example.org>\r\nDATA\r\n");
    assert_true(slice_eq(slice_skip(buf_slice(&all), all.n - end.n), end));
    step_through(&t, "A BODY\n");
    talk_end(&t);

    /* MAIL refused while most is unsaid: it stays unsaid. */
    play(&t, HELLO_PIPE "! begin 400\n", 0, 0, WHOLE);
    step_through(&t, "S 550 5.1.8 no\n");
    feed_pending(&t);
    size_t said = 0;
    for (size_t i = 0; i < t.said.n; i++)
        said += t.said.p[i] == '\n';
    for (size_t i = 1; i < said; i++)
        step_through(&t, "S 503 no\n");
    feed_pending(&t);
    assert_true(slice_find_slice(buf_slice(&t.said), SLICE_LIT("DATA")) == t.said.n);
    assert_true(slice_starts(buf_slice(&t.acts), SLICE_LIT("DONE reusable: failed message")));
    talk_end(&t);
}

/* The same with addresses so long that bytes are the limit. */
static void test_ahead_is_capped_in_bytes(void **state)
{
    (void)state;
    struct talk t;
    play(&t, HELLO_PIPE, 0, 0, WHOLE);
    char name[300];
    memset(name, 'a', sizeof name);
    struct slice rcpts[60];
    for (size_t i = 0; i < 60; i++)
        rcpts[i] = slice_of(name, sizeof name);
    struct smtp_client_txn txn = {.rcpts = rcpts, .n_rcpts = 60};
    smtp_client_begin(t.client, &txn, t.now);
    pull(&t);
    size_t first = t.said.n;
    assert_in_range(first, 3500, 4096 + 320);
    step_through(&t, OK OK);
    feed_pending(&t);
    assert_in_range(t.said.n, first + 1, first + 2 * 320); /* one comes back, one goes out */
    talk_end(&t);
}

/* Half a reply that nobody waits for is here: nothing is said in front of it, whenever the output
 * drains. */
static void test_nothing_is_said_into_a_reply(void **state)
{
    (void)state;
    struct talk t;
    play(&t,
         HELLO "! unread\n"
               "! begin 1\n",
         0, 0, WHOLE);
    buf_add_str(&t.feed, "250 ok\r\n25");
    feed_pending(&t);
    size_t n = smtp_client_output(t.client).n;
    smtp_client_sent(t.client, n, t.now);
    assert_int_equal(smtp_client_output(t.client).n, 0);
    step_through(&t,
                 "S 0 ok\nA DONE last: deferred host other rcpt smtp_protocol 4.5.0\nA CLOSE\n");
    talk_end(&t);

    play(&t, HELLO_TLS "S 220 go\nA STARTTLS\n", SMTP_TLS_MAY, 0, WHOLE);
    assert_int_equal(smtp_client_bytes(t.client, SLICE_LIT("2"), t.now),
                     1); /* one byte is enough */
    step_through(&t,
                 "! wait 0\nA FAILED: deferred host other starttls smtp_protocol 4.5.0\nA CLOSE\n");
    talk_end(&t);
}

static const char *hostile(struct buf *to, const char *line, size_t times, const char *end)
{
    buf_reset(to);
    for (size_t i = 0; i < times; i++)
        buf_add_str(to, line);
    buf_add_str(to, end);
    return buf_str(to);
}

/* Promise 26: no growth, a verdict at once. */
static void test_endless_replies(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf words = BUF_MAX((size_t)4 << 20);
    const char *const attacks[] = {"250 ", "250-a\r\n", "x", "2", "250-5.1.1 \xff\x1b[2J\r\n"};
    for (size_t p = 0; p < sizeof phases / sizeof *phases; p++) {
        for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
            struct talk t;
            play(&t, phases[p].before, p == 2 ? SMTP_TLS_MAY : SMTP_TLS_NONE, false, WHOLE);
            hostile(&words, attacks[i], (1 << 20) / strlen(attacks[i]), "");
            feed(&t, buf_slice(&words));
            assert_true(slice_find_slice(buf_slice(&t.acts),
                                         SLICE_LIT("smtp_protocol 4.5.0\nCLOSE\n")) < t.acts.n);
            talk_end(&t);
        }
    }
}

/* ---- content ---- */

/* Any cut of the content gives the same bytes, dots doubled, whole up to the dot; the output never
 * grows past its bound. */
static void test_content_in_pieces(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf content = BUF_MAX(1 << 20);
    DEFER(buf_done) struct buf want = BUF_MAX(1 << 20);
    struct rng rng;
    rng_seed(&rng, 5);
    while (content.n < 300000) {
        static const char *const lines[] = {
            ".\r\n", "..\r\n", "\r\n", "a.\r\n", "text of some length\r\n", ".a\r\n"};
        const char *line = lines[rng_below(&rng, 6)];
        buf_add_str(&content, line);
        buf_addf(&want, "%s%s", *line == '.' ? "." : "", line);
    }
    buf_add_str(&want, ".\r\n");
    for (int round = 0; round < 6; round++) {
        struct talk t;
        play(&t, TO_CONTENT, 0, 0, WHOLE);
        t.hold_output = true;
        size_t piece = round == 0   ? 1 << 20
                       : round == 1 ? 65536
                                    : 1 + (size_t)rng_below(&rng, 30000);
        DEFER(buf_done) struct buf said = BUF_MAX(1 << 20);
        struct slice left = buf_slice(&content);
        bool asked = true, done = false;
        while (!done || smtp_client_output(t.client).n) {
            if (asked && !done) {
                size_t n = left.n < piece ? left.n : piece;
                done = n == left.n;
                smtp_client_body(t.client, slice_head(left, n), done, t.now);
                left = slice_skip(left, n);
                asked = false;
            }
            struct slice out = smtp_client_output(t.client);
            assert_true(out.n <= (64U << 10) + 2 * piece + 5);
            size_t n = 1 + (size_t)rng_below(&rng, 70000);
            n = n < out.n ? n : out.n;
            buf_add(&said, slice_head(out, n));
            smtp_client_sent(t.client, n, t.now);
            struct smtp_client_action a;
            while (smtp_client_next(t.client, &a)) {
                assert_int_equal(a.act, CLI_BODY);
                assert_false(asked);
                asked = true;
            }
        }
        assert_true(slice_eq(buf_slice(&said), buf_slice(&want)));
        talk_end(&t);
    }
}

/* 50, 64: a peer that reads nothing is given up after three minutes, one that reads on is not; a
 * yes that comes before the dot went out delivers nothing. */
static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    struct talk t;
    play(&t, TO_CONTENT "! unread\n! body abc\\r\\n\n", 0, 0, WHOLE);
    step_through(&t, "A BODY\n! wait 179999\n! wait 1\nA DONE last: deferred host network data "
                     "smtp_timeout 4.4.2\nA CLOSE\n");
    assert_int_equal(smtp_client_output(t.client).n, 0); /* nothing of it may follow */
    talk_end(&t);

    play(&t, TO_CONTENT "! unread\n! last abc\\r\\n\n! wait 179999\n", 0, 0, WHOLE);
    smtp_client_sent(t.client, 5,
                     t.now); /* "abc\r\n" of "abc\r\n.\r\n": too little to count as a block */
    step_through(
        &t, "! wait 1\nA DONE last: deferred host network eod smtp_timeout_eod 4.4.2\nA CLOSE\n");
    talk_end(&t);

    play(&t, TO_CONTENT "! unread\n! last abc\\r\\n\n! wait 179999\n", 0, 0, WHOLE);
    smtp_client_sent(t.client, 8, t.now); /* all: now it is the dot's time */
    step_through(&t, "! wait 599999\n" OK "A DONE reusable: " DELIVERED "\nA READY\n");
    talk_end(&t);

    play(&t, TO_CONTENT "! unread\n! last abc\\r\\n\n", 0, 0, WHOLE);
    smtp_client_sent(t.client, 7, t.now);
    step_through(&t, OK "A DONE last: deferred host other eod smtp_protocol 4.5.0\nA CLOSE\n");
    talk_end(&t);

    play(&t, TO_CONTENT "! unread\n! last abc\\r\\n\n", 0, 0, WHOLE);
    step_through(&t, "S 552 5.3.4 big\nA DONE last: failed message size eod 552 5.3.4\nA CLOSE\n");
    assert_int_equal(smtp_client_output(t.client).n, 0);
    talk_end(&t);
}

/* 21: nothing in an address can end a command or begin a parameter; such a recipient waits, the
 * others go. */
static void test_addresses_that_cannot_be_said(void **state)
{
    (void)state;
    const struct slice bad[] = {SLICE_LIT("a\r\nDATA@x"),
                                SLICE_LIT("a\nb@x"),
                                SLICE_LIT("a\0b@x"),
                                SLICE_LIT("a@x> SIZE=1"),
                                SLICE_LIT("a b@x"),
                                SLICE_LIT("<a@x"),
                                SLICE_LIT("\"a@x"),
                                SLICE_LIT("\"a\\\"@x"),
                                SLICE_LIT("\xc3\xa4@x"),
                                SLICE_LIT("a\x7f@x"),
                                SLICE_NONE};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct talk t;
        play(&t, HELLO_PIPE, 0, 0, WHOLE);
        const struct slice rcpts[] = {bad[i], SLICE_LIT("\"a> b\\\"\"@x")};
        struct smtp_client_txn txn = {.sender = SLICE_NONE, .rcpts = rcpts, .n_rcpts = 2};
        smtp_client_begin(t.client, &txn, t.now);
        pull(&t);
        step_through(&t, "C MAIL FROM:<>\nC RCPT TO:<\"a> b\\\"\"@x>\nC DATA\n" OK OK GO
                         "! last \nC .\n" OK
                         "A DONE reusable: deferred message other rcpt local 4.3.0 | " DELIVERED
                         "\nA READY\n");
        txn = (struct smtp_client_txn){.sender = bad[i], .rcpts = rcpts, .n_rcpts = 2};
        if (bad[i].n) { /* an empty sender is the null reverse-path */
            smtp_client_begin(t.client, &txn, t.now);
            pull(&t);
            step_through(&t, "A DONE reusable: deferred message other mail local 4.3.0 | "
                             "deferred message other mail local 4.3.0\nA READY\n");
        }
        assert_int_equal(t.said.n, 0);
        talk_end(&t);
    }
}

static void test_timeouts_scale(void **state)
{
    (void)state;
    struct talk t = {.conf = {.helo = SLICE_LIT("me"), .timeout_percent = 1}};
    t.client = smtp_client_new(&t.conf, t.now);
    assert_int_equal(smtp_client_deadline(t.client).ms, 3000);
    smtp_client_tick(t.client, (struct mono){2999});
    struct smtp_client_action a;
    assert_false(smtp_client_next(t.client, &a));
    smtp_client_tick(t.client, (struct mono){3000});
    assert_true(smtp_client_next(t.client, &a) && a.act == CLI_FAILED);
    assert_true(smtp_client_deadline(t.client).ms == MONO_NEVER.ms);
    talk_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_surplus_in_one_piece),
        cmocka_unit_test(test_every_phase_and_answer),
        cmocka_unit_test(test_ahead_is_capped),
        cmocka_unit_test(test_ahead_is_capped_in_bytes),
        cmocka_unit_test(test_nothing_is_said_into_a_reply),
        cmocka_unit_test(test_endless_replies),
        cmocka_unit_test(test_content_in_pieces),
        cmocka_unit_test(test_peer_that_does_not_read),
        cmocka_unit_test(test_addresses_that_cannot_be_said),
        cmocka_unit_test(test_timeouts_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

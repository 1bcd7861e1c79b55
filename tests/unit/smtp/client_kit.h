/*
 * The player of the client's tests: whole dialogues of the client machine with a peer from a
 * script, each fed at once, byte by byte and in random pieces: the same words and the same fate
 * must come out. What breaks for a user when one fails: mail bounced, doubled or lost by a peer's
 * odd manners.
 *
 * The script, a line each:  S text  the peer says a line        C text   we must say this line next
 *                           A text  the next action must be this  ! verb  what the driver does
 */
#pragma once
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/smtp/client.h"
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

static inline void show_verdict(struct buf *to, const struct verdict *v)
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
static inline void pull(struct talk *t)
{
    struct smtp_client_action a;
    while (smtp_client_next(t->client, &a)) {
        static const char *const act_names[] = {"STARTTLS", "LOGIN",  "READY", "BODY",
                                                "DONE",     "FAILED", "CLOSE"};
        buf_add_str(&t->acts, act_names[a.act]);
        if (a.act == CLI_LOGIN && a.challenged)
            buf_addf(&t->acts, ": %.*s", SLICE_ARG(a.challenge));
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

static inline void feed(struct talk *t, struct slice bytes)
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

static inline void feed_pending(struct talk *t)
{
    struct buf now = t->feed;
    t->feed = BUF_MAX(now.max);
    feed(t, buf_slice(&now));
    buf_done(&now);
}

static inline void talk_start(struct talk *t, int mode, enum smtp_tls_level tls, bool tls_on)
{
    *t = (struct talk){.mode = mode,
                       .conf = {.helo = SLICE_LIT("me.example"), .tls = tls, .tls_on = tls_on}};
    t->said = t->acts = t->feed = BUF_MAX((size_t)64 << 20);
    rng_seed(&t->rng, (uint64_t)mode + 7);
    t->now.ms = 1000;
    t->client = smtp_client_new(&t->conf, t->now);
}

static inline void talk_end(struct talk *t)
{
    smtp_client_free(t->client);
    buf_done(&t->said);
    buf_done(&t->acts);
    buf_done(&t->feed);
}

/* "begin N": that many recipients; "begin N 8bit", "begin N size=M". "behind …": the same, behind a
 * dot that is not answered. */
static inline void begin(struct talk *t, struct slice args, bool behind)
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
    if (behind)
        smtp_client_begin_behind(t->client, &txn, t->now);
    else
        smtp_client_begin(t->client, &txn, t->now);
}

static inline struct slice unescape(struct slice s, char *to)
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

/* "auth MECHANISM [INITIAL]", "=" for an empty one. */
static inline void auth(struct talk *t, struct slice args)
{
    char mechanism[32] = "";
    struct slice name = slice_cut(&args, ' ');
    memcpy(mechanism, name.p, name.n);
    bool has_initial = args.n > 0;
    if (slice_eq(args, SLICE_LIT("=")))
        args = SLICE_NONE;
    smtp_client_login(t->client, mechanism, args, has_initial, t->now);
}

static inline void drive(struct talk *t, struct slice args)
{
    char bytes[512];
    struct slice verb = slice_cut(&args, ' ');
    uint64_t ms;
    if (slice_eq(verb, SLICE_LIT("begin")))
        begin(t, args, false);
    else if (slice_eq(verb, SLICE_LIT("behind")))
        begin(t, args, true);
    else if (slice_eq(verb, SLICE_LIT("back")))
        smtp_client_take_back(t->client);
    else if (slice_eq(verb, SLICE_LIT("alone")))
        assert_false(smtp_client_takes_another(t->client));
    else if (slice_eq(verb, SLICE_LIT("body")))
        smtp_client_body(t->client, unescape(args, bytes), false, t->now);
    else if (slice_eq(verb, SLICE_LIT("last")))
        smtp_client_body(t->client, unescape(args, bytes), true, t->now);
    else if (slice_eq(verb, SLICE_LIT("quit")))
        smtp_client_quit(t->client, t->now);
    else if (slice_eq(verb, SLICE_LIT("tls")))
        smtp_client_tls_done(t->client,
                             slice_eq(args, SLICE_LIT("ok"))           ? FAULT_NONE
                             : slice_eq(args, SLICE_LIT("unverified")) ? FAULT_TLS_VERIFY
                                                                       : FAULT_TLS_HANDSHAKE,
                             SLICE_LIT("why"), t->now);
    else if (slice_eq(verb, SLICE_LIT("lost")))
        smtp_client_lost(t->client, SLICE_LIT("reset by peer"), t->now);
    else if (slice_eq(verb, SLICE_LIT("auth")))
        auth(t, args);
    else if (slice_eq(verb, SLICE_LIT("respond")))
        smtp_client_respond(t->client, args, t->now);
    else if (slice_eq(verb, SLICE_LIT("cannot")))
        smtp_client_login_failed(t->client, FAULT_LOGIN, args);
    else if (slice_eq(verb, SLICE_LIT("silent"))) /* so far, though replies may follow */
        assert_true(t->said.n == 0 && t->acts.n == 0);
    else if (slice_eq(verb, SLICE_LIT("unread")))
        t->hold_output = true;
    else if (slice_eq(verb, SLICE_LIT("read")))
        t->hold_output = false;
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

static inline void expect(struct buf *have, struct slice line, const char *eol, const char *script)
{
    size_t n = slice_find_slice(buf_slice(have), slice_str(eol));
    struct slice got = slice_head(buf_slice(have), n);
    if (!slice_eq(got, line) || have->n == 0)
        fail_msg("expected '%.*s'\n     got '%.*s'\nin\n%s", SLICE_ARG(line), SLICE_ARG(got),
                 script);
    size_t used = n + strlen(eol);
    buf_drop(have, used < have->n ? used : have->n);
}

static inline void step_through(struct talk *t, const char *script)
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

static inline void play(struct talk *t, const char *script, enum smtp_tls_level tls, bool tls_on,
                        int mode)
{
    talk_start(t, mode, tls, tls_on);
    step_through(t, script);
    feed_pending(t);
}

static inline void run_mode(const char *script, enum smtp_tls_level tls, bool tls_on, int mode)
{
    struct talk t;
    play(&t, script, tls, tls_on, mode);
    if (t.said.n || t.acts.n)
        fail_msg("left over: said '%.*s' actions '%.*s' in\n%s", SLICE_ARG(buf_slice(&t.said)),
                 SLICE_ARG(buf_slice(&t.acts)), script);
    talk_end(&t);
}

static inline void run(const char *script, enum smtp_tls_level tls, bool tls_on)
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

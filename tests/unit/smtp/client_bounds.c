/* The client session and every kind of answer in every phase, endless and early replies, peers that
 * do not read, content in any pieces. If this breaks, a hostile receiver makes us grow, hang or
 * lose mail. */
#include "tests/unit/smtp/client_kit.h"

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
    const struct slice bad[] = {SLICE_LIT("a\r\nDATA@x"), SLICE_LIT("a\nb@x"),
                                SLICE_LIT("a\0b@x"),      SLICE_LIT("a@x> SIZE=1"),
                                SLICE_LIT("a b@x"),       SLICE_LIT("<a@x"),
                                SLICE_LIT("\"a@x"),       SLICE_LIT("\"a\\\"@x"),
                                SLICE_LIT("\xe4@x"), /* no UTF-8 */
                                SLICE_LIT("a\x7f@x"),     SLICE_NONE};
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

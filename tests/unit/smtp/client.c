/* Dialogues of the client session, line by line: client_kit.h says how they are written. What
 * breaks for a user when one fails: mail bounced, doubled or lost by a peer's odd manners. */
#include "tests/unit/smtp/client_kit.h"

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
     "A DONE reusable: " DELIVERED " | " DELIVERED "\nA READY\n! quit\nA CLOSE\nC QUIT\n",
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
    {"70: the reply to QUIT is not waited for",
     TO_DOT OK "A DONE reusable: " DELIVERED "\nA READY\n! quit\nA CLOSE\nC QUIT\n", 0, 0},
    {"65: no QUIT behind an end that is not answered",
     TO_DOT "! quit\n" OK "A DONE reusable: " DELIVERED "\nA READY\n! quit\nA CLOSE\nC QUIT\n", 0,
     0},
    {"65: nor among the content, which it would be part of",
     TO_CONTENT
     "! quit\n! lost\nA DONE last: deferred host network data conn_lost 4.4.2\nA CLOSE\n",
     0, 0},
    {"70: nor before the first mail", HELLO "! quit\nA CLOSE\nC QUIT\n", 0, 0},
    {"38, 65: whatever comes behind it",
     TO_DOT OK "A DONE reusable: " DELIVERED
               "\nA READY\n! quit\nA CLOSE\nC QUIT\nS 500 no\n! lost\n",
     0, 0},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_surplus_in_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

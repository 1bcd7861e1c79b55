/* AUTH as the client says it, and who it never speaks to. What breaks for a user when one fails:
 * the smarthost takes no mail, or the password of the smarthost is shown to whoever listens. */
#include "tests/unit/smtp/client_kit.h"

#define IN_TLS "S 220 mx\nC EHLO me.example\nS 250-mx hello\n"
#define OFFER IN_TLS "S 250-PIPELINING\nS 250 AUTH PLAIN LOGIN\nA LOGIN\n"
#define AUTH_PLAIN "! auth PLAIN secret\nC AUTH PLAIN c2VjcmV0\n"
#define A16 "aaaaaaaaaaaaaaaa"
#define A384                                                                                       \
    A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16
#define Y16 "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"
#define Y512 Y16 Y16 Y16 Y16 Y16 Y16 Y16 Y16

static const struct row {
    const char *about, *script;
    enum smtp_tls_level tls;
    bool tls_on, no_login;
} rows[] = {
    {"with the first response, and then as ever",
     OFFER AUTH_PLAIN "S 235 2.7.0 welcome\nA READY\n" PIPE1, SMTP_TLS_VERIFY, true, false},
    {"question by question (LOGIN)",
     OFFER
     "! auth LOGIN\nC AUTH LOGIN\nS 334 VXNlcm5hbWU6\nA LOGIN: Username:\n! respond me\nC bWU=\n"
     "S 334 UGFzc3dvcmQ6\nA LOGIN: Password:\n! respond secret\nC c2VjcmV0\nS 235 ok\nA READY\n",
     SMTP_TLS_VERIFY, true, false},
    {"an empty first response is =, an empty later one an empty line",
     OFFER
     "! auth EXTERNAL =\nC AUTH EXTERNAL =\nS 334 \nA LOGIN: \n! respond \nC \nS 235 ok\nA READY\n",
     SMTP_TLS_VERIFY, true, false},
    {"6: a first response that makes the command too long waits for the challenge",
     OFFER "! auth PLAIN " A384 "\nC AUTH PLAIN\nS 334\nC " Y512 "\nS 235 ok\nA READY\n",
     SMTP_TLS_VERIFY, true, false},
    {"8: bytes that came before the login was said are no answer to it",
     OFFER "S 235-2.7.0 wel\n! auth PLAIN secret\nA FAILED: deferred host other auth smtp_protocol "
           "4.5.0\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"8: after STARTTLS the offer inside counts",
     HELLO_TLS "S 220 go\nA STARTTLS\n! tls ok\nC EHLO me.example\nS 250-mx\nS 250 AUTH PLAIN\nA "
               "LOGIN\n" AUTH_PLAIN "S 235 ok\nA READY\n",
     SMTP_TLS_ENCRYPT, false, false},
    {"75: what is offered in clear is passed over",
     "S 220 mx\nC EHLO me.example\nS 250-mx\n"
     "S 250 AUTH PLAIN\nA FAILED: deferred host tls ehlo tls_unavailable 4.7.4\nA CLOSE\nC QUIT\n",
     SMTP_TLS_MAY, false, false},
    {"75: the same where nothing is said of TLS at all",
     "S 220 mx\nC EHLO me.example\nS 250-mx\n"
     "S 250 AUTH PLAIN\nA FAILED: deferred host tls ehlo tls_unavailable 4.7.4\nA CLOSE\nC QUIT\n",
     SMTP_TLS_NONE, false, false},
    {"75: no offer inside of TLS",
     IN_TLS "S 250 SIZE\n"
            "A FAILED: deferred host auth ehlo login_unavailable 4.7.8\nA CLOSE\nC QUIT\n",
     SMTP_TLS_VERIFY, true, false},
    {"52: no HELO where a login is needed",
     "S 220 mx\nC EHLO me.example\nS 502 what\n"
     "A FAILED: deferred host other ehlo 502 5.0.0\nA CLOSE\nC QUIT\n",
     SMTP_TLS_VERIFY, true, false},
    {"53: old AUTH=, in any case",
     IN_TLS "S 250 auth=login plain\nA LOGIN\n" AUTH_PLAIN "S 235 ok\nA READY\n", SMTP_TLS_VERIFY,
     true, false},
    {"75: 535 waits, it is no bounce",
     OFFER AUTH_PLAIN
     "S 535 5.7.8 wrong\nA FAILED: deferred host auth auth 535 5.7.8\nA CLOSE\nC QUIT\n",
     SMTP_TLS_VERIFY, true, false},
    {"75: nor is trouble of theirs",
     OFFER AUTH_PLAIN
     "S 454 4.7.0 later\nA FAILED: deferred host policy auth 454 4.7.0\nA CLOSE\nC QUIT\n",
     SMTP_TLS_VERIFY, true, false},
    {"75: nor is a mechanism that they do not take after all",
     OFFER AUTH_PLAIN
     "S 504 5.5.4 no\nA FAILED: deferred host other auth 504 5.5.4\nA CLOSE\nC QUIT\n",
     SMTP_TLS_VERIFY, true, false},
    {"57: 421",
     OFFER AUTH_PLAIN "S 421 4.3.2 bye\nA FAILED: deferred host other auth 421 4.3.2\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"55: 250 is not the yes to AUTH, nor is 334 to anything else",
     OFFER AUTH_PLAIN "S 354 go\nA FAILED: deferred host other auth smtp_protocol 4.5.0\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"55: 334 to EHLO",
     "S 220 mx\nC EHLO me.example\n"
     "S 334 x\nA FAILED: deferred host other ehlo smtp_protocol 4.5.0\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"a challenge that is not base 64",
     OFFER AUTH_PLAIN
     "S 334 what?\nA FAILED: deferred host other auth smtp_protocol 4.5.0\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"what cannot be answered is given up, politely",
     OFFER "! auth LOGIN\nC AUTH LOGIN\nS 334 VXNlcm5hbWU6\nA LOGIN: Username:\n! cannot why\n"
           "A FAILED: deferred host auth auth login 4.7.8\nA CLOSE\nC QUIT\n",
     SMTP_TLS_VERIFY, true, false},
    {"64: the peer speaks while we look for the password",
     OFFER "S 250 x\n! wait 0\nA FAILED: deferred host other auth smtp_protocol 4.5.0\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"49: silence",
     OFFER AUTH_PLAIN "! wait 299000\n! wait 2000\nA FAILED: deferred host network auth "
                      "smtp_timeout 4.4.2\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"59: gone",
     OFFER AUTH_PLAIN "! lost\nA FAILED: deferred host network auth conn_lost 4.4.2\nA CLOSE\n",
     SMTP_TLS_VERIFY, true, false},
    {"without a login nothing is said about it",
     IN_TLS "S 250 AUTH PLAIN\nA READY\n! quit\nA CLOSE\nC QUIT\n", SMTP_TLS_VERIFY, true, true},
    {"41: whoever has our name is we",
     "S 220 us.example\nC EHLO me.example\nS 250-us.Example hi\n"
     "S 250 X\nA FAILED: failed recipient admin ehlo loop 5.4.6\nA CLOSE\nC QUIT\n",
     SMTP_TLS_MAY, false, true},
    {"41: or the name that we say in EHLO",
     "S 220 x\nC EHLO me.example\nS 250 me.example\n"
     "A FAILED: failed recipient admin ehlo loop 5.4.6\nA CLOSE\nC QUIT\n",
     SMTP_TLS_MAY, false, true},
    {"41: not who begins with it, or says it later",
     "S 220 us.example\nC EHLO me.example\n"
     "S 250-us.example.org\nS 250 us.example\nA READY\n! quit\nA CLOSE\nC QUIT\n",
     SMTP_TLS_MAY, false, true},
};

static void run_row(const struct row *r, int mode)
{
    struct talk t = {0};
    talk_start(&t, mode, r->tls, r->tls_on);
    t.conf.login = !r->no_login;
    t.conf.own_name = SLICE_LIT("us.example");
    step_through(&t, r->script);
    feed_pending(&t);
    bool left = t.said.n || t.acts.n;
    if (left && !slice_eq(slice_head(buf_slice(&t.said), 4), SLICE_LIT("MAIL")))
        fail_msg("left over: said '%.*s' actions '%.*s' in\n%s", SLICE_ARG(buf_slice(&t.said)),
                 SLICE_ARG(buf_slice(&t.acts)), r->about);
    talk_end(&t);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("%s\n", rows[i].about);
        for (int mode = WHOLE; mode <= RANDOM; mode++)
            run_row(&rows[i], mode);
    }
}

/* A response that no line of SMTP can carry ends the session, and nothing of it is said. */
static void test_too_long(void **state)
{
    (void)state;
    static uint8_t bytes[9300];
    struct talk t = {0};
    memset(bytes, 'a', sizeof bytes);
    for (size_t n = 9210; n <= 9300; n += 90) { /* base 64: 12280, 12400 */
        talk_start(&t, WHOLE, SMTP_TLS_VERIFY, true);
        t.conf.login = true;
        step_through(&t, OFFER);
        smtp_client_login(t.client, "PLAIN", slice_of(bytes, n), true, t.now);
        pull(&t);
        if (n == 9210)
            step_through(&t, "C AUTH PLAIN\n");
        else
            step_through(&t, "A FAILED: deferred host auth auth login 4.7.8\nA CLOSE\n");
        assert_int_equal(t.said.n, 0);
        talk_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

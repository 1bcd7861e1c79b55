/* 49: how long the peer may take for each of its answers. Less than RFC 5321 grants, and slow but
 * good receivers get mail twice (the end of data above all) or never. */
#include "tests/unit/smtp/client_kit.h"

#define SAID_MAIL HELLO BEGIN1
#define SAID_RCPT SAID_MAIL OK RCPT0
#define SAID_DATA SAID_RCPT OK "C DATA\n"

static const struct {
    const char *step, *before;
    int least_s; /* RFC 5321 section 4.5.3.2; for EHLO and RSET as for other commands */
    bool starttls;
} steps[] = {
    {"greeting", "", 300, false},
    {"EHLO", "S 220 hi\nC EHLO me.example\n", 300, false},
    {"HELO", "S 220 hi\nC EHLO me.example\nS 500 what\nC HELO me.example\n", 300, false},
    {"STARTTLS", HELLO_TLS, 120, true},
    {"MAIL", SAID_MAIL, 300, false},
    {"RCPT", SAID_RCPT, 300, false},
    {"DATA", SAID_DATA, 120, false},
    {"end of data", SAID_DATA "S 354 go\nA BODY\n! last x\nC x\nC .\n", 600, false},
};

static void each_answer_has_its_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct talk t;
        play(&t, steps[i].before, steps[i].starttls ? SMTP_TLS_MAY : SMTP_TLS_NONE, false, WHOLE);
        int64_t s = (smtp_client_deadline(t.client).ms - t.now.ms) / 1000;
        if (s < steps[i].least_s || s > 2 * steps[i].least_s)
            fail_msg("%s: %lld s", steps[i].step, (long long)s);
        talk_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_answer_has_its_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

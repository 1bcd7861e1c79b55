/* A transaction whose envelope is said before the dot in front of it is answered (RFC 2920 section
 * 3.1): two fates, in order, and none is the other's. What breaks for a user when one fails: mail
 * taken for delivered, bounced or doubled because of another message's reply. */
#include "tests/unit/smtp/client_kit.h"

#define ENVELOPE "C MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\nC DATA\n"
#define BEHIND TO_DOT "! behind 1\n" ENVELOPE
#define UNDECIDED "deferred host network mail conn_lost 4.4.2"
#define FIRST "A DONE reusable: " DELIVERED "\n"
#define SECOND "! last y\\r\\n\nC y\nC .\n" OK "A DONE reusable: " DELIVERED "\nA READY\n"
#define HELLO_SIZE_PIPE                                                                            \
    "S 220 mx ready\nC EHLO me.example\nS 250-mx hello\nS 250-PIPELINING\nS 250 SIZE 1000\nA "     \
    "READY\n"
#define HELLO_CHUNKS                                                                               \
    "S 220 mx ready\nC EHLO me.example\nS 250-mx hello\nS 250-PIPELINING\nS 250 CHUNKING\nA "      \
    "READY\n"

static const struct {
    const char *about, *script;
} dialogues[] = {
    {"one round trip a message", BEHIND OK FIRST OK OK GO SECOND},
    {"a third behind the second", BEHIND OK FIRST OK OK GO
     "! last y\\r\\n\nC y\nC .\n! behind 1\n" ENVELOPE OK FIRST OK OK GO SECOND},
    {"what the first hears is not the second's", BEHIND
     "S 554 5.7.1 spam\nA DONE reusable: failed message spam eod 554 5.7.1\n" OK OK GO SECOND},
    {"nor a 4xx", BEHIND
     "S 451 4.3.0 later\nA DONE reusable: deferred message other eod 451 4.3.0\n" OK OK GO SECOND},
    {"the second's sender is refused",
     BEHIND OK FIRST "S 550 5.7.1 no\nS 503 5.5.1 no\nS 503 5.5.1 no\n"
                     "A DONE reusable: failed message policy mail 550 5.7.1\nA READY\n"},
    {"the second's recipient is refused, DATA too", BEHIND OK FIRST OK
     "S 550 5.1.1 no\nS 554 5.5.1 nobody\nA DONE reusable: " NO_USER "\nA READY\n"
     "! begin 1\nC RSET\n"},
    {"62: 354 for nobody: a lone dot, and it is no delivery", BEHIND OK FIRST OK
     "S 550 5.1.1 no\nS 354 go\nC .\n" OK "A DONE reusable: " NO_USER "\nA READY\n"},
    {"59: lost before the first reply: only the first is in doubt", BEHIND
     "! lost\nA DONE last: deferred host network eod conn_lost_eod 4.4.2\nA DONE last: " UNDECIDED
     "\nA CLOSE\n"},
    {"49: the first dot's ten minutes", BEHIND
     "! wait 599999\n! wait 1\nA DONE last: deferred host network eod smtp_timeout_eod 4.4.2\n"
     "A DONE last: " UNDECIDED "\nA CLOSE\n"},
    {"57: 421 to the first is the first's alone", BEHIND
     "S 421 4.3.2 down\nA DONE last: deferred host other eod 421 4.3.2\nA DONE last: " UNDECIDED
     "\nA CLOSE\n"},
    {"no SMTP where the first reply should be", BEHIND
     "S what\nA DONE last: deferred host other eod smtp_protocol 4.5.0\nA DONE last: " UNDECIDED
     "\nA CLOSE\n"},
    {"a first yes stays one, 421 for the second", BEHIND OK FIRST
     "S 421 4.3.2 enough\nA DONE last: deferred host other mail 421 4.3.2\nA CLOSE\n"},
    {"lost behind the first yes: the second's MAIL",
     BEHIND OK FIRST "! lost\nA DONE last: " UNDECIDED "\nA CLOSE\n"},
    {"lost with 354 here", BEHIND OK FIRST OK OK GO
     "! lost\nA DONE last: deferred host network data conn_lost 4.4.2\nA CLOSE\n"},
    {"64: a reply too many: what was said of the second may have been the first's",
     BEHIND OK FIRST "S 550 5.7.1 spam\n" OK OK
                     "A DONE last: deferred host other data smtp_protocol 4.5.0\nA CLOSE\n"},
    {"a larger envelope than fits ahead waits for its replies, not for the dot's alone", TO_DOT
     "! behind 2\nC MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\n"
     "C RCPT TO:<r1@example.org>\nC DATA\n" OK FIRST OK "S 550 5.1.1 no\n" OK GO
     "! last y\\r\\n\nC y\nC .\n" OK "A DONE reusable: " NO_USER " | " DELIVERED "\nA READY\n"},
    {"the second needs nothing to be sent: it ends behind the first", HELLO_SIZE_PIPE
     "! begin 1\nC MAIL FROM:<s@example.net> SIZE=100\nC RCPT TO:<r0@example.org>\nC DATA\n" OK OK
         GO "! last x\\r\\n\nC x\nC .\n! behind 1 size=1001\n" OK FIRST
     "A DONE reusable: failed message size mail too_big 5.3.4\nA READY\n"},
    {"… also when the session ends there: it may be said elsewhere", HELLO_SIZE_PIPE
     "! begin 1\nC MAIL FROM:<s@example.net> SIZE=100\nC RCPT TO:<r0@example.org>\nC DATA\n" OK OK
         GO "! last x\\r\\n\nC x\nC .\n! behind 1 size=1001\n! lost\n"
     "A DONE last: deferred host network eod conn_lost_eod 4.4.2\nA DONE last: " UNDECIDED
     "\nA CLOSE\n"},
    {"taken back: the first goes on to its reply, and then not a word",
     BEHIND "! back\n! wait 500000\n" OK "A DONE last: " DELIVERED
            "\nA CLOSE\nS 250 ok\nS 250 ok\nS 354 go\n"},
    {"taken back, and refused",
     BEHIND "! back\nS 554 5.7.1 spam\nA DONE last: failed message spam eod 554 "
            "5.7.1\nA CLOSE\n"},
    {"taken back, and lost: in doubt as ever", BEHIND
     "! back\n! lost\nA DONE last: deferred host network eod conn_lost_eod 4.4.2\nA CLOSE\n"},
    {"too late to be taken back: nothing", BEHIND OK FIRST "! back\n" OK OK GO SECOND},
    {"not before the dot",
     TO_CONTENT "! alone\n! body x\nC x\nA BODY\n! alone\n! lost\nA DONE last: deferred host "
                "network data conn_lost 4.4.2\nA CLOSE\n"},
    {"not twice", BEHIND "! alone\n" OK FIRST OK OK GO SECOND},
    {"not behind a lone dot", HELLO_PIPE PIPE1 OK "S 550 5.1.1 no\nS 354 go\nC .\n! alone\n" OK
                                                  "A DONE reusable: " NO_USER "\nA READY\n"},
    {"not without PIPELINING", HELLO BEGIN1 OK RCPT0 OK
     "C DATA\n" GO "! last x\\r\\n\nC x\nC .\n! alone\n" OK FIRST "A READY\n"},
    {"not where a message needs one round trip as it is", HELLO_CHUNKS
     "! begin 1\nC MAIL FROM:<s@example.net>\nC RCPT TO:<r0@example.org>\nA BODY\n! last x\\r\\n\n"
     "C BDAT 3 LAST\nC x\n! alone\n" OK OK OK FIRST "A READY\n"},
    {"not where the session has no transaction left",
     "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250-PIPELINING\nS 250 LIMITS MAILMAX=1\nA "
     "READY\n" PIPE1 OK OK GO "! last x\\r\\n\nC x\nC .\n! alone\n" OK "A DONE last: " DELIVERED
     "\nA CLOSE\nC QUIT\n"},
};

static void plays(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof dialogues / sizeof *dialogues; i++) {
        print_message("%s\n", dialogues[i].about);
        run(dialogues[i].script, SMTP_TLS_NONE, false);
    }
}

/* As long as part of the dot is here, nothing can stand behind it. */
static void not_before_the_dot_has_left(void **state)
{
    (void)state;
    struct talk t;
    play(&t, TO_CONTENT "! unread\n! last x\\r\\n\n! alone\n", SMTP_TLS_NONE, false, WHOLE);
    t.hold_output = false;
    pull(&t);
    assert_true(smtp_client_takes_another(t.client));
    talk_end(&t);
}

/* Whatever is broken off where, there is one verdict for each, and the first's is not decided by
 * what came for the second. */
static void any_prefix_of_the_replies(void **state)
{
    (void)state;
    static const char replies[] = "250 2.0.0 first\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n";
    for (size_t n = 0; n < sizeof replies; n++) {
        struct talk t;
        play(&t, BEHIND, SMTP_TLS_NONE, false, WHOLE);
        feed(&t, slice_of(replies, n));
        smtp_client_lost(t.client, SLICE_LIT("gone"), t.now);
        pull(&t);
        const char *acts = buf_str(&t.acts);
        bool whole = n >= strlen("250 2.0.0 first\r\n");
        assert_true((strstr(acts, DELIVERED) != NULL) == whole);
        assert_true((strstr(acts, "conn_lost_eod") != NULL) == !whole);
        const char *second = strstr(strstr(acts, "DONE") + 1, "DONE last: deferred host network");
        assert_non_null(second);
        assert_null(strstr(second + 1, "DONE"));
        talk_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plays),
        cmocka_unit_test(not_before_the_dot_has_left),
        cmocka_unit_test(any_prefix_of_the_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

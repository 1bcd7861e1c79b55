/* What a message asks for, as it is said to peers that offer some of it or none (checklist 71, 73,
 * 74, 90), limits of a peer (RFC 9422), and binary content on its ways. What breaks for a user when
 * one fails: a notice that never comes, mail refused for a parameter that nobody offered, a secret
 * in clear. */
#include "tests/unit/smtp/client_kit.h"

#define ALL_OFFERED                                                                                \
    "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250-PIPELINING\nS 250-SIZE 1000000\n"                \
    "S 250-8BITMIME\nS 250-SMTPUTF8\nS 250-DSN\nS 250-CHUNKING\nS 250-BINARYMIME\n"                \
    "S 250-REQUIRETLS\nS 250-DELIVERBY 60\nS 250-MT-PRIORITY MIXER\nS 250 LIMITS RCPTMAX=100\n"    \
    "A READY\n"
#define OFFERED(line)                                                                              \
    "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250-PIPELINING\nS 250 " line "\nA READY\n"
#define RCPT_DATA "C RCPT TO:<r@example.org>\nC DATA\n"
#define RCPT_BODY "C RCPT TO:<r@example.org>\nA BODY\n"
#define UTF8 "\xc3\xa4"

struct row {
    const char *about, *hello;
    struct smtp_client_txn txn;
    const char *then;
    bool tls_on;
    enum smtp_tls_level tls;
};

#define RCPTS(...)                                                                                 \
    .rcpts = (const struct slice[]){__VA_ARGS__},                                                  \
    .n_rcpts = sizeof((const struct slice[]){__VA_ARGS__}) / sizeof(struct slice)
#define LIT(s)                                                                                     \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    }
#define ONE .sender = LIT("s@example.net"), RCPTS(LIT("r@example.org"))
#define ASK(notify_, orcpt_)                                                                       \
    .asks = (const struct smtp_client_ask[])                                                       \
    {                                                                                              \
        {                                                                                          \
            .notify = (notify_), .orcpt = LIT(orcpt_)                                              \
        }                                                                                          \
    }
#define LACKS(fault_) "A DONE reusable: failed message " fault_ "\nA READY\n"
#define NO_UTF8 "content ehlo smtputf8 5.6.7"
#define NO_REQUIRETLS "tls ehlo requiretls 5.7.30"

static const struct row rows[] = {
    {"all that can be asked, to a peer that offers all",
     ALL_OFFERED,
     {ONE,
      ASK(MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY,
          "rfc822;r+1=x@example.org"),
      .size = 10, .eight_bit = true, .envid = LIT("QQ 3+1=4"), .by_s = 3600,
      .params = {.ret = MAIL_RET_HDRS,
                 .by = MAIL_BY_RETURN,
                 .by_trace = true,
                 .priority = -3,
                 .requiretls = true}},
     "C MAIL FROM:<s@example.net> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=QQ+203+2B1+3D4 REQUIRETLS "
     "BY=3600;RT MT-PRIORITY=-3\n"
     "C RCPT TO:<r@example.org> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;r+2B1+3Dx@example.org\n"
     "A BODY\n",
     true,
     SMTP_TLS_VERIFY},
    {"74: a peer without DSN, DELIVERBY, MT-PRIORITY hears none of it, and the mail goes",
     HELLO_PIPE,
     {ONE, ASK(MAIL_NOTIFY_NEVER, "rfc822;x@y"), .envid = LIT("e"), .by_s = 5,
      .params = {.ret = MAIL_RET_FULL, .by = MAIL_BY_NOTIFY, .priority = 9}},
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA,
     0,
     0},
    {"what was not asked for is not said",
     ALL_OFFERED,
     {ONE, ASK(0, ""), .size = 1},
     "C MAIL FROM:<s@example.net> SIZE=1\n" RCPT_BODY,
     0,
     0},
    {"no notice at all: a report of ours",
     ALL_OFFERED,
     {.sender = LIT(""), RCPTS(LIT("r@example.org")), ASK(MAIL_NOTIFY_NEVER, ""), .size = 1},
     "C MAIL FROM:<> SIZE=1\nC RCPT TO:<r@example.org> NOTIFY=NEVER\nA BODY\n",
     0,
     0},
    {"DELIVERBY past the deadline: only notify goes on",
     ALL_OFFERED,
     {ONE, .by_s = -7, .params = {.by = MAIL_BY_NOTIFY}},
     "C MAIL FROM:<s@example.net> BY=-7;N\n" RCPT_BODY,
     0,
     0},
    {"DELIVERBY past the deadline, and it is to come back",
     ALL_OFFERED,
     {ONE, .by_s = -7, .params = {.by = MAIL_BY_RETURN}},
     LACKS("other ehlo deliverby 5.4.7"),
     0,
     0},
    {"DELIVERBY shorter than the peer promises",
     ALL_OFFERED,
     {ONE, .by_s = 59, .params = {.by = MAIL_BY_RETURN}},
     LACKS("other ehlo deliverby 5.4.7"),
     0,
     0},
    {"71: larger than the peer takes, before MAIL",
     ALL_OFFERED,
     {ONE, .size = 1000001},
     "A DONE reusable: failed message size mail too_big 5.3.4\nA READY\n",
     0,
     0},
    {"73: asked for SMTPUTF8, but all is ASCII: the flag is dropped",
     HELLO_PIPE,
     {ONE, .eight_bit = true, .params = {.smtputf8 = true}},
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA,
     0,
     0},
    {"73: not said either where it is offered and not needed",
     ALL_OFFERED,
     {ONE, .params = {.smtputf8 = true}},
     "C MAIL FROM:<s@example.net>\n" RCPT_BODY,
     0,
     0},
    {"73: 8-bit in the header section needs it",
     HELLO_PIPE,
     {ONE, .eight_bit = true, .utf8_header = true, .params = {.smtputf8 = true}},
     LACKS(NO_UTF8),
     0,
     0},
    {"8-bit in the header section of mail that never asked goes as it came",
     HELLO_PIPE,
     {ONE, .eight_bit = true, .utf8_header = true},
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA,
     0,
     0},
    {"73: SMTPUTF8 without 8BITMIME means both",
     OFFERED("SMTPUTF8"),
     {ONE, .eight_bit = true, .utf8_header = true, .params = {.smtputf8 = true}},
     "C MAIL FROM:<s@example.net> BODY=8BITMIME SMTPUTF8\n" RCPT_DATA,
     0,
     0},
    {"73: an address of its sender",
     OFFERED("SMTPUTF8"),
     {.sender = LIT(UTF8 "@example.net"), RCPTS(LIT("r@example.org"))},
     "C MAIL FROM:<" UTF8 "@example.net> SMTPUTF8\n" RCPT_DATA,
     0,
     0},
    {"73: the sender's address needs it, for all",
     HELLO_PIPE,
     {.sender = LIT(UTF8 "@example.net"), RCPTS(LIT("r@example.org"))},
     LACKS(NO_UTF8),
     0,
     0},
    {"73: a recipient needs it; the other one goes without",
     HELLO_PIPE,
     {.sender = LIT("s@example.net"), RCPTS(LIT(UTF8 "@example.org"), LIT("r@example.org"))},
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA OK OK GO "! last \nC .\n" OK
     "A DONE reusable: failed message " NO_UTF8 " | " DELIVERED "\nA READY\n",
     0,
     0},
    {"an original recipient with characters: as they are inside of SMTPUTF8",
     ALL_OFFERED,
     {.sender = LIT(UTF8 "@example.net"),
      RCPTS(LIT("r@example.org")),
      ASK(0, "utf-8;" UTF8 "+\xc3\xa9@example.org")},
     "C MAIL FROM:<" UTF8 "@example.net> SMTPUTF8\nC RCPT TO:<r@example.org> ORCPT=utf-8;" UTF8
     "\\x{2B}\xc3\xa9@example.org\nA BODY\n",
     0,
     0},
    {"and as numbers outside (RFC 6533)",
     ALL_OFFERED,
     {ONE, ASK(0, "utf-8;" UTF8 "=x@example.org")},
     "C MAIL FROM:<s@example.net>\nC RCPT TO:<r@example.org> "
     "ORCPT=utf-8;\\x{E4}\\x{3D}x@example.org\nA BODY\n",
     0,
     0},
    {"an original recipient that makes no sense is left out",
     ALL_OFFERED,
     {ONE, ASK(MAIL_NOTIFY_NEVER, "utf-8;\xff")},
     "C MAIL FROM:<s@example.net>\nC RCPT TO:<r@example.org> NOTIFY=NEVER\nA BODY\n",
     0,
     0},
    {"90: REQUIRETLS without TLS",
     ALL_OFFERED,
     {ONE, .params = {.requiretls = true}},
     LACKS(NO_REQUIRETLS),
     0,
     0},
    {"90: inside TLS with a certificate that nobody has looked at",
     ALL_OFFERED,
     {ONE, .params = {.requiretls = true}},
     LACKS(NO_REQUIRETLS),
     true,
     SMTP_TLS_ENCRYPT},
    {"90: to a peer that does not offer it",
     HELLO_PIPE,
     {ONE, .params = {.requiretls = true}},
     LACKS(NO_REQUIRETLS),
     true,
     SMTP_TLS_VERIFY},
    {"90: the driver does not trust the host for one of them; the other goes",
     ALL_OFFERED,
     {.sender = LIT("s@example.net"),
      RCPTS(LIT("q@example.org"), LIT("r@example.org")),
      .asks = (const struct smtp_client_ask[]){{.fault = FAULT_REQUIRETLS}, {0}},
      .params = {.requiretls = true}},
     "C MAIL FROM:<s@example.net> REQUIRETLS\n" RCPT_BODY "! last \nC BDAT 0 LAST\n" OK OK OK
     "A DONE reusable: failed message " NO_REQUIRETLS " | " DELIVERED "\nA READY\n",
     true,
     SMTP_TLS_VERIFY},
    {"90: the peer offers it before TLS only",
     "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250-REQUIRETLS\nS 250 STARTTLS\nC STARTTLS\nS 220 "
     "go\nA STARTTLS\n! tls ok\nC EHLO me.example\nS 250 mx\nA READY\n",
     {ONE, .params = {.requiretls = true}},
     LACKS(NO_REQUIRETLS),
     false,
     SMTP_TLS_VERIFY},
    {"RFC 9422: not more recipients than RCPTMAX",
     OFFERED("LIMITS X=1 rcptmax=1 MAILMAX=0"),
     {.sender = LIT("s@example.net"), RCPTS(LIT("r@example.org"), LIT("q@example.org"))},
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA OK OK GO "! last \nC .\n" OK
     "A DONE reusable: " DELIVERED
     " | deferred recipient other rcpt recipients_limit 4.5.3\nA READY\n",
     0,
     0},
    {"RFC 9422: not more transactions than MAILMAX, then QUIT",
     OFFERED("LIMITS MAILMAX=1"),
     {ONE},
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA OK OK GO "! last \nC .\n" OK
     "A DONE last: " DELIVERED "\nA CLOSE\nC QUIT\n",
     0,
     0},
#define BINARY(...)                                                                                \
    {                                                                                              \
        ONE, .size = 10, .params = {.body = MAIL_BODY_BINARYMIME}, __VA_ARGS__                     \
    }
#define MAIL_BINARY                                                                                \
    "C MAIL FROM:<s@example.net> SIZE=10 BODY=BINARYMIME\nC RCPT TO:<r@example.org>\n"
    {"binary content in chunks", ALL_OFFERED, BINARY(),
     MAIL_BINARY OK OK "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! body \nA BODY\n"
                       "! last .\\rb\\r\\n\nC BDAT 5 LAST\nC .\rb\n" OK OK
                       "A DONE reusable: " DELIVERED
                       "\nA READY\n! begin 1\nC MAIL FROM:<s@example.net> SIZE=100\n"
                       "C RCPT TO:<r0@example.org>\nA BODY\n",
     0, 0},
    {"without PIPELINING each chunk waits for its reply; an empty one may be the last",
     "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250-BINARYMIME\nS 250 CHUNKING\nA READY\n", BINARY(),
     "C MAIL FROM:<s@example.net> BODY=BINARYMIME\n" OK "C RCPT TO:<r@example.org>\n" OK
     "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\n" OK "A BODY\n! last \nC BDAT 0 LAST\n" OK
     "A DONE reusable: " DELIVERED "\nA READY\n",
     0, 0},
    {"no chunk for refused recipients", ALL_OFFERED, BINARY(),
     MAIL_BINARY "A BODY\n" OK "S 550 5.1.1 no\nA DONE reusable: " NO_USER
                 "\nA READY\n! last b\n! begin 1\nC RSET\n",
     0, 0},
    {"a chunk is refused: no more of them, RSET before the next", ALL_OFFERED, BINARY(),
     MAIL_BINARY OK OK
     "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\nA BODY\nS 552 5.3.4 no\n"
     "A DONE reusable: failed message size data 552 5.3.4\nA READY\n! last b\n! begin 1\nC RSET\n",
     0, 0},
    {"a chunk is refused while others are on their way: their replies are waited for", ALL_OFFERED,
     BINARY(),
     MAIL_BINARY OK OK "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! body b\\r\\n\nC BDAT 3\nC "
                       "b\nA BODY\nS 451 4.3.0 no\nS 503 5.5.1 what\n"
                       "A DONE reusable: deferred message other data 451 4.3.0\nA READY\n",
     0, 0},
    {"a chunk is refused, the last one is out already: the first word counts", ALL_OFFERED,
     BINARY(),
     MAIL_BINARY OK OK "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! last \nC BDAT 0 LAST\n"
                       "S 451 4.3.0 no\nS 503 5.5.1 what\n"
                       "A DONE reusable: deferred message other data 451 4.3.0\nA READY\n",
     0, 0},
    {"the last chunk is in doubt as a dot is", ALL_OFFERED, BINARY(),
     MAIL_BINARY OK OK "A BODY\n! last a\\r\\n\nC BDAT 3 LAST\nC a\n! lost\n"
                       "A DONE last: deferred host network eod conn_lost_eod 4.4.2\nA CLOSE\n",
     0, 0},
    {"no answer to a chunk", ALL_OFFERED, BINARY(),
     MAIL_BINARY OK OK "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n! wait 179999\n! wait 1\n"
                       "A DONE last: deferred host network data smtp_timeout 4.4.2\nA CLOSE\n",
     0, 0},
    {"64: a yes to a chunk nobody has sent", ALL_OFFERED, BINARY(),
     MAIL_BINARY OK OK "A BODY\n! body a\\r\\n\nC BDAT 3\nC a\nA BODY\n" OK OK
                       "A DONE last: deferred host other data smtp_protocol 4.5.0\nA CLOSE\n",
     0, 0},
    {"binary content is re-encoded for a peer that has no BINARYMIME; its size is not told",
     OFFERED("CHUNKING"), BINARY(.eight_bit = true),
     "C MAIL FROM:<s@example.net>\n" RCPT_DATA OK OK GO
     "! body MIME-Version: 1.0\\r\\nContent-Type: a/b\\r\\n\n"
     "C MIME-Version: 1.0\nC Content-Type: a/b\nA BODY\n"
     "! body Content-Transfer-Encoding: binary\\r\\n\\r\\na\n"
     "C Content-Transfer-Encoding: base64\nC \nA BODY\n"
     "! last \\nb\nC YQpi\nC .\n" OK "A DONE reusable: " DELIVERED "\nA READY\n",
     0, 0},
    {"what cannot be converted is not sent by half: no dot", OFFERED("8BITMIME"),
     BINARY(.eight_bit = true),
     "C MAIL FROM:<s@example.net> BODY=8BITMIME\n" RCPT_DATA OK OK GO
     "! last Content-Transfer-Encoding: x-own\\r\\n\\r\\na\\nb\n"
     "A DONE last: failed message content data conversion 5.6.5\nA CLOSE\n",
     0, 0},
};

static void run_row(const struct row *r, int mode)
{
    struct talk t;
    play(&t, r->hello, r->tls, r->tls_on, mode);
    bool suits = smtp_client_suits(t.client, &r->txn);
    bool lacking = strstr(r->then, "smtputf8 5") || strstr(r->then, "requiretls 5") ||
                   strstr(r->then, "deliverby 5");
    assert_int_equal(suits, !lacking);
    smtp_client_begin(t.client, &r->txn, t.now);
    pull(&t);
    step_through(&t, r->then);
    feed_pending(&t);
    if (t.said.n || t.acts.n)
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

/* 90: no word of the mail is said without a handshake that has checked the certificate, whatever
 * the peer does about STARTTLS (promise 22). */
static void test_verify_never_in_clear(void **state)
{
    (void)state;
    run("S 220 mx\nC EHLO me.example\nS 250 mx\n"
        "A FAILED: deferred host tls ehlo tls_unavailable 4.7.4\nA CLOSE\nC QUIT\n",
        SMTP_TLS_VERIFY, false);
    run("S 220 mx\nC EHLO me.example\nS 502 no\n"
        "A FAILED: deferred host other ehlo 502 5.0.0\nA CLOSE\nC QUIT\n",
        SMTP_TLS_VERIFY, false);
    run(HELLO_TLS "S 454 no\nA FAILED: deferred host tls starttls tls_handshake 4.7.5\nA CLOSE\n"
                  "C QUIT\n",
        SMTP_TLS_VERIFY, false);
    run(HELLO_TLS "S 220 go\nA STARTTLS\n! tls unverified\n"
                  "A FAILED: deferred host tls starttls tls_verify 4.7.5\nA CLOSE\n",
        SMTP_TLS_VERIFY, false);
}

/* 80: what the peer said in clear is forgotten. Each keyword of before would change a word of
 * after.
 */
static void test_clear_facts_are_forgotten(void **state)
{
    (void)state;
    struct row r = {
        "",
        "S 220 mx\nC EHLO me.example\nS 250-mx\nS 250-PIPELINING\nS 250-SIZE 1\nS 250-8BITMIME\n"
        "S 250-SMTPUTF8\nS 250-DSN\nS 250-CHUNKING\nS 250-BINARYMIME\nS 250-DELIVERBY\n"
        "S 250-MT-PRIORITY\nS 250-LIMITS RCPTMAX=1 MAILMAX=1\nS 250 STARTTLS\nC STARTTLS\n"
        "S 220 go\nA STARTTLS\n! tls ok\nC EHLO me.example\nS 250 mx\nA READY\n",
        {.sender = LIT("s@example.net"),
         RCPTS(LIT("r@example.org"), LIT("q@example.org")),
         .size = 10,
         .eight_bit = true,
         .envid = LIT("e"),
         .by_s = 10,
         .params = {.ret = MAIL_RET_FULL,
                    .by = MAIL_BY_NOTIFY,
                    .priority = 1,
                    .body = MAIL_BODY_BINARYMIME}},
        "C MAIL FROM:<s@example.net>\n" OK "C RCPT TO:<r@example.org>\n" OK
        "C RCPT TO:<q@example.org>\n" OK "C DATA\n" GO "! last a\\r\\n\nC a\nC .\n" OK
        "A DONE reusable: " DELIVERED " | " DELIVERED "\nA READY\n",
        false,
        SMTP_TLS_MAY};
    for (int mode = WHOLE; mode <= RANDOM; mode++)
        run_row(&r, mode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_verify_never_in_clear),
        cmocka_unit_test(test_clear_facts_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

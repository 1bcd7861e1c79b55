/* A rehearsal (`explain --probe`) says MAIL and RCPT and never a message. What breaks for a user
 * when one fails: he asks what would happen, and mail is sent. */
#include "relay/base/must.h"
#include "relay/smtp/client.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mono now = {1000};

static struct slice said(struct smtp_client *c)
{
    return smtp_client_output(c);
}

static void take(struct smtp_client *c, const char *words)
{
    if (!slice_eq(said(c), slice_str(words)))
        fail_msg("\"%.*s\" instead of \"%s\"", SLICE_ARG(said(c)), words);
    smtp_client_sent(c, said(c).n, now);
}

static void hear(struct smtp_client *c, const char *words)
{
    assert_int_equal(smtp_client_bytes(c, slice_str(words), now), strlen(words));
}

static struct smtp_client_action next(struct smtp_client *c, enum smtp_client_act act)
{
    struct smtp_client_action a;
    assert_true(smtp_client_next(c, &a));
    assert_int_equal(a.act, act);
    return a;
}

#define LIT(s)                                                                                     \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    }
static const struct smtp_client_conf conf = {.helo = LIT("me")};
static const struct slice rcpts[] = {LIT("a@x"), LIT("b@x")};

static void up_to_rcpt(const char *offer, bool pipelined)
{
    struct smtp_client *c = smtp_client_new(&conf, now);
    const struct smtp_client_txn t = {
        .sender = SLICE_LIT("s@y"), .rcpts = rcpts, .n_rcpts = 2, .rehearsal = true};
    hear(c, "220 hi\r\n");
    take(c, "EHLO me\r\n");
    hear(c, offer);
    next(c, CLI_READY);
    smtp_client_begin(c, &t, now);
    if (pipelined) {
        take(c, "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\n");
        hear(c, "250 a\r\n250 b\r\n550 5.1.1 no\r\n");
    } else {
        take(c, "MAIL FROM:<s@y>\r\n");
        hear(c, "250 a\r\n");
        take(c, "RCPT TO:<a@x>\r\n");
        hear(c, "250 b\r\n");
        take(c, "RCPT TO:<b@x>\r\n");
        hear(c, "550 5.1.1 no\r\n");
    }
    struct smtp_client_action a = next(c, CLI_TXN_DONE);
    assert_true(a.n == 2 && a.reusable);
    assert_int_equal(a.verdicts[0].kind, VERDICT_NONE);
    assert_int_equal(a.verdicts[1].kind, VERDICT_FAILED);
    next(c, CLI_READY);
    smtp_client_quit(c, now);
    take(c, "QUIT\r\n");
    hear(c, "221 bye\r\n");
    next(c, CLI_CLOSE);
    smtp_client_free(c);
}

static void no_content_whatever_is_offered(void **state)
{
    (void)state;
    up_to_rcpt("250 mx\r\n", false);
    up_to_rcpt("250-mx\r\n250 PIPELINING\r\n", true);
    up_to_rcpt("250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n", true);
    up_to_rcpt("250-mx\r\n250 CHUNKING\r\n", false);
}

/* The sender is refused: so are all. */
static void mail_is_refused(void **state)
{
    (void)state;
    struct smtp_client *c = smtp_client_new(&conf, now);
    const struct smtp_client_txn t = {.rcpts = rcpts, .n_rcpts = 2, .rehearsal = true};
    hear(c, "220 hi\r\n");
    take(c, "EHLO me\r\n");
    hear(c, "250-mx\r\n250 PIPELINING\r\n");
    next(c, CLI_READY);
    smtp_client_begin(c, &t, now);
    take(c, "MAIL FROM:<>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\n");
    hear(c, "550 no bounces\r\n503 first\r\n503 first\r\n");
    struct smtp_client_action a = next(c, CLI_TXN_DONE);
    assert_int_equal(a.verdicts[0].kind, VERDICT_FAILED);
    assert_int_equal(a.verdicts[1].phase, PHASE_MAIL);
    assert_int_equal(said(c).n, 0);
    smtp_client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_content_whatever_is_offered),
        cmocka_unit_test(mail_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

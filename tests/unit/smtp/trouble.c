/* Replies as real receivers write them, and the fate that follows. What breaks for a user: mail
 * bounced that should wait, retried that should bounce, a whole site slowed for one mailbox, or a
 * wrong `class` in the delivery log. */
#include "relay/smtp/client.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct verdict trouble_of(enum phase phase, uint16_t code, const char *enhanced,
                                 const char *text)
{
    struct smtp_reply r = {.code = code, .text = slice_str(text)};
    if (*enhanced)
        assert_true(enhanced_parse(slice_str(enhanced), &r.enhanced) > 0);
    return smtp_trouble(phase, &r);
}

#define D VERDICT_DEFERRED
#define F VERDICT_FAILED
#define OK VERDICT_DELIVERED
static const struct row {
    enum phase phase;
    uint16_t code;
    const char *enhanced, *text;
    enum verdict_kind kind;
    enum verdict_scope scope;
    enum verdict_class class;
    const char *shown;
} rows[] = {
    {PHASE_EOD, 250, "2.0.0", "Ok: queued as 4F", OK, SCOPE_RECIPIENT, CLASS_NONE, "2.0.0"},
    {PHASE_EOD, 250, "", "ok", OK, SCOPE_RECIPIENT, CLASS_NONE, "2.0.0"},
    {PHASE_EOD, 250, "5.0.0", "ok", OK, SCOPE_RECIPIENT, CLASS_NONE, "2.0.0"}, /* 56 */

    /* 51, 52, 78: what is said before the mail is known is about the host, 5xx too. */
    {PHASE_BANNER, 554, "", "no SMTP service here", D, SCOPE_HOST, CLASS_OTHER, "5.0.0"},
    {PHASE_BANNER, 550, "5.7.1", "listed at zen.spamhaus.org", D, SCOPE_HOST, CLASS_BLOCK, "5.7.1"},
    {PHASE_BANNER, 421, "", "busy", D, SCOPE_HOST, CLASS_OTHER, "4.0.0"},
    {PHASE_EHLO, 550, "", "your name is not welcome", D, SCOPE_HOST, CLASS_POLICY, "5.0.0"},
    {PHASE_EHLO, 450, "", "later", D, SCOPE_HOST, CLASS_OTHER, "4.0.0"},
    {PHASE_STARTTLS, 454, "4.7.0", "TLS not available", D, SCOPE_HOST, CLASS_POLICY, "4.7.0"},
    {PHASE_AUTH, 535, "5.7.8", "bad credentials", D, SCOPE_HOST, CLASS_AUTH, "5.7.8"}, /* 75 */
    {PHASE_AUTH, 535, "", "no", D, SCOPE_HOST, CLASS_AUTH, "5.0.0"},

    /* 79: throttling is about the site, wherever it is said. */
    {PHASE_BANNER, 421, "4.7.0", "[TSS04] unusual volume", D, SCOPE_SITE, CLASS_RATE, "4.7.0"},
    {PHASE_BANNER, 421, "", "Too many connections from your host", D, SCOPE_SITE, CLASS_RATE,
     "4.0.0"},
    {PHASE_BANNER, 554, "", "Too many connections", D, SCOPE_SITE, CLASS_RATE, "5.0.0"},
    {PHASE_EHLO, 421, "4.7.28", "unusual rate of mail", D, SCOPE_SITE, CLASS_RATE, "4.7.28"},
    {PHASE_RCPT, 450, "4.2.1", "receiving mail too quickly", D, SCOPE_SITE, CLASS_RATE, "4.2.1"},
    {PHASE_RCPT, 451, "4.7.650", "server busy", D, SCOPE_SITE, CLASS_RATE, "4.7.650"},
    {PHASE_MAIL, 452, "4.3.2", "Connection rate limit exceeded", D, SCOPE_SITE, CLASS_RATE,
     "4.3.2"},
    {PHASE_EOD, 450, "", "sending rate exceeded, slow down", D, SCOPE_SITE, CLASS_RATE, "4.0.0"},
    {PHASE_DATA, 451, "", "throttled", D, SCOPE_SITE, CLASS_RATE, "4.0.0"},
    {PHASE_EOD, 550, "5.7.1", "rate limit exceeded for good", F, SCOPE_MESSAGE, CLASS_RATE,
     "5.7.1"},
    {PHASE_RCPT, 450, "4.1.1", "operator will separate", D, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX,
     "4.1.1"},

    /* 66: too many recipients is no throttling. */
    {PHASE_RCPT, 452, "4.5.3", "Too many recipients", D, SCOPE_RECIPIENT, CLASS_OTHER, "4.5.3"},
    {PHASE_RCPT, 452, "", "too many recipients", D, SCOPE_RECIPIENT, CLASS_OTHER, "4.0.0"},
    {PHASE_RCPT, 552, "5.5.3", "too many recipients", D, SCOPE_RECIPIENT, CLASS_OTHER, "5.5.3"},

    /* 77: nor is greylisting. */
    {PHASE_RCPT, 450, "4.2.0", "Recipient address rejected: Greylisted", D, SCOPE_RECIPIENT,
     CLASS_POLICY, "4.2.0"},
    {PHASE_RCPT, 451, "4.7.1", "Greylisting in action", D, SCOPE_RECIPIENT, CLASS_POLICY, "4.7.1"},

    {PHASE_RCPT, 550, "5.1.1", "user unknown", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX, "5.1.1"},
    {PHASE_RCPT, 550, "5.1.1", "see http://x/antispam", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX,
     "5.1.1"},
    {PHASE_RCPT, 550, "", "no", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX, "5.0.0"},
    {PHASE_RCPT, 550, "4.1.1", "mismatch", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX, "5.0.0"}, /* 56 */
    {PHASE_RCPT, 550, "5.1.2", "no such domain", F, SCOPE_RECIPIENT, CLASS_BAD_DOMAIN, "5.1.2"},
    {PHASE_RCPT, 556, "5.1.10", "null MX", F, SCOPE_RECIPIENT, CLASS_BAD_DOMAIN, "5.1.10"},
    {PHASE_RCPT, 550, "5.2.1", "disabled", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX, "5.2.1"},
    {PHASE_RCPT, 452, "4.2.2", "over quota", D, SCOPE_RECIPIENT, CLASS_FULL, "4.2.2"},
    {PHASE_RCPT, 552, "", "mailbox", F, SCOPE_RECIPIENT, CLASS_FULL, "5.0.0"},
    {PHASE_RCPT, 554, "5.7.1", "Relay access denied", F, SCOPE_RECIPIENT, CLASS_POLICY, "5.7.1"},
    {PHASE_RCPT, 554, "5.7.1", "blocked using dnsbl.example", F, SCOPE_RECIPIENT, CLASS_BLOCK,
     "5.7.1"},
    {PHASE_RCPT, 450, "", "mailbox busy", D, SCOPE_RECIPIENT, CLASS_OTHER, "4.0.0"},
    {PHASE_RCPT, 421, "", "going down", D, SCOPE_HOST, CLASS_OTHER, "4.0.0"}, /* 57 */
    {PHASE_RCPT, 550, "5.4.6", "loop", F, SCOPE_RECIPIENT, CLASS_OTHER, "5.4.6"},
    {PHASE_RCPT, 451, "4.4.3", "DNS", D, SCOPE_RECIPIENT, CLASS_NETWORK, "4.4.3"},

    {PHASE_MAIL, 552, "5.3.4", "too large", F, SCOPE_MESSAGE, CLASS_SIZE, "5.3.4"}, /* 67 */
    {PHASE_MAIL, 552, "", "no", F, SCOPE_MESSAGE, CLASS_SIZE, "5.0.0"},
    {PHASE_MAIL, 550, "5.1.8", "sender's domain", F, SCOPE_MESSAGE, CLASS_POLICY, "5.1.8"},
    {PHASE_MAIL, 530, "5.7.0", "STARTTLS first", F, SCOPE_MESSAGE, CLASS_POLICY, "5.7.0"},
    {PHASE_MAIL, 530, "", "log in", F, SCOPE_MESSAGE, CLASS_AUTH, "5.0.0"},
    {PHASE_MAIL, 550, "5.7.23", "SPF", F, SCOPE_MESSAGE, CLASS_AUTH, "5.7.23"},
    {PHASE_MAIL, 550, "5.7.10", "encryption needed", F, SCOPE_MESSAGE, CLASS_TLS, "5.7.10"},
    {PHASE_MAIL, 452, "4.3.1", "disk", D, SCOPE_MESSAGE, CLASS_OTHER, "4.3.1"},
    {PHASE_DATA, 554, "5.5.1", "no valid recipients", F, SCOPE_MESSAGE, CLASS_OTHER, "5.5.1"},
    {PHASE_EOD, 554, "5.7.1", "Spam message rejected", F, SCOPE_MESSAGE, CLASS_SPAM, "5.7.1"},
    {PHASE_EOD, 550, "5.7.26", "unauthenticated", F, SCOPE_MESSAGE, CLASS_AUTH, "5.7.26"},
    {PHASE_EOD, 550, "", "DMARC says no", F, SCOPE_MESSAGE, CLASS_AUTH, "5.0.0"},
    {PHASE_EOD, 554, "5.6.0", "contains a virus", F, SCOPE_MESSAGE, CLASS_CONTENT, "5.6.0"},
    {PHASE_EOD, 554, "5.6.3", "conversion", F, SCOPE_MESSAGE, CLASS_CONTENT, "5.6.3"},
    {PHASE_EOD, 552, "", "message too large", F, SCOPE_MESSAGE, CLASS_SIZE, "5.0.0"},
    {PHASE_EOD, 550, "", "no", F, SCOPE_MESSAGE, CLASS_POLICY, "5.0.0"},
    {PHASE_EOD, 554, "", "transaction failed", F, SCOPE_MESSAGE, CLASS_OTHER, "5.0.0"},
    {PHASE_EOD, 451, "4.3.0", "later", D, SCOPE_MESSAGE, CLASS_OTHER, "4.3.0"},
    {PHASE_EOD, 421, "4.3.2", "going down", D, SCOPE_HOST, CLASS_OTHER,
     "4.3.2"}, /* 57: not accepted */
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        struct verdict v = trouble_of(r->phase, r->code, r->enhanced, r->text);
        char shown[ENHANCED_SIZE];
        enhanced_write(v.enhanced, shown);
        if (v.kind != r->kind || v.scope != r->scope || v.class != r->class ||
            strcmp(shown, r->shown) != 0)
            fail_msg("%s %u %s %s: kind %d scope %d class %s %s", phase_name(r->phase), r->code,
                     r->enhanced, r->text, (int)v.kind, (int)v.scope, class_name(v.class), shown);
        assert_int_equal(v.code, r->code);
        assert_int_equal(v.phase, r->phase);
        assert_int_equal(v.fault, FAULT_NONE);
        assert_string_equal(v.text, r->text);
        verdict_done(&v);
    }
}

/* Laws over every phase and code: only a 2xx to the dot delivers, only a 5xx in a transaction is
 * for ever, 4xx never is, what is no answer to the phase is a fault that is tried again. */
static void test_whole(void **state)
{
    (void)state;
    for (enum phase phase = PHASE_NONE; phase <= PHASE_EOD; phase++) {
        for (uint16_t code = 200; code < 600; code++) {
            struct verdict v = trouble_of(phase, code, "", "words");
            unsigned class = code / 100;
            bool mail = phase >= PHASE_MAIL;
            assert_int_equal(v.kind == VERDICT_DELIVERED, class == 2 && phase == PHASE_EOD);
            assert_int_equal(v.kind == VERDICT_FAILED, class == 5 && mail);
            assert_int_equal(v.fault == FAULT_SMTP_PROTOCOL,
                             class == 3 || (class == 2 && phase != PHASE_EOD));
            assert_true(v.kind != VERDICT_NONE && enhanced_is(v.enhanced));
            assert_true(v.fault || v.enhanced.class == class);
            if (v.kind != VERDICT_DELIVERED)
                assert_true(v.class != CLASS_NONE);
            if (!mail || code == 421)
                assert_true(v.kind == VERDICT_DELIVERED || v.scope == SCOPE_HOST);
            verdict_done(&v);
        }
    }
}

static void test_text(void **state)
{
    (void)state;
    struct verdict v = trouble_of(PHASE_RCPT, 550, "5.1.1", "two\nlines\x1b[31m \xff");
    assert_string_equal(v.text, "two lines [31m ?");
    assert_false(v.text_truncated);
    verdict_done(&v);
    char longest[VERDICT_TEXT_MAX + 5];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    v = trouble_of(PHASE_RCPT, 550, "5.1.1", longest);
    assert_true(v.text_truncated && strlen(v.text) == VERDICT_TEXT_MAX);
    verdict_done(&v);
}

static void say(void *ctx, unsigned line, const char *problem)
{
    (void)ctx;
    fail_msg("%u: %s", line, problem);
}

/* An administrator's word on why, and whether for ever; but not against what the session needs. */
static void test_own_rows(void **state)
{
    static const char text[] = "rcpt 550 *.7.1 bad_mailbox *disabled*\n"
                               "any 5xx any policy:temporary *tomorrow*\n"
                               "any 4xx any full:permanent *for good*\n"
                               "any 4xx any rate *slowly*\n";
    static const struct {
        enum phase phase;
        uint16_t code;
        const char *enhanced, *text;
        enum verdict_kind kind;
        enum verdict_scope scope;
        enum verdict_class class;
    } own[] = {
        {PHASE_RCPT, 550, "5.7.1", "mailbox disabled", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX},
        {PHASE_MAIL, 550, "5.7.1", "mailbox disabled", F, SCOPE_MESSAGE, CLASS_POLICY},
        {PHASE_RCPT, 550, "5.1.1", "come tomorrow", D, SCOPE_RECIPIENT, CLASS_POLICY},
        {PHASE_RCPT, 452, "4.2.2", "full for good", F, SCOPE_RECIPIENT, CLASS_FULL},
        {PHASE_EOD, 451, "4.3.0", "no, for good", F, SCOPE_MESSAGE, CLASS_FULL},
        /* A host that hangs up or does not greet says nothing of the mail. */
        {PHASE_RCPT, 421, "4.3.2", "closed for good", D, SCOPE_HOST, CLASS_FULL},
        {PHASE_BANNER, 450, "", "away for good", D, SCOPE_HOST, CLASS_FULL},
        /* Nor does a transaction that is full. */
        {PHASE_RCPT, 452, "4.5.3", "too many for good", D, SCOPE_RECIPIENT, CLASS_FULL},
        {PHASE_MAIL, 450, "4.0.0", "slowly please", D, SCOPE_SITE, CLASS_RATE},
        {PHASE_RCPT, 550, "5.1.1", "user unknown", F, SCOPE_RECIPIENT, CLASS_BAD_MAILBOX},
    };
    (void)state;
    struct classes *c = classes_parse(slice_str(text), say, NULL);
    assert_non_null(c);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        struct smtp_reply r = {.code = own[i].code, .text = slice_str(own[i].text)};
        if (own[i].enhanced[0])
            assert_true(enhanced_parse(slice_str(own[i].enhanced), &r.enhanced) > 0);
        const struct smtp_client_conf conf = {.classes = c};
        struct verdict v = smtp_trouble_by(&conf, own[i].phase, &r);
        if (v.kind != own[i].kind || v.scope != own[i].scope || v.class != own[i].class)
            fail_msg("%u %s: kind %d scope %d class %s", own[i].code, own[i].text, (int)v.kind,
                     (int)v.scope, class_name(v.class));
        assert_int_equal(v.code, own[i].code);
        verdict_done(&v);
    }
    free(c);
}

/* 75, promise 10: where somebody set the way up (a relay, a level of TLS), what is lacking there
 * bounces no mail; at anybody else's mail host the same words are an answer. */
static void test_demands(void **state)
{
    static const struct {
        enum phase phase;
        uint16_t code;
        const char *text;
        bool demand;
    } said[] = {
        {PHASE_MAIL, 530, "Authentication required", true},
        {PHASE_RCPT, 530, "log in first", true},
        {PHASE_MAIL, 530, "Must issue a STARTTLS command first", true},
        {PHASE_DATA, 530, "log in first", true},
        {PHASE_MAIL, 523, "encryption needed", true},
        {PHASE_MAIL, 534, "mechanism too weak", true},
        {PHASE_MAIL, 535, "not logged in", true},
        {PHASE_MAIL, 538, "encryption required", true},
        {PHASE_MAIL, 550, "not your address", false},
        {PHASE_RCPT, 550, "no such user", false},
        {PHASE_EOD, 554, "no", false},
    };
    struct classes *own = classes_parse(slice_str("mail 535 any auth:permanent\n"), say, NULL);
    const struct smtp_client_conf ours = {.set_up = true},
                                  strict = {.set_up = true, .classes = own};
    (void)state;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        const struct smtp_reply r = {.code = said[i].code, .text = slice_str(said[i].text)};
        struct verdict v = smtp_trouble_by(&ours, said[i].phase, &r);
        assert_int_equal(v.kind, said[i].demand ? VERDICT_DEFERRED : VERDICT_FAILED);
        assert_int_equal(v.scope == SCOPE_HOST, said[i].demand);
        assert_int_equal(v.code, said[i].code);
        verdict_done(&v);
        v = smtp_trouble(said[i].phase, &r);
        assert_int_equal(v.kind, VERDICT_FAILED);
        assert_int_not_equal(v.scope, SCOPE_HOST);
        verdict_done(&v);
        v = smtp_trouble_by(&strict, said[i].phase, &r); /* the administrator has the last word */
        assert_int_equal(v.kind == VERDICT_DEFERRED, said[i].demand && said[i].code != 535);
        verdict_done(&v);
    }
    free(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_own_rows),
        cmocka_unit_test(test_demands), cmocka_unit_test(test_whole),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

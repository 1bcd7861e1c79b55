/* What servers say to EHLO. What breaks for a user: a feature missed (slow, or no TLS), or one
 * believed that is not there (refused mail). */
#include "relay/smtp/ehlo.h"
#include "relay/base/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct smtp_peer peer_of(const char *lines)
{
    struct smtp_peer peer = {0};
    struct slice rest = slice_str(lines);
    while (rest.n)
        smtp_ehlo_line(&peer, slice_cut(&rest, '\n'));
    return peer;
}

static void test_keywords(void **state)
{
    (void)state;
    struct smtp_peer p =
        peer_of("PIPELINING\nSIZE 1000\nVRFY\nETRN\nSTARTTLS\nENHANCEDSTATUSCODES\n8BITMIME\n"
                "DSN\nSMTPUTF8\nCHUNKING\nAUTH PLAIN\nAUTH=LOGIN\nX-OWN thing\n");
    assert_true(p.pipelining && p.size && p.starttls && p.enhanced_status && p.eight_bit_mime &&
                p.dsn && p.smtputf8 && p.chunking);
    assert_int_equal(p.max_size, 1000);
    assert_false(p.esmtp); /* the reply's business, not a keyword's */
}

/* 53: which ways to log in; the old form counts, nonsense does not, and there is an end. */
static void test_auth(void **state)
{
    (void)state;
    struct smtp_peer p = peer_of("AUTH plain LOGIN  PLAIN scram-sha-256\nAUTH=LOGIN XOAUTH2\n");
    assert_string_equal(p.auth, "PLAIN LOGIN SCRAM-SHA-256 XOAUTH2 ");
    assert_true(smtp_peer_offers(&p, SLICE_LIT("LOGIN")));
    assert_false(smtp_peer_offers(&p, SLICE_LIT("LOG")));
    p = peer_of("AUTH\nAUTH=\nAUTH a$b ABCDEFGHIJKLMNOPQRSTU x\x01\nAUTHPLAIN\n");
    assert_string_equal(p.auth, "");
    struct buf many = BUF_MAX(4096);
    for (int i = 0; i < 100; i++)
        buf_addf(&many, "AUTH MECHANISM-%d\n", i);
    p = peer_of(buf_str(&many));
    assert_true(strlen(p.auth) < sizeof p.auth && smtp_peer_offers(&p, SLICE_LIT("MECHANISM-9")));
    buf_done(&many);
}

/* 53: letter case means nothing. */
static void test_case_and_blanks(void **state)
{
    (void)state;
    struct smtp_peer p = peer_of("pipelining\n sTaRtTlS \nsize  77 \nDsn ok\n");
    assert_true(p.pipelining && p.starttls && p.dsn && p.size);
    assert_int_equal(p.max_size, 77);
}

static void test_none_is_believed_by_half(void **state)
{
    (void)state;
    struct smtp_peer p =
        peer_of("PIPELININGX\nXSTARTTLS\nSTART TLS\nSTARTTLS=1\n8BIT\nCHUNK\nAUTH STARTTLS\n\n \n");
    assert_false(p.pipelining || p.starttls || p.eight_bit_mime || p.chunking || p.size);
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint64_t max;
    } rows[] = {
        {"SIZE", 0},
        {"SIZE 0", 0},
        {"SIZE 52428800", 52428800},
        {"SIZE abc", 0},
        {"SIZE -1", 0},
        {"SIZE 10M", 0},
        {"SIZE 18446744073709551615", UINT64_MAX},
        {"SIZE 18446744073709551616", 0}, /* past what we can count: as good as no limit */
        {"SIZE 100 200", 100},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_peer p = peer_of(rows[i].line);
        assert_true(p.size);
        assert_true(p.max_size == rows[i].max);
    }
    assert_int_equal(peer_of("SIZE 5\nSIZE").max_size, 0); /* the last word counts */
}

static void test_later_extensions(void **state)
{
    (void)state;
    struct smtp_peer p = peer_of("binarymime\nRequireTLS\nMT-PRIORITY MIXER\nDELIVERBY 240\n"
                                 "LIMITS RCPTMAX=20  mailmax=3 X=5 RCPTDOMAINMAX=1 =9\n");
    assert_true(p.binarymime && p.requiretls && p.mt_priority && p.deliver_by);
    assert_int_equal(p.deliver_by_min, 240);
    assert_int_equal(p.rcpt_max, 20);
    assert_int_equal(p.mail_max, 3);
    assert_int_equal(p.rcpt_domain_max, 1);
    p = peer_of("DELIVERBY\nLIMITS RCPTMAX=0 MAILMAX=-1\nLIMITS\nMT-PRIORITYX\n");
    assert_true(p.deliver_by && p.deliver_by_min == 0 && !p.mt_priority);
    assert_true(p.rcpt_max == 0 && p.mail_max == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_auth),
        cmocka_unit_test(test_case_and_blanks),
        cmocka_unit_test(test_none_is_believed_by_half),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_later_extensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How well a connection must be protected, and whose name can be believed (checklist 90, RFC 8689).
 * If this breaks, mail that must be protected is not, or mail that need not be waits for ever. */
#include "relay/outbound/conn.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_levels(void **state)
{
    (void)state;
    static const struct {
        enum conf_out_tls tls;
        bool required, optional;
        enum smtp_tls_level level;
        bool clear_at_once, clear_later;
    } rows[] = {
        {CONF_OUT_NONE, 0, 0, SMTP_TLS_NONE, 0, 0},
        {CONF_OUT_MAY, 0, 0, SMTP_TLS_MAY, 0, 1},
        {CONF_OUT_ENCRYPT, 0, 0, SMTP_TLS_ENCRYPT, 0, 0},
        {CONF_OUT_VERIFY, 0, 0, SMTP_TLS_VERIFY, 0, 0},
        /* TLS-Required: No. What the administrator wants encrypted stays so. */
        {CONF_OUT_NONE, 0, 1, SMTP_TLS_NONE, 0, 0},
        {CONF_OUT_MAY, 0, 1, SMTP_TLS_MAY, 1, 1},
        {CONF_OUT_ENCRYPT, 0, 1, SMTP_TLS_ENCRYPT, 0, 0},
        {CONF_OUT_VERIFY, 0, 1, SMTP_TLS_ENCRYPT, 0, 0},
        /* REQUIRETLS, and both. */
        {CONF_OUT_NONE, 1, 0, SMTP_TLS_VERIFY, 0, 0},
        {CONF_OUT_MAY, 1, 0, SMTP_TLS_VERIFY, 0, 0},
        {CONF_OUT_MAY, 1, 1, SMTP_TLS_VERIFY, 0, 0},
        {CONF_OUT_VERIFY, 1, 1, SMTP_TLS_VERIFY, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf_destination d = {.tls = rows[i].tls};
        struct mail_params p = {.requiretls = rows[i].required, .tls_optional = rows[i].optional};
        assert_int_equal(out_tls_level(&d, &p), rows[i].level);
        assert_int_equal(out_may_go_in_clear(&d, &p, 1), rows[i].clear_at_once);
        assert_int_equal(out_may_go_in_clear(&d, &p, 2), rows[i].clear_later);
        /* 75: where there is a login, no mail's sender makes it less. */
        d.user = "u";
        assert_true(out_tls_level(&d, &p) >= (enum smtp_tls_level)rows[i].tls);
    }
}

static void test_trust(void **state)
{
    (void)state;
    static const struct {
        const char *relay, *mx, *host, *rcpt;
        bool trusted; /* with verify; without it only a relay is */
    } rows[] = {
        {"mx.example.com:25", NULL, "mx.example.com", "a@b.test", true},
        {"[192.0.2.1]:25", NULL, "", "a@b.test", true},
        {NULL, NULL, "mx.b.test", "a@b.test", true},
        {NULL, NULL, "MX.B.test", "\"a@c\"@b.test", true},
        {NULL, NULL, "b.test", "a@b.test", true},
        {NULL, NULL, "xb.test", "a@b.test", false},
        {NULL, NULL, "test", "a@b.test", false},
        {NULL, NULL, "mx.evil.test", "a@b.test", false},
        {NULL, NULL, "b.test.evil.test", "a@b.test", false},
        {NULL, NULL, "", "a@[192.0.2.1]", false},
        {NULL, NULL, "mx.b.test", "postmaster", false},
        /* DNS has it in ASCII */
        {NULL, NULL, "mx.xn--bcher-kva.test",
         "a@b\xc3\xbc"
         "cher.test",
         true},
        {NULL, NULL, "mx.xn--bcher-kva.test", "a@bucher.test", false},
        {NULL, "*.hoster.test", "mx1.hoster.test", "a@b.test", true},
        {NULL, "mx?.hoster.test", "mx1.hoster.test", "a@b.test", true},
        {NULL, "mx1.hoster.test", "mx1.hoster.test", "a@b.test", true},
        {NULL, "*.hoster.test", "mx1.evil.test", "a@b.test", false},
        {NULL, "*", "mx1.evil.test", "a@b.test", false}, /* names nobody */
        {NULL, "*.test", "mx1.evil.test", "a@b.test", false},
        {NULL, "mx.hoster.*", "mx.hoster.evil", "a@b.test", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf_destination d = {.tls = CONF_OUT_VERIFY};
        const char *relay = rows[i].relay, *mx = rows[i].mx;
        d.relay = (struct conf_list){&relay, relay ? 1 : 0};
        d.mx = (struct conf_list){&mx, mx ? 1 : 0};
        struct slice host = slice_str(rows[i].host), rcpt = slice_str(rows[i].rcpt);
        if (out_trusts_host(&d, host, rcpt) != rows[i].trusted)
            fail_msg("%s for %s", rows[i].host, rows[i].rcpt);
        d.tls = CONF_OUT_ENCRYPT;
        assert_int_equal(out_trusts_host(&d, host, rcpt), relay != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

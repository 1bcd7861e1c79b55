/* The parameters of MAIL and RCPT, one row each way a value can be right or wrong (checklist 23,
 * 24, 25), and what they come to. */
#include "relay/smtp/params.h"
#include "relay/base/defer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static enum param_fault read_mail(const char *args, unsigned offered, struct buf *text,
                                  struct smtp_mail *m)
{
    struct slice culprit;
    struct param_target t = {.mail = m, .text = text, .offered = offered};
    *m = (struct smtp_mail){0};
    buf_reset(text);
    return params_read(slice_str(args), &t, &culprit);
}

static const struct {
    const char *args;
    enum param_fault fault;
} mail_rows[] = {
    {"", PARAM_FINE},
    {"  ", PARAM_FINE},
    {"SIZE=0", PARAM_FINE},
    {"SIZE=18446744073709551615", PARAM_FINE},
    {"SIZE=18446744073709551616", PARAM_VALUE},
    {"SIZE=000000000000000000001", PARAM_VALUE},
    {"SIZE=+1", PARAM_VALUE},
    {"SIZE", PARAM_VALUE},
    {"BODY=7bit", PARAM_FINE},
    {"BODY=BinaryMime", PARAM_FINE},
    {"BODY=", PARAM_VALUE},
    {"BODY=7BIT BODY=7BIT", PARAM_TWICE},
    {"SMTPUTF8", PARAM_FINE},
    {"SMTPUTF8=", PARAM_VALUE},
    {"REQUIRETLS", PARAM_FINE},
    {"REQUIRETLS=yes", PARAM_VALUE},
    {"AUTH=<>", PARAM_FINE},
    {"AUTH=a+40b.test", PARAM_FINE},
    {"AUTH=", PARAM_VALUE},
    {"AUTH=a+0A", PARAM_VALUE},
    {"RET=full", PARAM_FINE},
    {"RET=HDRS", PARAM_FINE},
    {"RET=HDR", PARAM_VALUE},
    {"ENVID=+20", PARAM_FINE},
    {"ENVID=", PARAM_VALUE},
    {"ENVID=+00", PARAM_VALUE},
    {"ENVID=+7F", PARAM_VALUE},
    {"ENVID=+", PARAM_VALUE},
    {"ENVID=\xc3\xb6", PARAM_VALUE},
    {"HOLDFOR=1", PARAM_FINE},
    {"HOLDFOR=999999999", PARAM_FINE},
    {"HOLDFOR=1000000000", PARAM_VALUE},
    {"HOLDFOR=0", PARAM_VALUE},
    {"HOLDFOR=-1", PARAM_VALUE},
    {"HOLDUNTIL=2030-01-01T00:00:00Z", PARAM_FINE},
    {"HOLDUNTIL=2030-01-01", PARAM_VALUE},
    {"HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z", PARAM_CONFLICT},
    {"HOLDUNTIL=2030-01-01T00:00:00Z HOLDFOR=1", PARAM_CONFLICT},
    {"HOLDFOR=1 HOLDFOR=1", PARAM_TWICE},
    {"BY=1;R", PARAM_FINE},
    {"BY=+1;rt", PARAM_FINE},
    {"BY=-999999999;NT", PARAM_FINE},
    {"BY=0;N", PARAM_FINE},
    {"BY=0;R", PARAM_VALUE},
    {"BY=-1;R", PARAM_VALUE},
    {"BY=1", PARAM_VALUE},
    {"BY=1;", PARAM_VALUE},
    {"BY=;R", PARAM_VALUE},
    {"BY=1;T", PARAM_VALUE},
    {"BY=1;RN", PARAM_VALUE},
    {"BY=1;RTT", PARAM_VALUE},
    {"BY=--1;N", PARAM_VALUE},
    {"BY=+-1;N", PARAM_VALUE},
    {"BY=1000000000;R", PARAM_VALUE},
    {"MT-PRIORITY=0", PARAM_FINE},
    {"mt-priority=-9", PARAM_FINE},
    {"MT-PRIORITY=9", PARAM_FINE},
    {"MT-PRIORITY=-0", PARAM_VALUE},
    {"MT-PRIORITY=+1", PARAM_VALUE},
    {"MT-PRIORITY=10", PARAM_VALUE},
    {"MT-PRIORITY=", PARAM_VALUE},
    {"MT-PRIORITY=-", PARAM_VALUE},
    {"NOTIFY=NEVER", PARAM_UNKNOWN},
    {"X", PARAM_UNKNOWN},
    {"SIZE =1", PARAM_VALUE},
    {"=", PARAM_VALUE},
    {"-A=1", PARAM_VALUE},
    {"A\xc3\xb6=1", PARAM_VALUE},
};

static void values_of_mail(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf text = BUF_MAX(1024);
    struct smtp_mail m;
    for (size_t i = 0; i < sizeof mail_rows / sizeof *mail_rows; i++) {
        const enum param_fault fault =
            read_mail(mail_rows[i].args, SMTP_EVERY_EXTENSION, &text, &m);
        if (fault != mail_rows[i].fault)
            fail_msg("%s: %d", mail_rows[i].args, (int)fault);
    }
}

static void what_mail_comes_to(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf text = BUF_MAX(1024);
    struct smtp_mail m;
    const char *all = "SIZE=5 BODY=BINARYMIME SMTPUTF8 AUTH=x+2By RET=HDRS ENVID=a+2Bb REQUIRETLS "
                      "HOLDFOR=7 BY=-8;NT MT-PRIORITY=-3";
    assert_int_equal(read_mail(all, SMTP_EVERY_EXTENSION, &text, &m), PARAM_FINE);
    assert_int_equal(m.size, 5);
    assert_int_equal(m.params.body, MAIL_BODY_BINARYMIME);
    assert_int_equal(m.params.ret, MAIL_RET_HDRS);
    assert_int_equal(m.params.by, MAIL_BY_NOTIFY);
    assert_true(m.params.by_trace && m.params.smtputf8 && m.params.requiretls);
    assert_int_equal(m.params.priority, -3);
    assert_int_equal(m.hold_s, 7);
    assert_true(m.by_s == -8);
    assert_true(slice_eq(m.auth, SLICE_LIT("x+2By"))); /* not decoded: nobody uses it */
    assert_true(slice_eq(m.envid, SLICE_LIT("a+b")));
    assert_int_equal(read_mail("HOLDUNTIL=1970-01-01T01:00:00Z", SMTP_FUTURERELEASE, &text, &m),
                     PARAM_FINE);
    assert_true(m.hold_until.us == 3600 * WALL_SECOND);
}

/* Each parameter goes with its extension, and with no other. */
static void only_what_is_offered(void **state)
{
    (void)state;
    static const struct {
        const char *args;
        unsigned needs;
    } rows[] = {
        {"SIZE=1", SMTP_SIZE},
        {"BODY=8BITMIME", SMTP_EIGHTBITMIME},
        {"SMTPUTF8", SMTP_SMTPUTF8},
        {"AUTH=<>", SMTP_AUTH},
        {"RET=FULL", SMTP_DSN},
        {"ENVID=x", SMTP_DSN},
        {"REQUIRETLS", SMTP_REQUIRETLS},
        {"HOLDFOR=1", SMTP_FUTURERELEASE},
        {"HOLDUNTIL=2030-01-01T00:00:00Z", SMTP_FUTURERELEASE},
        {"BY=1;R", SMTP_DELIVERBY},
        {"MT-PRIORITY=1", SMTP_MT_PRIORITY},
    };
    DEFER(buf_done) struct buf text = BUF_MAX(1024);
    struct smtp_mail m;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(read_mail(rows[i].args, rows[i].needs, &text, &m), PARAM_FINE);
        const unsigned others = SMTP_EVERY_EXTENSION & ~rows[i].needs;
        assert_int_equal(read_mail(rows[i].args, others, &text, &m), PARAM_UNKNOWN);
    }
    assert_int_equal(read_mail("BODY=BINARYMIME", SMTP_EIGHTBITMIME, &text, &m), PARAM_VALUE);
}

static void values_of_rcpt(void **state)
{
    (void)state;
    static const struct {
        const char *args;
        enum param_fault fault;
        unsigned notify;
        const char *orcpt;
    } rows[] = {
        {"", PARAM_FINE, 0, ""},
        {"NOTIFY=never", PARAM_FINE, MAIL_NOTIFY_NEVER, ""},
        {"NOTIFY=SUCCESS", PARAM_FINE, MAIL_NOTIFY_SUCCESS, ""},
        {"NOTIFY=delay,FAILURE,Success", PARAM_FINE,
         MAIL_NOTIFY_DELAY | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_SUCCESS, ""},
        {"NOTIFY=NEVER,DELAY", PARAM_VALUE, 0, ""},
        {"NOTIFY=DELAY,NEVER", PARAM_VALUE, 0, ""},
        {"NOTIFY=DELAY,DELAY", PARAM_VALUE, 0, ""},
        {"NOTIFY=DELAY,", PARAM_VALUE, 0, ""},
        {"NOTIFY=,DELAY", PARAM_VALUE, 0, ""},
        {"NOTIFY=", PARAM_VALUE, 0, ""},
        {"NOTIFY", PARAM_VALUE, 0, ""},
        {"NOTIFY=ALWAYS", PARAM_VALUE, 0, ""},
        {"NOTIFY=NEVER NOTIFY=NEVER", PARAM_TWICE, 0, ""},
        {"ORCPT=rfc822;a+2Bb@c.test NOTIFY=NEVER", PARAM_FINE, MAIL_NOTIFY_NEVER,
         "rfc822;a+b@c.test"},
        {"ORCPT=rfc822;a@b ORCPT=rfc822;a@b", PARAM_TWICE, 0, ""},
        {"ORCPT=a@b", PARAM_VALUE, 0, ""},
        {"SIZE=1", PARAM_UNKNOWN, 0, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf text = BUF_MAX(1024);
        struct slice culprit;
        struct smtp_rcpt r = {0};
        struct param_target t = {.rcpt = &r, .text = &text, .offered = SMTP_DSN};
        const enum param_fault fault = params_read(slice_str(rows[i].args), &t, &culprit);
        if (fault != rows[i].fault)
            fail_msg("%s: %d", rows[i].args, (int)fault);
        if (fault != PARAM_FINE)
            continue;
        assert_int_equal(r.notify, rows[i].notify);
        assert_true(slice_eq(r.orcpt, slice_str(rows[i].orcpt)));
    }
}

/* 100 characters count after decoding, 500 octets of AUTH before it. */
static void lengths(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf text = BUF_MAX(1024);
    struct smtp_mail m;
    for (size_t n = 99; n <= 101; n++) {
        DEFER(buf_done) struct buf args = BUF_MAX(4096);
        buf_add_str(&args, "ENVID=");
        for (size_t i = 0; i < n; i++)
            buf_add_str(&args, "+20");
        assert_int_equal(read_mail(buf_str(&args), SMTP_DSN, &text, &m),
                         n <= 100 ? PARAM_FINE : PARAM_VALUE);
    }
    for (size_t n = 499; n <= 501; n++) {
        DEFER(buf_done) struct buf args = BUF_MAX(4096);
        buf_add_str(&args, "AUTH=");
        for (size_t i = 0; i < n; i++)
            buf_add_u8(&args, 'x');
        assert_int_equal(read_mail(buf_str(&args), SMTP_AUTH, &text, &m),
                         n <= 500 ? PARAM_FINE : PARAM_VALUE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_mail),
        cmocka_unit_test(what_mail_comes_to),
        cmocka_unit_test(only_what_is_offered),
        cmocka_unit_test(values_of_rcpt),
        cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

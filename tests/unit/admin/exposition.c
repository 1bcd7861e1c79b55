/* What Prometheus reads. If this breaks, a whole scrape is thrown away for one odd character. */
#include "relay/admin/exposition.h"
#include "relay/base/metrics.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void has(struct buf *b, const char *line)
{
    if (slice_find_slice(buf_slice(b), slice_str(line)) == b->n)
        fail_msg("no %s in\n%s", line, buf_str(b));
}

static void test_certificates(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(65536);
    struct exposition e = {.out = &b, .now = {INT64_C(1800000000) * WALL_SECOND}};
    for (int64_t left_s = -2 * 86400; left_s <= 86400; left_s += 86400) {
        char wanted[200];
        const struct admin_certificate c = {"", "/etc/a b.pem", "EC", 1800000000 + left_s};
        buf_reset(&b);
        exposition_certificate(&e, &c);
        snprintf(
            wanted, sizeof wanted,
            "postwain_certificate_expires_in_seconds{section=\"\",key_type=\"EC\",file=\"/etc/a "
            "b.pem\"} %lld\n",
            (long long)left_s);
        assert_string_equal(buf_str(&b), wanted);
    }
    buf_reset(&b);
    const struct admin_certificate odd = {"a\"b\\c\nd", "/\xff\x01", "EC", 1800000000};
    exposition_certificate(&e, &odd);
    has(&b, "{section=\"a\\\"b\\\\c");
    assert_int_equal(slice_find(buf_slice(&b), '\n'), b.n - 1); /* one line */
    assert_int_equal(slice_find(buf_slice(&b), 0xff), b.n);
    buf_done(&b);
}

static void test_counters(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(65536);
    metric_add(M_AUTH_FAILED, 7);
    exposition_counters(&b);
    has(&b, "# HELP postwain_auth_failed_total failed authentications\n"
            "# TYPE postwain_auth_failed_total counter\npostwain_auth_failed_total 7\n");
    has(&b, "# TYPE postwain_inbound_sessions gauge\npostwain_inbound_sessions 0\n");
    buf_done(&b);
}

static void test_queue(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(65536);
    struct queue_site_row sites[3] = {{.dead = true, .waiting = 1},
                                      {.dead = false},
                                      {.dead = true}}; /* for the last no mail waits */
    struct spooler_admin page = {.sites = sites, .n_sites = 3};
    struct wall now = {INT64_C(1800000000) * WALL_SECOND};
    page.totals.messages = 4;
    page.totals.held = 2;
    page.totals.oldest = wall_add_s(now, -90);
    page.totals.disk.full = "less room than spool.min-free";
    exposition_queue(&b, &page, now);
    has(&b, "\npostwain_queue_messages 4\n");
    has(&b, "\npostwain_queue_recipients_by_state{state=\"held\"} 2\n");
    has(&b, "\npostwain_queue_recipients_by_state{state=\"ready\"} 0\n");
    has(&b, "\npostwain_queue_oldest_seconds 90\n");
    has(&b, "\npostwain_spool_full 1\n");
    has(&b, "\npostwain_spool_failing 0\n");
    has(&b, "\npostwain_sites{state=\"unreachable\"} 1\n");
    has(&b, "\npostwain_sites{state=\"answering\"} 2\n");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_certificates),
                                       cmocka_unit_test(test_counters),
                                       cmocka_unit_test(test_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

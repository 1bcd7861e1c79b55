/* What a line shows of a recipient. If this breaks, an address is in a log whose owner has promised
 * that it is not, or what happened to one recipient cannot be followed any more. */
#include "relay/events/masked.h"
#include "relay/base/defer.h"
#include "relay/events/line.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint8_t key[] = "0123456789abcdef";

static void test_address(void **state)
{
    (void)state;
    /* printf %s bob@example.com | openssl dgst -sha256 -hmac 0123456789abcdef */
    static const char hashed[] = "bbc8434fd179b429f14ccaf6";
    static const char *const same[] = {"bob@example.com", "Bob@Example.COM", "BOB@example.com"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        DEFER(masked_done) struct masked m = {0};
        struct slice s = masked_address(&m, slice_str(same[i]), slice_of(key, 16));
        assert_int_equal(s.n, sizeof hashed - 1 + strlen("@example.com"));
        assert_memory_equal(s.p, hashed, sizeof hashed - 1);
        assert_true(slice_eq(slice_skip(s, 24), slice_skip(slice_str(same[i]), 3)));
    }
    DEFER(masked_done) struct masked m = {0};
    struct slice other = masked_address(&m, slice_str("bob@example.com"), SLICE_LIT("another"));
    assert_memory_not_equal(other.p, hashed, sizeof hashed - 1);
    struct slice quoted = masked_address(&m, slice_str("\"a@b\"@example.com"), SLICE_NONE);
    assert_true(slice_eq(slice_skip(quoted, 24), SLICE_LIT("@example.com")));
    struct slice bare = masked_address(&m, slice_str("postmaster"), SLICE_NONE);
    assert_int_equal(bare.n, 24);
}

static void test_words(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"5.1.1 <bob@example.com>: user unknown", "5.1.1 <*@example.com>: user unknown"},
        {"bob@example.com", "*@example.com"},
        {"a@b c@d,e@f;rfc822=g@h", "*@b *@d,*@f;rfc822=*@h"},
        {"no address here", "no address here"},
        {"@ and @example.com", "@ and @example.com"},
        {"\"odd name\"@example.com", "\"odd name\"@example.com"},
        {"x@y@example.com", "*@example.com"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(masked_done) struct masked m = {0};
        struct slice got = masked_words(&m, slice_str(rows[i][0]));
        assert_true(slice_eq(got, slice_str(rows[i][1])));
    }
}

/* Nowhere in the line is the local part left, whatever the mode, and the domain is. */
static void test_lines(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf f = BUF_MAX(4096);
    event_add_str(&f, EV_SENDER, SLICE_LIT("ann@sender.example"));
    event_add_str(&f, EV_RECIPIENT, SLICE_LIT("secretname@example.com"));
    event_add_str(&f, EV_RECIPIENT_DOMAIN, SLICE_LIT("example.com"));
    event_add_str(&f, EV_ORCPT, SLICE_LIT("rfc822;secretname@example.com"));
    event_add_str(&f, EV_RESPONSE, SLICE_LIT("5.1.1 <secretname@example.com>: unknown"));
    event_add_str(&f, EV_REASON, SLICE_LIT("asked by secretname@example.com"));
    struct event e = {7, {0}, EVENT_BOUNCED, buf_slice(&f)};
    static const struct {
        enum events_recipients mode;
        bool name, orcpt;
        const char *recipient;
    } rows[] = {{EVENTS_FULL, true, true, "\"recipient\":\"secretname@example.com\","},
                {EVENTS_HASHED, false, false, "@example.com\",\"recipient_domain\""},
                {EVENTS_DOMAIN, false, false, "\"recipient\":\"*@example.com\","}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf a = BUF_MAX(65536), b = BUF_MAX(65536);
        const struct line_style style = {"node", rows[i].mode, key, 16};
        line_event(&a, &e, &style);
        line_event(&b, &e, &style);
        assert_true(slice_eq(buf_slice(&a), buf_slice(&b)));
        assert_int_equal(!!strstr(buf_str(&a), "secretname"), rows[i].name);
        assert_non_null(strstr(buf_str(&a), rows[i].recipient));
        assert_int_equal(!!strstr(buf_str(&a), "orcpt"), rows[i].orcpt);
        assert_non_null(strstr(buf_str(&a), "\"recipient_domain\":\"example.com\""));
        assert_non_null(strstr(buf_str(&a), "ann@sender.example"));
        assert_non_null(strstr(buf_str(&a), "@example.com>: unknown"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Events: what a delivery log's reader would miss if a field were lost, changed or invented between
 * the record and the line. */
#include "queue/event.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool is_text(enum event_type t)
{
    return t == EVT_STR || t == EVT_MAP;
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(event_name_text(EVENT_ACCEPTED), "accepted");
    assert_string_equal(event_name_text(EVENT_DSN_QUEUED), "dsn_queued");
    assert_string_equal(event_name_text(EVENT_CONFIG_RELOADED), "config_reloaded");
    assert_null(event_name_text((enum event_name)0));
    assert_null(event_name_text((enum event_name)9999));
    unsigned n_final = 0;
    for (int i = EVENT_ACCEPTED; i <= EVENT_SPOOL_DAMAGED; i++) {
        assert_non_null(event_name_text((enum event_name)i));
        n_final += event_is_final((enum event_name)i);
    }
    /* delivered relayed bounced expired cancelled suppressed */
    assert_int_equal(n_final, 6);
    assert_false(event_is_final(EVENT_DEFERRED));
}

static void test_every_field_goes_round(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, 1, -1, 63, 64, -64, -65, INT64_MAX, INT64_MIN};
    struct buf out = BUF_MAX(1 << 20);
    size_t n = 0;
    for (int f = 0; f < 200; f++) {
        enum event_type type;
        if (!event_field_key((enum event_field)f, &type))
            continue;
        if (is_text(type))
            event_add_str(&out, (enum event_field)f, SLICE_LIT("te\0xt=\xff"));
        else
            event_add_int(&out, (enum event_field)f, numbers[(size_t)f % 9]);
        n++;
    }
    assert_true(n >= 48);
    struct cursor c = cursor_of(buf_slice(&out));
    struct event_value v;
    int last = 0;
    for (; event_next(&c, &v); n--) {
        enum event_type type;
        assert_non_null(event_field_key(v.field, &type));
        assert_true((int)v.field > last);
        last = (int)v.field;
        assert_int_equal(type, v.type);
        if (is_text(type))
            assert_true(slice_eq(v.str, SLICE_LIT("te\0xt=\xff")));
        else
            assert_true(v.num == numbers[(size_t)v.field % 9]);
    }
    assert_int_equal(n, 0);
    assert_false(c.bad);
    buf_done(&out);
}

static void test_empty_is_absent(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(100);
    event_add_str(&out, EV_SENDER, SLICE_NONE);
    assert_int_equal(out.n, 0);
    buf_done(&out);
}

static void test_unknown_tags_are_passed_over(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(100);
    buf_add_varint(&out, 1000 * 2 + 1); /* a string of a later version */
    buf_add_prefixed(&out, SLICE_LIT("new"));
    buf_add_varint(&out, 1001 * 2); /* a number */
    buf_add_varint(&out, 7);
    buf_add_varint(&out, EV_SIZE * 2 + 1); /* a number that became text: not ours to read */
    buf_add_prefixed(&out, SLICE_LIT("big"));
    event_add_int(&out, EV_RCPT, 3);
    struct cursor c = cursor_of(buf_slice(&out));
    struct event_value v;
    assert_true(event_next(&c, &v));
    assert_int_equal(v.field, EV_RCPT);
    assert_int_equal(v.num, 3);
    assert_false(event_next(&c, &v));
    assert_false(c.bad);
    buf_done(&out);
}

static void test_any_cut_ends_quietly(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(1000);
    event_add_str(&out, EV_QUEUE_ID, SLICE_LIT("0123"));
    event_add_int(&out, EV_SIZE, 123456);
    event_add_time(&out, EV_EXPIRES, (struct wall){INT64_C(1800000000000000)});
    size_t before = 0;
    for (size_t n = 0; n <= out.n; n++) {
        struct cursor c = cursor_of(slice_of(out.p, n));
        struct event_value v;
        size_t count = 0;
        while (event_next(&c, &v))
            count++;
        assert_true(count >= before && count <= 3);
        before = count;
    }
    assert_int_equal(before, 3);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_field_goes_round),
        cmocka_unit_test(test_empty_is_absent),
        cmocka_unit_test(test_unknown_tags_are_passed_over),
        cmocka_unit_test(test_any_cut_ends_quietly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

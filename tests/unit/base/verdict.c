/* Verdicts: the table of faults is sane, text is safe to show, enhanced codes are read strictly. */
#include "relay/base/verdict.h"
#include "relay/base/utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define S(literal) SLICE_LIT(literal)

static void enhanced_codes_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        struct enhanced e;
    } rows[] = {
        {"5.1.1", 5, {5, 1, 1}},
        {"5.1.1 no such user", 5, {5, 1, 1}},
        {"4.7.650 too many", 7, {4, 7, 650}},
        {"2.0.0 Ok", 5, {2, 0, 0}},
        {"5.999.999", 9, {5, 999, 999}},
        {"5.1.10:", 6, {5, 1, 10}},
        {"", 0, {0}},
        {"5", 0, {0}},
        {"5.1", 0, {0}},
        {"5.1.", 0, {0}},
        {"5..1", 0, {0}},
        {"3.0.0", 0, {0}},
        {"1.2.3", 0, {0}},
        {"5.1000.1", 0, {0}},
        {"5.1.1000", 0, {0}},
        {"5.01.1", 0, {0}},
        {"5.1.00", 0, {0}},
        {"5.1.1.7 is listed", 0, {0}}, /* an address */
        {"5.1.1x", 0, {0}},
        {" 5.1.1", 0, {0}},
        {"5,1,1", 0, {0}},
        {"52.1.1", 0, {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct enhanced e = {9, 9, 9};
        size_t n = enhanced_parse(slice_str(rows[i].text), &e);
        if (n != rows[i].length)
            fail_msg("\"%s\": length %zu", rows[i].text, n);
        struct enhanced want = n ? rows[i].e : (struct enhanced){9, 9, 9};
        assert_true(e.class == want.class && e.subject == want.subject && e.detail == want.detail);
    }
}

static void enhanced_codes_round_trip(void **state)
{
    (void)state;
    char text[ENHANCED_SIZE];
    for (uint16_t i = 0; i < 1000; i++) {
        struct enhanced e = {(uint8_t)(i % 2 ? 4 : 5), i, (uint16_t)(999 - i)}, back = {0};
        enhanced_write(e, text);
        assert_int_equal(enhanced_parse(slice_str(text), &back), strlen(text));
        assert_true(back.class == e.class && back.subject == e.subject && back.detail == e.detail);
    }
    enhanced_write((struct enhanced){255, 65535, 65535}, text); /* never past its space */
    assert_true(strlen(text) < ENHANCED_SIZE);
    enhanced_write((struct enhanced){0}, text);
    assert_string_equal(text, "");
}

/* A row of fault.def whose enhanced code contradicts its fate would send senders the wrong bounce.
 */
static void every_fault_agrees_with_itself(void **state)
{
    (void)state;
    for (int f = FAULT_NONE + 1; f < FAULT_COUNT; f++) {
        struct verdict v = verdict_of_fault((enum fault)f, PHASE_CONNECT, SLICE_NONE);
        assert_int_equal(v.fault, f);
        assert_int_equal(v.phase, PHASE_CONNECT);
        assert_int_equal(v.code, 0);
        assert_true(v.kind == VERDICT_DEFERRED || v.kind == VERDICT_FAILED);
        /* EXPIRED ends the mail although 4.4.7 is its registered code (RFC 3463). */
        if (f != FAULT_EXPIRED)
            assert_int_equal(v.enhanced.class, v.kind == VERDICT_FAILED ? 5 : 4);
        assert_non_null(class_name(v.class));
        assert_non_null(v.text);
        assert_true(strlen(v.text) > 0 && !v.text_truncated);
        assert_non_null(fault_name((enum fault)f));
        for (int g = FAULT_NONE + 1; g < f; g++)
            assert_string_not_equal(fault_name((enum fault)f), fault_name((enum fault)g));
        verdict_done(&v);
    }
    assert_null(fault_name(FAULT_NONE));
}

static void a_fault_is_put_together_from_its_row(void **state)
{
    (void)state;
    struct verdict v = verdict_of_fault(FAULT_NULL_MX, PHASE_NONE, S("example.com\r\n"));
    assert_int_equal(v.kind, VERDICT_FAILED);
    assert_int_equal(v.scope, SCOPE_RECIPIENT);
    assert_int_equal(v.class, CLASS_BAD_DOMAIN);
    assert_true(v.enhanced.class == 5 && v.enhanced.subject == 1 && v.enhanced.detail == 10);
    assert_string_equal(v.text, "the domain says that it accepts no mail (null MX): example.com  ");
    verdict_done(&v);
    assert_null(v.text);

    v = verdict_of_fault(FAULT_CONN_LOST, PHASE_MAIL, SLICE_NONE);
    assert_int_equal(v.kind, VERDICT_DEFERRED);
    assert_int_equal(v.scope, SCOPE_HOST);
    assert_int_equal(v.class, CLASS_NETWORK);
    verdict_done(&v);
}

static void text_is_bounded_and_clean(void **state)
{
    (void)state;
    struct verdict v = {0};
    verdict_set_text(&v, S("no\0such\033user \xff"));
    assert_string_equal(v.text, "no such user ?");
    assert_false(v.text_truncated);

    static uint8_t large[100000];
    memset(large, 'x', sizeof large);
    memcpy(large + VERDICT_TEXT_MAX - 1, "\xc3\xa4", 2); /* a character on the border */
    verdict_set_text(&v, slice_of(large, sizeof large));
    assert_int_equal(strlen(v.text), VERDICT_TEXT_MAX - 1);
    assert_true(v.text_truncated);
    assert_true(utf8_valid(slice_str(v.text)));
    verdict_set_text(&v, slice_of(large, VERDICT_TEXT_MAX - 1));
    assert_false(v.text_truncated);

    verdict_set_text(&v, slice_skip(slice_str(v.text), VERDICT_TEXT_MAX - 4)); /* of itself */
    assert_string_equal(v.text, "xxx");
    verdict_set_text(&v, SLICE_NONE);
    assert_null(v.text);
    verdict_done(&v);

    v = verdict_of_fault(FAULT_LOCAL, PHASE_NONE, slice_of(large, sizeof large));
    assert_true(v.text_truncated);
    assert_true(strlen(v.text) <= VERDICT_TEXT_MAX);
    verdict_done(&v);
}

static void a_copy_owns_its_text(void **state)
{
    (void)state;
    struct verdict v = verdict_of_fault(FAULT_LOOP, PHASE_NONE, S("mx.example"));
    struct verdict copy = verdict_copy(&v);
    assert_string_equal(copy.text, v.text);
    assert_ptr_not_equal(copy.text, v.text);
    assert_int_equal(copy.fault, FAULT_LOOP);
    verdict_done(&v);
    assert_string_equal(copy.text, "the domain's mail would come back to this host: mx.example");
    verdict_done(&copy);
    struct verdict none = {0}, none_copy = verdict_copy(&none);
    assert_null(none_copy.text);
}

/* The delivery log's consumers know these words (events.md). */
static void names_are_those_of_the_delivery_log(void **state)
{
    (void)state;
    assert_null(class_name(CLASS_NONE));
    assert_null(phase_name(PHASE_NONE));
    assert_string_equal(class_name(CLASS_BAD_MAILBOX), "bad_mailbox");
    assert_string_equal(class_name(CLASS_RATE), "rate");
    assert_string_equal(class_name(CLASS_OTHER), "other");
    assert_string_equal(phase_name(PHASE_CONNECT), "connect");
    assert_string_equal(phase_name(PHASE_STARTTLS), "starttls");
    assert_string_equal(phase_name(PHASE_EOD), "eod");
    for (int c = CLASS_NONE + 1; c <= CLASS_OTHER; c++)
        assert_non_null(class_name((enum verdict_class)c));
    for (int p = PHASE_NONE + 1; p <= PHASE_EOD; p++)
        assert_non_null(phase_name((enum phase)p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enhanced_codes_are_read_strictly),
        cmocka_unit_test(enhanced_codes_round_trip),
        cmocka_unit_test(every_fault_agrees_with_itself),
        cmocka_unit_test(a_fault_is_put_together_from_its_row),
        cmocka_unit_test(text_is_bounded_and_clean),
        cmocka_unit_test(a_copy_owns_its_text),
        cmocka_unit_test(names_are_those_of_the_delivery_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

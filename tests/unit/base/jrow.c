/* Rows for the control socket. If this breaks, `explain` and `trace` answer what no JSON reader
 * takes, or a peer's words become structure (promise 36). */
#include "relay/base/jrow.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void an_object_a_line(void **state)
{
    (void)state;
    struct buf out = BUF_MAX(4096);
    jrow_begin(&out);
    jrow_text(&out, "a", SLICE_LIT("x\"\n{"));
    jrow_some(&out, "none", SLICE_NONE);
    jrow_some(&out, "b", SLICE_LIT("["));
    jrow_number(&out, "n", UINT64_MAX);
    jrow_bool(&out, "yes", true);
    jrow_time(&out, "t", (struct wall){0});
    jrow_list(&out, "l");
    jrow_item(&out, SLICE_LIT("1"));
    jrow_item_number(&out, 2);
    jrow_begin(&out);
    jrow_bool(&out, "in", false);
    jrow_close(&out);
    jrow_list_end(&out);
    jrow_list(&out, "empty");
    jrow_list_end(&out);
    jrow_end(&out);
    jrow_begin(&out);
    jrow_end(&out);
    assert_string_equal(
        buf_str(&out),
        "{\"a\":\"x\\\"\\u000a{\",\"b\":\"[\",\"n\":9223372036854775807,\"yes\":true,"
        "\"t\":\"1970-01-01T00:00:00.000000Z\",\"l\":[\"1\",2,{\"in\":false}],\"empty\":[]}\n{}\n");
    buf_done(&out);
}

static void long_words_are_cut_and_bad_ones_replaced(void **state)
{
    (void)state;
    char many[3 * JROW_TEXT_MAX];
    struct buf out = BUF_MAX(16384), tight = BUF_MAX(8);
    memset(many, 'm', sizeof many);
    jrow_begin(&out);
    jrow_text(&out, "k", slice_of(many, sizeof many));
    assert_int_equal(out.n, strlen("{\"k\":\"\"") + JROW_TEXT_MAX);
    buf_reset(&out);
    jrow_begin(&out);
    jrow_text(&out, "k", slice_of("\xff\x1b", 2));
    jrow_end(&out);
    assert_string_equal(buf_str(&out), "{\"k\":\"\xef\xbf\xbd\\u001b\"}\n");
    jrow_begin(&tight);
    jrow_text(&tight, "key", SLICE_LIT("much too long"));
    assert_true(tight.overflow && tight.n <= 8);
    buf_done(&tight);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_a_line),
        cmocka_unit_test(long_words_are_cut_and_bad_ones_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

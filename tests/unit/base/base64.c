/* Base 64 both ways. If this breaks, a message that moves to another host arrives with other
 * bytes. */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* RFC 4648 section 10. */
static void test_vectors(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf text = BUF_MAX(100), back = BUF_MAX(100);
        assert_true(base64_encode(&text, slice_str(rows[i][0])));
        assert_true(slice_eq(buf_slice(&text), slice_str(rows[i][1])));
        assert_true(base64_decode(&back, buf_slice(&text)));
        assert_true(slice_eq(buf_slice(&back), slice_str(rows[i][0])));
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t n = 0; n < 400; n++) {
        uint8_t bytes[400];
        DEFER(buf_done) struct buf text = BUF_MAX(1000), back = BUF_MAX(400);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)rng_next(&rng);
        assert_true(base64_encode(&text, slice_of(bytes, n)));
        assert_true(base64_decode(&back, buf_slice(&text)));
        assert_true(slice_eq(buf_slice(&back), slice_of(bytes, n)));
    }
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",      "Zg",    "Zg=",  "====",  "Z===", "Zg==Zg==", "Zh==",      "Zm9=",
        "Zm9v\n", "Zm 9v", "Zm9-", "Zm9v=", "=Zm9", "Z=9v",     "Zm9vZm9v=", "Zm9vZ\377=="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DEFER(buf_done) struct buf b = BUF_MAX(100);
        buf_add_str(&b, "kept");
        if (base64_decode(&b, slice_str(bad[i])))
            fail_msg("%s was taken", bad[i]);
        assert_true(slice_eq(buf_slice(&b), SLICE_LIT("kept")));
    }
}

static void test_full(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf b = BUF_MAX(5);
    assert_false(base64_encode(&b, SLICE_LIT("four")));
    assert_false(base64_decode(&b, SLICE_LIT("Zm9vYmFy")));
    assert_int_equal(b.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

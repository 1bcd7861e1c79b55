/* Buffers: nothing passes the maximum, nothing is half added, what went in comes out. */
#include "relay/base/buf.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Law: whatever is added, in whatever pieces, the bytes are those of the pieces that were accepted.
 */
static void any_pieces_give_the_same_bytes(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int run = 0; run < 300; run++) {
        size_t max = rng_below(&rng, 600), n = 0;
        struct buf b = BUF_MAX(max);
        uint8_t want[600], piece[200];
        bool overflow = false;
        for (int i = 0; i < 20; i++) {
            size_t len = rng_below(&rng, sizeof piece);
            rand_bytes(piece, len);
            bool fits = len <= max - n;
            assert_int_equal(buf_add(&b, slice_of(piece, len)), fits);
            overflow |= !fits;
            if (fits) {
                memcpy(want + n, piece, len);
                n += len;
            }
            assert_true(b.n <= b.cap && b.cap <= b.max);
        }
        assert_int_equal(b.overflow, overflow);
        assert_true(slice_eq(buf_slice(&b), slice_of(want, n)));
        buf_done(&b);
    }
}

static void the_maximum_is_usable_and_final(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    assert_true(buf_add_str(&b, "1234"));
    assert_false(buf_add_str(&b, "56"));
    assert_true(b.overflow);
    assert_int_equal(b.n, 4);
    assert_true(buf_add_u8(&b, '5'));
    assert_true(b.overflow); /* stays, although this one fitted */
    assert_false(buf_add_u8(&b, '6'));
    assert_null(buf_reserve(&b, 1));
    buf_reset(&b);
    assert_false(b.overflow);
    assert_true(
        buf_addf(&b, "%d", 12345)); /* exactly the maximum: no room for a NUL, none needed */
    assert_true(slice_eq(buf_slice(&b), SLICE_LIT("12345")));
    assert_false(b.overflow);
    buf_done(&b);
    assert_true(buf_add_str(&b, "again"));
    buf_done(&b);
    struct buf none = {0};
    assert_false(buf_add_u8(&none, 'x'));
    assert_true(buf_add(&none, SLICE_NONE));
    buf_done(&none);
}

static void formats_short_and_long(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(1000);
    char filler[1001];
    memset(filler, 'x', 1000);
    filler[1000] = 0;
    for (int len = 250; len < 262; len++) { /* around the size of the small space inside */
        buf_reset(&b);
        assert_true(buf_addf(&b, "%.*s%d", len, filler, 7));
        assert_int_equal(b.n, len + 1);
        assert_int_equal(b.p[len], '7');
    }
    buf_reset(&b);
    assert_true(buf_addf(&b, "%s", filler));
    assert_int_equal(b.n, 1000);
    buf_reset(&b);
    assert_false(buf_addf(&b, "%s!", filler));
    assert_int_equal(b.n, 0);
    assert_true(b.overflow);
    buf_done(&b);
}

static void reserve_commit_drop_cut(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(100);
    uint8_t *p = buf_reserve(&b, 100);
    assert_non_null(p);
    memcpy(p, "abcdef", 6);
    buf_commit(&b, 6);
    buf_drop(&b, 2);
    assert_true(slice_eq(buf_slice(&b), SLICE_LIT("cdef")));
    buf_cut(&b, 3);
    assert_true(slice_eq(buf_slice(&b), SLICE_LIT("cde")));
    buf_drop(&b, 3);
    assert_int_equal(b.n, 0);
    buf_drop(&b, 0);
    buf_done(&b);
    struct buf empty = BUF_MAX(10);
    assert_non_null(buf_reserve(&empty, 0));
    buf_drop(&empty, 0);
    buf_done(&empty);
}

static void as_a_string(void **state)
{
    (void)state;
    struct buf b = BUF_MAX(4);
    assert_string_equal(buf_str(&b), "");
    buf_add_str(&b, "abc");
    assert_string_equal(buf_str(&b), "abc");
    assert_int_equal(b.n, 3);
    buf_add_str(&b, "d");
    assert_string_equal(buf_str(&b), ""); /* the NUL would be the fifth byte */
    assert_false(b.overflow);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pieces_give_the_same_bytes),
        cmocka_unit_test(the_maximum_is_usable_and_final),
        cmocka_unit_test(formats_short_and_long),
        cmocka_unit_test(reserve_commit_drop_cut),
        cmocka_unit_test(as_a_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Arena: a peer cannot pass the cap, memory is zero and aligned, an idle session holds little. */
#include "relay/base/arena.h"
#include "relay/base/rand.h"
#include <malloc.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void hands_out_zeroed_aligned_memory_of_its_own(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    struct rng rng;
    rng_seed(&rng, 2);
    for (int round = 0; round < 5; round++) {
        uint8_t *all[200];
        size_t sizes[200];
        for (size_t i = 0; i < 200; i++) {
            sizes[i] = rng_below(&rng, i % 20 ? 100 : 5000);
            all[i] = arena_alloc(&a, sizes[i]);
            assert_non_null(all[i]);
            assert_true(is_zero(all[i], sizes[i]));
            assert_int_equal((uintptr_t)all[i] % alignof(max_align_t), 0);
            memset(all[i], (int)(i + 1), sizes[i]);
        }
        for (size_t i = 0; i < 200; i++)
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(all[i][k], (uint8_t)(i + 1));
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
    arena_done(&a);
}

static void the_cap_holds(void **state)
{
    (void)state;
    struct arena a = {.cap = 4096};
    assert_null(arena_alloc(&a, 4097));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 15));
    size_t got = 0;
    while (arena_alloc(&a, 100))
        got++;
    assert_in_range(got, 4096 / 112, 4096 / 100);
    assert_true(a.used <= a.cap);
    assert_null(arena_dup(&a, slice_of("x", SIZE_MAX)).p);
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 4096));
    assert_null(arena_alloc(&a, 0));
    arena_done(&a);
    struct arena none = {0};
    assert_null(arena_alloc(&none, 1));
    assert_null(arena_dup(&none, SLICE_NONE).p);
    arena_done(&none);
}

static void copies_end_with_nul(void **state)
{
    (void)state;
    struct arena a = {.cap = 4096};
    struct slice copy = arena_dup(&a, SLICE_LIT("a\0b"));
    assert_true(slice_eq(copy, SLICE_LIT("a\0b")));
    assert_int_equal(copy.p[3], 0);
    copy = arena_dup(&a, SLICE_NONE);
    assert_non_null(copy.p);
    assert_int_equal(copy.n, 0);
    assert_int_equal(copy.p[0], 0);
    arena_done(&a);
}

/* After a large transaction an idle session must not go on holding it. */
static void reset_keeps_one_small_block(void **state)
{
    (void)state;
    struct arena a = {.cap = 1 << 20};
    void *first = arena_alloc(&a, 16);
    for (int i = 0; i < 500; i++)
        assert_non_null(arena_alloc(&a, 1000));
    arena_reset(&a);
    assert_non_null(a.head);
    assert_true(malloc_usable_size(a.head) <= 2048);
    assert_ptr_equal(arena_alloc(&a, 16), first);
    arena_done(&a);
    assert_non_null(arena_alloc(&a, 100000));
    arena_reset(&a);
    assert_null(a.head);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_zeroed_aligned_memory_of_its_own),
        cmocka_unit_test(the_cap_holds),
        cmocka_unit_test(copies_end_with_nul),
        cmocka_unit_test(reset_keeps_one_small_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The heap under every due time: one that comes up late is mail that is forgotten. */
#include "queue/heap.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void heap_gives_the_smallest(void **state)
{
    (void)state;
    enum { N = 300 };
    struct {
        uint32_t index;
        int64_t key;
    } things[N] = {0};
    struct heap h = {0};
    struct rng r;
    rng_seed(&r, 3);
    for (int round = 0; round < 20000; round++) {
        size_t i = rng_below(&r, N);
        if (rng_below(&r, 3) == 0) {
            heap_drop(&h, &things[i].index);
        } else {
            things[i].key = (int64_t)rng_below(&r, 1000);
            heap_set(&h, &things[i].index, things[i].key);
        }
        int64_t least = INT64_MAX;
        size_t n = 0;
        for (size_t k = 0; k < N; k++) {
            if (!things[k].index)
                continue;
            least = things[k].key < least ? things[k].key : least;
            n++;
        }
        assert_int_equal(h.n, n);
        assert_int_equal(heap_top(&h) ? heap_top(&h)->key : INT64_MAX, least);
    }
    heap_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(heap_gives_the_smallest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages by id, against a plain sorted array: one that is not found is mail that is never sent.
 */
#include "queue/index.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 4000 };

struct model {
    struct index x;
    struct message *all[N]; /* id = 10 * (i + 1) */
    bool in[N];
};

static void model_init(struct model *m)
{
    struct envelope_rcpt rcpt = {.address = SLICE_LIT("a@b")};
    struct envelope e = {.rcpts = &rcpt, .n_rcpts = 1};
    *m = (struct model){0};
    for (size_t i = 0; i < N; i++)
        m->all[i] = message_new(10 * (i + 1), &e, (struct wall){0}, NULL, NULL);
}

static void check(const struct model *m)
{
    uint64_t n = 0;
    const struct message *next = index_after(&m->x, 0);
    assert_int_equal(index_rank(&m->x, 0), 0);
    for (size_t i = 0; i < N; i++) {
        uint64_t id = 10 * (i + 1);
        assert_int_equal(index_rank(&m->x, id), n);
        assert_ptr_equal(index_find(&m->x, id), m->in[i] ? m->all[i] : NULL);
        if (m->in[i]) {
            assert_ptr_equal(next, m->all[i]);
            next = index_after(&m->x, id);
            n++;
        }
        assert_int_equal(index_rank(&m->x, id + 1), n);
    }
    assert_null(next);
    assert_int_equal(m->x.n, n);
    assert_int_equal(index_rank(&m->x, UINT64_MAX), n);
}

static void test_like_a_sorted_array(void **state)
{
    (void)state;
    static struct model m;
    struct rng r;
    rng_seed(&r, 11);
    model_init(&m);
    for (size_t i = 0; i < N; i += 2) { /* ids mostly grow */
        index_add(&m.x, m.all[i]);
        m.in[i] = true;
    }
    check(&m);
    for (int round = 0; round < 40000; round++) {
        size_t i = rng_below(&r, N);
        bool shrink = round / 8000 % 2 == 1;
        if (m.in[i] && (shrink || rng_below(&r, 3) == 0)) {
            index_remove(&m.x, m.all[i]->id);
            m.in[i] = false;
        } else if (!m.in[i] && !shrink) {
            index_add(&m.x, m.all[i]);
            m.in[i] = true;
        }
        if (round % 2000 == 0)
            check(&m);
    }
    check(&m);
    index_done(&m.x);
    assert_true(index_rank(&m.x, 5) == 0 && index_memory(&m.x) == 0);
    for (size_t i = 0; i < N; i++)
        free(m.all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_like_a_sorted_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

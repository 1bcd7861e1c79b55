/* The small ones: chance, reference counts, counters, errors, MUST. */
#include "relay/base/err.h"
#include "relay/base/frozen.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void below_is_in_range_and_fair(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 6);
    unsigned seen[7] = {0};
    for (int i = 0; i < 70000; i++)
        seen[rng_below(&rng, 7)]++; /* out of range is out of bounds */
    for (size_t i = 0; i < 7; i++)
        assert_in_range(seen[i], 9500, 10500);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(&rng, 1), 0);
        assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
        assert_true(rng_below(&rng, (1ULL << 63) + 1) <= 1ULL << 63);
    }
}

static void a_seed_repeats_a_run(void **state)
{
    (void)state;
    struct rng a, b, c;
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    rng_seed(&c, 8);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t x = rng_next(&a);
        assert_true(x == rng_next(&b));
        differs |= x != rng_next(&c);
    }
    assert_true(differs);
    rng_seed(&a, 0); /* the state must not be all zero, or only zeros come */
    assert_true(rng_next(&a) | rng_next(&a));
    rng_seed_random(&a);
    rng_seed_random(&b);
    assert_true(rng_next(&a) != rng_next(&b));
    uint8_t p[300] = {0}, q[300] = {0};
    rand_bytes(p, sizeof p);
    rand_bytes(q, sizeof q);
    assert_memory_not_equal(p, q, sizeof p);
    rand_bytes(p, 0);
}

struct snapshot {
    struct frozen frozen;
    int freed;
};

static void snapshot_free(struct frozen *f)
{
    ((struct snapshot *)f)->freed++;
}

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 20000; i++)
        frozen_unref(frozen_ref(arg));
    frozen_unref(arg);
    return NULL;
}

static void the_last_one_frees_once(void **state)
{
    (void)state;
    struct snapshot s = {.freed = 0};
    frozen_init(&s.frozen, snapshot_free);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, frozen_ref(&s.frozen)),
                         0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(s.freed, 0);
    frozen_unref(&s.frozen);
    assert_int_equal(s.freed, 1);
    assert_null(frozen_ref(NULL));
    frozen_unref(NULL);
}

static void *count(void *arg)
{
    for (int i = 0; i < 20000; i++)
        metric_add(M_DELIVERED, 1);
    return arg;
}

static void counters_lose_nothing(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_get(M_DELIVERED), 80000);
    metric_add(M_QUEUED, 3);
    metric_add(M_QUEUED, -2);
    assert_int_equal(metric_get(M_QUEUED), 1);
}

/* Prometheus refuses a page with a name of another form, with a name twice, or a kind it does not
 * know. */
static void metric_rows_are_fit_for_prometheus(void **state)
{
    (void)state;
    for (int m = 0; m < M_COUNT; m++) {
        const char *name = metric_name((enum metric)m), *kind = metric_kind((enum metric)m);
        assert_true(strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name) && *name);
        size_t n = strlen(name);
        bool total = n > 6 && strcmp(name + n - 6, "_total") == 0;
        assert_string_equal(kind, total ? "counter" : "gauge");
        assert_null(strpbrk(metric_help((enum metric)m), "\\\n"));
        for (int other = 0; other < m; other++)
            assert_string_not_equal(name, metric_name((enum metric)other));
    }
}

static void errors_are_one_line_with_a_reason(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(&e, -EINVAL, "no such key %s", "a\nb\033"), -EINVAL);
    assert_int_equal(e.code, -EINVAL);
    assert_string_equal(e.text, "no such key a b ");
    assert_int_equal(err_set(NULL, -EIO, "nobody listens"), -EIO);

    errno = ENOSPC;
    assert_int_equal(err_errno(&e, "write %s", "/spool/x"), -ENOSPC);
    assert_string_equal(e.text, "write /spool/x: No space left on device");
    errno = EIO;
    assert_int_equal(err_errno(NULL, "nobody listens"), -EIO);

    char path[1000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = 0;
    errno = ENOENT;
    err_errno(&e, "open %s", path);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_string_equal(e.text + strlen(e.text) - 27, ": No such file or directory");
}

/* MUST is no assert: it stays on in release. */
static void must_aborts_and_says_where(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fds[1], 2);
        MUST(1 + 1 == 2);
        MUST(1 + 1 == 3);
        _exit(0);
    }
    close(fds[1]);
    char text[256] = {0};
    assert_true(read(fds[0], text, sizeof text - 1) > 0);
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "1 + 1 == 3"));
    assert_non_null(strstr(text, "small.c:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(below_is_in_range_and_fair),
        cmocka_unit_test(a_seed_repeats_a_run),
        cmocka_unit_test(the_last_one_frees_once),
        cmocka_unit_test(counters_lose_nothing),
        cmocka_unit_test(metric_rows_are_fit_for_prometheus),
        cmocka_unit_test(errors_are_one_line_with_a_reason),
        cmocka_unit_test(must_aborts_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

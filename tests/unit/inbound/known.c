/* Credentials that are known: exactly those, as long as said, and for all loops. */
#include "relay/inbound/known.h"
#include "relay/base/must.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct pair {
    const char *name, *hash;
};

static struct mono at(int64_t ms)
{
    return (struct mono){ms};
}

static void only_the_very_same(void **state)
{
    (void)state;
    struct known *k = known_new();
    uint8_t mac[KNOWN_MAC_SIZE], other[KNOWN_MAC_SIZE];
    const struct pair u = {.name = "ann", .hash = "$y$one"},
                      changed = {.name = "ann", .hash = "$y$two"};
    const struct pair shifted = {.name = "an", .hash = "n$y$one"};
    known_mac(k, u.name, u.hash, "secret", mac);
    assert_false(known_has(k, mac, at(0)));
    known_add(k, mac, at(0));
    known_add(k, mac, at(0));
    known_mac(k, u.name, u.hash, "secret", other);
    assert_true(known_has(k, other, at(599999)));
    known_mac(k, u.name, u.hash, "secret ", other);
    assert_false(known_has(k, other, at(0)));
    known_mac(k, changed.name, changed.hash, "secret", other); /* the password was set anew */
    assert_false(known_has(k, other, at(0)));
    known_mac(k, shifted.name, shifted.hash, "secret", other);
    assert_false(known_has(k, other, at(0)));
    assert_false(known_has(k, mac, at(600000))); /* 10 minutes */
    struct known *elsewhere = known_new();
    known_mac(elsewhere, u.name, u.hash, "secret", other);
    assert_memory_not_equal(mac, other, KNOWN_MAC_SIZE); /* a key of its own */
    known_free(elsewhere);
    known_free(k);
}

static void the_oldest_goes_first(void **state)
{
    (void)state;
    struct known *k = known_new();
    const struct pair u = {.name = "u", .hash = "h"};
    uint8_t mac[KNOWN_MAC_SIZE];
    char password[32];
    for (unsigned i = 0; i <= 10000; i++) {
        snprintf(password, sizeof password, "%u", i);
        known_mac(k, u.name, u.hash, password, mac);
        known_add(k, mac, at(i));
    }
    known_mac(k, u.name, u.hash, "0", mac);
    assert_false(known_has(k, mac, at(10000)));
    known_mac(k, u.name, u.hash, "1", mac);
    assert_true(known_has(k, mac, at(10000)));
    known_free(k);
}

static void *busy(void *ctx)
{
    struct known *k = ctx;
    const struct pair u = {.name = "u", .hash = "h"};
    uint8_t mac[KNOWN_MAC_SIZE];
    char password[32];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(password, sizeof password, "%u", i % 50);
        known_mac(k, u.name, u.hash, password, mac);
        if (!known_has(k, mac, at(i)))
            known_add(k, mac, at(i));
        MUST(known_has(k, mac, at(i)));
    }
    return NULL;
}

/* What one loop has learnt, all know: one hashing a credential, not one a loop. */
static void shared_by_loops(void **state)
{
    (void)state;
    struct known *k = known_new();
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, busy, k), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    known_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_very_same),
        cmocka_unit_test(the_oldest_goes_first),
        cmocka_unit_test(shared_by_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

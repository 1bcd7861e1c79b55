#include "relay/inbound/known.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <uthash.h>
#include <uv.h>

#define KNOWN_MAX 10000
#define KNOWN_MS INT64_C(600000)

struct one {
    uint8_t mac[KNOWN_MAC_SIZE];
    struct mono until;
    UT_hash_handle hh;
};

struct known {
    uv_mutex_t lock;
    uint8_t key[KNOWN_MAC_SIZE]; /* never changes: read without the lock */
    struct one *all;
};

struct known *known_new(void)
{
    struct known *k = must_alloc(sizeof *k);
    MUST(uv_mutex_init(&k->lock) == 0);
    rand_bytes(k->key, sizeof k->key);
    return k;
}

static void forget(struct known *k, struct one *o)
{
    HASH_DEL(k->all, o);
    free(o);
}

void known_free(struct known *k)
{
    struct one *o, *next;
    HASH_ITER (hh, k->all, o, next)
        forget(k, o);
    uv_mutex_destroy(&k->lock);
    OPENSSL_cleanse(k->key, sizeof k->key);
    free(k);
}

void known_mac(const struct known *k, const char *name, const char *hash, const char *password,
               uint8_t ret[KNOWN_MAC_SIZE])
{
    DEFER(buf_done) struct buf b = BUF_MAX(32768); /* name and password: a line of AUTH each */
    /* All room at once: a password that moves leaves itself behind. */
    MUST(buf_reserve(&b, strlen(name) + strlen(hash) + strlen(password) + 2));
    buf_add(&b, slice_of(name, strlen(name) + 1));
    buf_add(&b, slice_of(hash, strlen(hash) + 1));
    buf_add_str(&b, password);
    unsigned n = KNOWN_MAC_SIZE;
    MUST(HMAC(EVP_sha256(), k->key, KNOWN_MAC_SIZE, b.p, b.n, ret, &n));
    OPENSSL_cleanse(b.p, b.n);
}

/* With the lock. */
static struct one *find(struct known *k, const uint8_t mac[KNOWN_MAC_SIZE], struct mono now)
{
    struct one *o = NULL;
    HASH_FIND(hh, k->all, mac, KNOWN_MAC_SIZE, o);
    if (!o || !mono_reached(o->until, now))
        return o;
    forget(k, o);
    return NULL;
}

bool known_has(struct known *k, const uint8_t mac[KNOWN_MAC_SIZE], struct mono now)
{
    uv_mutex_lock(&k->lock);
    bool has = find(k, mac, now);
    uv_mutex_unlock(&k->lock);
    return has;
}

void known_add(struct known *k, const uint8_t mac[KNOWN_MAC_SIZE], struct mono now)
{
    uv_mutex_lock(&k->lock);
    if (!find(k, mac, now)) {
        if (HASH_COUNT(k->all) >= KNOWN_MAX) /* uthash keeps the order of adding */
            forget(k, k->all);
        struct one *o = must_alloc(sizeof *o);
        memcpy(o->mac, mac, KNOWN_MAC_SIZE);
        o->until = mono_add(now, KNOWN_MS);
        HASH_ADD(hh, k->all, mac, KNOWN_MAC_SIZE, o);
    }
    uv_mutex_unlock(&k->lock);
}

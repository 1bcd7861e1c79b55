/*
 * The keys of session tickets: one set for all loops and contexts, so that a client may come back
 * to whichever loop the kernel gives it to. A ticket is AES-256-CBC, then HMAC-SHA-256, under the
 * newest key; the one before it still opens tickets, for one period, and the client gets a new one
 * then. What is older is wiped: who reads our memory tomorrow opens nothing of yesterday.
 */
#include "relay/tls/tickets.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

enum { NAME_BYTES = 16, KEY_BYTES = 32, IV_BYTES = 16 };

struct ticket_key {
    uint8_t name[NAME_BYTES], hmac[KEY_BYTES], aes[KEY_BYTES];
};

struct tls_tickets {
    struct frozen frozen;
    pthread_rwlock_t lock; /* handshakes copy a key out under it */
    struct ticket_key now, before;
    bool has_before;
};

static void tickets_free(struct frozen *f)
{
    struct tls_tickets *t = (struct tls_tickets *)(void *)f;
    pthread_rwlock_destroy(&t->lock);
    OPENSSL_cleanse(t, sizeof *t);
    free(t);
}

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = must_alloc(sizeof *t);
    frozen_init(&t->frozen, tickets_free);
    MUST(pthread_rwlock_init(&t->lock, NULL) == 0);
    rand_bytes(&t->now, sizeof t->now);
    return t;
}

void tls_tickets_unref(struct tls_tickets *t)
{
    frozen_unref(t ? &t->frozen : NULL);
}

void tls_tickets_rotate(struct tls_tickets *t)
{
    struct ticket_key fresh;
    rand_bytes(&fresh, sizeof fresh);
    pthread_rwlock_wrlock(&t->lock);
    t->before = t->now;
    t->now = fresh;
    t->has_before = true;
    pthread_rwlock_unlock(&t->lock);
    OPENSSL_cleanse(&fresh, sizeof fresh);
}

/* What OpenSSL wants to hear. */
enum { UNKNOWN = 0, KNOWN = 1, KNOWN_RENEW = 2, FAILED = -1 };

static int find(struct tls_tickets *t, const uint8_t *name, struct ticket_key *ret)
{
    int found = UNKNOWN;
    pthread_rwlock_rdlock(&t->lock);
    if (memcmp(t->now.name, name, NAME_BYTES) == 0) {
        *ret = t->now;
        found = KNOWN;
    } else if (t->has_before && memcmp(t->before.name, name, NAME_BYTES) == 0) {
        *ret = t->before;
        found = KNOWN_RENEW;
    }
    pthread_rwlock_unlock(&t->lock);
    return found;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *k)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->hmac, sizeof k->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(struct tls_tickets *t, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher,
                EVP_MAC_CTX *mac)
{
    pthread_rwlock_rdlock(&t->lock);
    struct ticket_key k = t->now;
    pthread_rwlock_unlock(&t->lock);
    memcpy(name, k.name, NAME_BYTES);
    rand_bytes(iv, IV_BYTES);
    bool ok = EVP_EncryptInit_ex2(cipher, EVP_aes_256_cbc(), k.aes, iv, NULL) && set_mac(mac, &k);
    OPENSSL_cleanse(&k, sizeof k);
    return ok ? KNOWN : FAILED;
}

static int unseal(struct tls_tickets *t, const uint8_t *name, const uint8_t *iv,
                  EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    struct ticket_key k;
    int found = find(t, name, &k);
    if (found == UNKNOWN)
        return UNKNOWN;
    bool ok = EVP_DecryptInit_ex2(cipher, EVP_aes_256_cbc(), k.aes, iv, NULL) && set_mac(mac, &k);
    OPENSSL_cleanse(&k, sizeof k);
    return ok ? found : FAILED;
}

static int on_ticket(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int sealing)
{
    struct tls_tickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    return sealing ? seal(t, name, iv, cipher, mac) : unseal(t, name, iv, cipher, mac);
}

void tickets_use(SSL_CTX *ssl_ctx, struct tls_tickets *t)
{
    frozen_ref(&t->frozen);
    MUST(SSL_CTX_set_app_data(ssl_ctx, t) &&
         SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl_ctx, on_ticket));
}

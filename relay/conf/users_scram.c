/*
 * SCRAM-SHA-256's secret of a password (RFC 5802 section 3): what a server keeps instead of it. Its
 * salt is taken from the crypt hash beside it (which is itself random), so that a hash changed by
 * hand makes the old secret void: nobody logs in with yesterday's password by the other way.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/conf/users_private.h"
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#define MECHANISM "SCRAM-SHA-256$"
/* RFC 7677 section 4 asks for 4096 at least; a login costs the client as much as a password costs
 * us. */
#define ITERATIONS 15000
#define ITERATIONS_LEAST 4096
#define ITERATIONS_MOST 1000000
#define SALT_SIZE 16
#define KEY_SIZE GSASL_HASH_SHA256_SIZE

static void salt_of(const char *hash, uint8_t ret[SALT_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    while (*hash == '!') /* locked, and still the same */
        hash++;
    MUST(EVP_Digest(hash, strlen(hash), digest, NULL, EVP_sha256(), NULL));
    memcpy(ret, digest, SALT_SIZE);
}

static bool decodes_to(struct slice text, size_t least, size_t most)
{
    DEFER(buf_done) struct buf bytes = BUF_MAX(64);
    return base64_decode(&bytes, text) && bytes.n >= least && bytes.n <= most;
}

static const char *keep(struct arena *a, struct slice s)
{
    struct slice kept = arena_dup(a, s);
    MUST(kept.p);
    return (const char *)kept.p;
}

bool scram_parse(struct slice text, struct arena *a, struct user_scram *ret)
{
    uint64_t n;
    if (!slice_starts(text, SLICE_LIT(MECHANISM)))
        return false;
    struct slice server = slice_skip(text, sizeof MECHANISM - 1);
    struct slice iterations = slice_cut(&server, ':'), salt = slice_cut(&server, '$');
    struct slice stored = slice_cut(&server, ':');
    if (!slice_u64(iterations, ITERATIONS_MOST, &n) || n < ITERATIONS_LEAST ||
        !decodes_to(salt, SALT_SIZE, SALT_SIZE) || !decodes_to(stored, KEY_SIZE, KEY_SIZE) ||
        !decodes_to(server, KEY_SIZE, KEY_SIZE))
        return false;
    *ret =
        (struct user_scram){keep(a, iterations), keep(a, salt), keep(a, stored), keep(a, server)};
    return true;
}

bool scram_is_of(const struct user_scram *s, const char *hash)
{
    DEFER(buf_done) struct buf salt = BUF_MAX(64);
    uint8_t wanted[SALT_SIZE];
    salt_of(hash, wanted);
    return base64_decode(&salt, slice_str(s->salt)) &&
           slice_eq(buf_slice(&salt), slice_of(wanted, SALT_SIZE));
}

static const char *text_of(struct buf *out, const void *bytes, size_t n)
{
    buf_reset(out);
    MUST(base64_encode(out, slice_of(bytes, n)));
    return buf_str(out);
}

void scram_make(struct slice password, const char *hash, char *ret, size_t size)
{
    DEFER(buf_done) struct buf s = BUF_MAX(64), t = BUF_MAX(64), k = BUF_MAX(64);
    char salted[KEY_SIZE], client[KEY_SIZE], server[KEY_SIZE], stored[KEY_SIZE];
    uint8_t salt[SALT_SIZE];
    DEFER_FREE char *text = slice_dup(password);
    salt_of(hash, salt);
    int rc =
        gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, text, ITERATIONS, (const char *)salt,
                                          SALT_SIZE, salted, client, server, stored);
    explicit_bzero(text, password.n);
    explicit_bzero(salted, sizeof salted);
    explicit_bzero(client, sizeof client);
    ret[0] = 0;
    if (rc != GSASL_OK) /* SASLprep does not take it */
        return;
    int n = snprintf(ret, size, MECHANISM "%d:%s$%s:%s", ITERATIONS, text_of(&s, salt, SALT_SIZE),
                     text_of(&t, stored, KEY_SIZE), text_of(&k, server, KEY_SIZE));
    MUST(n > 0 && (size_t)n < size);
}

static void derive(const uint8_t key[32], const char *what, struct slice name, size_t size,
                   char *ret, size_t ret_size)
{
    DEFER(buf_done) struct buf in = BUF_MAX(16384), out = BUF_MAX(64);
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    buf_addf(&in, "%s ", what);
    buf_add(&in, slice_head(name, 8192));
    MUST(HMAC(EVP_sha256(), key, 32, in.p, in.n, mac, &n) && n >= size);
    n = (unsigned)snprintf(ret, ret_size, "%s", text_of(&out, mac, size));
    MUST(n < ret_size);
}

static bool has_secret(const struct user *u)
{
    return u && user_has_password(u) && u->scram.iterations;
}

void users_scram(const struct users *us, const struct user *u, struct slice name,
                 struct user_scram_text *ret)
{
    derive(us->key, "salt", name, SALT_SIZE, ret->salt, sizeof ret->salt);
    derive(us->key, "stored key", name, KEY_SIZE, ret->stored_key, sizeof ret->stored_key);
    derive(us->key, "server key", name, KEY_SIZE, ret->server_key, sizeof ret->server_key);
    snprintf(ret->iterations, sizeof ret->iterations, "%d", ITERATIONS);
    if (!has_secret(u))
        return;
    snprintf(ret->iterations, sizeof ret->iterations, "%s", u->scram.iterations);
    snprintf(ret->salt, sizeof ret->salt, "%s", u->scram.salt);
    snprintf(ret->stored_key, sizeof ret->stored_key, "%s", u->scram.stored_key);
    snprintf(ret->server_key, sizeof ret->server_key, "%s", u->scram.server_key);
}

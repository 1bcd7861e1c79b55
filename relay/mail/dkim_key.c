#include "relay/mail/dkim_key.h"
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

enum { ED25519_SIZE = 32, SIGNATURE_MAX = DKIM_RSA_BITS_MAX / 8 };

struct dkim_key {
    EVP_PKEY *pkey;
    enum dkim_kind kind;
    size_t signature_size;
};

static void context_freep(EVP_PKEY_CTX **p)
{
    EVP_PKEY_CTX_free(*p);
}

static void md_freep(EVP_MD_CTX **p)
{
    EVP_MD_CTX_free(*p);
}

static void pkey_freep(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}

/* A key with a pass phrase would make OpenSSL ask at the terminal. */
static int no_pass_phrase(char *space, int size, int writing, void *ctx)
{
    (void)space, (void)size, (void)writing, (void)ctx;
    return -1;
}

static EVP_PKEY *pkey_of(struct slice pem)
{
    MUST(pem.n <= INT_MAX);
    BIO *bio = BIO_new_mem_buf(pem.n ? (const void *)pem.p : "", (int)pem.n);
    MUST(bio);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

/* ---- signing ---- */

static void sign_rsa(EVP_PKEY *pkey, const uint8_t *hash, uint8_t *out, size_t *n)
{
    DEFER(context_freep) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(pkey, NULL);
    MUST(c && EVP_PKEY_sign_init(c) == 1);
    MUST(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1);
    MUST(EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1);
    MUST(EVP_PKEY_sign(c, out, n, hash, DKIM_HASH_SIZE) == 1);
}

/* RFC 8463 section 3: the message of PureEdDSA is the hash. */
static void sign_ed25519(EVP_PKEY *pkey, const uint8_t *hash, uint8_t *out, size_t *n)
{
    DEFER(md_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
    MUST(c && EVP_DigestSignInit(c, NULL, NULL, NULL, pkey) == 1);
    MUST(EVP_DigestSign(c, out, n, hash, DKIM_HASH_SIZE) == 1);
}

/* What fails here is memory, as with any small allocation: the key has signed when it was read. */
void dkim_key_sign(const struct dkim_key *k, const uint8_t hash[DKIM_HASH_SIZE], struct buf *out)
{
    uint8_t signature[SIGNATURE_MAX];
    size_t n = sizeof signature;
    if (k->kind == DKIM_RSA)
        sign_rsa(k->pkey, hash, signature, &n);
    else
        sign_ed25519(k->pkey, hash, signature, &n);
    MUST(n == k->signature_size && buf_add(out, slice_of(signature, n)));
}

/* Does the private half go with the public one? Nobody could verify what it signs. */
static bool is_whole(const struct dkim_key *k)
{
    const uint8_t hash[DKIM_HASH_SIZE] = {1, 2, 3};
    uint8_t signature[SIGNATURE_MAX];
    size_t n = sizeof signature;
    bool ok = false;
    if (k->kind == DKIM_RSA) {
        DEFER(context_freep) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k->pkey, NULL);
        MUST(c);
        ok = EVP_PKEY_sign_init(c) == 1 &&
             EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1 &&
             EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1 &&
             EVP_PKEY_sign(c, signature, &n, hash, sizeof hash) == 1 &&
             EVP_PKEY_verify_init(c) == 1 &&
             EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1 &&
             EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1 &&
             EVP_PKEY_verify(c, signature, n, hash, sizeof hash) == 1;
    } else {
        DEFER(md_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
        ok = c && EVP_DigestSignInit(c, NULL, NULL, NULL, k->pkey) == 1 &&
             EVP_DigestSign(c, signature, &n, hash, sizeof hash) == 1;
    }
    ERR_clear_error();
    return ok;
}

/* ---- reading ---- */

static const char *wrong(struct dkim_key *k)
{
    const int bits = EVP_PKEY_get_bits(k->pkey);
    if (EVP_PKEY_is_a(k->pkey, "ED25519"))
        k->kind = DKIM_ED25519;
    else if (!EVP_PKEY_is_a(k->pkey, "RSA"))
        return "its key is neither RSA nor Ed25519";
    else if (bits < DKIM_RSA_BITS_MIN)
        return "its RSA key has less than 1024 bits: no receiver believes it (RFC 8301)";
    else if (bits > DKIM_RSA_BITS_MAX)
        return "its RSA key has more than 4096 bits: receivers need not look at it (RFC 8301)";
    k->signature_size = (size_t)EVP_PKEY_get_size(k->pkey);
    return is_whole(k) ? NULL : "its key does not sign: its halves do not belong together";
}

int dkim_key_read(struct dkim_key **ret, struct slice pem, struct err *e)
{
    EVP_PKEY *pkey = pkey_of(pem);
    if (!pkey)
        return err_set(e, -EINVAL, "no private key in it, as PEM and without a pass phrase");
    struct dkim_key *k = must_alloc(sizeof *k);
    k->pkey = pkey;
    const char *why = wrong(k);
    if (why) {
        dkim_key_free(k);
        return err_set(e, -EINVAL, "%s", why);
    }
    *ret = k;
    return 0;
}

void dkim_key_free(struct dkim_key *k)
{
    if (k)
        EVP_PKEY_free(k->pkey);
    free(k);
}

enum dkim_kind dkim_key_kind(const struct dkim_key *k)
{
    return k->kind;
}

const char *dkim_key_name(const struct dkim_key *k)
{
    return k->kind == DKIM_RSA ? "rsa" : "ed25519";
}

unsigned dkim_key_bits(const struct dkim_key *k)
{
    return (unsigned)EVP_PKEY_get_bits(k->pkey);
}

size_t dkim_key_signature_size(const struct dkim_key *k)
{
    return k->signature_size;
}

/* ---- what is published ---- */

/* RSA: the SubjectPublicKeyInfo, as every signer publishes it and every verifier reads it; Ed25519:
 * the 32 octets alone (RFC 8463 section 4). */
static void add_public(const struct dkim_key *k, struct buf *out)
{
    uint8_t raw[ED25519_SIZE], *der = NULL;
    size_t n = sizeof raw;
    if (k->kind == DKIM_ED25519) {
        MUST(EVP_PKEY_get_raw_public_key(k->pkey, raw, &n) == 1);
        MUST(base64_encode(out, slice_of(raw, n)));
        return;
    }
    const int size = i2d_PUBKEY(k->pkey, &der);
    MUST(size > 0 && base64_encode(out, slice_of(der, (size_t)size)));
    OPENSSL_free(der);
}

void dkim_key_record(const struct dkim_key *k, struct buf *out)
{
    buf_addf(out, "v=DKIM1; k=%s; p=", dkim_key_name(k));
    add_public(k, out);
}

/* The value of a tag, without any blanks. False: the record has none. */
static bool tag_value(struct slice record, char tag, struct buf *out)
{
    while (record.n > 0) {
        struct slice value = slice_cut(&record, ';');
        const struct slice name = slice_trim(slice_cut(&value, '='));
        if (name.n != 1 || name.p[0] != (uint8_t)tag)
            continue;
        for (size_t i = 0; i < value.n; i++)
            if (!strchr(" \t\r\n", value.p[i]) || value.p[i] == 0)
                buf_add_u8(out, value.p[i]);
        return true;
    }
    return false;
}

const char *dkim_key_differs(const struct dkim_key *k, struct slice record)
{
    DEFER(buf_done)
    struct buf version = BUF_MAX(record.n), kind = BUF_MAX(record.n), published = BUF_MAX(record.n),
               ours = BUF_MAX(DKIM_RECORD_MAX);
    add_public(k, &ours);
    if (tag_value(record, 'v', &version) && !slice_eq(buf_slice(&version), SLICE_LIT("DKIM1")))
        return "it is no DKIM record: v= is not DKIM1";
    if (!tag_value(record, 'p', &published))
        return "it is no DKIM record: it has no p=";
    if (published.n == 0)
        return "it says that this key is revoked: p= is empty";
    if (!tag_value(record, 'k', &kind))
        buf_add_str(&kind, "rsa");
    if (!slice_ieq(buf_slice(&kind), slice_str(dkim_key_name(k))))
        return "it is of another kind of key";
    return slice_eq(buf_slice(&published), buf_slice(&ours)) ? NULL : "it is of another key";
}

int dkim_key_make(enum dkim_kind kind, unsigned bits, struct buf *ret_pem, struct err *e)
{
    DEFER(pkey_freep)
    EVP_PKEY *pkey =
        kind == DKIM_RSA ? EVP_RSA_gen(bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    ERR_clear_error();
    if (!pkey)
        return err_set(e, -EIO, "OpenSSL cannot make a key");
    BIO *bio = BIO_new(BIO_s_secmem());
    char *p = NULL;
    MUST(bio && PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL));
    const long n = BIO_get_mem_data(bio, &p);
    MUST(n > 0 && buf_add(ret_pem, slice_of(p, (size_t)n)));
    BIO_free(bio); /* wipes it */
    return 0;
}

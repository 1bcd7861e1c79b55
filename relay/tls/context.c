/* TLS contexts: versions, suites, certificate and key. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/tls/reason.h"
#include "relay/tls/tls.h"
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PEM_MAX_BYTES = 1024 * 1024, READ_BYTES = 4096 };

/* TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325); 1.3 has nothing else.
 */
#define SUITES_12                                                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

/* Delivery prefers the same, and takes what else hides the mail from those who only listen: where
 * TLS is not a must, the alternative is no TLS (RFC 7435). Small keys of old receivers as well,
 * which Debian's level 2 refuses. */
static const char client_suites_12[] =
    SUITES_12 ":HIGH:!aNULL:!eNULL:!MD5:!RC4:!3DES:!PSK:!SRP:@SECLEVEL=1";

static void context_free(struct frozen *f)
{
    struct tls_context *c = (struct tls_context *)(void *)f;
    SSL_CTX_free(c->ssl_ctx);
    free(c);
}

void tls_context_unref(struct tls_context *c)
{
    frozen_unref(c ? &c->frozen : NULL);
}

static void ssl_ctx_freep(SSL_CTX **p)
{
    SSL_CTX_free(*p);
}

static SSL_CTX *new_ssl_ctx(const SSL_METHOD *method, const char *suites, struct err *e)
{
    ERR_clear_error();
    SSL_CTX *ssl_ctx = SSL_CTX_new(method);
    if (!ssl_ctx || !SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_2_VERSION) ||
        !SSL_CTX_set_cipher_list(ssl_ctx, suites)) {
        reason_err(e, "cannot make a TLS context");
        SSL_CTX_free(ssl_ctx);
        return NULL;
    }
    SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* An idle connection keeps no record buffers. */
    SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
    /* Sessions live in tickets that the client keeps: nothing here is shared or locked by loops. */
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
    return ssl_ctx;
}

static struct tls_context *freeze(SSL_CTX *ssl_ctx)
{
    struct tls_context *c = must_alloc(sizeof *c);
    frozen_init(&c->frozen, context_free);
    c->ssl_ctx = ssl_ctx;
    return c;
}

/* A key with a pass phrase would make OpenSSL ask at the terminal. */
static int no_pass_phrase(char *space, int size, int writing, void *ctx)
{
    (void)space, (void)size, (void)writing, (void)ctx;
    return -1;
}

static void bio_freep(BIO **p)
{
    BIO_free(*p);
}

static BIO *bio_of(struct slice pem)
{
    MUST(pem.n <= INT_MAX);
    BIO *bio = BIO_new_mem_buf(pem.n ? (const void *)pem.p : "", (int)pem.n);
    MUST(bio);
    return bio;
}

static int use_chain(SSL_CTX *ssl_ctx, struct slice pem, const char *name, struct err *e)
{
    DEFER(bio_freep) BIO *bio = bio_of(pem);
    X509 *x = PEM_read_bio_X509_AUX(bio, NULL, no_pass_phrase, NULL);
    if (!x)
        return err_set(e, -EINVAL, "%s: no certificate in it: %s", name, reason_take("not PEM"));
    int ok = SSL_CTX_use_certificate(ssl_ctx, x);
    X509_free(x);
    if (!ok)
        return reason_err(e, name);
    while ((x = PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL))) {
        if (!SSL_CTX_add0_chain_cert(ssl_ctx, x)) {
            X509_free(x);
            return reason_err(e, name);
        }
    }
    /* The end of the file is the one error that is none. */
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return reason_err(e, name);
    ERR_clear_error();
    return 0;
}

static int use_key(SSL_CTX *ssl_ctx, struct slice pem, const char *name, struct err *e)
{
    DEFER(bio_freep) BIO *bio = bio_of(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL);
    if (!key)
        return err_set(e, -EINVAL, "%s: no private key in it that needs no pass phrase: %s", name,
                       reason_take("not PEM"));
    int ok = SSL_CTX_use_PrivateKey(ssl_ctx, key) && SSL_CTX_check_private_key(ssl_ctx);
    EVP_PKEY_free(key);
    return ok ? 0 : reason_err(e, name);
}

static int server_of(struct tls_context **ret, struct slice cert_pem, const char *cert_name,
                     struct slice key_pem, const char *key_name, struct err *e)
{
    DEFER(ssl_ctx_freep) SSL_CTX *ssl_ctx = new_ssl_ctx(TLS_server_method(), SUITES_12, e);
    if (!ssl_ctx)
        return -EINVAL;
    int code = use_chain(ssl_ctx, cert_pem, cert_name, e);
    if (code == 0)
        code = use_key(ssl_ctx, key_pem, key_name, e);
    if (code == 0)
        *ret = freeze(TAKE_PTR(ssl_ctx));
    return code;
}

int tls_context_server_pem(struct tls_context **ret, struct slice cert_pem, struct slice key_pem,
                           struct err *e)
{
    return server_of(ret, cert_pem, "certificate", key_pem, "key", e);
}

static int cannot_read(const char *path, struct err *e)
{
    unsigned long code = ERR_peek_error();
    ERR_clear_error();
    errno = ERR_SYSTEM_ERROR(code) ? ERR_GET_REASON(code) : EIO;
    return err_errno(e, "cannot read %s", path);
}

static int read_file(const char *path, struct buf *out, struct err *e)
{
    ERR_clear_error();
    DEFER(bio_freep) BIO *file = BIO_new_file(path, "re");
    if (!file)
        return cannot_read(path, e);
    for (;;) {
        uint8_t *to = buf_reserve(out, READ_BYTES);
        if (!to)
            return err_set(e, -EFBIG, "%s is larger than %d bytes", path, PEM_MAX_BYTES);
        int n = BIO_read(file, to, READ_BYTES);
        if (n < 0)
            return cannot_read(path, e); /* a folder, for one */
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
    }
}

int tls_context_server(struct tls_context **ret, const char *cert_path, const char *key_path,
                       struct err *e)
{
    DEFER(buf_done) struct buf cert = BUF_MAX(PEM_MAX_BYTES);
    DEFER(buf_done) struct buf key = BUF_MAX(PEM_MAX_BYTES);
    int code = read_file(cert_path, &cert, e);
    if (code == 0)
        code = read_file(key_path, &key, e);
    if (code == 0)
        code = server_of(ret, buf_slice(&cert), cert_path, buf_slice(&key), key_path, e);
    OPENSSL_cleanse(key.p, key.n);
    return code;
}

int tls_context_client(struct tls_context **ret, struct err *e)
{
    SSL_CTX *ssl_ctx = new_ssl_ctx(TLS_client_method(), client_suites_12, e);
    if (!ssl_ctx)
        return -EINVAL;
    SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_NONE, NULL);
    *ret = freeze(ssl_ctx);
    return 0;
}

int64_t tls_context_not_after(const struct tls_context *c)
{
    struct tm tm;
    const X509 *x = SSL_CTX_get0_certificate(c->ssl_ctx);
    if (!x || !ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm))
        return 0;
    return timegm(&tm);
}

/* Certificates with their keys: read from PEM, held against each other, and the names they answer
 * to. */
#include "relay/tls/certs.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/tls/reason.h"
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

enum { READ_BYTES = 4096 };

/* --- reading --------------------------------------------------------------------------------- */

static void bio_freep(BIO **p)
{
    BIO_free(*p);
}

/* A key with a pass phrase would make OpenSSL ask at the terminal. */
static int no_pass_phrase(char *space, int size, int writing, void *ctx)
{
    (void)space, (void)size, (void)writing, (void)ctx;
    return -1;
}

static BIO *bio_of(struct slice pem)
{
    MUST(pem.n <= INT_MAX);
    BIO *bio = BIO_new_mem_buf(pem.n ? (const void *)pem.p : "", (int)pem.n);
    MUST(bio);
    return bio;
}

static int cannot_read(const char *path, struct err *e)
{
    unsigned long code = ERR_peek_error();
    ERR_clear_error();
    errno = ERR_SYSTEM_ERROR(code) ? ERR_GET_REASON(code) : EIO;
    return err_errno(e, "cannot read %s", path);
}

int certs_read_file(const char *path, struct buf *out, struct err *e)
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

STACK_OF(X509) * certs_parse(struct slice pem, const char *name, struct err *e)
{
    ERR_clear_error();
    DEFER(bio_freep) BIO *bio = bio_of(pem);
    STACK_OF(X509) *list = sk_X509_new_null();
    MUST(list);
    X509 *x = PEM_read_bio_X509_AUX(bio, NULL, no_pass_phrase, NULL);
    if (!x) {
        err_set(e, -EINVAL, "%s: no certificate in it: %s", name, reason_take("not PEM"));
        sk_X509_free(list);
        return NULL;
    }
    for (; x; x = PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL))
        MUST(sk_X509_push(list, x));
    /* The end of the file is the one error that is none. */
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        reason_err(e, name);
        sk_X509_pop_free(list, X509_free);
        return NULL;
    }
    ERR_clear_error();
    return list;
}

/* Into p->key; OpenSSL's rules of strength hold as they will when it is served. */
static int take_key(struct pair *p, struct slice pem, const char *name, struct err *e)
{
    DEFER(bio_freep) BIO *bio = bio_of(pem);
    p->key = PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL);
    if (!p->key)
        return err_set(e, -EINVAL, "%s: no private key in it that needs no pass phrase: %s", name,
                       reason_take("not PEM"));
    if (!X509_check_private_key(p->cert, p->key))
        return reason_err(e, name);
    SSL_CTX *trial = SSL_CTX_new(TLS_server_method());
    MUST(trial);
    int ok = SSL_CTX_use_cert_and_key(trial, p->cert, p->key, p->chain, 1);
    SSL_CTX_free(trial);
    return ok ? 0 : reason_err(e, p->path);
}

static int take_pair(struct tls_certs *c, struct slice cert_pem, const char *cert_name,
                     struct slice key_pem, const char *key_name, struct err *e)
{
    STACK_OF(X509) *all = certs_parse(cert_pem, cert_name, e);
    if (!all)
        return -EINVAL;
    struct pair *p = &c->pairs[c->n_pairs++];
    p->cert = sk_X509_shift(all);
    p->chain = all;
    p->path = slice_dup(slice_str(cert_name));
    int rc = take_key(p, key_pem, key_name, e);
    for (size_t i = 0; i + 1 < c->n_pairs && rc == 0; i++)
        if (EVP_PKEY_get_base_id(c->pairs[i].key) == EVP_PKEY_get_base_id(p->key))
            return err_set(
                e, -EINVAL,
                "%s: its key is of the same kind as that of %s: a client would only ever "
                "see one of them",
                cert_name, c->pairs[i].path);
    return rc;
}

/* --- names ----------------------------------------------------------------------------------- */

static void add_name(struct tls_certs *c, struct slice name)
{
    if (name.n == 0 || slice_find(name, 0) < name.n)
        return;
    c->names = must_realloc(c->names, (c->n_names + 1) * sizeof *c->names);
    c->names[c->n_names++] = slice_dup(name);
}

/* subjectAltName's DNS names (RFC 6125): what stands in the common name counts no more. */
static void add_names_of(struct tls_certs *c, const X509 *x)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(all, i);
        if (one->type == GEN_DNS)
            add_name(c, slice_of(ASN1_STRING_get0_data(one->d.dNSName),
                                 (size_t)ASN1_STRING_length(one->d.dNSName)));
    }
    GENERAL_NAMES_free(all);
    ERR_clear_error();
}

/* "*." stands for one label, the first (RFC 6125 section 6.4.3). */
static bool wildcard_has(struct slice pattern, struct slice name)
{
    size_t dot = slice_find(name, '.');
    return slice_starts(pattern, SLICE_LIT("*.")) && dot > 0 && dot < name.n &&
           slice_ieq(slice_skip(pattern, 1), slice_skip(name, dot));
}

unsigned certs_answer(const struct tls_certs *c, struct slice name)
{
    unsigned best = 0;
    if (name.n && name.p[name.n - 1] == '.')
        name.n--;
    for (size_t i = 0; i < c->n_names && best < 2; i++) {
        struct slice own = slice_str(c->names[i]);
        if (slice_ieq(own, name))
            best = 2;
        else if (wildcard_has(own, name))
            best = 1;
    }
    return best;
}

/* --- life ------------------------------------------------------------------------------------ */

static void certs_free(struct frozen *f)
{
    struct tls_certs *c = (struct tls_certs *)(void *)f;
    for (size_t i = 0; i < c->n_pairs; i++) {
        X509_free(c->pairs[i].cert);
        sk_X509_pop_free(c->pairs[i].chain, X509_free);
        EVP_PKEY_free(c->pairs[i].key);
        free(c->pairs[i].path);
    }
    for (size_t i = 0; i < c->n_names; i++)
        free(c->names[i]);
    free(c->names);
    free(c);
}

void tls_certs_unref(struct tls_certs *c)
{
    frozen_unref(c ? &c->frozen : NULL);
}

static struct tls_certs *certs_new(void)
{
    struct tls_certs *c = must_alloc(sizeof *c);
    frozen_init(&c->frozen, certs_free);
    return c;
}

static int finish(struct tls_certs **ret, struct tls_certs *c, int rc)
{
    if (rc < 0) {
        tls_certs_unref(c);
        return rc;
    }
    for (size_t i = 0; i < c->n_pairs; i++)
        add_names_of(c, c->pairs[i].cert);
    *ret = c;
    return 0;
}

int tls_certs_pem(struct tls_certs **ret, struct slice cert_pem, struct slice key_pem,
                  struct err *e)
{
    struct tls_certs *c = certs_new();
    return finish(ret, c, take_pair(c, cert_pem, "certificate", key_pem, "key", e));
}

static int load_pair(struct tls_certs *c, const char *cert_path, const char *key_path,
                     struct err *e)
{
    DEFER(buf_done) struct buf cert = BUF_MAX(PEM_MAX_BYTES);
    DEFER(buf_done) struct buf key = BUF_MAX(PEM_MAX_BYTES);
    int code = certs_read_file(cert_path, &cert, e);
    if (code == 0)
        code = certs_read_file(key_path, &key, e);
    if (code == 0)
        code = take_pair(c, buf_slice(&cert), cert_path, buf_slice(&key), key_path, e);
    OPENSSL_cleanse(key.p, key.n);
    return code;
}

int tls_certs_load(struct tls_certs **ret, const char *title, const char *const *cert_paths,
                   const char *const *key_paths, size_t n, struct err *e)
{
    struct tls_certs *c = certs_new();
    int rc = 0;
    MUST(n > 0 && n <= TLS_PAIRS_MAX);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = load_pair(c, cert_paths[i], key_paths[i], e);
    add_name(c, slice_str(title));
    return finish(ret, c, rc);
}

/* --- use ------------------------------------------------------------------------------------- */

bool certs_use(SSL *ssl, const struct tls_certs *c)
{
    for (size_t i = 0; i < c->n_pairs; i++)
        if (!SSL_use_cert_and_key(ssl, c->pairs[i].cert, c->pairs[i].key, c->pairs[i].chain, 1))
            return false;
    return true;
}

bool certs_use_ctx(SSL_CTX *ssl_ctx, const struct tls_certs *c)
{
    for (size_t i = 0; i < c->n_pairs; i++)
        if (!SSL_CTX_use_cert_and_key(ssl_ctx, c->pairs[i].cert, c->pairs[i].key, c->pairs[i].chain,
                                      1))
            return false;
    return true;
}

int64_t certs_seconds(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : 0;
}

size_t tls_certs_count(const struct tls_certs *c)
{
    return c->n_pairs;
}

struct tls_cert_info tls_certs_info(const struct tls_certs *c, size_t i)
{
    MUST(i < c->n_pairs);
    return (struct tls_cert_info){
        .path = c->pairs[i].path,
        .key_type = EVP_PKEY_get0_type_name(c->pairs[i].key),
        .not_before_s = certs_seconds(X509_get0_notBefore(c->pairs[i].cert)),
        .not_after_s = certs_seconds(X509_get0_notAfter(c->pairs[i].cert))};
}

bool tls_certs_has_name(const struct tls_certs *c, struct slice name)
{
    return certs_answer(c, name) > 0;
}

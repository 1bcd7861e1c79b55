/* A certificate of our own making, for a first start and for tests: P-256, valid ten years. */
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/tls/reason.h"
#include "relay/tls/tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { DAY = 86400, VALID_DAYS = 3653, COMMON_NAME_MAX = 64 };

static void x509_freep(X509 **p)
{
    X509_free(*p);
}

static void key_freep(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

/* Built, not written as text: a comma in the name must not become a second name. */
static bool add_alt_name(X509 *x, struct slice hostname)
{
    char *text = slice_dup(hostname);
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(text);
    free(text);
    MUST(names && name);
    if (ip) {
        GENERAL_NAME_set0_value(name, GEN_IPADD, ip);
    } else {
        ASN1_IA5STRING *dns = ASN1_IA5STRING_new();
        MUST(dns && ASN1_STRING_set(dns, hostname.p, (int)hostname.n));
        GENERAL_NAME_set0_value(name, GEN_DNS, dns);
    }
    MUST(sk_GENERAL_NAME_push(names, name));
    bool ok = X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static bool set_names(X509 *x, struct slice hostname)
{
    /* A longer name than X.520 lets a common name be stands in the alternative name only. */
    struct slice cn = hostname.n <= COMMON_NAME_MAX ? hostname : SLICE_LIT("postwain");
    X509_NAME *name = X509_get_subject_name(x);
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, cn.p, (int)cn.n, -1, 0) &&
           X509_set_issuer_name(x, name);
}

static bool set_serial(X509 *x)
{
    uint8_t bytes[16];
    rand_bytes(bytes, sizeof bytes);
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, of one length (RFC 5280 4.1.2.2) */
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool fill_and_sign(X509 *x, EVP_PKEY *key, struct slice hostname)
{
    time_t now = (time_t)(wall_now().us / WALL_SECOND);
    return X509_set_version(x, 2) && set_serial(x) && set_names(x, hostname) &&
           /* A day back: the peer's clock may be behind. */
           ASN1_TIME_set(X509_getm_notBefore(x), now - DAY) &&
           ASN1_TIME_set(X509_getm_notAfter(x), now + (time_t)VALID_DAYS * DAY) &&
           X509_set_pubkey(x, key) && add_alt_name(x, hostname) &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, NID_ext_key_usage, "serverAuth") &&
           add_extension(x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256());
}

static void add_pem(struct buf *out, BIO *bio)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    MUST(n > 0 && buf_add(out, slice_of(p, (size_t)n)));
}

static void write_pem(X509 *x, EVP_PKEY *key, struct buf *ret_cert_pem, struct buf *ret_key_pem)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    MUST(bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    add_pem(ret_key_pem, bio);
    BIO_free(bio); /* wipes it */
    bio = BIO_new(BIO_s_mem());
    MUST(bio && PEM_write_bio_X509(bio, x));
    add_pem(ret_cert_pem, bio);
    BIO_free(bio);
}

int tls_self_signed(struct slice hostname, struct buf *ret_cert_pem, struct buf *ret_key_pem,
                    struct err *e)
{
    if (hostname.n == 0 || hostname.n > 255)
        return err_set(e, -EINVAL, "a certificate needs a host name of 1 to 255 bytes");
    for (size_t i = 0; i < hostname.n; i++)
        if (hostname.p[i] <= ' ' || hostname.p[i] >= 0x7f)
            return err_set(e, -EINVAL, "a host name is printable ASCII without blanks");
    ERR_clear_error();
    DEFER(key_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
    DEFER(x509_freep) X509 *x = X509_new();
    if (!key || !x || !fill_and_sign(x, key, hostname))
        return reason_err(e, "cannot make a certificate");
    write_pem(x, key, ret_cert_pem, ret_key_pem);
    return 0;
}

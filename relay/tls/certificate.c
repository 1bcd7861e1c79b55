#include "relay/tls/certificate.h"
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/tls/certs.h"
#include "relay/tls/engine.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

/* A name of a certificate may hold anything: made harmless for a screen. */
static void add_name(struct buf *out, struct slice name)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(256);
    utf8_clean(&clean, name, 255);
    if (out->n + clean.n + 1 > out->max)
        return;
    if (out->n)
        buf_add_u8(out, ' ');
    buf_add(out, buf_slice(&clean));
}

static void add_general_name(struct buf *out, const GENERAL_NAME *n)
{
    char text[INET6_ADDRSTRLEN];
    if (n->type == GEN_DNS) {
        add_name(out, slice_of(ASN1_STRING_get0_data(n->d.dNSName),
                               (size_t)ASN1_STRING_length(n->d.dNSName)));
        return;
    }
    if (n->type != GEN_IPADD)
        return;
    const int size = ASN1_STRING_length(n->d.iPAddress);
    const int family = size == 4 ? AF_INET : size == 16 ? AF_INET6 : AF_UNSPEC;
    if (family != AF_UNSPEC &&
        inet_ntop(family, ASN1_STRING_get0_data(n->d.iPAddress), text, sizeof text))
        add_name(out, slice_str(text));
}

static void put_text(char *to, size_t size, struct buf *from)
{
    snprintf(to, size, "%s", buf_str(from));
}

static void put_names(X509 *x, struct tls_certificate *ret)
{
    DEFER(buf_done) struct buf names = BUF_MAX(sizeof ret->names - 1);
    GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++)
        add_general_name(&names, sk_GENERAL_NAME_value(list, i));
    GENERAL_NAMES_free(list);
    put_text(ret->names, sizeof ret->names, &names);
}

static void put_issuer(const X509 *x, struct tls_certificate *ret)
{
    DEFER(buf_done) struct buf issuer = BUF_MAX(sizeof ret->issuer - 1);
    char text[1024] = "";
    X509_NAME_oneline(X509_get_issuer_name(x), text, sizeof text);
    add_name(&issuer, slice_head(slice_str(text), 250));
    put_text(ret->issuer, sizeof ret->issuer, &issuer);
}

/* The beginning will do: a certificate may have a hundred names. */
static void add_some(struct buf *out, const char *text)
{
    enum { SOME = 160 };
    utf8_clean(out, slice_str(text), SOME);
    if (strlen(text) > SOME)
        buf_add_str(out, " ...");
}

static void put_problem(const SSL *ssl, X509 *x, const struct tls_context *verify,
                        struct slice name, struct tls_certificate *ret)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    MUST(ctx);
    if (X509_STORE_CTX_init(ctx, SSL_CTX_get_cert_store(verify->ssl_ctx), x,
                            SSL_get_peer_cert_chain(ssl))) {
        X509_STORE_CTX_set_default(ctx, "ssl_server");
        tls_expect_name(X509_STORE_CTX_get0_param(ctx), name);
        if (X509_verify_cert(ctx) != 1)
            snprintf(ret->problem, sizeof ret->problem, "%s",
                     X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    } else {
        snprintf(ret->problem, sizeof ret->problem, "it cannot be verified");
    }
    X509_STORE_CTX_free(ctx);
}

/* --- one that did not do
 * ------------------------------------------------------------------------------------------------------------
 */

static void add_whose(struct buf *out, X509 *leaf, X509 *top)
{
    struct tls_certificate shown = {0};
    (void)top;
    put_names(leaf, &shown);
    buf_add_str(out, shown.names[0] ? ", it is for " : ", it names no host");
    add_some(out, shown.names);
}

static void add_issuer(struct buf *out, X509 *leaf, X509 *top)
{
    struct tls_certificate shown = {0};
    (void)leaf;
    put_issuer(top, &shown);
    buf_add_str(out, ", issued by ");
    add_some(out, shown.issuer);
}

/* Another one of its chain may be meant: then there is nothing to add. */
static void add_moment(struct buf *out, const char *word, const ASN1_TIME *at, bool is_meant)
{
    char text[WALL_RFC3339_SIZE];
    wall_rfc3339((struct wall){certs_seconds(at) * WALL_SECOND}, text);
    if (is_meant && certs_seconds(at) > 0)
        buf_addf(out, ", %s %.19sZ", word, text);
}

static void add_end(struct buf *out, X509 *leaf, X509 *top)
{
    const ASN1_TIME *at = X509_get0_notAfter(leaf);
    (void)top;
    add_moment(out, "it ended", at, X509_cmp_current_time(at) < 0);
}

static void add_beginning(struct buf *out, X509 *leaf, X509 *top)
{
    const ASN1_TIME *at = X509_get0_notBefore(leaf);
    (void)top;
    add_moment(out, "it begins", at, X509_cmp_current_time(at) > 0);
}

static const struct {
    long result;
    void (*add)(struct buf *out, X509 *leaf, X509 *top);
} facts[] = {
    {X509_V_ERR_HOSTNAME_MISMATCH, add_whose},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, add_whose},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, add_issuer},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, add_issuer},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, add_issuer},
    {X509_V_ERR_CERT_HAS_EXPIRED, add_end},
    {X509_V_ERR_CERT_NOT_YET_VALID, add_beginning},
};

void certificate_add_facts(struct buf *out, const SSL *ssl, long verify_result)
{
    /* The session has the certificate only when it has passed; the chain is there before. */
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    const int n = SSL_is_server(ssl) ? 0 : sk_X509_num(chain);
    for (size_t i = 0; n > 0 && i < sizeof facts / sizeof *facts; i++)
        if (facts[i].result == verify_result)
            facts[i].add(out, sk_X509_value(chain, 0), sk_X509_value(chain, n - 1));
    ERR_clear_error();
}

/* --- any
 * ------------------------------------------------------------------------------------------------------------
 */

bool tls_engine_certificate(const struct tls_engine *t, struct tls_context *verify,
                            struct slice name, struct tls_certificate *ret)
{
    SSL *ssl = tls_engine_ssl(t);
    X509 *x = SSL_get0_peer_certificate(ssl);
    if (!x)
        return false;
    ERR_clear_error();
    *ret = (struct tls_certificate){.not_after_s = certs_seconds(X509_get0_notAfter(x))};
    put_names(x, ret);
    put_issuer(x, ret);
    if (verify)
        put_problem(ssl, x, verify, name, ret);
    else
        snprintf(ret->problem, sizeof ret->problem, "the authorities cannot be read");
    ERR_clear_error();
    return true;
}

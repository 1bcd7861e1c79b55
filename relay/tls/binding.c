#include "relay/tls/binding.h"
#include "relay/base/must.h"
#include "relay/tls/engine.h"
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static const char exporter_label[] = "EXPORTER-Channel-Binding";
#define EXPORTER_SIZE 32

/* Without the extended master secret two TLS 1.2 connections can be made to have the same. */
static bool has_exporter(SSL *ssl)
{
    return SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1;
}

static bool exporter(SSL *ssl, struct tls_binding_bytes *ret)
{
    ret->n = EXPORTER_SIZE;
    return SSL_export_keying_material(ssl, ret->p, EXPORTER_SIZE, exporter_label,
                                      sizeof exporter_label - 1, (const uint8_t *)"", 0, 1) == 1;
}

static bool has_unique(SSL *ssl)
{
    return SSL_version(ssl) == TLS1_2_VERSION && SSL_get_extms_support(ssl) == 1;
}

/* The first Finished of the handshake: the client's, or, where a session was resumed, ours. */
static bool unique(SSL *ssl, struct tls_binding_bytes *ret)
{
    const bool ours = (SSL_session_reused(ssl) == 1) == (SSL_is_server(ssl) == 1);
    ret->n = ours ? SSL_get_finished(ssl, ret->p, sizeof ret->p)
                  : SSL_get_peer_finished(ssl, ret->p, sizeof ret->p);
    return ret->n > 0 && ret->n <= sizeof ret->p;
}

/* RFC 5929 section 4.1: the hash of the certificate's signature; MD5 and SHA-1 become SHA-256; none
 * (Ed25519) is undefined there. */
static const EVP_MD *end_point_hash(const X509 *x)
{
    int hash = NID_undef;
    if (!OBJ_find_sigid_algs(X509_get_signature_nid(x), &hash, NULL) || hash == NID_undef)
        return NULL;
    return hash == NID_md5 || hash == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(hash);
}

static const X509 *shown(SSL *ssl)
{
    return SSL_is_server(ssl) ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
}

static bool has_end_point(SSL *ssl)
{
    const EVP_MD *hash = shown(ssl) ? end_point_hash(shown(ssl)) : NULL;
    return hash && EVP_MD_get_size(hash) <= TLS_BINDING_MAX;
}

static bool end_point(SSL *ssl, struct tls_binding_bytes *ret)
{
    unsigned n = 0;
    if (!X509_digest(shown(ssl), end_point_hash(shown(ssl)), ret->p, &n))
        return false;
    ret->n = n;
    return true;
}

static const struct {
    const char *name;
    bool (*is_there)(SSL *ssl);
    bool (*bytes)(SSL *ssl, struct tls_binding_bytes *ret); /* of one that is there */
} kinds[TLS_BINDING_KINDS] = {
    [TLS_BINDING_EXPORTER] = {"tls-exporter", has_exporter, exporter},
    [TLS_BINDING_UNIQUE] = {"tls-unique", has_unique, unique},
    [TLS_BINDING_END_POINT] = {"tls-server-end-point", has_end_point, end_point},
};

const char *tls_binding_name(enum tls_binding kind)
{
    return kinds[kind].name;
}

bool tls_engine_can_bind(const struct tls_engine *t, enum tls_binding kind)
{
    SSL *ssl = tls_engine_ssl(t);
    return SSL_is_init_finished(ssl) && kinds[kind].is_there(ssl);
}

bool tls_engine_binding(const struct tls_engine *t, enum tls_binding kind,
                        struct tls_binding_bytes *ret)
{
    struct tls_binding_bytes bytes = {.n = 0};
    SSL *ssl = tls_engine_ssl(t);
    ERR_clear_error();
    bool ok = tls_engine_can_bind(t, kind) && kinds[kind].bytes(ssl, &bytes);
    ERR_clear_error();
    if (ok)
        *ret = bytes;
    return ok;
}

bool tls_engine_peer(const struct tls_engine *t, struct tls_peer *ret)
{
    struct tls_peer peer;
    const X509 *x = SSL_get0_peer_certificate(tls_engine_ssl(t));
    if (!x || !tls_engine_info(t).verified)
        return false;
    uint8_t *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    ERR_clear_error();
    bool ok = n > 0 && X509_digest(x, EVP_sha256(), peer.certificate, NULL) &&
              EVP_Digest(der, (size_t)n, peer.key, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    if (ok)
        *ret = peer;
    return ok;
}

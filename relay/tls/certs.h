/* Certificates with their keys, as contexts serve them: private to this room. */
#pragma once
#include "relay/tls/tls.h"
#include <openssl/ssl.h>

#define PEM_MAX_BYTES (1024 * 1024)

struct pair {
    X509 *cert;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    char *path; /* of the certificate; a word for one from memory */
};

struct tls_certs {
    struct frozen frozen;
    struct pair pairs[TLS_PAIRS_MAX];
    size_t n_pairs;
    char *
        *names; /* what clients may ask for: host names and "*." with one; from the heap, as all */
    size_t n_names;
};

/* How well it answers to a name: 0 not at all, 1 by a wildcard, 2 by the name itself. */
unsigned certs_answer(const struct tls_certs *c, struct slice name);
/* What a connection (or all of a context) shows; false: OpenSSL's queue says why. */
bool certs_use(SSL *ssl, const struct tls_certs *c);
bool certs_use_ctx(SSL_CTX *ssl_ctx, const struct tls_certs *c);
/* Since 1970; 0: it is no time. */
int64_t certs_seconds(const ASN1_TIME *t);
/* A PEM file, whole. */
int certs_read_file(const char *path, struct buf *out, struct err *e);
/* Every certificate in it; the first may be a "TRUSTED CERTIFICATE". NULL: told in e. */
STACK_OF(X509) * certs_parse(struct slice pem, const char *name, struct err *e);

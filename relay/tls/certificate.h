/*
 * The certificate that a peer has shown, for a person: whose it is, how long it is good, and
 * whether it would do where certificates are verified. Looks only; after the handshake.
 */
#pragma once
#include "relay/tls/tls.h"
#include <openssl/ssl.h>

struct tls_certificate {
    char names[512]; /* DNS names and addresses, a blank between them; as many as have room */
    char issuer[256];
    int64_t not_after_s;
    char problem[160]; /* why it is not one for that name by these authorities; "": it is */
};
/* What a person needs beside OpenSSL's words for it: of a wrong name whose it is, of an unknown
 * authority who it is, of one that has ended when. After a handshake that failed by it. Adds ", …"
 * or nothing. */
void certificate_add_facts(struct buf *out, const SSL *ssl, long verify_result);
/* verify: a context of tls_context_verify; NULL: nobody's authorities are there. name: of the host,
 * or its address. False: none was shown. */
bool tls_engine_certificate(const struct tls_engine *t, struct tls_context *verify,
                            struct slice name, struct tls_certificate *ret);

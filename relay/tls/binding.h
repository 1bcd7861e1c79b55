/*
 * What ties a login to this very TLS connection: channel bindings (RFC 5056) for SCRAM, and the
 * certificate the peer has shown, for EXTERNAL. Server side, after the handshake; pure reading.
 *
 *   tls-exporter          RFC 9266: any TLS 1.3, and 1.2 with the extended master secret (RFC 7627)
 *   tls-unique            RFC 5929 section 3: TLS 1.2 with the extended master secret only
 *   tls-server-end-point  RFC 5929 section 4: the certificate we have shown
 */
#pragma once
#include "relay/tls/tls.h"

enum tls_binding { TLS_BINDING_EXPORTER, TLS_BINDING_UNIQUE, TLS_BINDING_END_POINT };
#define TLS_BINDING_KINDS 3
#define TLS_BINDING_MAX 64
#define TLS_DIGEST_SIZE 32 /* SHA-256 */

struct tls_binding_bytes {
    uint8_t p[TLS_BINDING_MAX];
    size_t n;
};

/* The name in the registry of IANA, as clients say it. */
const char *tls_binding_name(enum tls_binding kind);
/* Whether this connection has such a binding. What it is costs a derivation of keys. */
bool tls_engine_can_bind(const struct tls_engine *t, enum tls_binding kind);
/* False: this connection has no such binding. */
bool tls_engine_binding(const struct tls_engine *t, enum tls_binding kind,
                        struct tls_binding_bytes *ret);

/* SHA-256 of the certificate (DER) that the peer has shown and of its public key
 * (SubjectPublicKeyInfo). False: none was shown, or its chain did not verify. */
struct tls_peer {
    uint8_t certificate[TLS_DIGEST_SIZE], key[TLS_DIGEST_SIZE];
};
bool tls_engine_peer(const struct tls_engine *t, struct tls_peer *ret);

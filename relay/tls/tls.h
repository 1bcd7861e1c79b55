/*
 * TLS by OpenSSL, as an engine over memory BIOs: ciphertext in, plaintext out and back; it never
 * sees a socket (RFC 8446, 5246; >= TLS 1.2). Contexts are frozen snapshots, shared by all loops;
 * an engine belongs to its connection's loop.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/frozen.h"

struct tls_context { /* embeds struct frozen first; the rest is private */
    struct frozen frozen;
    void *ssl_ctx;
};

/* A listener's context: certificate chain and key in PEM files. */
int tls_context_server(struct tls_context **ret, const char *cert_path, const char *key_path,
                       struct err *e);
/* The same from memory (sink, tests). */
int tls_context_server_pem(struct tls_context **ret, struct slice cert_pem, struct slice key_pem,
                           struct err *e);
/* For delivery: opportunistic, accepts any certificate (verification policies come as further
 * contexts). */
int tls_context_client(struct tls_context **ret, struct err *e);
void tls_context_unref(struct tls_context *c);
/* A self-signed P-256 certificate for host names, valid 10 years: both as PEM text. */
int tls_self_signed(struct slice hostname, struct buf *ret_cert_pem, struct buf *ret_key_pem,
                    struct err *e);
/* When the certificate ends (seconds since 1970), for warnings; 0: the context has none. */
int64_t tls_context_not_after(const struct tls_context *c);

#define TLS_INPUT_MAX (256 * 1024)

struct tls_engine;
enum tls_state { TLS_HANDSHAKING, TLS_OPEN, TLS_CLOSED /* close_notify came */, TLS_FAILED };

struct tls_engine *tls_engine_new(struct tls_context *c, bool server,
                                  struct slice sni); /* refs c; sni "" = none */
void tls_engine_free(struct tls_engine *t);
/* Ciphertext from the peer; takes all of it and turns the handshake. Feed <= 64 KiB, then read:
 * unread ciphertext beyond TLS_INPUT_MAX is TLS_FAILED. */
enum tls_state tls_engine_feed(struct tls_engine *t, struct slice ciphertext);
/* Plaintext that has come, appended to out up to max_bytes; returns the state. Call until it adds
 * nothing. */
enum tls_state tls_engine_read(struct tls_engine *t, struct buf *out, size_t max_bytes);
/* Plaintext to send; taken whole (encrypted into the output). Only while TLS_OPEN, or TLS_CLOSED
 * (the peer says no more, but reads); otherwise dropped. */
enum tls_state tls_engine_write(struct tls_engine *t, struct slice plaintext);
void tls_engine_close(struct tls_engine *t); /* close_notify into the output */
/* Ciphertext to send; *ret is borrowed until tls_engine_sent. */
struct slice tls_engine_output(struct tls_engine *t);
void tls_engine_sent(struct tls_engine *t, size_t n);

struct tls_info {
    const char *version,
        *cipher; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384"; static or live with the engine */
    bool verified, resumed;
};
struct tls_info tls_engine_info(const struct tls_engine *t);
/* Why it failed, for the log and the verdict: OpenSSL's reason, one line; "" while it has not. */
const char *tls_engine_error(const struct tls_engine *t);

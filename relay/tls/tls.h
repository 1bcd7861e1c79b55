/*
 * TLS by OpenSSL, as an engine over memory BIOs: ciphertext in, plaintext out and back; it never
 * sees a socket (RFC 8446, 5246; >= TLS 1.2). Contexts are frozen snapshots, shared by all loops;
 * an engine belongs to its connection's loop.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/frozen.h"

#define TLS_PAIRS_MAX 3 /* RSA, ECDSA, Ed25519 */

struct tls_context { /* embeds struct frozen first; the rest is private */
    struct frozen frozen;
    void *ssl_ctx;
    struct tls_roster *roster;      /* server: the certificates to choose from; NULL: client */
    struct tls_tickets *tickets;    /* NULL: OpenSSL's own */
    struct tls_context **listeners; /* those whose clients are asked for certificates, else NULL */
    size_t n_listeners;
};

/* --- certificates: chain and key, of each kind of key at most one, and the names they answer to
 * (the DNS names in the certificates, and a title). Frozen. --- */

struct tls_certs;
/* n pairs of PEM files, 1 to TLS_PAIRS_MAX; title: one more name, "" = none. -EINVAL, or what
 * reading them gave: e names the file. */
int tls_certs_load(struct tls_certs **ret, const char *title, const char *const *cert_paths,
                   const char *const *key_paths, size_t n, struct err *e);
/* One pair from memory. */
int tls_certs_pem(struct tls_certs **ret, struct slice cert_pem, struct slice key_pem,
                  struct err *e);
void tls_certs_unref(struct tls_certs *c);
size_t tls_certs_count(const struct tls_certs *c); /* pairs */
struct tls_cert_info {
    const char *path, *key_type;       /* "RSA", "EC", "ED25519"; live with the certs */
    int64_t not_before_s, not_after_s; /* since 1970 */
};
struct tls_cert_info tls_certs_info(const struct tls_certs *c, size_t i);
/* By a name itself or by a wildcard for one label; letter case and a last dot do not count. */
bool tls_certs_has_name(const struct tls_certs *c, struct slice name);

/* --- the keys of session tickets, shared by all contexts and loops; frozen but for rotation --- */

struct tls_tickets;
struct tls_tickets *tls_tickets_new(void);
/* Any thread: new tickets get a new key, those of the key before stay good until the next call. */
void tls_tickets_rotate(struct tls_tickets *t);
void tls_tickets_unref(struct tls_tickets *t);

/* --- contexts --- */

/* Whether a listener's clients are asked for a certificate. Request: one that does not verify, or
 * none, is no hindrance (tls_info.verified tells); require: it is. */
enum tls_ask { TLS_ASK_NONE, TLS_ASK_REQUEST, TLS_ASK_REQUIRE };
struct tls_clients {
    enum tls_ask ask;
    const char *ca_path; /* PEM: the authorities of the clients' certificates */
};
struct tls_serving {
    /* The first that has the name a client asks for (SNI) by itself is shown, else the first that
     * has it by a wildcard, else certs[fallback], also to those who ask for none. */
    struct tls_certs *const *certs;
    size_t n_certs, fallback;
    struct tls_tickets *tickets;         /* NULL: OpenSSL's own keys, a context's own */
    const struct tls_clients *listeners; /* by listener; may be NULL */
    size_t n_listeners;
};
/* refs what it keeps. -EINVAL or a reading error of ca_path: e names the file. */
int tls_context_serve(struct tls_context **ret, const struct tls_serving *s, struct err *e);
/* Whether a file holds authorities that clients' certificates can be held against. */
int tls_check_authorities(const char *path, struct err *e);
/* The context for one listener's connections: c, or the one that asks its clients. Borrowed from
 * c. */
struct tls_context *tls_context_for(struct tls_context *c, size_t listener);
/* One certificate, in PEM files. */
int tls_context_server(struct tls_context **ret, const char *cert_path, const char *key_path,
                       struct err *e);
/* The same from memory (sink, tests). */
int tls_context_server_pem(struct tls_context **ret, struct slice cert_pem, struct slice key_pem,
                           struct err *e);
/* For delivery: opportunistic, accepts any certificate. */
int tls_context_client(struct tls_context **ret, struct err *e);
/* For delivery: the handshake fails unless the certificate leads to an authority of the system's
 * store (as of now; SSL_CERT_FILE and SSL_CERT_DIR name another) and is one for the name, or
 * address, that the engine is given. */
int tls_context_verify(struct tls_context **ret, struct err *e);
/* Whether that store has any authority at all. -ENOENT: e names the places that were looked at, and
 * no certificate will verify. */
int tls_check_store(struct err *e);
void tls_context_unref(struct tls_context *c);
/* A self-signed P-256 certificate for host names, valid 10 years: both as PEM text. */
int tls_self_signed(struct slice hostname, struct buf *ret_cert_pem, struct buf *ret_key_pem,
                    struct err *e);
/* When the certificate ends (seconds since 1970), for warnings; 0: the context has none. */
int64_t tls_context_not_after(const struct tls_context *c);

#define TLS_INPUT_MAX (256 * 1024)
/* What OpenSSL answers by itself and the peer does not take (changes of keys, alerts). */
#define TLS_ANSWERS_MAX (64 * 1024)

struct tls_engine;
enum tls_state { TLS_HANDSHAKING, TLS_OPEN, TLS_CLOSED /* close_notify came */, TLS_FAILED };

struct tls_engine *tls_engine_new(struct tls_context *c, bool server,
                                  struct slice sni); /* refs c; sni "" = none */

/* What a client may offer to the same peer the next time instead of a handshake in full. It was
 * verified as its connection was, and may be offered under the same rules only. Frozen. */
struct tls_session;
#define TLS_SESSION_MAX 16384                                /* octets; a bigger one is not kept */
struct tls_session *tls_session_ref(struct tls_session *s);  /* NULL stays NULL */
void tls_session_unref(struct tls_session *s);               /* NULL is fine */
bool tls_session_once(const struct tls_session *s);          /* TLS 1.3: RFC 8446 appendix C.4 */
int64_t tls_session_lifetime_s(const struct tls_session *s); /* as the peer says; > 0 */

/* A client's that keeps sessions, and offers this one (borrowed; NULL: none). Where certificates
 * are verified it is offered only while its own is one for the name and has not ended. */
struct tls_engine *tls_engine_resume(struct tls_context *c, struct slice sni,
                                     const struct tls_session *offer);
/* The oldest of those that the peer has given and nobody has taken; the caller's. NULL: none is
 * left, or the connection has failed. */
struct tls_session *tls_engine_take_session(struct tls_engine *t);
void tls_engine_free(struct tls_engine *t);
/* Ciphertext from the peer; takes all of it and turns the handshake. Feed <= 64 KiB, then read:
 * unread ciphertext beyond TLS_INPUT_MAX is TLS_FAILED. */
enum tls_state tls_engine_feed(struct tls_engine *t, struct slice ciphertext);
/* Plaintext that has come, appended to out up to max_bytes; returns the state. Call until it adds
 * nothing. A peer that has more than TLS_ANSWERS_MAX made for it and takes none is TLS_FAILED. */
enum tls_state tls_engine_read(struct tls_engine *t, struct buf *out, size_t max_bytes);
/* Plaintext to send; taken whole (encrypted into the output). Only while TLS_OPEN, or TLS_CLOSED
 * (the peer says no more, but reads); otherwise dropped. */
enum tls_state tls_engine_write(struct tls_engine *t, struct slice plaintext);
void tls_engine_close(struct tls_engine *t); /* close_notify into the output */
/* Ciphertext to send; *ret is borrowed until tls_engine_sent. */
struct slice tls_engine_output(struct tls_engine *t);
/* Whether the peer waits for it. False: there is none, or only a session ticket, which may leave
 * together with what comes next. */
bool tls_engine_is_pressing(const struct tls_engine *t);
void tls_engine_sent(struct tls_engine *t, size_t n);

struct tls_info {
    const char *version,
        *cipher; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384"; static or live with the engine */
    bool verified, resumed;
};
struct tls_info tls_engine_info(const struct tls_engine *t);
/* It failed because of the peer's certificate. */
bool tls_engine_unverified(const struct tls_engine *t);
/* Why it failed, for the log and the verdict: OpenSSL's reason, one line; "" while it has not. */
const char *tls_engine_error(const struct tls_engine *t);

/*
 * Sockets on a loop: a connection is TCP, perhaps TLS (engine over memory BIOs), and a handler that
 * gets plaintext. The handler is the twenty-line driver of a session machine (relay/smtp).
 * Everything of a connection happens on its loop's thread.
 *
 * Back pressure: on_bytes says how much it took; what is left stays here (<= NET_INPUT_MAX) and
 * reading from the socket pauses until net_conn_resume. What is sent waits here when the peer does
 * not read: look at net_conn_unsent and stop producing (see on_sent). Bounds: input buffer 64 KiB
 * (only while something is unconsumed), output as far as the handler produces.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/loop/loop.h"
#include "relay/smtp/watch.h"
#include "relay/tls/binding.h"
#include "relay/tls/certificate.h"
#include "relay/tls/tls.h"
#include <sys/socket.h>

#define NET_INPUT_MAX 65536

struct net_conn;

/* on_bytes, on_eof and on_closed must be there; the others may be NULL. Any net_conn_… call is
 * allowed in any of them. */
struct net_handler {
    /* Plaintext has come: returns how many bytes were taken. */
    size_t (*on_bytes)(void *ctx, struct slice in, struct mono now);
    /* Client: the connection is made (ok), or failed (err: negative errno; -ETIMEDOUT …). Not
     * called for accepted ones. */
    void (*on_connected)(void *ctx, int err, struct mono now);
    /* The handshake (of net_conn_start_tls or implicit) ended. why: text when it failed: then close
     * the connection, neither bytes nor on_eof follow. */
    void (*on_tls)(void *ctx, bool ok, const char *why, struct mono now);
    /* All that was sent has left for the kernel. May be NULL. */
    void (*on_sent)(void *ctx, struct mono now);
    /* The deadline set by net_conn_deadline has come. */
    void (*on_deadline)(void *ctx, struct mono now);
    /* The peer closed (err 0) or the connection broke (negative errno), once; bytes that came
     * before are offered before, those left unconsumed stay for net_conn_resume. After err 0 one
     * may still send; if that fails, the error is told, too. Close it with net_conn_close. */
    void (*on_eof)(void *ctx, int err, struct mono now);
    /* Somebody wants to look on at a dialogue that has begun. True: he may begin here, and so many
     * replies are still to come: nothing is said by halves, neither a login nor content is under
     * way. He is not known before this has returned; the connection may be labelled. NULL: never.
     */
    bool (*at_ease)(void *ctx, size_t *ret_awaited);
    /* What was said at a login before; asked when at_ease has said true. NULL: the other side was
     * told no secret. */
    const struct smtp_hidden *(*said)(void *ctx);
    /* Last call of all, from the loop, never from within another call: ctx may be freed. When the
     * loop ends, all its connections are closed and hear this. */
    void (*on_closed)(void *ctx);
};

/* Connects to addr (non-blocking); source may be NULL. Gives up after timeout_ms. */
struct net_conn *net_connect(struct loop *l, const struct sockaddr *addr,
                             const struct sockaddr *source, int64_t timeout_ms,
                             const struct net_handler *h, void *ctx);
/* The call failed here, before anything went out: on_connected tells, or has told, why. */
bool net_conn_never_left(const struct net_conn *c);
/* Queues plaintext (copied). One write a turn: bytes of the same turn go together. */
void net_conn_send(struct net_conn *c, struct slice plaintext);
size_t net_conn_unsent(const struct net_conn *c);
/* Offers unconsumed input again and goes on reading. Not from within on_bytes (there the return
 * value decides). */
void net_conn_resume(struct net_conn *c);
/* Starts TLS: what is queued is sent in clear first; unconsumed plaintext input is DROPPED (RFC
 * 3207). tls is ref'd. */
void net_conn_start_tls(struct net_conn *c, struct tls_context *tls, bool server, struct slice sni);
/* The same as a client that keeps sessions and offers this one (tls_engine_resume). */
void net_conn_resume_tls(struct net_conn *c, struct tls_context *tls, struct slice sni,
                         const struct tls_session *offer);
/* tls_engine_take_session; NULL when not under TLS, too. */
struct tls_session *net_conn_take_session(struct net_conn *c);
void net_conn_deadline(struct net_conn *c, struct mono at); /* MONO_NEVER: none */
/* Sends what is queued (for at most 5 s), close_notify, then closes; on_closed follows. Further
 * sends are ignored. */
void net_conn_close(struct net_conn *c);
/* At once, without sending what is queued. */
void net_conn_abort(struct net_conn *c);

struct net_names { /* texts of the two ends, NUL-terminated: "192.0.2.1", "2001:db8::1" */
    char peer_ip[46], local_ip[46];
    uint16_t peer_port, local_port;
};
void net_conn_names(const struct net_conn *c, struct net_names *ret);
/* version == NULL when not under TLS. */
struct tls_info net_conn_tls_info(const struct net_conn *c);
/* In on_tls: the handshake failed because of the peer's certificate. */
bool net_conn_tls_unverified(const struct net_conn *c);
/* As relay/tls/binding.h says; false when not under TLS. */
bool net_conn_can_bind(const struct net_conn *c, enum tls_binding kind);
bool net_conn_binding(const struct net_conn *c, enum tls_binding kind,
                      struct tls_binding_bytes *ret);
bool net_conn_peer(const struct net_conn *c, struct tls_peer *ret);
/* As relay/tls/certificate.h says; false when not under TLS, too. */
bool net_conn_certificate(const struct net_conn *c, struct tls_context *verify, struct slice name,
                          struct tls_certificate *ret);
/* From now on what passes is told, secrets and content left out (relay/smtp/watch.h): right after
 * the connection was made or begun. fn must not touch the connection. */
void net_conn_tap(struct net_conn *c, watch_fn *fn, void *ctx);
/* What a transcript calls it; what is "" or NULL stays as it was. Costs nothing where nobody looks.
 */
struct net_label {
    const char *name;
    struct slice site, destination, id;
    struct slice user; /* SLICE_LIT(""): nobody any more */
};
void net_conn_label(struct net_conn *c, const struct net_label *l);
bool net_conn_is_traced(const struct net_conn *c);
/* A new command is about to be said: a moment to ask at_ease, where somebody waits for one. */
void net_conn_look_on(struct net_conn *c);
struct loop *net_conn_loop(const struct net_conn *c);

/* --- listening
 * ----------------------------------------------------------------------------------------------------------
 */

/* "0.0.0.0:587", "[::]:465", "127.0.0.1:2525"; port required. */
int net_parse_address(struct slice text, struct sockaddr_storage *ret, struct err *e);
/* Binds and listens (SO_REUSEADDR, SO_REUSEPORT, IPV6_V6ONLY): a file descriptor, so that ports can
 * be bound before the identity changes. One a loop for the same address. */
int net_bind(const struct sockaddr_storage *addr, struct err *e);

struct net_listener;
/* behind_proxy: this caller is a balancer, and says by a PROXY header who the client is: until it
 * is there nothing is asked and nothing said, after it the client's address stands for the
 * caller's. NULL: nobody is. admit is asked first, when there is nothing but the caller's address:
 * false refuses, at the price of a close; *ret_words (may be "", valid until the next call) are
 * said before, where the conversation begins in clear. NULL: all may come. accept makes the
 * connection's handler: fills *ret_h and *ret_ctx; false: refuse (closed at once). It may call
 * net_conn_send on c. `tls` != NULL: handshake first (implicit TLS), then bytes; on_tls tells when.
 */
struct net_acceptor {
    bool (*behind_proxy)(void *ctx, const struct sockaddr *peer);
    bool (*admit)(void *ctx, const struct sockaddr *peer, struct slice *ret_words);
    bool (*accept)(void *ctx, struct net_conn *c, const struct net_handler **ret_h, void **ret_ctx);
    void *ctx;
    struct tls_context *implicit_tls; /* borrowed for the listener's life, or until it gets another;
                                         NULL: plaintext first */
};
struct net_listener *net_listen(struct loop *l, int fd,
                                const struct net_acceptor *a); /* *a is copied */
/* For connections from now on (a renewed certificate); only where there was one before. */
void net_listener_set_tls(struct net_listener *n, struct tls_context *implicit_tls);
void net_listener_close(struct net_listener *n); /* on the loop's thread; frees itself */

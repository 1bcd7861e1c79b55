/*
 * One server session (relay/smtp/server) on one connection: the driver. Bytes, handshakes,
 * deadlines and the end are done here; whoever serves (inbound, sink) is asked the machine's
 * questions and answers now or later. Everything on the connection's loop.
 *
 * struct served is embedded by its user and lives until `closed` was called and the user frees it
 * by served_done.
 */
#pragma once
#include "relay/net/net.h"
#include "relay/smtp/server.h"

struct served_by {
    /* Every action but STARTTLS and CLOSE, which are done here. */
    void (*act)(void *ctx, const struct smtp_server_action *a, struct mono now);
    /* A handshake ended; why: text when it failed (the connection is being closed then). */
    void (*tls)(void *ctx, bool ok, const char *why);
    /* The time given by served_wait_until is over and the question still open. May be NULL. */
    void (*late)(void *ctx, struct mono now);
    /* The connection is gone: last call. */
    void (*closed)(void *ctx);
    /* Somebody looks on from now on (net_handler.at_ease): a moment to label it. May be NULL. */
    void (*looked_at)(void *ctx);
};

struct served {
    struct net_conn *conn;    /* NULL once gone */
    struct smtp_server *smtp; /* NULL until the handshake of implicit TLS is done */
    const struct smtp_server_conf *conf;
    struct tls_context *tls; /* borrowed; for STARTTLS */
    const struct served_by *by;
    void *ctx;
    struct mono late_at; /* MONO_NEVER: the answer may take its time */
    bool handshaking, acting;
};

extern const struct net_handler served_handler; /* its ctx is the struct served */

/* Fills s and begins: the greeting goes out, or first the handshake. conf, tls and by outlive the
 * session. */
void served_begin(struct served *s, struct net_conn *c, const struct smtp_server_conf *conf,
                  struct tls_context *tls, bool implicit_tls, const struct served_by *by,
                  void *ctx);
void served_done(struct served *s);
/* The answer to the open question; within act or later. Nothing happens when the connection is
 * gone. */
void served_answer(struct served *s, const struct smtp_reply *r);
/* The answer to the open question is wanted by then, or `late` is called, once. */
void served_wait_until(struct served *s, struct mono at);
/* Something changed outside of act (a body taken, content refused): go on. */
void served_resume(struct served *s);
/* 421 as soon as no message is under way (see smtp_server_shutdown). */
void served_shutdown(struct served *s);

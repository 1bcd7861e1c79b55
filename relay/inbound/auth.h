/*
 * AUTH (RFC 4954) by GNU SASL: PLAIN, LOGIN, SCRAM-SHA-256 and -PLUS (RFC 7677), EXTERNAL. The
 * library speaks the mechanism; a password is checked against the users file off the loop (the
 * hasher), and a success is remembered (known.h), so that the next login of the same credential
 * costs no hashing. One auth_room a loop.
 *
 * Every wrong credential is told with the same words (535 5.7.8), every response that holds none
 * with others (535 5.7.8, too); trouble of ours is 454 4.7.0.
 */
#pragma once
#include "relay/base/slice.h"
#include <stdbool.h>

struct session;
struct inbound;
struct auth_room;
struct msg;

struct auth {
    void *exchange;                    /* Gsasl_session while one is under way */
    const char *mechanism;             /* static text, after success */
    char *user;                        /* who it is, after success */
    char *authid, *authzid, *password; /* as the exchange gave them */
    uint64_t credential;     /* of the exchange's password, as guesses.h has it; 0: none */
    bool first_step, spoken; /* spoken: the client has said something */
    bool trouble;            /* of ours, within the library's step */
    bool signed_off;         /* SCRAM: all is well, the client has to hear our signature first */
    char offered[80];
};

/* Before TLS is on, where nothing is offered, it says that there is AUTH at all. */
#define AUTH_MECHANISMS "PLAIN LOGIN"

struct auth_room *auth_room_new(struct inbound *in);
void auth_room_free(struct auth_room *r);
/* A password that nobody waits for any more. */
void auth_drop(struct msg *m);
void auth_done(struct auth *a);
/* The exchange was cancelled, or the session starts anew. */
void auth_reset(struct auth *a);
/* What this connection is offered, now that TLS is on: SCRAM where somebody has a secret for it,
 * -PLUS where the connection has a binding, EXTERNAL where the client has shown a certificate that
 * is good. Borrowed from the session. */
struct slice auth_offer(struct session *s);
/* SRV_ASK_AUTH: mechanism "" continues. Answers now or later through session_answer. */
void auth_step(struct session *s, struct slice mechanism, struct slice response, bool has_response);

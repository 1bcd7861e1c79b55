/*
 * AUTH (RFC 4954) by GNU SASL: PLAIN and LOGIN. The library speaks the mechanism; the password is
 * checked against the users file off the loop (the hasher), and a success is remembered under a
 * keyed hash, so that the next login of the same credential costs no hashing. One auth_room a loop.
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
    bool first_step;
};

#define AUTH_MECHANISMS "PLAIN LOGIN"

struct auth_room *auth_room_new(struct inbound *in);
void auth_room_free(struct auth_room *r);
/* A password that nobody waits for any more. */
void auth_drop(struct msg *m);
void auth_done(struct auth *a);
/* The exchange was cancelled, or the session starts anew. */
void auth_reset(struct auth *a);
/* SRV_ASK_AUTH: mechanism "" continues. Answers now or later through session_answer. */
void auth_step(struct session *s, struct slice mechanism, struct slice response, bool has_response);
/* Are there addresses that the authenticated user may not send as? Also true when the user is gone
 * from the file. */
bool auth_is_restricted(struct session *s);
/* May the authenticated user send as this address? Also false when the user is gone from the file.
 */
bool auth_may_send_as(struct session *s, struct slice sender);

/* What the files of AUTH know of each other: auth.c the exchange, auth_password.c its check off the
 * loop, auth_scram.c secrets and bindings. */
#pragma once
#include "relay/inbound/private.h"
#include <gsasl.h>

struct auth_room {
    struct inbound *in;
    Gsasl *sasl;
    struct port port; /* the hasher answers here */
};

extern const struct smtp_reply auth_reply_trouble;

/* The exchange is over: answers 235 or the one 535 for every wrong credential. */
void auth_decide(struct session *s, bool ok);
/* The exchange is over without a word on the credential. */
void auth_refuse(struct session *s, const struct smtp_reply *r);
void auth_wipe(char **secret);

/* auth_password.c: the password of the exchange; answers now or later. */
void auth_check_password(struct session *s);
/* The hasher's answer. */
void auth_password_back(void *ctx, struct msg *m);

/* auth_scram.c */
bool auth_is_scram(const struct auth *a);
bool auth_has_binding(const struct session *s);
/* Judges the start of the client's first message (RFC 5802 section 7, gs2-header); NULL: fine. */
const struct smtp_reply *auth_scram_opening(const struct session *s, struct slice response64);
/* What the library asks for: a GSASL code. */
int auth_scram_secret(struct session *s, Gsasl_session *exchange);
int auth_scram_binding(struct session *s, Gsasl_session *exchange, Gsasl_property what);
/* The library is content with the proof; is the user still? */
bool auth_scram_holds(struct session *s);

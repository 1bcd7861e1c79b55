/*
 * What the users file says about whoever has logged in, made effective at MAIL and RCPT: senders,
 * rate, sizes, priority, tags, destination, disabled. One look at the file a MAIL; its word holds
 * for that message. Sessions of trusted networks without a login have no such rules.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/conf/users.h"
#include "relay/smtp/types.h"

struct session;
struct envelope;

struct rules {
    struct users *users; /* of the running transaction; else NULL */
    const struct user *user;
    struct smtp_reply reply; /* the last one made here */
    char text[160];
    struct buf tags; /* the user's and the message's */
};

/* MAIL has come: NULL: nothing against it, or the refusal. Sets the session's limits. */
const struct smtp_reply *rules_mail(struct session *s, const struct smtp_mail *m);
/* The transaction has begun: bounds its priority; NULL, or the 250 that says so (RFC 6710). */
const struct smtp_reply *rules_begin(struct session *s);
/* One more recipient, also one told twice (checklist 31): counted; NULL or the refusal. */
const struct smtp_reply *rules_rcpt(struct session *s);
/* How many tags a message with these has, those of its user included. */
unsigned rules_count_tags(const struct session *s, struct slice own);
/* Destination and tags; e->tags has the message's own, which have been counted. The user's win
 * where both have a key. Borrowed until rules_end. */
void rules_fill(struct session *s, struct envelope *e);
/* The message is over. */
void rules_end(struct session *s);

/* Are there addresses that the user may not send as? Without rules there are none. */
bool rules_is_restricted(const struct session *s);
/* May the user send as this address: the reverse-path, each of From:? */
bool rules_may_send_as(const struct session *s, struct slice address);

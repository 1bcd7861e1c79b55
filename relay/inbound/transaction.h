/*
 * One message on its way in, as MAIL and RCPT described it, until it is an envelope. Everything is
 * copied: what the machine hands over is gone with the next command. Spans become moments here
 * (HOLDFOR, BY), because here is a clock. Owner: the session, on its loop.
 *
 * Bounds: texts 512 KiB together (452 4.5.3), recipients as many as the machine lets pass. A
 * recipient told twice is kept once, the first time's parameters with it (checklist 31); the
 * machine's limit counts both.
 */
#pragma once
#include "relay/base/arena.h"
#include "relay/smtp/types.h"
#include "relay/spooler/spooler.h"

struct rcpt_key;

struct transaction {
    struct arena arena; /* all slices below */
    struct slice sender;
    struct mail_params params;
    struct slice envid;
    struct wall release;     /* not delivered before; 0 = at once */
    struct wall by_deadline; /* of params.by; 0 = none */
    struct envelope_rcpt *rcpts;
    size_t n_rcpts, cap_rcpts;
    struct spooler_dropped *dropped; /* of them, in order */
    size_t n_dropped, cap_dropped;
    struct rcpt_key *index; /* uthash; empty while the recipients are few */
};

enum transaction_answer {
    TRANSACTION_OK,
    TRANSACTION_KNOWN, /* the recipient was there already */
    TRANSACTION_FULL,  /* the bound on texts: nothing was kept */
    TRANSACTION_NEVER /* it would be returned (BY=…;R) before it may leave (HOLDFOR, HOLDUNTIL) */
};

void transaction_init(struct transaction *t);
void transaction_done(struct transaction *t);
/* Forgets the message. */
void transaction_reset(struct transaction *t);
/* MAIL was accepted at this time. Forgets what was there before. */
enum transaction_answer transaction_begin(struct transaction *t, const struct smtp_mail *m,
                                          struct wall now);
/* RCPT was accepted; `address` is what to deliver to (the path, or what stands for "postmaster").
 */
enum transaction_answer transaction_add(struct transaction *t, struct slice address,
                                        const struct smtp_rcpt *r);
/* The recipient that was added last is on the suppression list, and is to end at once, for this
 * reason. */
void transaction_drop(struct transaction *t, struct slice reason);
/* What MAIL and RCPT said, as it travels on: sender, recipients, parameters, times. All else in *e
 * is left alone. Slices are borrowed from t. How long the message lives is the spooler's to work
 * out. */
void transaction_fill(const struct transaction *t, struct envelope *e);

/* What the files of this room share. One struct session is one connection; it lives until the
 * connection is gone and nothing it asked for is out. */
#pragma once
#include "relay/conf/users.h"
#include "relay/inbound/accounts.h"
#include "relay/inbound/auth.h"
#include "relay/inbound/clients.h"
#include "relay/inbound/inbound.h"
#include "relay/inbound/known.h"
#include "relay/inbound/networks.h"
#include "relay/inbound/rates.h"
#include "relay/inbound/rules.h"
#include "relay/inbound/suppressed.h"
#include "relay/inbound/transaction.h"
#include "relay/inbound/turns.h"
#include "relay/loop/worker.h"
#include "relay/mail/fixup.h"
#include "relay/net/addr.h"
#include "relay/net/served.h"
#include "relay/smtp/server.h"

#define SESSION_ID_SIZE 40
/* From the end of data to the reply, however slow the disk is: before a client gives up and sends
 * the message a second time. */
#define REPLY_WITHIN_MS (INT64_C(30) * 1000)

struct inbound_shared {
    struct spooler *spooler;
    struct accounts *accounts;
    struct known *known;
    struct rates *rates;
    struct worker *hasher;
    struct turns *turns;      /* what waits for it */
    atomic_bool ends_hashing; /* what still waits is nobody's any more */
    struct clients *clients;
    struct suppress *suppress; /* NULL: nobody is */
};

/* What the door knows of a caller that it lets in. */
struct admission {
    struct client *client; /* entered; the session leaves it at its end */
    struct clients_key key;
    bool trusted; /* may relay without AUTH */
    bool exempt;  /* neither bans nor the connection rate hold for it */
};

struct listening {
    struct inbound *in;
    char *name;
    size_t slot;  /* for the counters: the listener's place at start */
    size_t index; /* in the configuration in force … */
    bool served;  /* … which may have it no more */
    struct networks trust, proxies;
    struct admission admitted; /* between net's two questions about one caller */
    char words[256];           /* to the one that is being refused */
    struct tls_context *tls;
    struct net_listener *listener;
    struct listening *next;
};

struct inbound {
    struct loop *loop;
    struct inbound_shared *shared;
    struct conf *conf;
    struct tls_context *tls;
    struct networks allow; /* clients.allow */
    struct port port;      /* answers and orders to this room */
    struct auth_room *auth;
    struct listening *listening;
    struct session *sessions; /* utlist; those that are closed and still wait, too */
    uint64_t sessions_begun, boot;
    bool stopping, freeing;
};

struct dkim_sign; /* relay/mail */

/* The message of the running transaction. */
struct intake {
    struct header_scan scan;
    struct fixup fixup; /* once `judged` */
    struct buf content; /* not yet handed on */
    size_t out_bytes;   /* memory of what is with the spooler */
    size_t counted;     /* of all this, in M_INTAKE_BYTES */
    uint64_t stored;    /* octets handed to the body file, prefix included */
    uint64_t id;
    struct mono ended;            /* committing: when the content had ended */
    bool begun, judged;           /* judged: the header section, and found good */
    bool to_file, step_out, held; /* held: the machine's BODY waits for the step's answer */
    bool committing, storing;     /* storing: the file's fate is the spooler's */
    int error;
    struct body *body;
    struct conf *keys;      /* has the keys that were in force when the content began */
    struct dkim_sign *sign; /* its author has one here; borrows from keys */
    size_t sign_at;         /* where its fields belong in the content */
};

struct session {
    struct inbound *in;
    struct conf *conf;
    struct tls_context *tls;
    const struct conf_listener *listener;
    size_t slot;
    struct served served;
    struct net_names names;
    struct smtp_server_conf smtp_conf;
    char id[SESSION_ID_SIZE];
    struct admission admission;
    bool trusted, closed, has_tls;
    bool
        coming; /* it counts in M_MESSAGES_COMING: MAIL was taken, the store is not asked for yet */
    const struct smtp_reply *delayed; /* a failed login's, static; NULL: none */
    unsigned rejections;              /* told since the last accepted message */
    unsigned pending;                 /* requests out that will come back to this session */
    struct auth auth;
    struct rules rules;
    struct suppressed suppressed;
    struct transaction txn;
    struct intake intake;
    struct session *prev, *next;
};

/* session.c */
struct session *session_new(struct inbound *in, const struct listening *l,
                            const struct admission *a, struct net_conn *c);
/* The answer to the open question, now or later; nothing happens when the client is gone. */
void session_answer(struct session *s, const struct smtp_reply *r);
/* The message is over, whichever way: what it took is given back, its envelope too. */
void session_forget_message(struct session *s);
void session_set_coming(struct session *s, bool coming);
/* A request came back; false: the session is over and has been freed. */
bool session_back(struct session *s);

/* door.c: the acceptor of a struct listening */
/* Is it a balancer? Then it must say who the client is, who is asked about after. */
bool door_behind_proxy(void *ctx, const struct sockaddr *peer);
bool door_admit(void *ctx, const struct sockaddr *peer, struct slice *ret_words);
bool door_accept(void *ctx, struct net_conn *c, const struct net_handler **ret_h, void **ret_ctx);

/* guard.c: how every login ends, and what is asked before each */
/* The login failed: counted, and `r` (static) is the answer after the client's delay, or another
 * one when this failure was its last. */
void guard_failed(struct session *s, struct guess guess, const struct smtp_reply *r);
/* The same credential has failed just now: what is it good for to hash it again? */
bool guard_has_failed(struct session *s, uint64_t credential);
/* It was right, and is still to be answered. */
void guard_succeeded(struct session *s, uint64_t name);
/* False: the client is banned, and has been told. */
bool guard_may_try(struct session *s);
/* Answers what was delayed; false: nothing was. */
bool guard_late(struct session *s);

/* intake.c */
void intake_begin(struct session *s);
void intake_body(struct session *s, struct slice piece, struct mono now);
void intake_commit(struct session *s, struct mono now);
void intake_late(struct session *s); /* the reply is due and the content not yet on the disk */
/* What the client hears when the disk says `error`. */
const struct smtp_reply *intake_disk_reply(int error);
void intake_abort(struct session *s);
void intake_body_answer(struct session *s, struct spooler_body *b);
void intake_store_answer(struct session *s, struct spooler_store *st);

void session_free(struct session *s);

/* refuse.c: a `rejected` event and its counter; recipient "" = not about one recipient */
void session_rejected(struct session *s, const struct smtp_reply *r, struct slice sender,
                      struct slice recipient);

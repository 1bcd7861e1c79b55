/*
 * The client side of one SMTP session as a pure machine, over one phases[] table (phases.def): a
 * send cursor and a FIFO of expected replies, so that pipelining (RFC 2920) is the ordinary case.
 * The driver feeds what the socket gave, sends what smtp_client_output holds, and does what
 * smtp_client_next says. Replies are matched strictly (RFC 5321 section 4.2): a reply nobody waits
 * for, or one that is no reply, ends the session as FAULT_SMTP_PROTOCOL, and what was in doubt is
 * deferred. For this the driver hands in all the bytes that it has, and tells smtp_client_sent
 * before it hands in what came after: a yes that is older than the dot is no delivery. Law: any
 * split of what the peer says in its turn gives the same actions and output; each begin has one
 * TXN_DONE.
 *
 * One transaction at a time, the next one's envelope at most ahead of the reply to the dot (RFC
 * 2920 section 3.1); the connection can carry many. Bounds: a reply <= 100 lines of 2048
 * bytes, of which 1 KiB is kept; 4 KiB or 128 commands ahead of their replies. Timeouts: RFC 5321
 * section 4.5.3.2, per phase.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/classes.h"
#include "relay/base/verdict.h"
#include "relay/smtp/ehlo.h"
#include "relay/smtp/types.h"

/* VERIFY: as ENCRYPT, and the driver's handshake fails unless the certificate is valid for the
 * host's name. */
enum smtp_tls_level { SMTP_TLS_NONE, SMTP_TLS_MAY, SMTP_TLS_ENCRYPT, SMTP_TLS_VERIFY };

struct smtp_client_conf { /* borrowed, must outlive the session */
    struct slice helo;    /* our name: an FQDN or an address literal */
    enum smtp_tls_level tls;
    bool tls_on;                   /* already under TLS (implicit) */
    const struct classes *classes; /* own rows of the classification; NULL: none */
    bool no_chunking; /* CHUNKING, where offered, is not to be believed (FAULT_CHUNKING) */
    bool login;       /* AUTH (RFC 4954) before the first transaction, inside TLS only */
    bool set_up;      /* what the peer demands of us (530: a login, TLS) is for whoever set this
                         way up to mend: no word on the mail */
    struct slice own_name;   /* a peer that says this, or helo, of itself is we: FAULT_LOOP; "": not
                                looked at */
    int64_t timeout_percent; /* scales all timeouts for tests; 0 = 100 */
};

/* What else was asked for a recipient. */
struct smtp_client_ask {
    unsigned notify;    /* enum mail_notify; 0: unsaid */
    struct slice orcpt; /* decoded, "type;address"; "": none */
    enum fault fault;   /* the driver knows that this host is not for this recipient */
};

/* Parameters are said as far as the peer offers them. What cannot go without one (SMTPUTF8,
 * REQUIRETLS, a deadline shorter than the peer's) has that fault as its verdict, and the others go.
 */
struct smtp_client_txn { /* what it points to is borrowed until TXN_DONE */
    struct slice sender; /* "" = null reverse-path */
    const struct slice *rcpts;
    size_t n_rcpts;
    uint64_t size;    /* octets of the content */
    bool eight_bit;   /* the content has bytes >= 0x80: BODY=8BITMIME where offered, else sent as it
                         is */
    bool utf8_header; /* the header section has: with params.smtputf8 only for a peer that has it */
    struct mail_params
        params;         /* BINARYMIME goes as it is (BDAT), or re-encoded (relay/mail/reencode)
                         */
    struct slice envid; /* decoded; "": none */
    int64_t by_s;       /* of params.by: seconds that are left */
    bool rehearsal;     /* ends before DATA: whom the peer would take has VERDICT_NONE */
    const struct smtp_client_ask *asks; /* one a recipient; NULL: nothing */
};

enum smtp_client_act {
    CLI_STARTTLS, /* start the handshake, then smtp_client_tls_done (where plain text waits, FAILED
                     comes instead) */
    CLI_LOGIN,    /* smtp_client_login at first, smtp_client_respond to a challenge */
    CLI_READY,    /* a transaction can begin: smtp_client_begin, or smtp_client_quit */
    CLI_BODY,     /* wants content: smtp_client_body once (again asked while there is more) */
    CLI_TXN_DONE, /* verdicts[0..n) of the transaction; `reusable` says whether READY will follow */
    CLI_FAILED, /* the session is over before its first transaction: verdict speaks about this host
                 */
    CLI_CLOSE   /* send the output if any, then close */
};

struct smtp_client_action {
    enum smtp_client_act act;
    const struct verdict *verdicts; /* TXN_DONE: one a recipient, borrowed until the next begin */
    size_t n;
    bool reusable;
    const struct verdict *verdict; /* FAILED */
    bool challenged;               /* LOGIN: it is not the first … */
    struct slice challenge;        /* … and this is what the peer asks, decoded; borrowed */
};

struct smtp_client; /* opaque */

/* Connected; waits for the banner. */
struct smtp_client *smtp_client_new(const struct smtp_client_conf *conf, struct mono now);
void smtp_client_free(struct smtp_client *c);

size_t smtp_client_bytes(struct smtp_client *c, struct slice in, struct mono now);
bool smtp_client_next(struct smtp_client *c, struct smtp_client_action *ret);
/* After CLI_READY: no recipient needs what the peer does not offer. */
bool smtp_client_suits(const struct smtp_client *c, const struct smtp_client_txn *t);
/* After CLI_READY. Sends RSET first where the last transaction left something behind. */
void smtp_client_begin(struct smtp_client *c, const struct smtp_client_txn *t, struct mono now);
/* The dot has left the output, its reply is all that is awaited, and a further envelope may go in
 * front of that. With PIPELINING, and by DATA: by BDAT a message mostly needs one round trip as it
 * is. */
bool smtp_client_takes_another(const struct smtp_client *c);
/* When smtp_client_takes_another. Two TXN_DONE follow in this order; the first is `reusable` where
 * the second goes on. Of one that was not decided, because the session ended with the dot in front
 * of it, all recipients are FAULT_CONN_LOST in PHASE_MAIL; no content was asked for. */
void smtp_client_begin_behind(struct smtp_client *c, const struct smtp_client_txn *t,
                              struct mono now);
/* While the dot in front is unanswered (else nothing): what it was begun for is the driver's again,
 * no TXN_DONE follows for it, and the session ends with the one in front. */
void smtp_client_take_back(struct smtp_client *c);
/* After CLI_BODY: the next piece of content (exact stored bytes, CRLF lines; dot-stuffing happens
 * here), `last` with the final one, which may be empty. A missing final CRLF is added before the
 * dot. The bytes are copied (into the output, <= 64 KiB + one piece, dots doubled). A bare CR or LF
 * ends the session as FAULT_BODY_LOST, without the dot; in binary content they are ordinary, and
 * what cannot be re-encoded is FAULT_CONVERSION. */
void smtp_client_body(struct smtp_client *c, struct slice piece, bool last, struct mono now);
/* The content cannot be read: the connection is given up without ending the data; all recipients
 * get `v`'s copy. */
void smtp_client_body_failed(struct smtp_client *c, const struct verdict *v, struct mono now);
/* FAULT_NONE: it is done, and the certificate as the level wants it. */
void smtp_client_tls_done(struct smtp_client *c, enum fault f, struct slice why, struct mono now);
/* After CLI_LOGIN. `initial` is the response that goes with the command (has_initial: it may be ""
 * all the same, RFC 4954 section 4); where the line would be too long it waits for the peer's first
 * challenge. Both are copied, and wiped when they are gone. */
void smtp_client_login(struct smtp_client *c, const char *mechanism, struct slice initial,
                       bool has_initial, struct mono now);
/* After a challenge. */
void smtp_client_respond(struct smtp_client *c, struct slice response, struct mono now);
/* After CLI_LOGIN: no response can be given. The session ends with this fault. */
void smtp_client_login_failed(struct smtp_client *c, enum fault f, struct slice why);
/* After CLI_READY: QUIT, and CLOSE at once. */
void smtp_client_quit(struct smtp_client *c, struct mono now);
/* The peer closed, or the connection broke (why = text for the verdict). What has no verdict yet
 * gets one. */
void smtp_client_lost(struct smtp_client *c, struct slice why, struct mono now);
struct slice smtp_client_output(const struct smtp_client *c);
void smtp_client_sent(struct smtp_client *c, size_t n, struct mono now);
struct mono smtp_client_deadline(const struct smtp_client *c);
void smtp_client_tick(struct smtp_client *c, struct mono now);

/* After the last EHLO; all false before, and after HELO. */
const struct smtp_peer *smtp_client_peer(const struct smtp_client *c);
enum phase smtp_client_phase(const struct smtp_client *c);
/* Who looks on may begin here (smtp_watch_new_within): nothing is half said, neither a login nor
 * content is under way, the output is empty, and so many replies are still to come. */
bool smtp_client_at_ease(const struct smtp_client *c, size_t *ret_awaited);
/* At the login, for whoever begins in the middle: a peer may repeat it. */
const struct smtp_hidden *smtp_client_said(const struct smtp_client *c);
/* Of the last transaction: some of its content went by BDAT. */
bool smtp_client_used_chunks(const struct smtp_client *c);

/* (phase, reply) -> fate: pure, one table, tested whole. relay/smtp/trouble.c. Text is copied. */
struct verdict smtp_trouble(enum phase phase, const struct smtp_reply *reply);
/* The same on a session's terms. An administrator's own rows (conf->classes) are asked first: they
 * say why, and inside of a transaction whether for ever, but of 421 and of too many recipients at a
 * time. conf->set_up: a demand is temporary and the host's. */
struct verdict smtp_trouble_by(const struct smtp_client_conf *conf, enum phase phase,
                               const struct smtp_reply *reply);
/* A refusal of RCPT that only says that the transaction is full (RFC 5321 section 4.5.3.1.10): 452
 * without another reason, or a code x.5.3. With others taken in it, the next transaction may do. */
bool smtp_trouble_is_no_room(const struct verdict *v);

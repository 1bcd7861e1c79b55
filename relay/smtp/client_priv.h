/*
 * The inside of the client machine, shared by client.c (the session: replies, time, actions),
 * client_talk.c (what is said: the rows of phases.def), client_params.c (what of it depends on what
 * the peer offers), client_content.c (how the content is written) and client_login.c (AUTH). Nobody
 * else includes this.
 */
#pragma once
#include "relay/mail/reencode.h"
#include "relay/smtp/client.h"
#include "relay/smtp/dot.h"
#include "relay/smtp/hidden.h"
#include "relay/smtp/reply.h"

enum step {
#define X(name, phase, seconds, sends, class, good, bad) STEP_##name,
#include "relay/smtp/phases.def"
#undef X
    STEP_COUNT
};

/* Where the session stands between two replies. */
enum stage {
    STAGE_HELLO,     /* from the banner to the last EHLO; `next` is said when nothing is awaited */
    STAGE_HANDSHAKE, /* the driver is busy with TLS */
    STAGE_LOGIN,     /* AUTH: the driver is busy with the next response, or its reply is awaited */
    STAGE_READY,
    STAGE_ENVELOPE, /* RSET, MAIL, RCPT, DATA: `cursor` says how far */
    STAGE_CONTENT,  /* 354 is here, the dot is not written */
    STAGE_DOT,      /* the dot is written, its reply is not here */
    STAGE_QUIT,     /* for a moment: nothing but the word is left */
    STAGE_OVER
};

/* What of an envelope is written next. */
enum cursor { CURSOR_RSET, CURSOR_MAIL, CURSOR_RCPT, CURSOR_DATA, CURSOR_END };

/* How the content goes. */
enum content {
    CONTENT_LINES,       /* DATA */
    CONTENT_REENCODED,   /* DATA, binary no more */
    CONTENT_LINE_CHUNKS, /* BDAT, the same octets as with DATA, but for doubled dots */
    CONTENT_CHUNKS       /* BDAT, any bytes */
};

/* A command whose reply is awaited. */
struct awaited {
    enum step step;
    size_t rcpt;
    size_t bytes; /* of the command */
    uint64_t end; /* where it, with the octets of its chunk, ends in all that we say */
};

/* What may be written ahead of its replies: a server that does not read while it writes must never
 * meet a client that does the same (RFC 2920 section 3.1). One command always goes. */
#define AHEAD_MAX 128
#define AHEAD_BYTES_MAX 4096

struct smtp_client {
    const struct smtp_client_conf *conf;
    struct smtp_reply_parser parser;
    struct smtp_peer peer;
    struct buf out;
    size_t out_sent; /* bytes of `out` that are gone */
    uint64_t gone;   /* of all that we have said */
    struct mono deadline;
    enum stage stage;
    enum step next;             /* STAGE_HELLO */
    bool tls, told_ready, used; /* used: a transaction was begun */
    struct mono heard;          /* the last whole reply */
    bool logged_in;
    struct smtp_hidden said; /* at the login */
    bool meets_itself;       /* the peer says that it has our name */
    bool secret;             /* `out` holds or held a credential: wiped when it is gone */
    bool challenged;         /* CLI_LOGIN is for this challenge: */
    struct buf challenge;    /* decoded */
    struct buf initial;      /* base 64: a first response that was too long for its command */

    struct awaited ahead[AHEAD_MAX]; /* a ring: the FIFO of expected replies */
    size_t ahead_head, ahead_n, ahead_bytes;

    struct smtp_client_txn txn;
    struct verdict *verdicts; /* one a recipient; VERDICT_NONE: not decided */
    size_t n_verdicts;
    enum cursor cursor;
    size_t next_rcpt; /* the one that CURSOR_RCPT means */
    size_t n_accepted;
    bool mail_open; /* the peer holds a transaction: RSET before the next */
    bool lone_dot;  /* 354 came although no recipient was taken */
    bool behind;    /* the transaction was begun before the reply to the dot in front of it */
    bool spent;     /* one was taken back from there: the peer holds half of it */
    struct {        /* that one in front … */
        struct verdict *verdicts;
        size_t n;
        bool open;           /* … while its dot is unanswered */
        bool told, reusable; /* … its end is the next TXN_DONE of acts */
    } front;
    bool asked; /* CLI_BODY is out */
    enum content content;
    bool at_once; /* chunks go before the replies to the envelope are here */
    size_t given; /* octets of content that the driver gave */
    bool utf8;    /* the transaction is SMTPUTF8 */
    struct dot_writer dots;
    struct reencode *reencode; /* CONTENT_REENCODED */
    uint64_t n_mails;
    size_t block_progress; /* bytes that went since the deadline was set */

    enum smtp_client_act acts[3]; /* for the driver, in this order */
    size_t n_acts;
    bool reusable;
    struct verdict failed;
};

/* ---- client.c ---- */

void client_act(struct smtp_client *c, enum smtp_client_act act);
/* Writes the words as one line (none: nothing) and waits for the reply to `step`. */
void client_say(struct smtp_client *c, enum step step, size_t rcpt, const struct slice *words,
                size_t n, struct mono now);
/* Sets the deadline for what is awaited now. */
void client_renew(struct smtp_client *c, struct mono now);
/* The session ends with v (taken): what has no verdict gets it, then CLOSE. `quit`: QUIT is said on
 * the way out. */
void client_over(struct smtp_client *c, struct verdict v, bool quit);
void client_over_fault(struct smtp_client *c, enum fault f, struct slice detail);
/* v (lent) for all recipients that have no verdict. */
void client_settle(struct smtp_client *c, const struct verdict *v);
/* The transaction is over and the session goes on. */
void client_txn_done(struct smtp_client *c);
/* The same of the one in front, by this verdict (lent). */
void client_front_done(struct smtp_client *c, const struct verdict *v);

/* ---- client_content.c ---- */

bool client_in_chunks(const struct smtp_client *c);
bool client_wants_body(const struct smtp_client *c);
/* Replies to MAIL or RCPT are awaited. */
bool client_envelope_is_open(const struct smtp_client *c);

/* ---- client_talk.c ---- */

typedef void client_reply_fn(struct smtp_client *c, const struct awaited *a,
                             const struct smtp_reply *reply);

extern const struct phase_row {
    enum phase phase;
    int64_t seconds;
    struct slice sends;
    unsigned class;
    client_reply_fn *good, *bad;
} client_phases[STEP_COUNT];

/* Settles what need not be sent, and starts on the rest. */
void client_begin_envelope(struct smtp_client *c, struct mono now);
/* Says and asks what can be said and asked now. */
void client_go_on(struct smtp_client *c, struct mono now);

/* ---- client_login.c ---- */

/* The hello is said, and nobody is logged in yet. */
void client_login_due(struct smtp_client *c);
/* 334. */
void client_challenged(struct smtp_client *c, const struct smtp_reply *reply, struct mono now);
void client_wipe(struct buf *b);

/* ---- client_params.c ---- */

/* Why recipient i of t cannot go to this peer; FAULT_NONE: it can. */
enum fault client_lacks(const struct smtp_client *c, const struct smtp_client_txn *t, size_t i);
enum content client_content_of(const struct smtp_client *c);
/* The message may go in one round trip: all that is lost by a refusal are CLIENT_AT_ONCE octets of
 * content, and the rest of the piece that they end in. */
#define CLIENT_AT_ONCE (256U << 10)
bool client_may_go_at_once(const struct smtp_client *c, struct mono now);
/* Address i, or the sender (CLIENT_SENDER), makes the transaction SMTPUTF8. */
#define CLIENT_SENDER SIZE_MAX
bool client_needs_utf8(const struct smtp_client_txn *t, size_t i);
/* All that stands behind the path, each with a blank before it. */
void client_mail_params(const struct smtp_client *c, struct buf *out);
void client_rcpt_params(const struct smtp_client *c, size_t i, struct buf *out);

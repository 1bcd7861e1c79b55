/*
 * The server side of one SMTP session (RFC 5321 and the extensions of extensions.def) as a pure
 * machine: bytes and time in, actions and a deadline out. It owns no socket, reads no clock and
 * calls nobody.
 *
 * The driver's loop:   while (smtp_server_next(s, &a)) act(a);   then send smtp_server_output, then
 * feed more bytes. While a question (ASK_*, COMMIT) is open, or BODY has not been taken,
 * smtp_server_bytes consumes nothing: the rest stays with the driver, and so back pressure is free.
 * Law: any split of the input gives the same actions and the same output.
 *
 * Bounds: a command line <= 2048 bytes (AUTH responses 12,288), recipients, message size and errors
 * as configured; each limit has its reply in server.c's table. Slices in an action are borrowed
 * until the next call that takes bytes or an answer.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/smtp/extensions.h"
#include "relay/smtp/types.h"

struct smtp_server_conf {  /* borrowed, must outlive the session */
    struct slice hostname; /* in the greeting and the EHLO reply */
    struct slice banner;   /* text behind the host name in the greeting; "" = "ESMTP postwain" */
    struct slice auth_mechanisms; /* "PLAIN LOGIN"; "" = AUTH is not offered */
    /* Set of enum smtp_extension: what may be offered, and is then taken. STARTTLS and AUTH go by
     * the fields below; REQUIRETLS is offered within TLS, FUTURERELEASE and LIMITS where there is a
     * number, BINARYMIME with CHUNKING, SMTPUTF8 with 8BITMIME. */
    unsigned extensions;
    bool starttls;              /* offered while the session is not under TLS */
    bool auth_needs_tls;        /* AUTH is neither offered nor taken before TLS: 538 5.7.11 */
    bool auth_required;         /* MAIL before AUTH: 530 5.7.0 */
    uint64_t max_message_size;  /* octets of content; 552 5.3.4; 0: no limit */
    unsigned max_recipients;    /* 452 4.5.3 */
    unsigned max_errors;        /* bad commands before 421 4.7.0 and close */
    unsigned max_auth_failures; /* before 421 4.7.0 and close */
    unsigned max_messages;      /* per session, then 421 4.7.0; 0: no limit */
    unsigned max_idle;          /* commands that bring no message forward, between two messages,
                                   then 421 4.7.0; 0: no limit */
    unsigned max_unknown;       /* the same for commands that do not exist */
    unsigned max_refused;       /* RCPT, DATA and BDAT answered 5xx, between two messages, then
                                   421 4.7.0; 0: no limit */
    int64_t max_hold_s;         /* HOLDFOR: 501 5.5.4 beyond; 0: FUTURERELEASE is not offered */
    struct wall max_hold_until; /* HOLDUNTIL: 501 5.5.4 beyond */
    int64_t min_by_s;           /* BY=…;R: 555 5.5.4 below */
    int64_t greeting_delay_ms;  /* who talks before the greeting is refused: 554 5.5.1; 0: it is
                                   sent at once */
    int64_t login_timeout_ms;   /* where AUTH is required: from the first moment until it has
                                   succeeded; 421 4.7.0; 0: no limit */
    int64_t command_timeout_ms; /* for a whole command, however its bytes come; RFC 5321 4.5.3.2.7:
                                   5 min */
    int64_t message_timeout_ms; /* from one step to the next, however much is said in between: the
                                   first moment, MAIL taken, the end of content; the driver's own
                                   time with content is not counted; 421 4.4.2; 0: no limit */
    int64_t data_timeout_ms;    /* between blocks of content */
    unsigned min_data_rate;     /* bytes/s over a running minute while content comes; 0: no guard;
                                   421 4.4.2 */
};

enum smtp_server_act {
    SRV_STARTTLS, /* send the output, drop every byte not yet consumed, start the handshake, then
                     smtp_server_tls_started. Bytes that stand behind STARTTLS in the same input are
                     seen here: 554 and CLOSE */
    SRV_ASK_AUTH, /* mechanism, response (base64 as received, "=" given as ""; has_response says
                     whether there is one): answer 334 with the base64 challenge as text, 235, or a
                     refusal; 5xx counts against max_auth_failures, 4xx does not */
    SRV_AUTH_CANCELLED, /* the client sent "*", or no base64: forget the exchange; no answer wanted
                           (the 501 is out) */
    SRV_ASK_MAIL,       /* mail: answer 250 or a refusal */
    SRV_ASK_RCPT,       /* rcpt: answer 250 or a refusal */
    SRV_BODY,    /* content: exact bytes, unstuffed, CRLF line ends, last line ended (BINARYMIME: as
                    it came); take it, then smtp_server_body_taken. It points    into the input of
                    smtp_server_bytes, which    must    live until then; no other action does */
    SRV_COMMIT,  /* the content is whole: answer with the final reply */
    SRV_ABORT,   /* the transaction is over without COMMIT (RSET, EHLO, refused content, lost
                    connection): forget it; no answer */
    SRV_REFUSED, /* the machine refused something by itself, for the log: reply, and mail/rcpt where
                    it was one; no answer */
    SRV_CLOSE /* send the output, then close; nothing comes after; forget an AUTH exchange that is
                 open */
};

struct smtp_server_action {
    enum smtp_server_act act;
    struct slice mechanism,
        response; /* ASK_AUTH; the mechanism is in upper case, "" in a continuation */
    bool has_response;
    const struct smtp_mail *mail;
    const struct smtp_rcpt *rcpt;
    struct slice body;
    struct smtp_reply refused; /* REFUSED */
};

struct smtp_server; /* opaque; ~2 KiB while idle */

/* Starts with the greeting in the output, unless it is delayed. `tls`: already under TLS
 * (implicit). */
struct smtp_server *smtp_server_new(const struct smtp_server_conf *conf, bool tls, struct mono now);
void smtp_server_free(struct smtp_server *s);

/* Takes as many bytes as it can before the next action; returns how many it took: none only while
 * it waits (above, or for output to be sent), or after CLOSE. */
size_t smtp_server_bytes(struct smtp_server *s, struct slice in, struct mono now);
/* The next thing the driver must do; false: nothing, feed bytes or wait for the deadline. */
bool smtp_server_next(struct smtp_server *s, struct smtp_server_action *ret);
/* The answer to the open question. For MAIL, RCPT and COMMIT a 2xx means yes, all else no. 421
 * closes. Ignored when the session has ended meanwhile, as is smtp_server_body_taken. */
void smtp_server_answer(struct smtp_server *s, const struct smtp_reply *reply, struct mono now);
void smtp_server_body_taken(struct smtp_server *s, struct mono now);
/* The driver cannot go on with this message (disk, limits): the rest of the content is consumed
 * unseen (bounded by the maximum size), then `reply` is given instead of COMMIT, after an ABORT.
 * The reply's text is copied. */
void smtp_server_body_refuse(struct smtp_server *s, const struct smtp_reply *reply);
/* The handshake is done (RFC 3207 section 4.2: all knowledge is forgotten, a new EHLO is needed).
 */
void smtp_server_tls_started(struct smtp_server *s, struct mono now);
/* The client closed its side, and all that it sent was consumed: ABORT (when a transaction is open)
 * and CLOSE follow. An open COMMIT stays valid: its answer is taken, so that the message counts as
 * accepted. */
void smtp_server_eof(struct smtp_server *s);
/* We stop: 421 4.3.2 as soon as no command and no content is under way, CLOSE after it. */
void smtp_server_shutdown(struct smtp_server *s, struct mono now);
/* Bytes to send; tell how many went. */
struct slice smtp_server_output(const struct smtp_server *s);
void smtp_server_sent(struct smtp_server *s, size_t n);
/* When smtp_server_tick wants to be called (never earlier is needed); MONO_NEVER while a question
 * is open. */
struct mono smtp_server_deadline(const struct smtp_server *s);
void smtp_server_tick(struct smtp_server *s, struct mono now);

/* What the session knows, for Received: and the log. */
struct slice
smtp_server_helo(const struct smtp_server *s); /* as given, printable ASCII only; "" before EHLO */
bool smtp_server_esmtp(const struct smtp_server *s); /* EHLO rather than HELO */
bool smtp_server_tls(const struct smtp_server *s);
bool smtp_server_authenticated(const struct smtp_server *s);
/* Who looks on may begin here (smtp_watch_new_within, with no reply to come): between two commands,
 * of which all are answered, and nothing is left in the output. */
bool smtp_server_at_ease(const struct smtp_server *s);

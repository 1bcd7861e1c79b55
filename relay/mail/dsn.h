/*
 * Delivery status notifications (RFC 3461, 6522, 3464): what the sender of a failed message gets.
 * Pure: everything needed is handed in, the finished message (CRLF lines) comes out. What we write
 * is ASCII: a character of the peer's past ASCII is shown as \x{its number}. Only of mail that
 * asked for SMTPUTF8 and has an address past ASCII the report is an international one (RFC 6533),
 * in UTF-8. The original is carried byte for byte; if it has 8-bit bytes, the parts around it say
 * 8bit.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/verdict.h"
#include "relay/mail/dsn_template.h"

/* RELAYED: to a server that will not say what became of it (RFC 3461 section 5.2.2). DELIVERED: its
 * way ends here (RFC 3461 section 6.2). */
enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_DELIVERED };
/* Nothing is left to do for it. */
static inline bool dsn_is_good(enum dsn_action a)
{
    return a == DSN_RELAYED || a == DSN_DELIVERED;
}

struct dsn_recipient {
    struct slice address; /* final recipient */
    struct slice orcpt;   /* "type;address", decoded from xtext; "" = none */
    enum dsn_action action;
    struct enhanced status; /* told in place of the verdict's; zero: that one */
    const struct verdict *verdict;
    struct slice remote_mta;      /* host name of the receiver, "" = never reached one */
    struct wall last_attempt;     /* 0 = none */
    struct wall will_retry_until; /* delayed only; 0 = none */
};

struct dsn_input {
    struct slice reporting_mta, postmaster; /* our host name; From: of the report */
    struct slice to;                        /* the reverse-path, never "" */
    struct slice queue_id, report_id;       /* of the original; of the report (its Message-ID) */
    struct slice boundary; /* unique text; dsn_write lengthens it while the original has it */
    struct slice envid;    /* decoded; "" = none */
    bool smtputf8;         /* the original asked for it (RFC 6531) */
    struct wall arrived, now;
    const struct dsn_recipient *rcpts;
    size_t n_rcpts;
    size_t n_more;      /* recipients with the same fate that are only counted, for want of room */
    bool double_bounce; /* the original is a report itself, and this goes to a postmaster */
    const struct dsn_template *words; /* an administrator's own; NULL: ours */
    struct slice original;            /* the original message, or its header section */
    bool headers_only;                /* original is cut at the empty line: text/rfc822-headers */
};

/* Is the report to be an international one? Its parts are then UTF-8, 8bit. */
bool dsn_is_global(const struct dsn_input *in);
/* Is it to be sent with SMTPUTF8, too? Only to an address past ASCII: for any other its own header
 * is ASCII, because the way to its sender may not have SMTPUTF8 (RFC 6533 section 6). */
bool dsn_needs_smtputf8(const struct dsn_input *in);
/* Appends the whole report; false, with nothing added, when out's maximum is too small. */
bool dsn_write(struct buf *out, const struct dsn_input *in);

/* Words that both machines and their drivers share: a reply, a path as parsed, the parameters of
 * MAIL and RCPT. */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/params.h"
#include "relay/base/slice.h"
#include "relay/base/verdict.h"

/* One reply to be sent (server) or as received (client). Text lines are joined by '\n'; the
 * enhanced code is not in the text. */
struct smtp_reply {
    uint16_t code;
    struct enhanced enhanced; /* zero: none */
    struct slice text;        /* borrowed */
};

/* SMTP_REPLY_INIT initialises a static reply; SMTP_REPLY is one in an expression. */
#define SMTP_REPLY_INIT(code_, class_, subject_, detail_, literal)                                 \
    {                                                                                              \
        (code_), {(class_), (subject_), (detail_)},                                                \
        {                                                                                          \
            (const uint8_t *)("" literal), sizeof(literal) - 1                                     \
        }                                                                                          \
    }
#define SMTP_REPLY(code_, class_, subject_, detail_, literal)                                      \
    ((struct smtp_reply){(code_), {(class_), (subject_), (detail_)}, SLICE_LIT(literal)})

/* MAIL FROM. `path` is the mailbox without <>, "" for the null reverse-path; local-part case and
 * quoting kept as given, source route stripped. RFC 5321 section 4.1.1.2. */
struct smtp_mail {
    struct slice path;
    uint64_t size; /* SIZE=, 0: unknown */
    struct mail_params params;
    struct slice auth;  /* AUTH= as given (RFC 4954), "" when absent; not trusted, not carried */
    struct slice envid; /* ENVID= decoded (RFC 3461 section 4.4), "" when absent */
    int64_t hold_s;     /* HOLDFOR= (RFC 4865), 0: absent */
    struct wall hold_until; /* HOLDUNTIL=, 0: absent */
    int64_t by_s; /* BY= (RFC 2852): seconds from now, when params.by says that there is one;
                     negative only with MAIL_BY_NOTIFY */
};

/* RCPT TO. "postmaster" alone has no domain (RFC 5321 section 4.5.1). */
struct smtp_rcpt {
    struct slice path;
    unsigned notify;    /* enum mail_notify, 0: absent */
    struct slice orcpt; /* ORCPT= decoded, "type;address" (RFC 3461 section 4.2), "" when absent */
};

/*
 * What a client asks for with the parameters of MAIL and RCPT, and what therefore travels with the
 * message the whole way: session, envelope, spool, delivery, DSN. The values of the enums are on
 * disk: never renumber. Times are not here: a session knows spans, an envelope moments.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* BODY (RFC 6152, RFC 3030). BINARYMIME content may have any line ends and lengths. */
enum mail_body { MAIL_BODY_7BIT = 0, MAIL_BODY_8BITMIME = 1, MAIL_BODY_BINARYMIME = 2 };
/* RET (RFC 3461 section 4.3): what of the message a DSN about failure brings back. */
enum mail_ret { MAIL_RET_UNSAID = 0, MAIL_RET_FULL = 1, MAIL_RET_HDRS = 2 };
/* BY (RFC 2852): at the deadline the message is returned, or its sender told. */
enum mail_by { MAIL_BY_NONE = 0, MAIL_BY_RETURN = 1, MAIL_BY_NOTIFY = 2 };
/* NOTIFY (RFC 3461 section 4.1), a set; 0: unsaid, that is failure, and delay where the relay likes
 * to. */
enum mail_notify {
    MAIL_NOTIFY_NEVER = 1, /* alone */
    MAIL_NOTIFY_SUCCESS = 2,
    MAIL_NOTIFY_FAILURE = 4,
    MAIL_NOTIFY_DELAY = 8
};

enum { MAIL_PRIORITY_MIN = -9, MAIL_PRIORITY_MAX = 9 };

struct mail_params {
    enum mail_body body;
    enum mail_ret ret;
    enum mail_by by;
    bool by_trace;   /* BY=…T: a DSN "relayed" from each relay that hands it on */
    bool smtputf8;   /* RFC 6531 */
    bool requiretls; /* RFC 8689 section 2 */
    bool
        tls_optional; /* its field "TLS-Required: No" (section 5): a TLS policy is no reason to wait
                       */
    int8_t priority;  /* MT-PRIORITY (RFC 6710), MAIL_PRIORITY_MIN … MAX; 0: ordinary */
};

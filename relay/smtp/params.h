/*
 * The parameters of MAIL and RCPT (RFC 5321 section 4.1.2), one row each: its keyword, the
 * extension that it comes with, the value's parser. Pure.
 *
 * Decided once: a parameter whose extension is not offered is unknown (555), never ignored; one
 * comes once; a value that means nothing is refused (501) with what it should look like. What has
 * to be compared with a limit (SIZE, HOLDFOR, HOLDUNTIL, BY) is the session's to compare.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/smtp/extensions.h"
#include "relay/smtp/types.h"

enum param_fault {
    PARAM_FINE,
    PARAM_UNKNOWN,
    PARAM_VALUE,
    PARAM_TWICE,
    PARAM_CONFLICT /* with one that came before */
};

/* Where values go: one of mail and rcpt is NULL. */
struct param_target {
    struct smtp_mail *mail;
    struct smtp_rcpt *rcpt;
    struct buf *text; /* empty; what is decoded goes there (one value of each command) */
    bool smtputf8;    /* rcpt: MAIL asked for it */
    unsigned offered; /* set of enum smtp_extension */
    unsigned seen;    /* the reader's own */
};

/* Reads " KEYWORD[=VALUE] …". *ret_culprit: the keyword, or for PARAM_VALUE what it should look
 * like; printable ASCII, "" where not even a keyword was found. */
enum param_fault params_read(struct slice args, struct param_target *t, struct slice *ret_culprit);

/* The i-th parameter of MAIL (or RCPT), for HELP: "" behind the last one. */
struct slice params_usage(bool mail, size_t i, enum smtp_extension *ret_needs);

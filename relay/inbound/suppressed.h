/*
 * A recipient at RCPT, looked up in the suppression list. Owner: the session, on its loop.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/smtp/types.h"
#include "relay/suppress/suppress.h"

struct session;

struct suppressed {
    struct smtp_reply reply; /* the last refusal */
    char text[SUPPRESS_WORDS_SIZE];
};

/* The refusal (550 5.1.1, with since when and why), or NULL: not listed, or listed and to be
 * dropped, which *ret_drop says: the reason for its event, borrowed until the next call. */
const struct smtp_reply *suppressed_rcpt(struct session *s, struct slice address,
                                         struct slice *ret_drop);

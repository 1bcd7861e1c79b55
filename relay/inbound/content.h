/*
 * What the front door has to say about a message's header section (relay/mail/fixup): the rules of
 * its listener, the authors that its user may be (RFC 6409 section 6.1), the words of a refusal.
 * One judgement a message, once its header section has ended.
 */
#pragma once
#include "relay/mail/fixup.h"
#include "relay/smtp/types.h"

struct session;

/* The limits and fix-ups of the session's listener. */
struct fixup_rules content_rules(const struct session *s);
/*
 * The header section has been scanned and lies at the start of the gathered content: looks at it
 * (into intake.fixup) and says NULL, or why the message is refused. The reply lives in *room.
 */
struct content_refusal {
    struct smtp_reply reply;
    char text[512];
};
const struct smtp_reply *content_judge(struct session *s, struct content_refusal *room);
/* The header section within the gathered content, without an mbox line. */
struct slice content_section(const struct session *s);

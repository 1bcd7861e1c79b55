/*
 * The mail's fate: what one attempt decided for one recipient. Made by one pure function per source
 * (a reply in a phase, a fault of fault.def, a DNS plan), read by the spooler, the delivery log and
 * the DSN. A verdict owns its text.
 */
#pragma once
#include "relay/base/slice.h"

enum verdict_kind { VERDICT_NONE, VERDICT_DELIVERED, VERDICT_DEFERRED, VERDICT_FAILED };
/* What the verdict speaks about besides this recipient: SCOPE_HOST = this MX host, SCOPE_SITE =
 * slow the site down. */
enum verdict_scope { SCOPE_RECIPIENT, SCOPE_MESSAGE, SCOPE_HOST, SCOPE_SITE };
/* `class` in the delivery log. */
enum verdict_class {
    CLASS_NONE,
    CLASS_BAD_MAILBOX,
    CLASS_BAD_DOMAIN,
    CLASS_FULL,
    CLASS_POLICY,
    CLASS_SPAM,
    CLASS_BLOCK,
    CLASS_RATE,
    CLASS_AUTH,
    CLASS_CONTENT,
    CLASS_SIZE,
    CLASS_NETWORK,
    CLASS_TLS,
    CLASS_EXPIRED,
    CLASS_ADMIN,
    CLASS_OTHER
};
/* Where in the dialogue: `command` in the delivery log. */
enum phase {
    PHASE_NONE,
    PHASE_CONNECT,
    PHASE_BANNER,
    PHASE_EHLO,
    PHASE_STARTTLS,
    PHASE_AUTH,
    PHASE_MAIL,
    PHASE_RCPT,
    PHASE_DATA,
    PHASE_EOD
};

enum fault {
    FAULT_NONE,
#define X(name, text, kind, scope, class, enhanced, sentence) FAULT_##name,
#include "relay/base/fault.def"
#undef X
    FAULT_COUNT
};

/* RFC 3463; all zero when there is none. */
struct enhanced {
    uint8_t class;
    uint16_t subject, detail;
};

#define VERDICT_TEXT_MAX 1024

struct verdict {
    enum verdict_kind kind;
    enum verdict_scope scope;
    enum verdict_class class;
    enum phase phase;
    enum fault fault;         /* FAULT_NONE when `code` is the cause */
    uint16_t code;            /* SMTP reply code, 0 when there was no reply */
    struct enhanced enhanced; /* never all zero except for VERDICT_NONE */
    bool text_truncated;
    char *text; /* the peer's words without the code and enhanced code, lines joined by one blank;
                   or the fault's sentence, perhaps with details; at most VERDICT_TEXT_MAX bytes, no
                   control bytes, valid UTF-8; NULL = none */
};

/* A verdict from fault.def; detail (may be empty) is put behind the sentence as ": detail". */
struct verdict verdict_of_fault(enum fault f, enum phase phase, struct slice detail);
/* Sets the text: control bytes become blanks, bytes that are not UTF-8 become '?', cut at the
 * maximum. */
void verdict_set_text(struct verdict *v, struct slice text);
/* Deferred, and the message may be there all the same: its end was sent and not answered in SMTP.
 */
bool verdict_in_doubt(const struct verdict *v);
struct verdict verdict_copy(const struct verdict *v);
void verdict_done(struct verdict *v);

const char *fault_name(enum fault f);         /* "dns_nxdomain"; NULL for FAULT_NONE */
const char *class_name(enum verdict_class c); /* "bad_mailbox"; NULL for CLASS_NONE */
const char *phase_name(enum phase p);         /* "eod"; NULL for PHASE_NONE */

/* "5.1.1" at the start of s: its length, and *ret; 0 when there is none. Grammar of RFC 2034/3463.
 */
size_t enhanced_parse(struct slice s, struct enhanced *ret);
#define ENHANCED_SIZE 12
void enhanced_write(struct enhanced e, char ret_text[ENHANCED_SIZE]);
static inline bool enhanced_is(struct enhanced e)
{
    return e.class != 0;
}

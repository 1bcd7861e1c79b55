/*
 * What passes on an SMTP connection, told line by line to somebody who looks on: pure, for both
 * sides of ours. Secrets never pass (promise 21): behind AUTH nothing that the client says is shown
 * until the login has its answer, nor what the server asks (334); of AUTH itself only a mechanism
 * that is known; and a line that begins with no verb of SMTP not at all, so that a password which
 * comes out of turn is hidden, too. A reply that repeats something hidden is hidden with it. Of
 * content only the octets are counted.
 *
 * Both streams are handed in as they pass, each in order; any split of them gives the same lines.
 * Whoever comes in the middle of a dialogue begins between two commands, and knows how many replies
 * are still to come: with one too many more is hidden, with one too few content could pass.
 * Bounds: WATCH_LINE_MAX octets of a line are kept, WATCH_AWAITED_MAX commands without a reply;
 * past that the client's words are hidden.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/smtp/hidden.h"

#define WATCH_LINE_MAX 1024
#define WATCH_AWAITED_MAX 256

enum watch_who { WATCH_CLIENT, WATCH_SERVER };
enum watch_verb { WATCH_OTHER, WATCH_MAIL, WATCH_RCPT, WATCH_RSET, WATCH_END /* of content */ };

struct watch_line { /* lent for the call */
    enum watch_who who;
    enum watch_verb verb;
    struct slice text; /* without the line end; of what is hidden "" or what may be said of it */
    struct slice path; /* of MAIL and RCPT: what stands between < and > */
    uint64_t hidden;   /* octets that are not shown: secrets, content, the end of a long line */
};
typedef void watch_fn(void *ctx, const struct watch_line *l);

struct smtp_watch;
struct smtp_watch *smtp_watch_new(void); /* from the greeting on */
/* From the middle on: nothing is said by halves, neither a login nor content is under way. said:
 * what was said at a login before, NULL: there was none whose words the other side could repeat. */
struct smtp_watch *smtp_watch_new_within(size_t awaited, const struct smtp_hidden *said);
void smtp_watch_free(struct smtp_watch *w); /* what was hidden is wiped */
void smtp_watch_bytes(struct smtp_watch *w, enum watch_who who, struct slice in, watch_fn *fn,
                      void *ctx);
/* TLS begins: what was said in clear counts no more. */
void smtp_watch_tls(struct smtp_watch *w);

/*
 * The envelope: what SMTP said about a message, and what we know of who handed it in (RFC 5598
 * section 4.1). Encoded as tagged fields (queue/README.md), so that later fields are rows and older
 * readers skip them. Strings are borrowed from whoever built it.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/params.h"

struct envelope_rcpt {
    struct slice address;
    struct slice orcpt; /* decoded, "type;address" (RFC 3461); "" = none */
    unsigned notify;    /* enum mail_notify; 0 = unsaid */
};

struct envelope {
    struct slice sender; /* "" = null reverse-path */
    struct slice user;   /* who authenticated; "" = trusted network or ourselves */
    struct slice client_ip, client_helo, listener, session_id, auth_mech;
    struct slice message_id; /* with <> */
    struct slice envid;      /* decoded (RFC 3461) */
    struct slice tags;       /* what the application wants to find in each event: KEY=VALUE, one a
                                line, without the last line end */
    struct slice route; /* the destination of the configuration that all of it takes; "" = by its
                           recipients' domains */
    struct mail_params params;
    struct wall release;     /* not delivered before (RFC 4865); 0 = at once */
    struct wall by_deadline; /* of params.by (RFC 2852); 0 = none */
    uint64_t size;           /* octets of the stored content (with our trace fields) */
    bool eight_bit;
    uint64_t dsn_for; /* queue id of the message this DSN reports on; 0 = not a DSN. Storing it
                         marks what is due of that one as told */
    bool dsn_delay;   /* … and it tells of a delay, which is told once a message. Of what is not a
                         DSN: its sender was told of one before it came to this spool */
    uint64_t dsn_rcpt;  /* … and only this recipient of it, counted from 1; 0: all that are due */
    uint64_t expires_s; /* own lifetime in seconds; 0 = the configuration's */
    const struct envelope_rcpt *rcpts;
    size_t n_rcpts; /* 1 … 65,535 */
};

void envelope_write(struct buf *out, const struct envelope *e);
/* What envelope_write wrote; unknown fields are passed over. ret->rcpts is on the heap
 * (envelope_done), all else borrows from s. False: malformed, or no recipient, or too many; *ret is
 * untouched. */
bool envelope_read(struct slice s, struct envelope *ret);
/* How many recipients envelope_read would find; 0: malformed, none, or too many. */
size_t envelope_count(struct slice s);
void envelope_done(struct envelope *e);

/* What a peer says about itself in its reply to EHLO (RFC 5321 section 4.1.1.1). Unknown keywords
 * are passed over, letter case means nothing, a parameter that makes no sense is as if it were
 * absent. */
#pragma once
#include "relay/base/slice.h"

struct smtp_peer {
    bool esmtp, pipelining, size, eight_bit_mime, starttls, enhanced_status, chunking, smtputf8,
        dsn, binarymime, requiretls, mt_priority, deliver_by;
    uint64_t max_size;       /* SIZE's value; 0: no limit told */
    uint64_t deliver_by_min; /* seconds; 0: none told */
    /* LIMITS (RFC 9422): transactions a connection, recipients a transaction, their domains a
     * connection; 0: none told */
    uint64_t mail_max, rcpt_max, rcpt_domain_max;
    char auth[256]; /* names of AUTH mechanisms in capitals, each with a blank behind it; those that
                       have no room are as if they were not offered */
};

/* One keyword line of the reply, without code and line end. The first line is the peer's name and
 * not for here. */
void smtp_ehlo_line(struct smtp_peer *peer, struct slice line);
/* One of peer->auth, in capitals. */
bool smtp_peer_offers(const struct smtp_peer *peer, struct slice mechanism);

/*
 * Where a message's header section ends, and what must be known of it while it streams by (RFC 5322
 * section 2.2); what its fields say is fixup.h's. Pure; the scanner is fed pieces and stops at the
 * empty line. Bounds: as much header section as its maker says is looked at. Only CRLF ends a line.
 * README.md says what is decided for each kind of broken header.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"

#define HEADER_SCAN_MAX 102400 /* octets of a header section, where nothing else is said */

struct header_facts {
    bool has_message_id;
    /* Ended without an empty line: one is missing at header_n. */
    bool no_header_end;
    /* A byte >= 0x80 anywhere in the message. */
    bool eight_bit;
    /* One in a header field (RFC 6532), so that the message needs SMTPUTF8 wherever it goes; also
     * when too_long and eight_bit, because then nobody knows. Final after header_scan_end. */
    bool eight_bit_header;
    /* The first line is no header field: the whole message counts as body. header_n = 0. */
    bool malformed;
    /* The bound is passed: what stands behind was not seen. header_n = 0. */
    bool too_long;
    unsigned received; /* number of Received: fields (loop detection) */
    size_t header_n;   /* octets up to and including the empty line, once seen */
    /* Octets of a "From " line of mbox files at the very start (counted in header_n): no part of
     * the message, drop it. */
    size_t from_line_n;
};

struct header_scan {
    struct header_facts facts;
    struct buf message_id; /* content of the first Message-ID:, with <>, at most 998 bytes */
    bool done;             /* the header section has ended; only eight_bit goes on */
    /* The scanner's own: its bound, the start of the line being read, its octets so far, the last
     * byte, the field it is in. */
    size_t max;
    struct buf line;
    uint64_t seen;
    size_t line_n;
    uint8_t last;
    bool in_field, in_message_id, line_eight_bit;
};

/* max_octets: of the header section, its empty line included. */
void header_scan_init(struct header_scan *h, size_t max_octets);
void header_scan_done(struct header_scan *h);
/* Any split gives the same facts. */
void header_scan_bytes(struct header_scan *h, struct slice piece);
void header_scan_end(struct header_scan *h);

/* Trace and fix-up fields, each with its CRLF. "" leaves a clause out. */
struct received_info {
    struct slice helo, client_ip; /* both "": there is no "from", who handed it in stays private */
    struct slice hostname, queue_id;
    struct slice protocol; /* "ESMTPSA" (RFC 3848), "UTF8SMTPSA" (RFC 6531 section 4.3) */
    struct slice user;     /* who authenticated, where it is to be seen */
    struct slice tls_version, tls_cipher;
    struct slice recipient;
    struct wall now;
};

/* Folded below 78 where possible; nothing of the peer's becomes structure. Less than 2 KiB. */
void header_write_received(struct buf *out, const struct received_info *r);
void header_write_date(struct buf *out, struct wall now);
void header_write_message_id(struct buf *out, struct slice queue_id, struct slice hostname);

struct header_field {
    struct slice name, value /* with its folds, without the final CRLF */, raw /* all of it */;
};

/* Walks a header section that is in memory: one field a call with its folded lines. False at its
 * end, with *rest at the empty line, at a line that is no field, or empty. */
bool header_next(struct slice *rest, struct header_field *ret);

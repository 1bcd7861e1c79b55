/*
 * One line of the suppression file, written and read. Pure. README.md has the format.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"

#define SUPPRESS_ADDRESS_MAX 512 /* octets; a path of SMTP has 256 (RFC 5321 section 4.5.3.1.3) */
#define SUPPRESS_USER_MAX 256
#define SUPPRESS_REASON_MAX 200
#define SUPPRESS_LINE_MAX 1200 /* with its line end */

enum suppress_kind { /* in the file: never change one */
                     SUPPRESS_LISTED = '+',
                     SUPPRESS_REMOVED = '-',
                     SUPPRESS_BOUNCED = '!',  /* counted, not yet enough */
                     SUPPRESS_FORGIVEN = '~', /* what was counted is no more */
                     SUPPRESS_SEEN = '='      /* no address: events up to seq have been looked at */
};
enum suppress_source { SUPPRESS_BY_BOUNCES, SUPPRESS_BY_OPERATOR };

struct suppress_line {
    enum suppress_kind kind;
    enum suppress_source source;
    uint64_t seq; /* of the event that caused it; 0 = none did */
    struct wall time;
    struct slice user, address, reason; /* borrowed; no control characters */
};

const char *suppress_source_name(enum suppress_source s); /* "bounces" "operator" */
bool suppress_source_parse(struct slice name, enum suppress_source *ret);

/* Appends the line with its LF. Texts that are too long are cut, but for an address: false then. */
bool suppress_line_write(struct buf *out, const struct suppress_line *l);
/* text: without the LF. False: damaged, or of a form that is not known. Slices borrow from text. */
bool suppress_line_read(struct slice text, struct suppress_line *ret);

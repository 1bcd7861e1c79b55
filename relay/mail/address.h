/*
 * Mailbox addresses as SMTP has them (RFC 5321 section 4.1.2). The local part keeps its case and
 * quoting; a domain is compared without case and looked up in lower case. Bounds: local part 64,
 * domain 255, path 256 octets.
 *
 * ADDRESS_UTF8 also takes what RFC 6531 section 3.3 adds: valid UTF-8 in local parts, and domains
 * with U-labels. Whether such a name can exist is for the resolver to say.
 */
#pragma once
#include "relay/base/buf.h"

struct address {
    struct slice local, domain; /* both borrowed from the input; domain "" only for postmaster */
    bool literal;               /* domain is [1.2.3.4] or [IPv6:…], brackets included */
};

enum address_form { ADDRESS_ASCII, ADDRESS_UTF8 };

/* A mailbox without <>; false: not one. No control character ever passes, and no 8-bit byte but as
 * part of UTF-8 where the form has it. */
bool address_parse_form(struct slice s, enum address_form form, struct address *ret);
bool address_parse(struct slice s, struct address *ret); /* ADDRESS_ASCII */
/* "<…>" with an optional source route (stripped); "<>" gives an empty *ret_path. Returns the length
 * consumed including '>', or 0. */
size_t address_parse_path(struct slice s, enum address_form form, struct slice *ret_path);
/* The domain of a valid mailbox in lower case (ASCII letters; what lies beyond stays), written into
 * out (max 256 bytes). */
void address_domain_lower(struct slice mailbox, struct buf *out);
bool address_is_domain(struct slice s); /* a host name by RFC 5321 Domain, or an address literal */
/* Does it, or any other text, need SMTPUTF8 where it stands outside of a body? */
bool address_is_ascii(struct slice mailbox);

/*
 * Mailbox addresses as SMTP has them (RFC 5321 section 4.1.2). The local part keeps its case and
 * quoting; a domain is compared without case and looked up in lower case. Bounds: local part 64,
 * domain 255, path 256 octets.
 */
#pragma once
#include "relay/base/buf.h"

struct address {
    struct slice local, domain; /* both borrowed from the input; domain "" only for postmaster */
    bool literal;               /* domain is [1.2.3.4] or [IPv6:…], brackets included */
};

/* A mailbox without <>; false: not one. No control bytes, no 8-bit bytes ever pass. */
bool address_parse(struct slice s, struct address *ret);
/* "<…>" with an optional source route (stripped); "<>" gives an empty *ret_path. Returns the length
 * consumed including '>', or 0. */
size_t address_parse_path(struct slice s, struct slice *ret_path);
/* The domain of a valid mailbox in lower case, written into out (max 256 bytes). */
void address_domain_lower(struct slice mailbox, struct buf *out);
bool address_is_domain(struct slice s); /* a host name by RFC 5321 Domain, or an address literal */

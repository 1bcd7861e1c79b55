/*
 * TXT records of a name (RFC 1035 section 3.3.14), asked for by a verb that has no loop and nothing
 * else to do: blocks. The daemon's questions are the resolver's.
 */
#pragma once
#include "dns/answer.h"
#include "relay/base/buf.h"

#define DNS_TXT_MAX 16 /* records that are kept */
#define DNS_TXT_BYTES 4096

struct dns_txt {
    enum dns_status status;
    size_t n;
    struct buf records[DNS_TXT_MAX]; /* the strings of one put together */
};

/* servers: as struct resolver_conf has them; name: as dns_name_parse gives it; at most about
 * timeout_ms. */
void dns_txt_ask(struct dns_txt *ret, const char *servers, const char *name, int64_t timeout_ms);
void dns_txt_done(struct dns_txt *t);

/*
 * One DNS answer, read from the wire (RFC 1035) with libresolv's parser, or made by the override table: frozen, shared by the cache and
 * whoever asked. Three kinds of "no" are kept apart for ever: NXDOMAIN (no such name), NODATA (name without that type), and trouble
 * (SERVFAIL, timeout, damaged answer), which says nothing about the name.
 */
#pragma once
#include "relay/base/frozen.h"
#include "relay/base/slice.h"
#include <sys/socket.h>

#define DNS_NAME_SIZE 256
#define DNS_MX_MAX 100

enum dns_type { DNS_A = 1, DNS_MX = 15, DNS_AAAA = 28 };
enum dns_status { DNS_OK, DNS_NXDOMAIN, DNS_NODATA, DNS_SERVFAIL, DNS_TIMEOUT };

struct dns_mx {
    uint16_t preference;
    char target[DNS_NAME_SIZE]; /* lower case, no final dot; "" is the root: null MX */
};
struct dns_ip {
    int family;
    uint8_t bytes[16];
};

struct dns_answer {
    struct frozen frozen;
    enum dns_status status;
    enum dns_type type;
    uint32_t ttl_s;  /* smallest of what was used; negative answers: from the SOA (RFC 2308), capped */
    bool secure;     /* AD bit, when trusted */
    char canonical[DNS_NAME_SIZE]; /* after CNAMEs */
    size_t n;
    struct dns_mx *mx; /* n, for MX */
    struct dns_ip *ip; /* n, for A and AAAA */
};
struct dns_answer *dns_answer_new(enum dns_status status, enum dns_type type, uint32_t ttl_s);
static inline void dns_answer_unref(struct dns_answer *a)
{
    frozen_unref(a ? &a->frozen : NULL);
}

/* Reads a whole response message for (name, type); hostile bytes give DNS_SERVFAIL. Never NULL. CNAME chains inside the answer are followed
 * (<= 8). */
struct dns_answer *dns_wire_read(struct slice packet, struct slice name, enum dns_type type);

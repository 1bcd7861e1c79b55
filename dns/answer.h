/*
 * One DNS answer, read from the wire (RFC 1035) with libresolv's parser, or made by the override
 * table: frozen, shared by the cache and whoever asked. Three kinds of "no" are kept apart for
 * ever: NXDOMAIN (no such name), NODATA (name without that type), and trouble (SERVFAIL, timeout,
 * damaged answer), which says nothing about the name.
 */
#pragma once
#include "relay/base/frozen.h"
#include "relay/base/slice.h"
#include <sys/socket.h>

#define DNS_NAME_SIZE 256
#define DNS_MX_MAX 100
#define DNS_IP_MAX 32

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_MX = 15, DNS_AAAA = 28 };
/* NO_SERVER: every name server of ours refuses the connection, so it says nothing of the domain. */
enum dns_status { DNS_OK, DNS_NXDOMAIN, DNS_NODATA, DNS_SERVFAIL, DNS_TIMEOUT, DNS_NO_SERVER };

struct dns_mx {
    uint16_t preference;
    char target[DNS_NAME_SIZE]; /* lower case, no final dot; "" is the root: null MX; what is no
                                   host name (dns/name.h) is escaped and never asked */
};
struct dns_ip {
    int family;
    uint8_t bytes[16];
};

struct dns_answer {
    struct frozen frozen;
    enum dns_status status;
    enum dns_type type;
    uint32_t
        ttl_s;   /* smallest of what was used; negative answers: from the SOA (RFC 2308), capped */
    bool secure; /* AD bit, when trusted */
    char canonical[DNS_NAME_SIZE]; /* after CNAMEs */
    size_t n;
    struct dns_mx *mx; /* n, for MX, and for PTR: targets of preference 0 */
    struct dns_ip *ip; /* n, for A and AAAA */
};
struct dns_answer *dns_answer_new(enum dns_status status, enum dns_type type, uint32_t ttl_s);
/* While it is being made, by its one owner. MX records are kept sorted by preference and target,
 * equal ones once; past DNS_MX_MAX those of the highest preference numbers fall out. Addresses keep
 * their order; equal ones and those past DNS_IP_MAX are left out. */
void dns_answer_add_mx(struct dns_answer *a, uint16_t preference, const char *target);
void dns_answer_add_ip(struct dns_answer *a, int family, const uint8_t *bytes);
/* The same answer with another time to live: a itself (ref'd) when it has it already, else a copy.
 */
struct dns_answer *dns_answer_with_ttl(struct dns_answer *a, uint32_t ttl_s);
const char *dns_status_name(enum dns_status s); /* "nxdomain": for a person */
static inline struct dns_answer *dns_answer_ref(struct dns_answer *a)
{
    return a ? (struct dns_answer *)frozen_ref(&a->frozen) : NULL;
}
static inline void dns_answer_unref(struct dns_answer *a)
{
    frozen_unref(a ? &a->frozen : NULL);
}

/* Reads a whole response message for (name, type); hostile bytes give DNS_SERVFAIL. Never NULL.
 * CNAME chains inside the answer are followed
 * (<= 8). */
struct dns_answer *dns_wire_read(struct slice packet, struct slice name, enum dns_type type);

/* One mail host judged: from what DNS says of its name to the addresses that may be tried, or why
 * there is none. Pure. */
#pragma once
#include "dns/ip.h"
#include "dns/plan.h"

#define HOST_ADDRS_MAX 8

enum host_state {
    HOST_USABLE,
    HOST_SOFT,    /* nothing known, or nothing that we can reach now: later perhaps */
    HOST_SELF,    /* it is this relay */
    HOST_PRIVATE, /* only addresses that public mail does not go to */
    HOST_NONE     /* it certainly has no address */
};

struct host_finding {
    enum host_state state;
    enum fault fault; /* FAULT_NONE when usable */
    const char *why;  /* for a person, to stand behind the host's name */
    size_t n;
    struct dns_ip ip[HOST_ADDRS_MAX]; /* families interleaved, IPv6 first */
};

struct host_rules {
    const struct plan_options *o;
    uint16_t port;
    bool allow_private;
    const char *own_name; /* a host of this name is ourselves; "" = none */
};

/* a4, a6: NULL when not asked. */
void host_judge(const struct dns_answer *a4, const struct dns_answer *a6,
                const struct host_rules *r, struct host_finding *ret);

/* Why this address of a host is not one to be tried, for a person; "": it is. */
const char *host_address_why(const struct dns_ip *ip, const struct host_rules *r);

/* "[2001:db8::1]:25", "192.0.2.1", "smtp.provider.example:587": *ret_ip.family is 0 for a name. */
bool host_parse(struct slice text, uint16_t default_port, char ret_name[DNS_NAME_SIZE],
                struct dns_ip *ret_ip, uint16_t *ret_port);

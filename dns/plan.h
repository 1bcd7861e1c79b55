/*
 * From a domain to the hosts to try, in order (RFC 5321 section 5.1, RFC 7505): pure. The plan asks
 * questions, is given answers, and ends as a frozen list of hosts with addresses, or as a fault
 * with the verdict it means. No clock, no sockets; chance is handed in.
 *
 * Rules, each with its checklist number in plan.c: NXDOMAIN and NODATA of MX -> implicit MX by
 * A/AAAA; SERVFAIL is never "no MX"; null MX; our own address drops its host and all of equal or
 * higher preference number; equal preferences shuffled per plan_order; one soft error among the
 * hosts outranks hard ones; private addresses and this machine's refused unless allowed; at most
 * DNS_MX_MAX records, 20 hosts, 8 addresses a host.
 */
#pragma once
#include "dns/answer.h"
#include "relay/base/rand.h"
#include "relay/base/verdict.h"

struct plan_host {
    char name[DNS_NAME_SIZE]; /* "" for an address literal */
    uint16_t preference;
    size_t n;
    struct sockaddr_storage addrs[8]; /* port filled in; families interleaved, AAAA first */
};

struct plan { /* frozen */
    struct frozen frozen;
    enum fault fault;             /* FAULT_NONE: usable */
    char detail[300];             /* for the verdict of a fault: which name, what failed */
    char site[DNS_NAME_SIZE * 2]; /* name of the MX set: the lowest-preference hosts' common
                                     pattern; equal sets have equal names */
    uint32_t ttl_s;
    int32_t dns_ms; /* filled in by resolver_plan */
    size_t n;
    struct plan_host
        hosts[]; /* by preference, equal ones in the order given: plan_order shuffles a view */
};
static inline void plan_unref(struct plan *p)
{
    frozen_unref(p ? &p->frozen : NULL);
}

struct plan_options {
    uint16_t port;
    bool allow_private;
    bool ipv4, ipv6; /* families we can send from */
    const struct sockaddr_storage
        *own; /* our addresses (loop rule); port = what we listen on there, 0 = any */
    size_t n_own;
    const struct sockaddr_storage *here; /* all addresses of this machine; ports do not count */
    size_t n_here;
    struct slice own_hostname;
};

struct plan_question {
    char name[DNS_NAME_SIZE];
    enum dns_type type;
};

struct plan_maker;
/* domain: lower-case host name; literals go through plan_literal. */
struct plan_maker *plan_maker_new(struct slice domain, const struct plan_options *o);
/* A plan for host names given by the administrator instead of MX ("smtp.provider.example:587",
 * "[2001:db8::1]:25", "10.0.0.1:25"), in order; private addresses allowed; a look-up that fails
 * hard is a soft fault here (checklist 44). */
struct plan_maker *plan_maker_relay(const struct slice *hosts, size_t n,
                                    const struct plan_options *o);
void plan_maker_free(struct plan_maker *m);
/* The next question to ask; several may be open at once. False: none now. */
bool plan_maker_next(struct plan_maker *m, struct plan_question *ret);
void plan_maker_answer(struct plan_maker *m, const struct plan_question *q,
                       const struct dns_answer *a);
/* The plan when every question is answered (owned by the caller), else NULL. */
struct plan *plan_maker_done(struct plan_maker *m);

/* What a plan was made of, for those who ask why: the answers in the order of the questions, then
 * each address of each host with why it is not tried ("": it may be). A host without any address is
 * told once, with a NULL address. Lent for the call. */
struct plan_look {
    void (*answer)(void *ctx, const struct plan_question *q, const struct dns_answer *a);
    void (*address)(void *ctx, const char *host, uint16_t preference, const struct dns_ip *ip,
                    uint16_t port, const char *why);
    void *ctx;
};
void plan_maker_look(const struct plan_maker *m, const struct plan_look *l);

/* A plan that leads to no host: for mail that is not sent. */
struct plan *plan_nowhere(void);
struct plan *plan_literal(struct slice literal,
                          const struct plan_options *o); /* "[192.0.2.1]", "[IPv6:2001:db8::1]" */

/* The order for one delivery: indexes of hosts, equal preferences shuffled. ret_order has room for
 * p->n. */
void plan_order(const struct plan *p, struct rng *r, size_t *ret_order);
/* Does a destination pattern ("*.google.com") match where this plan's mail goes? */
bool plan_matches_mx(const struct plan *p, struct slice pattern);

/*
 * Asks name servers through c-ares on one loop: cache by TTL, equal look-ups joined, the override
 * table before everything. The only user of c-ares. Search domains and ndots are never used. One a
 * loop; callbacks come on the loop's thread, possibly before resolve() returns (cache).
 */
#pragma once
#include "dns/answer.h"
#include "dns/plan.h"
#include "relay/base/err.h"
#include "relay/loop/loop.h"

struct dns_override; /* parsed table, shared by all resolvers; frozen */
/* Lines "NAME MX PREF TARGET", "NAME A ADDR", "NAME AAAA ADDR", "NAME NXDOMAIN". A name in the
 * table is answered by it alone (other types: NODATA). */
int dns_override_new(struct dns_override **ret, const struct slice *lines, size_t n, struct err *e);
void dns_override_unref(struct dns_override *o);

struct resolver_conf {
    const char *servers;           /* "127.0.0.1:53,[::1]:5353"; "" = /etc/resolv.conf */
    int64_t timeout_ms;            /* for one question, all tries together */
    struct dns_override *override; /* ref'd; NULL: none */
    uint32_t max_ttl_s;            /* 0: 86,400; negative answers at most 900 s; SERVFAIL 5 s */
    size_t cache_entries;          /* 0: 10,000 */
};

struct resolver;
int resolver_new(struct resolver **ret, struct loop *l, const struct resolver_conf *c,
                 struct err *e);
/* Open questions are answered DNS_TIMEOUT first. On the loop's thread, or after loop_join and
 * before loop_free; never from within a callback of its own. */
void resolver_free(struct resolver *r);
struct loop *resolver_loop(const struct resolver *r);
void resolver_ask(struct resolver *r, struct slice name, enum dns_type type,
                  void (*fn)(void *ctx, struct dns_answer *a /* borrowed */), void *ctx);

/* The whole way: drives a plan_maker with this resolver. The plan is owned by the callback; its
 * dns_ms is filled in. */
void resolver_plan(struct resolver *r, struct plan_maker *m /* taken */,
                   void (*fn)(void *ctx, struct plan *p), void *ctx);
/* Forgets the cache (reload). */
void resolver_flush(struct resolver *r);

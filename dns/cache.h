/*
 * Answers kept as long as they say, and no longer than there is room: the one used longest ago goes
 * first. Time is handed in; one owner, one thread. Bounds: entries and bytes. Names are lower case
 * without final dot (dns/name.h).
 */
#pragma once
#include "dns/answer.h"
#include "relay/base/clock.h"

struct dns_cache;
struct dns_cache *dns_cache_new(size_t max_entries, size_t max_bytes);
void dns_cache_free(struct dns_cache *c);
/* A reference of the caller's own, its ttl_s what is left of it; NULL: not there. */
struct dns_answer *dns_cache_find(struct dns_cache *c, const char *name, enum dns_type type,
                                  struct mono now);
/* Takes a reference; a time to live of 0 is not kept. */
void dns_cache_put(struct dns_cache *c, const char *name, struct dns_answer *a, struct mono now);
void dns_cache_flush(struct dns_cache *c);
size_t dns_cache_count(const struct dns_cache *c);

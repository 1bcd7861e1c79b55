/* A question as a hash key. The hash is keyed (slice_hash): names come from strangers. Include
 * before uthash.h. */
#pragma once
#include "dns/answer.h"
#include "relay/base/must.h"

#define HASH_FUNCTION(p, n, hash) ((hash) = (unsigned)slice_hash(slice_of((p), (n))))
#define uthash_fatal(text) UNREACHABLE()
#include <uthash.h>

struct dns_key {
    uint8_t type;
    char name[DNS_NAME_SIZE]; /* zero behind its end */
};

static inline struct dns_key dns_key_of(const char *name, enum dns_type type)
{
    struct dns_key key = {.type = (uint8_t)type};
    MUST(strlen(name) < DNS_NAME_SIZE);
    memcpy(key.name, name, strlen(name));
    return key;
}

/* What is hashed and compared: not the unused end of the name. */
static inline unsigned dns_key_len(const struct dns_key *key)
{
    return (unsigned)(offsetof(struct dns_key, name) + strlen(key->name));
}

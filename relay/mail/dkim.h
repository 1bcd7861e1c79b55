/*
 * DKIM (RFC 6376, RFC 8463): whose keys sign what, and the signing of one message while it streams
 * by. In: the header section as it goes out, then the body in any pieces; out: the DKIM-Signature
 * fields, whose length is known before the body is, so that their place can be kept. README.md has
 * the policy. Keys are frozen and shared; a signing belongs to whoever made it.
 */
#pragma once
#include "dns/name.h"
#include "relay/base/clock.h"
#include "relay/mail/dkim_key.h"

#define DKIM_KEYS_MAX 3        /* of a domain: signatures on one message */
#define DKIM_SELECTOR_MAX 63   /* octets; may have dots */
#define DKIM_INSTANCES_MAX 4   /* of one header field that are signed */
#define DKIM_FIELDS_MAX 12288u /* octets that all signatures of a message are at most */

struct dkim_domain {
    char name[DNS_NAME_SIZE]; /* as d= says it: lower case, A-labels */
    bool subdomains;          /* signs for what is below it as well */
    size_t n;
    struct {
        char selector[DKIM_SELECTOR_MAX + 1];
        struct dkim_key *key;
    } keys[DKIM_KEYS_MAX];
};

/* --- the keys of a configuration --- */

struct dkim_ring;
struct dkim_ring *dkim_ring_new(void);
void dkim_ring_free(struct dkim_ring *r); /* NULL is fine */
/* Taken, keys included. Names are told apart by the caller. Before the first look-up. */
void dkim_ring_add(struct dkim_ring *r, const struct dkim_domain *d);
/* The domain whose keys sign mail from this one: itself, else the nearest above it that signs for
 * what is below. NULL: none. r may be NULL. */
const struct dkim_domain *dkim_ring_find(const struct dkim_ring *r, struct slice domain);

/* Labels of letters, digits and "-", with dots between them, in lower case (RFC 6376 section 3.1).
 */
bool dkim_selector_ok(struct slice s);
/* The domain of the first address in From:, as d= would say it. False: there is none, or it cannot
 * be read. */
bool dkim_author(struct slice section, char ret[DNS_NAME_SIZE]);

/* --- one message --- */

/* The fields for a message that lies in memory whole, without which nothing is written: false,
 * nobody signs for its author. */
bool dkim_sign_message(const struct dkim_ring *r, struct slice message, struct wall now,
                       struct buf *out);

struct dkim_sign;
/* section: the header section as it goes out, with or without its empty line; looked at now only.
 * NULL: nobody signs for its author. The ring outlives it. */
struct dkim_sign *dkim_sign_new(const struct dkim_ring *r, struct slice section, struct wall now);
void dkim_sign_free(struct dkim_sign *s); /* NULL is fine */
/* Content behind the empty line, as lines end in SMTP, before dots are stuffed. */
void dkim_sign_body(struct dkim_sign *s, struct slice piece);
/* Octets of all its fields, at most DKIM_FIELDS_MAX: the same before and after the body. */
size_t dkim_sign_size(const struct dkim_sign *s);
/* Fields of that size that hold no signatures yet, to keep the place. */
void dkim_sign_reserve(const struct dkim_sign *s, struct buf *out);
/* After the body: the fields. Once. */
void dkim_sign_end(struct dkim_sign *s, struct buf *out);

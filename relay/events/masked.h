/*
 * What a line shows of a recipient when it shall not show all (log.recipients). Pure: the same
 * address and key give the same text, so that what happened to one recipient can still be followed.
 */
#pragma once
#include "relay/base/buf.h"

/* Keeps the texts that the functions return, for one line. */
struct masked {
    struct buf texts[3];
    size_t n;
};
void masked_done(struct masked *m);

/* "bob@Example.com" → "0123456789abcdef01234567@Example.com": the first 24 hex digits of
 * HMAC-SHA256 over the whole address in lower case. */
struct slice masked_address(struct masked *m, struct slice address, struct slice key);
/* "*@Example.com": a line of a recipient always has one. */
struct slice masked_whole(struct masked *m, struct slice address);
/* Words of a peer or an operator: of what looks like an address only its domain is left,
 * "*@example.com". */
struct slice masked_words(struct masked *m, struct slice words);

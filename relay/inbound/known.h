/*
 * Credentials that were right lately, so that the next login with one costs no hashing: MACs of
 * name, password and stored hash under a key of this process, so that a changed password misses
 * and a dump tells nothing. Shared by the loops, behind its own lock.
 *
 * Bounds: 10,000 of them, 10 minutes each; the oldest goes first.
 */
#pragma once
#include "relay/base/clock.h"
#include <stdbool.h>
#include <stdint.h>

#define KNOWN_MAC_SIZE 32

struct known;
struct known *known_new(void);
void known_free(struct known *k);
/* `hash`: what the password is compared with. */
void known_mac(const struct known *k, const char *name, const char *hash, const char *password,
               uint8_t ret[KNOWN_MAC_SIZE]);
bool known_has(struct known *k, const uint8_t mac[KNOWN_MAC_SIZE], struct mono now);
void known_add(struct known *k, const uint8_t mac[KNOWN_MAC_SIZE], struct mono now);

/*
 * Passwords that wait for the hasher: the clients take turns, so that whoever sends many waits for
 * himself, and everybody else for one of his at most. Shared by the loops and the hasher, behind
 * its own lock.
 *
 * Bounds: TURNS_MAX in all and TURNS_MAX_CLIENT of one client; more get 454 4.7.0.
 */
#pragma once
#include "relay/inbound/clients.h"

#define TURNS_MAX 500
#define TURNS_MAX_CLIENT 50

struct turn { /* within what waits; the caller's again once it is popped */
    struct turn *next;
    struct clients_key client;
};

struct turns;
struct turns *turns_new(void);
void turns_free(struct turns *t); /* nothing waits any more */
/* False: no room. `many`: behind this address stands more than one client, it has no share. */
bool turns_push(struct turns *t, struct turn *one, bool many);
struct turn *turns_pop(struct turns *t); /* NULL: nobody waits */

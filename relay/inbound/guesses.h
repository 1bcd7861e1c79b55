/*
 * The failed logins of one client that nobody has forgiven yet, and under which names they were.
 * Pure; a name and a credential are keyed hashes of it, 0 = not known.
 *
 * - The same credential again is no further failure while it is among the last GUESSES_LAST that
 *   differ: a program with an old password would have everything else of its address shut out, and
 *   guesses nothing. It waits for its answer like a guesser.
 * - A login forgives what failed under its own name: who has one account does not guess at the
 *   others for ever.
 *
 * Bounds: GUESSES_NAMES names; what fails under further ones is forgiven by time alone.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define GUESSES_NAMES 8
#define GUESSES_LAST 8

struct guess {
    uint64_t name, credential;
};

struct guesses {
    unsigned failures; /* what a ban counts */
    unsigned tries;    /* repetitions, too: what the delay goes by */
    struct {
        uint64_t name;
        unsigned failures, tries;
    } names[GUESSES_NAMES];
    uint64_t last[GUESSES_LAST];
    unsigned next_last;
};

void guesses_add(struct guesses *g, struct guess one);
/* It failed lately, and nothing has changed: the credential covers what it was compared with. */
bool guesses_have(const struct guesses *g, uint64_t credential);
void guesses_forgive(struct guesses *g, uint64_t name);

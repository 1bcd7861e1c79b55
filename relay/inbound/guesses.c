#include "relay/inbound/guesses.h"
#include <stddef.h>

bool guesses_have(const struct guesses *g, uint64_t credential)
{
    for (unsigned i = 0; credential && i < GUESSES_LAST; i++)
        if (g->last[i] == credential)
            return true;
    return false;
}

/* Where a name is counted, or may be from now on; GUESSES_NAMES: nowhere. */
static size_t place_of(const struct guesses *g, uint64_t name)
{
    size_t free_place = GUESSES_NAMES;
    if (name == 0)
        return GUESSES_NAMES;
    for (size_t i = GUESSES_NAMES; i-- > 0;) {
        if (g->names[i].name == name)
            return i;
        if (g->names[i].name == 0)
            free_place = i;
    }
    return free_place;
}

void guesses_add(struct guesses *g, struct guess one)
{
    const bool counts = !guesses_have(g, one.credential);
    const size_t at = place_of(g, one.name);
    g->tries++;
    g->failures += counts;
    if (at < GUESSES_NAMES) {
        g->names[at].name = one.name;
        g->names[at].tries++;
        g->names[at].failures += counts;
    }
    if (counts && one.credential) {
        g->last[g->next_last] = one.credential;
        g->next_last = (g->next_last + 1) % GUESSES_LAST;
    }
}

void guesses_forgive(struct guesses *g, uint64_t name)
{
    for (size_t i = 0; name && i < GUESSES_NAMES; i++) {
        if (g->names[i].name != name)
            continue;
        g->failures -= g->names[i].failures;
        g->tries -= g->names[i].tries;
        g->names[i].name = 0;
        g->names[i].failures = g->names[i].tries = 0;
    }
}

/*
 * What was said at a login, known again when somebody repeats it: of each line, and of the password
 * or token that its base 64 holds, the first HIDDEN_SIZE octets as a keyed hash (slice_hash). The
 * secret itself is not kept. Of more than HIDDEN_MAX the oldest go; less than HIDDEN_LEAST octets
 * are no secret, and would hide what is none.
 */
#pragma once
#include "relay/base/slice.h"

#define HIDDEN_MAX 8
#define HIDDEN_LEAST 4
#define HIDDEN_SIZE 16

struct smtp_hidden { /* zeroed: nothing */
    struct {
        uint64_t hash;
        uint8_t n;
    } of[HIDDEN_MAX];
    size_t n; /* that were kept so far */
};

void smtp_hidden_add(struct smtp_hidden *h, struct slice secret);
/* A line of a login: itself, and what is secret of it when it is base 64. */
void smtp_hidden_add_login(struct smtp_hidden *h, struct slice line);
bool smtp_hidden_in(const struct smtp_hidden *h, struct slice line);

/*
 * High-water marks of what an administrator bounds: messages in the queue, memory. Above a mark no
 * new mail is let in, until the measure is back below nine tenths of it, so that accepting does not
 * flap; delivery goes on, and what was let in before is taken. Pure.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct marks_conf { /* 0: no mark */
    uint64_t max_messages;
    uint64_t max_memory; /* octets */
};
struct marks { /* zeroed: below both */
    bool messages, memory;
};

/* Looks again; true: something has changed. */
bool marks_look(struct marks *m, const struct marks_conf *c, uint64_t messages, uint64_t memory);
/* 0; -EXFULL: the queue is full; -ENOBUFS: memory is. */
int marks_error(const struct marks *m);
/* Why new mail is refused, static text; NULL: it is not. */
const char *marks_why(const struct marks *m);

/* What a session is reckoned at (octets): its bounds when idle, measured by tests/bench/idle. */
#define MARKS_SESSION (UINT64_C(16) * 1024)
#define MARKS_SESSION_TLS (UINT64_C(64) * 1024)

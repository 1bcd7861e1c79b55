/* What OpenSSL says went wrong: private to this room. */
#pragma once
#include "relay/base/err.h"
#include <stddef.h>

/* The first error of this thread's queue (the later ones are its consequences), or `otherwise`.
 * Valid for ever; empties the queue. */
const char *reason_take(const char *otherwise);
/* The same of a connection, in words for a person: an alert is what the other side says. */
void reason_write(char *to, size_t size, const char *otherwise);
int reason_err(struct err *e, const char *what); /* -EINVAL, "what: reason" */

/* What OpenSSL says went wrong: private to this room. */
#pragma once
#include "relay/base/err.h"

/* The first error of this thread's queue (the later ones are its consequences), or `otherwise`.
 * Valid for ever; empties the queue. */
const char *reason_take(const char *otherwise);
int reason_err(struct err *e, const char *what); /* -EINVAL, "what: reason" */

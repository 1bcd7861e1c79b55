/*
 * Large content on its way into body files: the steps of SPOOLER_BODY, in order, on the one helper
 * thread that owns this table. At most one step of a body is out at a time, so nothing here is
 * locked.
 */
#pragma once
#include "relay/spooler/spooler.h"

struct bodies;
struct bodies *bodies_new(const struct file_ops *fs);
/* What was begun and not finished is given up. */
void bodies_free(struct bodies *b);
/* Does the step and sets its error; the bytes are given back. Blocks. */
void bodies_step(struct bodies *b, struct spooler_body *step);

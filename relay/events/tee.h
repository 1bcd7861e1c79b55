/*
 * The second sink: lines for standard output, in a thread of its own, because whoever reads there
 * may be slow or stopped. At most TEE_MAX bytes wait; what comes then is left out, which a reader
 * sees as a gap in seq, and the program's log says how many lines. Owner: the events thread.
 */
#pragma once
#include "relay/base/slice.h"

#define TEE_MAX (8u * 1024 * 1024)

struct tee;
struct tee *tee_new(int fd);
/* Whole lines; copies. Never waits for the reader. */
void tee_add(struct tee *t, struct slice lines);
/* Gives the reader 2 s for what waits. */
void tee_free(struct tee *t);

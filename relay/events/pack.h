/*
 * Compressing a file that was set aside (zstd, one frame with a check sum), so that a reader finds
 * it whole at every moment: NAME → .NAME.zst.new, written and synced, renamed to NAME.zst; then
 * NAME goes. A crash in between leaves both, with the same events, or a .new that nobody looks at.
 * Blocks for as long as the file is large: for a helper.
 */
#pragma once
#include "relay/base/err.h"
#include "relay/events/names.h"
#include <stdatomic.h>

/* *ret_bytes: the size of the new file. -ECANCELED: `stop` was set meanwhile; on any failure the
 * file is as it was. */
int pack_file(const struct names *of, const char *name, const atomic_bool *stop,
              uint64_t *ret_bytes, struct err *e);
/* Removes what a crash has left of unfinished ones. */
void pack_tidy(const struct names *of);

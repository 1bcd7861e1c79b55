/* UTF-8 that may be shown: makes any bytes valid UTF-8 without control bytes. */
#pragma once
#include "relay/base/buf.h"

bool utf8_valid(struct slice s);
/* Appends s with control bytes as blanks and invalid bytes as '?'; stops before `max` bytes without cutting a character.
 * Returns true when all of s went in. */
bool utf8_clean(struct buf *out, struct slice s, size_t max);

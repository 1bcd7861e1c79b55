/* UTF-8 that may be shown: makes any bytes valid UTF-8 without control bytes. */
#pragma once
#include "relay/base/buf.h"

/* Length of the character at the start of s (1..4) and its number; 0 when no valid one stands
 * there. */
size_t utf8_char(struct slice s, uint32_t *ret_code);
/* Not to be shown raw: C0, DEL and C1 controls, line and paragraph separators, direction overrides.
 */
bool utf8_is_control(uint32_t code);
bool utf8_valid(struct slice s);
/* Printable ASCII only: nothing to clean. */
bool utf8_plain(struct slice s);
/* Appends s with control bytes as blanks and invalid bytes as '?'; stops before `max` bytes without
 * cutting a character. Returns true when all of s went in. */
bool utf8_clean(struct buf *out, struct slice s, size_t max);

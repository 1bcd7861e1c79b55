/* Base 64 (RFC 4648 section 4), strictly: padding at the end and only there, nothing else between
 * the letters, no bits left over. What decodes is what encoding gives. */
#pragma once
#include "relay/base/buf.h"

bool base64_encode(struct buf *out, struct slice s);
/* False: not base 64, or out is full; out then holds what it held before. */
bool base64_decode(struct buf *out, struct slice text);

/* xtext (RFC 3461 section 4): how ENVID, ORCPT and the like stand in a command. What decodes is
 * printable ASCII and blanks, so that nothing of a peer's can become structure later; what is
 * encoded may be any bytes. Law: what was decoded encodes to text that decodes to the same. */
#pragma once
#include "relay/base/buf.h"

/* Appends what the text stands for. False: not xtext (a "+" without two upper-case hexadecimal
 * digits, "=", a blank, a byte outside of ASCII), or it stands for a control or an 8-bit byte, or
 * `out` is full; out then holds what it held before. Empty text is the empty string. */
bool xtext_decode(struct buf *out, struct slice text);
/* Appends the text for these bytes, "+" and "=" quoted: at most three times as long. False: `out`
 * is full; it then holds what it held before. */
bool xtext_encode(struct buf *out, struct slice bytes);

/*
 * ORCPT, the recipient as its sender first wrote it (RFC 3461 section 4.2, RFC 6533 section 3):
 * "rfc822;" with xtext, or "utf-8;" with the address itself or with \x{…} in place of each
 * character that a command without SMTPUTF8 cannot have. What is stored is "type;address", the type
 * in lower case, the address decoded. Other types have no meaning here and are refused.
 *
 * What decodes holds no control and is valid UTF-8, so that nothing of a peer's can become
 * structure later. Law: what was decoded encodes to text that decodes to the same.
 */
#pragma once
#include "relay/base/buf.h"

enum { ORCPT_MAX = 500 }; /* octets in a command */

/* Appends what is stored. False: malformed, or `out` is full; it then holds what it held before.
 * `smtputf8`: MAIL asked for it, so the address may come as it is. */
bool orcpt_decode(struct buf *out, struct slice text, bool smtputf8);
/* Appends the value of the parameter for what is stored. False: it is none, or `out` is full; it
 * then holds what it held before. `smtputf8`: the next server may be told the address as it is. */
bool orcpt_encode(struct buf *out, struct slice stored, bool smtputf8);

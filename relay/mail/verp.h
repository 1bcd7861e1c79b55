/*
 * Variable envelope return paths: the reverse-path of a copy names its recipient, so that whoever
 * reads the bounces knows whom they are about, whatever they say:
 *
 *   news@example.com to bob@example.net  ->  news+bob=example.net@example.com
 *
 * Delimiters "+=": the first stands before the recipient, the second for his "@". Pure.
 */
#pragma once
#include "relay/base/buf.h"

/* Appends the reverse-path. False, with nothing added: there is no sender, one of both has quotes,
 * a literal, no domain or characters past ASCII, or it would be no address (RFC 5321 section
 * 4.5.3.1: 64 octets before the @). */
bool verp_write(struct buf *out, struct slice sender, struct slice recipient,
                const char *delimiters);

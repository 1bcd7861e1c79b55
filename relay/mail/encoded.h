/*
 * Text past ASCII as mail carries it anywhere: encoded words in a header (RFC 2047),
 * quoted-printable in a body (RFC 2045 section 6.7). In: valid UTF-8; of a body, lines that end in
 * CRLF. Out: ASCII, no line longer than 76.
 */
#pragma once
#include "relay/base/buf.h"

/* Words of whole characters, each further one on a line of its own, which begins with a blank. */
void encoded_words(struct buf *out, struct slice text);
void encoded_quoted_printable(struct buf *out, struct slice text);

/*
 * BINARYMIME content (RFC 3030) for a peer that takes only lines: parts labelled `binary` become
 * base64 with a label that says so, all else keeps its bytes; what comes out has CRLF lines of at
 * most 998 octets. The structure of RFC 2046 is followed through multiparts (REENCODE_DEPTH_MAX of
 * them inside each other) and messages in messages, as a stream: pieces in, bytes out. README.md
 * says what is decided for each label.
 *
 * Bounds: less than 10 KiB, and 64 KiB more while a part is looked at. Laws: any split of the
 * content gives the same bytes; what a MIME reader finds in each part before it finds afterwards.
 */
#pragma once
#include "relay/base/buf.h"

#define REENCODE_DEPTH_MAX 30

struct reencode;
struct reencode *reencode_new(void);
void reencode_free(struct reencode *r);
/* Appends what is ready: at most 4/3 of the piece and what was held back. False: the content cannot
 * be converted, reencode_problem says why, and what has come out so far is of no use; it stays so.
 * Overflow of `out` is the caller's to look at. */
bool reencode_bytes(struct reencode *r, struct slice piece, struct buf *out);
/* After the last piece. */
bool reencode_end(struct reencode *r, struct buf *out);
/* One sentence, static. */
const char *reencode_problem(const struct reencode *r);

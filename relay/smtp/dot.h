/*
 * Content on the wire: the reader takes DATA (dot-stuffed, ended by CRLF.CRLF; RFC 5321
 * section 4.5.2) or the chunks of BDAT (neither), the writer makes DATA. Only CRLF ends a line; a
 * bare CR or LF, and a line of more than 998 octets, is a fault that the reader remembers while it
 * goes on to the real end of the data: it never takes anything else for the end. NUL and 8-bit
 * bytes are carried.
 *
 * Both resume at any byte, keep nothing but a few numbers, and the reader copies nothing: pieces
 * point into the input. Laws: unstuff(stuff(x)) == x for all x that the writer takes; it takes
 * exactly what the reader takes; any split of the input gives the same bytes, the same fault, the
 * same end.
 */
#pragma once
#include "relay/base/buf.h"

#define DOT_LINE_MAX 998 /* octets without CRLF, RFC 5322 section 2.1.1 */

enum dot_fault { DOT_FINE, DOT_BARE_CR, DOT_BARE_LF, DOT_LONG_LINE };
enum dot_state { DOT_LINE_START, DOT_MID_LINE, DOT_CR, DOT_DOT, DOT_DOT_CR };

/* Zeroed: ready for DATA. For BDAT set `chunked` first, and `binary` for BODY=BINARYMIME. */
struct dot_reader {
    enum dot_state state;
    enum dot_fault fault; /* the first one; from there on pieces are empty */
    bool chunked;         /* no dots, no end of data */
    bool binary;          /* chunked, and no lines either: any bytes, as they are (RFC 3030) */
    bool ended;           /* CRLF.CRLF was seen; nothing more is consumed */
    size_t line;          /* octets of the line so far */
};

/* Consumes bytes of `in` up to the end of one piece of content (which may be empty) and says how
 * many; more than none unless `in` is empty or the data has ended. What comes before a fault is
 * still given. */
size_t dot_read(struct dot_reader *r, struct slice in, struct slice *ret_piece);
/* After the last chunk: the CRLF that the last line lacks, or nothing. May find that the content
 * ends in a bare CR. */
struct slice dot_read_last(struct dot_reader *r);

/* Zeroed: ready for DATA. For lines that go by BDAT set `chunked` first. */
struct dot_writer {
    enum dot_state state;
    bool chunked; /* no dot is doubled */
};

/* Appends a piece with its dots doubled: at most twice its size. False: a bare CR or LF, which
 * nobody may send; the piece is not to be used, and the data must not be ended. Overflow of `out`
 * is the caller's to look at. */
bool dot_write(struct dot_writer *w, struct slice piece, struct buf *out);
/* CRLF where the last line lacks it, then, unless chunked, the dot. False as above (the content
 * ends in a bare CR). */
bool dot_finish(struct dot_writer *w, struct buf *out);
/* Octets that dot_finish adds to a chunked writer's content when `last` is the last piece. */
size_t dot_finish_adds(const struct dot_writer *w, struct slice last);

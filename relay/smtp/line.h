/*
 * Command lines as a client sends them (RFC 5321 section 2.3.8): only CRLF ends one. A line with a
 * bare CR or LF, or one that is too long, is told of once, as soon as it is seen, and the rest of
 * it is skipped up to its CRLF. Resumes at any byte. Bounds: 2048 octets, AUTH and its responses
 * 12,288 (RFC 4954 section 4); 64 KiB are skipped, then LINE_ENDLESS.
 */
#pragma once
#include "relay/base/buf.h"

enum { LINE_MAX_COMMAND = 2048, LINE_MAX_AUTH = 12288, LINE_MAX_SKIP = 65536 };

enum line_event {
    LINE_MORE,    /* everything consumed, nothing to say yet */
    LINE_WHOLE,   /* text holds the line without CRLF */
    LINE_BAD_END, /* a bare CR or LF; text holds what stood before it */
    LINE_LONG,    /* text holds what fitted */
    LINE_ENDLESS  /* give up on this client */
};

struct line {
    struct buf text;
    bool cr, skip;
    size_t skipped;
};

void line_init(struct line *l);
void line_done(struct line *l);
/* Consumes up to the next event, one byte at least; after each one line_next, or line_wipe, is due.
 * `auth`: the line is a response in an AUTH exchange. */
size_t line_read(struct line *l, struct slice in, bool auth, enum line_event *ret_event);
void line_next(struct line *l);
/* The same, and leaves no trace of what the line held. */
void line_wipe(struct line *l);

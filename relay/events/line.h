/* What the files of this room know of a line: its size, its service forms, and the number that
 * stands in it. */
#pragma once
#include "relay/events/events.h"

#define LINE_MAX_BYTES 16384 /* with its '\n'; the contract's "a line stays under 16 KiB" */

/* How lines are written: the same style and event give the same bytes. */
struct line_style {
    const char *node;
    enum events_recipients recipients;
    const uint8_t *key; /* of EVENTS_HASHED */
    size_t key_n;
};
/* As event_line, with as much of the recipient as the style shows. */
void line_event(struct buf *out, const struct event *e, const struct line_style *style);

/* The first line of a file: unique by file_id, longer than 1,024 bytes (file collectors tell files
 * apart by their first KiB). */
void line_opened(struct buf *out, const char *file_id, const char *node, struct wall now,
                 uint64_t next_seq);
/* The last line of a file that is closed for good. file_id "" = unknown. */
void line_closed(struct buf *out, const char *file_id, const char *node, struct wall now,
                 uint64_t next_seq);

/* The number of the last event up to and with this line: its own, or the one before a service
 * line's next_seq. False: not a line of ours. */
bool line_seq(struct slice line, uint64_t *ret);
/* When a log_opened line was written; false: it is none. The line may be cut behind its time. */
bool line_opened_time(struct slice line, struct wall *ret);
/* The file_id of a log_opened line, "" when it is none. Borrowed. */
struct slice line_file_id(struct slice line);

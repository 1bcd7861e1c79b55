/*
 * Reading the delivery log from file to file: those put aside, compressed or not, in the order of
 * their numbers, then the live one, and on and on as files are put aside and new ones begun. Each
 * event is given once, by its number; what is missing between two is told as a gap. Only reads; the
 * daemon need not run. Memory: a window of a megabyte.
 *
 * How no file is missed: a file that has ended gets its new name before the live name leads to a
 * new file. So whoever has opened the live file and then finds no other put aside that he wants has
 * the right one.
 */
#pragma once
#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/base/slice.h"

struct log_read;

/* Lines of events with seq > after, from the oldest file on. live: the path in the configuration.
 * NULL: it names no file. */
struct log_read *log_read_since(const char *live, uint64_t after);
/* The same, but of what was written from `since` on, and of that the newest max_bytes or a little
 * more: begins in the file, and the line, where that begins, without reading what is before (but a
 * compressed file is read whole, and counts as many times its size). Times are those of files and
 * lines: see log_seek.h. */
struct log_read *log_read_from(const char *live, struct wall since, uint64_t max_bytes);
/* Every line of the live file as it is now, then what follows. */
struct log_read *log_read_live(const char *live);
void log_read_free(struct log_read *r);

/* 1: *ret is a line with its line feed, borrowed until the next call, *ret_seq its number (0: a
 * line that has none). 0: there is no more at the moment; ask again. Negative errno with e: a file
 * cannot be read. */
int log_read_next(struct log_read *r, struct slice *ret, uint64_t *ret_seq, struct err *e);
/* Asked when there is no more: `after` is a number that no event has had yet. So it is of another
 * log, or of one that was lost with its spool: what comes until then would be passed over. Of which
 * the newest is in *ret_newest. */
bool log_read_is_ahead(const struct log_read *r, uint64_t after, uint64_t *ret_newest);
/* Numbers between the last line given and the one before it that are in no file: true once. */
bool log_read_gap(struct log_read *r, uint64_t *ret_from, uint64_t *ret_to);

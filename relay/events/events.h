/*
 * The delivery log: the thread that turns durable events into lines of delivery.jsonl, rotates the
 * files, and tells the spooler what is safely written (synced), so that the journal may forget it.
 * After a crash the spool's events behind the log's last line are written again under the same
 * numbers, byte for byte (outbox).
 *
 * Bounds: one write(2) of about 1 MiB, one fdatasync a second; a line <= 16 KiB. While the log
 * cannot be written, events wait in memory (and in the spool) without a bound of their own: mail is
 * not refused because of the log.
 */
#pragma once
#include "queue/event.h"
#include "relay/base/err.h"
#include "relay/loop/inbox.h"

struct events_conf {
    const char *path; /* live file; its folder is made if missing */
    const char *node;
    uint64_t rotate_bytes; /* 0: never */
    int64_t keep_s;        /* rotated files older than this are removed; 0: never */
};

struct events;
/* Opens the log and reads its last line: *ret_last_seq (0: empty). A last line torn by a crash is
 * completed by the replay, never cut. */
int events_new(struct events **ret, const struct events_conf *c, uint64_t *ret_last_seq,
               struct err *e);
/* Where to report what is kept (SPOOLER_KEPT messages); a function, so that this room needs to know
 * nothing of the spooler. From any thread; after it returned the former function is not called any
 * more: set NULL before what it reports to goes away. It is called on the events thread and must
 * not call back into this room. */
void events_set_kept(struct events *ev, void (*kept)(void *ctx, uint64_t seq), void *ctx);
/* From the spooler's thread (or before start, for the replay): takes a copy. In order of seq. */
void events_push(struct events *ev, const struct event *e);
int events_start(struct events *ev);
/* From any thread (SIGHUP): when the file has been moved away, ends it with log_closed and begins a
 * new one under the name; otherwise nothing. */
void events_reopen(struct events *ev);
/* Writes and syncs what was pushed, ends the thread, frees. Nobody may push any more. */
void events_free(struct events *ev);
uint64_t events_written_seq(const struct events *ev); /* any thread; of the last line in the file */
uint64_t events_pushed_seq(const struct events *ev);  /* any thread; of the last event handed over:
                                                         more than written_seq = on the way */
bool events_stuck(
    const struct events *ev); /* any thread; the log cannot be written at the moment */

/* One event as a line with its '\n' (pure): used by the thread, the tests and anyone who shows
 * events. At most 16 KiB. */
void event_line(struct buf *out, const struct event *e, const char *node);

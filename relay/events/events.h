/*
 * The delivery log: the thread that turns durable events into lines of delivery.jsonl, rotates the
 * files, and tells the spooler what is safely written (synced), so that the journal may forget it.
 * After a crash the spool's events behind the log's last line are written again under the same
 * numbers, byte for byte (outbox).
 *
 * Bounds: one write(2) of about 1 MiB, one fdatasync a second; a line <= 16 KiB. While the log
 * cannot be written, or not as fast as events come, EVENTS_MEMORY of them wait here; those behind
 * are left to the spool, which has them anyway, and asked of it again when there is room.
 */
#pragma once
#include "queue/event.h"
#include "relay/base/err.h"
#include "relay/loop/inbox.h"

#define EVENTS_MEMORY (UINT64_C(128) * 1024 * 1024)
#define EVENTS_KEY_MAX 64 /* octets of the key of EVENTS_HASHED */

/* How much of a recipient's address a line shows. */
enum events_recipients { EVENTS_FULL, EVENTS_HASHED, EVENTS_DOMAIN };

struct events_conf {
    const char *path; /* live file; its folder is made if missing */
    const char *node;
    uint64_t rotate_bytes; /* 0: never by size */
    int64_t rotate_s;      /* 0: never by age */
    int64_t compress_s;    /* put-aside files are compressed when they are so old; 0: never */
    int64_t keep_s;        /* … removed when they are older; 0: never */
    uint64_t keep_bytes;   /* … oldest first, while all of them are larger; 0: no limit */
    uint64_t min_free;     /* with less room on the log's disk, `room` is told; 0: never */
    uint64_t memory;       /* 0: EVENTS_MEMORY; tests use small ones */
    bool to_stdout;        /* each line of an event goes to standard output, too */
    enum events_recipients recipients;
    uint8_t key[EVENTS_KEY_MAX]; /* of EVENTS_HASHED */
    size_t key_n;
};

struct events;
/* Opens the log and reads its last line: *ret_last_seq (0: empty). A last line torn by a crash is
 * completed by the replay, never cut. */
int events_new(struct events **ret, const struct events_conf *c, uint64_t *ret_last_seq,
               struct err *e);

/* What the log tells the spool, and asks of it; functions, so that this room needs to know nothing
 * of the spooler. Called on the events thread; they must not call back into this room. Each may be
 * NULL. */
struct events_spool {
    void *ctx;
    /* Everything up to seq is on disk. */
    void (*kept)(void *ctx, uint64_t seq);
    /* Events after < seq <= upto are wanted: events_again for each, in order, then once
     * events_again_end. At most one question is open. NULL: there is nobody to ask, and a gap in
     * what is pushed is a gap in the log. */
    void (*again)(void *ctx, uint64_t after, uint64_t upto);
    /* The log's disk has less room than min_free, or has enough again. */
    void (*room)(void *ctx, bool full);
};
/* From any thread; after it returned the former functions are not called any more: set NULL before
 * what they speak to goes away. */
void events_set_spool(struct events *ev, const struct events_spool *s);

/* From the spooler's thread (or before start, for the replay): takes a copy, or leaves it to the
 * spool. In order of seq. */
void events_push(struct events *ev, const struct event *e);
/* The answer to `again`, from any thread: events that the spool still has, then up to which number
 * that was all (less than `upto`: the rest is for the next question). */
void events_again(struct events *ev, const struct event *e);
void events_again_end(struct events *ev, uint64_t through);

int events_start(struct events *ev);
/* From any thread: everything but path and node is as in c from now on. */
void events_reconfigure(struct events *ev, const struct events_conf *c);
/* From any thread (SIGHUP): when the file has been moved away, ends it with log_closed and begins a
 * new one under the name; otherwise nothing. */
void events_reopen(struct events *ev);
/* The same, but a file that is still there and has events is put aside by ourselves. `reply` (NULL:
 * nobody) gets m when it is done: what was pushed before is in the file that has ended. */
void events_rotate(struct events *ev, struct msg *m, const struct port *reply);
/* Writes and syncs what was pushed, ends the thread, frees. Nobody may push any more. */
void events_free(struct events *ev);
uint64_t events_written_seq(const struct events *ev); /* any thread; of the last line in the file */
uint64_t events_pushed_seq(const struct events *ev);  /* any thread; of the last event handed over:
                                                         more than written_seq = on the way */
bool events_stuck(
    const struct events *ev);              /* any thread; the log cannot be written at the moment */
bool events_full(const struct events *ev); /* any thread; its disk has less room than min_free */

/* One event as a line with its '\n' (pure): used by the thread, the tests and anyone who shows
 * events. At most 16 KiB. All of the recipient is shown. */
void event_line(struct buf *out, const struct event *e, const char *node);

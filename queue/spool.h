/*
 * The durable queue: an append-only log of segments holding MESSAGE, STATE and EVENT records, and
 * the index folded from them. Pure apart from struct file_ops; no threads, no clock.
 * queue/README.md has the format byte by byte, every state and crash point.
 *
 * Owner: one thread (the spooler). Only spool_batch_run, spool_task_run, spool_read_run and
 * spool_body_* may run elsewhere (a helper), on the object given to them. The log is freed from its
 * oldest end only, so a done-mark always outlives the MESSAGE record it ends.
 *
 * What is promised: a record is durable when spool_durable() has reached the number its append
 * returned. In memory a change is visible at once; tell nobody before it is durable.
 */
#pragma once
#include "queue/event.h"
#include "queue/file.h"
#include "queue/message.h"
#include "relay/base/err.h"

#define SPOOL_INLINE_MAX (256u * 1024) /* larger content goes to its own file */
#define SPOOL_MESSAGE_MAX_RCPTS 65535

struct spool;

struct spool_options {
    uint64_t segment_bytes; /* 0: 64 MiB; tests use small ones */
    int64_t lifetime_s;     /* default lifetime of a message */
    struct slice node;      /* name of this node in events: copied */
    uint64_t seq_after;     /* events are numbered behind this, the delivery log's last, even when
                               the spool is new */
    /* Opening says each damage that it finds, as spool_verify does, and so does spool_task_end;
     * may be NULL. */
    void (*say)(void *ctx, const char *line);
    void *say_ctx;
};

/* What opening, or a check, found. */
struct spool_report {
    uint64_t messages, recipients, segments, records, damaged, bytes_lost_at_tail, events;
    uint64_t mended; /* by a check with repair */
};

/* Opens or makes the spool, takes the lock, recovers. -EWOULDBLOCK: another process has it. */
int spool_open(struct spool **ret, const struct file_ops *fs, const struct spool_options *o,
               struct spool_report *ret_report, struct err *e);
/* The batch, the task and the reads that are out must be ended. */
void spool_close(struct spool *s);

/* Events of the records still held whose seq > after: for the log writer at start. Negative errno:
 * trouble that is not damage, and some are missing. */
int spool_each_event(struct spool *s, uint64_t after,
                     void (*each)(void *ctx, const struct event *e), void *ctx);
/* Those of a running spool with after < seq <= upto, for a log that had to leave them out: all of
 * them are durable. new: owner, cheap; segments that have some are not freed before its end. */
struct spool_again;
/* passes_over: what cannot be read is left out; else the first trouble ends it. (Damage never does:
 * it costs the records in it.) */
struct spool_again *spool_again_new(struct spool *s, uint64_t after, uint64_t upto,
                                    bool passes_over);
/* On a helper, beside batches, tasks and reads. Ends when it has told max_bytes of them, at the end
 * of a record. Returns up to which number that was all: upto, or less when there was more, or
 * trouble. */
uint64_t spool_again_run(struct spool_again *a, uint64_t max_bytes,
                         void (*each)(void *ctx, const struct event *e), void *ctx);
/* Of that run: 0, or the negative errno of the first segment that could not be read, and its
 * number. */
int spool_again_trouble(const struct spool_again *a, uint32_t *ret_segment);
void spool_again_free(struct spool *s, struct spool_again *a); /* owner */
uint64_t spool_last_seq(const struct spool *s);                /* of the last durable event */
uint64_t spool_last_id(
    const struct spool *s); /* the highest queue id known: where drawing goes on (queue_id_draw) */
/* The delivery log has everything up to seq on disk: older segments may go. */
void spool_events_kept(struct spool *s, uint64_t seq);

/* --- changing: each returns the record's number (> 0) to wait for
 * ------------------------------------------------- */

/* An event to be numbered and stored with the record. EVENT_ACCEPTED_ALL, once and with spool_put
 * only, is an `accepted` for each recipient, and `fields` what the envelope does not say. */
struct spool_event_in {
    enum event_name name;
    struct slice fields; /* encoded by event_add_* */
};

/* A new message; `body` (owned from now on) for inline content, or NULL with `body_file` true when
 * ID.body is complete and synced. `id` from spool_new_id. If the envelope has dsn_for, the failures
 * of that message are marked as told by the same record. `due`: first attempt. */
uint64_t spool_put(struct spool *s, uint64_t id, const struct envelope *e, struct body *body,
                   bool body_file, struct wall now, const struct spool_event_in *events,
                   size_t n_events, struct message **ret);
uint64_t spool_new_id(struct spool *s, struct wall now);

struct rcpt_change {
    uint32_t rcpt;
    enum rcpt_state state;
    uint32_t attempts;
    struct wall due, last_attempt;
    bool dsn_due;
    const struct verdict *verdict; /* copied; NULL: keep the last */
    const char *host;              /* copied; NULL: keep the last */
    bool has_route, has_priority;
    struct slice route; /* copied; see recipient_redirected. "": none any more */
    int8_t priority;    /* of its whole message. Changes the rank of all of its recipients with the
                           scheduler: none of them may stand there meanwhile */
};
/* Changes recipients of one message and stores the events with it. A message with n_left == 0
 * afterwards is gone from spool_find once the record is durable; the caller must not touch it after
 * spool_batch_end reports that. */
uint64_t spool_change(struct spool *s, struct message *m, const struct rcpt_change *c, size_t n,
                      struct wall now, const struct spool_event_in *events, size_t n_events);
/* Events without a message (rejected, service lines). */
uint64_t spool_note(struct spool *s, struct wall now, const struct spool_event_in *events,
                    size_t n_events);

/* --- group commit
 * ---------------------------------------------------------------------------------------------------
 */

struct spool_batch;
/* Everything appended since the last batch; NULL when there is nothing or one batch is still out.
 */
struct spool_batch *spool_batch_take(struct spool *s);
/* The number of its last record; 0: it has none, only housekeeping. */
uint64_t spool_batch_last(const struct spool_batch *b);
/* On the helper: one write, one fdatasync (and the next segment's making when one is full), then
 * what is not needed any more goes. In two steps, when somebody waits for the first only. */
/* 0, or the disk's error (some of its records may be durable even so: spool_batch_end tells). */
int spool_batch_run(struct spool_batch *b);
int spool_batch_write(struct spool_batch *b);
void spool_batch_tidy(struct spool_batch *b);
/* Back on the owner: the outcome; the next batch may be taken. On failure (ret_error < 0): messages
 * put by this batch are gone (their STORE is to be answered 451), every other record is appended
 * again to a fresh segment and will be durable later; all that had landed is settled. Frees b. */
int spool_batch_end(struct spool *s, struct spool_batch *b,
                    void (*each_event)(void *ctx, const struct event *e), void *ctx,
                    void (*each_failed)(void *ctx, uint64_t message_id), struct err *e);
/* What follows for `max` records that have landed on disk (and those behind the last one that speak
 * of the same message: it is never seen half settled), oldest first: spool_durable() moves on, what
 * is over leaves the index, `each_event` (may be NULL) sees their events. Apart from
 * spool_batch_end, so that the disk need not wait for it. True: there are more. */
bool spool_settle(struct spool *s, size_t max, void (*each_event)(void *ctx, const struct event *e),
                  void *ctx);
uint64_t spool_durable(const struct spool *s);
/* Is there room for new mail, by the log's own needs? 0, or -ENOSPC, -EDQUOT: no spare segment
 * could be made, and what is left of the open one is for done-marks. */
int spool_room(const struct spool *s);
/* The next batch tries for a spare again; there is one to take even when nothing else waits. */
void spool_room_again(struct spool *s);

/* --- housekeeping
 * ---------------------------------------------------------------------------------------------------
 */

/* What takes long, in small steps, so that nobody waits for it: removing files that are not needed,
 * copying the oldest segment's live messages forward when disk use asks for it, index footers. */
struct spool_task;
/* NULL: there is nothing to do now (ask again when a batch has ended), or one is still out.
 * in_trouble: the disk cannot be written: only what gives room back. */
struct spool_task *spool_task_take(struct spool *s, bool in_trouble);
/* On a helper, beside batches and reads. */
void spool_task_run(struct spool_task *t);
/* Back on the owner: what it brought goes out with the next batch; frees t. False: there was
 * trouble; take the next one after a pause. */
bool spool_task_end(struct spool *s, struct spool_task *t);

/* --- finding and reading
 * -------------------------------------------------------------------------------------------- */

struct message *spool_find(struct spool *s, uint64_t id);
/* In id order, the first with id > after; NULL at the end: stable under change, for listings with a
 * cursor. */
struct message *spool_after(struct spool *s, uint64_t after);
struct spool_counts {
    uint64_t messages, recipients, live_bytes, disk_bytes, segments;
};
void spool_count(const struct spool *s, struct spool_counts *ret);
/* Bytes of memory that the index takes (malloc's rounding counted), fresh bodies aside. */
uint64_t spool_memory(const struct spool *s);

/* How many messages have an id below this one. */
uint64_t spool_rank(const struct spool *s, uint64_t id);
/* The last replies, each once, with how many recipients share it: those of at most `max` places
 * from `from` on (0: the beginning). Returns the place to go on at; 0: that was all. A change in
 * between may show a reply twice or not at all. */
struct spool_reply {
    struct slice text; /* borrowed */
    enum verdict_kind kind;
    uint64_t hash, recipients; /* hash: the same as long as the reply is there */
};
size_t spool_each_reply(const struct spool *s, size_t from, size_t max,
                        void (*each)(void *ctx, const struct spool_reply *r), void *ctx);

struct spool_read; /* content to be read on a helper */
struct spool_read *spool_read_new(struct spool *s, const struct message *m, uint64_t offset,
                                  size_t n);
int spool_read_run(
    struct spool_read *r,
    struct body **ret); /* the bytes; -EBADMSG: damaged (CRC), other negative errno: trouble */
void spool_read_free(struct spool *s, struct spool_read *r);

/* Large content, on a helper: written as it arrives, synced (file, then folder) by finish, before
 * spool_put names it. */
struct spool_body_file;
int spool_body_create(const struct file_ops *fs, uint64_t id, struct spool_body_file **ret);
int spool_body_write(struct spool_body_file *f, struct slice piece);
/* Puts octets in the place of others that were written, within the first 64 KiB. After an error
 * only abandon is left. */
int spool_body_patch(struct spool_body_file *f, uint64_t at, struct slice octets);
int spool_body_finish(struct spool_body_file *f); /* frees f; on failure the file is gone */
void spool_body_abandon(struct spool_body_file *f);
/* On the owner: a finished file that no spool_put will name goes with the next batch. One that a
 * message has stays, and so does, for a while, that of a message whose batch failed: the spool sees
 * to it. */
void spool_body_forget(struct spool *s, uint64_t id);

/* --- checking (spool check)
 * ---------------------------------------------------------------------------------------------- */

/*
 * Reads everything: records, bodies, footers. Each finding is one line through `say` (which may be
 * NULL) and counts in report.damaged; with `repair` what can be mended is, and counts in
 * report.mended, too. README.md has what each finding means and what is done about it.
 *
 * A stopped spool: returns the number of findings, or negative errno. With `repair` it takes the
 * lock (-EWOULDBLOCK: another process has it), without it nothing is changed, and a program that
 * runs on the spool meanwhile is seen as damage.
 */
int spool_verify(const struct file_ops *fs, bool repair, void (*say)(void *ctx, const char *line),
                 void *ctx, struct spool_report *ret_report, struct err *e);

/* A running one, as it is when the check begins, in steps; no segment is freed before its end. With
 * `repair` sealed segments are mended. new: owner, cheap. */
struct spool_check;
struct spool_check *spool_check_new(struct spool *s, bool repair);
/* On a helper, beside batches, tasks and reads: one segment, or 256 body files. False: that was
 * all. */
bool spool_check_step(struct spool_check *c, void (*say)(void *ctx, const char *line), void *ctx);
/* Back on the owner, between steps: nobody asks for the next one. Segments are freed again; what
 * has not been read is not checked any more, and the end says so. */
void spool_check_release(struct spool *s, struct spool_check *c);
/* Back on the owner, also before the end: says what depends on which messages are still there;
 * frees c. */
void spool_check_free(struct spool *s, struct spool_check *c,
                      void (*say)(void *ctx, const char *line), void *ctx,
                      struct spool_report *ret_report);

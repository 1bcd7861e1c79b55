/*
 * The deciding part of the spooler: pure, time passed in, actions out. It folds requests into
 * queue/ (index, scheduler), gathers what must be synced into one batch at a time, and gives
 * answers only when the batch that carries them has come back. spooler.c is its rim; the simulator
 * (tests/sim) is another one. Owner: one thread at a time; it calls nobody and blocks never.
 *
 *   core_time(c, wall, mono); core_message(c, m); … while (core_next(c, &a)) act(a); wake again at
 * core_deadline
 *
 * Laws: an answer of success, an event, a DSN or a first attempt never comes before the sync of
 * what it tells; each request is answered once; a recipient is with one connection at most; nothing
 * is due and forgotten.
 */
#pragma once
#include "relay/spooler/spooler.h"

#define CORE_FRESH_MAX (16u * 1024 * 1024) /* bodies kept in memory for their first attempt */
#define CORE_DSN_AGAIN_MS (INT64_C(60) * 1000)
#define CORE_DSN_PATIENCE_MS                                                                       \
    (INT64_C(5) * 60 * 1000) /* how long failures wait for first attempts of the rest */
#define CORE_DSN_OUT_MAX 64
#define CORE_DSN_WAIT_MS                                                                           \
    (INT64_C(24) * 3600 * 1000)              /* a report waits for its turn so long at most */
#define CORE_DSN_SAY_MS (INT64_C(60) * 1000) /* a line about limits so often */
/* A report lives no longer: who does not take it in this time does not wait for it. */
#define CORE_DSN_LIFETIME_S (INT64_C(2) * 86400)
#define CORE_PAUSE_MS (INT64_C(10) * 1000)
#define CORE_WRITE_AGAIN_MS 1000           /* between tries when the disk keeps failing */
#define CORE_STUCK_MS (INT64_C(30) * 1000) /* a batch out for longer is trouble, too */
#define CORE_TROUBLE_NOTES_MAX                                                                     \
    1000                        /* refusals kept for the log while the disk fails or is full       \
                                 */
#define CORE_TASK_AGAIN_MS 1000 /* between housekeeping tasks when one had trouble */
/* Nobody waits for a done-mark as a client waits for its 250: few of them, alone, wait so long for
 * a message to share its sync with. A crash meanwhile costs what a crash just before the peer's 250
 * costs: the attempt again. */
#define CORE_LAZY_MS 5
#define CORE_LAZY_MAX 4
/* A store waits for those that are on their way, so long at most and while it and its like are
 * fewer than twice as many: two thirds of what is on its way share a sync, the rest is heard
 * meanwhile. Only when the stores before had company in their batch: one that comes alone goes at
 * once, whoever else is slowly sending something. */
#define CORE_GATHER_MS 2
#define CORE_GATHER_MAX 32 /* so many have company enough: more would save next to no sync */
/* What follows for records that have become durable (events, schedule): so many at a time, and in
 * one turn, before new mail is looked at again. */
#define CORE_SETTLE_STEP 16
#define CORE_SETTLE_TURN 32

struct core;
struct core_conf {
    struct retry_policy retry;
    struct retry_policy widest; /* of all destinations, for mail whose way is not known yet (n 0:
                                   `retry`) */
    int64_t lifetime_s, delay_warning_s;
    struct report_policy report_policy;
    unsigned loops;
    uint64_t seed;
};

/* What one sync makes durable. */
struct core_batch;

/* Content to be read by a helper: core_read_run there, core_read_done back here. */
struct core_read;

enum core_act {
    CORE_SEND,   /* msg to the outbound port of net loop `loop` */
    CORE_ANSWER, /* msg back to `reply` (NULL: nobody asked to know; the rim frees it) */
    CORE_BATCH,  /* batch to be written: core_batch_run by a helper, or by who had the turn and has
                    left it; core_batch_done back here */
    CORE_READ,   /* read to the reading helper */
    CORE_TASK    /* task to the keeping helper: spool_task_run, then core_task_done */
};

struct core_action {
    enum core_act act;
    unsigned loop;
    struct msg *msg;
    const struct port *reply;
    struct core_batch *batch;
    struct core_read *read;
    struct spool_task *task;
};

/* Takes in what the open spool holds. The spool stays the caller's and outlives the core. */
struct core *core_new(struct spool *spool, const struct core_conf *conf, struct wall now,
                      struct mono mono);
/* Requests and orders still inside are freed, not answered. */
void core_free(struct core *c);

/* The time of all that follows, until it is set again. */
void core_time(struct core *c, struct wall now, struct mono mono);
/* One of enum spooler_type except SPOOLER_BODY and SPOOLER_CHECK; owned from now on. */
void core_message(struct core *c, struct msg *m);
bool core_next(struct core *c, struct core_action *ret);
/* On the helper. Stores that are durable then are answered at once, by `answer` (NULL: later, by
 * CORE_ANSWER); nothing else of the core is touched. 0, or the disk's error. */
int core_batch_run(struct core_batch *b,
                   void (*answer)(void *ctx, const struct port *reply, struct msg *m), void *ctx);
/* The batch has run, and the next one may be taken; what follows from this one is drawn by
 * core_next, behind that. 0, or the disk's error, with e filled: said once by the caller; what can
 * be done has been done. */
int core_batch_done(struct core *c, struct core_batch *batch, struct err *e);
/* All that follows from the batches that are done, at once (at the end). */
void core_settle(struct core *c);
/* What has not been in a batch yet, without waiting for company (at the end). NULL: nothing. */
struct core_batch *core_batch_take(struct core *c);
void core_task_done(struct core *c, struct spool_task *task);
void core_read_run(struct core_read *r); /* on the helper */
void core_read_done(struct core *c, struct core_read *r);
/* Something is left to do that no batch need wait for. */
bool core_has_more(const struct core *c);
void core_deadline(const struct core *c, struct wall *ret_wall, struct mono *ret_mono);

/* What a file system has left (negative: it does not say), as a reason to take no new mail; NULL:
 * there is room. Static text. */
const char *trouble_no_room(int64_t bytes, int64_t files, uint64_t min_bytes, bool was_full);
/* The rim says why there is no room for new mail (static text), or NULL: there is. */
void core_set_full(struct core *c, const char *why);
/* How many messages clients are handing in now, about: the next batch may wait for some of them. */
void core_set_coming(struct core *c, uint64_t n);
/* May new mail be taken? 0, or what a store would be answered now. */
int core_accepting(const struct core *c);
/* For the marks: how many messages there are, and what the index and fresh bodies take (octets). */
void core_weight(const struct core *c, uint64_t *ret_messages, uint64_t *ret_memory);
void core_disk(const struct core *c, struct spooler_disk *ret);
/* Sees each event when it has become durable, in order. */
/* These destinations and sites, and no others, stand still. */
void core_suspend(struct core *c, char *const *names, size_t n);
void core_set_events(struct core *c, void (*fn)(void *ctx, const struct event *e), void *ctx);
/* The number of net loops is known later than the spool is open; before the first core_next. */
void core_set_loops(struct core *c, unsigned loops);

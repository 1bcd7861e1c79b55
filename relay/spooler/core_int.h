/*
 * What the files of the core share: core.c (life, actions, durability), intake.c (store, note),
 * work.c (jobs, results, plans), bounce.c (DSNs), admin.c (operators). Private to them.
 */
#pragma once
#include "queue/heap.h"
#include "queue/id.h"
#include "relay/spooler/core.h"
#include "relay/spooler/outcome.h"
#include "relay/spooler/requests.h"

#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>
#include <utlist.h>

/* What happens when a record is durable, in the order of records. */
enum wait_kind {
    WAIT_STORE,  /* msg is answered; the message is scheduled */
    WAIT_ANSWER, /* msg is answered */
    WAIT_BOUNCE  /* what is due of message id may be told */
};
enum wait_state { WAIT_WAITING, WAIT_ANSWERED, WAIT_CLAIMED }; /* see durable.c */
struct wait {
    struct wait *prev, *next;
    uint64_t number;
    enum wait_kind kind;
    struct msg *msg;
    const struct port *reply;
    uint64_t id;
    /* Of a store: what follows its answer, because then the request is its asker's again. */
    bool held;
    uint32_t n_dropped;
    uint64_t dsn_for, dsn_rcpt;
    struct mono until; /* patience */
    atomic_int state;
};

struct queued_action {
    struct queued_action *prev, *next;
    struct core_action action;
};

/* What a connection has been given. */
struct job {
    UT_hash_handle hh;
    uint64_t conn, id;
    struct job *ahead; /* given to it before this one was over */
    uint32_t n;
    uint32_t rcpts[];
};

/* How many recipients of a message its sender is to hear of. */
struct bounce_due {
    size_t over; /* with dsn_due: failed, or relayed */
    size_t late;
    uint32_t only; /* … the one of them, counted from 1, where each is told of alone; 0: all */
};

/* A message of which something is to be told. */
enum bounce_turn { TURN_SENDER, TURN_USER, TURN_HAD };
enum bounce_state { BOUNCE_WAIT, BOUNCE_READING, BOUNCE_OUT };
struct bounce {
    UT_hash_handle hh;
    struct bounce *prev, *next; /* in c->bounce_line, with `in_line` */
    uint64_t id;
    enum bounce_state state;
    bool in_line; /* its time has come, and as many as may be are out */
    struct mono since;
    struct mono walk;       /* its recipients are not gone through again before */
    enum bounce_turn whose; /* whose turn it is to wait for when that at `turn` has come */
    struct mono turn;
    uint32_t heap_index;   /* in c->bounce_times, by the next look */
    struct bounce_due due; /* recipients told of in the DSN that is out */
    uint64_t serial;       /* of that one; grows */
    bool one_by_one;       /* its failures are told each alone: its last report was one on one */
    uint32_t at;           /* … and those in front of this one are */
};

enum read_kind { READ_ASKED, READ_WORK, READ_BOUNCE };
struct core_read {
    enum read_kind kind;
    struct spool_read *read;
    struct body *body;
    int error;
    struct spooler_read *asked;
    struct out_work *work;
    struct out_dsn *dsn;
};

struct core {
    struct spool *spool;
    struct sched *sched;
    struct retry_policy retry, widest;
    int64_t lifetime_s, delay_warning_s;
    struct report_policy report_policy;
    struct { /* bounce_limit.c */
        struct limit *senders, *users;
        struct mono say_late, say_dropped; /* not before */
    } reports;
    unsigned loops;
    struct rng rng;
    struct wall now;
    struct mono mono;
    struct queued_action *actions;
    struct wait *waits;
    struct job *jobs;
    uint64_t last_number; /* of the newest record */
    uint64_t taken_to;    /* of the newest that was in a batch */
    uint64_t n_active, n_held, fresh_bytes;
    const char *full; /* why new mail has no room; NULL: it has */
    bool paused, batch_out, task_out;
    bool landed;           /* batches are done whose consequences are not all drawn … */
    unsigned settled_turn; /* … and of how many records they were, since the time was set */
    struct mono batch_not_before, task_not_before, overdue_at, room_again;
    struct wait *failed;          /* stores of the batch that is being ended */
    struct {                      /* see trouble.c */
        unsigned failures, notes; /* batches in a row; notes since then */
        int error;
        char text[200];
        struct wall since, taken_wall;
        struct mono taken; /* the batch that is out */
    } disk;
    struct { /* changes not yet in a batch that nobody waits for */
        unsigned n;
        struct mono until;
        bool urgent; /* somebody waits for another record */
    } lazy;
    struct { /* stores that wait for the next batch, and whether it waits for more: core.c */
        uint64_t coming, due; /* as told; just behind a batch */
        unsigned waiting;
        bool pays;
        struct mono until, due_until;
    } gather;
    struct bounce *bounces;
    struct bounce *bounce_line; /* those whose time has come, and that wait for room */
    struct heap bounce_times;
    uint64_t bounce_looks; /* at recipients, for reports: work that tests count */
    uint64_t last_serial;
    struct {
        struct wall wall; /* the two clocks when they were last compared */
        struct mono mono;
        bool known, walking;
        uint64_t after; /* walking: the message reached */
    } skew;
    struct { /* operators, first come first served */
        struct msg *first, *last;
        bool had_turn;                 /* since the time was set */
        bool let_go;                   /* they have gone: nothing is durable for them */
        struct mono quiet_at, step_at; /* the next step: when no mail has come for a moment, or at
                                          the latest */
    } asked;
    unsigned bounces_out;
    struct later *laters; /* what operators asked of recipients that are with a connection */
    struct {
        struct spooler_control *msg;
        struct mono until;
    } pause;
    void (*event_fn)(void *ctx, const struct event *e);
    void *event_ctx;
};

/* core.c */
void core_push(struct core *c, struct core_action a);
void core_answer(struct core *c, struct msg *m, const struct port *reply);
/* Answered when record `number` is durable, which may be now. */
void core_answer_durable(struct core *c, uint64_t number, struct msg *m, const struct port *reply);
unsigned core_loop_of(const struct core *c, struct slice key);
/* The content in memory is let go; it can be read again. */
void core_fresh_drop(struct core *c, struct message *m);
/* spool_change, and what always goes with it. `events`: one a change. */
uint64_t core_change(struct core *c, struct message *m, const struct rcpt_change *changes, size_t n,
                     const struct spool_event_in *events);
/* Without an event, and nothing follows from it. */
void core_change_untold(struct core *c, struct message *m, const struct rcpt_change *changes,
                        size_t n);
struct core_read *core_read_new(struct core *c, enum read_kind kind, const struct message *m,
                                uint64_t offset, size_t n);

void core_read_free(struct core *c, struct core_read *r);

/* durable.c */
void core_wait(struct core *c, const struct wait *w); /* copied */
/* Ours to answer now; false: the helper has done it. */
bool wait_claim(struct wait *w);
void wait_free(struct wait *w);    /* and its request, when nobody has answered it */
bool durable_step(struct core *c); /* consequences of some records; false: none, or not now */

/* intake.c */
void intake_store(struct core *c, struct spooler_store *s);
void intake_durable(struct core *c, struct wait *w);
void intake_overdue(struct core *c); /* askers whose time is over are answered */
void intake_note(struct core *c, struct spooler_note *n);

/* dropped.c: right behind spool_put */
void intake_drop(struct core *c, const struct spooler_store *s, struct message *m);

/* work.c */
bool work_step(struct core *c); /* one action of the scheduler; false: none */
void work_result(struct core *c, struct spooler_result *r);
void work_plan(struct core *c, struct spooler_plan *p);
void work_conn_gone(struct core *c, uint64_t conn);
void work_read_done(struct core *c, struct core_read *r);
void work_free(struct core *c);
void work_count(enum event_name event); /* in the metrics */

/* bounce.c */
void bounce_wanted(struct core *c, uint64_t id);
void bounce_poke(struct core *c, uint64_t id); /* something of the message has changed */
bool bounce_is_due(const struct core *c, const struct recipient *r);
bool bounce_step(struct core *c);
/* Who hears of it: its sender; of a report the address for double bounces, "": nobody. */
struct slice bounce_reader(const struct core *c, const struct message *m);
/* May this store tell what is due of the message that it is about? 0 (*ret_delay: it tells of a
 * delay), or -ESTALE. */
int bounce_check(struct core *c, const struct spooler_store *s, bool *ret_delay);
/* By a report on this recipient alone, counted from 1; 0: on all that was due. */
void bounce_told(struct core *c, uint64_t id, uint64_t rcpt);
void bounce_read_done(struct core *c, struct core_read *r);
void bounce_free(struct core *c);

/* bounce_limit.c */
/* In how many ms the message's report has this turn (SENDER, USER), which is its own now; -1: it
 * has none, or (when nothing has failed) none at once. */
int64_t bounce_limit(struct core *c, const struct message *m, enum bounce_turn next, bool failed);
/* What is due of it is told to nobody. May end the message. */
void bounce_drop(struct core *c, struct message *m);

/* skew.c */
void skew_watch(struct core *c); /* the time has been set */
void skew_step(struct core *c);
/* When r is to be tried, by this clock: never further than its pause allows. */
struct wall skew_due(const struct core *c, const struct recipient *r);

/* trouble.c */
void trouble_batch_taken(struct core *c);
void trouble_batch_done(struct core *c, int rc, const struct err *e);
bool trouble_is(const struct core *c); /* no attempt may begin */
bool trouble_takes_note(struct core *c);
void trouble_look(struct core *c);

/* filter.c */
void filter_prepare(struct queue_filter *f);                           /* sorts the ids */
uint64_t filter_next_id(const struct queue_filter *f, uint64_t after); /* 0: no more */
bool filter_match(const struct queue_filter *f, const struct recipient *r);
bool filter_match_message(const struct queue_filter *f, const struct message *m, struct wall now);

/* export.c */
void export_run(struct core *c, struct spooler_export *x);

/* site.c */
void site_run(struct core *c, struct spooler_site *q);
/* All but the names. */
void site_row_fill(const struct core *c, struct queue_site_row *r, const struct sched_site_view *v);

/* admin.c */
void admin_ask(struct core *c, struct spooler_admin *a);
bool admin_step(struct core *c); /* one request; false: none, or not yet */
struct mono admin_deadline(const struct core *c);
void admin_mail(struct core *c);   /* mail has come: operators give way */
void admin_let_go(struct core *c); /* what operators wait for is answered now, and from now on */
void admin_drop(struct core *c);

/* act.c: what an operator's verb does. Shared by the request and what is to be done later. */
struct act;
struct act *act_new(const struct spooler_admin *a);
/* What it does to one recipient, which may be with a connection; false: nothing (already so). The
 * outcome borrows from the act. */
bool act_decide(const struct core *c, const struct act *a, const struct recipient *r,
                struct outcome *ret);
/* Recipients of one message, as decided, none with a connection (but for a priority): one record,
 * whose number it returns. n <= ACT_CHANGES_MAX */
#define ACT_CHANGES_MAX 100
uint64_t act_change(struct core *c, struct act *a, struct message *m,
                    const struct outcome *outcomes, size_t n);
/* It is with a connection: noted, instead of what was noted of that kind before; or (changes: what
 * act_decide said) that is taken back. False: nothing is to be done when the attempt has ended. */
bool act_later(struct core *c, struct act *a, const struct recipient *r, bool changes);
/* These are with a connection no more. */
void act_ended(struct core *c, struct message *m, const uint32_t *rcpts, size_t n);
void act_free_all(struct core *c);

/* False: the page is full. */
bool admin_row(struct spooler_admin *a, const struct recipient *r);

/* sorted.c */
void sorted_offer(struct spooler_admin *a, const struct recipient *r);
bool sorted_ready(const struct spooler_admin *a); /* all was offered */
void sorted_page(struct core *c, struct spooler_admin *a);

/* totals.c */
void totals_run(struct core *c, struct spooler_admin *a);

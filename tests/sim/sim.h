/*
 * The whole relay on a fake disk, clock and network, from one seed: submitters (the real client
 * machine) talk to the real server machine, an intake shim stores through the spooler's core, the
 * core's orders drive real client machines to receivers that are server machines again. Everybody
 * is unreliable by chance: chunks, latency, refusals, hang-ups, silence, dead hosts, disk faults,
 * power cuts; operators and the wall clock are not to be trusted either.
 *
 * world.c: time, disk, core, power. orders.c: what the core orders. link.c: two machines and the
 * wire between them. content.c: body files. operator.c: verbs of operators, the wall clock set, a
 * full disk. words.c: what they say of an attempt under way. housekeeping.c: checks, and damage.
 * asked.c: what submitters ask for. law.c: what must hold.
 */
#pragma once
#include "queue/heap.h"
#include "relay/smtp/client.h"
#include "relay/smtp/server.h"
#include "relay/spooler/bodies.h"
#include "relay/spooler/core.h"
#include "relay/spooler/requests.h"
#include "tests/sim/fake_disk.h"
#include <stdio.h>

enum {
    SIM_RCPTS_MAX = 4,
    SIM_MESSAGES_MAX = 2000,
    SIM_SITES = 5,
    SIM_PAUSE_MAX_S = 7200,
    SIM_PATIENCE_MS = 30000
};

/* A message as its author knows it, and what became of it as seen from outside. */
struct sim_message {
    unsigned number;
    uint64_t id;                   /* 0: never came to a commit */
    bool dsn, answered, withdrawn; /* withdrawn: its author was told 451, too late to be true */
    char sender[64];
    unsigned n_rcpts;
    char rcpts[SIM_RCPTS_MAX][64];
    struct buf content;
    uint64_t serial;                  /* DSN: of its order */
    uint64_t about_id;                /* DSN: of this message … */
    unsigned about[SIM_RCPTS_MAX];    /* … these recipients: 1 + enum out_dsn_what */
    unsigned arrived[SIM_RCPTS_MAX];  /* times that a receiver took it */
    unsigned in_doubt[SIM_RCPTS_MAX]; /* attempts whose end nobody knows */
    unsigned sent[SIM_RCPTS_MAX], settled[SIM_RCPTS_MAX]; /* attempts; those whose end is logged */
    bool in_file;                                         /* its content went to a body file */
    bool passed_on[SIM_RCPTS_MAX];   /* its last attempt is with a receiver that knows DSN */
    struct sim_word {                /* what an operator was told will be done … */
        unsigned attempt;            /* … when this attempt (a number of `sent`) has ended */
        enum event_name fate, route; /* 0: nothing */
        bool no_hold, no_route;      /* taken back, and not said again */
        unsigned unknown;            /* up to this attempt it is not known what was said */
    } word[SIM_RCPTS_MAX];
    struct sim_owed { /* it has ended: the next events are these */
        enum event_name fate, route;
    } owed[SIM_RCPTS_MAX];
    struct sim_asked {
        struct mail_params params;
        unsigned notify[SIM_RCPTS_MAX];
        int64_t release_s, by_s; /* from when it is stored; 0: not */
        struct wall release, by_deadline;
        const char *tags, *route;
    } asked;
};

enum timer_kind {
    T_MESSAGE,
    T_ORDER,
    T_COMMIT,
    T_READ,
    T_TASK,      /* a helper does it */
    T_TASK_DONE, /* … and the core hears of it */
    T_CORE,
    T_LINK,
    T_SUBMIT,
    T_CRASH,
    T_DIE,
    T_KEPT,
    T_CLOCK,
    T_OPERATOR,
    T_WORD,
    T_ROOM,
    T_FAULT,
    T_CHECK,
    T_CHECK_STEP,
    T_MENDED,
    T_LOOK
};
struct timer {
    uint32_t heap_index;
    enum timer_kind kind;
    void *p;
};

struct logged {
    uint64_t seq, id;
    unsigned rcpt;
    enum event_name name;
};

struct link;
struct fetch;
struct sim {
    uint64_t seed;
    bool verbose, failed;
    struct rng rng;
    int64_t now_us, start_us, last_message_us;
    int64_t set_us; /* how far the wall clock has been set */
    struct heap timers;
    struct timer core_timer;
    struct fake_disk *disk;
    struct spool *spool;
    struct core *core;
    unsigned crashes, crashes_left, faults;
    struct bodies *bodies;
    struct fetch *fetches;
    size_t doubtful_files; /* of failed batches or failed removals: they may stay until the next
                              segment */
    bool full;
    bool released, ranked, clock_set; /* by an operator, ever */
    bool meddles;                     /* operators speak of attempts under way */
    unsigned broad_out;               /* verbs for many that are not answered yet */
    unsigned words_done;              /* last words that became true */
    struct spool_check *check;        /* under way */
    bool damaged;                     /* a byte has been turned */
    bool disk_touched;                /* that, or the disk has failed: a check may find something */
    bool batch_failed;                /* the last one: nothing can be marked as delivered */
    bool dying; /* the power is gone: what the old process still does counts for nothing */
    struct link *links;
    uint64_t last_id;
    struct sim_message messages[SIM_MESSAGES_MAX];
    unsigned n_messages, to_submit;
    struct logged *log;
    size_t n_log, cap_log, max_log;
    uint64_t kept_seq;
    int64_t down_until_us[SIM_SITES];
};

/* world.c */
bool sim_run(uint64_t seed, bool verbose);
uint64_t sim_below(struct sim *s, uint64_t n);
bool sim_chance(struct sim *s, unsigned percent);
struct wall sim_wall(const struct sim *s);
struct mono sim_mono(const struct sim *s);
void sim_say(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct timer *sim_after(struct sim *s, int64_t us, enum timer_kind kind, void *p);
void sim_cancel(struct sim *s, struct timer *t);
/* A request to the core, after a while, in order. */
void sim_request(struct sim *s, struct msg *m, enum spooler_type type);
void sim_pump(struct sim *s);
struct sim_message *sim_message_new(struct sim *s);
struct sim_message *sim_find(struct sim *s, uint64_t id);

/* orders.c */
void sim_order(struct sim *s, struct msg *m);

/* asked.c */
void asked_choose(struct sim *s, struct sim_message *m);
void asked_fill(struct sim *s, struct sim_message *m, struct envelope *e,
                struct envelope_rcpt *rcpts);
bool asked_passes_on(struct slice site);
void asked_attempt(struct sim *s, const struct out_work *w); /* it begins */
void asked_look(struct sim *s);
void asked_check(struct sim *s, const struct sim_message *m, unsigned r, enum event_name last);

/* content.c */
int content_write(struct sim *s, const struct sim_message *m); /* the body file of m->id */
void content_fetch(struct sim *s, struct out_work *w); /* … read piece by piece; then link_order */
void content_read(struct sim *s, struct spooler_read *r); /* an answer; freed */
void contents_drop_all(struct sim *s);

/* operator.c */
/* id 0: of all messages. */
struct spooler_admin *operator_verb(struct sim *s, enum admin_verb v, uint64_t id, const char *to,
                                    const char *route);
void operator_plans(struct sim *s);
void operator_acts(struct sim *s);
void operator_disk_full(struct sim *s, bool full);
void operator_disk_fails(struct sim *s, bool fails);
void operator_sets_clock(struct sim *s);
void operator_release_all(struct sim *s);

/* words.c */
void words_begin(struct sim *s, const struct out_work *w); /* an attempt: somebody may interfere */
void words_say(struct sim *s, void *p);                    /* T_WORD */
void words_answered(struct sim *s, const struct spooler_admin *a);
void words_event(struct sim *s, struct sim_message *m, unsigned r, enum event_name name);
void words_unknown(struct sim *s); /* a verb for many is out */
void words_lost(struct sim *s);    /* a restart forgets them */
void words_check(struct sim *s, const struct sim_message *m, unsigned r);

/* housekeeping.c */
void check_plans(struct sim *s);
void check_begins(struct sim *s);
bool check_goes_on(struct sim *s);
void check_ends(struct sim *s);
void check_damages(struct sim *s); /* … what costs nothing */

/* link.c */
void link_submit(struct sim *s, struct sim_message *m);
void link_unreadable(struct sim *s, struct out_work *w); /* takes w */
void link_order(struct sim *s, struct out_work *w);      /* OUT_WORK, OUT_CLOSE; takes w */
void link_step(struct sim *s, struct link *l);
void link_stored(struct sim *s, struct spooler_store *q); /* the answer; frees q */
void link_store(struct sim *s, struct link *l, struct sim_message *m, uint64_t dsn_for);
void links_drop_all(struct sim *s);

/* law.c */
void law_event(struct sim *s, const struct event *e, bool again);
void law_lose_log(struct sim *s); /* a power cut takes what was not synced of the delivery log */
void law_in_doubt(struct sim *s); /* … and leaves in doubt what was under way */
void law_not_stuck(struct sim *s);
void law_check(struct sim *s);
/* How often the author of message id has been told that of this recipient. */
unsigned law_reports(const struct sim *s, uint64_t id, unsigned rcpt, enum out_dsn_what what);

/*
 * What sched.c (recipients, domains, whose turn), sched_site.c (sites, lanes),
 * sched_window.c (windows), sched_conn.c (connections), sched_view.c and sched_suspend.c share.
 * Private to these.
 *
 *   domain ──▶ site ──▶ ranks ──▶ lanes (one a user) ──▶ ready recipients, first in first out
 *                 └───▶ connections: busy, idle (last used first), closing
 *
 * A recipient known here has `domain` set and lies on the heap: keyed by its due time while it
 * waits, by its message's expiry once it is due. Due ones are also on a list (`prev` set): their
 * domain's while that has no plan, else the lane of (site, rank, user). A domain's name is that of
 * its recipients' addresses, and where their messages name a route, ">" and that behind it.
 */
#pragma once
#include "queue/bucket.h"
#include "queue/heap.h"
#include "queue/sched.h"

/* Domains and users are chosen by peers: the keyed hash, so that nobody can aim for one bucket. */
#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>
#include <utlist.h>

#define IDLE_KEEP_MS 5000
#define PROBE_FIRST_MS (INT64_C(15) * 1000)
#define PROBE_LAST_MS (INT64_C(30) * 60 * 1000)
#define PLAN_MIN_MS                                                                                \
    5000 /* a plan without any validity would be asked for again before it is used */
#define FAILS_DEAD 3
#define OURS_MS (INT64_C(60) * 1000) /* between looks whether a fault of this host has passed */
/* A window that was too wide is not tried again for a while, and longer when it is too wide again.
 */
#define HOLD_FIRST_MS (INT64_C(60) * 1000)
#define HOLD_LAST_MS (INT64_C(30) * 60 * 1000)
/* Between two pauses of a receiver that throttles so many jobs shall succeed, or the pause grows;
 * after so many it is as if it had never throttled. */
#define OKS_ENOUGH 50
#define OKS_FORGET 500

enum domain_list { LIST_NONE, LIST_RESOLVE, LIST_EMPTY };
struct sched_domain {
    UT_hash_handle hh;
    struct sched_site *site; /* NULL: no plan yet, or none any more */
    struct mono valid_until;
    struct recipient *pending;      /* due, while there is no plan */
    uint64_t n, n_waiting, n_ready; /* known here = waiting + ready */
    bool asked;                     /* RESOLVE is wanted or out */
    bool outdated;                  /* … and out since before the ways were forgotten */
    enum domain_list list;
    struct sched_domain *prev, *next;
    size_t name_n;
    char name[];
};

struct sched_lane {
    UT_hash_handle hh;
    struct recipient *rcpts;
    int64_t turn; /* recipients served so far, on the rank's scale: the lowest is next */
    uint32_t heap_index;
    size_t user_n;
    char user[];
};

/* By the priority of a message (RFC 6710). A rank has a clock of its own that goes by its cost for
 * each recipient served; the rank whose clock is furthest behind is next, the higher one when two
 * are equal. So each gets its share while others wait, and all of the site when none does. */
enum { RANK_HIGH, RANK_NORMAL, RANK_LOW, RANKS };
static const int64_t rank_cost[RANKS] = {1, 4, 16}; /* shares of 21: 16, 4, 1 */
struct sched_rank {
    struct sched_lane *lanes;
    struct heap turns;
    int64_t turn;  /* of the lane served last: where a new lane begins */
    int64_t clock; /* … of the rank */
};

enum conn_state { CONN_BUSY, CONN_IDLE, CONN_CLOSING };
struct sched_conn {
    UT_hash_handle hh;
    uint64_t id;
    struct sched_site *site;
    unsigned loop, jobs;
    unsigned epoch;      /* of its site when it got its job */
    unsigned next_epoch; /* … when it got the one ahead */
    bool offers;         /* takes one ahead: on site->ahead */
    bool has_two;        /* has one ahead */
    bool probe;          /* opened to see whether a dead site lives */
    bool early;          /* a probe before its time */
    bool stale;          /* opened by a plan that was forgotten: its job is the last */
    enum conn_state state;
    struct mono idle_since;
    struct sched_conn *prev, *next;           /* s->idle (oldest first) or s->closing */
    struct sched_conn *site_prev, *site_next; /* site->idle, newest first; or site->ahead */
};

struct sched_site {
    UT_hash_handle hh;
    struct sched_limits limits;
    struct frozen *plan;
    struct mono valid_until;
    bool refreshing; /* its plan is stale and one of its domains is asked again */
    unsigned window, n_conns, n_idle;
    unsigned fails;   /* in a row */
    unsigned ceiling; /* the window that was too wide, less one step; 0: none was */
    unsigned step;    /* by which it is passed when the hold is over */
    unsigned epoch; /* grows when the window shrinks for what jobs say: one crowd shrinks it once */
    bool trying;    /* the ceiling was passed, and nothing has failed since */
    struct mono hold_until;
    int64_t hold_ms;
    unsigned oks; /* since it was last left alone */
    bool suspended;
    bool dead, throttled;
    bool ours;  /* dead for a fault of this host: nothing ends there (promise 10) */
    bool early; /* the next probe goes before its time: somebody asks for it */
    struct mono next_probe;
    int64_t probe_pause_ms; /* 0: not left alone yet */
    struct bucket bucket;
    uint64_t begun[2]; /* jobs, in this minute of the clock and in the one before */
    int64_t minute;
    char *error;
    struct wall error_at;
    uint32_t probe_index; /* when only time is missing */
    struct sched_conn *idle;
    struct sched_conn *ahead; /* busy, and take one more job; those first that will be free first */
    struct sched_rank ranks[RANKS];
    int64_t clock; /* of the rank served last: where one begins that had nothing to do */
    uint64_t ready, waiting, n_domains;
    bool runnable;
    struct sched_site *prev, *next;
    size_t name_n, destination_n;
    char key[]; /* destination, NUL, name */
};

/* Somebody asks for the next probe before its time. */
static inline void site_probe_early(struct sched_site *t)
{
    t->next_probe = (struct mono){0};
    t->early = true;
}

struct sched {
    unsigned loops, next_loop;
    int64_t warning_s;
    struct mono now;  /* the last that was told; */
    struct wall wall; /* the same */
    struct rng rng;
    uint64_t last_conn, ready, waiting;
    uint64_t n_made;   /* domains, since empty ones were last looked at … */
    struct mono swept; /* … then */
    struct heap moments, probes;
    struct sched_domain *domains, *to_resolve, *empty;
    struct sched_site *sites, *runnable;
    struct sched_conn *conns, *idle, *closing;
    char **suspended;
    size_t n_suspended;
};

static inline struct slice site_name(const struct sched_site *t)
{
    return slice_of(t->key + t->destination_n + 1, t->name_n);
}
static inline struct slice site_destination(const struct sched_site *t)
{
    return slice_of(t->key, t->destination_n);
}

/* sched_view.c: a job has begun */
void site_count_job(struct sched_site *t, struct mono now);
/* sched_site.c: where a recipient's message takes its turns */
struct sched_rank *rank_of(struct sched_site *t, const struct message *m);
struct sched_lane *lane_find(const struct sched_rank *k, struct slice user);

/* sched_conn.c */
struct sched_conn *conn_find(const struct sched *s, uint64_t id);
bool conn_has_enough(const struct sched_conn *c); /* it gets no further job */
void conn_ahead_leave(struct sched_conn *c);      /* it takes none ahead any more */
void conn_ahead_leave_all(struct sched_site *t);

/* sched_suspend.c */
bool site_is_suspended(const struct sched *s, const struct sched_site *t);
void sched_suspend_done(struct sched *s);

/* sched_window.c: until the next probe of a dead site */
int64_t site_probe_wait(struct sched *s, const struct sched_site *t);

static inline unsigned site_limit(const struct sched_site *t)
{
    return t->limits.connections ? t->limits.connections : 1;
}
/* Idle connections above the window close. */
void site_close_surplus(struct sched *s, struct sched_site *t);

struct sched_site *site_get(struct sched *s, struct slice destination, struct slice name);
/* Goes when nothing leads to it any more. */
void site_release(struct sched *s, struct sched_site *t);
void site_free(struct sched *s, struct sched_site *t);
void site_set_plan(struct sched *s, struct sched_site *t, const struct sched_limits *l,
                   struct frozen *plan, struct mono valid_until);
/* Something changed that may let it work. */
void site_kick(struct sched *s, struct sched_site *t);
/* Ready lists: they count site->ready only. */
void site_push(struct sched *s, struct sched_site *t, struct recipient *r);
void site_unlink(struct sched_site *t, struct recipient *r);
/* OPEN or WORK of the next site that can; false: none can now. */
bool site_next_work(struct sched *s, struct mono mono, struct sched_action *ret);
bool site_next_close(struct sched *s, struct sched_action *ret);
/* Idle connections that waited long enough, probes whose time has come. */
void site_timers(struct sched *s, struct mono mono);

/* sched.c, for sched_site.c */
void domain_ask(struct sched *s, struct sched_domain *d);
/* The recipient goes out with a connection. */
void sched_lend(struct sched *s, struct recipient *r);

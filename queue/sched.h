/*
 * What is due and whose turn it is: domains are resolved to sites (all domains whose MX set is the
 * same), a site has a window of connections, and connections pull work. Pure: time is passed in,
 * actions come out; it knows neither sockets nor disk. Owner: the spooler's thread.
 *
 *   recipient due ──▶ domain known? no: RESOLVE ──▶ sched_plan ──▶ ready list of the site ──▶ OPEN
 * or WORK on a connection ▲                                           │ sched_conn_ready pulls the
 * next └────────── retry (sched_add again) ◀───────┘ sched_conn_gone ends
 *
 * Laws: no connection is opened where as many are open as the window allows; no job begins before
 * its rate allows; one job on a connection, and at most one more ahead; a recipient is in exactly
 * one place; due recipients of a site with a free slot are never left waiting; users of a site take
 * turns by recipients, in each of the three ranks that their messages' priority gives them: the
 * high one (from 4) goes first and has 16 of 21 turns, the low one (to -4) never less than one.
 * Cost of each call: O(log n), and what an answer moves (the recipients of a domain that got its
 * plan).
 */
#pragma once
#include "queue/message.h"
#include "queue/retry.h"

struct sched_limits {                 /* of a destination, as the configuration has them */
    unsigned connections;             /* the most a site may have open */
    unsigned messages_per_connection; /* 0: no limit */
    unsigned recipients_per_message;  /* 0: as many as a job has room for */
    unsigned window;                  /* connections to begin with; 0: half of them */
    unsigned rate;                    /* so many jobs in each rate_ms (bucket.h); 0: no limit */
    int64_t rate_ms;
    struct retry_policy retry; /* n 0: the default one */
    int64_t lifetime_s;        /* shorter than a message's own; 0: that one */
};

struct sched_job { /* recipients of one message to one site, lent to a connection */
    struct message *message;
    struct recipient *rcpts[100];
    size_t n;
};

enum sched_act {
    SCHED_RESOLVE, /* domain: find its plan, then sched_plan or sched_plan_failed. Of messages with
                      a route it is DOMAIN>ROUTE */
    SCHED_OPEN,    /* a new connection `conn` to `site` by `plan`, with its first job */
    SCHED_WORK,    /* job for the connection `conn`, which is idle, or takes it ahead */
    SCHED_CLOSE,   /* connection `conn` is not needed (idle too long, worked long enough, or the
                      site's window shrank) */
    SCHED_LATE, /* job: a recipient that was tried before, or whose site stands still, and stands in
                   line when its sender is to hear of the delay (message_late_at); it stays there */
    SCHED_EXPIRE /* job: a recipient whose lifetime ended while its site was dead or before its next
                    turn: no attempt is possible; it has left the scheduler */
};

struct sched_action {
    enum sched_act act;
    struct slice domain; /* RESOLVE: lower case, borrowed until the next call */
    struct slice site;   /* OPEN, WORK */
    struct slice destination;
    uint64_t conn;
    unsigned loop;        /* OPEN: which net loop; WORK, CLOSE: the loop it lives on */
    struct frozen *plan;  /* OPEN: borrowed; ref it to keep it */
    struct sched_job job; /* OPEN, WORK: its recipients are marked active; EXPIRE: one recipient */
    const struct sched_limits *limits; /* EXPIRE: of the site it stood at; NULL: of none. Borrowed
                                          until the next call */
};

struct sched;
struct sched *sched_new(unsigned loops, uint64_t seed);
void sched_free(struct sched *s);
/* For connections opened from now on. */
void sched_set_loops(struct sched *s, unsigned loops);

/* As for message_late_at; 0 from the beginning. */
void sched_set_warning(struct sched *s, int64_t warning_s);
/* A queued recipient waits for its due time from now on (also after a deferral or release). */
void sched_add(struct sched *s, struct recipient *r);
/* It leaves (held, finished, removed), if it is here; not while active. */
void sched_remove(struct sched *s, struct recipient *r);
/* Its due time becomes now (queue retry). */
void sched_hurry(struct sched *s, struct recipient *r, struct wall now);

/* Answer to RESOLVE: all due recipients of the domain go to the site. `plan` is borrowed (ref'd
 * inside). `site` names the MX set. */
void sched_plan(struct sched *s, struct slice domain, struct slice site, struct slice destination,
                const struct sched_limits *l, struct frozen *plan, struct mono valid_until,
                struct mono now);
/* Answer to RESOLVE: no plan. Hands out (and removes) each due recipient of the domain, for its
 * verdict. */
void sched_plan_failed(struct sched *s, struct slice domain,
                       void (*each)(void *ctx, struct recipient *r), void *ctx);

/* The ways to go have changed (a new configuration): every plan is asked for again before it is
 * used, an answer to a question that is out is not believed but asked for again, and connections
 * carry nothing more. Sites that could not be reached are probed at once: perhaps by a better way.
 */
void sched_forget_plans(struct sched *s);

/* Of these names (copied), destinations or sites, none begins a job until the next call. Jobs under
 * way end; mail that stands there is told to be late and expires as behind a dead receiver. */
void sched_suspend(struct sched *s, const struct slice *names, size_t n);

/* Ask until false. Takes in at most 1,000 due recipients a call: where more are due, the deadline
 * is now. */
bool sched_next(struct sched *s, struct wall now, struct mono mono, struct sched_action *ret);

/* The connection has finished its job (recipients no longer active; the caller sched_adds those to
 * be retried) and can take another. */
void sched_conn_ready(struct sched *s, uint64_t conn, struct mono now);
/* The connection's job is all but over: its content is out, the answer is not here. Until it is,
 * one more may be given to it, where no connection is idle and none may be opened. */
void sched_conn_ahead(struct sched *s, uint64_t conn);
/* The job that it got so has come back, not begun (recipients no longer active); the one before
 * goes on. */
void sched_conn_back(struct sched *s, uint64_t conn);
/* The connection is closed. */
void sched_conn_gone(struct sched *s, uint64_t conn, struct mono now);
/*
 * Feedback for the window: one job's outcome (the table is in README.md, "Windows"). A site that
 * only fails is `dead`: one probing connection at a time with a growing pause (15 s … 30 min);
 * success wakes it.
 */
enum sched_outcome {
    SCHED_OK,
    SCHED_REFUSED,   /* this connection was one too many: refused before it could carry anything */
    SCHED_THROTTLED, /* too much mail, too fast */
    SCHED_UNREACHABLE, /* no connection, or none that is any good */
    SCHED_BARRED,      /* no host there may be asked before after_s: our login was refused */
    SCHED_OURS         /* a fault of this host kept it from calling anybody */
};
/* after_s: the receiver named a time for its next try; 0: it did not. */
void sched_feedback(struct sched *s, uint64_t conn, enum sched_outcome o, int64_t after_s,
                    struct mono mono);

/* Why the connection's job was put off, for the view. Words are copied; their length is the
 * caller's to bound. */
void sched_note_error(struct sched *s, uint64_t conn, struct slice words, struct wall at);

/* When sched_next should be asked again though nothing happened; both clocks. */
void sched_deadline(const struct sched *s, struct wall *ret_wall, struct mono *ret_mono);

/* Bytes of memory that waiting takes: the heap of moments. (A recipient brings the rest itself.) */
uint64_t sched_memory(const struct sched *s);
/* Recipients that are due and await a plan or a turn; and those whose time has not come. */
void sched_count(const struct sched *s, uint64_t *ret_ready, uint64_t *ret_waiting);
/* Where a connection leads; false: no such one. Borrowed until the next call. */
bool sched_conn_where(const struct sched *s, uint64_t conn, struct slice *ret_site,
                      struct slice *ret_destination);
/* The limits a connection was made under, as they are now; NULL: no such one. Borrowed until the
 * next call. */
const struct sched_limits *sched_conn_limits(const struct sched *s, uint64_t conn);
/* The end of its lifetime under a destination's (0: its own only): counted from its first due
 * moment. */
struct wall sched_expires(const struct message *m, int64_t lifetime_s);
/* Nothing is begun where it stands: the site is dead (or asks for a login that is refused, or is
 * throttled to nothing), or an operator suspended it. */
bool sched_stands_still(const struct recipient *r);
/* Of the site where a recipient stands, or whose connection carries it; NULL: of none yet. Borrowed
 * until the next call. */
const struct sched_limits *sched_rcpt_limits(const struct recipient *r);
/* sched_expires of it there. */
struct wall sched_rcpt_expires(const struct recipient *r);
/* Where a recipient stands, or (active) is carried: true when due. Site and destination are ""
 * while unknown; borrowed until the next call. */
bool sched_where(const struct recipient *r, struct slice *ret_site, struct slice *ret_destination);

/* For status and `queue`: what holds each destination back. */
struct sched_site_view {
    struct slice site, destination;
    uint64_t ready, waiting;
    unsigned connections, idle, window, limit;
    bool dead, suspended;
    bool throttled; /* dead, because the receiver asks for it */
    bool ours;      /* dead, for a fault of this host */
    struct mono next_probe;
    struct mono next_job; /* by its rate, perhaps a moment past; MONO_NEVER: it has none */
    unsigned rate;        /* 0: no limit; else so many jobs in each rate_ms */
    int64_t rate_ms;
    uint64_t per_minute; /* jobs begun in the last minute, more or less */
    struct slice error;  /* why a job was put off last; "" = none was. Borrowed */
    struct wall error_at;
    struct mono hold; /* the window is not made wider before; {0}: nothing holds it */
    unsigned fails;   /* attempts that failed, since the last that did not */
};
void sched_each_site(const struct sched *s, struct mono now,
                     void (*each)(void *ctx, const struct sched_site_view *v), void *ctx);
/* One of them; false: there is none of this name. Borrowed until the next call. */
bool sched_site_look(const struct sched *s, struct slice destination, struct slice site,
                     struct mono now, struct sched_site_view *ret);
/* Where a recipient that is due stands in line. */
struct sched_standing {
    unsigned rank;  /* 0 high, 1 normal, 2 low */
    uint64_t ahead; /* recipients of its user (and rank) before it: at most SCHED_AHEAD_MAX */
    unsigned users; /* users with mail in its rank, its own among them: they take turns */
};
#define SCHED_AHEAD_MAX 10000
/* False: it does not stand at a site. O(ahead). */
bool sched_standing(const struct recipient *r, struct sched_standing *ret);

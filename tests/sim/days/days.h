/*
 * Days of mail in minutes: the spooler's core (queue, scheduler, retries, outcomes) with hundreds
 * of receivers that have outages, limits, greylists, throttles and unknown users. No bytes of SMTP:
 * an attempt takes its time and ends in the verdict that relay/smtp/trouble.c makes of a reply. One
 * seed, one story.
 *
 * world.c: time, core, submissions. receiver.c: what becomes of an order. law.c: what must hold,
 * all seen from outside. contests.c: one site under the eye: limiters, neighbours. impatient.c: an
 * operator who never stops asking. growth.c: what a message costs when many are queued.
 */
#pragma once
#include "queue/heap.h"
#include "relay/base/rand.h"
#include "relay/spooler/core.h"
#include "relay/spooler/requests.h"
#include "tests/sim/fake_disk.h"
#include <stdio.h>

#define SECOND_US INT64_C(1000000)
#define DAY_US (INT64_C(86400) * SECOND_US)
#define LIFETIME_S (INT64_C(2) * 86400)
#define GREY_S 300

enum { RCPTS_MAX = 8, RATE_MAX = 64 };

/* A receiver, and what the law counts of it. */
struct site {
    struct sched_limits limits;
    int64_t latency_us; /* of a transaction, for each recipient */
    int64_t ring_us;    /* that a call lasts while it is down; 0: NO_ANSWER_US */
    unsigned takes;     /* connections at a time; 0: any number */
    unsigned a_minute;  /* messages; 0: any number */
    unsigned fails;     /* of a thousand recipients, for now */
    bool grey, dead;
    bool bars;    /* it refuses our login; asked again by one connection, all others are turned back
                     before they call */
    bool unnamed; /* its name servers do not answer */
    int64_t down_from, down_to;
    /* seen */
    unsigned open, standing; /* as the scheduler has them; as the receiver has taken them */
    unsigned n_minute;
    int64_t minute;
    int64_t begun[RATE_MAX]; /* of the last jobs, in turn: for the law of rates */
    uint64_t jobs, turned_away, throttled;
    int64_t barred_until;
};

struct rcpt {
    int64_t due_us, first_us;
    uint16_t attempts;
    uint8_t ended, late; /* terminal events; attempts that began behind its lifetime */
    bool grey;           /* its last attempt was */
};

struct mail {
    uint64_t id;
    uint32_t first, n; /* in rcpts */
    int64_t queued_us;
    unsigned site, user;
};

enum what { W_SUBMIT, W_MSG, W_DONE, W_CORE, W_OPERATOR };
struct moment {
    uint32_t heap_index;
    enum what what;
    void *p;
};

struct conn;
struct days {
    uint64_t seed;
    struct rng rng;
    int64_t now_us, start_us;
    struct heap moments;
    struct moment core_moment;
    struct fake_disk *disk;
    struct spool *spool;
    struct core *core;
    struct site *sites;
    unsigned n_sites;
    struct conn *conns;
    struct mail *mails;
    size_t n_mails, cap_mails;
    struct rcpt *rcpts;
    size_t n_rcpts, cap_rcpts, wanted;
    uint64_t last_id, last_seq, digest;
    uint64_t n_events[EVENT_ACCEPTED_ALL + 1];
    uint64_t attempts, checks;
    uint64_t most_queued, most_memory;
    int64_t submit_us; /* over so long */
    unsigned failed;
    const char *contest; /* NULL: the days */
    /* A job begins: contests look. */
    void (*on_job)(struct days *d, const struct mail *m, unsigned site);
    void (*on_operator)(struct days *d, void *what); /* W_OPERATOR has come */
    void *contest_ctx;
};

/* world.c */
struct days *days_new(uint64_t seed, unsigned n_sites);
void days_free(struct days *d);
void days_run(struct days *d, int64_t until_us);
void days_after(struct days *d, int64_t us, enum what what, void *p);
void days_request(struct days *d, int64_t after_us, struct msg *m, enum spooler_type type);
/* One message for n recipients at the site, now. */
void days_submit(struct days *d, unsigned site, unsigned user, unsigned n);
struct wall days_wall(const struct days *d);
uint64_t days_below(struct days *d, uint64_t n);

/* receiver.c */
void receiver_order(struct days *d, struct msg *m);
void receiver_done(struct days *d, void *p);
void receiver_free_all(struct days *d);

/* law.c */
void law_fail(struct days *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct mail *law_mail(const struct days *d, uint64_t id);
void law_event(struct days *d, const struct event *e);
void law_work(struct days *d, const struct out_work *w, struct site *s);
void law_memory(struct days *d);
void law_end(struct days *d);

/* contests.c: each prints its figures; false: a law is broken */
bool contest_limiter(uint64_t seed);
bool contest_neighbours(uint64_t seed);
/* impatient.c */
bool contest_impatient(uint64_t seed);
/* growth.c */
bool contest_growth(uint64_t seed, size_t queued);

/*
 * A queued message as the spooler's thread holds it: the fold of its records. One allocation each
 * plus its recipients; the content is on disk (or, while fresh, in memory through `body`). Owner:
 * struct spool; every other holder borrows on the spooler's thread.
 */
#pragma once
#include "queue/envelope.h"
#include "relay/base/frozen.h"
#include "relay/base/verdict.h"

enum rcpt_state { /* on disk: never renumber */
                  RCPT_QUEUED =
                      0, /* to be delivered at `due`: ready when it has come, waiting before */
                  RCPT_HELD = 1, /* by an operator: not delivered until released */
                  RCPT_DELIVERED = 2,
                  RCPT_BOUNCED = 3,
                  RCPT_EXPIRED = 4,
                  RCPT_CANCELLED = 5
};
static inline bool rcpt_state_final(enum rcpt_state s)
{
    return s >= RCPT_DELIVERED;
}

struct sched_domain;
struct sched_site;
struct message;

struct recipient {
    struct message *message;
    struct slice address, orcpt; /* live with the message */
    struct wall due;             /* first or next attempt */
    struct wall last_attempt;    /* 0 = none yet */
    const struct verdict *last;  /* of the last attempt; shared, owned by the spool; NULL = none */
    const char
        *last_host; /* receiver of the last attempt; shared, owned by the spool; NULL = none */
    uint32_t attempts;
    uint8_t state; /* enum rcpt_state */
    bool active;   /* with a connection now */
    bool dsn_due;  /* failed for good, the sender not told yet */
    /* The scheduler's (queue/sched.c); nobody else touches these. */
    struct sched_domain *domain;
    struct recipient *prev;
    union {
        struct recipient *next;
        const struct sched_site *carrier; /* active: where its connection leads */
    };
    size_t heap_index;
};

/* Content in memory: frozen, shared by intake and deliveries. */
struct body {
    struct frozen frozen;
    size_t n;
    uint8_t bytes[];
};
struct body *body_new(size_t n); /* refs = 1; fill bytes, then share */
static inline void body_unref(struct body *b)
{
    frozen_unref(b ? &b->frozen : NULL);
}
static inline struct body *body_ref(struct body *b)
{
    frozen_ref(b ? &b->frozen : NULL);
    return b;
}

/* Where content lies on disk. */
struct body_place {
    bool in_file;     /* body file ID.body (large content); else inline in a segment */
    uint32_t segment; /* inline */
    uint64_t offset, n;
    bool lost; /* its record could not be read when it was to be copied: reading says -EBADMSG */
};

struct message {
    uint64_t id;
    struct wall queued;
    struct wall expires;      /* when it is given up; fixed at intake */
    struct envelope envelope; /* its slices live with the message; rcpts = NULL (see below) */
    struct recipient *rcpts;
    uint32_t n_rcpts, n_left; /* n_left: not final, or final with dsn_due */
    struct body_place place;
    struct body *body; /* while fresh; NULL: read it. Once `durable`, the owner's thread may drop it
                          (unref, NULL) */
    bool durable;      /* its MESSAGE record is synced */
    void *spool_private; /* the spool's bookkeeping */
};

/* "dsn due now": some recipient has dsn_due and none is active or ready for its first attempt. */
bool message_dsn_ready(const struct message *m);
/* Lower-case domain of a recipient, as the scheduler uses it. */
void recipient_domain(const struct recipient *r, struct buf *out);

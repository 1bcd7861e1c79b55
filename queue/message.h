/*
 * A queued message as the spooler's thread holds it: the fold of its records, as small as it can
 * be, because a million of them wait in memory. One allocation each: the message, its recipients,
 * their strings behind. The content is on disk (or, while fresh, in memory through `body`), and so
 * is what only the delivery log asked for (client, session). Owner: struct spool; every other
 * holder borrows on the spooler's thread.
 */
#pragma once
#include "queue/envelope.h"
#include "relay/base/frozen.h"
#include "relay/base/verdict.h"
#include <assert.h>

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
struct segment;
struct interned;

/* How the last attempt ended: shared by all that ended so, and so are its parts. */
struct last_reply {
    const struct verdict *verdict; /* NULL = not known */
    const struct interned *host;   /* the receiver; NULL = not known */
    const struct interned *route;  /* an operator's: instead of the message's; NULL = none */
};

struct recipient {
    struct wall due;               /* first or next attempt */
    struct wall last_attempt;      /* 0 = none yet */
    const struct last_reply *last; /* NULL = none; see recipient_last, _host and _redirected */
    /* The scheduler's (queue/sched.c); nobody else touches these. */
    struct sched_domain *domain;
    struct recipient *prev;
    union {
        struct recipient *next;
        const struct sched_site *carrier; /* active: where its connection leads */
    };
    uint32_t heap_index;
    uint32_t attempts;
    uint32_t strings; /* where its address is, from the message on */
    uint16_t number;  /* in m->rcpts */
    uint8_t state;    /* enum rcpt_state */
    bool active : 1;  /* with a connection now */
    bool dsn_due : 1; /* failed for good, the sender not told yet */
    bool has_orcpt : 1;
    bool last_turn : 1; /* the scheduler's: it has come in line with its lifetime over */
    uint8_t notify : 4; /* enum mail_notify */
};
static_assert(sizeof(struct recipient) == 64, "every queued recipient costs this");

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

struct message {
    uint64_t id;
    struct wall queued;
    uint64_t size;     /* of the content */
    struct body *body; /* while fresh; NULL: read it. Once `durable`, the owner's thread may drop it
                          (unref, NULL) */
    const struct interned *sender, *user; /* see message_sender, message_user */
    /* The spool's: where its MESSAGE record is (NULL: not durable yet), and how many records that
     * speak of it are on their way. */
    struct segment *home;
    uint32_t record_at, record_bytes;
    uint32_t pending;
    uint32_t lifetime_s;      /* see message_expires */
    uint16_t n_rcpts, n_left; /* n_left: not final, or final with dsn_due */
    bool durable : 1;         /* its MESSAGE record is synced */
    bool in_file : 1;         /* content in the body file ID.body (large); else in its record */
    bool eight_bit : 1;
    bool copying : 1; /* the spool's: a copy is on its way to the log */
    bool refused : 1; /* the spool's: its batch has failed, it goes now */
    bool has_envid : 1, has_dsn_for : 1;
    bool has_release : 1, has_by_deadline : 1, has_tags : 1, has_route : 1;
    bool dsn_delay : 1;  /* as in struct envelope */
    bool delay_told : 1; /* a DSN has told its sender of a delay */
    /* struct mail_params; see message_params */
    bool by_trace : 1, smtputf8 : 1, requiretls : 1, tls_optional : 1;
    bool ranked : 1; /* an operator has given it the priority that it has */
    uint8_t body_kind : 2, ret : 2, by : 2;
    int8_t priority;
    struct recipient rcpts[];
};
static_assert(sizeof(struct message) == 80, "every queued message costs this");

/* A message of this envelope: its strings are copied, but for sender and user, whose shared copies
 * are handed over. Recipients are queued and due when it was queued. Freed by free. */
struct message *message_new(uint64_t id, const struct envelope *e, struct wall queued,
                            const struct interned *sender, const struct interned *user);
/* What message_new has asked malloc for. */
size_t message_bytes(const struct message *m);

/* Each "" or 0 when there is none; slices live with the message. */
struct slice message_sender(const struct message *m); /* "" = null reverse-path */
struct slice message_user(const struct message *m);
struct slice message_message_id(const struct message *m); /* with <> */
struct slice message_envid(const struct message *m);
uint64_t message_dsn_for(const struct message *m); /* as in struct envelope, and these: */
struct mail_params message_params(const struct message *m);
struct wall message_release(const struct message *m);
struct wall message_by_deadline(const struct message *m);
struct slice message_tags(const struct message *m);
struct slice message_route(const struct message *m);
/* When a recipient is due that was not tried yet: at once, or at its release. */
struct wall message_first_due(const struct message *m);
/* When it is given up; fixed at intake, whole seconds after `queued`. */
static inline struct wall message_expires(const struct message *m)
{
    return wall_add_s(m->queued, m->lifetime_s);
}
/* When its sender is to hear that it is late: the deadline of BY=…N, else warning_s (0: never)
 * after it could go first. WALL_NEVER: not, or he has heard it. */
struct wall message_late_at(const struct message *m, int64_t warning_s);
/* No recipient is active or waits for its first attempt: the time to tell of several at once. */
bool message_tried(const struct message *m);
/* Whom a report tells of, as envelope.dsn_rcpt says it: recipients from `from` up to `to`. One
 * alone is not looked for: of a message with thousands of recipients each may have a report of his
 * own. */
struct message_range {
    uint32_t from, to;
};
struct message_range message_told(const struct message *m, uint64_t dsn_rcpt);

static inline struct message *recipient_message(const struct recipient *r)
{
    return (struct message *)((uintptr_t)(r - r->number) - offsetof(struct message, rcpts));
}
struct slice recipient_address(const struct recipient *r);
struct slice recipient_orcpt(const struct recipient *r); /* "" = none */
/* Verdict of the last attempt; NULL = none. Shared, owned by the spool. */
static inline const struct verdict *recipient_last(const struct recipient *r)
{
    return r->last ? r->last->verdict : NULL;
}
/* Its receiver; "" = none. */
struct slice recipient_host(const struct recipient *r);
/* The destination by name that an operator sent it to; "" = none. */
struct slice recipient_redirected(const struct recipient *r);
/* The destination by name that it goes by: that one, else its message's; "" = none. */
struct slice recipient_route(const struct recipient *r);
/* Lower-case domain of a recipient's address, as the scheduler uses it. */
void address_domain(struct slice address, struct buf *out);

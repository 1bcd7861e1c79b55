/*
 * The spooler: owns queue/ (index, scheduler, segments), in turns of two threads, of which one may
 * be writing and syncing, and answers. Everyone talks to it by messages; each request carries a
 * reply port and is answered exactly once by the same object, moved back (its `msg.type`
 * unchanged). Requests from one loop are handled in order. This is the only room that knows where
 * mail is kept.
 *
 * The deciding part is core.[ch]: pure, time passed in, actions out; the simulator drives it.
 * spooler.c is its rim.
 */
#pragma once
#include "queue/event.h"
#include "queue/id.h"
#include "queue/sched.h"
#include "queue/spool.h"
#include "relay/base/err.h"
#include "relay/loop/inbox.h"
#include "relay/spooler/limit.h"
#include "relay/spooler/marks.h"

/* --- requests to the spooler (type -> struct)
 * ------------------------------------------------------------------------ */
enum spooler_type {
    SPOOLER_STORE = 1, /* struct spooler_store */
    SPOOLER_BODY,      /* struct spooler_body */
    SPOOLER_NOTE,      /* struct spooler_note; not answered, freed */
    SPOOLER_READ,      /* struct spooler_read */
    SPOOLER_PLAN,      /* struct spooler_plan; not answered, freed (answer to OUT_RESOLVE) */
    SPOOLER_RESULT,    /* struct spooler_result; not answered, freed */
    SPOOLER_CONN_GONE, /* struct spooler_conn_gone; not answered, freed */
    SPOOLER_AHEAD,     /* struct spooler_ahead; not answered, freed (from outbound) */
    SPOOLER_KEPT,      /* struct spooler_kept; not answered, freed (from events) */
    SPOOLER_ADMIN,     /* struct spooler_admin */
    SPOOLER_CONTROL,   /* struct spooler_control */
    SPOOLER_EXPORT,    /* struct spooler_export */
    SPOOLER_CHECK,     /* struct spooler_check */
    SPOOLER_SUSPEND,   /* struct spooler_suspend; not answered, freed */
    SPOOLER_AGAIN,     /* struct spooler_again; not answered, freed (from events) */
    SPOOLER_SITE       /* struct spooler_site */
};

/* Events with after < seq <= upto once more, some megabytes of them at a time: `each` in order,
 * then `end` with up to which number that was all. Both are called on a helper's thread, and never
 * once spooler_free has returned. One at a time is asked. */
struct spooler_again {
    struct msg msg;
    uint64_t after, upto;
    void *ctx;
    void (*each)(void *ctx, const struct event *e);
    void (*end)(void *ctx, uint64_t through);
};

#define SPOOLER_ADDRESS_SIZE 256
/* How often reports go to one sender, and how often mail of one user causes some; where one goes
 * that could not be delivered itself ("": nowhere). */
struct report_policy {
    struct limit_rate per_sender, per_user;
    char double_bounces[SPOOLER_ADDRESS_SIZE];
};

/* A recipient that is accepted and ends at once as `suppressed`, for this reason. */
struct spooler_dropped {
    uint32_t rcpt;
    struct slice reason;
};

/* Make a message durable. Answered when its sync is done. Also takes bounces. */
struct spooler_store {
    struct msg msg;
    const struct port *reply;
    void *cookie;             /* the asker's */
    struct envelope envelope; /* slices live until the answer (arena of the asker) */
    struct body *body; /* whole content when <= SPOOL_INLINE_MAX (taken); else NULL and `id` names a
                          finished body file */
    uint64_t id;       /* from spooler_new_id, in Received: and the 250 */
    uint64_t dsn_serial; /* with envelope.dsn_for: the OUT_DSN's, so that a late report is not taken
                            for a newer one; 0: not told */
    struct mono asked;   /* when the asker's clock began … */
    int64_t patience_ms; /* … and how long he waits; 0: for ever */
    struct slice actor, reason;            /* for its events; "" when it came by SMTP */
    bool held;                             /* not to be tried until an operator releases it */
    const struct spooler_dropped *dropped; /* lives as long as the envelope; not with held */
    size_t n_dropped;
    /* answer */
    int error; /* 0: durable; else the disk's own errno. -ETIMEDOUT: patience is over; the message
                  is withdrawn, even if its record becomes durable yet. -ESTALE (dsn_for only): the
                  failures have been told meanwhile or more have come: drop this report, a new
                  OUT_DSN follows if one is due */
};
/* Queue ids are drawn on any thread. */
uint64_t spooler_new_id(struct wall now);

/* Large content, piece by piece, to file ID.body. Answered when the step is done (`bytes` free
 * again): at most one step is out per body. ABANDON is the last word: also a finished file goes,
 * unless a STORE named it before. */
struct spooler_body {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    uint64_t id;
    enum spooler_body_step {
        SPOOLER_BODY_WRITE,
        SPOOLER_BODY_FINISH,
        SPOOLER_BODY_ABANDON
    } step; /* the first WRITE creates */
    /* Owned by the message. Of FINISH: what is put in the place of as many octets at `at`, within
     * the first 64 KiB; may be empty. */
    struct buf bytes;
    uint64_t at;
    int error; /* answer; after an error the file is gone */
};

/* Events without a message: rejected, service_started … `name` and encoded fields. */
struct spooler_note {
    struct msg msg;
    enum event_name name;
    struct buf fields; /* owned */
};

/* Content of a message on disk (offset/n within the content; whole inline content: offset 0, n =
 * SIZE_MAX). */
struct spooler_read {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    uint64_t id, offset;
    size_t n;
    struct body *body; /* answer: owned by the asker now */
    int error;         /* -ENOENT: gone; -EBADMSG: damaged */
};

struct spooler_plan {
    struct msg msg;
    struct buf domain;
    /* either a plan … */
    struct frozen *plan; /* owned */
    struct buf site, destination;
    struct sched_limits limits; /* also of a plan that failed, where the destination is known */
    int64_t ttl_ms;
    /* … or none */
    struct verdict failed; /* kind != NONE: applied to every due recipient of the domain */
};

/* How one attempt went: facts for events, the same for all recipients of the job. */
struct attempt {
    struct buf mx_host, mx_ip, source_ip, tls_version, tls_cipher; /* "" = unknown */
    const char *tls_policy; /* static text: "none" "may" "encrypt" "verify"; NULL: never got so
                               far */
    uint16_t mx_port;
    bool reused, tls_verified;
    int32_t dns_ms, connect_ms, tls_ms, data_ms; /* -1: not done */
};
void attempt_done(struct attempt *a);

struct spooler_result {
    struct msg msg;
    uint64_t conn;
    bool ready;     /* the connection can take another job; false: a SPOOLER_CONN_GONE follows */
    bool attempted; /* false: the job comes back untouched (idle connection was closed meanwhile);
                       no attempt is counted */
    int64_t barred_ms; /* so long no host of its destination may be asked, because all have refused
                          our login; 0: that is not so */
    /* What the receiver took over where it has taken the message. DSN: it offers that and got RET,
     * ENVID, NOTIFY and ORCPT, so the notices are its duty now (RFC 3461 section 5.2). DELIVERBY:
     * it offers that and got BY; else BY=…N ends in a notice that the message was relayed (RFC
     * 2852). */
    bool dsn_passed_on, deliver_by_passed_on;
    uint64_t message_id;
    size_t n;
    uint32_t *rcpts;          /* n recipient numbers, owned */
    struct verdict *verdicts; /* n, owned */
    struct buf *paths; /* n, owned: the reverse-path that each was sent with, where that is not the
                          message's sender (VERP), else ""; NULL: nowhere */
    struct attempt attempt;
};
void spooler_result_free(struct spooler_result *r);

struct spooler_conn_gone {
    struct msg msg;
    uint64_t conn;
};

/* The content of its job is out, the answer is not here: another OUT_WORK may come ahead of that.
 * One that it has no use for goes back not attempted, and the connection goes on. */
struct spooler_ahead {
    struct msg msg;
    uint64_t conn;
};

struct spooler_suspend { /* these destinations and sites, and no others */
    struct msg msg;
    char **names; /* n, owned */
    size_t n;
};

struct spooler_kept { /* the delivery log holds every event up to seq, synced */
    struct msg msg;
    uint64_t seq;
};

/* --- orders from the spooler to the net loops (to the outbound port of a loop)
 * -------------------------------------------- */
enum out_type {
    OUT_RESOLVE = 100, /* struct out_resolve -> SPOOLER_PLAN */
    OUT_WORK, /* struct out_work    -> SPOOLER_RESULT, and SPOOLER_CONN_GONE when the connection has
                 ended */
    OUT_CLOSE, /* struct out_work with job empty: close the idle connection */
    OUT_DSN    /* struct out_dsn     -> SPOOLER_STORE with dsn_for, or SPOOLER_DSN_FAILED by storing
                  nothing (tried again in 1 min) */
};

/* Which of so many loops is asked for a domain (as in struct out_resolve), and so keeps what DNS
 * says of it. */
static inline unsigned spooler_loop_of(struct slice domain, unsigned loops)
{
    return (unsigned)(slice_hash(domain) % loops);
}

struct out_resolve {
    struct msg msg;
    struct buf domain; /* lower case, or an address literal with brackets; of messages with a route
                          ">" and a destination's name behind it. The answer has it as it stands */
};

/* One job: everything a connection needs, copied, so that nothing of the spooler's is shared. */
struct out_work {
    struct msg msg;
    uint64_t conn;
    unsigned loop;       /* the net loop it goes to */
    bool open;           /* make the connection first, by plan */
    struct frozen *plan; /* owned (open only) */
    struct buf site, destination;
    uint64_t message_id;
    uint32_t attempt; /* 1 = first, for the oldest recipient */
    struct buf sender, user;
    size_t n;
    uint32_t *rcpts;       /* recipient numbers */
    struct buf *addresses; /* n */
    struct buf *orcpts;    /* n, decoded as in the envelope; "" = none */
    unsigned *notify;      /* n, enum mail_notify */
    struct mail_params params;
    struct buf envid;        /* decoded; "" = none */
    struct wall by_deadline; /* of params.by; 0 = none */
    uint64_t size;
    bool eight_bit;
    struct body *body; /* owned; NULL: content is in a body file: SPOOLER_READ pieces */
};
void out_work_free(struct out_work *w);

enum out_dsn_what { OUT_DSN_FAILED, OUT_DSN_DELAYED, OUT_DSN_RELAYED, OUT_DSN_DELIVERED };
struct out_dsn_rcpt {
    uint32_t number; /* of the message */
    struct buf address, orcpt, host;
    enum out_dsn_what what;
    struct enhanced status; /* to be told in place of the verdict's own; zero: that one */
    struct verdict verdict;
    struct wall last_attempt;
};
struct out_dsn {
    struct msg msg;
    uint64_t message_id;
    uint64_t serial; /* copied into spooler_store.dsn_serial */
    struct buf to;   /* reverse-path of the message that it tells of */
    struct buf user; /* who handed it in */
    struct buf envid;
    /* … which the report takes over as it is sensible: priority, tags and route are its own, too;
     * RET and REQUIRETLS say what comes back (RFC 3461 section 6.2, RFC 8689 section 5.2) */
    struct mail_params params;
    struct buf tags, route;
    struct wall queued, expires;
    size_t n;
    struct out_dsn_rcpt *rcpts;
    struct body
        *original; /* owned; the whole message when inline, else its first SPOOL_INLINE_MAX bytes */
    bool original_whole;
    bool double_bounce; /* the message is a report that could not be delivered; the last word */
    bool one_by_one;    /* its failures are told each alone, and this is the next: rcpts has one */
};
void out_dsn_rcpt_done(struct out_dsn_rcpt *r);
void out_dsn_free(struct out_dsn *d);

/* --- operators
 * -------------------------------------------------------------------------------------------------------
 */
enum admin_verb {
    ADMIN_STATUS,
    ADMIN_QUEUE,
    ADMIN_DISK, /* totals.disk only: what a change may be waiting for */
    ADMIN_LIST,
    ADMIN_SHOW,
    ADMIN_RETRY,
    ADMIN_REMOVE,
    ADMIN_HOLD,
    ADMIN_RELEASE,
    ADMIN_BOUNCE,   /* ends as refused by the operator: its sender is told */
    ADMIN_EXPIRE,   /* ends as if its lifetime were over */
    ADMIN_REDIRECT, /* another destination by name, at once */
    ADMIN_PRIORITY  /* of the whole message */
};

/* The same filter for every verb; all conditions must hold. Empty/zero = no condition. */
struct queue_filter {
    uint64_t *ids;
    size_t n_ids;
    struct buf from, to, user, destination, site,
        reply; /* from/to: shell patterns; site, destination, user: equal; reply: contained in the
                  last reply */
    struct buf tag;  /* KEY=PATTERN */
    unsigned states; /* bits 1 ready, 2 waiting, 4 held, 8 active; 0: any */
    int64_t older_than_s, newer_than_s;
    uint32_t attempts_ge;
    unsigned code; /* 4: 4xx, 5: 5xx, or a full code such as 450 */
    uint64_t size_ge;
};
void queue_filter_done(struct queue_filter *f);

/* Recipients stand in the order of message id, then of their number. id 0: the beginning, or that
 * there is no more. */
struct queue_place {
    uint64_t id;
    uint32_t rcpt;
};

/* One recipient; the slices lie with the page. */
struct queue_row {
    uint64_t id;
    struct wall queued, due, expires, last_attempt;
    uint64_t size;
    struct slice sender, recipient, user, last_reply, last_host, site, destination;
    struct slice envid, tags, route;
    struct slice redirected; /* where an operator sent it; "" = nowhere */
    struct slice message_id; /* SHOW only */
    struct mail_params params;
    struct wall release, by_deadline;
    uint32_t rcpt, n_rcpts, attempts;
    enum rcpt_state state;
    bool active, ready;
    bool stands_still; /* nothing is begun at its site: suspended, or dead until the next probe */
};
struct queue_site_row {
    struct buf site, destination;
    uint64_t ready, waiting;
    unsigned connections, idle, window, limit;
    bool dead, suspended;
    bool throttled;        /* dead, because the receiver asks for it */
    bool ours;             /* dead, for a fault of this host */
    int64_t next_probe_ms; /* from now; -1: none */
    unsigned rate;         /* 0: no limit; else so many jobs in each rate_ms */
    int64_t rate_ms;
    uint64_t per_minute; /* jobs begun in the last minute */
    struct buf error;    /* why a job was put off last; "" = none was */
    struct wall error_at;
};
/* Dead, and somebody's mail waits for it, or is being tried: what a person is to hear of. A site
 * that only is remembered to have been dead keeps nobody's mail. */
static inline bool queue_site_is_stuck(const struct queue_site_row *r)
{
    return r->dead && r->ready + r->waiting + r->connections > 0;
}
void queue_site_row_done(struct queue_site_row *r);
/* Its keys (relay/admin/README.md) into an open row (relay/base/jrow.h); only of a site that is
 * known has it more than the two names. Whether it is suspended is the caller's to say: who did it
 * is main's to know. */
void queue_site_row_write(struct buf *out, const struct queue_site_row *r, bool known);
/* What the disk does not let the spooler do. */
struct spooler_disk {
    char error[200];   /* why records cannot be written and deliveries wait; "": they can */
    struct wall since; /* with error */
    const char *full;  /* why there is no room for new mail, static text; NULL: there is */
};
struct queue_totals {
    struct spooler_disk disk;
    uint64_t messages, recipients, ready, waiting, held, active, live_bytes, disk_bytes, segments;
    struct wall oldest;      /* 0 = empty queue */
    uint64_t age_buckets[6]; /* messages by how long they are here: less than 1 min, 10 min, 1 h,
                                6 h, 1 d; longer */
    struct {
        struct buf text;
        uint64_t n;
    } errors[5]; /* the most common replies that deferred a recipient */
};

struct error_tally;
struct sorted;

/* Another order of a listing: the next attempt that is soonest, the oldest message, the largest
 * first. For at most ADMIN_SORT_MAX rows, without a cursor. */
enum queue_sort { SORT_NONE, SORT_DUE, SORT_AGE, SORT_SIZE };
#define ADMIN_SORT_MAX 10000

/* One page or one bounded step of work: `at` is the first recipient to look at, `next` where to go
 * on (id 0: finished); the asker sends the same message again until then, so that no operation
 * holds the spooler for longer than a page (well below 1 ms). Mail that has come goes before it.
 * Steps that change the queue are answered before their records are durable, at most
 * ADMIN_UNSYNCED of them ahead of the disk; the last one only when all are. */
#define ADMIN_UNSYNCED 1000
struct spooler_admin {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    enum admin_verb verb;
    struct queue_filter filter;
    struct queue_place at;
    unsigned limit;     /* messages looked at in this step; 0: as many as a step has time for */
    unsigned page_rows; /* of this step at most; 0: as many as a page holds */
    uint64_t rows_max;  /* LIST, dry_run: rows wanted over all steps */
    bool count; /* LIST: goes on counting without them; else it stops, `next` behind the last */
    enum queue_sort sort; /* LIST: the first rows_max in this order */
    bool dry_run;
    struct buf actor, reason; /* for events */
    struct buf route;         /* REDIRECT; "": back to the way that its message has */
    int8_t priority;          /* PRIORITY */
    /* answer: this step's */
    struct queue_place next;
    struct queue_row *rows; /* LIST, SHOW, dry_run; with their text behind them, kept for the next
                               step */
    size_t n_rows, text_n;
    struct queue_site_row *sites; /* QUEUE, STATUS */
    size_t n_sites;
    /* answer: of all steps so far */
    struct queue_totals totals;                 /* QUEUE, STATUS */
    uint64_t matched, changed, skipped, failed; /* recipients */
    uint64_t in_flight; /* of the skipped: with a connection; done when that attempt has ended */
    uint64_t rows_given;
    struct error_tally *tally; /* these are the spooler's own; NULL at first */
    struct sorted *sorted;
    struct act *act;
    uint64_t record; /* the newest that it wrote */
};
void spooler_admin_free(struct spooler_admin *a);

/* A message with all that another host needs of it: the first behind `after`, in id order, that is
 * durable and has recipients which the filter lets pass and which are not final. One step looks at
 * 256 messages. */
struct export_rcpt {
    struct buf address, orcpt, last_reply, last_host;
    struct buf redirected;         /* where an operator sent it; "": nowhere */
    struct wall due, last_attempt; /* last_attempt 0: none yet */
    uint32_t rcpt, attempts;
    unsigned notify; /* enum mail_notify */
    uint16_t code;   /* of the last reply; 0: none */
    struct enhanced enhanced;
    bool held, active, ready; /* none: waiting */
};
struct spooler_export {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    struct queue_filter filter;
    uint64_t after;
    /* answer */
    uint64_t next; /* where to go on; 0: there are no more */
    uint64_t id;   /* 0: none was found in this step, and the rest is empty */
    struct buf sender, user, message_id, envid, tags, route;
    uint64_t size;
    bool eight_bit, delay_told; /* its sender has been told that it is late */
    struct mail_params params;
    struct wall queued, expires, release, by_deadline;
    struct export_rcpt *rcpts;
    size_t n_rcpts;
};
void spooler_export_free(struct spooler_export *x);

/* How things stand at a site, and (id not 0) where a recipient stands in its line. Looks only; well
 * below a millisecond. */
struct spooler_site {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    uint64_t id;
    uint32_t rcpt;
    struct queue_site_row row; /* its destination and site are the question, the rest the answer */
    /* answer */
    bool known; /* it has mail or connections, or had some lately; the next ones belong to it */
    unsigned fails;
    int64_t next_job_ms, hold_ms; /* from now; -1: none */
    bool stands;                  /* the recipient does, in that line */
    struct sched_standing standing;
};

/* `spool check` of the running spool, a step (a segment, or some body files) a message: what the
 * step found comes back as lines, and the asker sends the same message again until `over`. Only one
 * check at a time: -EBUSY. */
struct spooler_check {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    bool repair;
    bool give_up;              /* the last word, when it is not over; not answered, freed */
    struct spool_check *check; /* the spooler's own, between steps; NULL at first */
    /* answer */
    struct buf lines; /* a finding each, ended by LF */
    int error;
    bool over; /* and report is filled */
    struct spool_report report;
};

struct spooler_control {
    struct msg msg;
    const struct port *reply;
    void *cookie;
    enum {
        SPOOLER_PAUSE, /* start no more deliveries; answered when none is active (or after 10 s) */
        SPOOLER_FLUSH, /* answered when everything appended so far is durable */
        SPOOLER_RECONFIGURE, /* new defaults */
        SPOOLER_LET_GO /* operators have gone: no answer to them waits for the disk any more */
    } what;
    struct retry_policy retry, widest; /* as in core.h */
    int64_t lifetime_s, delay_warning_s;
    struct report_policy report_policy;
    uint64_t min_free_bytes;
    struct marks_conf marks;
};

/* --- life
 * ----------------------------------------------------------------------------------------------------------------
 */
struct spooler;
struct spooler_conf {
    const char *path;       /* spool folder; made if missing */
    uint64_t segment_bytes; /* 0 = default */
    uint64_t min_free_bytes;
    struct marks_conf marks;
    struct retry_policy retry, widest; /* as in core.h */
    int64_t lifetime_s;
    int64_t delay_warning_s; /* senders hear of a delay after it; 0: never */
    struct report_policy report_policy;
    struct slice node;
    uint64_t
        seq_after; /* the delivery log's last: a new spool beside an old log goes on behind it */
    /* Test hook for promise 2: each batch waits so long before it is written. 0 in real
     * life (hidden option debug-sync-delay). */
    int64_t sync_delay_ms;
};
/* Opens and recovers the spool (blocks). `log_last_seq`: the last seq the delivery log has. */
int spooler_new(struct spooler **ret, const struct spooler_conf *c, struct spool_report *ret_report,
                struct err *e);
/* Wiring before start: outbound ports, one a net loop; the sink of durable events, in order (called
 * on the spooler's thread; copies what it needs). */
void spooler_set_outbound(struct spooler *s, const struct port *const *ports, unsigned n);
void spooler_set_events(struct spooler *s, void (*fn)(void *ctx, const struct event *e), void *ctx);
/* Events the spool still holds with seq > after, for replay (before start). Negative errno: not all
 * could be read. */
int spooler_replay(struct spooler *s, uint64_t after, void (*fn)(void *ctx, const struct event *e),
                   void *ctx);
/* Before the start; afterwards by SPOOLER_SUSPEND. */
void spooler_set_suspended(struct spooler *s, char *const *names, size_t n);
const struct port *spooler_port(struct spooler *s);
int spooler_start(struct spooler *s);
/* Stops the thread after a last flush; then frees. */
void spooler_free(struct spooler *s);
/* From any thread: may new mail be let in? 0, or why not (-ENOSPC: the disk is full; -EXFULL,
 * -ENOBUFS: above a mark; else what writing failed with). What was let in is taken above a mark,
 * too. Cheap (an atomic). */
int spooler_accepting(const struct spooler *s);
/* From any thread: the delivery log's disk is full, or has room again; while it is, accepting is
 * -ENOSPC. */
void spooler_log_full(struct spooler *s, bool full);
/* From any thread: the mark that is passed, static text; NULL: none is. */
const char *spooler_above(const struct spooler *s);

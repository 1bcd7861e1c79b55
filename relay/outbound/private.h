/* What the files of this room share. */
#pragma once
#include "relay/loop/worker.h"
#include "relay/outbound/hosts.h"
#include "relay/outbound/outbound.h"
#include "relay/smtp/client.h"
#include <uthash.h>
#include <uv.h>

struct out_capture;
struct out_conn;
struct out_explain;
struct out_rang;
struct out_secrets;
struct out_sessions;

enum {
    OUT_SECRET = 2001,
    OUT_CAPTURED,
    OUT_EXPLAIN,
    OUT_EXPLAIN_STOP,
    OUT_RANG
}; /* beside outbound.c's own */

struct outbound {
    struct loop *loop;
    struct conf *conf;
    struct tls_context *tls;
    struct tls_context *tls_verify; /* made when it is first needed; a reload makes it anew */
    const struct port *spooler;
    struct port port;
    struct outbound *const *all; /* the rooms of all loops; NULL: they have not met */
    unsigned n_all;
    struct resolver *resolver;
    struct dns_override *override;
    struct rng rng;
    struct sockaddr_storage *own; /* where we listen: the loop rule */
    size_t n_own;
    struct sockaddr_storage *here; /* this machine's addresses, whoever listens there */
    size_t n_here;
    struct mono own_until; /* then they are read anew before they are used */
    /* NULL: of this machine (uv_interface_addresses); another one for tests */
    int (*interfaces)(uv_interface_address_t **, int *);
    struct out_conn *conns;                   /* by id */
    struct out_conn *line;                    /* those that wait for a socket, see places.c */
    int64_t n_sockets;                        /* called, connected or closing */
    int64_t places_shown;                     /* how many there may be, as the gauge has it */
    int64_t ahead_slow_ms, ahead_patience_ms; /* see ahead.c; only tests have others */
    bool scarce;                              /* a call found no descriptor; until nobody waits */
    struct out_explain *explains;
    uint64_t probes;               /* so far */
    struct out_memory *memory;     /* of addresses, this loop's own */
    struct out_sessions *sessions; /* of TLS, this loop's own; a reload drops them */
    struct out_hosts *hosts;       /* of relays, shared by all loops */
    struct worker *filer;          /* NULL until something is captured */
    struct out_capture *captures;
    struct out_secrets *secrets; /* these two: NULL until a login needs them */
    void *sasl;
};

enum { OUT_AHEAD_SLOW_MS = 1000, OUT_AHEAD_PATIENCE_MS = 3000 };

/* memory.c: of addresses with their ports */
enum out_lesson {
    OUT_NO_CHUNKING, /* what it offers by that name is no good */
    OUT_NO_ANSWER,   /* it let a call ring */
    OUT_SLOW_END,    /* it let a message wait that was sent ahead */
    OUT_LESSONS
};
void out_learn(struct outbound *o, const struct sockaddr_storage *a, enum out_lesson l,
               struct mono until);
void out_unlearn(struct outbound *o, const struct sockaddr_storage *a, enum out_lesson l);
bool out_has_learnt(const struct outbound *o, const struct sockaddr_storage *a, enum out_lesson l,
                    struct mono now);
void out_memory_free(struct outbound *o);

/* places.c: the gauge of this loop's bound, which each look at it brings up to date */
void out_places_show(struct outbound *o);
void out_places_done(struct outbound *o);

/* capture.c: OUT_WORK -> SPOOLER_RESULT, SPOOLER_CONN_GONE, the mail into a Maildir. Takes w. */
void out_capture(struct outbound *o, struct conf *conf, const struct conf_destination *d,
                 struct out_work *w);
void out_captures_free(struct outbound *o);
void out_capture_drop(struct msg *m);

/* source.c: where a destination's connections come from */
struct out_source {
    struct sockaddr_storage from; /* ss_family 0: the system chooses */
    const char *helo;             /* its own name for EHLO; "" = none */
};
/* May hosts of this family be tried? */
bool out_source_has(const struct conf_destination *d, int family);
/* The one for a site, always the same among those of the family; borrows d's text. The caller has
 * asked out_source_has. */
void out_source_find(const struct conf_destination *d, struct slice site, int family,
                     struct out_source *ret);

/* What a plan is worth only together with, and the scheduler keeps for us: the configuration that
 * it was made by. Hosts, port, TLS, names and credentials are all of one; after a reload, too, none
 * of an old plan meets those of the new one. Frozen. */
struct out_route {
    struct frozen frozen;
    struct plan *plan;
    struct conf *conf;
    const struct conf_destination *dest; /* of conf */
};
/* Takes the plan. */
struct out_route *out_route_new(struct plan *p, struct conf *conf,
                                const struct conf_destination *dest);

/* resolve.c: which way a domain's mail goes, and why */
enum out_rule {
    OUT_BY_ROUTE,  /* the message, its user or an operator names the destination */
    OUT_BY_DOMAIN, /* its `domains` claim the recipient's */
    OUT_BY_MX,     /* its `mx` match the hosts that were found */
    OUT_BY_DEFAULT
};
struct out_found { /* lent for the call, but for the plan */
    struct conf *conf;
    const struct conf_destination *dest; /* NULL: none claims the domain, and no hosts were found */
    bool claimed;                        /* it was known without the hosts */
    enum out_rule rule;                  /* with dest */
    struct plan *plan;                   /* the taker's */
    const struct plan_maker *maker;      /* that made it; NULL: there was nothing to ask */
};
typedef void out_found_fn(void *ctx, struct out_found *f);
/* domain_and_route: as in struct out_resolve; copied. fn is called once, perhaps at once. */
void out_find(struct outbound *o, struct slice domain_and_route, out_found_fn *fn, void *ctx);
/* An international domain as DNS, and patterns of the configuration, have it (RFC 5891 section
 * 4.4); what is no name stays as it is. */
struct slice out_domain_ascii(struct slice domain, char ret[DNS_NAME_SIZE]);
/* With a plan that is usable. The caller's. */
void out_name_site(struct buf *out, const struct out_found *f);
/* OUT_RESOLVE -> SPOOLER_PLAN, whose plan is a struct out_route */
void out_resolve_run(struct outbound *o, struct out_resolve *r);
int out_resolver_new(struct outbound *o, struct err *e);
void out_own_addresses(struct outbound *o);
/* Before they are used: a machine may get others while it runs (DHCP, a failover address). */
#define OUT_OWN_MS (INT64_C(60) * 1000)
void out_own_addresses_fresh(struct outbound *o, struct mono now);
void out_own_addresses_done(struct outbound *o);

/* Borrowed. NULL: it cannot be made, e says why. */
struct tls_context *out_tls_verify(struct outbound *o, struct err *e);

/* conn.c, job.c: OUT_WORK -> SPOOLER_RESULT, SPOOLER_CONN_GONE */
void out_conn_work(struct outbound *o, struct out_work *w);
void out_conn_close(struct outbound *o, struct out_work *w);
void out_conn_read_answer(struct outbound *o, struct spooler_read *r);
/* Those made under an older configuration: idle ones end now, the others after their job. */
void out_conn_retire_idle(struct outbound *o);
void out_conn_free_all(struct outbound *o);

/* explain.c: OUT_EXPLAIN -> struct lines */
struct out_explain_order {
    struct msg msg;
    const void *cookie;
};
void out_explain_run(struct outbound *o, struct out_explain *x);
void out_explain_stop(struct outbound *o, struct out_explain_order *order); /* owns it */
void out_explain_site(struct outbound *o, struct spooler_site *q);          /* owns q */
void out_explain_rang(struct outbound *o, struct out_rang *g);              /* owns g */
void out_explain_drop(struct msg *m);
void out_explain_rang_free(struct out_rang *g);
void out_explain_free_all(struct outbound *o);

/* secrets.c */
void out_secrets_forget(struct outbound *o); /* a new configuration */
void out_secrets_free(struct out_secrets *s);
void out_secrets_drop(struct msg *m);

/* report.c: messages to the spooler; once the room is being freed they are dropped */
void out_send(struct outbound *o, struct msg *m);
void out_report_gone(struct outbound *o, uint64_t conn);
void out_report_ahead(struct outbound *o, uint64_t conn); /* it can take one */
/* barred_ms: see struct spooler_result. */
void out_report_unattempted(struct outbound *o, uint64_t conn, struct out_work *w,
                            int64_t barred_ms);

/* bounce.c: OUT_DSN -> SPOOLER_STORE */
void out_bounce(struct outbound *o, struct out_dsn *d);

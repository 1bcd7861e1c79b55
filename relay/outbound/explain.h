/*
 * Why is it not there yet, and what would become of it now: a recipient's way, told in rows for the
 * control socket (relay/admin/README.md has them). explain.c asks the same resolver, plan and
 * scheduler that delivery uses; explain_rows.c writes what they say. Nothing changes by it.
 */
#pragma once
#include "relay/loop/lines.h"
#include "relay/outbound/conn.h"

#define EXPLAIN_TEXT_MAX (256u * 1024) /* of one explanation's rows, the dialogue apart */

struct out_explain {
    struct msg msg; /* on its way to the room */
    const struct port *reply;
    void *cookie;
    struct outbound *o;
    struct out_explain *prev, *next;
    struct buf recipient, domain /* as in struct out_resolve */, sender;
    uint64_t id; /* of a message; 0: there is none */
    uint32_t rcpt, attempt;
    struct mail_params params;
    bool probe, with_rcpt; /* rehearse it, up to RCPT or only to the login */
    struct out_conn *conn; /* of the rehearsal */
    struct mono began, stepped;
    unsigned n_rows;
    bool good; /* it would be taken */
    bool over; /* the asker has its last answer: this one only waits to be found */
    struct buf rows;
    /* found */
    struct conf *conf;
    const struct conf_destination *dest;
    struct plan *plan;
    struct buf site;
    struct buf left_out; /* rows that stand behind those of the hosts */
};

/* Which addresses let calls ring: asked of one loop's memory after the other's. */
struct out_rang {
    struct msg msg;
    struct out_explain *x;
    unsigned at; /* whose turn it is; past the last: it goes back to x's */
    size_t n;
    struct out_rang_address {
        struct sockaddr_storage address;
        unsigned loops; /* that it did not answer lately */
    } addresses[];
};

/* explain.c: the rows so far; and the last ones, x is gone then. */
void out_explain_tell(struct out_explain *x);
void out_explain_end(struct out_explain *x, bool good);

/* probe.c: ends by out_explain_end, perhaps at once */
void out_probe_begin(struct out_explain *x);

/* explain_rows.c: each appends rows. Pure. */
void explain_way(struct buf *out, const struct out_explain *x);
void explain_destination(struct buf *out, const struct out_found *f, struct slice domain,
                         const struct mail_params *p);
/* What DNS said, then the outcome: how long it took, the site, or why there is no way. */
void explain_dns(struct buf *out, const struct out_found *f, struct slice site);
struct explain_host { /* one that would be called */
    unsigned turn;    /* 1: the first */
    const char *name; /* "" = none */
    uint16_t preference;
    const struct sockaddr_storage *address;
    struct out_source source;
    const char *helo;
    unsigned rang, loops;      /* of so many loops so many got no answer lately */
    enum out_host_state state; /* of a relay */
    int64_t again_ms;
    const char *why;
};
void explain_host(struct buf *out, const struct explain_host *h);
void explain_left_out(struct buf *out, const struct out_found *f);
void explain_site(struct buf *out, const struct spooler_site *s);

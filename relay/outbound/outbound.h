/*
 * The way out on one loop: resolves domains to plans, keeps the connections the spooler asked for,
 * carries out attempts, writes bounces. `hosts` (hosts.h) is one for all loops, and outlives them.
 */
#pragma once
#include "dns/resolver.h"
#include "relay/conf/conf.h"
#include "relay/loop/inbox.h"
#include "relay/net/net.h"
#include "relay/spooler/spooler.h"

struct outbound;
struct out_hosts;
/* The configuration's pauses as the scheduler takes them: each varied by a tenth. */
struct retry_policy outbound_retry(const struct conf_retry *r);
int outbound_new(struct outbound **ret, struct loop *l, struct inbox *i, struct conf *conf,
                 struct tls_context *client_tls, struct out_hosts *hosts,
                 const struct port *spooler, struct err *e);
const struct port *outbound_port(struct outbound *o);
/* Before the loops run: the rooms of all loops, this one among them; borrowed for its life. */
void outbound_meet(struct outbound *o, struct outbound *const *all, unsigned n);
/* Whose way is to be explained; lent for the call. */
struct outbound_asked {
    struct slice recipient; /* a mailbox with a domain */
    struct slice route;     /* the destination by name that its message takes; "" = none */
    struct slice sender;    /* "" = the null reverse-path */
    uint64_t id;            /* of the message; 0: there is none, and the next two say nothing */
    uint32_t rcpt, attempt; /* attempt: that would be the next */
    struct mail_params params;
    bool probe;   /* and the way is gone, up to RCPT … */
    bool no_rcpt; /* … or only up to the login */
};
/* From any thread, of any of the rooms that have met: the one that delivery asks for this domain
 * answers, and all say which addresses did not answer them. The answer comes to `reply` as struct
 * lines with this cookie, freed by who gets them: rows (relay/admin/README.md), the last one
 * marked. -EINVAL: that is no address, and nothing comes. */
int outbound_explain(struct outbound *o, const struct outbound_asked *a, const struct port *reply,
                     void *cookie, struct err *e);
/* From any thread, of the same rooms: the answer is not waited for, and ends as soon as it can. */
void outbound_explain_stop(struct outbound *o, const void *cookie);
/* From any thread. */
void outbound_reconfigure(struct outbound *o, struct conf *conf);
void outbound_free(struct outbound *o); /* after loop_join */
/* For inbox_free: a message to this room that nobody handled. */
void outbound_drop(struct msg *m);

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
/* From any thread. */
void outbound_reconfigure(struct outbound *o, struct conf *conf);
void outbound_free(struct outbound *o); /* after loop_join */
/* For inbox_free: a message to this room that nobody handled. */
void outbound_drop(struct msg *m);

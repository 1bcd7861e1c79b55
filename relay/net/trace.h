/*
 * Live transcripts of a loop's SMTP dialogues, both ways, for who looks on from another thread:
 * each line with its time and connection, secrets and content left out (relay/smtp/watch.h). At
 * most NET_TRACERS_MAX at a time look at a loop. Nobody waits for them: a tracer has one message
 * out and NET_TRACE_BYTES behind it; what does not fit is counted as lost, and told. Where nobody
 * traces a connection pays for one look at a pointer.
 *
 * A connection that has begun before is looked at from the next moment on at which nothing is said
 * by halves, and neither a login nor content is under way (at_ease of its handler): mostly the next
 * command. The lines before a match (of sender, recipient, queue id: known only in its middle) are
 * kept, NET_TRACE_KEPT octets of them, and told with it. A match holds until the next MAIL. At most
 * NET_TRACED_MAX connections of a loop; each beyond counts as a line that is lost.
 *
 * A row, by the names of events: `time` `direction` (in, out), of the way in `session_id`
 * `client_ip` `client_port`, of the way out `connection` `mx_ip` `mx_port` `site`, `queue_id`,
 * `user`, `who` (client, server, note), `text`, `hidden` (octets not shown).
 */
#pragma once
#include "relay/loop/lines.h"

#define NET_TRACERS_MAX 4
#define NET_TRACE_BYTES (64u * 1024)
#define NET_TRACE_KEPT 8192
#define NET_TRACED_MAX 1000

struct net_trace_filter { /* all that are not "" must hold; patterns as of slice_glob */
    struct slice from, to;
    struct slice site;   /* or a destination's name */
    struct slice client; /* an address or a network; of the way in */
    struct slice id;     /* a queue id */
    struct slice user;   /* who has logged in, or tried to; who handed in what goes out */
};

struct net_traces;
/* Before the loop runs; one a loop. */
struct net_traces *net_traces_new(struct loop *l, struct inbox *i);
/* From any thread. Lines come to `reply` with this cookie (the sender's `source` is the loop's
 * index) and go back to their `back`; one that is `last`, which is the reader's, comes after
 * net_traces_end. */
void net_traces_begin(struct net_traces *t, const struct net_trace_filter *f,
                      const struct port *reply, void *cookie);
void net_traces_end(struct net_traces *t, const void *cookie);
void net_traces_free(struct net_traces *t); /* after loop_join */
/* For inbox_free. False: it is none that comes to this room. */
bool net_traces_drop(struct msg *m);

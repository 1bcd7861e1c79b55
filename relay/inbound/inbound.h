/*
 * The front door on one loop: listeners, server sessions, and the questions of a session answered:
 * access, AUTH (GNU SASL), limits, intake. Each loop has its own; what they share (users, hashing
 * worker) is in struct inbound_shared, made once.
 */
#pragma once
#include "relay/conf/conf.h"
#include "relay/loop/inbox.h"
#include "relay/net/net.h"
#include "relay/spooler/spooler.h"
#include "relay/suppress/suppress.h"

struct inbound_shared;
struct inbound_shared *inbound_shared_new(struct spooler *spooler, const char *users_file);
/* Before the loops start: the list outlives them. Without it nobody is suppressed. */
void inbound_shared_set_suppress(struct inbound_shared *s, struct suppress *list);
/* After the loops have ended, before the rooms are freed: what is still hashed goes nowhere. */
void inbound_shared_end_hashing(struct inbound_shared *s);
void inbound_shared_free(struct inbound_shared *s);               /* after the loops have ended */
unsigned inbound_shared_sessions(const struct inbound_shared *s); /* open now, any thread */

/* Its table of clients, any thread. */
struct clients *inbound_shared_clients(const struct inbound_shared *s);

struct inbound;
/* Before loop_start; refs conf and tls (NULL: no TLS). */
struct inbound *inbound_new(struct loop *l, struct inbox *i, struct inbound_shared *shared,
                            struct conf *conf, struct tls_context *tls);
/* Serves conf->listeners[listener] on a bound socket. */
void inbound_listen(struct inbound *in, size_t listener, int fd);
/* From any thread. New sessions use the new snapshot; listeners keep their sockets. */
void inbound_reconfigure(struct inbound *in, struct conf *conf, struct tls_context *tls);
/* From any thread: no new sessions; running ones end with 421 after the message whose content is on
 * its way. */
void inbound_stop(struct inbound *in);
void inbound_free(struct inbound *in); /* after loop_join */
/* For inbox_free: a message that nobody handled. False: it is none that comes to this room. */
bool inbound_drop(struct msg *m);

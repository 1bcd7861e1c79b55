/*
 * Every room of a running relay and the threads they live on: made in order, started, reloaded,
 * stopped in the reverse order. The main thread runs a loop of its own for signals and for waiting.
 */
#pragma once
#include "queue/suspend.h"
#include "relay/admin/admin.h"
#include "relay/certificates.h"
#include "relay/conf/conf.h"
#include "relay/events/events.h"
#include "relay/inbound/inbound.h"
#include "relay/net/trace.h"
#include "relay/outbound/outbound.h"
#include "relay/spooler/spooler.h"
#include "relay/suppress/suppress.h"
#include "relay/tls/tls.h"

struct net_thread {
    struct loop *loop;
    struct inbox *inbox;
    struct inbound *inbound;
    struct outbound *outbound;
    struct net_traces *traces;
};

struct house {
    struct conf *conf;
    struct certificates *certificates;
    struct tls_context *tls, *client_tls;
    struct events *events;
    struct spooler *spooler;
    struct file_ops *suppress_fs;
    struct suppress *suppress;
    struct inbound_shared *shared;
    struct out_hosts *out_hosts;
    struct file_ops *suspend_fs;
    uv_mutex_t suspending; /* guards suspended, and its file */
    struct suspensions suspended;
    struct net_thread *nets;
    unsigned n_nets;
    struct outbound **outbounds; /* those of nets */
    struct admin *admin;
    struct loop *loop; /* main's */
    struct inbox *inbox;
    struct port port;
    uv_mutex_t reloading;
    bool draining;
    /* stop.c */
    uv_signal_t on_term, on_int, on_hup;
    struct deadline tick, look;
    struct mono give_up;
    int stage;
};

/* house.c: 0, or a negative errno with e filled; what was made is freed by house_free in any case.
 */
int house_make(struct house *h, const char *conf_path, struct err *e);
int house_start(struct house *h, struct err *e);
void house_free(struct house *h);
/* Reads the configuration again; refused whole when it has an error or asks for what only a restart
 * can do. Any thread. */
int house_reload(struct house *h, struct err *e);
void house_look(struct house *h, struct mono now);      /* main: at files that may have changed */
void house_drain(struct house *h);                      /* any thread: takes no more mail */
void house_note(struct house *h, enum event_name name); /* a service line in the delivery log */

/* house_clients.c: admin_hooks; ctx is the house */
bool house_clients(void *ctx, size_t *at, struct admin_client *rows, size_t max, size_t *ret_n);
int house_client_ban(void *ctx, struct slice address, int64_t for_s, struct slice reason,
                     struct slice actor, struct err *e);
int house_client_allow(void *ctx, struct slice address, struct slice actor, struct err *e);

/* house_suppress.c: the list is made after the spooler and before events flow; then admin_hooks */
int house_make_suppress(struct house *h, struct err *e);
void house_suppress_reconfigure(struct house *h);
void house_free_suppress(struct house *h);
bool house_suppressed(void *ctx, size_t *at, struct admin_suppressed *rows, size_t max,
                      size_t *ret_n);
bool house_suppress_asked(void *ctx, struct slice user, struct slice recipient,
                          char why[ADMIN_SUPPRESSED_WHY], bool *ret_drop);
bool house_suppress_ok(void *ctx, struct slice recipient);
int house_suppress_add(void *ctx, const struct admin_suppress *s);
int house_suppress_remove(void *ctx, const struct admin_suppress *s);
int house_suppress_sync(void *ctx, struct slice actor, uint64_t added, uint64_t removed,
                        struct err *e);

/* house_log.c: the delivery log and the spool, which do not know each other */
int house_log_conf(const struct conf *c, struct events_conf *ret, struct err *e);
/* What the one tells the other from now on; the spooler is there. */
void house_log_join(struct house *h);
/* The spooler goes: nothing is told to it any more. */
void house_log_part(struct house *h);

/* house_suspend.c: what is suspended, at the start and in time; admin_hooks */
int house_make_suspend(struct house *h, struct err *e);
void house_free_suspend(struct house *h);
void house_look_suspended(struct house *h);
bool house_suspended(void *ctx, size_t *at, struct admin_suspension *ret);
int house_suspend(void *ctx, struct slice name, int64_t for_s, struct slice reason,
                  struct slice actor, struct err *e);
int house_resume(void *ctx, struct slice name, struct slice actor, struct err *e);

/* house_explain.c: admin_hooks */
int house_explain(void *ctx, const struct admin_explain *a, const struct port *reply, void *cookie,
                  struct err *e);
void house_explain_stop(void *ctx, const void *cookie);
int house_trace(void *ctx, const struct admin_trace *t, const struct port *reply, void *cookie,
                struct err *e);
void house_trace_end(void *ctx, const void *cookie);

/* stop.c: signals and the orderly end. A signal counts from house_watch on, before any thread
 * begins, and is ignored when the end is over; house_run runs the main loop until then. Before it
 * SIGTERM ends us at once, however long the spool takes to be read: nothing has begun. A SIGHUP of
 * that time (a log that was rotated, a configuration that was changed) must not, and waits. */
void house_hold_reloads(void);
void house_watch(struct house *h);
void house_run(struct house *h);
void house_ask_stop(void);                   /* any thread */
void house_on_msg(void *ctx, struct msg *m); /* the spooler's answers to main */

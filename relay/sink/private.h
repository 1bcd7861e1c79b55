/* What the files of this room share. */
#pragma once
#include "relay/base/arena.h"
#include "relay/base/maildir.h"
#include "relay/loop/worker.h"
#include "relay/mail/address.h"
#include "relay/net/served.h"

#define SINK_LISTEN_MAX 8
#define SINK_RCPTS_MAX 1000
#define SINK_MESSAGE_MAX (UINT64_C(1) << 30)

struct patterns {
    const char **items;
    size_t n;
};

struct options {
    const char *listen[SINK_LISTEN_MAX];
    size_t n_listen;
    const char *maildir, *hostname;
    struct patterns refuse, defer;
    int64_t delay_ms;
    unsigned offer; /* set of enum smtp_extension */
    bool tls, quiet, help;
};

/* 0, or 2 with the reason on standard error. */
int options_parse(struct options *o, int argc, char **argv);
void options_done(struct options *o);

struct session;
struct sink {
    struct options options;
    char hostname[256];
    struct loop *loop;
    struct inbox *inbox;
    struct port port; /* filed messages come back here */
    struct worker *disk;
    struct tls_context *tls; /* NULL: none is offered */
    struct smtp_server_conf smtp;
    struct session *sessions;     /* utlist */
    struct job *late, *late_last; /* filed, their replies delayed; all by the same time, so the
                                     first is due first */
    struct deadline late_at, give_up;
    struct net_listener *listeners[SINK_LISTEN_MAX];
    size_t n_listeners;
    bool stopping;
};

/* session.c */
bool session_accept(void *ctx, struct net_conn *c, const struct net_handler **ret_h,
                    void **ret_ctx);
void session_stop_all(struct sink *k);
/* A job of the disk is done (port), or will never be looked at (when the loop is over). */
void session_on_filed(void *ctx, struct msg *m);
void session_on_late(void *ctx, struct mono now);
void session_drop_job(struct msg *m);
void session_drop_late(struct sink *k);
/* The reply to RCPT: refused or put off by a pattern, else taken. Pure. */
const struct smtp_reply *session_judge(const struct options *o, struct slice recipient);
/* "TIME from=<…> to=<…>,<…> size=N file=PATH\n". Pure. */
void session_report(struct buf *out, struct wall now, struct slice sender,
                    const struct slice *rcpts, size_t n_rcpts, uint64_t size, const char *path);

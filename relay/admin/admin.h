/*
 * The control socket: JSON lines over a Unix stream socket (mode 0660), one request object a line,
 * rows streamed back. Its own thread and loop; asks the spooler page by page, so that a listing of
 * a million messages holds nobody.
 */
#pragma once
#include "relay/base/params.h"
#include "relay/conf/conf.h"
#include "relay/events/events.h"
#include "relay/loop/lines.h"
#include "relay/spooler/spooler.h"

#define ADMIN_EXPIRES_SOON_S (INT64_C(21) * 86400) /* then `status` warns */

struct admin_certificate { /* of the listeners; lent for the call */
    const char *section;   /* the title of its tls section; "" = it has none */
    const char *path, *key_type;
    int64_t not_after_s; /* since 1970 */
};
typedef void admin_certificate_fn(void *each_ctx, const struct admin_certificate *c);
typedef void admin_say_fn(void *say_ctx, const char *text);
/* One row of client.list. */
struct admin_client {
    char address[50];
    unsigned connections, lately /* in the last minute */, failures;
    int64_t banned_s; /* left; 0: not banned */
    char reason[128]; /* of the ban */
};

#define ADMIN_SUPPRESSED_WHY 300
/* One row of suppress.list. */
struct admin_suppressed {
    char user[257]; /* "": everybody */
    char recipient[513], reason[201];
    struct wall since;
    const char *source; /* static */
};
/* One of suppress.add or suppress.remove; borrowed. */
struct admin_suppress {
    struct slice user, recipient, reason, source;
    struct wall since; /* 0: now */
};

struct admin_suspension {
    char name[601], actor[601], reason[601];
    struct wall since, until; /* until 0: until it is resumed */
};

/* Whose way is to be explained; lent for the call. As struct outbound_asked. */
struct admin_explain {
    struct slice recipient, route, sender;
    uint64_t id;
    uint32_t rcpt, attempt;
    struct mail_params params;
    bool probe, no_rcpt;
};

/* Which dialogues; lent for the call. As struct net_trace_filter. */
struct admin_trace {
    struct slice from, to, site, client, id, user;
};
#define ADMIN_TRACERS_MAX 4

struct admin_hooks { /* what only main can do; called on the admin thread */
    void *ctx;
    int (*reload)(void *ctx,
                  struct err *e); /* refused whole when the file has an error: e says which */
    void (*stop)(void *ctx);
    void (*drain)(void *ctx); /* stop accepting, go on delivering */
    bool (*draining)(void *ctx);
    void (*certificates)(void *ctx, admin_certificate_fn *each, void *each_ctx);
    /* What an operator should know, and admin does not. */
    void (*warnings)(void *ctx, admin_say_fn *say, void *say_ctx);
    /* The front door's clients: at most max (<= 64) at *at (0: the beginning) and behind, which is
     * moved on. False: that was all. */
    bool (*clients)(void *ctx, size_t *at, struct admin_client *rows, size_t max, size_t *ret_n);
    /* -EINVAL: that names no client; -ENOENT: there is nothing to lift. */
    int (*client_ban)(void *ctx, struct slice address, int64_t for_s, struct slice reason,
                      struct slice actor, struct err *e);
    int (*client_allow)(void *ctx, struct slice address, struct slice actor, struct err *e);
    /* Suspended destinations: the one at *at (0: the first), which is moved on; false: no more. */
    bool (*suspended)(void *ctx, size_t *at, struct admin_suspension *ret);
    /* for_s 0: until it is resumed. Durable when it returns 0. resume: -ENOENT: it is not. */
    int (*suspend)(void *ctx, struct slice name, int64_t for_s, struct slice reason,
                   struct slice actor, struct err *e);
    int (*resume)(void *ctx, struct slice name, struct slice actor, struct err *e);
    /* Answered to `reply` by struct lines with this cookie, which the asker frees. -EINVAL: that is
     * no address, and nothing comes. */
    int (*explain)(void *ctx, const struct admin_explain *a, const struct port *reply, void *cookie,
                   struct err *e);
    /* It is not waited for any more: the last lines come as soon as they can. */
    void (*explain_stop)(void *ctx, const void *cookie);
    /* Lines come to `reply` with this cookie from so many sources (returned; -EINVAL: client is no
     * address), and go back to their `back`; after trace_end a last one from each. At most
     * ADMIN_TRACERS_MAX at a time. */
    int (*trace)(void *ctx, const struct admin_trace *t, const struct port *reply, void *cookie,
                 struct err *e);
    void (*trace_end)(void *ctx, const void *cookie);
    /* The suppression list: pages as above; is it an address, or "@domain"? Then 1: done, 0: it was
     * so before, -ENOSPC: it is full, -EINVAL. sync: what was done before is durable (blocks). */
    bool (*suppressed)(void *ctx, size_t *at, struct admin_suppressed *rows, size_t max,
                       size_t *ret_n);
    /* Is a submitted recipient on it? Then `why`, and whether it is to be dropped, not refused. */
    bool (*suppress_asked)(void *ctx, struct slice user, struct slice recipient,
                           char why[ADMIN_SUPPRESSED_WHY], bool *ret_drop);
    bool (*suppress_ok)(void *ctx, struct slice recipient);
    int (*suppress_add)(void *ctx, const struct admin_suppress *s);
    int (*suppress_remove)(void *ctx, const struct admin_suppress *s);
    int (*suppress_sync)(void *ctx, struct slice actor, uint64_t added, uint64_t removed,
                         struct err *e);
};

struct admin;
/* Binds conf->control_socket (its folder is made if missing; a stale socket is replaced, a live one
 * is an error). */
int admin_new(struct admin **ret, struct conf *conf, struct spooler *spooler, struct events *events,
              const struct admin_hooks *h, struct err *e);
int admin_start(struct admin *a);
void admin_reconfigure(struct admin *a, struct conf *conf); /* any thread */
/* Ends the thread, removes the socket; before spooler_free, whose answers it waits for. */
void admin_free(struct admin *a);

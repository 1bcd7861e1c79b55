/* What the files of this room share. Everything here belongs to the admin thread. */
#pragma once
#include "relay/admin/access.h"
#include "relay/admin/admin.h"
#include "relay/admin/http.h"
#include "relay/admin/rates.h"
#include "relay/admin/rows.h"

#define ADMIN_PEERS_MAX 64
/* Of so many the one that has been silent for longest makes room for the next, if for so long. */
#define PEER_QUIET_MS 3000
#define PEER_UNSENT_MAX (256u * 1024) /* above it no further row is made */
#define SAMPLE_ROWS 10
#define PROGRESS_MS 1000          /* a client that waits hears from us so often */
#define PIECE_BYTES (192u * 1024) /* a multiple of 3, for base64 */

/* The request a peer is waiting for. Zeroed: none. */
struct task {
    bool active;
    bool asked; /* the spooler has a message of ours */
    struct request request;
    struct spooler_admin *page;  /* answered, its rows not all given */
    size_t at;                   /* of page->rows: the next */
    uint64_t given;              /* rows */
    struct mono said;            /* when the client was last told something */
    struct buf head;             /* of each row's line: {"id":…,"row": */
    uint64_t size, offset, sent; /* content */
    struct header_end header;
    struct spooler_export *exported; /* answered, not all given: first rows, then content */
    bool giving_content;
    struct explaining *explaining;
    struct tracing *tracing;
    struct spooler_check *checked; /* a step of it answered, its lines not all given */
    uint64_t steps;
};

struct peer {
    struct admin *admin;
    uv_pipe_t pipe;
    uv_write_t write;
    char actor[64];
    enum access access;
    struct buf in, out, flying; /* flying: with libuv */
    bool reading, writing, taking, closing, closed;
    struct mono moved; /* when something last went either way */
    struct task task;
    struct import *import; /* begun and not ended; NULL: none */
    struct peer *prev, *next;
};

struct admin {
    struct http *http; /* NULL: not configured */
    struct conf *conf;
    struct spooler *spooler;
    struct events *events;
    struct admin_hooks hooks;
    struct loop *loop;
    struct inbox *inbox;
    struct port port;       /* orders to this room */
    struct port from_spool; /* answers */
    struct port from_disk;  /* waits_told */
    struct port from_log;   /* log_rotated */
    struct port from_nets;  /* struct lines */
    uv_pipe_t listener;
    struct access_rules access;
    char *path;         /* of the socket */
    struct peer *peers; /* utlist */
    unsigned n_peers, outstanding, n_tracing;
    struct mono begun;
    struct rates rates;
    struct deadline note_at; /* the next of rates */
    struct deadline beat_at; /* of explain_beat, while somebody waits */
    struct deadline look_at; /* of waits_look, while a change is asked */
    bool watching;           /* … or its question is out */
    bool started, stopping;
};

/* peer.c */
void peer_accept(struct admin *a);
void peer_close(struct peer *p);
/* It reads nothing more. (Who has only said that it asks for nothing more still reads.) */
bool peer_has_gone(const struct peer *p);
/* Its memory goes when the pipe is closed and nothing of its is out. */
void peer_free_if_over(struct peer *p);
size_t peer_unsent(const struct peer *p);
void peer_flush(struct peer *p);
/* Each ends the line; done and error end the task. value is taken. */
void peer_row(struct peer *p, json_t *value);
void peer_row_recipient(struct peer *p, const struct queue_row *r);
/* Goes out at once. */
void peer_progress(struct peer *p, json_t *value);
void peer_done(struct peer *p, json_t *value);
void peer_error(struct peer *p, const char *code, const char *message);
/* ... that the message asked for is not in the queue. */
void peer_no_message(struct peer *p);

/* task.c */
void task_begin(struct peer *p, struct request *r); /* takes what r holds */
void task_answered(struct peer *p, struct msg *m);  /* owns m */
void task_lines(void *admin, struct msg *m);        /* struct lines; owns m */
/* The spooler is asked the next page. */
void task_next_page(struct peer *p);
void task_drop_page(struct task *t);
/* There is room again. */
void task_go_on(struct peer *p);
void task_end(struct task *t);
/* Once in PROGRESS_MS: a client that has heard nothing for long would take us for dead. Not to one
 * that does not read: what it is told would pile up here. */
bool task_owes_progress(struct peer *p);

/* admin.c: after an answer of the spooler's */
void admin_stop_if_over(struct admin *a);

/* status.c */
/* Counters for the rates, now and every RATES_STEP_MS. */
void status_note(void *admin, struct mono now);
/* What `status` warns of; the caller's. */
json_t *status_warnings(const struct admin *a, const struct spooler_admin *page);
json_t *status_done(const struct admin *a, const struct spooler_admin *page);
void status_disk(json_t *list, const struct spooler_disk *disk);

/* content.c: queue.cat, once the message was found, and the contents of queue.export */
void content_begin(struct peer *p, uint64_t size);
void content_answered(struct peer *p, struct spooler_read *r);
void content_go_on(struct peer *p);

/* export.c */
void export_begin(struct peer *p);
void export_answered(struct peer *p, struct spooler_export *x);
void export_go_on(struct peer *p);
/* One message's content ended: "whole", or why not. */
void export_content_over(struct peer *p, const char *how);

/* check.c */
void check_begin(struct peer *p);
void check_answered(struct peer *p, struct spooler_check *q);
void check_go_on(struct peer *p);
/* The check goes no further: the spooler is told. */
void check_drop(struct peer *p);

/* log.c: log.rotate, answered when the file has ended */
void log_rotate_begin(struct peer *p);
void log_rotated(void *ctx, struct msg *m);

/* destinations.c: the spooler's page is here */
void destinations_go_on(struct peer *p);
/* What is suspended of a destination, or of a site ("": none), into the row. */
void destinations_put_suspension(const struct admin *a, json_t *o, struct slice destination,
                                 struct slice site);

/* explain.c: of a message, when the spooler's page is here; of an address at once */
void explain_go_on(struct peer *p);
void explain_address(struct peer *p);
void explain_lines(struct peer *p, struct lines *l); /* owns l */
void explain_drop(struct explaining *e);
void explain_stop(struct peer *p); /* it goes, and waits for nothing more */

/* trace.c */
void trace_begin(struct peer *p);
void trace_lines(struct peer *p, struct lines *l); /* owns l */
void trace_go_on(struct peer *p);                  /* there is room again */
void trace_end(struct peer *p);                    /* no more is wanted */
void trace_drop(struct tracing *t);

/* explain.c, for both: what waits for lines hears once in PROGRESS_MS that it is not forgotten; a
 * client that has gone shows by it. */
void explain_beat(void *admin, struct mono now);

/* waits.c: a change is asked of the spooler, and may wait for the disk */
void waits_begin(struct admin *a);
void waits_look(void *admin, struct mono now);
void waits_told(void *admin, struct msg *m); /* owns m */

/* clients.c */
void clients_go_on(struct peer *p);
void clients_ban_or_allow(struct peer *p);

/* suppress.c */
void suppress_go_on(struct peer *p);
void suppress_change(struct peer *p);

/* import.c: each verb of it is answered at once, or when the spooler has answered */
void import_step(struct peer *p);
void import_body_answered(struct peer *p, struct spooler_body *b);
void import_store_answered(struct peer *p, struct spooler_store *s);
void import_drop(struct peer *p);

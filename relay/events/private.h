/* What the files of this room share: the thread's state, and the lists an event goes through. */
#pragma once
#include "relay/base/must.h"
#include "relay/events/events.h"
#include "relay/events/line.h"
#include "relay/events/logfile.h"
#include "relay/events/tee.h"
#include "relay/loop/worker.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BATCH_BYTES = 1 << 20 };

struct pushed {
    struct msg msg;
    struct pushed *next;
    struct event event;
    size_t counted; /* against the memory that waiting events may take; 0: told again */
    uint8_t fields[];
};

struct list {
    struct pushed *first, *last;
};

struct events {
    char *node;
    struct events_conf conf; /* its texts are not used */
    struct line_style style;
    uint64_t memory; /* what pushed events may take */
    struct loop *loop;
    struct inbox *inbox;
    struct port port, keeper_port;
    struct deadline sync_at, retry_at, look_at, keep_at;
    struct logfile file;
    /* waiting: as pushed, in order, perhaps with gaps. again: what comes before all of it: events
     * told again by the spool, and those whose lines were lost. */
    struct list waiting, again, lined, unsynced;
    struct buf out, torn;
    size_t head;
    uint64_t last_seq;     /* of the last whole line, in this file or an older one */
    uint64_t next_seq;     /* of the next event that becomes a line */
    uint64_t vouched;      /* what is not here and not above it is nowhere */
    bool asked;            /* the spool, for a gap */
    bool ask_later;        /* it had trouble: not before the next look */
    bool fresh;            /* the file is empty: log_opened is due */
    bool service;          /* the first line of out is no event's */
    bool spoiled;          /* the file must be set aside before anything more is written */
    bool dirty;            /* written since the last sync */
    atomic_bool trouble;   /* told, and waiting for retry_at */
    atomic_bool full;      /* less room than min_free */
    bool rotate_refused;   /* told; tried again later */
    unsigned failed_syncs; /* in a row */
    bool reopen, rotate, stopping, started;
    struct rotation *rotations; /* to be answered */
    struct mono next_sync;
    struct tee *tee;
    struct worker *keeper;
    bool keeping; /* a job is out */
    atomic_bool keeper_stop;

    /* Each has one writer: the pusher, or this thread. */
    _Atomic uint64_t written_seq, pushed_seq, left_out_seq;
    _Atomic uint64_t taken_bytes, given_bytes; /* pushed; freed */
    bool leaving_out;                          /* the pusher's */

    pthread_mutex_t spool_lock; /* guards spool, and the calls themselves */
    struct events_spool spool;
    atomic_bool asks; /* there is, or was, somebody to ask */
};

static inline void list_add(struct list *l, struct pushed *p)
{
    p->next = NULL;
    if (l->last)
        l->last->next = p;
    else
        l->first = p;
    l->last = p;
}

static inline struct pushed *list_take(struct list *l)
{
    struct pushed *p = l->first;
    l->first = p->next;
    if (!l->first)
        l->last = NULL;
    return p;
}

/* All of `a` comes before what is in l. */
static inline void list_prepend(struct list *l, struct list *a)
{
    if (!a->first)
        return;
    a->last->next = l->first;
    if (!l->last)
        l->last = a->last;
    l->first = a->first;
    *a = (struct list){0};
}

/* order.c: which event is the next line's. */
void pushed_free(struct events *ev, struct pushed *p);
void list_free(struct events *ev, struct list *l);
/* Bytes of pushed events that are not freed yet; any thread. */
uint64_t order_held(const struct events *ev);
/* The next one, borrowed; NULL: none is here. */
struct pushed *order_next(struct events *ev);
/* Takes what order_next gave. */
struct pushed *order_take(struct events *ev);
/* Lines were not written, or were lost: their events come first again. */
void order_back(struct events *ev, struct list *l);
/* Asks the spool for what is missing, when there is a gap and nobody has been asked. */
void order_ask(struct events *ev);
void order_answered(struct events *ev, uint64_t through);

/* writer.c */
int writer_open(struct events *ev, struct err *e);
/* Writes what can be written; arms sync_at or retry_at. */
void writer_flush(struct events *ev);
/* False: it failed, and the lines will be written again to another file. */
bool writer_sync(struct events *ev);
/* As events_rotate says; everything pushed before has been flushed. */
void writer_rotate(struct events *ev);

/* keeper.c: the files set aside, in a patient thread. */
void keeper_init(struct events *ev);
void keeper_begin(struct events *ev);
/* Looks at them now, or when the job that is out has ended. */
void keeper_soon(struct events *ev);
void keeper_end(struct events *ev);
/* Frees a message that was never handled. */
void keeper_drop(struct msg *m);

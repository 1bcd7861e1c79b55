/* What the files of this room share: the thread's state, and the lists an event goes through. */
#pragma once
#include "relay/events/events.h"
#include "relay/events/line.h"
#include "relay/events/logfile.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BATCH_BYTES = 1 << 20 };

struct pushed {
    struct msg msg;
    struct pushed *next;
    struct event event;
    uint8_t fields[];
};

struct list {
    struct pushed *first, *last;
};

struct events {
    char *node;
    uint64_t rotate_bytes;
    int64_t keep_s;
    struct loop *loop;
    struct inbox *inbox;
    struct port port;
    struct deadline sync_at, retry_at, sweep_at;
    struct logfile file;
    struct list waiting, lined, unsynced;
    struct buf out, torn;
    size_t head;
    uint64_t last_seq;     /* of the last whole line, in this file or an older one */
    bool fresh;            /* the file is empty: log_opened is due */
    bool service;          /* the first line of out is no event's */
    bool spoiled;          /* the file must be set aside before anything more is written */
    bool dirty;            /* written since the last sync */
    atomic_bool trouble;   /* told, and waiting for retry_at */
    bool rotate_refused;   /* told; tried again with the next sweep */
    unsigned failed_syncs; /* in a row */
    bool reopen, stopping, started;
    struct mono next_sync;
    _Atomic uint64_t written_seq, pushed_seq;
    pthread_mutex_t kept_lock; /* guards kept, kept_ctx, and the call itself */
    void (*kept)(void *ctx, uint64_t seq);
    void *kept_ctx;
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

static inline void list_free(struct list *l)
{
    while (l->first)
        free(list_take(l));
}

/* writer.c */
int writer_open(struct events *ev, struct err *e);
/* Writes what can be written; arms sync_at or retry_at. */
void writer_flush(struct events *ev);
/* False: it failed, and the lines will be written again to another file. */
bool writer_sync(struct events *ev);
void writer_sweep(struct events *ev);

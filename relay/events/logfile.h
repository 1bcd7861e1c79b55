/*
 * The files of the delivery log: the live one, which keeps its name, and those it has become. Bytes
 * are only ever appended; a file ends by being renamed, never by being shortened. All calls block;
 * owner: the events thread (or whoever opens, before it runs).
 *
 *   delivery.jsonl ──rotate──▶ delivery-20260102T030405Z-SEQ.jsonl        SEQ: the last event in it
 *                  ──spoiled─▶ delivery-20260102T030405Z-SEQ-torn.jsonl   its last line is torn and
 * cannot be completed, or a sync failed
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/events/names.h"

struct logfile {
    char *path;
    struct names names; /* of those that it becomes */
    int fd;             /* -1: none is open */
    bool regular;       /* false: a pipe or a device, which has no tail and no rotation */
    uint64_t size;
    char id[33];       /* file_id of its first line; "" = unknown */
    struct wall began; /* when its first line was written; not known: when it was opened */
    uint64_t before;   /* the last event before it; UINT64_MAX: unknown */
};

/* Makes the folder (with parents). */
int logfile_init(struct logfile *f, const char *path, struct err *e);
void logfile_done(struct logfile *f);

/* Opens the live file, made when missing; *ret_made: it was, or is empty. Its last whole line that
 * tells a number gives *ret_seq (untouched when there is none). Bytes behind the last line feed go
 * to torn; *ret_spoiled: they are too many for a line. */
struct logfile_tail {
    bool empty, has_seq, spoiled;
    uint64_t seq;
    struct buf torn;
};
void logfile_tail_done(struct logfile_tail *t);
int logfile_open(struct logfile *f, struct logfile_tail *ret, struct err *e);
void logfile_close(struct logfile *f);
/* One write(2); *ret_n: how many bytes went, perhaps fewer than asked. */
int logfile_append(struct logfile *f, struct slice s, size_t *ret_n, struct err *e);
int logfile_sync(struct logfile *f, struct err *e);
/* The name no longer leads to the open file: somebody has moved it away. */
bool logfile_moved(const struct logfile *f);
/* Gives the live file its name for good; it stays open. Never replaces a file. */
int logfile_set_aside(struct logfile *f, struct wall now, uint64_t last_seq, bool torn,
                      struct err *e);

/* The last number in the set-aside file with the highest one; false: there is none. */
bool logfile_newest_seq(const struct logfile *f, uint64_t *ret);
/* Room on its disk: octets, and files; false: not known. */
bool logfile_room(const struct logfile *f, uint64_t *ret_bytes, uint64_t *ret_files);

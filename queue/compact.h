/*
 * A step of compaction: records of one segment, to be read by a helper (compact_read.c) and copied
 * forward by the owner (compact.c). Private to queue/.
 */
#pragma once
#include "queue/task.h"

enum { COPY_STEP_MESSAGES = 32 };

enum copy_found {
    COPY_NOTHING,    /* not read: trouble, later again */
    COPY_UNREADABLE, /* the disk said EIO: tried again some times before it counts as damage */
    COPY_GOOD,
    COPY_BODY_BAD, /* goes with the sum it had: reading the copy says that it is damaged */
    COPY_LOST /* its record is damaged; the bytes are in quarantine if they could be put there */
};

struct copy_item {
    uint64_t id, at;
    uint32_t n;
    /* what the helper found */
    enum copy_found found;
    uint8_t *bytes;
    struct message_record record; /* borrows from bytes */
    struct body *body;
};

struct copy_task {
    struct spool_task task;
    const struct file_ops *fs;
    uint32_t salt;
    struct segment *segment; /* pinned */
    bool last_try;           /* what is unreadable now counts as damage */
    struct copy_item items[COPY_STEP_MESSAGES];
    size_t n;
};

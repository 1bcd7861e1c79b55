/*
 * One message on its way into a Maildir: written to tmp/ as it arrives, then synced, moved to new/,
 * and the folder synced. Calls block; begin, add and abandon on one thread, finish on any (one at a
 * time).
 *
 * In front of the content: Return-Path: <sender>; Delivered-To: for one recipient, one
 * X-Envelope-To: each for several. All lines end in CR LF, the content is what was received, byte
 * for byte.
 */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/err.h"

/* Makes DIR with tmp, new and cur. */
int maildir_make(const char *path, struct err *e);

struct filing {
    int fd;
    char *tmp, *path; /* in tmp/, in new/ */
    uint64_t size;    /* of the content */
};
/* host: a host name; it becomes part of the file's. */
int filing_begin(struct filing **ret, const char *maildir, const char *host, struct slice sender,
                 const struct slice *rcpts, size_t n_rcpts, struct err *e);
int filing_add(struct filing *f, struct slice piece, struct err *e);
/* 0: the message and its name in new/ are durable. On failure it is gone. f lives on for its path
 * and size. */
int filing_finish(struct filing *f, const char *maildir, struct err *e);
/* Frees; a message that is not finished is removed. NULL is fine. */
void filing_free(struct filing *f);

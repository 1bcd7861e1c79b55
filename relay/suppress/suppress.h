/*
 * The suppression list: recipients that are not to be sent to, because they bounced for good or an
 * operator said so. Shared by the loops (find), the spooler's thread (events) and the admin thread
 * (operators) behind its own lock; no call but suppress_sync and the walks waits for the disk. What
 * has been synced outlives a power cut; what was not is counted again from the spool's events.
 *
 * The file is SPOOL/suppress/list; README.md has its format, its crash points and the bounds.
 */
#pragma once
#include "queue/event.h"
#include "queue/file.h"
#include "relay/base/err.h"
#include "relay/suppress/list.h"

struct suppress;
/* Reads the file in this folder, makes it when there is none; `fs` outlives the list. 0, or a
 * negative errno with e filled. *ret_damaged: lines that could not be read and were left out. */
int suppress_new(struct suppress **ret, const struct file_ops *fs, const struct suppress_policy *p,
                 size_t *ret_damaged, struct err *e);
/* Writes what is left. After all who call it. NULL is allowed. */
void suppress_free(struct suppress *s);
void suppress_set_policy(struct suppress *s, const struct suppress_policy *p);

/* The newest event that the file knows of: later ones are to be told again after a start. */
uint64_t suppress_seen(struct suppress *s);
/* A durable event, in order (one thread at a time): hard bounces of bad_mailbox and bad_domain
 * count, a delivery forgives what was counted. */
void suppress_event(struct suppress *s, const struct event *e);

/* May be called with a NULL list, on which there is nobody. Any thread. */
bool suppress_find(struct suppress *s, struct slice user, struct slice address,
                   struct suppress_found *ret);

/* What a client is told of it: one line of ASCII (RFC 5321 section 4.2). */
#define SUPPRESS_WORDS_SIZE (SUPPRESS_REASON_MAX + 80)
void suppress_words(const struct suppress_found *f, char ret_text[SUPPRESS_WORDS_SIZE]);

/* Operators. In memory at once; durable with the suppress_sync that follows. An address, or
 * "@domain"; `since` 0: now. 1: done; 0: it was so already; -ENOSPC: the list is full; -EINVAL: too
 * long, or a control character in it. */
int suppress_add(struct suppress *s, struct slice user, struct slice address, struct slice reason,
                 enum suppress_source source, struct wall since);
int suppress_remove(struct suppress *s, struct slice user, struct slice address);
/* All that was changed before is durable. 0, or the disk's error: it is tried again. Blocks. */
int suppress_sync(struct suppress *s, struct err *e);

struct suppress_name { /* one row, copied */
    char user[SUPPRESS_USER_MAX + 1], address[SUPPRESS_ADDRESS_MAX + 1],
        reason[SUPPRESS_REASON_MAX + 1];
    struct wall since;
    enum suppress_source source;
};
/* At most max rows at *at (0: the beginning) and behind, which is moved on; one call looks at 1,000
 * places. False: that was all. */
bool suppress_page(struct suppress *s, size_t *at, struct suppress_name *rows, size_t max,
                   size_t *ret_n);
size_t suppress_count(struct suppress *s);

/*
 * Housekeeping on a helper: what the kinds of task have in common (spool.h has the calls). Each
 * kind is a row of `kinds` in task.c and embeds struct spool_task first. Private to queue/.
 *
 * take: owner; NULL when there is nothing of this kind to do now. It looks at a few numbers only,
 * because it is asked often. run: helper; touches the task and the disk, never the spool. end:
 * owner; frees the task; true: there is more to do.
 */
#pragma once
#include "queue/spool_private.h"

enum task_kind { TASK_SWEEP, TASK_COPY, TASK_FOOTER };

struct spool_task {
    enum task_kind kind;
};

/* sweep.c */
struct spool_task *sweep_take(struct spool *s);
void sweep_run(struct spool_task *task);
bool sweep_end(struct spool *s, struct spool_task *task);
/* The file of a segment that is no more part of the log: owned from now on. */
void sweep_add(struct spool *s, struct segment *g);

/* compact.c */
struct spool_task *copy_take(struct spool *s);
void copy_run(struct spool_task *task);
bool copy_end(struct spool *s, struct spool_task *task);

/* footer_task.c */
struct spool_task *footer_take(struct spool *s);
void footer_run(struct spool_task *task);
bool footer_end(struct spool *s, struct spool_task *task);

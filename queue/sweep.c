/* Housekeeping: files that the log needs no more leave the disk. Removing a large one keeps the
 * file system's own log busy (20 ms for 64 MiB on ext4), and what is synced meanwhile waits for it:
 * so it is not done between two batches, and a segment goes piece by piece. */
#include "queue/task.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { SWEEP_BODIES = 64, SWEEP_STEP = 1024 * 1024 };

struct sweep_task {
    struct spool_task task;
    const struct file_ops *fs;
    struct segment *segment; /* of the litter; NULL: none */
    bool segment_left;       /* it could not be removed */
    uint64_t bodies[SWEEP_BODIES];
    size_t n_bodies; /* when it has run: those that are still there */
};

struct spool_task *sweep_take(struct spool *s)
{
    bool litter = s->litter && !s->sweep_failed;
    if (!litter && !s->unlinks.n)
        return NULL;
    struct sweep_task *t = must_alloc(sizeof *t);
    t->fs = s->fs;
    t->segment = litter ? s->litter : NULL;
    t->n_bodies = s->unlinks.n < SWEEP_BODIES ? s->unlinks.n : SWEEP_BODIES;
    s->unlinks.n -= t->n_bodies;
    if (t->n_bodies)
        memcpy(t->bodies, s->unlinks.at + s->unlinks.n, t->n_bodies * sizeof *t->bodies);
    return &t->task;
}

/* Nobody has a segment open that was freed; a body file may still be read, and goes as a whole. */
static void shorten(const struct file_ops *fs, const char *name)
{
    int fd = fs->open(fs->ctx, name, O_RDWR, 0);
    if (fd < 0)
        return;
    int64_t size = fs->size(fs->ctx, fd);
    for (int64_t at = (size - 1) / SWEEP_STEP * SWEEP_STEP; at > 0; at -= SWEEP_STEP)
        fs->truncate(fs->ctx, fd, (uint64_t)at);
    fs->close(fs->ctx, fd);
}

static bool remove_file(const struct file_ops *fs, const char *name)
{
    int rc = fs->unlink(fs->ctx, name);
    return rc >= 0 || rc == -ENOENT;
}

void sweep_run(struct spool_task *task)
{
    struct sweep_task *t = (struct sweep_task *)(void *)task;
    char name[SEGMENT_NAME_SIZE];
    size_t left = 0;
    for (size_t i = 0; i < t->n_bodies; i++) {
        spool_body_name(name, t->bodies[i]);
        if (!remove_file(t->fs, name))
            t->bodies[left++] = t->bodies[i];
    }
    t->n_bodies = left;
    if (!t->segment)
        return;
    segment_name(name, "free", t->segment->number);
    if (t->segment->size > SWEEP_STEP)
        shorten(t->fs, name);
    t->segment_left = !remove_file(t->fs, name);
}

bool sweep_end(struct spool *s, struct spool_task *task)
{
    struct sweep_task *t = (struct sweep_task *)(void *)task;
    for (size_t i = 0; i < t->n_bodies; i++) /* later: not at once, again and again */
        id_list_add(&s->doubtful, t->bodies[i]);
    if (t->segment)
        s->sweep_failed = t->segment_left;
    if (t->segment && !t->segment_left) {
        DL_DELETE(s->litter, t->segment);
        s->litter_bytes -= t->segment->size;
        free(t->segment);
    }
    free(t);
    return true;
}

void sweep_add(struct spool *s, struct segment *g)
{
    DL_APPEND(s->litter, g);
    s->litter_bytes += g->size;
    s->sweep_failed = false;
}

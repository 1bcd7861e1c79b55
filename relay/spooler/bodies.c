#include "relay/spooler/bodies.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdlib.h>

#define HASH_FUNCTION(key, length, ret_hash)                                                       \
    ((ret_hash) = (unsigned)slice_hash(slice_of((key), (length))))
#include <uthash.h>

struct entry {
    UT_hash_handle hh;
    uint64_t id;
    struct spool_body_file *file;
};

struct bodies {
    const struct file_ops *fs;
    struct entry *entries;
};

struct bodies *bodies_new(const struct file_ops *fs)
{
    struct bodies *b = must_alloc(sizeof *b);
    b->fs = fs;
    return b;
}

void bodies_free(struct bodies *b)
{
    struct entry *e, *next;
    if (!b)
        return;
    HASH_ITER (hh, b->entries, e, next) {
        spool_body_abandon(e->file);
        HASH_DEL(b->entries, e);
        free(e);
    }
    free(b);
}

static void forget(struct bodies *b, struct entry *e)
{
    HASH_DEL(b->entries, e);
    free(e);
}

static int create(struct bodies *b, uint64_t id, struct entry **ret)
{
    struct spool_body_file *file;
    int rc = spool_body_create(b->fs, id, &file);
    if (rc < 0)
        return rc;
    struct entry *e = must_alloc(sizeof *e);
    e->id = id;
    e->file = file;
    HASH_ADD(hh, b->entries, id, sizeof e->id, e);
    *ret = e;
    return 0;
}

static int write_piece(struct bodies *b, struct entry *e, const struct spooler_body *step)
{
    int rc = e ? 0 : create(b, step->id, &e);
    if (rc < 0)
        return rc;
    rc = spool_body_write(e->file, buf_slice(&step->bytes));
    if (rc < 0) {
        spool_body_abandon(e->file);
        forget(b, e);
    }
    return rc;
}

static int finish(struct bodies *b, struct entry *e, const struct spooler_body *step)
{
    int rc = step->bytes.n ? spool_body_patch(e->file, step->at, buf_slice(&step->bytes)) : 0;
    if (rc < 0)
        spool_body_abandon(e->file);
    else
        rc = spool_body_finish(e->file);
    forget(b, e);
    return rc;
}

void bodies_step(struct bodies *b, struct spooler_body *step)
{
    struct entry *e;
    HASH_FIND(hh, b->entries, &step->id, sizeof step->id, e);
    step->error = 0;
    switch (step->step) {
    case SPOOLER_BODY_WRITE:
        step->error = write_piece(b, e, step);
        break;
    case SPOOLER_BODY_FINISH:
        step->error = e ? finish(b, e, step) : -ENOENT;
        break;
    case SPOOLER_BODY_ABANDON:
        if (e) {
            spool_body_abandon(e->file);
            forget(b, e);
        }
        break;
    }
    buf_done(&step->bytes);
}

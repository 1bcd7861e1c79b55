/* What a disk holds: contents by sectors and names by folders, each as it is now and as far as it
 * is synced. */
#include "relay/base/must.h"
#include "tests/sim/fake_disk_int.h"
#include <stdio.h>

/* --- inodes
 * -------------------------------------------------------------------------------------------------------------
 */

struct inode *inode_ref(struct inode *i)
{
    if (i)
        i->refs++;
    return i;
}

void inode_unref(struct inode *i)
{
    if (!i || --i->refs > 0)
        return;
    free(i->now);
    free(i->synced);
    free(i->dirty);
    free(i);
}

size_t inode_sectors(size_t n)
{
    return (n + SECTOR - 1) / SECTOR;
}

/* Makes the file n bytes long; what was never written reads as stale bytes of somebody else. */
void inode_grow(struct inode *i, size_t n, uint8_t fill)
{
    if (n <= i->n_now)
        return;
    if (n > i->cap) {
        size_t cap = n > 2 * i->cap ? n : 2 * i->cap;
        i->now = must_realloc(i->now, cap);
        i->synced = must_realloc(i->synced, cap);
        i->dirty = must_realloc(i->dirty, inode_sectors(cap));
        memset(i->synced + i->cap, fill, cap - i->cap);
        memset(i->dirty + inode_sectors(i->cap), 0, inode_sectors(cap) - inode_sectors(i->cap));
        i->cap = cap;
    }
    memset(i->now + i->n_now, fill, n - i->n_now);
    i->n_now = n;
}

void inode_shrink(struct inode *i, size_t n)
{
    size_t from = inode_sectors(n), to = inode_sectors(i->n_now);
    i->n_now = n;
    if (to > from)
        memset(i->dirty + from, 0, to - from);
}

void inode_write(struct inode *i, const void *p, size_t n, uint64_t offset)
{
    if (n == 0)
        return;
    inode_grow(i, (size_t)offset + n, 0);
    memcpy(i->now + offset, p, n);
    memset(i->dirty + offset / SECTOR, 1,
           inode_sectors((size_t)offset + n) - (size_t)offset / SECTOR);
}

void inode_sector_sync(struct inode *i, size_t sector)
{
    size_t at = sector * SECTOR, n = i->n_now - at < SECTOR ? i->n_now - at : SECTOR;
    memcpy(i->synced + at, i->now + at, n);
    i->dirty[sector] = 0;
}

void inode_sync(struct inode *i)
{
    for (size_t s = 0; s < inode_sectors(i->n_now); s++)
        if (i->dirty[s])
            inode_sector_sync(i, s);
    /* Sectors that were allocated and never written are what they are. */
    i->n_synced = i->n_now;
}

void inode_lose(struct fake_disk *d, struct inode *i, enum fake_loss loss)
{
    bool grown = i->n_now > i->n_synced;
    bool keep_size = !grown || (loss == FAKE_LOSE_SOME && rng_below(&d->rng, 2));
    uint64_t odds = rng_below(&d->rng, 5);
    for (size_t s = 0; s < inode_sectors(i->n_now); s++) {
        bool survives = loss == FAKE_LOSE_SOME && rng_below(&d->rng, 4) < odds;
        if (i->dirty[s] && survives)
            inode_sector_sync(i, s);
        i->dirty[s] = 0;
    }
    if (keep_size)
        i->n_synced = i->n_now;
    i->n_now = i->n_synced;
    if (i->n_now)
        memcpy(i->now, i->synced, i->n_now);
}

/* --- names
 * --------------------------------------------------------------------------------------------------------------
 */

struct name *names_find(struct names *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->at[i].path, path) == 0)
            return &l->at[i];
    return NULL;
}

void name_set(char to[NAME_MAX_BYTES], const char *path)
{
    snprintf(to, NAME_MAX_BYTES, "%s", path);
}

static void name_remove(struct names *l, const char *path)
{
    struct name *n = names_find(l, path);
    if (!n)
        return;
    inode_unref(n->inode);
    *n = l->at[--l->n];
}

void names_add(struct names *l, const char *path, struct inode *i)
{
    inode_ref(i);
    name_remove(l, path);
    l->at = must_realloc(l->at, (l->n + 1) * sizeof *l->at);
    name_set(l->at[l->n].path, path);
    l->at[l->n++].inode = i;
}

static void op_apply(struct names *l, const struct name_op *op)
{
    switch (op->what) {
    case OP_ADD:
        names_add(l, op->path, op->inode);
        break;
    case OP_RENAME:
        names_add(l, op->to, op->inode);
        name_remove(l, op->path);
        break;
    case OP_REMOVE:
        name_remove(l, op->path);
        break;
    }
}

void names_do(struct fake_disk *d, int what, const char *path, const char *to, struct inode *i)
{
    struct name_op op = {.inode = inode_ref(i)};
    op.what = (__typeof__(op.what))what;
    name_set(op.path, path);
    name_set(op.to, to);
    op_apply(&d->now, &op);
    d->journal = must_realloc(d->journal, (d->n_journal + 1) * sizeof *d->journal);
    d->journal[d->n_journal++] = op;
}

bool name_in_folder(const char *path, const char *folder)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(folder, ".") == 0)
        return !slash;
    return slash && (size_t)(slash - path) == strlen(folder) &&
           strncmp(path, folder, strlen(folder)) == 0;
}

/* The first `n` unsynced operations of a folder become durable (SIZE_MAX: all). */
void names_sync(struct fake_disk *d, const char *folder, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_journal; i++) {
        struct name_op op = d->journal[i];
        bool here = name_in_folder(op.path, folder) ||
                    (op.what == OP_RENAME && name_in_folder(op.to, folder));
        if (here && n > 0) {
            op_apply(&d->synced, &op);
            inode_unref(op.inode);
            n--;
        } else {
            d->journal[kept++] = op;
        }
    }
    d->n_journal = kept;
}

void names_done(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        inode_unref(l->at[i].inode);
    free(l->at);
    *l = (struct names){0};
}

void names_forget(struct fake_disk *d)
{
    for (size_t i = 0; i < d->n_journal; i++)
        inode_unref(d->journal[i].inode);
    d->n_journal = 0;
}

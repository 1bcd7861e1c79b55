#include "tests/sim/fake_disk.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, FDS_MAX = 256, NAME_MAX_BYTES = 160, STALE = 0xdb };

/* A file's content, now and as far as it is synced. `dirty` has a byte for each sector. */
struct inode {
    uint8_t *now, *synced, *dirty;
    size_t n_now, n_synced, cap;
    unsigned refs; /* names (now or synced) and open files */
    bool locked;
};

struct name {
    char path[NAME_MAX_BYTES];
    struct inode *inode; /* NULL: a folder */
};

struct names {
    struct name *at;
    size_t n;
};

/* An operation on names that its folder has not synced. */
struct name_op {
    enum { OP_ADD, OP_RENAME, OP_REMOVE } what;
    char path[NAME_MAX_BYTES], to[NAME_MAX_BYTES];
    struct inode *inode;
};

struct fake_disk {
    struct file_ops ops;
    struct names now, synced;
    struct name_op *journal;
    size_t n_journal;
    struct {
        struct inode *inode;
        char path[NAME_MAX_BYTES];
        bool lock;
    } fds[FDS_MAX];
    struct rng rng;
    uint64_t steps, fail_at, fail_from, cut_at;
    int fail_error, fail_from_error;
    unsigned fail_only;
    int64_t room;
    bool cut, count_reads;
    char last[400];
};

/* --- inodes
 * -------------------------------------------------------------------------------------------------------------
 */

static struct inode *inode_ref(struct inode *i)
{
    if (i)
        i->refs++;
    return i;
}

static void inode_unref(struct inode *i)
{
    if (!i || --i->refs > 0)
        return;
    free(i->now);
    free(i->synced);
    free(i->dirty);
    free(i);
}

static size_t sectors(size_t n)
{
    return (n + SECTOR - 1) / SECTOR;
}

/* Makes the file n bytes long; what was never written reads as stale bytes of somebody else. */
static void inode_grow(struct inode *i, size_t n, uint8_t fill)
{
    if (n <= i->n_now)
        return;
    if (n > i->cap) {
        size_t cap = n > 2 * i->cap ? n : 2 * i->cap;
        i->now = must_realloc(i->now, cap);
        i->synced = must_realloc(i->synced, cap);
        i->dirty = must_realloc(i->dirty, sectors(cap));
        memset(i->synced + i->cap, fill, cap - i->cap);
        memset(i->dirty + sectors(i->cap), 0, sectors(cap) - sectors(i->cap));
        i->cap = cap;
    }
    memset(i->now + i->n_now, fill, n - i->n_now);
    i->n_now = n;
}

static void inode_write(struct inode *i, const void *p, size_t n, uint64_t offset)
{
    if (n == 0)
        return;
    inode_grow(i, (size_t)offset + n, 0);
    memcpy(i->now + offset, p, n);
    memset(i->dirty + offset / SECTOR, 1, sectors((size_t)offset + n) - (size_t)offset / SECTOR);
}

static void sector_sync(struct inode *i, size_t sector)
{
    size_t at = sector * SECTOR, n = i->n_now - at < SECTOR ? i->n_now - at : SECTOR;
    memcpy(i->synced + at, i->now + at, n);
    i->dirty[sector] = 0;
}

static void inode_sync(struct inode *i)
{
    for (size_t s = 0; s < sectors(i->n_now); s++)
        if (i->dirty[s])
            sector_sync(i, s);
    /* Sectors that were allocated and never written are what they are. */
    if (i->n_now > i->n_synced)
        i->n_synced = i->n_now;
}

static void inode_lose(struct fake_disk *d, struct inode *i, enum fake_loss loss)
{
    bool grown = i->n_now > i->n_synced;
    bool keep_size = !grown || (loss == FAKE_LOSE_SOME && rng_below(&d->rng, 2));
    uint64_t odds = rng_below(&d->rng, 5);
    for (size_t s = 0; s < sectors(i->n_now); s++) {
        bool survives = loss == FAKE_LOSE_SOME && rng_below(&d->rng, 4) < odds;
        if (i->dirty[s] && survives)
            sector_sync(i, s);
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

static struct name *name_find(struct names *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->at[i].path, path) == 0)
            return &l->at[i];
    return NULL;
}

static void name_set(char to[NAME_MAX_BYTES], const char *path)
{
    snprintf(to, NAME_MAX_BYTES, "%s", path);
}

static void name_remove(struct names *l, const char *path)
{
    struct name *n = name_find(l, path);
    if (!n)
        return;
    inode_unref(n->inode);
    *n = l->at[--l->n];
}

static void name_add(struct names *l, const char *path, struct inode *i)
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
        name_add(l, op->path, op->inode);
        break;
    case OP_RENAME:
        name_add(l, op->to, op->inode);
        name_remove(l, op->path);
        break;
    case OP_REMOVE:
        name_remove(l, op->path);
        break;
    }
}

static void op_do(struct fake_disk *d, int what, const char *path, const char *to, struct inode *i)
{
    struct name_op op = {.inode = inode_ref(i)};
    op.what = (__typeof__(op.what))what;
    name_set(op.path, path);
    name_set(op.to, to);
    op_apply(&d->now, &op);
    d->journal = must_realloc(d->journal, (d->n_journal + 1) * sizeof *d->journal);
    d->journal[d->n_journal++] = op;
}

static bool in_folder(const char *path, const char *folder)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(folder, ".") == 0)
        return !slash;
    return slash && (size_t)(slash - path) == strlen(folder) &&
           strncmp(path, folder, strlen(folder)) == 0;
}

/* The first `n` unsynced operations of a folder become durable (SIZE_MAX: all). */
static void folder_sync(struct fake_disk *d, const char *folder, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_journal; i++) {
        struct name_op op = d->journal[i];
        bool here =
            in_folder(op.path, folder) || (op.what == OP_RENAME && in_folder(op.to, folder));
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

/* --- faults
 * -------------------------------------------------------------------------------------------------------------
 */

/* 0: go on. A negative errno: the operation fails. 1: it is the last one before the cut. */
static int step(struct fake_disk *d, enum fake_op op, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int step(struct fake_disk *d, enum fake_op op, const char *fmt, ...)
{
    if (d->cut)
        return -EIO;
    if (op == FAKE_PREAD && !d->count_reads)
        return 0;
    d->steps++;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->last, sizeof d->last, fmt, ap);
    va_end(ap);
    if (d->cut_at && d->steps >= d->cut_at) {
        d->cut = true;
        return 1;
    }
    if (d->fail_only && !(d->fail_only & (unsigned)op))
        return 0;
    if (d->fail_at == d->steps)
        return d->fail_error;
    return d->fail_from && d->steps >= d->fail_from ? d->fail_from_error : 0;
}

static struct inode *inode_of(struct fake_disk *d, int fd)
{
    MUST(fd >= 0 && fd < FDS_MAX && d->fds[fd].inode);
    return d->fds[fd].inode;
}

static int fd_new(struct fake_disk *d, struct inode *i, const char *path)
{
    for (int fd = 3; fd < FDS_MAX; fd++) {
        if (d->fds[fd].inode)
            continue;
        d->fds[fd].inode = inode_ref(i);
        d->fds[fd].lock = false;
        name_set(d->fds[fd].path, path);
        return fd;
    }
    return -EMFILE;
}

/* --- the table
 * ----------------------------------------------------------------------------------------------------------
 */

static int fake_open(void *ctx, const char *path, int flags, mode_t mode)
{
    struct fake_disk *d = ctx;
    (void)mode;
    struct name *n = name_find(&d->now, path);
    bool makes = !n && (flags & O_CREAT);
    int rc = step(d, makes ? FAKE_OPEN : FAKE_PREAD, "open %s", path);
    if (rc < 0)
        return rc;
    if (!n && !makes)
        return -ENOENT;
    if (n && (flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    if (n && !n->inode)
        return -EISDIR;
    if (makes)
        op_do(d, OP_ADD, path, "", must_alloc(sizeof(struct inode)));
    if (rc > 0)
        return -EIO;
    return fd_new(d, name_find(&d->now, path)->inode, path);
}

static int fake_close(void *ctx, int fd)
{
    struct fake_disk *d = ctx;
    struct inode *i = inode_of(d, fd);
    if (d->fds[fd].lock)
        i->locked = false;
    d->fds[fd].inode = NULL;
    inode_unref(i);
    return 0;
}

static ssize_t fake_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    struct fake_disk *d = ctx;
    struct inode *i = inode_of(d, fd);
    int rc =
        step(d, FAKE_PREAD, "pread %s %llu+%zu", d->fds[fd].path, (unsigned long long)offset, n);
    if (rc != 0)
        return rc < 0 ? rc : -EIO;
    if (offset >= i->n_now)
        return 0;
    size_t got = i->n_now - (size_t)offset < n ? i->n_now - (size_t)offset : n;
    memcpy(p, i->now + offset, got);
    return (ssize_t)got;
}

static int take_room(struct fake_disk *d, const struct inode *i, uint64_t size)
{
    uint64_t more = size > i->n_now ? size - i->n_now : 0;
    if (d->room < 0 || more == 0)
        return 0;
    if (more > (uint64_t)d->room)
        return -ENOSPC;
    d->room -= (int64_t)more;
    return 0;
}

static ssize_t fake_pwrite(void *ctx, int fd, const void *p, size_t n, uint64_t offset)
{
    struct fake_disk *d = ctx;
    struct inode *i = inode_of(d, fd);
    int rc =
        step(d, FAKE_PWRITE, "pwrite %s %llu+%zu", d->fds[fd].path, (unsigned long long)offset, n);
    if (d->cut && rc < 0)
        return rc;
    if (rc < 0) {
        inode_write(i, p, (size_t)rng_below(&d->rng, n + 1), offset);
        return rc;
    }
    int full = take_room(d, i, offset + n);
    if (full < 0)
        return full;
    inode_write(i, p, n, offset);
    return rc > 0 ? -EIO : (ssize_t)n;
}

static int fake_fdatasync(void *ctx, int fd)
{
    struct fake_disk *d = ctx;
    struct inode *i = inode_of(d, fd);
    int rc = step(d, FAKE_SYNC, "fdatasync %s", d->fds[fd].path);
    if (rc == 0) {
        inode_sync(i);
    } else if (rc < 0 && !d->cut) {
        /* As Linux does it: some pages reached the disk, and all are called clean. */
        for (size_t s = 0; s < sectors(i->n_now); s++)
            if (i->dirty[s] && rng_below(&d->rng, 2))
                sector_sync(i, s);
        memset(i->dirty, 0, i->cap ? sectors(i->cap) : 0);
    }
    return rc > 0 ? -EIO : rc;
}

static int fake_fsync_dir(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    int rc = step(d, FAKE_SYNC_DIR, "fsync_dir %s", path);
    if (rc == 0)
        folder_sync(d, path, SIZE_MAX);
    return rc > 0 ? -EIO : rc;
}

static int fake_allocate(void *ctx, int fd, uint64_t bytes)
{
    struct fake_disk *d = ctx;
    struct inode *i = inode_of(d, fd);
    int rc = step(d, FAKE_ALLOCATE, "allocate %s %llu", d->fds[fd].path, (unsigned long long)bytes);
    if (rc < 0)
        return rc;
    int full = take_room(d, i, bytes);
    if (full < 0)
        return full;
    inode_grow(i, (size_t)bytes, STALE);
    return rc > 0 ? -EIO : 0;
}

static int64_t fake_size(void *ctx, int fd)
{
    return (int64_t)inode_of(ctx, fd)->n_now;
}

static int fake_rename(void *ctx, const char *from, const char *to)
{
    struct fake_disk *d = ctx;
    int rc = step(d, FAKE_RENAME, "rename %s %s", from, to);
    if (rc < 0)
        return rc;
    struct name *n = name_find(&d->now, from);
    if (!n)
        return -ENOENT;
    op_do(d, OP_RENAME, from, to, n->inode);
    return rc > 0 ? -EIO : 0;
}

static int fake_unlink(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    int rc = step(d, FAKE_UNLINK, "unlink %s", path);
    if (rc < 0)
        return rc;
    struct name *n = name_find(&d->now, path);
    if (!n)
        return -ENOENT;
    if (d->room >= 0 && n->inode)
        d->room += (int64_t)n->inode->n_now;
    op_do(d, OP_REMOVE, path, "", n->inode);
    return rc > 0 ? -EIO : 0;
}

static int fake_mkdir(void *ctx, const char *path, mode_t mode)
{
    struct fake_disk *d = ctx;
    (void)mode;
    if (name_find(&d->now, path) || strcmp(path, ".") == 0)
        return -EEXIST;
    int rc = step(d, FAKE_MKDIR, "mkdir %s", path);
    if (rc < 0)
        return rc;
    op_do(d, OP_ADD, path, "", NULL);
    return rc > 0 ? -EIO : 0;
}

static int fake_list(void *ctx, const char *path, void (*each)(void *each_ctx, const char *name),
                     void *each_ctx)
{
    struct fake_disk *d = ctx;
    if (strcmp(path, ".") != 0 && !name_find(&d->now, path))
        return -ENOENT;
    for (size_t i = 0; i < d->now.n; i++) {
        const char *slash = strrchr(d->now.at[i].path, '/');
        if (in_folder(d->now.at[i].path, path))
            each(each_ctx, slash ? slash + 1 : d->now.at[i].path);
    }
    return 0;
}

static int fake_lock(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    struct name *n = name_find(&d->now, path);
    if (n && n->inode->locked)
        return -EWOULDBLOCK;
    int fd = fake_open(ctx, path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    d->fds[fd].inode->locked = true;
    d->fds[fd].lock = true;
    return fd;
}

static int64_t fake_free_bytes(void *ctx)
{
    struct fake_disk *d = ctx;
    return d->room < 0 ? INT64_MAX : d->room;
}

/* --- tests' side
 * --------------------------------------------------------------------------------------------------------
 */

struct fake_disk *fake_disk_new(uint64_t seed)
{
    struct fake_disk *d = must_alloc(sizeof *d);
    rng_seed(&d->rng, seed);
    d->room = -1;
    d->ops = (struct file_ops){.ctx = d,
                               .open = fake_open,
                               .close = fake_close,
                               .pread = fake_pread,
                               .pwrite = fake_pwrite,
                               .fdatasync = fake_fdatasync,
                               .fsync_dir = fake_fsync_dir,
                               .allocate = fake_allocate,
                               .size = fake_size,
                               .rename = fake_rename,
                               .unlink = fake_unlink,
                               .mkdir = fake_mkdir,
                               .list = fake_list,
                               .lock = fake_lock,
                               .free_bytes = fake_free_bytes};
    return d;
}

static void names_done(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        inode_unref(l->at[i].inode);
    free(l->at);
    *l = (struct names){0};
}

static void close_all(struct fake_disk *d)
{
    for (int fd = 0; fd < FDS_MAX; fd++) {
        inode_unref(d->fds[fd].inode);
        d->fds[fd].inode = NULL;
    }
}

static void journal_drop(struct fake_disk *d)
{
    for (size_t i = 0; i < d->n_journal; i++)
        inode_unref(d->journal[i].inode);
    d->n_journal = 0;
}

void fake_disk_free(struct fake_disk *d)
{
    if (!d)
        return;
    close_all(d);
    journal_drop(d);
    free(d->journal);
    names_done(&d->now);
    names_done(&d->synced);
    free(d);
}

const struct file_ops *fake_disk_ops(struct fake_disk *d)
{
    return &d->ops;
}

uint64_t fake_disk_steps(const struct fake_disk *d)
{
    return d->steps;
}

void fake_disk_count_reads(struct fake_disk *d, bool on)
{
    d->count_reads = on;
}

const char *fake_disk_last(const struct fake_disk *d)
{
    return d->last;
}

void fake_disk_fail_at(struct fake_disk *d, uint64_t at, int error)
{
    d->fail_at = at;
    d->fail_error = error;
}

void fake_disk_fail_from(struct fake_disk *d, uint64_t from, int error)
{
    d->fail_from = from;
    d->fail_from_error = error;
}

void fake_disk_fail_only(struct fake_disk *d, unsigned ops)
{
    d->fail_only = ops;
}

void fake_disk_set_room(struct fake_disk *d, int64_t bytes)
{
    d->room = bytes;
}

void fake_disk_cut_at(struct fake_disk *d, uint64_t at)
{
    d->cut_at = at;
}

bool fake_disk_is_cut(const struct fake_disk *d)
{
    return d->cut;
}

static const char *const folders[] = {".", "body", "quarantine"};

static void lose(struct fake_disk *d, enum fake_loss loss)
{
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        size_t keep = loss == FAKE_LOSE_ALL ? 0 : SIZE_MAX;
        if (loss == FAKE_LOSE_SOME)
            keep = (size_t)rng_below(&d->rng, d->n_journal + 1);
        folder_sync(d, folders[i], keep);
    }
    journal_drop(d);
    names_done(&d->now);
    for (size_t i = 0; i < d->synced.n; i++)
        name_add(&d->now, d->synced.at[i].path, d->synced.at[i].inode);
    for (size_t i = 0; i < d->now.n; i++)
        if (d->now.at[i].inode)
            inode_lose(d, d->now.at[i].inode, loss);
}

void fake_disk_power_on(struct fake_disk *d, enum fake_loss loss)
{
    for (int fd = 0; fd < FDS_MAX; fd++)
        if (d->fds[fd].inode && d->fds[fd].lock)
            d->fds[fd].inode->locked = false;
    close_all(d);
    if (loss != FAKE_LOSE_NONE)
        lose(d, loss);
    d->cut = false;
    d->cut_at = d->fail_at = d->fail_from = 0;
}

bool fake_disk_flip(struct fake_disk *d, const char *path, uint64_t offset, uint8_t mask)
{
    struct name *n = name_find(&d->now, path);
    if (!n || !n->inode || offset >= n->inode->n_now)
        return false;
    n->inode->now[offset] ^= mask;
    n->inode->synced[offset] ^= mask;
    return true;
}

bool fake_disk_truncate(struct fake_disk *d, const char *path, uint64_t size)
{
    struct name *n = name_find(&d->now, path);
    if (!n || !n->inode || size > n->inode->n_now)
        return false;
    n->inode->n_now = n->inode->n_synced = (size_t)size;
    return true;
}

int64_t fake_disk_file_size(const struct fake_disk *d, const char *path)
{
    for (size_t i = 0; i < d->now.n; i++)
        if (d->now.at[i].inode && strcmp(d->now.at[i].path, path) == 0)
            return (int64_t)d->now.at[i].inode->n_now;
    return -1;
}

size_t fake_disk_count(const struct fake_disk *d, const char *folder)
{
    size_t n = 0;
    for (size_t i = 0; i < d->now.n; i++)
        n += in_folder(d->now.at[i].path, folder);
    return n;
}

size_t fake_disk_open_fds(const struct fake_disk *d)
{
    size_t n = 0;
    for (int fd = 0; fd < FDS_MAX; fd++)
        n += d->fds[fd].inode != NULL;
    return n;
}

struct fake_disk *fake_disk_clone(const struct fake_disk *d)
{
    struct fake_disk *c = fake_disk_new(0);
    c->rng = d->rng;
    for (size_t i = 0; i < d->now.n; i++) {
        const struct inode *from = d->now.at[i].inode;
        struct inode *to = from ? must_alloc(sizeof *to) : NULL;
        if (from && from->n_now) {
            inode_write(to, from->now, from->n_now, 0);
            inode_sync(to);
        }
        name_add(&c->now, d->now.at[i].path, to);
        name_add(&c->synced, d->now.at[i].path, to);
    }
    return c;
}

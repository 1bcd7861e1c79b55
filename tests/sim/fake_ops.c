/* The table of system calls, and operations that fail or are the last. */
#include "relay/base/must.h"
#include "tests/sim/fake_disk_int.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

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
    struct name *n = names_find(&d->now, path);
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
    if (makes && d->files == 0)
        return -ENOSPC;
    if (makes && d->files > 0)
        d->files--;
    if (makes)
        names_do(d, OP_ADD, path, "", must_alloc(sizeof(struct inode)));
    if (rc > 0)
        return -EIO;
    return fd_new(d, names_find(&d->now, path)->inode, path);
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
    if (offset < d->unreadable.to && offset + n > d->unreadable.from &&
        strcmp(d->fds[fd].path, d->unreadable.path) == 0)
        return -EIO;
    if (offset >= i->n_now)
        return 0;
    size_t got = i->n_now - (size_t)offset < n ? i->n_now - (size_t)offset : n;
    memcpy(p, i->now + offset, got);
    d->bytes_read += got;
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
        for (size_t s = 0; s < inode_sectors(i->n_now); s++)
            if (i->dirty[s] && rng_below(&d->rng, 2))
                inode_sector_sync(i, s);
        memset(i->dirty, 0, i->cap ? inode_sectors(i->cap) : 0);
    }
    return rc > 0 ? -EIO : rc;
}

static int fake_fsync_dir(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    int rc = step(d, FAKE_SYNC_DIR, "fsync_dir %s", path);
    if (rc == 0)
        names_sync(d, path, SIZE_MAX);
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

static int fake_truncate(void *ctx, int fd, uint64_t bytes)
{
    struct fake_disk *d = ctx;
    struct inode *i = inode_of(d, fd);
    int rc = step(d, FAKE_ALLOCATE, "truncate %s %llu", d->fds[fd].path, (unsigned long long)bytes);
    if (rc < 0)
        return rc;
    MUST(bytes <= i->n_now);
    if (d->room >= 0)
        d->room += (int64_t)(i->n_now - bytes);
    inode_shrink(i, (size_t)bytes);
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
    struct name *n = names_find(&d->now, from);
    if (!n)
        return -ENOENT;
    names_do(d, OP_RENAME, from, to, n->inode);
    return rc > 0 ? -EIO : 0;
}

static int fake_unlink(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    int rc = step(d, FAKE_UNLINK, "unlink %s", path);
    if (rc < 0)
        return rc;
    struct name *n = names_find(&d->now, path);
    if (!n)
        return -ENOENT;
    if (d->files >= 0 && n->inode)
        d->files++;
    if (d->room >= 0 && n->inode)
        d->room += (int64_t)n->inode->n_now;
    names_do(d, OP_REMOVE, path, "", n->inode);
    return rc > 0 ? -EIO : 0;
}

static int fake_mkdir(void *ctx, const char *path, mode_t mode)
{
    struct fake_disk *d = ctx;
    (void)mode;
    if (names_find(&d->now, path) || strcmp(path, ".") == 0)
        return -EEXIST;
    int rc = step(d, FAKE_MKDIR, "mkdir %s", path);
    if (rc < 0)
        return rc;
    names_do(d, OP_ADD, path, "", NULL);
    return rc > 0 ? -EIO : 0;
}

static int fake_list(void *ctx, const char *path, void (*each)(void *each_ctx, const char *name),
                     void *each_ctx)
{
    struct fake_disk *d = ctx;
    if (strcmp(path, ".") != 0 && !names_find(&d->now, path))
        return -ENOENT;
    for (size_t i = 0; i < d->now.n; i++) {
        const char *slash = strrchr(d->now.at[i].path, '/');
        if (name_in_folder(d->now.at[i].path, path))
            each(each_ctx, slash ? slash + 1 : d->now.at[i].path);
    }
    return 0;
}

static int fake_lock(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    struct name *n = names_find(&d->now, path);
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

static int64_t fake_free_files(void *ctx)
{
    struct fake_disk *d = ctx;
    return d->files < 0 ? INT64_MAX : d->files;
}

void fake_ops_init(struct fake_disk *d)
{
    d->ops = (struct file_ops){.ctx = d,
                               .open = fake_open,
                               .close = fake_close,
                               .pread = fake_pread,
                               .pwrite = fake_pwrite,
                               .fdatasync = fake_fdatasync,
                               .fsync_dir = fake_fsync_dir,
                               .allocate = fake_allocate,
                               .truncate = fake_truncate,
                               .size = fake_size,
                               .rename = fake_rename,
                               .unlink = fake_unlink,
                               .mkdir = fake_mkdir,
                               .list = fake_list,
                               .lock = fake_lock,
                               .free_bytes = fake_free_bytes,
                               .free_files = fake_free_files};
}

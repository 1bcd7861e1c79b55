#include "queue/file.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct posix {
    struct file_ops ops; /* first: file_posix_free gets this pointer */
    int root;
};

static int root_of(void *ctx)
{
    return ((struct posix *)ctx)->root;
}

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int posix_open(void *ctx, const char *path, int flags, mode_t mode)
{
    int fd;
    do {
        fd = openat(root_of(ctx), path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    } while (fd < 0 && errno == EINTR);
    return result(fd);
}

static int posix_close(void *ctx, int fd)
{
    (void)ctx;
    return result(close(fd));
}

static ssize_t posix_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset)
{
    (void)ctx;
    size_t got = 0;
    while (got < n) {
        ssize_t rc = pread(fd, (char *)p + got, n - got, (off_t)(offset + got));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return -errno;
        if (rc == 0)
            break;
        got += (size_t)rc;
    }
    return (ssize_t)got;
}

static ssize_t posix_pwrite(void *ctx, int fd, const void *p, size_t n, uint64_t offset)
{
    (void)ctx;
    size_t put = 0;
    while (put < n) {
        ssize_t rc = pwrite(fd, (const char *)p + put, n - put, (off_t)(offset + put));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return rc < 0 ? -errno : -EIO;
        put += (size_t)rc;
    }
    return (ssize_t)put;
}

/* Not repeated after EINTR or any other failure: the kernel may have forgotten which pages were
 * dirty. */
static int posix_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    return result(fdatasync(fd));
}

static int posix_fsync_dir(void *ctx, const char *path)
{
    int fd = posix_open(ctx, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int rc = result(fsync(fd));
    close(fd);
    return rc;
}

static int posix_allocate(void *ctx, int fd, uint64_t bytes)
{
    (void)ctx;
    int rc;
    do {
        rc = fallocate(fd, 0, 0, (off_t)bytes);
    } while (rc < 0 && errno == EINTR);
    if (rc == 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
        return result(rc);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    return (uint64_t)st.st_size >= bytes ? 0 : result(ftruncate(fd, (off_t)bytes));
}

static int posix_truncate(void *ctx, int fd, uint64_t bytes)
{
    (void)ctx;
    return result(ftruncate(fd, (off_t)bytes));
}

static int64_t posix_size(void *ctx, int fd)
{
    (void)ctx;
    struct stat st;
    return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static int posix_rename(void *ctx, const char *from, const char *to)
{
    return result(renameat(root_of(ctx), from, root_of(ctx), to));
}

static int posix_unlink(void *ctx, const char *path)
{
    return result(unlinkat(root_of(ctx), path, 0));
}

static int posix_mkdir(void *ctx, const char *path, mode_t mode)
{
    return result(mkdirat(root_of(ctx), path, mode));
}

static int posix_list(void *ctx, const char *path, void (*each)(void *each_ctx, const char *name),
                      void *each_ctx)
{
    int fd = posix_open(ctx, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    errno = 0;
    for (struct dirent *e; (e = readdir(dir)); errno = 0)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            each(each_ctx, e->d_name);
    int rc = -errno;
    closedir(dir);
    return rc;
}

/* flock belongs to the open file: it goes with the process however that ends, and a pid used again
 * means nothing to it. */
static int posix_lock(void *ctx, const char *path)
{
    int fd = posix_open(ctx, path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int64_t posix_free_bytes(void *ctx)
{
    struct statvfs st;
    if (fstatvfs(root_of(ctx), &st) < 0)
        return -errno;
    return (int64_t)st.f_bavail * (int64_t)st.f_frsize;
}

static int64_t posix_free_files(void *ctx)
{
    struct statvfs st;
    if (fstatvfs(root_of(ctx), &st) < 0)
        return -errno;
    /* A file system that makes inodes as they are needed counts none. */
    return st.f_files == 0 ? INT64_MAX : (int64_t)st.f_favail;
}

struct file_ops *file_posix_new(const char *root, int *ret_errno)
{
    int fd = -1;
    if (mkdir(root, 0700) == 0 || errno == EEXIST)
        fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        *ret_errno = errno;
        return NULL;
    }
    struct posix *p = must_alloc(sizeof *p);
    p->root = fd;
    p->ops = (struct file_ops){.ctx = p,
                               .open = posix_open,
                               .close = posix_close,
                               .pread = posix_pread,
                               .pwrite = posix_pwrite,
                               .fdatasync = posix_fdatasync,
                               .fsync_dir = posix_fsync_dir,
                               .allocate = posix_allocate,
                               .truncate = posix_truncate,
                               .size = posix_size,
                               .rename = posix_rename,
                               .unlink = posix_unlink,
                               .mkdir = posix_mkdir,
                               .list = posix_list,
                               .lock = posix_lock,
                               .free_bytes = posix_free_bytes,
                               .free_files = posix_free_files};
    return &p->ops;
}

void file_posix_free(struct file_ops *ops)
{
    if (!ops)
        return;
    struct posix *p = ops->ctx;
    close(p->root);
    free(p);
}

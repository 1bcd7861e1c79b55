/*
 * Every system call of the spool, behind one table: the real one (file_posix) and a fake disk that
 * forgets what was not synced, fails on demand and records each step (tests/sim, unit tests). Calls
 * return >= 0, or a negative errno. All block: only helpers call the writing ones.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct file_ops {
    void *ctx;
    /* flags: O_RDONLY, O_RDWR, O_CREAT, O_EXCL. Paths are relative to the spool folder. */
    int (*open)(void *ctx, const char *path, int flags, mode_t mode);
    int (*close)(void *ctx, int fd);
    ssize_t (*pread)(void *ctx, int fd, void *p, size_t n,
                     uint64_t offset); /* short only at the end of the file */
    ssize_t (*pwrite)(void *ctx, int fd, const void *p, size_t n,
                      uint64_t offset); /* whole, or an error */
    int (*fdatasync)(void *ctx, int fd);
    int (*fsync_dir)(void *ctx, const char *path); /* "." or a folder */
    int (*allocate)(
        void *ctx, int fd,
        uint64_t bytes); /* room for so many bytes; contents undefined where never written */
    int (*truncate)(void *ctx, int fd, uint64_t bytes); /* makes it shorter */
    int64_t (*size)(void *ctx, int fd);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*mkdir)(void *ctx, const char *path, mode_t mode);
    /* Calls each(name) for every entry; no order. */
    int (*list)(void *ctx, const char *path, void (*each)(void *each_ctx, const char *name),
                void *each_ctx);
    int (*lock)(void *ctx, const char *path); /* exclusive, non-blocking: fd, or -EWOULDBLOCK */
    int64_t (*free_bytes)(void *ctx);
    int64_t (*free_files)(void *ctx); /* how many more can be made; INT64_MAX: no such limit */
};

/* The real file system below `root`, which is made when missing. NULL: *ret_errno (positive) says
 * why. Free with file_posix_free. */
struct file_ops *file_posix_new(const char *root, int *ret_errno);
void file_posix_free(struct file_ops *ops);

/* Damaged stretches are copied to quarantine/, for people to look at. */
#include "queue/segment.h"
#include "queue/spool_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 4096, NAMES_MAX = 10 };

/* Blocks that cannot be read stand as zeros: there is no more to save. */
static int read_block(const struct file_ops *fs, int fd, uint8_t *block, size_t n, uint64_t at)
{
    ssize_t got = fs->pread(fs->ctx, fd, block, n, at);
    if (got != -EIO)
        return (int)got;
    memset(block, 0, n);
    return (int)n;
}

/* 0: the stretch stands there now; -EEXIST: something else does. What an interrupted copy left is
 * completed, and what is there already stays. */
static int copy_stretch(const struct file_ops *fs, int from_fd, int to_fd, uint64_t from,
                        uint64_t to)
{
    uint8_t block[BLOCK], there[BLOCK];
    ssize_t rc = 0;
    for (uint64_t at = from, n; at < to && rc >= 0; at += n) {
        n = BLOCK - at % BLOCK < to - at ? BLOCK - at % BLOCK : to - at;
        int got = read_block(fs, from_fd, block, (size_t)n, at);
        if (got <= 0)
            return got;
        rc = fs->pread(fs->ctx, to_fd, there, (size_t)got, at - from);
        if (rc > 0 && memcmp(there, block, (size_t)rc) != 0)
            return -EEXIST;
        if (rc >= 0 && rc < got)
            rc = fs->pwrite(fs->ctx, to_fd, block, (size_t)got, at - from);
    }
    return rc < 0 ? (int)rc : 0;
}

static int copy_to(const struct file_ops *fs, const char *name, int from_fd, uint64_t from,
                   uint64_t to)
{
    int fd = fs->open(fs->ctx, name, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    int rc = copy_stretch(fs, from_fd, fd, from, to);
    if (rc >= 0)
        rc = fs->fdatasync(fs->ctx, fd);
    fs->close(fs->ctx, fd);
    return rc;
}

/* The same damage found again has its copy already. A file that is there may have been cut short by
 * a crash, or be another stretch that begins here: its content decides, not its name. */
int spool_quarantine(const struct file_ops *fs, uint32_t segment, uint64_t from, uint64_t to)
{
    char seg[SEGMENT_NAME_SIZE], name[2 * SEGMENT_NAME_SIZE];
    segment_name(seg, "seg", segment);
    int n = snprintf(name, sizeof name, "quarantine/%s-%08llx", seg, (unsigned long long)from);
    int fd = fs->open(fs->ctx, seg, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int rc = copy_to(fs, name, fd, from, to);
    for (int i = 1; i < NAMES_MAX && rc == -EEXIST; i++) {
        snprintf(name + n, sizeof name - (size_t)n, "-%d", i);
        rc = copy_to(fs, name, fd, from, to);
    }
    fs->close(fs->ctx, fd);
    return rc < 0 ? rc : fs->fsync_dir(fs->ctx, "quarantine");
}

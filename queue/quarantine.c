/* Damaged stretches are copied to quarantine/, for people to look at. */
#include "queue/segment.h"
#include "queue/spool_private.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 4096 };

static int copy_stretch(const struct file_ops *fs, int from_fd, int to_fd, uint64_t from,
                        uint64_t to)
{
    uint8_t *block = must_alloc(BLOCK);
    int rc = 0;
    for (uint64_t at = from, n; at < to && rc >= 0; at += n) {
        n = BLOCK - at % BLOCK < to - at ? BLOCK - at % BLOCK : to - at;
        ssize_t got = fs->pread(fs->ctx, from_fd, block, (size_t)n, at);
        if (got == -EIO) { /* as zeros: there is no more to save */
            memset(block, 0, BLOCK);
            got = (ssize_t)n;
        }
        rc = got < 0 ? (int)got : 0;
        if (got > 0)
            rc = (int)fs->pwrite(fs->ctx, to_fd, block, (size_t)got, at - from);
    }
    free(block);
    return rc < 0 ? rc : fs->fdatasync(fs->ctx, to_fd);
}

/* The same damage found again at the next opening has its copy already. */
int spool_quarantine(const struct file_ops *fs, uint32_t segment, uint64_t from, uint64_t to)
{
    char seg[SEGMENT_NAME_SIZE], name[2 * SEGMENT_NAME_SIZE];
    segment_name(seg, "seg", segment);
    snprintf(name, sizeof name, "quarantine/%s-%08llx", seg, (unsigned long long)from);
    int to_fd = fs->open(fs->ctx, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (to_fd < 0)
        return to_fd == -EEXIST ? 0 : to_fd;
    int from_fd = fs->open(fs->ctx, seg, O_RDONLY, 0);
    int rc = from_fd < 0 ? from_fd : copy_stretch(fs, from_fd, to_fd, from, to);
    if (from_fd >= 0)
        fs->close(fs->ctx, from_fd);
    fs->close(fs->ctx, to_fd);
    if (rc >= 0)
        rc = fs->fsync_dir(fs->ctx, "quarantine");
    if (rc < 0)
        fs->unlink(fs->ctx, name);
    return rc;
}

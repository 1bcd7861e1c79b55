/* Group commit, the helper's part: write, sync, make and free segments. Nothing else touches the
 * batch meanwhile. */
#include "queue/spool_private.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>

/* A batch of one message, most often; so much is written ahead of such. */
enum { SMALL_BYTES = 8192, AHEAD_BYTES = 128 * 1024 };

static int fail(struct spool_batch *b, int code, const char *what)
{
    b->error = code;
    b->what = what;
    return code;
}

static void write_record(uint8_t *to, const struct pending *p, const struct chunk *c)
{
    size_t body_n = p->body ? p->body->n : 0;
    uint8_t *head = to + RECORD_HEADER_SIZE, *body = head + p->head_n;
    memcpy(head, p->head, p->head_n);
    if (body_n)
        memcpy(body, p->body->bytes, body_n);
    if (p->type == RECORD_MESSAGE && !p->copy)
        put_u32(head + RECORD_BODY_CRC_AT, crc32c(0, body, body_n));
    struct record_header h = {.length = (uint32_t)(p->head_n + body_n),
                              .head = p->head_n,
                              .segment = c->segment->number,
                              .batch = (uint32_t)c->offset,
                              .type = p->type,
                              .number = p->record_number,
                              .head_crc = crc32c(c->header.salt, head, p->head_n)};
    record_header_write(to, &h, c->header.salt);
    size_t used = RECORD_HEADER_SIZE + p->head_n + body_n;
    memset(to + used, 0, (size_t)record_size(p->head_n + body_n) - used);
}

/* The chunk as it will lie on disk, in one piece: headers (of a new segment), records, zeros to the
 * end of the sector. */
static struct slice assemble(struct spool_batch *b, const struct chunk *c)
{
    size_t front = c->make ? SEGMENT_DATA : 0;
    size_t n = front + (size_t)segment_sector_up(c->n);
    buf_reset(&b->bytes);
    uint8_t *to = buf_reserve(&b->bytes, n);
    MUST(to);
    if (c->make)
        segment_header_write(to, &c->header);
    for (struct pending *p = c->records.first; p; p = p->next) {
        write_record(to + front + (p->offset - c->offset), p, c);
        if (p->type == RECORD_MESSAGE) /* the owner wants to know the sum */
            memcpy(p->head, to + front + (p->offset - c->offset) + RECORD_HEADER_SIZE, 4);
    }
    memset(to + front + c->n, 0, n - front - (size_t)c->n);
    buf_commit(&b->bytes, n);
    return buf_slice(&b->bytes);
}

/* A file for a new segment under a free- name: the spare when there is one, else a new one. Returns
 * its fd. A spare that cannot be opened now (descriptors have run out) stays one. */
static int take_file(struct spool_batch *b, const struct chunk *c, char name[SEGMENT_NAME_SIZE])
{
    const struct file_ops *fs = b->fs;
    uint32_t number = b->spare ? b->spare : c->segment->number;
    segment_name(name, "free", number);
    int fd = fs->open(fs->ctx, name, b->spare ? O_RDWR : O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        b->no_spare = b->spare ? 0 : fd;
        b->spare = fd == -ENOENT ? 0 : b->spare;
        return fail(b, fd, "making a segment file");
    }
    bool enough = b->spare && b->spare_bytes >= c->segment->size;
    c->segment->written_to = b->spare_worn ? c->segment->size : 0;
    b->spare = 0;
    b->spare_bytes = 0;
    b->spare_worn = false;
    int rc = enough ? 0 : fs->allocate(fs->ctx, fd, c->segment->size);
    if (rc < 0) {
        b->no_spare = rc;
        fs->close(fs->ctx, fd);
        fs->unlink(fs->ctx, name);
        return fail(b, rc, "allocating a segment");
    }
    return fd;
}

static int write_and_sync(struct spool_batch *b, int fd, struct slice bytes, uint64_t offset)
{
    ssize_t n = b->fs->pwrite(b->fs->ctx, fd, bytes.p, bytes.n, offset);
    if (n < 0)
        return fail(b, (int)n, "writing to the spool");
    int rc = b->fs->fdatasync(b->fs->ctx, fd);
    return rc < 0 ? fail(b, rc, "syncing the spool") : 0;
}

static int make_segment(struct spool_batch *b, struct chunk *c)
{
    const struct file_ops *fs = b->fs;
    char from[SEGMENT_NAME_SIZE], to[SEGMENT_NAME_SIZE];
    b->named = false;
    int fd = take_file(b, c, from);
    if (fd < 0)
        return fd;
    segment_name(to, "seg", c->segment->number);
    int rc = write_and_sync(b, fd, assemble(b, c), 0);
    b->named = rc >= 0;
    if (rc >= 0 && (rc = fs->rename(fs->ctx, from, to)) < 0)
        fail(b, rc, "naming a segment");
    if (rc >= 0 && (rc = fs->fsync_dir(fs->ctx, ".")) < 0)
        fail(b, rc, "syncing the spool folder");
    if (rc < 0) {
        /* Its pages are not to be trusted. Should the name survive a crash, no later header will
         * own it. */
        fs->close(fs->ctx, fd);
        fs->unlink(fs->ctx, from);
        fs->unlink(fs->ctx, to);
        return rc;
    }
    c->segment->fd = fd;
    return 0;
}

/* Not being able to make one now is no failure: the owner sees to it that what is left of the open
 * segment is kept for done-marks, and that it is tried again. */
static void make_spare(struct spool_batch *b)
{
    const struct file_ops *fs = b->fs;
    char name[SEGMENT_NAME_SIZE];
    if (b->spare || !b->want_spare)
        return;
    segment_name(name, "free", b->spare_number);
    int fd = fs->open(fs->ctx, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    b->no_spare = fd < 0 ? fd : 0;
    if (fd < 0)
        return;
    int rc = fs->allocate(fs->ctx, fd, b->segment_bytes);
    fs->close(fs->ctx, fd);
    if (rc < 0) {
        b->no_spare = rc;
        fs->unlink(fs->ctx, name);
        return;
    }
    b->spare = b->spare_number;
    b->spare_bytes = b->segment_bytes;
}

/* The file of a freed segment as a spare: of the usual size, whatever was written behind its log.
 */
static bool recycle_file(struct spool_batch *b, const struct segment *g, const char *name)
{
    const struct file_ops *fs = b->fs;
    int rc = 0;
    if (g->size > b->segment_bytes) {
        int fd = fs->open(fs->ctx, name, O_RDWR, 0);
        rc = fd < 0 ? fd : fs->truncate(fs->ctx, fd, b->segment_bytes);
        if (fd >= 0)
            fs->close(fs->ctx, fd);
    }
    if (rc < 0)
        return false;
    b->spare = g->number;
    b->spare_bytes = b->segment_bytes;
    b->spare_worn = true;
    return true;
}

/* Strictly from the oldest end: the next name goes only when this one is gone for good. */
static void free_segment(struct spool_batch *b)
{
    const struct file_ops *fs = b->fs;
    const struct segment *g = b->free;
    char from[SEGMENT_NAME_SIZE], to[SEGMENT_NAME_SIZE];
    segment_name(from, "seg", g->number);
    segment_name(to, "free", g->number);
    int rc = fs->rename(fs->ctx, from, to);
    if (rc < 0 && rc != -ENOENT) /* gone: an earlier try had done it and failed at the folder */
        return;
    if (fs->fsync_dir(fs->ctx, ".") < 0)
        return;
    b->freed = true;
    b->recycled = rc >= 0 && !b->spare && g->size >= b->segment_bytes && recycle_file(b, g, to);
}

int spool_batch_write(struct spool_batch *b)
{
    for (; b->n_done < b->n_chunks; b->n_done++) {
        struct chunk *c = &b->chunks[b->n_done];
        int rc = c->make ? make_segment(b, c)
                         : write_and_sync(b, c->segment->fd, assemble(b, c), c->offset);
        if (rc < 0)
            break;
    }
    return b->error;
}

/* A sync of space that was allocated and never written makes the file system write its own records
 * too. Where one small batch follows the other that is a third of a client's wait: so zeros go
 * ahead of them, behind the log's end, now that everybody has been answered. They go to the disk
 * with the next batch. */
static void write_ahead(struct spool_batch *b)
{
    const struct chunk *c = b->n_chunks ? &b->chunks[b->n_chunks - 1] : NULL;
    if (!c || b->error < 0 || c->n > SMALL_BYTES)
        return;
    struct segment *g = c->segment;
    const uint64_t end = segment_sector_up(c->offset + c->n);
    if (g->written_to >= g->size || end + SMALL_BYTES <= g->written_to)
        return;
    const uint64_t from = g->written_to > end ? g->written_to : end;
    const uint64_t n = g->size - from < AHEAD_BYTES ? g->size - from : AHEAD_BYTES;
    buf_reset(&b->bytes);
    uint8_t *zeros = buf_reserve(&b->bytes, n);
    MUST(zeros);
    memset(zeros, 0, n);
    ssize_t rc = b->fs->pwrite(b->fs->ctx, g->fd, zeros, n, from);
    g->written_to = rc < 0 ? g->size : from + n; /* not tried again: the log goes on without */
}

/* Also after a failure: nothing on disk needs this any more, and its room may be what is missing.
 */
void spool_batch_tidy(struct spool_batch *b)
{
    if (b->free)
        free_segment(b);
    make_spare(b);
    write_ahead(b);
}

int spool_batch_run(struct spool_batch *b)
{
    spool_batch_write(b);
    spool_batch_tidy(b);
    return b->error;
}

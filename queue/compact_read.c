/* Compaction, the helper's part: whole records are read and checked; damage is set aside. */
#include "queue/compact.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

/* What cannot be read stands as zeros: it costs what lies in it and no more. */
static bool read_blocks(const struct copy_task *t, int fd, const struct copy_item *it)
{
    for (uint32_t done = 0, part; done < it->n; done += part) {
        part = BLOCK - (uint32_t)((it->at + done) % BLOCK);
        part = part < it->n - done ? part : it->n - done;
        ssize_t got = t->fs->pread(t->fs->ctx, fd, it->bytes + done, part, it->at + done);
        if (got < 0 && got != -EIO)
            return false;
        got = got < 0 ? 0 : got;
        memset(it->bytes + done + got, 0, part - (size_t)got);
    }
    return true;
}

/* False: trouble. */
static bool read_bytes(const struct copy_task *t, int fd, struct copy_item *it)
{
    it->bytes = malloc(it->n);
    MUST(it->bytes);
    ssize_t got = t->fs->pread(t->fs->ctx, fd, it->bytes, it->n, it->at);
    if (got == -EIO && t->last_try)
        return read_blocks(t, fd, it);
    if (got == -EIO)
        it->found = COPY_UNREADABLE;
    if (got >= 0) /* behind the end of a file cut short */
        memset(it->bytes + got, 0, it->n - (size_t)got);
    return got >= 0;
}

/* The record is the one that the index means, and its head is whole. */
static bool is_good(const struct copy_task *t, struct copy_item *it, struct record_header *ret)
{
    const uint8_t *head = it->bytes + RECORD_HEADER_SIZE;
    return record_header_read(it->bytes, t->salt, ret) && ret->type == RECORD_MESSAGE &&
           ret->segment == t->segment->number && record_size(ret->length) == it->n &&
           crc32c(t->salt, head, ret->head) == ret->head_crc &&
           message_record_read(slice_of(head, ret->head), &it->record) && it->record.id == it->id;
}

static void take_body(struct copy_item *it, const struct record_header *h)
{
    const uint8_t *body = it->bytes + RECORD_HEADER_SIZE + h->head;
    size_t n = h->length - h->head;
    if (n == 0)
        return;
    it->body = body_new(n);
    memcpy(it->body->bytes, body, n);
    if (crc32c(0, body, n) != it->record.body_crc)
        it->found = COPY_BODY_BAD;
}

/* Blocks that cannot be read are believed to be lost for good only by a disk that shows to be
 * alive: the copy in quarantine has been synced. A file that is gone leaves nothing to set aside.
 */
static void set_aside(const struct copy_task *t, struct copy_item *it)
{
    int rc = spool_quarantine(t->fs, t->segment->number, it->at, it->at + it->n);
    it->found = rc < 0 && t->last_try ? COPY_UNREADABLE : COPY_LOST;
}

static void read_item(const struct copy_task *t, int fd, struct copy_item *it)
{
    struct record_header h;
    if (!read_bytes(t, fd, it))
        return;
    it->found = COPY_GOOD;
    if (is_good(t, it, &h))
        take_body(it, &h);
    else
        set_aside(t, it);
}

void copy_run(struct spool_task *task)
{
    struct copy_task *t = (struct copy_task *)(void *)task;
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", t->segment->number);
    int fd = t->fs->open(t->fs->ctx, name, O_RDONLY, 0);
    for (size_t i = 0; i < t->n; i++) {
        if (fd >= 0)
            read_item(t, fd, &t->items[i]);
        else if (fd == -ENOENT) /* somebody removed it: what memory has is all there is */
            t->items[i].found = COPY_LOST;
    }
    if (fd >= 0)
        t->fs->close(t->fs->ctx, fd);
}

#include "queue/segment.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { WINDOW = 128 * 1024, BLOCK = 4096 };

int segment_reader_init(struct segment_reader *r, const struct file_ops *fs,
                        const struct segment_found *s, uint32_t salt)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", s->named);
    *r = (struct segment_reader){.fs = fs, .segment = s->number, .salt = salt, .at = SEGMENT_DATA};
    r->newest = s->end == UINT64_MAX;
    r->limit = s->end < s->size ? s->end : s->size;
    r->fd = fs->open(fs->ctx, name, O_RDONLY, 0);
    return r->fd < 0 ? r->fd : 0;
}

void segment_reader_done(struct segment_reader *r)
{
    if (r->fd >= 0)
        r->fs->close(r->fs->ctx, r->fd);
    free(r->window);
    r->window = NULL;
    r->fd = -1;
}

/* A block that cannot be read is damage like any other: it reads as zeros, so that it costs the
 * records in it and no more. */
static int window_by_blocks(struct segment_reader *r, size_t n)
{
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t part = n - done < BLOCK ? n - done : BLOCK;
        ssize_t got = r->fs->pread(r->fs->ctx, r->fd, r->window + done, part, r->window_at + done);
        if (got < 0 && got != -EIO)
            return (int)got;
        if (got < (ssize_t)part)
            memset(r->window + done + (got > 0 ? got : 0), 0, part - (size_t)(got > 0 ? got : 0));
    }
    return 0;
}

/* The n bytes at `offset`, borrowed until the next call; NULL behind the limit or at trouble
 * (r->error). */
static const uint8_t *bytes_at(struct segment_reader *r, uint64_t offset, size_t n)
{
    if (offset > r->limit || n > r->limit - offset)
        return NULL;
    if (offset >= r->window_at && offset + n <= r->window_at + r->window_n)
        return r->window + (offset - r->window_at);
    size_t want = n > WINDOW ? n : WINDOW;
    if (want > r->limit - offset)
        want = (size_t)(r->limit - offset);
    if (want > r->window_cap) {
        free(r->window);
        r->window = must_alloc(want);
        r->window_cap = want;
    }
    r->window_at = offset;
    r->window_n = 0;
    ssize_t got = r->fs->pread(r->fs->ctx, r->fd, r->window, want, offset);
    if (got == -EIO)
        r->error = window_by_blocks(r, want);
    else if (got < 0)
        r->error = (int)got;
    else
        memset(r->window + got, 0, want - (size_t)got);
    if (r->error < 0)
        return NULL;
    r->window_n = want;
    return r->window;
}

/* A header that is ours stands at `offset` and its record lies within the limit. */
static bool header_at(struct segment_reader *r, uint64_t offset, struct record_header *ret)
{
    const uint8_t *p = bytes_at(r, offset, RECORD_HEADER_SIZE);
    /* The cheap look first: this runs for every eighth byte of a damaged stretch. */
    if (!p || get_u32(p + 8) != r->segment || !record_header_read(p, r->salt, ret))
        return false;
    return ret->number > r->last_number && ret->length <= r->limit - offset - RECORD_HEADER_SIZE &&
           ret->batch <= offset;
}

/* The whole record, its head checked. */
static bool record_at(struct segment_reader *r, uint64_t offset, struct record *ret)
{
    struct record_header h;
    if (!header_at(r, offset, &h))
        return false;
    const uint8_t *head = bytes_at(r, offset + RECORD_HEADER_SIZE, h.head);
    if (!head || crc32c(r->salt, head, h.head) != h.head_crc)
        return false;
    *ret = (struct record){.header = h, .offset = offset, .head = slice_of(head, h.head)};
    return true;
}

static bool body_is_bad(struct segment_reader *r, struct record *rec)
{
    size_t n = rec->header.length - rec->header.head;
    struct message_record m;
    if (rec->header.type != RECORD_MESSAGE || n == 0 || !message_record_read(rec->head, &m))
        return false;
    const uint8_t *body = bytes_at(r, rec->offset + RECORD_HEADER_SIZE + rec->header.head, n);
    bool bad = !body || crc32c(0, body, n) != m.body_crc;
    /* The window has moved: the head is borrowed from it. */
    rec->head =
        slice_of(bytes_at(r, rec->offset + RECORD_HEADER_SIZE, rec->header.head), rec->header.head);
    return bad;
}

/* The next good record at or behind `from`. */
static bool find_record(struct segment_reader *r, uint64_t from, struct record *ret)
{
    for (uint64_t at = from; at + RECORD_HEADER_SIZE <= r->limit && r->error >= 0; at += 8)
        if (record_at(r, at, ret))
            return true;
    return false;
}

static bool all_zero(struct segment_reader *r, uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at < to; at += BLOCK) {
        size_t n = to - at < BLOCK ? (size_t)(to - at) : BLOCK;
        const uint8_t *p = bytes_at(r, at, n);
        for (size_t i = 0; p && i < n; i++)
            if (p[i])
                return false;
        if (!p)
            return false;
    }
    return true;
}

/* Where the blocks end that cannot be read: those in [from, to), and what follows them without a
 * gap; 0: all can be. */
static uint64_t unreadable_end(struct segment_reader *r, uint64_t from, uint64_t to)
{
    uint8_t block[BLOCK];
    uint64_t end = 0;
    for (uint64_t at = from - from % BLOCK; at < r->limit && (at < to || at == end); at += BLOCK)
        if (r->fs->pread(r->fs->ctx, r->fd, block, BLOCK, at) == -EIO)
            end = at + BLOCK;
    return end < r->limit ? end : r->limit;
}

/* In the newest segment: does a batch that began behind `offset` stand there? Then `offset` had
 * been synced before. What a power cut tears can be read: blocks of [offset, from) that cannot be
 * may have been durable. */
static bool is_proven(struct segment_reader *r, uint64_t offset, uint64_t from)
{
    if (!r->newest || unreadable_end(r, offset, from))
        return true;
    if (!r->proof_known) {
        uint64_t number = r->last_number;
        struct record rec;
        for (uint64_t at = from; find_record(r, at, &rec);
             at = rec.offset + record_size(rec.header.length)) {
            if (rec.header.batch > r->proof)
                r->proof = rec.header.batch;
            r->torn_to = rec.offset + record_size(rec.header.length);
            r->last_number = rec.header.number;
        }
        r->last_number = number;
        r->proof_known = true;
    }
    return r->proof > offset;
}

/* The log of the newest segment ends at r->at: how much of an unfinished batch stands behind? */
static void end_torn(struct segment_reader *r)
{
    uint64_t to = r->torn_to > r->at ? r->torn_to : r->at;
    const uint8_t *p = bytes_at(r, r->at, RECORD_HEADER_SIZE);
    if (p && get_u32(p + 8) == r->segment && to == r->at)
        to = r->at + RECORD_HEADER_SIZE;
    r->torn_bytes = to - r->at;
    if (r->torn_to <= r->at)
        r->torn_to = 0;
    r->limit = r->at;
}

/* Zeros before `from` may be padding. What is left behind them is less than a record: they are the
 * rest of it. */
static void tell_damage(struct segment_reader *r, uint64_t from, uint64_t to)
{
    if (to - from < RECORD_HEADER_SIZE)
        from = r->at;
    if (r->damage && to > from)
        r->damage(r->ctx, from, to);
}

static int end_at(struct segment_reader *r, uint64_t end)
{
    if (r->newest) {
        end_torn(r);
    } else {
        uint64_t from = segment_sector_up(r->at) < end ? segment_sector_up(r->at) : end;
        from = all_zero(r, r->at, from) ? from : r->at;
        if (from < end)
            tell_damage(r, from, end);
        r->at = end;
    }
    return r->error < 0 ? r->error : 0;
}

/* No good record stands behind the hole at `hole`; the record there, as far as it is known, goes up
 * to `to`. */
static int end_at_hole(struct segment_reader *r, uint64_t hole, uint64_t to)
{
    uint64_t lost = r->newest ? unreadable_end(r, hole, to) : 0;
    if (lost > hole) {
        tell_damage(r, hole, lost);
        r->at = lost;
    }
    return end_at(r, r->limit);
}

static int take(struct segment_reader *r, struct record *rec, struct record *ret)
{
    uint64_t next = rec->offset + record_size(rec->header.length);
    if ((r->newest || r->check_bodies) && body_is_bad(r, rec)) {
        if (r->error < 0)
            return r->error;
        uint64_t number = r->last_number;
        r->last_number = rec->header.number;
        bool proven = is_proven(r, rec->offset, next);
        r->last_number = number;
        if (!proven) {
            r->at = rec->offset;
            return end_at(r, r->limit);
        }
        rec->head = slice_of(bytes_at(r, rec->offset + RECORD_HEADER_SIZE, rec->header.head),
                             rec->header.head);
        rec->body_bad = true;
    }
    if (r->error < 0)
        return r->error;
    r->at = next;
    r->last_number = rec->header.number;
    *ret = *rec;
    return 1;
}

int segment_reader_next(struct segment_reader *r, struct record *ret)
{
    struct record rec;
    if (r->at >= r->limit)
        return 0;
    if (record_at(r, r->at, &rec))
        return take(r, &rec, ret);
    /* Behind the last record of a batch stand zeros up to the sector where the next one begins.
     * Or a record has become zeros: numbers have no gaps in a segment. */
    uint64_t hole = r->at, sector = segment_sector_up(r->at);
    if (r->error >= 0 && sector < r->limit && all_zero(r, hole, sector)) {
        hole = sector;
        if (record_at(r, hole, &rec) && rec.header.batch == hole) {
            if (r->last_number && rec.header.number > r->last_number + 1 &&
                sector - r->at >= RECORD_HEADER_SIZE)
                tell_damage(r, r->at, sector);
            return take(r, &rec, ret);
        }
    }
    /* A good header with a bad head says how far the damage goes. */
    uint64_t from = hole + 8;
    struct record_header h;
    if (header_at(r, hole, &h))
        from = hole + record_size(h.length);
    bool more = find_record(r, from, &rec);
    if (r->error >= 0 && !more)
        return end_at_hole(r, hole, from);
    if (r->error < 0 || !is_proven(r, hole, rec.offset))
        return r->error < 0 ? r->error : end_at(r, r->limit);
    tell_damage(r, hole, rec.offset);
    /* Once more, because looking around has moved the window. */
    if (!record_at(r, rec.offset, &rec))
        return r->error < 0 ? r->error : -EIO;
    return take(r, &rec, ret);
}

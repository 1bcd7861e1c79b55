/* spool check --repair: mending in place, after what is damaged has been copied to quarantine.
 * Interrupted anywhere, it can be done again. */
#include "queue/check.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { BLOCK = 4096 };

static int open_segment(const struct spool_check *c, const struct segment_found *f)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", f->named);
    return c->fs->open(c->fs->ctx, name, O_RDWR, 0);
}

static bool close_synced(const struct spool_check *c, int fd, bool ok)
{
    ok = ok && c->fs->fdatasync(c->fs->ctx, fd) >= 0;
    c->fs->close(c->fs->ctx, fd);
    return ok;
}

bool repair_header(struct spool_check *c, const struct segment_found *f, unsigned bad_copy)
{
    const struct file_ops *fs = c->fs;
    uint64_t bad = (uint64_t)bad_copy * SEGMENT_HEADER_BLOCK, good = SEGMENT_HEADER_BLOCK - bad;
    if (spool_quarantine(fs, f->named, bad, bad + SEGMENT_HEADER_BLOCK) < 0)
        return false;
    int fd = open_segment(c, f);
    if (fd < 0)
        return false;
    uint8_t block[SEGMENT_HEADER_BLOCK];
    bool ok = fs->pread(fs->ctx, fd, block, sizeof block, good) == (ssize_t)sizeof block &&
              fs->pwrite(fs->ctx, fd, block, sizeof block, bad) == (ssize_t)sizeof block;
    return close_synced(c, fd, ok);
}

/* --- a stretch without a good record
 * ---------------------------------------------------------------------------------------------- */

/* Zeros up to the sector where the next batch begins, and no record is missing between. */
static bool is_padding(const struct check_stretch *st)
{
    return st->to == segment_sector_up(st->from) &&
           (st->to - st->from < RECORD_HEADER_SIZE || st->before == st->after + 1);
}

static bool is_readable(const struct spool_check *c, int fd, const struct check_stretch *st)
{
    uint8_t block[BLOCK];
    for (uint64_t at = st->from; at < st->to; at += BLOCK)
        if (c->fs->pread(c->fs->ctx, fd, block, BLOCK, at) < 0)
            return false;
    return true;
}

static bool write_zeros(const struct spool_check *c, int fd, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[BLOCK];
    for (uint64_t at = from; at < to; at += BLOCK) {
        size_t n = to - at < BLOCK ? (size_t)(to - at) : BLOCK;
        if (c->fs->pwrite(c->fs->ctx, fd, zeros, n, at) < 0)
            return false;
    }
    return true;
}

static bool write_void(const struct spool_check *c, int fd, const struct segment_found *f,
                       const struct check_stretch *st)
{
    uint64_t number = st->after ? st->after : f->header_ok ? f->header.number_high : 0;
    uint64_t length = st->to - st->from - RECORD_HEADER_SIZE;
    if (number + 1 >= st->before || length > RECORD_LENGTH_MAX)
        return false;
    uint8_t header[RECORD_HEADER_SIZE];
    struct record_header h = {.length = (uint32_t)length,
                              .segment = f->number,
                              .batch = (uint32_t)st->from,
                              .type = RECORD_VOID,
                              .number = number + 1,
                              .head_crc = crc32c(c->salt, NULL, 0)};
    record_header_write(header, &h, c->salt);
    return c->fs->pwrite(c->fs->ctx, fd, header, sizeof header, st->from) >= 0;
}

bool repair_stretch(struct spool_check *c, const struct segment_found *f,
                    const struct check_stretch *st)
{
    bool padding = is_padding(st);
    if ((!padding && st->to - st->from < RECORD_HEADER_SIZE) ||
        spool_quarantine(c->fs, f->named, st->from, st->to) < 0)
        return false;
    int fd = open_segment(c, f);
    if (fd < 0)
        return false;
    /* What can be read stays as it is: only blocks that cannot, and the end of a file that was cut,
     * are made anew. */
    bool ok = true;
    if (padding || f->size < st->to || !is_readable(c, fd, st))
        ok = write_zeros(c, fd, st->from, st->to);
    if (ok && !padding)
        ok = write_void(c, fd, f, st);
    return close_synced(c, fd, ok);
}

/* --- the footer
 * ---------------------------------------------------------------------------------------------- */

bool repair_footer(struct spool_check *c, struct check_segment *cs)
{
    struct check_scan sc;
    struct buf whole = BUF_MAX(SIZE_MAX / 2);
    struct segment_found *f = &cs->found;
    if (f->cut_short && cs->found.size < f->end) { /* it has been filled up to its end */
        f->size = f->end;
        f->cut_short = false;
    }
    check_scan(c, cs, true, &sc);
    bool ok = sc.error >= 0 && !sc.damaged &&
              footer_builder_finish(sc.builder, f->number, c->salt, f->end, &whole) &&
              footer_write(c->fs, f->named, f->end, buf_slice(&whole)) >= 0;
    if (ok)
        cs->footer_to = footer_at(f->end) + whole.n;
    buf_done(&whole);
    check_scan_done(&sc);
    return ok;
}

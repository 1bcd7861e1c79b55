#include "relay/suppress/file.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define NAME "list"
#define NAME_NEW "list.new"
#define NAME_DAMAGED "list.damaged"
#define TITLE "postwain suppression "
#define VERSION "1"
#define PIECE_BYTES ((size_t)256 * 1024)

static size_t count_lines(struct slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    return n;
}

void suppress_file_close(struct suppress_file *f)
{
    if (f->fd >= 0)
        f->fs->close(f->fs->ctx, f->fd);
    f->fd = -1;
}

/* --- reading
 * -------------------------------------------------------------------------------------------- */

struct reading {
    struct suppress_list *list;
    struct buf rest; /* of a line that goes on in the next piece */
    uint64_t good;   /* octets up to the end of the last whole line */
    size_t lines, damaged;
    bool later; /* a format that we do not know */
};

static void read_line(struct reading *r, struct slice line)
{
    struct suppress_line l;
    if (r->lines++ == 0 && slice_starts(line, SLICE_LIT(TITLE)))
        r->later = !slice_eq(slice_skip(line, sizeof TITLE - 1), SLICE_LIT(VERSION));
    else if (suppress_line_read(line, &l))
        suppress_list_apply(r->list, &l);
    else
        r->damaged++;
}

/* A line that never ends is damage up to the next end. */
static void read_piece(struct reading *r, struct slice piece)
{
    while (piece.n) {
        const size_t n = slice_find(piece, '\n');
        const bool ends = n < piece.n;
        buf_add(&r->rest, slice_head(piece, n));
        piece = slice_skip(piece, n + 1);
        if (!ends)
            return;
        if (r->rest.overflow)
            r->damaged++, r->lines++;
        else
            read_line(r, buf_slice(&r->rest));
        buf_reset(&r->rest);
    }
}

static int read_all(struct suppress_file *f, struct reading *r)
{
    DEFER_FREE uint8_t *piece = must_alloc(PIECE_BYTES);
    for (f->end = 0;;) {
        const ssize_t n = f->fs->pread(f->fs->ctx, f->fd, piece, PIECE_BYTES, f->end);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return 0;
        read_piece(r, slice_of(piece, (size_t)n));
        f->end += (uint64_t)n;
    }
}

/* A copy of what could not be read whole, for whoever wants to look: what is written anew lacks it.
 */
static void set_aside(const struct suppress_file *f)
{
    const struct file_ops *fs = f->fs;
    DEFER_FREE uint8_t *piece = must_alloc(PIECE_BYTES);
    const int64_t size = fs->size(fs->ctx, f->fd);
    fs->unlink(fs->ctx, NAME_DAMAGED);
    const int fd = fs->open(fs->ctx, NAME_DAMAGED, O_RDWR | O_CREAT | O_EXCL, 0600);
    for (uint64_t at = 0; fd >= 0 && size > 0 && at < (uint64_t)size; at += PIECE_BYTES) {
        const ssize_t n = fs->pread(fs->ctx, f->fd, piece, PIECE_BYTES, at);
        if (n > 0 && fs->pwrite(fs->ctx, fd, piece, (size_t)n, at) < 0)
            break;
    }
    if (fd >= 0) {
        fs->fdatasync(fs->ctx, fd);
        fs->close(fs->ctx, fd);
    }
}

int suppress_file_read(struct suppress_file *f, struct suppress_list *l, size_t *ret_damaged,
                       struct err *e)
{
    struct reading r = {.list = l, .rest = BUF_MAX(SUPPRESS_LINE_MAX)};
    *ret_damaged = 0;
    f->fs->unlink(f->fs->ctx, NAME_NEW); /* of a life that ended while it was written */
    f->fd = f->fs->open(f->fs->ctx, NAME, O_RDWR, 0600);
    if (f->fd == -ENOENT) {
        f->fd = -1;
        return 0;
    }
    if (f->fd < 0)
        return err_set(e, f->fd, "the suppression list cannot be opened: %s", strerror(-f->fd));
    r.damaged += read_all(f, &r) < 0; /* blocks that cannot be read, and what is behind them */
    /* The last line has no end: a write that was cut off. It was promised to nobody. */
    const bool torn = r.rest.n || r.rest.overflow;
    buf_done(&r.rest);
    f->lines = r.lines;
    *ret_damaged = r.damaged;
    if (r.damaged && !r.later)
        set_aside(f);
    if (torn || r.damaged || r.later)
        suppress_file_close(f);
    return r.later ? err_set(e, -EPROTONOSUPPORT,
                             "the suppression list is of a later version of postwain")
                   : 0;
}

/* --- writing
 * -------------------------------------------------------------------------------------------- */

int suppress_file_append(struct suppress_file *f, struct slice lines, bool sync)
{
    if (f->fd < 0)
        return -EBADF;
    ssize_t n = lines.n ? f->fs->pwrite(f->fs->ctx, f->fd, lines.p, lines.n, f->end) : 0;
    if (n < 0)
        return (int)n;
    f->end += lines.n;
    f->lines += count_lines(lines);
    return sync ? f->fs->fdatasync(f->fs->ctx, f->fd) : 0;
}

void suppress_rewrite_begin(struct suppress_rewrite *w, const struct file_ops *fs)
{
    *w = (struct suppress_rewrite){.to = {.fs = fs, .fd = -1}};
    fs->unlink(fs->ctx, NAME_NEW);
    w->to.fd = fs->open(fs->ctx, NAME_NEW, O_RDWR | O_CREAT | O_EXCL, 0600);
    w->error = w->to.fd < 0 ? w->to.fd : 0;
    suppress_rewrite_put(w, SLICE_LIT(TITLE VERSION "\n"));
}

void suppress_rewrite_put(struct suppress_rewrite *w, struct slice lines)
{
    if (w->error == 0)
        w->error = suppress_file_append(&w->to, lines, false);
}

int suppress_rewrite_end(struct suppress_rewrite *w, struct suppress_file *f)
{
    const struct file_ops *fs = w->to.fs;
    if (w->error == 0)
        w->error = fs->fdatasync(fs->ctx, w->to.fd);
    if (w->error == 0)
        w->error = fs->rename(fs->ctx, NAME_NEW, NAME);
    if (w->error == 0)
        w->error = fs->fsync_dir(fs->ctx, ".");
    if (w->error < 0) {
        suppress_file_close(&w->to);
        return w->error;
    }
    suppress_file_close(f);
    *f = w->to;
    return 0;
}

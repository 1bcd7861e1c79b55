/* Content: read back from a segment or a body file, and body files as they are written. */
#include "queue/spool_private.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { PIECE = 65536 };

int spool_segment_pread(const struct file_ops *fs, uint32_t segment, uint64_t offset, size_t n,
                        uint8_t *p)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", segment);
    int fd = fs->open(fs->ctx, name, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    ssize_t got = fs->pread(fs->ctx, fd, p, n, offset);
    fs->close(fs->ctx, fd);
    if (got < 0)
        return (int)got;
    return (size_t)got == n ? 0 : -EBADMSG;
}

/* --- reading
 * ------------------------------------------------------------------------------------------------------------
 */

struct spool_read {
    const struct file_ops *fs;
    struct segment *pinned; /* inline content: its segment is not freed meanwhile */
    struct body *body;      /* in memory still */
    uint32_t salt, record_at, record_bytes;
    uint64_t id, size, offset; /* size: of the whole content */
    size_t n;
    bool in_file, nowhere;
};

struct spool_read *spool_read_new(struct spool *s, const struct message *m, uint64_t offset,
                                  size_t n)
{
    struct spool_read *r = must_alloc(sizeof *r);
    *r = (struct spool_read){.fs = s->fs,
                             .salt = s->salt,
                             .record_at = m->record_at,
                             .record_bytes = m->record_bytes,
                             .id = m->id,
                             .size = m->size,
                             .in_file = m->in_file};
    r->offset = offset < m->size ? offset : m->size;
    r->n = n < m->size - r->offset ? n : (size_t)(m->size - r->offset);
    if (m->body) {
        r->body = body_ref(m->body);
    } else if (!m->in_file && m->home) {
        r->pinned = m->home;
        r->pinned->pins++;
    } else if (!m->in_file) {
        r->nowhere = true;
    }
    return r;
}

void spool_read_free(struct spool *s, struct spool_read *r)
{
    (void)s;
    if (!r)
        return;
    if (r->pinned)
        r->pinned->pins--;
    body_unref(r->body);
    free(r);
}

static struct body *body_part(const uint8_t *p, size_t n)
{
    struct body *b = body_new(n);
    if (n)
        memcpy(b->bytes, p, n);
    return b;
}

/* Memory says only where the record is: that it is this message's and whole, its own sums say. One
 * whose body is lost has none behind it. */
static bool is_record_of(const struct spool_read *r, const uint8_t *p, const uint8_t **ret_body)
{
    struct record_header h;
    struct message_record m;
    if (!record_header_read(p, r->salt, &h) || h.type != RECORD_MESSAGE ||
        h.segment != r->pinned->number || record_size(h.length) != r->record_bytes ||
        h.length - h.head != r->size)
        return false;
    const uint8_t *head = p + RECORD_HEADER_SIZE, *body = head + h.head;
    if (crc32c(r->salt, head, h.head) != h.head_crc ||
        !message_record_read(slice_of(head, h.head), &m) || m.id != r->id ||
        crc32c(0, body, (size_t)r->size) != m.body_crc)
        return false;
    *ret_body = body;
    return true;
}

/* The whole record in one go; the content is moved to its beginning. */
static int read_inline(const struct spool_read *r, struct body **ret)
{
    struct body *b = body_new(r->record_bytes);
    const uint8_t *content;
    int rc = spool_segment_pread(r->fs, r->pinned->number, r->record_at, b->n, b->bytes);
    if (rc >= 0 && !is_record_of(r, b->bytes, &content))
        rc = -EBADMSG;
    if (rc < 0) {
        body_unref(b);
        return rc;
    }
    b->n = r->n;
    memmove(b->bytes, content + r->offset, r->n);
    *ret = b;
    return 0;
}

static uint64_t pieces_of(uint64_t n)
{
    return (n + PIECE - 1) / PIECE;
}

static int pread_whole(const struct file_ops *fs, int fd, void *p, size_t n, uint64_t offset)
{
    ssize_t got = fs->pread(fs->ctx, fd, p, n, offset);
    if (got < 0)
        return (int)got;
    return (size_t)got == n ? 0 : -EBADMSG;
}

/* Whole pieces around the bytes asked for, because the sums are of pieces. */
static int read_pieces(const struct spool_read *r, int fd, struct body **ret)
{
    uint64_t first = r->offset / PIECE, from = first * PIECE,
             to = pieces_of(r->offset + r->n) * PIECE;
    if (to > r->size)
        to = r->size;
    size_t n = (size_t)(to - from), n_sums = (size_t)pieces_of(n);
    uint8_t *bytes = malloc(n + n_sums * 4 + 1);
    MUST(bytes);
    uint8_t *sums = bytes + n;
    int rc = pread_whole(r->fs, fd, bytes, n, from);
    if (rc >= 0)
        rc = pread_whole(r->fs, fd, sums, n_sums * 4, r->size + first * 4);
    for (size_t i = 0; i < n_sums && rc >= 0; i++) {
        size_t part = n - i * PIECE < PIECE ? n - i * PIECE : PIECE;
        if (crc32c(0, bytes + i * PIECE, part) != get_u32(sums + i * 4))
            rc = -EBADMSG;
    }
    if (rc >= 0)
        *ret = body_part(bytes + (r->offset - from), r->n);
    free(bytes);
    return rc;
}

static int read_file(const struct spool_read *r, struct body **ret)
{
    char name[SEGMENT_NAME_SIZE];
    spool_body_name(name, r->id);
    int fd = r->fs->open(r->fs->ctx, name, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int64_t size = r->fs->size(r->fs->ctx, fd);
    int rc = size < 0 ? (int)size : 0;
    if (rc >= 0 && (uint64_t)size != r->size + 4 * pieces_of(r->size))
        rc = -EBADMSG;
    if (rc >= 0)
        rc = r->n ? read_pieces(r, fd, ret) : (*ret = body_new(0), 0);
    r->fs->close(r->fs->ctx, fd);
    return rc;
}

int spool_read_run(struct spool_read *r, struct body **ret)
{
    if (r->nowhere)
        return -ENOENT;
    if (r->body) {
        *ret = r->n == r->body->n ? body_ref(r->body) : body_part(r->body->bytes + r->offset, r->n);
        return 0;
    }
    return r->in_file ? read_file(r, ret) : read_inline(r, ret);
}

int spool_body_check(const struct file_ops *fs, uint64_t id, uint64_t n)
{
    enum { STEP = 1 << 20 };
    struct spool_read r = {.fs = fs, .in_file = true, .size = n, .id = id};
    int rc = 0;
    for (r.offset = 0; (r.offset < n || n == 0) && rc >= 0; r.offset += STEP) {
        struct body *b = NULL;
        r.n = n - r.offset < STEP ? (size_t)(n - r.offset) : STEP;
        rc = read_file(&r, &b);
        body_unref(b);
        if (n == 0)
            break;
    }
    return rc;
}

/* --- body files
 * ---------------------------------------------------------------------------------------------------------
 */

struct spool_body_file {
    const struct file_ops *fs;
    uint64_t id, n;
    int fd;
    uint32_t crc; /* of the piece not yet whole */
    struct buf sums;
};

int spool_body_create(const struct file_ops *fs, uint64_t id, struct spool_body_file **ret)
{
    char name[SEGMENT_NAME_SIZE];
    spool_body_name(name, id);
    int fd = fs->open(fs->ctx, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return fd;
    struct spool_body_file *f = must_alloc(sizeof *f);
    *f = (struct spool_body_file){.fs = fs, .id = id, .fd = fd, .sums = BUF_MAX(SIZE_MAX / 2)};
    *ret = f;
    return 0;
}

static void sum(struct spool_body_file *f, struct slice piece)
{
    while (piece.n) {
        size_t room = PIECE - (size_t)(f->n % PIECE);
        struct slice part = slice_head(piece, room);
        f->crc = crc32c(f->crc, part.p, part.n);
        f->n += part.n;
        piece = slice_skip(piece, part.n);
        if (f->n % PIECE == 0) {
            buf_add_u32(&f->sums, f->crc);
            f->crc = 0;
        }
    }
}

int spool_body_write(struct spool_body_file *f, struct slice piece)
{
    if (piece.n == 0)
        return 0;
    ssize_t n = f->fs->pwrite(f->fs->ctx, f->fd, piece.p, piece.n, f->n);
    if (n < 0)
        return (int)n;
    sum(f, piece);
    return 0;
}

/* The sum of the first piece anew, from what the file has. */
static int sum_first(struct spool_body_file *f)
{
    const size_t n = f->n < PIECE ? (size_t)f->n : PIECE;
    uint8_t *bytes = must_alloc(n);
    const int rc = pread_whole(f->fs, f->fd, bytes, n, 0);
    const uint32_t crc = crc32c(0, bytes, n);
    if (rc >= 0 && n == PIECE)
        put_u32(f->sums.p, crc);
    else if (rc >= 0)
        f->crc = crc;
    free(bytes);
    return rc;
}

int spool_body_patch(struct spool_body_file *f, uint64_t at, struct slice octets)
{
    MUST(at + octets.n <= f->n && at + octets.n <= PIECE);
    ssize_t n = f->fs->pwrite(f->fs->ctx, f->fd, octets.p, octets.n, at);
    return n < 0 ? (int)n : sum_first(f);
}

static int seal(struct spool_body_file *f)
{
    if (f->n % PIECE)
        buf_add_u32(&f->sums, f->crc);
    if (f->sums.overflow)
        return -ENOMEM;
    ssize_t n = f->sums.n ? f->fs->pwrite(f->fs->ctx, f->fd, f->sums.p, f->sums.n, f->n) : 0;
    if (n < 0)
        return (int)n;
    int rc = f->fs->fdatasync(f->fs->ctx, f->fd);
    return rc < 0 ? rc : f->fs->fsync_dir(f->fs->ctx, "body");
}

static void file_free(struct spool_body_file *f, bool remove)
{
    char name[SEGMENT_NAME_SIZE];
    f->fs->close(f->fs->ctx, f->fd);
    if (remove) {
        spool_body_name(name, f->id);
        f->fs->unlink(f->fs->ctx, name);
    }
    buf_done(&f->sums);
    free(f);
}

int spool_body_finish(struct spool_body_file *f)
{
    int rc = seal(f);
    file_free(f, rc < 0);
    return rc < 0 ? rc : 0;
}

void spool_body_abandon(struct spool_body_file *f)
{
    if (f)
        file_free(f, true);
}

/* The index footer on disk: found, checked, walked, written. */
#include "queue/footer.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static const char magic[8] = {'P', 'W', 'I', 'N', 'D', 'E', 'X', '\n'};

enum {
    AT_NUMBER = 8,
    AT_SALT = 12,
    AT_END = 16,
    AT_LAST_RECORD = 24,
    AT_ID_HIGH = 32,
    AT_SEQ_HIGH = 40,
    AT_MAX_SEQ = 48,
    AT_RECORDS = 56,
    AT_EVENTS = 64,
    AT_LENGTH = 72,
    AT_COUNT = 76,
    AT_ENTRIES_CRC = 88,
    AT_CRC = 92
};

uint64_t footer_at(uint64_t end)
{
    return (end + SEGMENT_HEADER_BLOCK - 1) & ~(uint64_t)(SEGMENT_HEADER_BLOCK - 1);
}

void footer_header_write(uint8_t *p, const struct footer *f)
{
    memset(p, 0, FOOTER_HEADER);
    memcpy(p, magic, sizeof magic);
    put_u32(p + AT_NUMBER, f->number);
    put_u32(p + AT_SALT, f->salt);
    put_u64(p + AT_END, f->end);
    put_u64(p + AT_LAST_RECORD, f->last_record);
    put_u64(p + AT_ID_HIGH, f->id_high);
    put_u64(p + AT_SEQ_HIGH, f->seq_high);
    put_u64(p + AT_MAX_SEQ, f->max_seq);
    put_u64(p + AT_RECORDS, f->records);
    put_u64(p + AT_EVENTS, f->events);
    put_u32(p + AT_LENGTH, (uint32_t)f->entries.n);
    put_u32(p + AT_COUNT, f->n_entries);
    put_u32(p + AT_ENTRIES_CRC, crc32c(f->salt, f->entries.p, f->entries.n));
    put_u32(p + AT_CRC, crc32c(f->salt, p, AT_CRC));
}

/* What any one damaged byte leaves of a header that was ours. */
static bool resembles(const uint8_t *p, const struct segment_found *s, uint32_t salt)
{
    return memcmp(p, magic, sizeof magic) == 0 ||
           (get_u32(p + AT_NUMBER) == s->number && get_u32(p + AT_SALT) == salt &&
            get_u64(p + AT_END) == s->end);
}

static void header_read(const uint8_t *p, struct footer *ret, uint32_t *ret_length)
{
    *ret = (struct footer){.number = get_u32(p + AT_NUMBER),
                           .salt = get_u32(p + AT_SALT),
                           .end = get_u64(p + AT_END),
                           .last_record = get_u64(p + AT_LAST_RECORD),
                           .id_high = get_u64(p + AT_ID_HIGH),
                           .seq_high = get_u64(p + AT_SEQ_HIGH),
                           .max_seq = get_u64(p + AT_MAX_SEQ),
                           .records = get_u64(p + AT_RECORDS),
                           .events = get_u64(p + AT_EVENTS),
                           .n_entries = get_u32(p + AT_COUNT)};
    *ret_length = get_u32(p + AT_LENGTH);
}

/* Short, or not readable: damaged. */
static int read_all(const struct file_ops *fs, int fd, uint8_t *p, size_t n, uint64_t at)
{
    ssize_t got = fs->pread(fs->ctx, fd, p, n, at);
    if (got < 0)
        return got == -EIO ? -EBADMSG : (int)got;
    return (size_t)got == n ? 0 : -EBADMSG;
}

static int entries_read(const struct file_ops *fs, int fd, const struct segment_found *s,
                        const uint8_t *header, uint32_t length, struct footer *ret)
{
    uint64_t at = footer_at(s->end) + FOOTER_HEADER;
    if (at > s->size || length > s->size - at)
        return -EBADMSG;
    uint8_t *bytes = malloc(length ? length : 1);
    MUST(bytes);
    int rc = read_all(fs, fd, bytes, length, at);
    if (rc >= 0 && crc32c(ret->salt, bytes, length) != get_u32(header + AT_ENTRIES_CRC))
        rc = -EBADMSG;
    if (rc < 0) {
        free(bytes);
        return rc;
    }
    ret->bytes = bytes;
    ret->entries = slice_of(bytes, length);
    return 1;
}

static int read_open(const struct file_ops *fs, int fd, const struct segment_found *s,
                     uint32_t salt, struct footer *ret)
{
    uint8_t header[FOOTER_HEADER];
    uint64_t at = footer_at(s->end);
    if (s->size < at + FOOTER_HEADER)
        return 0;
    int rc = read_all(fs, fd, header, FOOTER_HEADER, at);
    if (rc < 0)
        return rc;
    if (!resembles(header, s, salt))
        return 0;
    struct footer f;
    uint32_t length = 0;
    header_read(header, &f, &length);
    if (get_u32(header + AT_CRC) != crc32c(salt, header, AT_CRC))
        return f.number == s->number || f.end == s->end ? -ENODATA : 0;
    /* Whole, but of a former life of the file. */
    if (f.number != s->number || f.salt != salt || f.end != s->end)
        return 0;
    rc = entries_read(fs, fd, s, header, length, &f);
    if (rc > 0)
        *ret = f;
    return rc;
}

int footer_read(const struct file_ops *fs, const struct segment_found *s, uint32_t salt,
                struct footer *ret)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", s->named);
    int fd = fs->open(fs->ctx, name, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int rc = read_open(fs, fd, s, salt, ret);
    fs->close(fs->ctx, fd);
    return rc;
}

void footer_done(struct footer *f)
{
    free(f->bytes);
    *f = (struct footer){0};
}

int footer_write(const struct file_ops *fs, uint32_t named, uint64_t end, struct slice whole)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", named);
    int fd = fs->open(fs->ctx, name, O_RDWR, 0);
    if (fd < 0)
        return fd;
    uint64_t at = footer_at(end);
    struct slice entries = slice_skip(whole, FOOTER_HEADER);
    ssize_t rc = 0;
    if (entries.n)
        rc = fs->pwrite(fs->ctx, fd, entries.p, entries.n, at + FOOTER_HEADER);
    if (rc >= 0)
        rc = fs->fdatasync(fs->ctx, fd);
    if (rc >= 0)
        rc = fs->pwrite(fs->ctx, fd, whole.p, FOOTER_HEADER, at);
    fs->close(fs->ctx, fd);
    return rc < 0 ? (int)rc : 0;
}

struct footer_cursor footer_entries(const struct footer *f)
{
    return (struct footer_cursor){.c = cursor_of(f->entries)};
}

bool footer_next(struct footer_cursor *fc, struct footer_entry *ret)
{
    struct cursor *c = &fc->c;
    if (c->rest.n == 0 || c->bad)
        return false;
    struct footer_entry e = {.kind = (enum footer_kind)cursor_u8(c)};
    e.offset = fc->at + 8 * cursor_varint(c);
    uint64_t length = 0, head_n = 0;
    switch (e.kind) {
    case FOOTER_MESSAGE:
        length = cursor_varint(c);
        head_n = cursor_varint(c);
        e.head = cursor_prefixed(c);
        break;
    case FOOTER_STATE:
        e.head = cursor_prefixed(c);
        break;
    case FOOTER_TOLD_ONE:
        e.id = cursor_u64(c);
        e.rcpt = cursor_varint(c);
        c->bad = c->bad || e.rcpt == 0;
        break;
    case FOOTER_TOLD:
    case FOOTER_TOLD_DELAY:
    case FOOTER_GONE:
        e.id = cursor_u64(c);
        break;
    default:
        c->bad = true;
    }
    if (length > RECORD_LENGTH_MAX || head_n > length || e.offset > SEGMENT_BYTES_MAX)
        c->bad = true;
    if (c->bad)
        return false;
    e.length = (uint32_t)length;
    e.head_n = (uint32_t)head_n;
    fc->at = e.offset;
    *ret = e;
    return true;
}

#include "queue/segment.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic[8] = {'P', 'W', 'S', 'P', 'O', 'O', 'L', '\n'};

enum { FORMAT_VERSION = 4, AT_BLOCK_CRC = SEGMENT_HEADER_BLOCK - 4 };

void segment_name(char ret[SEGMENT_NAME_SIZE], const char *kind, uint32_t number)
{
    snprintf(ret, SEGMENT_NAME_SIZE, "%s-%08x", kind, number);
}

void segment_header_write(uint8_t *p, const struct segment_header *h)
{
    memset(p, 0, SEGMENT_DATA);
    memcpy(p, magic, sizeof magic);
    put_u32(p + 8, FORMAT_VERSION);
    put_u32(p + 12, h->number);
    put_u32(p + 16, h->salt);
    put_u32(p + 20, h->prev);
    put_u64(p + 24, h->prev_end);
    put_u64(p + 32, h->id_high);
    put_u64(p + 40, h->seq_high);
    put_u64(p + 48, h->number_high);
    put_u32(p + AT_BLOCK_CRC, crc32c(0, p, AT_BLOCK_CRC));
    memcpy(p + SEGMENT_HEADER_BLOCK, p, SEGMENT_HEADER_BLOCK);
}

/* One copy: 1 good, 0 damaged, -EPROTO another version. */
static int header_read(const uint8_t *p, struct segment_header *ret, uint32_t *ret_version)
{
    if (memcmp(p, magic, sizeof magic) != 0 ||
        get_u32(p + AT_BLOCK_CRC) != crc32c(0, p, AT_BLOCK_CRC))
        return 0;
    *ret_version = get_u32(p + 8);
    if (*ret_version < 1 || *ret_version > FORMAT_VERSION)
        return -EPROTO;
    *ret = (struct segment_header){.number = get_u32(p + 12),
                                   .salt = get_u32(p + 16),
                                   .prev = get_u32(p + 20),
                                   .prev_end = get_u64(p + 24),
                                   .id_high = get_u64(p + 32),
                                   .seq_high = get_u64(p + 40),
                                   .number_high = get_u64(p + 48)};
    return 1;
}

/* Which copy counts: one that agrees with the name of the file before one that does not. */
static void choose_header(struct segment_found *s, const struct segment_header copies[2],
                          const int good[2])
{
    s->header_ok = good[0] > 0 || good[1] > 0;
    s->number = s->named;
    if (s->header_ok) {
        bool second = good[0] <= 0 ||
                      (copies[0].number != s->named && good[1] > 0 && copies[1].number == s->named);
        s->header = copies[second];
        s->number = s->header.number;
    }
    for (unsigned i = 0; i < 2; i++)
        s->header_bad[i] = good[i] <= 0 || copies[i].number != s->number;
}

static int read_headers(const struct file_ops *fs, int fd, struct segment_found *s,
                        uint32_t *ret_version)
{
    struct segment_header copies[2];
    uint8_t block[SEGMENT_HEADER_BLOCK];
    int good[2] = {0, 0};
    for (unsigned i = 0; i < 2; i++) {
        ssize_t n = fs->pread(fs->ctx, fd, block, sizeof block, (uint64_t)i * sizeof block);
        if (n < 0 && n != -EIO)
            return (int)n;
        if (n == (ssize_t)sizeof block)
            good[i] = header_read(block, &copies[i], ret_version);
        if (good[i] < 0)
            return good[i];
    }
    choose_header(s, copies, good);
    return 0;
}

int segment_find(const struct file_ops *fs, struct segment_found *s, struct err *e)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", s->named);
    int fd = fs->open(fs->ctx, name, O_RDONLY, 0);
    if (fd < 0)
        return err_set(e, fd, "cannot open segment %s", name);
    int64_t size = fs->size(fs->ctx, fd);
    s->size = size > 0 ? (uint64_t)size : 0;
    s->end = UINT64_MAX;
    uint32_t version = 0;
    int rc = size < 0 ? (int)size : read_headers(fs, fd, s, &version);
    fs->close(fs->ctx, fd);
    if (rc == -EPROTO)
        return err_set(
            e, rc,
            "spool segment %s has format version %u, this program knows version %d: use the newer "
            "program that wrote it (nothing was changed)",
            name, version, FORMAT_VERSION);
    return rc < 0 ? err_set(e, rc, "cannot read segment %s", name) : 0;
}

/* "seg-0000001f": exactly eight lower-case hexadecimal digits, nothing behind. */
static bool name_number(const char *name, const char *kind, uint32_t *ret)
{
    size_t n = strlen(kind);
    if (strncmp(name, kind, n) != 0 || name[n] != '-' || strlen(name) != n + 9)
        return false;
    uint32_t number = 0;
    for (const char *p = name + n + 1; *p; p++) {
        const char *digits = "0123456789abcdef", *d = strchr(digits, *p);
        if (!d)
            return false;
        number = number << 4 | (uint32_t)(d - digits);
    }
    *ret = number;
    return true;
}

static void add_number(uint32_t **list, size_t *n, uint32_t number)
{
    *list = must_realloc(*list, (*n + 1) * sizeof **list);
    (*list)[(*n)++] = number;
}

static void each_name(void *ctx, const char *name)
{
    struct log_found *l = ctx;
    uint32_t number;
    if (name_number(name, "seg", &number)) {
        l->segments = must_realloc(l->segments, (l->n + 1) * sizeof *l->segments);
        l->segments[l->n++] = (struct segment_found){.number = number, .named = number};
    } else if (name_number(name, "free", &number)) {
        add_number(&l->spares, &l->n_spares, number);
    } else {
        return;
    }
    if (number > l->last_number)
        l->last_number = number;
}

/* Of files that are the same segment, the one with the right name comes first. */
static int by_number(const void *a, const void *b)
{
    const struct segment_found *x = a, *y = b;
    if (x->number != y->number)
        return x->number > y->number ? 1 : -1;
    bool x_right = x->named == x->number, y_right = y->named == y->number;
    if (x_right != y_right)
        return y_right - x_right;
    return (x->named > y->named) - (x->named < y->named);
}

static void add_stray(struct log_found *l, const struct segment_found *s)
{
    l->strays = must_realloc(l->strays, (l->n_strays + 1) * sizeof *l->strays);
    l->strays[l->n_strays++] = (struct segment_stray){.named = s->named, .number = s->number};
}

static void leave_out_duplicates(struct log_found *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (kept && l->segments[kept - 1].number == l->segments[i].number)
            add_stray(l, &l->segments[i]);
        else
            l->segments[kept++] = l->segments[i];
    }
    l->n = kept;
}

/* No header names it as its predecessor. A leftover of a failed making has its own header whole and
 * its own name; anything else is for a person to look at. */
static void disown(struct log_found *l, const struct segment_found *s)
{
    if (s->header_ok && s->named == s->number)
        add_number(&l->disowned, &l->n_disowned, s->named);
    else
        add_stray(l, s);
}

/*
 * From the newest back: a segment says who comes before it and where that one ends; what stands
 * between was never part of the log. Where a header is damaged, the one before is taken as it is.
 */
static void chain(struct log_found *l)
{
    size_t kept = l->n;
    for (size_t i = l->n; i-- > 0;) {
        l->segments[--kept] = l->segments[i];
        struct segment_found *s = &l->segments[kept];
        if (!s->header_ok)
            continue;
        while (i > 0 && l->segments[i - 1].number > s->header.prev)
            disown(l, &l->segments[--i]);
        if (i > 0 && l->segments[i - 1].number == s->header.prev) {
            struct segment_found *before = &l->segments[i - 1];
            before->end = s->header.prev_end;
            before->cut_short = before->end > before->size;
        } else if (i > 0) { /* segments are freed from the oldest end only */
            s->before_missing = true;
        }
    }
    l->n -= kept;
    memmove(l->segments, l->segments + kept, l->n * sizeof *l->segments);
}

int log_find(const struct file_ops *fs, struct log_found *ret, struct err *e)
{
    struct log_found l = {0};
    int rc = fs->list(fs->ctx, ".", each_name, &l);
    if (rc < 0)
        rc = err_set(e, rc, "cannot list the spool folder");
    for (size_t i = 0; i < l.n && rc >= 0; i++)
        rc = segment_find(fs, &l.segments[i], e);
    if (rc < 0) {
        log_found_done(&l);
        return rc;
    }
    if (l.n) {
        qsort(l.segments, l.n, sizeof *l.segments, by_number);
        leave_out_duplicates(&l);
        chain(&l);
    }
    for (size_t i = 0; i < l.n; i++) {
        if (l.segments[i].header_ok)
            l.salt = l.segments[i].header.salt;
        if (l.segments[i].number > l.last_number)
            l.last_number = l.segments[i].number;
    }
    *ret = l;
    return 0;
}

void log_found_done(struct log_found *l)
{
    free(l->segments);
    free(l->strays);
    free(l->disowned);
    free(l->spares);
    *l = (struct log_found){0};
}

#include "queue/segment.h"
#include "queue/crc32c.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic[8] = {'P', 'W', 'S', 'P', 'O', 'O', 'L', '\n'};

enum { FORMAT_VERSION = 1, AT_BLOCK_CRC = SEGMENT_HEADER_BLOCK - 4 };

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
static int header_read(const uint8_t *p, uint32_t number, struct segment_header *ret,
                       uint32_t *ret_version)
{
    if (memcmp(p, magic, sizeof magic) != 0 ||
        get_u32(p + AT_BLOCK_CRC) != crc32c(0, p, AT_BLOCK_CRC))
        return 0;
    *ret_version = get_u32(p + 8);
    if (*ret_version != FORMAT_VERSION)
        return -EPROTO;
    struct segment_header h = {.number = get_u32(p + 12),
                               .salt = get_u32(p + 16),
                               .prev = get_u32(p + 20),
                               .prev_end = get_u64(p + 24),
                               .id_high = get_u64(p + 32),
                               .seq_high = get_u64(p + 40),
                               .number_high = get_u64(p + 48)};
    if (h.number != number)
        return 0;
    *ret = h;
    return 1;
}

static int found_read(const struct file_ops *fs, struct segment_found *s, struct err *e)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(name, "seg", s->number);
    int fd = fs->open(fs->ctx, name, O_RDONLY, 0);
    if (fd < 0)
        return err_set(e, fd, "cannot open segment %s", name);
    int64_t size = fs->size(fs->ctx, fd);
    s->size = size > 0 ? (uint64_t)size : 0;
    s->end = UINT64_MAX;
    uint8_t block[SEGMENT_HEADER_BLOCK];
    int rc = 0;
    uint32_t version = 0;
    for (unsigned copy = 0; copy < 2 && rc >= 0; copy++) {
        ssize_t n = fs->pread(fs->ctx, fd, block, sizeof block, (uint64_t)copy * sizeof block);
        rc = n == (ssize_t)sizeof block ? header_read(block, s->number, &s->header, &version) : 0;
        s->header_bad[copy] = rc <= 0;
        s->header_ok = s->header_ok || rc > 0;
    }
    fs->close(fs->ctx, fd);
    if (size < 0)
        return err_set(e, (int)size, "cannot read segment %s", name);
    if (rc < 0)
        return err_set(
            e, rc,
            "spool segment %s has format version %u, this program knows version %d: use the newer "
            "program that wrote it (nothing was changed)",
            name, version, FORMAT_VERSION);
    return 0;
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
        l->segments[l->n++] = (struct segment_found){.number = number};
    } else if (name_number(name, "free", &number)) {
        add_number(&l->spares, &l->n_spares, number);
    } else {
        return;
    }
    if (number > l->last_number)
        l->last_number = number;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const struct segment_found *)a)->number,
             y = ((const struct segment_found *)b)->number;
    return (x > y) - (x < y);
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
            add_number(&l->disowned, &l->n_disowned, l->segments[--i].number);
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
        rc = found_read(fs, &l.segments[i], e);
    if (rc < 0) {
        log_found_done(&l);
        return rc;
    }
    if (l.n) {
        qsort(l.segments, l.n, sizeof *l.segments, by_number);
        chain(&l);
    }
    for (size_t i = 0; i < l.n; i++)
        if (l.segments[i].header_ok)
            l.salt = l.segments[i].header.salt;
    *ret = l;
    return 0;
}

void log_found_done(struct log_found *l)
{
    free(l->segments);
    free(l->disowned);
    free(l->spares);
    *l = (struct log_found){0};
}

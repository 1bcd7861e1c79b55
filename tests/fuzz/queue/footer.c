/*
 * The index footer. First byte even: the rest is a footer's entries (or, with bit 1, the footer
 * with its header) under good check sums, behind a sealed segment: it opens, and opens again the
 * same. Odd: the rest makes a segment of records; what its footer makes of an index is what they
 * do.
 */
#include "queue/footer.h"
#include "tests/fuzz/queue/segment.h"

enum { END = SEGMENT_DATA };

static void write_file(const struct file_ops *ops, const char *name, const uint8_t *p, size_t n,
                       uint64_t at)
{
    int fd = ops->open(ops->ctx, name, O_RDWR | O_CREAT, 0600);
    MUST(fd >= 0 && ops->pwrite(ops->ctx, fd, p, n, at) >= 0 && ops->fdatasync(ops->ctx, fd) == 0);
    ops->close(ops->ctx, fd);
}

/* Segment 2 seals segment 1. */
static void seal(const struct file_ops *ops, uint64_t end)
{
    uint8_t block[SEGMENT_DATA];
    struct segment_header h = {.number = 2, .salt = SALT, .prev = 1, .prev_end = end};
    h.id_high = h.seq_high = UINT64_C(1) << 62; /* the first one may be freed when it is closed */
    segment_header_write(block, &h);
    write_file(ops, "seg-00000002", block, sizeof block, 0);
}

static uint64_t open_digest(const struct file_ops *ops, struct spool_report *ret)
{
    struct spool_options o = {.segment_bytes = 32768, .lifetime_s = 1};
    struct err e;
    struct spool *s;
    MUST(spool_open(&s, ops, &o, ret, &e) == 0);
    uint64_t sum = digest(s);
    spool_close(s);
    return sum;
}

static void any_entries(const struct file_ops *ops, struct slice input, bool whole)
{
    uint8_t block[SEGMENT_DATA], header[FOOTER_HEADER];
    segment_header_write(block, &(struct segment_header){.number = 1, .salt = SALT});
    write_file(ops, "seg-00000001", block, sizeof block, 0);
    seal(ops, END);
    struct footer f = {.number = 1, .salt = SALT, .end = END, .entries = input};
    footer_header_write(header, &f);
    if (!whole)
        write_file(ops, "seg-00000001", header, sizeof header, footer_at(END));
    write_file(ops, "seg-00000001", input.p, input.n, footer_at(END) + (whole ? 0 : sizeof header));
    struct spool_report first, second;
    struct err e;
    MUST(spool_verify(ops, false, NULL, NULL, &first, &e) >= 0);
    uint64_t sum = open_digest(ops, &first);
    MUST(open_digest(ops, &second) == sum && first.messages == second.messages);
}

/* The header promises what a real one does: no id above its highest has been before. */
static void law(struct fake_disk *d, struct slice input)
{
    const struct file_ops *ops = fake_disk_ops(d);
    static uint8_t segment[ROOM + 4096];
    memset(segment, 0, sizeof segment);
    segment_header_write(segment, &(struct segment_header){.number = 1, .salt = SALT});
    size_t n = build(segment, input);
    write_file(ops, "seg-00000001", segment, n, 0);
    seal(ops, n);
    struct spool_report by_records, by_footer, mended;
    struct err e;
    /* Damage first becomes VOID: then both see the same records. */
    MUST(spool_verify(ops, true, NULL, NULL, &mended, &e) >= 0);
    struct log_found l;
    struct footer f;
    MUST(log_find(ops, &l, &e) == 0);
    int rc = footer_read(ops, &l.segments[0], SALT, &f);
    log_found_done(&l);
    if (rc <= 0) /* gaps that no writer leaves cannot be mended */
        return;
    footer_done(&f);
    struct fake_disk *copy = fake_disk_clone(d);
    uint64_t with = open_digest(fake_disk_ops(copy), &by_footer);
    fake_disk_free(copy);
    static const uint8_t zeros[FOOTER_HEADER];
    write_file(ops, "seg-00000001", zeros, sizeof zeros, footer_at(n));
    uint64_t without = open_digest(ops, &by_records);
    MUST(with == without && by_footer.messages == by_records.messages);
    MUST(by_footer.events == by_records.events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct fake_disk *d = fake_disk_new(1);
    struct slice rest = slice_of(data + 1, size - 1);
    if (data[0] % 2)
        law(d, rest);
    else
        any_entries(fake_disk_ops(d), rest, data[0] & 2);
    fake_disk_free(d);
    return 0;
}

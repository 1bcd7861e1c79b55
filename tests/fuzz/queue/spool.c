/*
 * A segment made of the input: good check sums around any heads, bad ones, gaps, stale bytes,
 * batches anywhere. It opens or is refused with a sentence; what opened opens again the same, and
 * checking it agrees.
 */
#include "tests/fuzz/queue/segment.h"

static void on_event(void *ctx, const struct event *e)
{
    *(uint64_t *)ctx += e->seq;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t segment[ROOM + 4096];
    memset(segment, 0, sizeof segment);
    segment_header_write(segment, &(struct segment_header){.number = 1, .salt = SALT});
    size_t n = build(segment, slice_of(data, size));
    struct fake_disk *d = fake_disk_new(1);
    const struct file_ops *ops = fake_disk_ops(d);
    int fd = ops->open(ops->ctx, "seg-00000001", O_RDWR | O_CREAT, 0600);
    MUST(ops->pwrite(ops->ctx, fd, segment, n + 512, 0) > 0 && ops->fdatasync(ops->ctx, fd) == 0);
    ops->close(ops->ctx, fd);
    struct spool_options o = {.segment_bytes = 32768, .lifetime_s = 1};
    struct spool_report checked, opened, again;
    struct err e;
    struct spool *s;
    MUST(spool_verify(ops, false, NULL, NULL, &checked, &e) >= 0);
    MUST(spool_open(&s, ops, &o, &opened, &e) == 0);
    MUST(checked.records == opened.records && checked.messages == opened.messages);
    uint64_t first = digest(s), seqs = 0;
    spool_each_event(s, 0, on_event, &seqs);
    spool_close(s);
    MUST(spool_open(&s, ops, &o, &again, &e) == 0);
    MUST(digest(s) == first && again.records == opened.records);
    /* Damage does not keep it from going on. */
    struct spool_event_in ev = {EVENT_SERVICE_STARTED, SLICE_NONE};
    spool_note(s, (struct wall){1}, &ev, 1);
    spool_close(s);
    MUST(spool_open(&s, ops, &o, &again, &e) == 0);
    MUST(digest(s) == first);
    spool_close(s);
    fake_disk_free(d);
    return 0;
}

/*
 * Content reader and writer (checklist 3, 4). Laws: any split gives the same; what the writer takes
 * comes back as it was; it takes exactly what the reader takes. Input: one byte that chooses the
 * split, then the bytes.
 */
#include "relay/smtp/dot.h"
#include "relay/base/must.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    struct buf content;
    struct dot_reader reader;
    size_t consumed;
};

static struct result unstuff(struct slice in, size_t step, bool chunked)
{
    struct result r = {.content = BUF_MAX(1 << 22), .reader.chunked = chunked};
    while (r.consumed < in.n && !r.reader.ended) {
        struct slice piece;
        size_t n = dot_read(&r.reader, slice_head(slice_skip(in, r.consumed), step), &piece);
        MUST(n > 0);
        buf_add(&r.content, piece);
        r.consumed += n;
    }
    if (chunked)
        buf_add(&r.content, dot_read_last(&r.reader));
    return r;
}

static void same(const struct result *a, const struct result *b)
{
    MUST(slice_eq(buf_slice(&a->content), buf_slice(&b->content)));
    MUST(a->reader.fault == b->reader.fault && a->reader.ended == b->reader.ended &&
         a->consumed == b->consumed);
}

/* The end lies where the first CRLF.CRLF is, and nowhere else. */
static void ends_only_there(struct slice in, const struct result *r)
{
    struct slice end = SLICE_LIT("\r\n.\r\n");
    const bool at_once = slice_starts(in, SLICE_LIT(".\r\n"));
    const size_t at = slice_find_slice(in, end);
    MUST(r->reader.ended == (at_once || at < in.n));
    if (r->reader.ended)
        MUST(r->consumed == (at_once ? 3 : at + end.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    const size_t step = 1 + data[0] % 16;
    struct result whole = unstuff(in, in.n, false), parts = unstuff(in, step, false);
    same(&whole, &parts);
    ends_only_there(in, &whole);

    struct result plain = unstuff(in, in.n, true), chunks = unstuff(in, step, true);
    same(&plain, &chunks);
    struct buf wire = BUF_MAX(1 << 22);
    struct dot_writer w = {0};
    bool good = true;
    for (size_t at = 0; good && at < in.n; at += step)
        good = dot_write(&w, slice_head(slice_skip(in, at), step), &wire);
    good = good && dot_finish(&w, &wire);
    const enum dot_fault fault = plain.reader.fault;
    if (fault != DOT_LONG_LINE) /* of line length the writer knows nothing */
        MUST(good == (fault == DOT_FINE));
    if (good && fault == DOT_FINE) {
        struct result back = unstuff(buf_slice(&wire), step, false);
        MUST(back.reader.ended && back.reader.fault == DOT_FINE && back.consumed == wire.n);
        MUST(slice_eq(buf_slice(&back.content), buf_slice(&plain.content)));
        buf_done(&back.content);
    }
    buf_done(&wire);
    buf_done(&whole.content);
    buf_done(&parts.content);
    buf_done(&plain.content);
    buf_done(&chunks.content);
    return 0;
}

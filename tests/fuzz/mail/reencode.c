/*
 * Any bytes as BINARYMIME content. The first byte chooses the pieces. Laws: whole and in pieces the
 * same comes out, or the same refusal; what comes out has CRLF lines of at most 998 octets, and is
 * not much larger than base64 and the fields of each part make it; what went out is taken again.
 */
#include "relay/mail/reencode.h"
#include "relay/base/must.h"
#include <stdlib.h>

enum { FIELDS_MAX = 400 }; /* octets that a part's header section may gain */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool convert(struct slice in, size_t piece, struct buf *out)
{
    struct reencode *r = reencode_new();
    bool ok = true;
    for (; ok && in.n > 0; in = slice_skip(in, piece)) {
        char *copy = slice_dup(slice_head(in, piece));
        ok = reencode_bytes(r, slice_of(copy, piece < in.n ? piece : in.n), out);
        free(copy);
    }
    ok = ok && reencode_end(r, out);
    MUST(ok == (reencode_problem(r)[0] == 0));
    reencode_free(r);
    return ok;
}

static void check_lines(struct slice s)
{
    while (s.n > 0) {
        size_t n = slice_find_slice(s, SLICE_LIT("\r\n"));
        struct slice line = slice_head(s, n);
        MUST(n <= 998 && slice_find(line, '\r') == n && slice_find(line, '\n') == n);
        s = slice_skip(s, n + 2);
    }
}

/* As many parts as there may be at the most. */
static size_t dashes(struct slice s)
{
    size_t n = 0;
    for (size_t i = 1; i < s.n; i++)
        n += s.p[i - 1] == '-' && s.p[i] == '-';
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    struct buf whole = BUF_MAX((size_t)64 << 20), pieces = whole, again = whole;
    bool ok = convert(in, SIZE_MAX, &whole);
    MUST(convert(in, 1 + data[0] % 64, &pieces) == ok);
    if (ok) {
        MUST(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
        check_lines(buf_slice(&whole));
        MUST(whole.n <= 2 * in.n + FIELDS_MAX * (1 + dashes(in)));
        MUST(convert(buf_slice(&whole), SIZE_MAX, &again));
    }
    buf_done(&whole);
    buf_done(&pieces);
    buf_done(&again);
    return 0;
}

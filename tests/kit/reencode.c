/* Standard input through relay/mail/reencode, for the tests in Python. PIECE: octets at a time, the
 * whole when absent. Exit code 1: cannot be converted, and standard error says why. */
#include "relay/mail/reencode.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct buf read_all(void)
{
    struct buf all = BUF_MAX((size_t)1 << 30);
    for (;;) {
        uint8_t *to = buf_reserve(&all, 65536);
        MUST(to);
        ssize_t n = read(0, to, 65536);
        MUST(n >= 0);
        if (n == 0)
            return all;
        buf_commit(&all, (size_t)n);
    }
}

int main(int argc, char **argv)
{
    struct buf all = read_all(), out = BUF_MAX((size_t)1 << 30);
    size_t piece = argc > 1 ? strtoul(argv[1], NULL, 10) : SIZE_MAX;
    struct reencode *r = reencode_new();
    bool ok = true;
    for (struct slice rest = buf_slice(&all); ok && rest.n > 0; rest = slice_skip(rest, piece))
        ok = reencode_bytes(r, slice_head(rest, piece), &out);
    ok = ok && reencode_end(r, &out);
    if (!ok)
        fprintf(stderr, "%s\n", reencode_problem(r));
    else
        MUST(fwrite(out.p, 1, out.n, stdout) == out.n);
    reencode_free(r);
    buf_done(&all);
    buf_done(&out);
    return ok ? 0 : 1;
}

/* Lines of a socket, cut in an own buffer. A read that a signal, or Ctrl-Z and fg, interrupts is
 * begun again, and what has come of a line stays: stdio promises neither. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define READ_BYTES ((size_t)256 * 1024)

/* There is room behind `end` for another piece. */
static void make_room(struct line_reader *r)
{
    if (r->end < r->size)
        return;
    if (r->begin == 0) {
        r->size = r->size ? 2 * r->size : READ_BYTES;
        r->bytes = must_realloc(r->bytes, r->size);
        return;
    }
    memmove(r->bytes, r->bytes + r->begin, r->end - r->begin);
    r->end -= r->begin;
    r->begin = 0;
}

static ssize_t receive(struct line_reader *r)
{
    for (;;) {
        const ssize_t n = recv(r->fd, r->bytes + r->end, r->size - r->end, 0);
        if (n >= 0 || errno != EINTR || (r->ended && *r->ended))
            return n;
    }
}

static size_t take(struct line_reader *r, size_t n, char **ret_line)
{
    *ret_line = r->bytes + r->begin;
    r->begin += n;
    return n;
}

size_t line_reader_next(struct line_reader *r, char **ret_line)
{
    size_t seen = 0;
    if (!r->bytes)
        make_room(r);
    for (;;) {
        const struct slice rest = slice_of(r->bytes + r->begin, r->end - r->begin);
        const size_t at = seen + slice_find(slice_skip(rest, seen), '\n');
        if (at < rest.n)
            return take(r, at + 1, ret_line);
        seen = rest.n;
        if (seen == 0)
            r->begin = r->end = 0;
        make_room(r);
        errno = 0;
        const ssize_t n = receive(r);
        if (n < 0)
            return 0;
        if (n == 0)
            return take(r, seen, ret_line);
        r->end += (size_t)n;
    }
}

void line_reader_done(struct line_reader *r)
{
    free(r->bytes);
    *r = (struct line_reader){.fd = -1};
}

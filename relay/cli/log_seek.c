#include "relay/cli/log_seek.h"
#include "relay/base/slice.h"
#include <unistd.h>

enum { WINDOW = 48 * 1024, NEAR = 256 * 1024 }; /* two whole lines; not worth halving */

static struct slice read_at(int fd, uint64_t at, uint8_t *window)
{
    ssize_t n = pread(fd, window, WINDOW, (off_t)at);
    return slice_of(window, n > 0 ? (size_t)n : 0);
}

static bool time_of(struct slice line, struct wall *ret)
{
    static const struct slice key = {(const uint8_t *)"\"time\":\"", 8};
    size_t at = slice_find_slice(line, key);
    struct slice rest = slice_skip(line, at == line.n ? line.n : at + key.n);
    return at < line.n && wall_parse_rfc3339(slice_cut(&rest, '"'), ret);
}

/* The first whole line that begins at or behind `at` and has a time. */
static bool line_behind(int fd, uint64_t at, uint64_t *ret_line, struct wall *ret_time)
{
    uint8_t window[WINDOW];
    struct slice rest = read_at(fd, at, window);
    size_t skip = slice_find(rest, '\n');
    while (skip < rest.n) {
        at += skip + 1;
        rest = slice_skip(rest, skip + 1);
        skip = slice_find(rest, '\n');
        if (skip < rest.n && time_of(slice_head(rest, skip), ret_time)) {
            *ret_line = at;
            return true;
        }
    }
    return false;
}

uint64_t log_seek(int fd, uint64_t size, struct wall since)
{
    uint64_t from = 0, to = size, line;
    struct wall time;
    while (to - from > NEAR) {
        const uint64_t middle = from + (to - from) / 2;
        if (line_behind(fd, middle, &line, &time) && line < to && time.us < since.us)
            from = line;
        else
            to = middle;
    }
    return from;
}

uint64_t log_seek_line(int fd, uint64_t size, uint64_t at)
{
    uint8_t window[WINDOW];
    while (at > 0 && at < size) {
        struct slice rest = read_at(fd, at - 1, window);
        size_t n = slice_find(rest, '\n');
        if (rest.n == 0 || n < rest.n)
            return at + n < size && rest.n ? at + n : size;
        at += rest.n;
    }
    return at < size ? at : size;
}

#include "relay/suppress/line.h"
#include "relay/base/crc32c.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include <inttypes.h>

enum { SUM_DIGITS = 8 };

static const char *const source_names[] = {
    [SUPPRESS_BY_BOUNCES] = "bounces",
    [SUPPRESS_BY_OPERATOR] = "operator",
};

const char *suppress_source_name(enum suppress_source s)
{
    MUST((unsigned)s < sizeof source_names / sizeof *source_names);
    return source_names[s];
}

bool suppress_source_parse(struct slice name, enum suppress_source *ret)
{
    for (unsigned i = 0; i < sizeof source_names / sizeof *source_names; i++)
        if (slice_eq(name, slice_str(source_names[i]))) {
            *ret = (enum suppress_source)i;
            return true;
        }
    return false;
}

/* Tabs are control characters: after cleaning there are none in a text. */
static void add_text(struct buf *out, struct slice s, size_t max)
{
    buf_add_u8(out, '\t');
    utf8_clean(out, s, max);
}

bool suppress_line_write(struct buf *out, const struct suppress_line *l)
{
    DEFER(buf_done) struct buf b = BUF_MAX(SUPPRESS_LINE_MAX);
    if (l->address.n > SUPPRESS_ADDRESS_MAX)
        return false;
    buf_addf(&b, "%c\t%" PRIu64 "\t%" PRId64 "\t%s", (char)l->kind, l->seq, l->time.us,
             suppress_source_name(l->source));
    add_text(&b, l->user, SUPPRESS_USER_MAX);
    add_text(&b, l->address, SUPPRESS_ADDRESS_MAX);
    add_text(&b, l->reason, SUPPRESS_REASON_MAX);
    buf_addf(&b, "\t%08" PRIx32 "\n", crc32c(0, b.p, b.n));
    return !b.overflow && buf_add(out, buf_slice(&b));
}

static bool read_sum(struct slice digits, uint32_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < digits.n; i++) {
        const uint8_t c = digits.p[i];
        const bool is_digit = c >= '0' && c <= '9', is_letter = c >= 'a' && c <= 'f';
        if (!is_digit && !is_letter)
            return false;
        *ret = *ret << 4 | (uint32_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    return digits.n == SUM_DIGITS;
}

static bool sum_fits(struct slice text, struct slice *ret_rest)
{
    uint32_t sum;
    if (text.n < SUM_DIGITS + 1 || text.p[text.n - SUM_DIGITS - 1] != '\t')
        return false;
    *ret_rest = slice_head(text, text.n - SUM_DIGITS - 1);
    return read_sum(slice_skip(text, ret_rest->n + 1), &sum) &&
           sum == crc32c(0, ret_rest->p, ret_rest->n);
}

static bool kind_of(struct slice s, enum suppress_kind *ret)
{
    if (s.n != 1 || !strchr("+-!~=", s.p[0]) || s.p[0] == 0)
        return false;
    *ret = (enum suppress_kind)s.p[0];
    return true;
}

bool suppress_line_read(struct slice text, struct suppress_line *ret)
{
    struct suppress_line l = {0};
    struct slice rest;
    uint64_t us;
    if (text.n >= SUPPRESS_LINE_MAX || !sum_fits(text, &rest) ||
        !kind_of(slice_cut(&rest, '\t'), &l.kind) ||
        !slice_u64(slice_cut(&rest, '\t'), UINT64_MAX, &l.seq) ||
        !slice_u64(slice_cut(&rest, '\t'), INT64_MAX, &us) ||
        !suppress_source_parse(slice_cut(&rest, '\t'), &l.source))
        return false;
    l.time.us = (int64_t)us;
    l.user = slice_cut(&rest, '\t');
    l.address = slice_cut(&rest, '\t');
    l.reason = rest;
    if ((l.address.n == 0) != (l.kind == SUPPRESS_SEEN) || slice_find(rest, '\t') < rest.n)
        return false;
    *ret = l;
    return true;
}

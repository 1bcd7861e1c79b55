/*
 * data = *line "." CRLF; line = ["."] *998OCTET CRLF, where OCTET is neither CR nor LF.
 * States: LINE_START; MID_LINE; CR = a CR that must be followed by LF; DOT = a dot at the start of
 * a line; DOT_CR = the same and a CR. Inside of a line memchr does the walking, so that the cost is
 * that of two searches.
 */
#include "relay/smtp/dot.h"
#include "relay/base/must.h"

/* Where the walk through one input stands: [start, at) is content not yet given. */
struct walk {
    struct slice in, piece;
    size_t start, at;
};

static void fail(struct dot_reader *r, struct walk *w, size_t at, enum dot_fault fault)
{
    if (r->fault != DOT_FINE)
        return;
    r->fault = fault;
    w->piece = slice_of(w->in.p + w->start, at - w->start);
}

/* Up to the next CR, or the end of the input. Once refused, only CR matters: that keeps a flood of
 * LF linear. */
static void read_line(struct dot_reader *r, struct walk *w)
{
    struct slice rest = slice_skip(w->in, w->at);
    size_t run = slice_find(rest, '\r');
    if (r->fault == DOT_FINE) {
        size_t lf = slice_find(slice_head(rest, run), '\n');
        if (lf > DOT_LINE_MAX - r->line)
            fail(r, w, w->at + (DOT_LINE_MAX - r->line), DOT_LONG_LINE);
        else if (lf < run)
            fail(r, w, w->at + lf, DOT_BARE_LF);
        r->line += lf;
    }
    w->at += run;
    if (run < rest.n) {
        w->at++;
        r->state = DOT_CR;
    }
}

static void after_cr(struct dot_reader *r, struct walk *w)
{
    if (w->in.p[w->at] == '\n') {
        w->at++;
        r->state = DOT_LINE_START;
        r->line = 0;
        return;
    }
    fail(r, w, w->at, DOT_BARE_CR);
    r->state = DOT_MID_LINE;
}

/* After ".CR" at the start of a line: neither byte is content, whatever comes. */
static void after_dot_cr(struct dot_reader *r, struct walk *w)
{
    if (w->in.p[w->at] == '\n') {
        w->at++;
        r->ended = true;
    } else {
        fail(r, w, w->at, DOT_BARE_CR);
        r->state = DOT_MID_LINE;
    }
    w->start = w->at;
}

size_t dot_read(struct dot_reader *r, struct slice in, struct slice *ret_piece)
{
    *ret_piece = SLICE_NONE;
    if (in.n == 0)
        return 0;
    if (r->binary) {
        *ret_piece = in;
        return in.n;
    }
    const bool refused_before = r->fault != DOT_FINE;
    struct walk w = {.in = in};
    while (w.at < in.n && !r->ended) {
        const uint8_t c = in.p[w.at];
        switch (r->state) {
        case DOT_LINE_START:
            r->state = DOT_MID_LINE;
            if (c != '.' || r->chunked)
                break;
            r->state = DOT_DOT;
            if (w.at > w.start && r->fault == DOT_FINE) {
                *ret_piece = slice_of(in.p + w.start, w.at - w.start);
                return w.at + 1;
            }
            w.start = ++w.at;
            break;
        case DOT_DOT:
            r->state = DOT_MID_LINE;
            if (c == '\r') {
                r->state = DOT_DOT_CR;
                w.start = ++w.at;
            }
            break;
        case DOT_DOT_CR:
            after_dot_cr(r, &w);
            break;
        case DOT_CR:
            after_cr(r, &w);
            break;
        case DOT_MID_LINE:
            read_line(r, &w);
            break;
        }
    }
    if (r->fault == DOT_FINE)
        w.piece = slice_of(in.p + w.start, w.at - w.start);
    if (!refused_before)
        *ret_piece = w.piece;
    return w.at;
}

struct slice dot_read_last(struct dot_reader *r)
{
    MUST(r->chunked && !r->ended);
    r->ended = true;
    if (r->fault != DOT_FINE || r->state == DOT_LINE_START)
        return SLICE_NONE;
    if (r->state == DOT_CR) {
        r->fault = DOT_BARE_CR;
        return SLICE_NONE;
    }
    r->state = DOT_LINE_START;
    return SLICE_LIT("\r\n");
}

/* The walk of the writer up to where a dot must be doubled; -1: a bare CR or LF. */
static int next_stop(struct dot_writer *w, struct slice in, size_t *at)
{
    while (*at < in.n) {
        const uint8_t c = in.p[*at];
        if (w->state == DOT_LINE_START) {
            w->state = DOT_MID_LINE;
            if (c == '.' && !w->chunked)
                return 1;
        } else if (w->state == DOT_CR) {
            if (c != '\n')
                return -1;
            w->state = DOT_LINE_START;
            ++*at;
        } else {
            struct slice rest = slice_skip(in, *at);
            size_t run = slice_find(rest, '\r');
            if (slice_find(slice_head(rest, run), '\n') < run)
                return -1;
            *at += run;
            if (run < rest.n) {
                w->state = DOT_CR;
                ++*at;
            }
        }
    }
    return 0;
}

bool dot_write(struct dot_writer *w, struct slice piece, struct buf *out)
{
    size_t start = 0, at = 0;
    for (int stop; (stop = next_stop(w, piece, &at)) != 0; start = at) {
        if (stop < 0)
            return false;
        buf_add(out, slice_of(piece.p + start, at - start));
        buf_add_u8(out, '.');
    }
    if (at > start)
        buf_add(out, slice_of(piece.p + start, at - start));
    return true;
}

bool dot_finish(struct dot_writer *w, struct buf *out)
{
    if (w->state == DOT_CR)
        return false;
    if (w->state == DOT_MID_LINE)
        buf_add(out, SLICE_LIT("\r\n"));
    if (!w->chunked)
        buf_add(out, SLICE_LIT(".\r\n"));
    w->state = DOT_LINE_START;
    return true;
}

/* Where the content is none that can be sent (a bare CR or LF) the number does not matter. */
size_t dot_finish_adds(const struct dot_writer *w, struct slice last)
{
    bool ended = last.n > 0 ? last.p[last.n - 1] == '\n' : w->state == DOT_LINE_START;
    return ended ? 0 : 2;
}

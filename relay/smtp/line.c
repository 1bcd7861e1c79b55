#include "relay/smtp/line.h"

void line_init(struct line *l)
{
    *l = (struct line){.text = BUF_MAX(LINE_MAX_AUTH)};
}

void line_done(struct line *l)
{
    line_wipe(l);
}

void line_next(struct line *l)
{
    buf_reset(&l->text);
}

void line_wipe(struct line *l)
{
    if (l->text.p)
        explicit_bzero(l->text.p, l->text.cap);
    buf_done(&l->text);
}

/* Adds what fits. The first 2048 octets decide whether more may come, so that any split of the line
 * decides alike. */
static size_t add_fitting(struct line *l, struct slice s, bool auth)
{
    const size_t before = l->text.n;
    if (before < LINE_MAX_COMMAND)
        buf_add(&l->text, slice_head(s, LINE_MAX_COMMAND - before));
    const size_t first = l->text.n - before;
    if (auth || slice_istarts(buf_slice(&l->text), SLICE_LIT("AUTH ")))
        buf_add(&l->text, slice_head(slice_skip(s, first), LINE_MAX_AUTH - l->text.n));
    return l->text.n - before;
}

static void skip_from_here(struct line *l)
{
    l->skip = true;
    l->skipped = 0;
}

static size_t skip_run(struct line *l, struct slice rest, enum line_event *ret)
{
    size_t run = slice_find(rest, '\r');
    l->cr = run < rest.n;
    run += l->cr;
    l->skipped += run;
    if (l->skipped > LINE_MAX_SKIP)
        *ret = LINE_ENDLESS;
    return run;
}

static size_t read_run(struct line *l, struct slice rest, bool auth, enum line_event *ret)
{
    struct slice text = slice_head(rest, slice_find(rest, '\r'));
    const size_t lf = slice_find(text, '\n');
    const size_t added = add_fitting(l, slice_head(text, lf), auth);
    if (added < lf) {
        skip_from_here(l);
        *ret = LINE_LONG;
        return added + 1;
    }
    if (lf < text.n) {
        skip_from_here(l);
        *ret = LINE_BAD_END;
        return lf + 1;
    }
    l->cr = text.n < rest.n;
    return text.n + l->cr;
}

/* The byte after a CR: LF ends the line, anything else makes it a bad one. */
static void after_cr(struct line *l, uint8_t c, enum line_event *ret)
{
    l->cr = c == '\r';
    if (c == '\n') {
        *ret = l->skip ? LINE_MORE : LINE_WHOLE;
        l->skip = false;
    } else if (!l->skip) {
        skip_from_here(l);
        *ret = LINE_BAD_END;
    }
}

size_t line_read(struct line *l, struct slice in, bool auth, enum line_event *ret_event)
{
    *ret_event = LINE_MORE;
    size_t at = 0;
    while (at < in.n && *ret_event == LINE_MORE) {
        if (l->cr)
            after_cr(l, in.p[at++], ret_event);
        else if (l->skip)
            at += skip_run(l, slice_skip(in, at), ret_event);
        else
            at += read_run(l, slice_skip(in, at), auth, ret_event);
    }
    return at;
}

/*
 * Lines end with CRLF, or with LF alone, where the structure is read (a message from a file may be
 * attached as it is); the line break in front of a delimiter belongs to the delimiter (RFC 2046
 * section 5.1.1). Hence what comes in is one of two things:
 *
 *   a header section   whole lines, gathered in `line`; from its label on it is held back in `held`
 *                      until its end says what the body is
 *   a body             text without line ends goes to give(), line ends to end_line(), which wait
 *                      in `eol` until the start of the next line is known to be no delimiter
 *
 * Which of the modes a body is in was decided at the end of its header section; only LOOKING ends
 * before its body does.
 */
#include "relay/base/must.h"
#include "relay/mail/header.h"
#include "relay/mail/reencode_priv.h"
#include <stdlib.h>

static void new_head(struct reencode *r, bool of_message, bool in_digest)
{
    r->head = (struct head){.of_message = of_message, .in_digest = in_digest};
    buf_reset(&r->type);
    buf_reset(&r->label);
    buf_reset(&r->held);
    r->in_head = true;
}

struct reencode *reencode_new(void)
{
    struct reencode *r = must_alloc(sizeof *r);
    r->type = BUF_MAX(2048);
    r->label = BUF_MAX(256);
    r->held = BUF_MAX(HELD);
    r->line = BUF_MAX(LINE_GATHERED);
    new_head(r, true, false);
    return r;
}

void reencode_free(struct reencode *r)
{
    if (!r)
        return;
    buf_done(&r->type);
    buf_done(&r->label);
    buf_done(&r->held);
    buf_done(&r->line);
    free(r);
}

const char *reencode_problem(const struct reencode *r)
{
    return r->problem ? r->problem : "";
}

/* ---- delimiters ---- */

/* The multipart, innermost first, whose delimiter the line is; or depth. */
static size_t find_delimiter(const struct reencode *r, struct slice line, bool *ret_close)
{
    for (size_t i = r->depth; i-- > 0;)
        if (mime_is_delimiter(line, &r->open[i], ret_close))
            return i;
    return r->depth;
}

static void begin_body(struct reencode *r, enum mode mode)
{
    r->mode = mode;
    r->in_head = r->cr = false;
    r->at_start = true;
    r->eol = EOL_NONE;
    r->column = 0;
}

/* Delimiter `i`, after which everything inside of that multipart is over. */
static void delimit(struct reencode *r, size_t i, bool close, struct slice line)
{
    reencode_end_body(r);
    if (r->eol != EOL_NONE && r->mode != ENCODING)
        reencode_put(r, "\r\n");
    for (size_t k = 0; k < line.n; k++)
        buf_add_u8(r->out, line.p[k] == '\r' ? ' ' : line.p[k]);
    reencode_put(r, "\r\n");
    r->depth = close ? i : i + 1;
    if (close)
        begin_body(r, LOOSE);
    else
        new_head(r, false, r->is_digest[i]);
}

/* ---- header sections ---- */

static void head_ends_in_leaf(struct reencode *r, enum mime_label label)
{
    switch (label) {
    case MIME_BINARY:
        begin_body(r, ENCODING);
        reencode_write_head(r, "base64");
        break;
    case MIME_UNLABELLED:
    case MIME_7BIT:
    case MIME_8BIT:
        begin_body(r, LOOKING);
        return; /* the header section is still held */
    case MIME_QUOTED_PRINTABLE:
        begin_body(r, LINES);
        reencode_write_head(r, NULL);
        break;
    case MIME_BASE64:
        begin_body(r, LOOSE);
        reencode_write_head(r, NULL);
        break;
    case MIME_OTHER_LABEL:
        begin_body(r, STRICT);
        reencode_write_head(r, NULL);
        break;
    }
    buf_reset(&r->held);
}

/* A multipart or message: its own label speaks about what it holds, where nothing is binary any
 * more. */
static void head_ends_in_container(struct reencode *r, enum mime_label label, enum mode mode)
{
    begin_body(r, mode);
    reencode_write_head(r, label == MIME_BINARY ? "8bit" : NULL);
    buf_reset(&r->held);
}

static void end_head(struct reencode *r, bool has_blank)
{
    enum mime_label label = mime_read_label(buf_slice(&r->label));
    enum mime_kind kind = r->head.in_digest && !r->head.has_type ? MIME_MESSAGE : MIME_LEAF;
    struct mime_boundary boundary = {.n = 0};
    if (r->head.has_type)
        kind = mime_read_type(buf_slice(&r->type), &boundary);
    r->has_blank = has_blank;
    r->head_n = r->held.n;
    bool is_encoded = label > MIME_BINARY;
    if (kind == MIME_LEAF || (kind == MIME_MESSAGE && is_encoded)) {
        head_ends_in_leaf(r, label);
    } else if (kind == MIME_MESSAGE) {
        head_ends_in_container(r, label, STRICT);
        new_head(r, true, false);
    } else if (kind == MIME_OTHER_MESSAGE || r->depth == REENCODE_DEPTH_MAX) {
        head_ends_in_container(r, label, STRICT);
    } else {
        head_ends_in_container(r, label, LOOSE);
        r->is_digest[r->depth] = kind == MIME_DIGEST;
        r->open[r->depth++] = boundary;
    }
}

static enum field field_of(struct reencode *r, struct slice name)
{
    if (slice_ieq(name, SLICE_LIT("MIME-Version")))
        r->head.has_version = true;
    if (slice_ieq(name, SLICE_LIT("Content-Type")) && !r->head.has_type) {
        r->head.has_type = true;
        return FIELD_TYPE;
    }
    if (!slice_ieq(name, SLICE_LIT("Content-Transfer-Encoding")))
        return FIELD_OTHER;
    if (r->head.has_label)
        return FIELD_DROPPED; /* a second label would be the one that somebody believes */
    r->head.has_label = r->head.holding = true;
    return FIELD_LABEL;
}

/* A line of the field that the header section is in: `value` of it counts. */
static void take_field_line(struct reencode *r, struct slice line, struct slice value)
{
    struct head *h = &r->head;
    if (h->field == FIELD_DROPPED)
        return;
    struct buf *to = h->holding ? &r->held : r->out;
    if (h->holding && HELD - r->held.n < line.n + 2) {
        reencode_fail(r, "a header section of it is too large");
        return;
    }
    buf_add(to, line);
    buf_add(to, SLICE_LIT("\r\n"));
    if (h->field == FIELD_LABEL)
        h->label_n = r->held.n;
    struct buf *kept = h->field == FIELD_TYPE ? &r->type : &r->label;
    if (h->field != FIELD_OTHER)
        buf_add(kept, slice_head(value, kept->max - kept->n));
}

static bool is_mbox_line(struct slice line)
{
    return slice_starts(line, SLICE_LIT("From ")) || slice_starts(line, SLICE_LIT(">From "));
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The start of a line that belongs to a header section; else that has ended in front of it. */
static bool is_head_line(const struct reencode *r, struct slice line)
{
    struct header_field f;
    if (line.n > 0 && is_blank(line.p[0]))
        return r->head.in_field;
    return header_next(&line, &f) || (!r->head.begun && is_mbox_line(line));
}

/* At most LINE_OCTETS of a header section, with a line end behind them. */
static void take_head_line(struct reencode *r, struct slice line)
{
    struct header_field f = {.value = line};
    struct slice rest = line;
    r->head.begun = true;
    if (!is_blank(line.p[0])) {
        r->head.in_field = header_next(&rest, &f);
        r->head.field = r->head.in_field ? field_of(r, f.name) : FIELD_OTHER;
    }
    take_field_line(r, line, f.value);
}

/* Where a long line of a header section can be folded: at a blank with words before it; 0: nowhere.
 */
static size_t fold_at(struct slice line)
{
    size_t i = LINE_OCTETS, words = 0;
    while (i > 0 && !is_blank(line.p[i]))
        i--;
    while (words < i && is_blank(line.p[words]))
        words++;
    return words < i ? i : 0;
}

/* What is gathered, as lines of the header section; while its end is not here, as many of them as
 * are long enough. */
static void fold_head_line(struct reencode *r, bool whole)
{
    size_t at = 0;
    for (size_t i = 0; i < r->line.n; i++)
        if (r->line.p[i] == '\r')
            r->line.p[i] = ' ';
    while (r->line.n - at > LINE_OCTETS && !r->problem) {
        struct slice rest = slice_skip(buf_slice(&r->line), at);
        size_t n = fold_at(rest);
        if (n == 0)
            reencode_fail(r, "a header section of it has a line that cannot be folded");
        else
            take_head_line(r, slice_head(rest, n));
        at += n;
    }
    buf_drop(&r->line, at);
    if (whole && !r->problem) {
        take_head_line(r, buf_slice(&r->line));
        buf_reset(&r->line);
    }
}

/* The line that is gathered is the first one of the body. */
static void begin_body_with_line(struct reencode *r, bool whole, enum eol eol)
{
    if (whole) {
        reencode_give(r, buf_slice(&r->line));
        r->eol = eol;
    } else {
        r->at_start = false;
        reencode_take_text(r, buf_slice(&r->line));
    }
    buf_reset(&r->line);
}

/* A gathered line with `eol` behind it, or (not whole) more of one than a line may have. */
static void take_gathered(struct reencode *r, bool whole, enum eol eol)
{
    bool close = false;
    struct slice line = buf_slice(&r->line);
    size_t i = whole ? find_delimiter(r, line, &close) : r->depth;
    bool delimited = i < r->depth;
    if (delimited || (whole && line.n == 0)) {
        end_head(r, !delimited);
        if (delimited)
            delimit(r, i, close, line);
        buf_reset(&r->line);
        return;
    }
    while (r->in_head && !is_head_line(r, line)) /* twice where a message inside begins with it */
        end_head(r, false);
    if (r->in_head)
        fold_head_line(r, whole);
    else
        begin_body_with_line(r, whole, eol);
}

/* Takes the end off the line that is gathered. */
static enum eol cut_eol(struct buf *line)
{
    if (line->n == 0 || line->p[line->n - 1] != '\n')
        return EOL_NONE;
    bool crlf = line->n > 1 && line->p[line->n - 2] == '\r';
    buf_cut(line, line->n - (crlf ? 2 : 1));
    return crlf ? EOL_CRLF : EOL_LF;
}

/* Gathers up to a line end or `most` octets; returns what is left of the piece. */
static struct slice gather(struct reencode *r, struct slice in, size_t most)
{
    size_t lf = slice_find(in, '\n');
    struct slice part = slice_head(slice_head(in, lf < in.n ? lf + 1 : lf), most - r->line.n);
    buf_add(&r->line, part);
    return slice_skip(in, part.n);
}

static struct slice head_bytes(struct reencode *r, struct slice in)
{
    in = gather(r, in, LINE_GATHERED);
    enum eol eol = cut_eol(&r->line);
    if (eol != EOL_NONE)
        take_gathered(r, true, eol);
    else if (r->line.n == LINE_GATHERED)
        take_gathered(r, false, eol);
    return in;
}

/* ---- lines of a body ---- */

/* What is gathered is no delimiter. */
static void start_line(struct reencode *r)
{
    reencode_end_line(r);
    r->at_start = false;
    reencode_take_text(r, buf_slice(&r->line));
    buf_reset(&r->line);
}

/* A line that may be a delimiter is whole, with `eol` behind it. */
static void take_candidate(struct reencode *r, enum eol eol)
{
    bool close;
    size_t i = find_delimiter(r, buf_slice(&r->line), &close);
    if (i < r->depth) {
        delimit(r, i, close, buf_slice(&r->line));
    } else {
        reencode_end_line(r);
        reencode_give(r, buf_slice(&r->line));
        r->eol = eol;
    }
    buf_reset(&r->line);
}

static struct slice candidate_bytes(struct reencode *r, struct slice in)
{
    in = gather(r, in, DELIMITER_GATHERED);
    enum eol eol = cut_eol(&r->line);
    if (eol != EOL_NONE)
        take_candidate(r, eol);
    else if (r->line.n == DELIMITER_GATHERED || (r->line.n > 1 && r->line.p[1] != '-'))
        start_line(r);
    return in;
}

static struct slice body_bytes(struct reencode *r, struct slice in)
{
    if (r->at_start && r->depth > 0 && (r->line.n > 0 || in.p[0] == '-'))
        return candidate_bytes(r, in);
    if (r->at_start)
        start_line(r);
    size_t lf = slice_find(in, '\n');
    reencode_take_text(r, slice_head(in, lf));
    if (lf == in.n)
        return SLICE_NONE;
    r->eol = r->cr ? EOL_CRLF : EOL_LF;
    r->cr = false;
    r->at_start = true;
    return slice_skip(in, lf + 1);
}

/* ---- the outside ---- */

bool reencode_bytes(struct reencode *r, struct slice piece, struct buf *out)
{
    r->out = out;
    while (piece.n > 0 && !r->problem)
        piece = r->in_head ? head_bytes(r, piece) : body_bytes(r, piece);
    return !r->problem;
}

bool reencode_end(struct reencode *r, struct buf *out)
{
    r->out = out;
    if (r->problem)
        return false;
    if (r->in_head && r->line.n > 0)
        take_gathered(r, true, EOL_NONE);
    else if (r->line.n > 0)
        take_candidate(r, EOL_NONE);
    while (r->in_head && !r->problem)
        end_head(r, false);
    if (r->cr)
        reencode_give(r, SLICE_LIT("\r"));
    r->cr = false;
    reencode_end_line(r);
    reencode_end_body(r);
    return !r->problem;
}

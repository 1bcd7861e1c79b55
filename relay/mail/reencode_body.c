/* What becomes of a body, by the mode that it is in. */
#include "relay/base/base64.h"
#include "relay/mail/reencode_priv.h"

void reencode_fail(struct reencode *r, const char *problem)
{
    if (!r->problem)
        r->problem = problem;
}

void reencode_put(struct reencode *r, const char *text)
{
    buf_add_str(r->out, text);
}

static void encode(struct reencode *r, struct slice s)
{
    while (s.n > 0) {
        size_t n = BASE64_LINE - r->rest_n;
        if (n > s.n)
            n = s.n;
        memcpy(r->rest + r->rest_n, s.p, n);
        r->rest_n += n;
        s = slice_skip(s, n);
        if (r->rest_n == BASE64_LINE) {
            base64_encode(r->out, slice_of(r->rest, BASE64_LINE));
            reencode_put(r, "\r\n");
            r->rest_n = 0;
        }
    }
}

static void copy_strictly(struct reencode *r, struct slice s)
{
    r->column += s.n;
    if (r->column > LINE_OCTETS || slice_find(s, '\r') < s.n)
        reencode_fail(r, "a part that is labelled as lines of text is none");
    else
        buf_add(r->out, s);
}

static void copy_lines(struct reencode *r, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (r->column == LINE_OCTETS && r->mode == LOOSE) {
            reencode_put(r, "\r\n ");
            r->column = 1;
        }
        buf_add_u8(r->out, s.p[i] == '\r' ? ' ' : s.p[i]);
        r->column++;
    }
    if (r->column > LINE_OCTETS)
        reencode_fail(r, "an encoded part of it has a line of more than 998 octets");
}

void reencode_write_head(struct reencode *r, const char *label)
{
    struct slice fields = slice_head(buf_slice(&r->held), r->head_n);
    bool encodes = r->mode == ENCODING;
    if (label) {
        buf_addf(r->out, "Content-Transfer-Encoding: %s\r\n", label);
        fields = slice_skip(fields, r->head.label_n);
    }
    buf_add(r->out, fields);
    if (encodes && r->head.of_message && !r->head.has_version)
        reencode_put(r, "MIME-Version: 1.0\r\n");
    if (encodes && r->head.of_message && !r->head.has_type) /* RFC 1428 */
        reencode_put(r, "Content-Type: text/plain; charset=unknown-8bit\r\n");
    if (r->has_blank || encodes)
        reencode_put(r, "\r\n");
}

/* The end of looking: what has been seen goes out, as it is or encoded. */
static void decide(struct reencode *r, enum mode mode)
{
    struct slice seen = slice_skip(buf_slice(&r->held), r->head_n);
    r->mode = mode;
    reencode_write_head(r, mode == ENCODING ? "base64" : NULL);
    if (mode == ENCODING)
        encode(r, seen);
    else
        buf_add(r->out, seen);
    buf_reset(&r->held);
}

/* Returns what it has not looked at. */
static struct slice look(struct reencode *r, struct slice s)
{
    struct slice part = slice_head(s, HELD - r->held.n);
    if (slice_find(part, '\r') < part.n || slice_find(part, 0) < part.n ||
        r->column + part.n > LINE_OCTETS) {
        decide(r, ENCODING);
        return s;
    }
    buf_add(&r->held, part);
    r->column += part.n;
    if (part.n < s.n)
        decide(r, STRICT);
    return slice_skip(s, part.n);
}

void reencode_give(struct reencode *r, struct slice s)
{
    if (r->mode == LOOKING)
        s = look(r, s);
    if (s.n == 0)
        return;
    if (r->mode == ENCODING)
        encode(r, s);
    else if (r->mode == STRICT)
        copy_strictly(r, s);
    else
        copy_lines(r, s);
}

void reencode_take_text(struct reencode *r, struct slice s)
{
    if (s.n == 0)
        return;
    if (r->cr)
        reencode_give(r, SLICE_LIT("\r"));
    r->cr = s.p[s.n - 1] == '\r';
    reencode_give(r, slice_head(s, r->cr ? s.n - 1 : s.n));
}

void reencode_end_line(struct reencode *r)
{
    enum eol eol = r->eol;
    r->eol = EOL_NONE;
    if (eol == EOL_NONE)
        return;
    if (r->mode == LOOKING && eol == EOL_LF)
        decide(r, ENCODING);
    if (r->mode == LOOKING && HELD - r->held.n < 2)
        decide(r, STRICT);
    if (r->mode == ENCODING) {
        encode(r, eol == EOL_LF ? SLICE_LIT("\n") : SLICE_LIT("\r\n"));
        return;
    }
    if (r->mode == STRICT && eol == EOL_LF)
        reencode_fail(r, "a part that is labelled as lines of text has bare line feeds");
    r->column = 0;
    buf_add(r->mode == LOOKING ? &r->held : r->out, SLICE_LIT("\r\n"));
}

void reencode_end_body(struct reencode *r)
{
    if (r->mode == LOOKING)
        decide(r, STRICT);
    if (r->mode == ENCODING && r->rest_n > 0) {
        base64_encode(r->out, slice_of(r->rest, r->rest_n));
        reencode_put(r, "\r\n");
        r->rest_n = 0;
    }
}

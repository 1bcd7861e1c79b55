#include "relay/mail/dkim_canon.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* ---- a header field ---- */

static void add_lower(struct buf *out, struct slice name)
{
    for (size_t i = 0; i < name.n; i++)
        buf_add_u8(out, byte_lower(name.p[i]));
}

/* Words with one blank between them; a line end stands only in a fold, where a blank follows. */
static void add_words(struct buf *out, struct slice value)
{
    value = slice_trim(value);
    for (size_t i = 0; i < value.n; i++) {
        const uint8_t c = value.p[i];
        const bool fold = c == '\r' && i + 1 < value.n && value.p[i + 1] == '\n';
        if (fold)
            i++;
        else if (!is_blank(c))
            buf_add_u8(out, c);
        else if (out->p[out->n - 1] != ' ')
            buf_add_u8(out, ' ');
    }
}

void dkim_canon_field(struct buf *out, struct slice raw)
{
    const size_t colon = slice_find(raw, ':');
    add_lower(out, slice_trim(slice_head(raw, colon)));
    buf_add_u8(out, ':');
    add_words(out, slice_skip(raw, colon + 1));
}

/* ---- the body ---- */

static void give(struct dkim_body *b)
{
    if (b->n > 0)
        b->sink(b->ctx, slice_of(b->chunk, b->n));
    b->n = 0;
}

static void add(struct dkim_body *b, struct slice s)
{
    while (s.n > 0) {
        const struct slice part = slice_head(s, DKIM_CHUNK - b->n);
        memcpy(b->chunk + b->n, part.p, part.n);
        b->n += part.n;
        s = slice_skip(s, part.n);
        if (b->n == DKIM_CHUNK)
            give(b);
    }
}

/* Octets that stand where they stand, behind all that waited to see whether any come. */
static void put(struct dkim_body *b, struct slice s)
{
    for (; b->line_ends > 0; b->line_ends--)
        add(b, SLICE_LIT("\r\n"));
    if (b->blank)
        add(b, SLICE_LIT(" "));
    b->blank = false;
    b->any = true;
    add(b, s);
}

static bool is_plain(uint8_t c)
{
    return c != ' ' && c != '\t' && c != '\r';
}

/* A CR that was none of a line end (only BINARYMIME can bring one) is an octet like any other. */
static void put_cr(struct dkim_body *b)
{
    if (b->cr)
        put(b, SLICE_LIT("\r"));
    b->cr = false;
}

void dkim_body_bytes(struct dkim_body *b, struct slice piece)
{
    while (piece.n > 0) {
        const uint8_t c = piece.p[0];
        size_t n = 1;
        if (c == '\n' && b->cr) {
            b->cr = b->blank = false;
            b->line_ends++;
        } else if (c == '\r') {
            put_cr(b);
            b->cr = true;
        } else if (is_blank(c)) {
            put_cr(b);
            b->blank = true;
        } else {
            put_cr(b);
            while (n < piece.n && is_plain(piece.p[n]))
                n++;
            put(b, slice_head(piece, n));
        }
        piece = slice_skip(piece, n);
    }
}

void dkim_body_end(struct dkim_body *b)
{
    put_cr(b);
    if (b->any)
        add(b, SLICE_LIT("\r\n"));
    give(b);
}

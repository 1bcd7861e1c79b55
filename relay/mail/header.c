/*
 * RFC 5322 section 2.2 with the obsolete blanks of section 4.5:
 *
 *   fields = *( field ) CRLF            field = name *WSP ":" text CRLF *( 1*WSP text CRLF )
 *   name   = 1*( %d33-57 / %d59-126 )
 *
 * A line of blanks only continues the field above it (section 4.2, "folded empty lines"). The
 * scanner judges a line when its CRLF is there, from the line's first bytes, which it keeps; so
 * pieces may end anywhere.
 */
#include "relay/mail/header.h"

enum { LINE_KEPT = 1100, MESSAGE_ID_MAX = 998 };

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Length of name, blanks and colon at the start of the line; 0 when the line is no field. */
static size_t field_start(struct slice line, struct slice *ret_name)
{
    size_t name = 0;
    while (name < line.n && line.p[name] > 32 && line.p[name] < 127 && line.p[name] != ':')
        name++;
    size_t n = name;
    while (n < line.n && is_blank(line.p[n]))
        n++;
    if (name == 0 || n == line.n || line.p[n] != ':')
        return 0;
    *ret_name = slice_head(line, name);
    return n + 1;
}

void header_scan_init(struct header_scan *h, size_t max_octets)
{
    *h = (struct header_scan){.max = max_octets,
                              .message_id = BUF_MAX(LINE_KEPT + MESSAGE_ID_MAX),
                              .line = BUF_MAX(LINE_KEPT)};
}

void header_scan_done(struct header_scan *h)
{
    buf_done(&h->message_id);
    buf_done(&h->line);
}

/* What was gathered may have blanks, comments and folds around the id. */
static void trim_message_id(struct buf *id)
{
    if (id->n == 0)
        return;
    struct slice all = buf_slice(id), found = slice_trim(all);
    size_t open = slice_find(all, '<');
    size_t close = slice_find(slice_skip(all, open), '>');
    if (open + close < all.n)
        found = slice_of(all.p + open, close + 1);
    if (found.n > 0 && found.p != all.p)
        memmove(id->p, found.p, found.n);
    buf_cut(id, found.n < MESSAGE_ID_MAX ? found.n : MESSAGE_ID_MAX);
}

static void gather_message_id(struct header_scan *h, struct slice text)
{
    buf_add(&h->message_id, slice_head(text, h->message_id.max - h->message_id.n));
}

static void end_field(struct header_scan *h)
{
    if (h->in_message_id)
        trim_message_id(&h->message_id);
    h->in_message_id = false;
}

static void end_header(struct header_scan *h, size_t header_n, bool empty_line)
{
    end_field(h);
    h->done = true;
    h->facts.header_n = header_n;
    h->facts.no_header_end = !empty_line;
}

static void note_field(struct header_scan *h, struct slice name, struct slice text)
{
    struct header_facts *f = &h->facts;
    h->in_field = true;
    f->eight_bit_header |= h->line_eight_bit;
    if (slice_ieq(name, SLICE_LIT("Received"))) {
        f->received++;
    } else if (slice_ieq(name, SLICE_LIT("Message-ID")) && !f->has_message_id) {
        f->has_message_id = h->in_message_id = true;
        gather_message_id(h, text);
    }
}

static bool is_mbox_line(struct slice line)
{
    return slice_starts(line, SLICE_LIT("From ")) || slice_starts(line, SLICE_LIT(">From "));
}

/* The line is no field, so the header section ends before it. */
static void no_field(struct header_scan *h, struct slice line)
{
    size_t line_start = (size_t)h->seen - h->line_n;
    if (line_start == 0 && is_mbox_line(line)) {
        h->facts.from_line_n = h->line_n;
        return;
    }
    h->facts.malformed = !h->in_field;
    if (h->facts.malformed)
        h->facts.from_line_n = 0;
    end_header(h, h->facts.malformed ? 0 : line_start, false);
}

/* h->line holds the start of a line of h->line_n octets, of which the last `end_n` are its CRLF. */
static void take_line(struct header_scan *h, size_t end_n)
{
    struct slice line = slice_head(buf_slice(&h->line), h->line_n - end_n), name;
    if (line.n == 0) {
        end_header(h, (size_t)h->seen, true);
    } else if (is_blank(line.p[0]) && h->in_field) {
        h->facts.eight_bit_header |= h->line_eight_bit;
        if (h->in_message_id)
            gather_message_id(h, line);
    } else {
        size_t n = field_start(line, &name);
        end_field(h);
        if (n > 0)
            note_field(h, name, slice_skip(line, n));
        else
            no_field(h, line);
    }
    buf_reset(&h->line);
    h->line_n = 0;
    h->line_eight_bit = false;
}

/* 32 bytes a step: a body of 50 MB costs a few milliseconds. */
static bool has_eight_bit(struct slice s)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    size_t i = 0;
    for (; i + 32 <= s.n; i += 32) {
        uint64_t w[4];
        memcpy(w, s.p + i, sizeof w);
        if ((w[0] | w[1] | w[2] | w[3]) & high)
            return true;
    }
    uint8_t any = 0;
    for (; i < s.n; i++)
        any |= s.p[i];
    return any >= 0x80;
}

static void keep(struct header_scan *h, struct slice part)
{
    buf_add(&h->line, slice_head(part, LINE_KEPT - h->line.n));
    h->line_n += part.n;
    h->seen += part.n;
    h->line_eight_bit = h->line_eight_bit || (h->facts.eight_bit && has_eight_bit(part));
}

/* Reads lines until the header section or the piece ends. */
static void scan_lines(struct header_scan *h, struct slice piece)
{
    while (piece.n > 0 && !h->done) {
        size_t at = slice_find(piece, '\n');
        struct slice part = slice_head(piece, at < piece.n ? at + 1 : at);
        uint8_t before = part.n > 1 ? part.p[part.n - 2] : h->last;
        h->last = part.p[part.n - 1];
        keep(h, part);
        piece = slice_skip(piece, part.n);
        if (h->last == '\n' && before == '\r' && h->line_n > 1)
            take_line(h, 2);
    }
}

void header_scan_bytes(struct header_scan *h, struct slice piece)
{
    if (!h->facts.eight_bit)
        h->facts.eight_bit = has_eight_bit(piece);
    if (h->done || piece.n == 0)
        return;
    size_t room = h->max - (size_t)h->seen;
    scan_lines(h, slice_head(piece, room));
    if (!h->done && piece.n > room) {
        h->facts.too_long = true;
        end_header(h, 0, true);
    }
}

void header_scan_end(struct header_scan *h)
{
    if (!h->done && h->line_n > 0)
        take_line(h, 0); /* BDAT may leave the last line without CRLF */
    if (!h->done)
        end_header(h, (size_t)h->seen, false);
    h->facts.eight_bit_header |= h->facts.too_long && h->facts.eight_bit;
}

/* Length of the line at the start of s with its CRLF, or all of s. */
static size_t line_length(struct slice s)
{
    size_t n = slice_find_slice(s, SLICE_LIT("\r\n"));
    return n < s.n ? n + 2 : s.n;
}

bool header_next(struct slice *rest, struct header_field *ret)
{
    struct slice s = *rest, name;
    if (s.n == 0)
        return false;
    size_t n = line_length(s);
    size_t start = field_start(slice_head(s, n), &name);
    if (start == 0)
        return false;
    while (n < s.n && is_blank(s.p[n]))
        n += line_length(slice_skip(s, n));
    struct slice raw = slice_head(s, n), value = slice_skip(raw, start);
    if (value.n >= 2 && value.p[value.n - 1] == '\n' && value.p[value.n - 2] == '\r')
        value.n -= 2;
    *ret = (struct header_field){.name = name, .value = value, .raw = raw};
    *rest = slice_skip(s, n);
    return true;
}

#include "relay/mail/ascii.h"
#include "relay/base/utf8.h"

enum { LINE_WANTED = 78, WORD_MAX = 900 };

static bool is_printable(uint8_t c)
{
    return c >= 32 && c <= 126;
}

static bool is_token_byte(uint8_t c)
{
    uint8_t low = byte_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._:[]", c));
}

void ascii_token(struct buf *out, struct slice s, size_t max)
{
    s = slice_head(s, max);
    for (size_t i = 0; i < s.n; i++)
        buf_add_u8(out, is_token_byte(s.p[i]) ? s.p[i] : '?');
}

void ascii_comment(struct buf *out, struct slice s, size_t max)
{
    s = slice_head(s, max);
    for (size_t i = 0; i < s.n; i++)
        buf_add_u8(out, is_printable(s.p[i]) && !strchr("()\\", s.p[i]) ? s.p[i] : '?');
}

/* embedded: characters of ASCII that are written by their number, too. */
static void add_characters(struct buf *out, struct slice s, const char *embedded)
{
    while (s.n > 0) {
        uint32_t code;
        size_t n = utf8_char(s, &code);
        if (n > 1 || (n == 1 && code && strchr(embedded, (int)code)))
            buf_addf(out, "\\x{%02X}", (unsigned)code);
        else
            buf_add_u8(out, n == 1 && is_printable(s.p[0]) ? s.p[0] : '?');
        s = slice_skip(s, n ? n : 1);
    }
}

void ascii_text(struct buf *out, struct slice s)
{
    add_characters(out, s, "");
}

void ascii_utf8_address(struct buf *out, struct slice s)
{
    add_characters(out, s, "\\+= ");
}

struct fold fold_begin(struct buf *out, const char *first, const char *indent)
{
    struct fold f = {.out = out, .indent = indent, .column = strlen(first)};
    f.at_start = f.column == 0 || first[f.column - 1] == ' ';
    buf_add_str(out, first);
    return f;
}

static void new_line(struct fold *f)
{
    buf_add_str(f->out, "\r\n");
    buf_add_str(f->out, f->indent);
    f->column = strlen(f->indent);
    f->at_start = true;
}

void fold_word(struct fold *f, struct slice word)
{
    while (word.n > 0) {
        struct slice piece = slice_head(word, WORD_MAX);
        /* Not within a character. */
        while (piece.n < word.n && piece.n > WORD_MAX - 4 && (word.p[piece.n] & 0xC0) == 0x80)
            piece.n--;
        if (!f->at_start && f->column + 1 + piece.n > LINE_WANTED) {
            new_line(f);
        } else if (!f->at_start) {
            buf_add_u8(f->out, ' ');
            f->column++;
        }
        buf_add(f->out, piece);
        f->column += piece.n;
        f->at_start = false;
        word = slice_skip(word, piece.n);
    }
}

void fold_text(struct fold *f, struct slice text)
{
    while (text.n > 0)
        fold_word(f, slice_cut(&text, ' '));
}

void fold_str(struct fold *f, const char *text)
{
    fold_text(f, slice_str(text));
}

void fold_end(struct fold *f)
{
    buf_add_str(f->out, "\r\n");
}

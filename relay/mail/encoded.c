#include "relay/mail/encoded.h"
#include "relay/base/base64.h"
#include "relay/base/utf8.h"

enum {
    WORD_OCTETS = 42, /* of an encoded word: below 75 when encoded */
    QP_LINE = 76      /* with the "=" of a soft line end */
};

void encoded_words(struct buf *out, struct slice text)
{
    const char *between = "";
    while (text.n) {
        size_t n = 0, more;
        uint32_t code;
        while (n < text.n && (more = utf8_char(slice_skip(text, n), &code)) + n <= WORD_OCTETS)
            n += more ? more : 1;
        buf_addf(out, "%s=?UTF-8?B?", between);
        base64_encode(out, slice_head(text, n));
        buf_add_str(out, "?=");
        text = slice_skip(text, n);
        between = "\r\n ";
    }
}

/* What must not stand there as it is: also a blank that a line would end with, which is lost on the
 * way. */
static bool is_plain(struct slice line, size_t i)
{
    const uint8_t c = line.p[i];
    const bool blank = c == ' ' || c == '\t';
    return blank ? i + 1 < line.n : c > 32 && c < 127 && c != '=';
}

static void quote_line(struct buf *out, struct slice line)
{
    size_t column = 0;
    for (size_t i = 0; i < line.n; i++) {
        const bool plain = is_plain(line, i);
        const size_t width = plain ? 1 : 3;
        if (column + width > QP_LINE - (i + 1 < line.n)) {
            buf_add_str(out, "=\r\n");
            column = 0;
        }
        if (plain)
            buf_add_u8(out, line.p[i]);
        else
            buf_addf(out, "=%02X", line.p[i]);
        column += width;
    }
}

void encoded_quoted_printable(struct buf *out, struct slice text)
{
    while (text.n) {
        const size_t end = slice_find_slice(text, SLICE_LIT("\r\n"));
        quote_line(out, slice_head(text, end));
        if (end < text.n)
            buf_add_str(out, "\r\n");
        text = slice_skip(text, end + 2);
    }
}

/*
 *   xtext   = *( xchar / hexchar )
 *   xchar   = %d33-42 / %d44-60 / %d62-126     ; printable ASCII but "+" and "="
 *   hexchar = "+" 2( %d48-57 / %d65-70 )       ; upper case only
 */
#include "relay/smtp/xtext.h"

static bool is_xchar(uint8_t c)
{
    return c > ' ' && c < 127 && c != '+' && c != '=';
}

/* 16: no upper-case hexadecimal digit. */
static unsigned hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - (unsigned)'0';
    return c >= 'A' && c <= 'F' ? c - (unsigned)'A' + 10 : 16;
}

/* One character at the front of the text: how many bytes it takes there; 0: malformed. */
static size_t decode_one(struct slice text, uint8_t *ret)
{
    if (is_xchar(text.p[0])) {
        *ret = text.p[0];
        return 1;
    }
    if (text.p[0] != '+' || text.n < 3)
        return 0;
    unsigned high = hex_value(text.p[1]), low = hex_value(text.p[2]);
    unsigned value = high << 4 | low;
    if (high > 15 || low > 15 || value < ' ' || value > '~')
        return 0;
    *ret = (uint8_t)value;
    return 3;
}

bool xtext_decode(struct buf *out, struct slice text)
{
    size_t before = out->n;
    while (text.n > 0) {
        uint8_t c;
        size_t n = decode_one(text, &c);
        if (n == 0 || !buf_add_u8(out, c)) {
            buf_cut(out, before);
            return false;
        }
        text = slice_skip(text, n);
    }
    return true;
}

bool xtext_encode(struct buf *out, struct slice bytes)
{
    size_t before = out->n;
    bool ok = true;
    for (size_t i = 0; i < bytes.n && ok; i++) {
        if (is_xchar(bytes.p[i]))
            ok = buf_add_u8(out, bytes.p[i]);
        else
            ok = buf_addf(out, "+%02X", bytes.p[i]);
    }
    if (!ok)
        buf_cut(out, before);
    return ok;
}

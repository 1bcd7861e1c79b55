/*
 *   original-recipient-address = addr-type ";" address
 *   addr-type = "rfc822" / "utf-8"
 *   address   = xtext                                          ; rfc822
 *             / 1*( QCHAR / embedded / UTF8-non-ascii )        ; utf-8, the last one with SMTPUTF8
 *   QCHAR     = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e          ; no "+", "=", "\", no blank
 *   embedded  = "\x{" 2*6( DIGIT / "A" … "F" ) "}"             ; at its shortest, but 2 digits
 *
 * With SMTPUTF8 the text may also be an address as RFC 6531 has it, with what QCHAR leaves out.
 */
#include "relay/smtp/orcpt.h"
#include "relay/base/utf8.h"
#include "relay/smtp/xtext.h"

static const struct slice type_rfc822 = {(const uint8_t *)"rfc822;", 7};
static const struct slice type_utf8 = {(const uint8_t *)"utf-8;", 6};

static bool is_qchar(uint8_t c)
{
    return c > ' ' && c < 127 && c != '+' && c != '=' && c != '\\';
}

static unsigned hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - (unsigned)'0';
    return c >= 'A' && c <= 'F' ? c - (unsigned)'A' + 10 : 16;
}

static bool add_character(struct buf *out, uint32_t code)
{
    uint8_t b[4];
    size_t n = 1;
    if (code < 0x80) {
        b[0] = (uint8_t)code;
    } else {
        n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        for (size_t i = n - 1; i > 0; i--, code >>= 6)
            b[i] = (uint8_t)(0x80 | (code & 0x3f));
        b[0] = (uint8_t)((0xf00U >> n & 0xf0) | code);
    }
    uint32_t same;
    struct slice s = slice_of(b, n);
    return utf8_char(s, &same) == n && !utf8_is_control(same) && buf_add(out, s);
}

/* "\x{…}" at the front: how long it is; 0: it is none, or stands for what may not be. */
static size_t embedded(struct buf *out, struct slice text)
{
    const size_t end = slice_find(text, '}');
    if (end == text.n || end < 5 || end > 9 || (end > 5 && text.p[3] == '0'))
        return 0;
    uint32_t code = 0;
    for (size_t i = 3; i < end; i++) {
        unsigned digit = hex_value(text.p[i]);
        if (digit > 15)
            return 0;
        code = code << 4 | digit;
    }
    return add_character(out, code) ? end + 1 : 0;
}

/* One character beyond QCHAR, as it is. */
static size_t raw(struct buf *out, struct slice text)
{
    uint32_t code;
    const size_t n = utf8_char(text, &code);
    if (n == 0 || code == ' ' || utf8_is_control(code))
        return 0;
    return buf_add(out, slice_head(text, n)) ? n : 0;
}

static bool decode_utf8(struct buf *out, struct slice text, bool smtputf8)
{
    while (text.n > 0) {
        size_t n = 0;
        if (slice_starts(text, SLICE_LIT("\\x{")))
            n = embedded(out, text);
        else if (smtputf8 || is_qchar(text.p[0]))
            n = raw(out, text);
        if (n == 0)
            return false;
        text = slice_skip(text, n);
    }
    return true;
}

bool orcpt_decode(struct buf *out, struct slice text, bool smtputf8)
{
    const size_t before = out->n;
    bool ok = false;
    if (text.n > ORCPT_MAX)
        return false;
    if (slice_istarts(text, type_rfc822))
        ok = text.n > type_rfc822.n && buf_add(out, type_rfc822) &&
             xtext_decode(out, slice_skip(text, type_rfc822.n));
    else if (slice_istarts(text, type_utf8))
        ok = text.n > type_utf8.n && buf_add(out, type_utf8) &&
             decode_utf8(out, slice_skip(text, type_utf8.n), smtputf8);
    if (!ok)
        buf_cut(out, before);
    return ok;
}

/* A backslash is always embedded: left alone it could begin what was not meant. */
static bool encode_utf8(struct buf *out, struct slice address, bool smtputf8)
{
    while (address.n > 0) {
        uint32_t code;
        const size_t n = utf8_char(address, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
        const bool plain = n == 1 ? is_qchar(address.p[0]) : smtputf8;
        if (plain ? !buf_add(out, slice_head(address, n))
                  : !buf_addf(out, "\\x{%02X}", (unsigned)code))
            return false;
        address = slice_skip(address, n);
    }
    return true;
}

bool orcpt_encode(struct buf *out, struct slice stored, bool smtputf8)
{
    const size_t before = out->n;
    bool ok = false;
    if (slice_starts(stored, type_rfc822))
        ok = stored.n > type_rfc822.n && buf_add(out, type_rfc822) &&
             xtext_encode(out, slice_skip(stored, type_rfc822.n));
    else if (slice_starts(stored, type_utf8))
        ok = stored.n > type_utf8.n && buf_add(out, type_utf8) &&
             encode_utf8(out, slice_skip(stored, type_utf8.n), smtputf8);
    if (!ok)
        buf_cut(out, before);
    return ok;
}

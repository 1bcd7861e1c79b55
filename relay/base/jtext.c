#include "relay/base/jtext.h"
#include "relay/base/utf8.h"
#include <stdio.h>

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static size_t plain_run(struct slice s)
{
    size_t n = 0;
    while (n < s.n && is_plain(s.p[n]))
        n++;
    return n;
}

/* One character that is not plain, as it stands in JSON, NUL-terminated; returns how many bytes of
 * s it was. */
static size_t escape(struct slice s, char ret_text[16])
{
    uint32_t code = 0;
    size_t n = utf8_char(s, &code);
    if (n == 0) {
        memcpy(ret_text, "\xef\xbf\xbd", 4); /* U+FFFD: the replacement character */
        return 1;
    }
    if (code == '"' || code == '\\') {
        memcpy(ret_text, (const char[]){'\\', (char)code, 0}, 3);
    } else if (utf8_is_control(code)) {
        snprintf(ret_text, 16, "\\u%04x", (unsigned)code);
    } else {
        memcpy(ret_text, s.p, n);
        ret_text[n] = 0;
    }
    return n;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool jtext_string(struct buf *out, struct slice s, size_t raw_max, size_t escaped_max)
{
    size_t raw = 0, escaped = 0;
    buf_add_u8(out, '"');
    while (raw < s.n) {
        struct slice rest = slice_skip(s, raw);
        size_t n = least(plain_run(rest), least(raw_max - raw, escaped_max - escaped));
        buf_add(out, slice_head(rest, n));
        raw += n;
        escaped += n;
        if (raw == s.n)
            break;
        char text[16];
        size_t used = escape(slice_skip(s, raw), text), made = strlen(text);
        if (used > raw_max - raw || made > escaped_max - escaped)
            break;
        buf_add_str(out, text);
        raw += used;
        escaped += made;
    }
    buf_add_u8(out, '"');
    return raw < s.n;
}

void jtext_number(struct buf *out, uint64_t n)
{
    uint8_t text[20];
    size_t at = sizeof text;
    do
        text[--at] = (uint8_t)('0' + n % 10);
    while (n /= 10);
    buf_add(out, slice_of(text + at, sizeof text - at));
}

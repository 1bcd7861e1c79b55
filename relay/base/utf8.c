#include "relay/base/utf8.h"

/*
 * RFC 3629, section 4: no overlong forms, no surrogates, nothing above U+10FFFF. All that the first
 * byte does not settle is settled by the range of the second.
 */
size_t utf8_char(struct slice s, uint32_t *ret_code)
{
    if (s.n == 0)
        return 0;
    uint8_t first = s.p[0];
    if (first < 0x80) {
        *ret_code = first;
        return 1;
    }
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t n = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (s.n < n)
        return 0;
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (s.p[1] < low || s.p[1] > high)
        return 0;
    uint32_t code = first & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s.p[i] & 0x3f);
    }
    *ret_code = code;
    return n;
}

bool utf8_is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

bool utf8_valid(struct slice s)
{
    uint32_t code;
    while (s.n) {
        size_t n = utf8_char(s, &code);
        if (n == 0)
            return false;
        s = slice_skip(s, n);
    }
    return true;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f;
}

bool utf8_plain(struct slice s)
{
    size_t n = 0;
    while (n < s.n && is_plain(s.p[n]))
        n++;
    return n == s.n;
}

/* Takes what goes out next from *s: a run of plain bytes, one character, or what stands for a byte.
 */
static struct slice next_clean(struct slice *s, size_t max)
{
    size_t run = 0;
    while (run < s->n && run < max && is_plain(s->p[run]))
        run++;
    uint32_t code = 0;
    size_t n = run ? run : utf8_char(*s, &code);
    struct slice out = slice_head(*s, n);
    if (n == 0) {
        n = 1;
        out = SLICE_LIT("?");
    } else if (run == 0 && utf8_is_control(code)) {
        out = SLICE_LIT(" ");
    }
    if (out.n > max)
        return SLICE_NONE;
    *s = slice_skip(*s, n);
    return out;
}

bool utf8_clean(struct buf *out, struct slice s, size_t max)
{
    while (s.n) {
        struct slice piece = next_clean(&s, max);
        if (piece.n == 0 || !buf_add(out, piece))
            return false;
        max -= piece.n;
    }
    return true;
}

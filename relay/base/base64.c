#include "relay/base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct buf *out, struct slice s)
{
    uint8_t *to = s.n ? buf_reserve(out, (s.n + 2) / 3 * 4) : NULL;
    if (!to)
        return s.n == 0;
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t v = (uint32_t)s.p[i] << 16;
        if (i + 1 < s.n)
            v |= (uint32_t)s.p[i + 1] << 8;
        if (i + 2 < s.n)
            v |= s.p[i + 2];
        *to++ = (uint8_t)digits[v >> 18];
        *to++ = (uint8_t)digits[v >> 12 & 63];
        *to++ = (uint8_t)(i + 1 < s.n ? digits[v >> 6 & 63] : '=');
        *to++ = (uint8_t)(i + 2 < s.n ? digits[v & 63] : '=');
    }
    buf_commit(out, (s.n + 2) / 3 * 4);
    return true;
}

/* 64: not a letter. */
static uint32_t value_of(uint8_t c)
{
    return c >= 'A' && c <= 'Z'   ? c - (uint32_t)'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26u
           : c >= '0' && c <= '9' ? c - '0' + 52u
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : 64;
}

/* The bytes of four letters, of which `pad` at the end are padding; 0: malformed. */
static size_t decode_four(const uint8_t *four, size_t pad, uint8_t *to)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t digit = i < 4 - pad ? value_of(four[i]) : 0;
        if (digit == 64)
            return 0;
        v = v << 6 | digit;
    }
    to[0] = (uint8_t)(v >> 16);
    to[1] = (uint8_t)(v >> 8);
    to[2] = (uint8_t)v;
    const bool left_over = (pad >= 1 && to[2]) || (pad == 2 && to[1]);
    return left_over ? 0 : 3 - pad;
}

bool base64_decode(struct buf *out, struct slice text)
{
    if (text.n == 0)
        return true;
    if (text.n % 4)
        return false;
    size_t pad = 0, n = 0;
    while (pad < 2 && text.p[text.n - 1 - pad] == '=')
        pad++;
    uint8_t *to = buf_reserve(out, text.n / 4 * 3);
    if (!to)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        const size_t got = decode_four(text.p + i, i + 4 == text.n ? pad : 0, to + n);
        if (got == 0)
            return false;
        n += got;
    }
    buf_commit(out, n);
    return true;
}

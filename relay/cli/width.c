/*
 * Columns of a terminal: most characters take one, those of East Asia and pictures two, accents
 * that stand on another none. As the C library knows it, in a locale of our own: what the user's
 * says of sorting or of messages is nothing to us.
 */
#include "relay/base/utf8.h"
#include "relay/cli/private.h"
#include <locale.h>
#include <wchar.h>

static unsigned columns_of(uint32_t code)
{
    static locale_t utf8;
    static bool asked;
    if (code < 0x80)
        return 1;
    if (!asked)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    asked = true;
    if (!utf8) /* a system without it */
        return 1;
    locale_t before = uselocale(utf8);
    const int n = wcwidth((wchar_t)code);
    uselocale(before);
    return n < 0 ? 1 : (unsigned)n;
}

size_t term_fit(struct slice text, unsigned columns, unsigned *ret_taken)
{
    unsigned taken = 0;
    size_t n = 0;
    while (n < text.n) {
        uint32_t code = '?';
        const size_t octets = utf8_char(slice_skip(text, n), &code);
        const unsigned more = columns_of(octets ? code : '?');
        if (more > columns - taken)
            break;
        taken += more;
        n += octets ? octets : 1;
    }
    *ret_taken = taken;
    return n;
}

unsigned term_columns(const char *text)
{
    const struct slice s = slice_str(text);
    unsigned taken;
    if (utf8_plain(s))
        return (unsigned)s.n;
    term_fit(s, UINT32_MAX, &taken);
    return taken;
}

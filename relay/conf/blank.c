/*
 * Where libConfuse sees a comment: "#" or "//" to the end of the line, and C's comments; not inside
 * "…", '…' and ${…}.
 */
#include "relay/conf/options.h"

/* The index behind the part that begins at i and ends with `end`; n when it does not end. */
static size_t behind(const uint8_t *text, size_t n, size_t i, uint8_t end)
{
    for (i++; i < n && text[i] != end; i++)
        if (text[i] == '\\' && end != '}')
            i++;
    return i < n ? i + 1 : n;
}

static size_t blank_line(uint8_t *text, size_t n, size_t i)
{
    for (; i < n && text[i] != '\n'; i++)
        text[i] = ' ';
    return i;
}

/* n + 1: not closed. */
static size_t blank_block(uint8_t *text, size_t n, size_t i)
{
    size_t end = slice_find_slice(slice_of(text + i + 2, n - i - 2), SLICE_LIT("*/")) + i + 2;
    if (end == n)
        return n + 1;
    for (; i < end + 2; i++)
        if (text[i] != '\n')
            text[i] = ' ';
    return i;
}

bool blank_comments(uint8_t *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        const uint8_t next = i + 1 < n ? text[i + 1] : 0;
        if (text[i] == '"' || text[i] == '\'')
            i = behind(text, n, i, text[i]);
        else if (text[i] == '$' && next == '{')
            i = behind(text, n, i, '}');
        else if (text[i] == '#' || (text[i] == '/' && next == '/'))
            i = blank_line(text, n, i);
        else if (text[i] == '/' && next == '*')
            i = blank_block(text, n, i);
        else
            i++;
    }
    return i <= n;
}

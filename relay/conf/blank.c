/*
 * The text as libConfuse can read it. Comments become blanks: "#" or "//" to the end of the line,
 * and C's comments; not inside "…", '…' and ${…}. `tls {` becomes `tls "" {`. No line moves.
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

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool ends_word(uint8_t c)
{
    return is_blank(c) || c == '"' || c == '\'' || memchr("{}()=,", c, 6);
}

/* The length of the name at s of a section whose title may be left out, and is; else 0. */
static size_t untitled(struct slice s)
{
    for (enum conf_section section = S_SPOOL; section < S_COUNT; section++) {
        struct slice name = slice_str(section_name(section));
        if (!section_title_is_optional(section) || !slice_starts(s, name))
            continue;
        size_t i = name.n;
        while (i < s.n && is_blank(s.p[i]))
            i++;
        if (i < s.n && s.p[i] == '{')
            return name.n;
    }
    return 0;
}

/* How much of s stays together: a string, a variable, or one octet. */
static size_t piece(struct slice s)
{
    bool is_variable = s.n > 1 && s.p[0] == '$' && s.p[1] == '{';
    if (s.p[0] == '"' || s.p[0] == '\'' || is_variable)
        return behind(s.p, s.n, 0, is_variable ? '}' : s.p[0]);
    return 1;
}

void add_empty_titles(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.n;) {
        struct slice rest = slice_skip(text, i);
        size_t name = i == 0 || ends_word(text.p[i - 1]) ? untitled(rest) : 0;
        size_t n = name ? name : piece(rest);
        buf_add(out, slice_head(rest, n));
        if (name)
            buf_add_str(out, " \"\"");
        i += n;
    }
}

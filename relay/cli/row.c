/*
 * A row of a listing, read in place: an object of strings, numbers and words, nothing nested. What
 * a general reader would build of a million of them is thrown away at once.
 */
#include "relay/cli/private.h"

struct reader {
    char *p, *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct reader *r)
{
    while (r->p < r->end && is_blank(*r->p))
        r->p++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static bool hex4(const char *p, uint32_t *ret)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        code = code << 4 | (uint32_t)digit;
    }
    *ret = code;
    return true;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* Behind "\u": one code, perhaps of two halves. No NUL: it would end the text. */
static bool unescape_code(struct reader *r, char **to)
{
    uint32_t code, low;
    if (r->end - r->p < 4 || !hex4(r->p, &code))
        return false;
    r->p += 4;
    if (code >= 0xd800 && code < 0xdc00) {
        if (r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u' || !hex4(r->p + 2, &low) ||
            low < 0xdc00 || low > 0xdfff)
            return false;
        r->p += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code == 0 || (code >= 0xdc00 && code < 0xe000)) {
        return false;
    }
    *to = put_utf8(*to, code);
    return true;
}

static bool unescape(struct reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end)
        return false;
    char c = *r->p++;
    if (c == 'u')
        return unescape_code(r, to);
    const char *at = c ? strchr(from, c) : NULL;
    if (at)
        *(*to)++ = into[at - from];
    return at;
}

/* Behind its opening quote. What it means is never longer than how it is written. */
static char *read_string(struct reader *r)
{
    char *text = r->p, *to = r->p;
    while (r->p < r->end && *r->p != '"') {
        char c = *r->p++;
        if (c != '\\')
            *to++ = c;
        else if (!unescape(r, &to))
            return NULL;
    }
    if (r->p == r->end)
        return NULL;
    r->p++;
    *to = 0;
    return text;
}

/* A number or a word; its end is the next sign, which the caller has yet to see. */
static char *read_word(struct reader *r, char *ret_sign)
{
    char *text = r->p;
    while (r->p < r->end && *r->p != ',' && *r->p != '}' && !is_blank(*r->p)) {
        if (strchr("{[\"", *r->p))
            return NULL;
        r->p++;
    }
    char *end = r->p;
    skip_blanks(r);
    if (r->p == r->end || end == text)
        return NULL;
    *ret_sign = *r->p++;
    *end = 0;
    return text;
}

static bool read_field(struct reader *r, struct row *ret, char *ret_sign)
{
    if (ret->n == ROW_FIELDS_MAX || !take(r, '"'))
        return false;
    char *key = read_string(r);
    if (!key || !take(r, ':'))
        return false;
    skip_blanks(r);
    const bool quoted = take(r, '"');
    char *value = quoted ? read_string(r) : read_word(r, ret_sign);
    if (!value)
        return false;
    if (quoted) {
        skip_blanks(r);
        if (r->p == r->end)
            return false;
        *ret_sign = *r->p++;
    }
    ret->at[ret->n].key = key;
    ret->at[ret->n++].value = value;
    return true;
}

bool row_parse(char *text, size_t n, struct row *ret)
{
    struct reader r = {text, text + n};
    char sign = ',';
    ret->n = ret->next = 0;
    if (!take(&r, '{'))
        return false;
    skip_blanks(&r);
    if (take(&r, '}'))
        sign = '}';
    while (sign == ',')
        if (!read_field(&r, ret, &sign))
            return false;
    skip_blanks(&r);
    return sign == '}' && r.p == r.end;
}

const char *row_text(struct row *r, const char *key)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t at = r->next + i < r->n ? r->next + i : r->next + i - r->n;
        if (strcmp(r->at[at].key, key) != 0)
            continue;
        r->next = at + 1;
        return r->at[at].value;
    }
    return "";
}

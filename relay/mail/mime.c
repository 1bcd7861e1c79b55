/*
 * RFC 2045 section 5.1, with comments and folds (RFC 5322 section 3.2.2) between the words:
 *
 *   content   = type "/" subtype *( ";" parameter )       parameter = attribute "=" value
 *   value     = token / quoted-string                     label     = token
 */
#include "relay/mail/mime.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Blanks and comments, which nest. */
static struct slice skip_blanks(struct slice s)
{
    size_t depth = 0, i = 0;
    for (; i < s.n; i++) {
        if (depth > 0 && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '(')
            depth++;
        else if (depth > 0 && s.p[i] == ')')
            depth--;
        else if (depth == 0 && !is_blank(s.p[i]))
            break;
    }
    return slice_skip(s, i);
}

static bool is_token(uint8_t c)
{
    return c > ' ' && c < 127 && !strchr("()<>@,;:\\\"/[]?=", c);
}

static struct slice take_token(struct slice *s)
{
    *s = skip_blanks(*s);
    size_t n = 0;
    while (n < s->n && is_token(s->p[n]))
        n++;
    struct slice token = slice_head(*s, n);
    *s = skip_blanks(slice_skip(*s, n));
    return token;
}

static bool take_byte(struct slice *s, uint8_t c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = slice_skip(*s, 1);
    return true;
}

/* A value as it is meant, up to the maximum; n is larger when it does not fit. Wider than a token
 * where no quotes are: up to the semicolon, since many do not quote. */
static void take_value(struct slice *s, struct mime_boundary *ret)
{
    ret->n = 0;
    *s = skip_blanks(*s);
    bool quoted = take_byte(s, '"');
    size_t i = 0;
    for (; i < s->n && s->p[i] != (quoted ? '"' : ';'); i++) {
        if (quoted && s->p[i] == '\\' && i + 1 < s->n)
            i++;
        if (ret->n < MIME_BOUNDARY_MAX)
            ret->bytes[ret->n] = s->p[i];
        ret->n++;
    }
    *s = slice_skip(*s, quoted ? i + 1 : i);
}

static bool is_usable(struct mime_boundary *b)
{
    if (b->n > MIME_BOUNDARY_MAX)
        return false;
    while (b->n > 0 && is_blank(b->bytes[b->n - 1]))
        b->n--;
    for (size_t i = 0; i < b->n; i++)
        if (b->bytes[i] < ' ' || b->bytes[i] > '~')
            return false;
    return b->n > 0;
}

static bool find_boundary(struct slice s, struct mime_boundary *ret)
{
    while (s.n > 0) {
        s = slice_skip(s, slice_find(s, ';') + 1);
        struct slice name = take_token(&s);
        struct mime_boundary value;
        if (!take_byte(&s, '='))
            continue;
        take_value(&s, &value);
        if (!slice_ieq(name, SLICE_LIT("boundary")))
            continue;
        *ret = value;
        return is_usable(ret);
    }
    return false;
}

enum mime_kind mime_read_type(struct slice value, struct mime_boundary *ret)
{
    struct slice type = take_token(&value);
    if (!take_byte(&value, '/'))
        return MIME_LEAF;
    struct slice subtype = take_token(&value);
    if (slice_ieq(type, SLICE_LIT("multipart"))) {
        if (!find_boundary(value, ret))
            return MIME_LEAF;
        return slice_ieq(subtype, SLICE_LIT("digest")) ? MIME_DIGEST : MIME_MULTIPART;
    }
    if (!slice_ieq(type, SLICE_LIT("message")) || subtype.n == 0)
        return MIME_LEAF;
    bool whole = slice_ieq(subtype, SLICE_LIT("rfc822")) ||
                 slice_ieq(subtype, SLICE_LIT("global")) || slice_ieq(subtype, SLICE_LIT("news"));
    return whole ? MIME_MESSAGE : MIME_OTHER_MESSAGE;
}

enum mime_label mime_read_label(struct slice value)
{
    static const struct {
        const char *name;
        enum mime_label label;
    } labels[] = {
        {"7bit", MIME_7BIT},
        {"8bit", MIME_8BIT},
        {"binary", MIME_BINARY},
        {"base64", MIME_BASE64},
        {"quoted-printable", MIME_QUOTED_PRINTABLE},
    };
    struct slice rest = value, token = take_token(&rest);
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        if (slice_ieq(token, slice_str(labels[i].name)))
            return labels[i].label;
    return slice_trim(value).n > 0 ? MIME_OTHER_LABEL : MIME_UNLABELLED;
}

bool mime_is_delimiter(struct slice line, const struct mime_boundary *b, bool *ret_close)
{
    if (!slice_starts(line, SLICE_LIT("--")) ||
        !slice_starts(slice_skip(line, 2), slice_of(b->bytes, b->n)))
        return false;
    struct slice rest = slice_skip(line, 2 + b->n);
    bool close = slice_starts(rest, SLICE_LIT("--"));
    for (size_t i = close ? 2 : 0; i < rest.n; i++)
        if (rest.p[i] != ' ' && rest.p[i] != '\t' && rest.p[i] != '\r')
            return false;
    *ret_close = close;
    return true;
}

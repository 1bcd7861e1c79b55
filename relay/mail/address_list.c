/*
 *   list    = [ address ] *( "," [ address ] )
 *   address = mailbox / phrase ":" [ mailbox *( "," mailbox ) ] ";"
 *   mailbox = addr-spec / [ phrase ] "<" [ route ] addr-spec ">"
 *   route   = *( "," ) "@" domain *( "," [ "@" domain ] ) ":"
 *   addr-spec = word *( "." word ) "@" ( atom *( "." atom ) / "[" *( atext / "." / ":" ) "]" )
 *   phrase  = word *( word / "." )         word = atom / quoted-string
 *
 * with blanks, folds and comments between any two tokens. Bytes beyond ASCII are letters of an
 * atom; whether an address may have them is asked when it is whole. An encoded word (RFC 2047) is
 * an atom: nothing is decoded, so that nothing in it becomes structure.
 */
#include "relay/mail/address_list.h"
#include "relay/base/utf8.h"

/* A special is its own kind. */
enum { TOKEN_END = 256, TOKEN_BAD, TOKEN_ATOM, TOKEN_QUOTED, TOKEN_LITERAL };

struct token {
    int kind;
    struct slice text;
};

/* What stands before a special: nothing, what could be a local part, or words that are a name
 * only. */
enum words { WORDS_NONE, WORDS_LOCAL, WORDS_PHRASE };

static bool is_atext(uint8_t c)
{
    return c > 32 && c != 127 && !strchr("()<>[]:;@\\,.\"", c);
}

/* The length of a blank or a fold; a CR or LF of any other kind is none. */
static size_t blank(struct slice s)
{
    if (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        return 1;
    if (s.n > 2 && s.p[0] == '\r' && s.p[1] == '\n' && (s.p[2] == ' ' || s.p[2] == '\t'))
        return 3;
    return 0;
}

/* What a quoted string, a comment or a literal may hold at this place: the length, 0: nothing. */
static size_t inner_byte(struct slice s)
{
    size_t n = blank(s);
    if (n || s.n == 0)
        return n;
    if (s.p[0] == '\\')
        return s.n > 1 && (s.p[1] >= 32 || s.p[1] == '\t') && s.p[1] != 127 ? 2 : 0;
    return s.p[0] > 32 && s.p[0] != 127 ? 1 : 0;
}

/* "(…)" with those inside of it; 0: it does not end. */
static size_t comment(struct slice s)
{
    size_t depth = 0, at = 0;
    do {
        struct slice rest = slice_skip(s, at);
        size_t n = inner_byte(rest);
        if (n == 0)
            return 0;
        depth += rest.p[0] == '(';
        depth -= rest.p[0] == ')';
        at += n;
    } while (depth > 0);
    return at;
}

static size_t quoted(struct slice s)
{
    size_t at = 1, n;
    while ((n = inner_byte(slice_skip(s, at))) > 0) {
        if (s.p[at] == '"')
            return at + 1;
        at += n;
    }
    return 0;
}

/* Narrower than the letter: what an address literal can have. */
static size_t literal(struct slice s)
{
    size_t at = 1;
    while (at < s.n && (s.p[at] == '.' || s.p[at] == ':' || (s.p[at] < 127 && is_atext(s.p[at]))))
        at++;
    return at > 1 && at < s.n && s.p[at] == ']' ? at + 1 : 0;
}

static bool skip_blanks(struct slice *s)
{
    for (size_t n = 1; n > 0 && s->n > 0;) {
        n = blank(*s);
        if (s->p[0] == '(' && (n = comment(*s)) == 0)
            return false;
        *s = slice_skip(*s, n);
    }
    return true;
}

static size_t atom(struct slice s)
{
    size_t n = 0;
    while (n < s.n && is_atext(s.p[n]))
        n++;
    return n;
}

static struct token next_token(struct slice *s)
{
    static const struct token bad = {.kind = TOKEN_BAD};
    if (!skip_blanks(s))
        return bad;
    if (s->n == 0)
        return (struct token){.kind = TOKEN_END};
    const uint8_t c = s->p[0];
    struct token t = {.kind = c};
    size_t n = 1;
    if (c == '"') {
        t.kind = TOKEN_QUOTED;
        n = quoted(*s);
    } else if (c == '[') {
        t.kind = TOKEN_LITERAL;
        n = literal(*s);
    } else if (!c || !strchr("<>:;@,.", c)) {
        t.kind = TOKEN_ATOM;
        n = atom(*s);
    }
    if (n == 0)
        return bad;
    t.text = slice_head(*s, n);
    *s = slice_skip(*s, n);
    return t;
}

/* A quoted string may be folded inside; the fold goes, its blank stays. */
static void add_word(struct buf *out, struct slice word)
{
    for (size_t at; word.n > 0; word = slice_skip(word, at + 2)) {
        at = slice_find(word, '\r');
        buf_add(out, slice_head(word, at));
    }
}

/* Words and dots up to a special, which is in *ret. They are put into `out` as a local part, which
 * ends at *ret_end. */
static enum words gather(struct slice *s, struct buf *out, struct token *ret,
                         const uint8_t **ret_end)
{
    enum words words = WORDS_NONE;
    int before = '.'; /* a local part has words and dots by turns */
    for (;;) {
        struct token t = next_token(s);
        const bool word = t.kind == TOKEN_ATOM || t.kind == TOKEN_QUOTED;
        if (!word && t.kind != '.') {
            *ret = t;
            return words == WORDS_LOCAL && before == '.' ? WORDS_PHRASE : words;
        }
        if (word != (before == '.'))
            words = WORDS_PHRASE;
        else if (words == WORDS_NONE)
            words = WORDS_LOCAL;
        before = word ? 0 : '.';
        *ret_end = t.text.p + t.text.n;
        if (words == WORDS_LOCAL)
            add_word(out, t.text);
    }
}

static bool domain(struct slice *s, struct buf *out)
{
    struct token t = next_token(s);
    buf_add(out, t.text);
    if (t.kind == TOKEN_LITERAL)
        return true;
    while (t.kind == TOKEN_ATOM) {
        struct slice ahead = *s;
        if (next_token(&ahead).kind != '.')
            return true;
        *s = ahead;
        buf_add_u8(out, '.');
        t = next_token(s);
        buf_add(out, t.text);
    }
    return false;
}

/* Behind "<": a route of domains is read over; it has no meaning any more. */
static bool skip_route(struct slice *s, struct buf *scratch)
{
    struct slice ahead = *s;
    struct token t = next_token(&ahead);
    if (t.kind != '@' && t.kind != ',')
        return true;
    bool any = false;
    for (; t.kind == '@' || t.kind == ','; t = next_token(&ahead)) {
        if (t.kind == '@' && !domain(&ahead, scratch))
            return false;
        any |= t.kind == '@';
    }
    buf_reset(scratch);
    *s = ahead;
    return any && t.kind == ':';
}

/* Behind "<", up to its ">". */
static bool angle(struct address_list *l, struct buf *out)
{
    struct slice *s = &l->rest;
    const uint8_t *local_end = NULL;
    struct token t;
    buf_reset(out);
    if (!skip_route(s, out) || gather(s, out, &t, &local_end) != WORDS_LOCAL)
        return false;
    if (t.kind == '>' && l->bare) {
        l->bare_end = local_end;
        return true;
    }
    if (t.kind != '@')
        return false;
    buf_add_u8(out, '@');
    return domain(s, out) && next_token(s).kind == '>';
}

static bool characters_fit(const struct address_list *l, struct slice address)
{
    if (utf8_plain(address))
        return true;
    if (!l->utf8)
        return false;
    for (size_t n; address.n > 0; address = slice_skip(address, n)) {
        uint32_t code;
        n = utf8_char(address, &code);
        if (n == 0 || utf8_is_control(code))
            return false;
    }
    return true;
}

static enum address_list_found bad(struct address_list *l)
{
    l->bad = true;
    return ADDRESS_LIST_BAD;
}

/* Behind a mailbox or a group: a comma, the end of the group, or the end. */
static bool separator(struct address_list *l, bool *ret_end)
{
    struct token t = next_token(&l->rest);
    if (t.kind == ';' && l->in_group) {
        l->in_group = false;
        t = next_token(&l->rest);
    }
    l->wants_comma = false;
    *ret_end = t.kind == TOKEN_END;
    return t.kind == ',' || (*ret_end && !l->in_group);
}

/* False: neither a mailbox nor anything that may stand in the place of one. */
static bool element(struct address_list *l, struct buf *out, bool *ret_one, bool *ret_end)
{
    struct token t;
    const uint8_t *local_end = NULL;
    buf_reset(out);
    const enum words words = gather(&l->rest, out, &t, &local_end);
    if (words == WORDS_LOCAL && l->bare) {
        *ret_one = t.kind == ',' || t.kind == TOKEN_END || (t.kind == ';' && l->in_group);
        l->bare_end = *ret_one ? local_end : NULL;
    }
    switch (t.kind) {
    case '@':
        buf_add_u8(out, '@');
        *ret_one = l->wants_comma = true;
        return words == WORDS_LOCAL && domain(&l->rest, out);
    case '<':
        *ret_one = l->wants_comma = true;
        return angle(l, out);
    case ':':
        if (l->in_group || words == WORDS_NONE)
            return false;
        return l->in_group = true;
    case ';':
        if (!l->in_group || (words != WORDS_NONE && !*ret_one))
            return false;
        l->in_group = false;
        return l->wants_comma = true;
    case ',':
        return words == WORDS_NONE || *ret_one;
    default:
        *ret_end = true;
        return t.kind == TOKEN_END && (words == WORDS_NONE || *ret_one) && !l->in_group;
    }
}

struct address_list address_list_of(struct slice value, bool utf8)
{
    /* The value ends where its field does; what a fold leaves there is a blank. */
    return (struct address_list){.rest = slice_trim(value), .utf8 = utf8};
}

enum address_list_found address_list_next(struct address_list *l, struct buf *ret)
{
    bool one = false, end = l->bad;
    l->bare_end = NULL;
    while (!l->bad && !one && !end) {
        const bool fine = l->wants_comma ? separator(l, &end) : element(l, ret, &one, &end);
        if (!fine)
            return bad(l);
    }
    if (l->bad || ret->overflow)
        return bad(l);
    if (!one)
        return ADDRESS_LIST_END;
    return characters_fit(l, buf_slice(ret)) ? ADDRESS_LIST_ONE : bad(l);
}

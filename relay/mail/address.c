/*
 * RFC 5321 section 4.1.2, each function named after its rule; a rule takes bytes and returns the
 * length that it matches at their start, 0 when it does not match:
 *
 *   Path            = "<" [ A-d-l ":" ] Mailbox ">"
 *   A-d-l           = "@" Domain *( "," "@" Domain )
 *   Mailbox         = Local-part "@" ( Domain / address-literal )
 *   Local-part      = Dot-string / Quoted-string
 *   Dot-string      = Atom *( "." Atom )
 *   Quoted-string   = DQUOTE *( %d32-33 / %d35-91 / %d93-126 / "\" %d32-126 ) DQUOTE
 *   Domain          = sub-domain *( "." sub-domain )
 *   address-literal = "[" ( IPv4 / "IPv6:" IPv6 ) "]"
 *
 * With ADDRESS_UTF8 a character beyond ASCII (RFC 3629) may stand in an Atom, a Quoted-string and a
 * sub-domain (RFC 6531 section 3.3).
 *
 * Differences from the letter: "_" counts as a letter of a domain, because receivers use it; a
 * domain whose last label is digits only is no domain, because resolvers would take it for an IPv4
 * address. Beyond ASCII no control passes, and in a domain no other full stop: it would be a dot
 * for the resolver and none for us.
 */
#include "relay/mail/address.h"
#include "relay/base/utf8.h"
#include <arpa/inet.h>

enum { LOCAL_MAX = 64, DOMAIN_MAX = 255, LABEL_MAX = 63, PATH_MAX_OCTETS = 256 };

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_let_dig(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_atext(uint8_t c)
{
    return is_let_dig(c) || (c != 0 && strchr("!#$%&'*+-/=?^`{|}~", c));
}

static bool is_other_full_stop(uint32_t code)
{
    return code == 0x3002 || code == 0xff0e || code == 0xff61;
}

/* One character beyond ASCII; 0: none, or the form has none. */
static size_t beyond_ascii(struct slice s, enum address_form form, uint32_t *ret_code)
{
    if (form == ADDRESS_ASCII || s.n == 0 || s.p[0] < 0x80)
        return 0;
    size_t n = utf8_char(s, ret_code);
    return n > 0 && !utf8_is_control(*ret_code) ? n : 0;
}

static size_t atom(struct slice s, enum address_form form)
{
    size_t n = 0;
    uint32_t code;
    for (size_t more = 1; more > 0; n += more)
        more = n < s.n && is_atext(s.p[n]) ? 1 : beyond_ascii(slice_skip(s, n), form, &code);
    return n;
}

static size_t dot_string(struct slice s, enum address_form form)
{
    size_t n = atom(s, form);
    while (n > 0 && n < s.n && s.p[n] == '.') {
        size_t more = atom(slice_skip(s, n + 1), form);
        if (more == 0)
            return 0;
        n += 1 + more;
    }
    return n;
}

static size_t quoted_string(struct slice s, enum address_form form)
{
    uint32_t code;
    if (s.n == 0 || s.p[0] != '"')
        return 0;
    for (size_t i = 1, more = 1; i < s.n; i += more) {
        if (s.p[i] == '"')
            return i + 1;
        const bool escape = s.p[i] == '\\';
        if (escape && ++i == s.n)
            return 0;
        const bool plain = s.p[i] >= 32 && s.p[i] <= 126;
        more = plain ? 1 : escape ? 0 : beyond_ascii(slice_skip(s, i), form, &code);
        if (more == 0)
            return 0;
    }
    return 0;
}

static size_t local_part(struct slice s, enum address_form form)
{
    size_t n = s.n && s.p[0] == '"' ? quoted_string(s, form) : dot_string(s, form);
    return n <= LOCAL_MAX ? n : 0;
}

/* The limit of a label is one of its ASCII form: where there are characters beyond, only the limit
 * of the domain is looked at. */
static size_t sub_domain(struct slice s, enum address_form form)
{
    size_t n = 0;
    bool ascii = true;
    for (size_t more = 1; more > 0; n += more) {
        uint32_t code = 0;
        if (n < s.n && (is_let_dig(s.p[n]) || s.p[n] == '-')) {
            more = 1;
        } else {
            more = beyond_ascii(slice_skip(s, n), form, &code);
            if (more > 0 && is_other_full_stop(code))
                return 0;
            ascii = ascii && more == 0;
        }
    }
    if (n == 0 || (ascii && n > LABEL_MAX) || s.p[0] == '-' || s.p[n - 1] == '-')
        return 0;
    return n;
}

static bool all_digits(struct slice label)
{
    for (size_t i = 0; i < label.n; i++)
        if (!is_digit(label.p[i]))
            return false;
    return true;
}

static size_t domain_name(struct slice s, enum address_form form)
{
    size_t n = 0;
    for (;;) {
        struct slice rest = slice_skip(s, n);
        size_t label = sub_domain(rest, form);
        if (label == 0)
            return 0;
        n += label;
        if (n == s.n || s.p[n] != '.')
            return n <= DOMAIN_MAX && !all_digits(slice_head(rest, label)) ? n : 0;
        n++;
    }
}

/* inet_pton reads C strings; what it accepts is exactly the textual form, without leading zeros or
 * zone. */
static bool is_ip(int family, struct slice s)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t binary[16];
    if (s.n == 0 || s.n >= sizeof text || memchr(s.p, 0, s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(family, text, binary) == 1;
}

static size_t address_literal(struct slice s)
{
    size_t end = slice_find(s, ']');
    if (s.n == 0 || s.p[0] != '[' || end == s.n)
        return 0;
    struct slice inner = slice_of(s.p + 1, end - 1), tag = SLICE_LIT("IPv6:");
    bool good = slice_istarts(inner, tag) ? is_ip(AF_INET6, slice_skip(inner, tag.n))
                                          : is_ip(AF_INET, inner);
    return good ? end + 1 : 0;
}

static size_t domain_or_literal(struct slice s, enum address_form form)
{
    return s.n && s.p[0] == '[' ? address_literal(s) : domain_name(s, form);
}

/* The one mailbox without a domain (RFC 5321 section 4.5.1). */
static size_t postmaster(struct slice s)
{
    struct slice word = SLICE_LIT("postmaster");
    return slice_istarts(s, word) && (s.n == word.n || s.p[word.n] == '>') ? word.n : 0;
}

static size_t mailbox(struct slice s, enum address_form form, struct address *ret)
{
    size_t local = postmaster(s);
    if (local) {
        *ret = (struct address){.local = slice_head(s, local), .domain = {s.p + local, 0}};
        return local;
    }
    local = local_part(s, form);
    if (local == 0 || local == s.n || s.p[local] != '@')
        return 0;
    struct slice rest = slice_skip(s, local + 1);
    size_t domain = domain_or_literal(rest, form);
    if (domain == 0)
        return 0;
    *ret = (struct address){.local = slice_head(s, local),
                            .domain = slice_head(rest, domain),
                            .literal = rest.p[0] == '['};
    return local + 1 + domain;
}

/* Length of the source route with its colon; 0 when there is none, SIZE_MAX when it is not one. */
static size_t source_route(struct slice s, enum address_form form)
{
    size_t n = 0;
    while (n < s.n && s.p[n] == '@') {
        size_t domain = domain_or_literal(slice_skip(s, n + 1), form);
        n += 1 + domain;
        if (domain == 0 || n == s.n || (s.p[n] != ',' && s.p[n] != ':'))
            return SIZE_MAX;
        if (s.p[n++] == ':')
            return n;
    }
    return n == 0 ? 0 : SIZE_MAX;
}

bool address_parse_form(struct slice s, enum address_form form, struct address *ret)
{
    struct address a;
    if (s.n == 0 || s.n > PATH_MAX_OCTETS - 2 || mailbox(s, form, &a) != s.n)
        return false;
    *ret = a;
    return true;
}

bool address_parse(struct slice s, struct address *ret)
{
    return address_parse_form(s, ADDRESS_ASCII, ret);
}

size_t address_parse_path(struct slice s, enum address_form form, struct slice *ret_path)
{
    s = slice_head(s, PATH_MAX_OCTETS);
    if (s.n < 2 || s.p[0] != '<')
        return 0;
    if (s.p[1] == '>') {
        *ret_path = slice_of(s.p + 1, 0);
        return 2;
    }
    struct slice rest = slice_skip(s, 1);
    size_t route = source_route(rest, form);
    if (route == SIZE_MAX)
        return 0;
    rest = slice_skip(rest, route);
    struct address a;
    size_t n = mailbox(rest, form, &a);
    if (n == 0 || n == rest.n || rest.p[n] != '>')
        return 0;
    *ret_path = slice_head(rest, n);
    return 1 + route + n + 1;
}

void address_domain_lower(struct slice mailbox_text, struct buf *out)
{
    struct address a;
    if (!address_parse_form(mailbox_text, ADDRESS_UTF8, &a))
        return;
    for (size_t i = 0; i < a.domain.n; i++)
        buf_add_u8(out, byte_lower(a.domain.p[i]));
}

bool address_is_domain(struct slice s)
{
    return s.n > 0 && domain_or_literal(s, ADDRESS_ASCII) == s.n;
}

bool address_is_ascii(struct slice mailbox_text)
{
    for (size_t i = 0; i < mailbox_text.n; i++)
        if (mailbox_text.p[i] >= 0x80)
            return false;
    return true;
}

/*
 * command   = verb [SP args] *SP CRLF
 * MAIL args = "FROM:" *SP path *(1*SP param)        RCPT args = "TO:" *SP path *(1*SP param)
 * param     = keyword ["=" value]; keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
 * BDAT args = 1*20DIGIT [1*SP "LAST"]               AUTH args = mechanism [1*SP (base64 / "=")]
 */
#include "relay/smtp/command.h"
#include "relay/mail/address.h"

static const struct verb_row verb_rows[] = {
#define X(name_, args_, usage_, help_)                                                             \
    {.name = #name_, .usage = usage_, .args = args_, .help = help_},
#include "relay/smtp/verbs.def"
#undef X
};

enum { KEYWORD_MAX = 32, AUTH_PARAM_MAX = 500, PARAM_SIZE = 1, PARAM_BODY = 2, PARAM_AUTH = 4 };

const struct verb_row *command_row(enum verb v)
{
    return v < VERB_UNKNOWN ? &verb_rows[v] : NULL;
}

/* The next word, with the blanks around it taken off *rest. */
static struct slice word(struct slice *rest)
{
    size_t from = 0;
    while (from < rest->n && rest->p[from] == ' ')
        from++;
    struct slice s = slice_skip(*rest, from);
    struct slice w = slice_head(s, slice_find(s, ' '));
    *rest = slice_skip(s, w.n);
    return w;
}

static struct slice trim_blanks(struct slice s)
{
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    while (s.n && s.p[0] == ' ')
        s = slice_skip(s, 1);
    return s;
}

enum verb command_verb(struct slice line, struct slice *ret_args)
{
    struct slice name = slice_head(line, slice_find(line, ' '));
    *ret_args = trim_blanks(slice_skip(line, name.n));
    for (size_t i = 0; i < sizeof verb_rows / sizeof *verb_rows; i++)
        if (slice_ieq(name, slice_str(verb_rows[i].name)))
            return (enum verb)i;
    return VERB_UNKNOWN;
}

bool command_is_clean(struct slice line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] < 0x20 || line.p[i] == 0x7f)
            return false;
    return true;
}

static bool is_alnum(uint8_t c)
{
    c = byte_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_keyword(struct slice s)
{
    if (s.n == 0 || s.n > KEYWORD_MAX || !is_alnum(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

static bool has_8bit(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return true;
    return false;
}

static bool is_upper_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

/* RFC 3461 section 4: printable, "+" and "=" only as +XX. */
static bool is_xtext(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == '=')
            return false;
        if (s.p[i] != '+')
            continue;
        if (s.n - i < 3 || !is_upper_hex(s.p[i + 1]) || !is_upper_hex(s.p[i + 2]))
            return false;
        i += 2;
    }
    return true;
}

/* "FROM:" *SP path; what follows the path goes to *rest. */
static enum command_fault path_after(struct slice *rest, struct slice tag, struct slice *ret_path)
{
    if (!slice_istarts(*rest, tag))
        return COMMAND_SYNTAX;
    struct slice s = trim_blanks(slice_skip(*rest, tag.n));
    if (s.n == 0 || s.p[0] != '<')
        return COMMAND_SYNTAX;
    size_t n = address_parse_path(s, ADDRESS_ASCII, ret_path);
    if (n == 0)
        return has_8bit(slice_head(s, slice_find(s, '>'))) ? COMMAND_NOT_ASCII : COMMAND_PATH;
    *rest = slice_skip(s, n);
    return rest->n && rest->p[0] != ' ' ? COMMAND_PATH : COMMAND_FINE;
}

struct param {
    struct slice keyword, value;
};

/* The next parameter; false at the end, or with *ret_fault set. */
static bool next_param(struct slice *rest, struct param *ret, enum command_fault *ret_fault)
{
    struct slice w = word(rest);
    *ret = (struct param){0};
    if (w.n == 0)
        return false;
    struct slice keyword = slice_head(w, slice_find(w, '='));
    if (!is_keyword(keyword)) {
        *ret_fault = COMMAND_PARAM_VALUE;
        return false;
    }
    *ret = (struct param){keyword, slice_skip(w, keyword.n + 1)};
    return true;
}

static enum command_fault mail_param(const struct param *p, bool auth_param, unsigned *seen,
                                     struct smtp_mail *m)
{
    unsigned which = slice_ieq(p->keyword, SLICE_LIT("SIZE"))                 ? PARAM_SIZE
                     : slice_ieq(p->keyword, SLICE_LIT("BODY"))               ? PARAM_BODY
                     : auth_param && slice_ieq(p->keyword, SLICE_LIT("AUTH")) ? PARAM_AUTH
                                                                              : 0;
    if (which == 0)
        return COMMAND_PARAM_UNKNOWN;
    if (*seen & which)
        return COMMAND_PARAM_TWICE;
    *seen |= which;
    bool good = false;
    if (which == PARAM_SIZE) {
        good = p->value.n <= 20 && slice_u64(p->value, UINT64_MAX, &m->size);
    } else if (which == PARAM_BODY) {
        bool eight = slice_ieq(p->value, SLICE_LIT("8BITMIME"));
        good = eight || slice_ieq(p->value, SLICE_LIT("7BIT"));
        m->params.body = eight ? MAIL_BODY_8BITMIME : MAIL_BODY_7BIT;
    } else if (p->value.n > 0 && p->value.n <= AUTH_PARAM_MAX && is_xtext(p->value)) {
        good = true;
        m->auth = p->value;
    }
    return good ? COMMAND_FINE : COMMAND_PARAM_VALUE;
}

enum command_fault command_mail(struct slice args, bool auth_param, struct smtp_mail *ret,
                                struct slice *ret_culprit)
{
    struct smtp_mail m = {0};
    *ret_culprit = SLICE_NONE;
    enum command_fault fault = path_after(&args, SLICE_LIT("FROM:"), &m.path);
    if (fault != COMMAND_FINE)
        return fault;
    /* Only a recipient may lack its domain: a bounce could never come back to a bare "postmaster".
     */
    if (m.path.n && slice_find(m.path, '@') == m.path.n)
        return COMMAND_PATH;
    unsigned seen = 0;
    for (struct param p; next_param(&args, &p, &fault);) {
        *ret_culprit = p.keyword;
        fault = mail_param(&p, auth_param, &seen, &m);
        if (fault != COMMAND_FINE)
            return fault;
    }
    *ret_culprit = SLICE_NONE;
    if (fault == COMMAND_FINE)
        *ret = m;
    return fault;
}

enum command_fault command_rcpt(struct slice args, struct smtp_rcpt *ret, struct slice *ret_culprit)
{
    struct slice path;
    *ret_culprit = SLICE_NONE;
    enum command_fault fault = path_after(&args, SLICE_LIT("TO:"), &path);
    if (fault == COMMAND_FINE && path.n == 0)
        fault = COMMAND_PATH;
    if (fault != COMMAND_FINE)
        return fault;
    struct param p;
    if (next_param(&args, &p, &fault)) {
        *ret_culprit = p.keyword;
        return COMMAND_PARAM_UNKNOWN;
    }
    if (fault == COMMAND_FINE)
        *ret = (struct smtp_rcpt){.path = path};
    return fault;
}

enum command_fault command_bdat(struct slice args, uint64_t *ret_size, bool *ret_last)
{
    struct slice size = word(&args), last = word(&args), more = word(&args);
    uint64_t n;
    if (size.n > 20 || !slice_u64(size, UINT64_MAX, &n) || more.n)
        return COMMAND_SYNTAX;
    if (last.n && !slice_ieq(last, SLICE_LIT("LAST")))
        return COMMAND_SYNTAX;
    *ret_size = n;
    *ret_last = last.n > 0;
    return COMMAND_FINE;
}

bool command_is_base64(struct slice s)
{
    size_t n = s.n;
    while (n && s.n - n < 2 && s.p[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '+' && s.p[i] != '/')
            return false;
    return s.n % 4 == 0;
}

enum command_fault command_auth(struct slice args, struct slice *ret_mechanism,
                                struct slice *ret_response, bool *ret_has_response)
{
    struct slice mechanism = word(&args), response = word(&args), more = word(&args);
    if (mechanism.n == 0 || mechanism.n > 20 || more.n)
        return COMMAND_SYNTAX;
    const bool has_response = response.n > 0;
    if (slice_eq(response, SLICE_LIT("=")))
        response = slice_head(response, 0);
    if (!command_is_base64(response))
        return COMMAND_PARAM_VALUE;
    *ret_mechanism = mechanism;
    *ret_response = response;
    *ret_has_response = has_response;
    return COMMAND_FINE;
}

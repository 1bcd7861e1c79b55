/*
 * command   = verb [SP args] *SP CRLF
 * MAIL args = "FROM:" *SP path params               RCPT args = "TO:" *SP path params
 * BDAT args = 1*20DIGIT [1*SP "LAST"]               AUTH args = mechanism [1*SP (base64 / "=")]
 */
#include "relay/smtp/command.h"
#include "relay/mail/address.h"

static const struct verb_row verb_rows[] = {
#define X(name_, args_, idle_, usage_, help_)                                                      \
    {.name = #name_, .usage = usage_, .args = args_, .idle = idle_, .help = help_},
#include "relay/smtp/verbs.def"
#undef X
};

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

/* "FROM:" *SP path; what follows the path goes to *rest. */
static enum command_fault path_after(struct slice *rest, struct slice tag, unsigned offered,
                                     struct slice *ret_path)
{
    const enum address_form form = offered & SMTP_SMTPUTF8 ? ADDRESS_UTF8 : ADDRESS_ASCII;
    if (!slice_istarts(*rest, tag))
        return COMMAND_SYNTAX;
    struct slice s = trim_blanks(slice_skip(*rest, tag.n));
    if (s.n == 0 || s.p[0] != '<')
        return COMMAND_SYNTAX;
    size_t n = address_parse_path(s, form, ret_path);
    if (n == 0) {
        const bool ascii = address_is_ascii(slice_head(s, slice_find(s, '>')));
        return form == ADDRESS_ASCII && !ascii ? COMMAND_NOT_ASCII : COMMAND_PATH;
    }
    *rest = slice_skip(s, n);
    return rest->n && rest->p[0] != ' ' ? COMMAND_PATH : COMMAND_FINE;
}

static enum command_fault params_after(struct slice args, struct param_target *t,
                                       struct slice *ret_culprit)
{
    static const enum command_fault faults[] = {
        [PARAM_FINE] = COMMAND_FINE,
        [PARAM_UNKNOWN] = COMMAND_PARAM_UNKNOWN,
        [PARAM_VALUE] = COMMAND_PARAM_VALUE,
        [PARAM_TWICE] = COMMAND_PARAM_TWICE,
        [PARAM_CONFLICT] = COMMAND_PARAM_CONFLICT,
    };
    buf_reset(t->text);
    return faults[params_read(args, t, ret_culprit)];
}

/* A sender needs a domain: a bounce could never come back to a bare "postmaster". */
static bool lacks_domain(struct slice path)
{
    return path.n && slice_find(path, '@') == path.n;
}

enum command_fault command_mail(struct slice args, const struct command_rules *rules,
                                struct smtp_mail *ret, struct slice *ret_culprit)
{
    struct smtp_mail m = {0};
    struct param_target t = {.mail = &m, .text = rules->text, .offered = rules->offered};
    *ret_culprit = SLICE_NONE;
    enum command_fault fault = path_after(&args, SLICE_LIT("FROM:"), rules->offered, &m.path);
    if (fault == COMMAND_FINE && lacks_domain(m.path))
        fault = COMMAND_PATH;
    if (fault == COMMAND_FINE)
        fault = params_after(args, &t, ret_culprit);
    if (fault == COMMAND_FINE && !m.params.smtputf8 && !address_is_ascii(m.path))
        fault = COMMAND_NOT_ASCII;
    if (fault == COMMAND_FINE)
        *ret = m;
    return fault;
}

enum command_fault command_rcpt(struct slice args, const struct command_rules *rules,
                                struct smtp_rcpt *ret, struct slice *ret_culprit)
{
    struct smtp_rcpt r = {0};
    struct param_target t = {
        .rcpt = &r, .text = rules->text, .offered = rules->offered, .smtputf8 = rules->smtputf8};
    *ret_culprit = SLICE_NONE;
    enum command_fault fault = path_after(&args, SLICE_LIT("TO:"), rules->offered, &r.path);
    if (fault == COMMAND_FINE && r.path.n == 0)
        fault = COMMAND_PATH;
    if (fault == COMMAND_FINE)
        fault = params_after(args, &t, ret_culprit);
    if (fault == COMMAND_FINE && !rules->smtputf8 && !address_is_ascii(r.path))
        fault = COMMAND_NOT_ASCII;
    if (fault == COMMAND_FINE)
        *ret = r;
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

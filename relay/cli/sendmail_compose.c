/*
 * From what a program wrote to a message: line ends, recipients of the header (-t), a domain behind
 * names that have none, and From: when there is none. All else of RFC 6409 section 8 is the
 * daemon's: Date, Message-ID, Received, and Bcc taken off.
 *
 * A name without a domain is one of this machine, which has no mailboxes: root, postmaster and
 * mailer-daemon are the postmaster of the configuration, any other gets "@hostname".
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/cli/sendmail.h"
#include "relay/mail/address.h"
#include "relay/mail/address_list.h"
#include "relay/mail/encoded.h"
#include "relay/mail/header.h"
#include "relay/mail/reencode.h"
#include <stdlib.h>

enum { PROBLEM = 160, NAME_MAX_OCTETS = 200, LINE_OCTETS = 998 };

/* ---- reading ---- */

static void end_line(struct sendmail_reader *r)
{
    if (r->dot && r->line == 1 && !r->dot_is_text) {
        buf_cut(&r->text, r->text.n - 1);
        r->ended = true;
    } else {
        buf_add(&r->text, SLICE_LIT("\r\n"));
    }
    r->line = 0;
    r->cr = r->dot = false;
}

static void add(struct sendmail_reader *r, uint8_t c)
{
    if (r->line == 0)
        r->dot = c == '.';
    r->line++;
    buf_add_u8(&r->text, c);
}

void sendmail_read(struct sendmail_reader *r, struct slice piece)
{
    for (size_t i = 0; i < piece.n && !r->ended; i++) {
        const uint8_t c = piece.p[i];
        if (c == '\n') {
            end_line(r);
            continue;
        }
        if (r->cr)
            add(r, ' ');
        r->cr = c == '\r';
        if (!r->cr)
            add(r, c);
    }
}

void sendmail_read_end(struct sendmail_reader *r)
{
    if (!r->ended && (r->line > 0 || r->cr))
        end_line(r);
    r->ended = true;
}

/* ---- addresses ---- */

void sendmail_mail_done(struct sendmail_mail *m)
{
    buf_done(&m->sender);
    buf_done(&m->content);
    for (size_t i = 0; i < m->n_rcpts; i++)
        free((void *)(uintptr_t)m->rcpts[i].p);
    free(m->rcpts);
}

static bool is_ours(struct slice name)
{
    return slice_ieq(name, SLICE_LIT("root")) || slice_ieq(name, SLICE_LIT("postmaster")) ||
           slice_ieq(name, SLICE_LIT("mailer-daemon"));
}

/* The address in full, behind what `out` has. False: it is none. */
static bool complete(struct sendmail_mail *m, const struct sendmail_who *who, struct slice name,
                     bool bare, bool rcpt, struct buf *out)
{
    struct address a;
    const size_t from = out->n;
    if (bare && rcpt && is_ours(name)) {
        buf_add_str(out, who->postmaster);
    } else {
        buf_add(out, name);
        if (bare)
            buf_addf(out, "@%s", who->hostname);
    }
    const struct slice all = slice_skip(buf_slice(out), from);
    m->utf8 |= !utf8_plain(all);
    return !out->overflow && address_parse_form(all, ADDRESS_UTF8, &a);
}

static void add_rcpt(struct sendmail_mail *m, struct slice address)
{
    for (size_t i = 0; i < m->n_rcpts; i++)
        if (slice_eq(m->rcpts[i], address))
            return;
    if ((m->n_rcpts & (m->n_rcpts - 1)) == 0)
        m->rcpts = must_realloc(m->rcpts, (m->n_rcpts ? 2 * m->n_rcpts : 1) * sizeof *m->rcpts);
    m->rcpts[m->n_rcpts++] = slice_of(slice_dup(address), address.n);
}

/* A list as it stands on the command line or in a field. */
static bool add_rcpts(struct sendmail_mail *m, const struct sendmail_who *who, struct slice value)
{
    DEFER(buf_done) struct buf one = BUF_MAX(ADDRESS_LIST_OCTETS);
    struct address_list l = address_list_of(value, true);
    enum address_list_found found;
    l.bare = true;
    while ((found = address_list_next(&l, &one)) == ADDRESS_LIST_ONE) {
        DEFER(buf_done) struct buf whole = BUF_MAX(2 * ADDRESS_LIST_OCTETS);
        if (!complete(m, who, buf_slice(&one), l.bare_end, true, &whole))
            return false;
        add_rcpt(m, buf_slice(&whole));
    }
    return found == ADDRESS_LIST_END;
}

static bool find_sender(struct sendmail_mail *m, const struct sendmail_args *a,
                        const struct sendmail_who *who)
{
    DEFER(buf_done) struct buf one = BUF_MAX(ADDRESS_LIST_OCTETS);
    const struct slice given = slice_trim(slice_str(a->sender ? a->sender : who->login));
    struct address_list l = address_list_of(given, true);
    l.bare = true;
    if (given.n == 0 || slice_eq(given, SLICE_LIT("<>")))
        return true;
    return address_list_next(&l, &one) == ADDRESS_LIST_ONE &&
           complete(m, who, buf_slice(&one), l.bare_end, false, &m->sender) &&
           address_list_next(&l, &one) == ADDRESS_LIST_END;
}

/* ---- the header ---- */

enum field {
    FIELD_FROM = 1,
    FIELD_TO = 2,
    FIELD_RESENT_FROM = 4,
    FIELD_RESENT_TO = 8,
    FIELD_MORE = 16
};

static enum field field_of(struct slice name)
{
    static const struct {
        const char *name;
        enum field field;
    } names[] = {{"From", FIELD_FROM},
                 {"To", FIELD_TO},
                 {"Cc", FIELD_TO},
                 {"Bcc", FIELD_TO},
                 {"Resent-To", FIELD_RESENT_TO},
                 {"Resent-Cc", FIELD_RESENT_TO},
                 {"Resent-Bcc", FIELD_RESENT_TO},
                 {"Resent-From", FIELD_RESENT_FROM},
                 {"Sender", FIELD_MORE},
                 {"Reply-To", FIELD_MORE},
                 {"Resent-Sender", FIELD_MORE},
                 {"Resent-Reply-To", FIELD_MORE}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_ieq(name, slice_str(names[i].name)))
            return names[i].field;
    return 0;
}

static unsigned fields_of(struct slice section)
{
    struct header_field f;
    unsigned seen = 0;
    while (header_next(&section, &f))
        seen |= (unsigned)field_of(f.name);
    return seen;
}

/* With "@hostname" behind each name that has no domain; what is no list of addresses stays. */
static void write_field(struct buf *out, const struct header_field *f, const char *hostname)
{
    DEFER(buf_done) struct buf one = BUF_MAX(ADDRESS_LIST_OCTETS);
    const size_t before = out->n;
    const uint8_t *from = f->raw.p, *const end = f->raw.p + f->raw.n;
    struct address_list l = address_list_of(f->value, true);
    enum address_list_found found;
    l.bare = true;
    while ((found = address_list_next(&l, &one)) == ADDRESS_LIST_ONE) {
        if (!l.bare_end)
            continue;
        buf_add(out, slice_of(from, (size_t)(l.bare_end - from)));
        buf_addf(out, "@%s", hostname);
        from = l.bare_end;
    }
    if (found == ADDRESS_LIST_BAD) {
        buf_cut(out, before);
        from = f->raw.p;
    }
    buf_add(out, slice_of(from, (size_t)(end - from)));
}

static void write_quoted(struct buf *out, struct slice name)
{
    buf_add_u8(out, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"' || name.p[i] == '\\')
            buf_add_u8(out, '\\');
        buf_add_u8(out, name.p[i]);
    }
    buf_add_u8(out, '"');
}

/* A name with anything in it that is no text is left out. */
static bool is_name(struct slice name)
{
    for (size_t n, at = 0; at < name.n; at += n) {
        uint32_t code;
        n = utf8_char(slice_skip(name, at), &code);
        if (n == 0 || utf8_is_control(code))
            return false;
    }
    return name.n > 0 && name.n <= NAME_MAX_OCTETS;
}

static void write_from(struct buf *out, const struct sendmail_mail *m,
                       const struct sendmail_args *a, const struct sendmail_who *who)
{
    const struct slice name = slice_str(a->fullname ? a->fullname : who->fullname);
    buf_add_str(out, "From: ");
    if (is_name(name)) {
        if (utf8_plain(name))
            write_quoted(out, name);
        else
            encoded_words(out, name);
        buf_add_str(out, "\r\n ");
    }
    if (m->sender.n)
        buf_addf(out, "<%.*s>\r\n", SLICE_ARG(buf_slice(&m->sender)));
    else
        buf_addf(out, "<%s@%s>\r\n", who->login, who->hostname);
}

/* Without the line that mbox files begin with. */
static struct slice behind_mbox_line(struct slice text)
{
    if (!slice_starts(text, SLICE_LIT("From ")) && !slice_starts(text, SLICE_LIT(">From ")))
        return text;
    return slice_skip(text, slice_find(text, '\n') + 1);
}

/* The recipients of a message that is sent on again are those of its Resent- fields. */
static int take_rcpts(struct sendmail_mail *m, const struct sendmail_who *who, struct slice section,
                      unsigned seen, char problem[PROBLEM])
{
    const enum field wanted = seen & FIELD_RESENT_TO ? FIELD_RESENT_TO : FIELD_TO;
    struct header_field f;
    while (header_next(&section, &f))
        if (field_of(f.name) == wanted && !add_rcpts(m, who, f.value)) {
            snprintf(problem, PROBLEM, "%.*s: the field is no list of addresses",
                     SLICE_ARG(slice_head(f.name, 40)));
            return EX_DATAERR;
        }
    if (m->n_rcpts)
        return EX_OK;
    snprintf(problem, PROBLEM, "-t: the header names no recipients (To, Cc, Bcc)");
    return EX_DATAERR;
}

static void write_content(struct sendmail_mail *m, const struct sendmail_args *a,
                          const struct sendmail_who *who, struct slice text, unsigned seen)
{
    struct header_field f;
    while (header_next(&text, &f))
        if (field_of(f.name) && !a->header_as_is)
            write_field(&m->content, &f, who->hostname);
        else
            buf_add(&m->content, f.raw);
    if (!(seen & (FIELD_FROM | FIELD_RESENT_FROM)))
        write_from(&m->content, m, a, who);
    if (!slice_starts(text, SLICE_LIT("\r\n")))
        buf_add_str(&m->content, "\r\n");
    buf_add(&m->content, text);
}

static bool has_long_line(struct slice text)
{
    while (text.n) {
        const size_t n = slice_find(text, '\n');
        if (n > LINE_OCTETS + 1)
            return true;
        text = slice_skip(text, n + 1);
    }
    return false;
}

/* Programs write lines as long as they like, and what they say must not be lost for it: parts with
 * such lines become base64, with the label that says so. */
static int break_lines(struct sendmail_mail *m, char problem[PROBLEM])
{
    if (!has_long_line(buf_slice(&m->content)))
        return EX_OK;
    struct buf out = BUF_MAX(4 * m->content.n + 65536);
    struct reencode *r = reencode_new();
    const bool done = reencode_bytes(r, buf_slice(&m->content), &out) && reencode_end(r, &out);
    const bool ok = done && !out.overflow && !has_long_line(buf_slice(&out));
    if (!ok)
        snprintf(problem, PROBLEM, "the message has a line of more than 998 octets: %.80s",
                 done ? "it could not be broken" : reencode_problem(r));
    reencode_free(r);
    buf_done(&m->content);
    m->content = out;
    return ok ? EX_OK : EX_DATAERR;
}

int sendmail_compose(struct sendmail_mail *m, const struct sendmail_args *a,
                     const struct sendmail_who *who, struct slice text, char problem[PROBLEM])
{
    text = behind_mbox_line(text);
    const unsigned seen = fields_of(text);
    *m = (struct sendmail_mail){.sender = BUF_MAX(2 * ADDRESS_LIST_OCTETS)};
    if (!find_sender(m, a, who)) {
        snprintf(problem, PROBLEM, "-f %.60s: the sender is no address", a->sender);
        return EX_USAGE;
    }
    for (int i = 0; i < a->n_rcpts; i++)
        if (!add_rcpts(m, who, slice_str(a->rcpts[i]))) {
            snprintf(problem, PROBLEM, "%.60s: the recipient is no address", a->rcpts[i]);
            return EX_USAGE;
        }
    const int rc = a->from_header ? take_rcpts(m, who, text, seen, problem) : EX_OK;
    if (rc != EX_OK)
        return rc;
    if (m->n_rcpts == 0) {
        snprintf(problem, PROBLEM, "there is no recipient");
        return EX_USAGE;
    }
    /* A name may get the host behind it in each of the header's octets. */
    buf_init(&m->content, 2 * text.n + (strlen(who->hostname) + 1) * (text.n / 2 + 1) + 4096);
    write_content(m, a, who, text, seen);
    MUST(!m->content.overflow);
    return break_lines(m, problem);
}

/*
 *   template = *( comment / blank ) *( "[" section "]" [ "Subject:" text ] *line )
 *   section  = "failure" / "delay" / "relayed" / "double" / "recipient" / "reason" SP reason
 *   reason   = "delayed" / "relayed" / a class of the delivery log
 *   variable = "${" name "}"                            dollar = "$$"
 *
 * A line that begins with "#" is a comment wherever it stands. Blank lines at the ends of a section
 * do not count.
 */
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/mail/ascii.h"
#include "relay/mail/dsn_template_priv.h"
#include <stdlib.h>

enum {
    LINE_OCTETS = 500,
    LINE_WANTED = 78,
    INDENT_MAX = 40,
    EXPANDED_MAX = 16 * 1024,
    PROBLEM = 300,
    ABOUT_MAX = 60,
    SECTIONS = DSN_S_REASON + DSN_REASONS
};
enum { IN_REPORT = 1, IN_RCPT = 2, IN_BLOCK = 4, IS_BLOCK = 8 };

struct dsn_template {
    struct slice sections[SECTIONS], subjects[DSN_S_RECIPIENT];
    char text[];
};

static const struct variable {
    const char *name;
    unsigned where;
} variables[] = {
#define X(id, name, where) {name, where},
#include "relay/mail/dsn_variables.def"
#undef X
};

static const char *const section_names[] = {"failure", "delay", "relayed", "double", "recipient"};

const char *dsn_template_variable(size_t i)
{
    return i < DSN_V_COUNT_OF ? variables[i].name : NULL;
}

const char *dsn_template_section(size_t i)
{
    return i < DSN_S_REASON ? section_names[i] : NULL;
}

struct slice dsn_template_get(const struct dsn_template *t, unsigned section)
{
    return t && section < SECTIONS ? t->sections[section] : SLICE_NONE;
}

struct slice dsn_template_subject(const struct dsn_template *t, enum dsn_section section)
{
    return t && section < DSN_S_RECIPIENT ? t->subjects[section] : SLICE_NONE;
}

static bool is_comment(struct slice line)
{
    return line.n && line.p[0] == '#';
}

/* Without its end, CRLF or LF. */
static struct slice next_line(struct slice *rest)
{
    struct slice line = slice_cut(rest, '\n');
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

/* "${name}" at the start of s. 0: something else stands there. */
static size_t variable_at(struct slice s, struct slice *ret_name)
{
    if (!slice_starts(s, SLICE_LIT("${")))
        return 0;
    const size_t end = slice_find(s, '}');
    if (end == s.n)
        return 0;
    *ret_name = slice_of(s.p + 2, end - 2);
    return end + 1;
}

static size_t variable_find(struct slice name)
{
    size_t i = 0;
    while (i < DSN_V_COUNT_OF && !slice_eq(name, slice_str(variables[i].name)))
        i++;
    return i;
}

/* --- reading
 * ---------------------------------------------------------------------------------------------------
 */

struct reading {
    struct dsn_template *t;
    void (*say)(void *ctx, unsigned line, const char *problem);
    void *ctx;
    unsigned line, problems;
    unsigned section; /* SECTIONS: none yet */
    unsigned began;   /* the line of its name */
    bool has_text, has_recipients, may_have_subject;
};

static void complain(struct reading *r, unsigned line, const char *before, struct slice about,
                     const char *after)
{
    struct buf text = BUF_MAX(PROBLEM);
    buf_add_str(&text, before);
    utf8_clean(&text, about, ABOUT_MAX);
    buf_add_str(&text, after);
    r->say(r->ctx, line, buf_str(&text));
    buf_done(&text);
    r->problems++;
}

static unsigned where_now(const struct reading *r)
{
    return r->section < DSN_S_RECIPIENT    ? IN_REPORT
           : r->section == DSN_S_RECIPIENT ? IN_RCPT | IN_BLOCK
                                           : IN_RCPT;
}

static void check_variable(struct reading *r, struct slice name, struct slice line, bool subject)
{
    const size_t i = variable_find(name);
    if (i == DSN_V_COUNT_OF) {
        complain(r, r->line, "there is no variable ${", name, "}");
        return;
    }
    const unsigned where = variables[i].where;
    if (!(where & where_now(r)))
        complain(r, r->line, "${", name, "} means nothing in this section");
    else if ((where & IS_BLOCK) && (subject || slice_trim(line).n != name.n + 3))
        complain(r, r->line, "${", name, "} stands for whole lines: it has a line of its own");
    r->has_recipients = r->has_recipients || i == DSN_V_RECIPIENTS;
}

static void check_text(struct reading *r, struct slice line, bool subject)
{
    for (struct slice rest = slice_skip(line, slice_find(line, '$')); rest.n;
         rest = slice_skip(rest, slice_find(rest, '$'))) {
        struct slice name;
        size_t n = variable_at(rest, &name);
        if (n)
            check_variable(r, name, line, subject);
        else if (slice_starts(rest, SLICE_LIT("$$")))
            n = 2;
        else
            complain(r, r->line, "a dollar sign is written $$, a variable ${name}", SLICE_NONE, "");
        rest = slice_skip(rest, n ? n : 1);
    }
}

static bool is_shown(struct slice line)
{
    uint32_t code;
    for (size_t n; line.n > 0; line = slice_skip(line, n)) {
        n = utf8_char(line, &code);
        if (n == 0 || (utf8_is_control(code) && code != '\t'))
            return false;
    }
    return true;
}

static unsigned section_find(struct slice name)
{
    struct slice reason = name;
    for (unsigned i = 0; i < DSN_S_REASON; i++)
        if (slice_eq(name, slice_str(section_names[i])))
            return i;
    if (!slice_eq(slice_cut(&reason, ' '), SLICE_LIT("reason")))
        return SECTIONS;
    reason = slice_trim(reason);
    if (slice_eq(reason, SLICE_LIT("delayed")))
        return DSN_S_REASON + DSN_REASON_DELAYED;
    if (slice_eq(reason, SLICE_LIT("relayed")))
        return DSN_S_REASON + DSN_REASON_RELAYED;
    for (enum verdict_class c = CLASS_BAD_MAILBOX; c <= CLASS_OTHER; c++)
        if (slice_eq(reason, slice_str(class_name(c))))
            return DSN_S_REASON + DSN_REASON_CLASS + c;
    return SECTIONS;
}

static void end_section(struct reading *r)
{
    if (r->section >= SECTIONS)
        return;
    if (!r->has_text)
        complain(r, r->began, "the section is empty", SLICE_NONE, "");
    else if (r->section < DSN_S_RECIPIENT && !r->has_recipients)
        complain(r, r->began,
                 "the section has no line ${recipients}: nobody would learn whom it is about",
                 SLICE_NONE, "");
    struct slice *text = &r->t->sections[r->section];
    while (text->n && memchr(" \t\r\n", text->p[text->n - 1], 4))
        text->n--;
}

static void begin_section(struct reading *r, struct slice line)
{
    end_section(r);
    const struct slice trimmed = slice_trim(line);
    const struct slice name =
        slice_trim(slice_of(trimmed.p + 1, trimmed.n > 2 ? trimmed.n - 2 : 0));
    r->section = trimmed.p[trimmed.n - 1] == ']' ? section_find(name) : SECTIONS;
    r->began = r->line;
    r->has_text = r->has_recipients = false;
    r->may_have_subject = r->section < DSN_S_RECIPIENT;
    if (r->section == SECTIONS) {
        complain(r, r->line, "[", name,
                 "] is no section: there are failure, delay, relayed, double, recipient, "
                 "and reason with delayed, relayed or a class of the delivery log behind it");
        r->section = SECTIONS + 1; /* what stands in it is not blamed, too */
    } else if (r->t->sections[r->section].p) {
        complain(r, r->line, "the section [", name, "] is there twice");
    }
}

static bool take_subject(struct reading *r, struct slice line)
{
    const struct slice field = SLICE_LIT("Subject:");
    if (!r->may_have_subject || !slice_istarts(line, field))
        return false;
    const struct slice text = slice_trim(slice_skip(line, field.n));
    r->may_have_subject = false;
    if (!text.n)
        complain(r, r->line, "Subject: has no text", SLICE_NONE, "");
    check_text(r, text, true);
    r->t->subjects[r->section] = text;
    return true;
}

static void take_line(struct reading *r, struct slice line)
{
    const bool blank = slice_trim(line).n == 0;
    if (r->section > SECTIONS || is_comment(line) || (blank && !r->has_text))
        return;
    if (r->section == SECTIONS) {
        complain(r, r->line, "text before the first section: ", line, "");
        r->section = SECTIONS + 1;
        return;
    }
    if (take_subject(r, line))
        return;
    struct slice *text = &r->t->sections[r->section];
    if (!text->p)
        text->p = line.p;
    text->n = (size_t)(line.p + line.n - text->p);
    r->has_text = true;
    r->may_have_subject = false;
    check_text(r, line, false);
}

/* NULL: nothing. */
static const char *flaw_of(struct slice line)
{
    return !is_shown(line)        ? "control characters, or no UTF-8"
           : line.n > LINE_OCTETS ? "the line has more than 500 octets"
                                  : NULL;
}

static void read_line(struct reading *r, struct slice line)
{
    const char *flaw = flaw_of(line);
    r->line++;
    if (flaw) {
        complain(r, r->line, flaw, SLICE_NONE, "");
        r->has_text = true; /* there is some, if a wrong one */
    } else if (line.n && line.p[0] == '[') {
        begin_section(r, line);
    } else {
        take_line(r, line);
    }
}

struct dsn_template *dsn_template_parse(struct slice text,
                                        void (*say)(void *ctx, unsigned line, const char *problem),
                                        void *ctx)
{
    struct reading r = {.say = say, .ctx = ctx, .section = SECTIONS};
    if (text.n > DSN_TEMPLATE_BYTES_MAX) {
        say(ctx, 0, "it is too long");
        return NULL;
    }
    r.t = must_alloc(sizeof *r.t + text.n + 1);
    if (text.n)
        memcpy(r.t->text, text.p, text.n);
    struct slice rest = slice_of(r.t->text, text.n);
    if (slice_starts(rest, SLICE_LIT("\xEF\xBB\xBF"))) /* as some editors begin a file */
        rest = slice_skip(rest, 3);
    while (rest.n)
        read_line(&r, next_line(&rest));
    end_section(&r);
    if (r.problems == 0)
        return r.t;
    free(r.t);
    return NULL;
}

void dsn_template_free(struct dsn_template *t)
{
    free(t);
}

/* --- filling in
 * ---------------------------------------------------------------------------------------------------
 */

struct slice dsn_template_paragraph(struct slice *rest)
{
    const struct slice all = *rest;
    size_t n = 0;
    while (rest->n) {
        const struct slice line = next_line(rest);
        if (slice_trim(line).n == 0 && n > 0)
            break;
        if (!is_comment(line))
            n = (size_t)(line.p + line.n - all.p);
    }
    return slice_head(all, n);
}

bool dsn_template_line(struct buf *out, struct slice line, const struct dsn_values *v)
{
    bool says_all = true;
    while (line.n) {
        const struct slice text = slice_head(line, slice_find(line, '$'));
        struct slice name;
        buf_add(out, text);
        line = slice_skip(line, text.n);
        const size_t n = variable_at(line, &name), before = out->n;
        if (n) {
            v->value(v->ctx, (enum dsn_variable)variable_find(name), out);
            says_all = says_all && out->n > before;
        } else if (line.n) {
            buf_add_u8(out, '$');
        }
        line = slice_skip(line, n ? n : 2);
    }
    return says_all;
}

static size_t width_of(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += (s.p[i] & 0xC0) != 0x80;
    return n;
}

/* A line that has room stays as it is; another one is folded behind its own indent. */
static void add_line(struct buf *out, struct slice text, const char *indent)
{
    if (width_of(text) + strlen(indent) <= LINE_WANTED) {
        buf_add_str(out, indent);
        buf_add(out, text);
        buf_add_str(out, "\r\n");
        return;
    }
    struct fold f = fold_begin(out, indent, indent);
    fold_text(&f, text);
    fold_end(&f);
}

static bool is_block(struct slice text, enum dsn_variable *ret)
{
    struct slice name;
    if (variable_at(text, &name) != text.n || text.n == 0)
        return false;
    const size_t i = variable_find(name);
    *ret = (enum dsn_variable)i;
    return i < DSN_V_COUNT_OF && (variables[i].where & IS_BLOCK);
}

static void add_filled(struct buf *out, struct slice text, const char *indent,
                       const struct dsn_values *v)
{
    struct buf filled = BUF_MAX(EXPANDED_MAX);
    enum dsn_variable block;
    if (is_block(text, &block))
        v->block(v->ctx, block, indent, out);
    else if (dsn_template_line(&filled, text, v))
        add_line(out, buf_slice(&filled), indent);
    buf_done(&filled);
}

void dsn_template_lines(struct buf *out, struct slice lines, const char *indent,
                        const struct dsn_values *v)
{
    while (lines.n) {
        const struct slice line = next_line(&lines), text = slice_trim(line);
        struct buf own = BUF_MAX(3 * INDENT_MAX);
        if (is_comment(line))
            continue;
        buf_add_str(&own, indent);
        for (size_t i = 0; i < line.n && line.p + i < text.p && i < INDENT_MAX; i++)
            buf_add_u8(&own, ' ');
        if (text.n == 0)
            buf_add_str(out, "\r\n");
        else
            add_filled(out, text, buf_str(&own), v);
        buf_done(&own);
    }
}

/*
 * The manual of section 1, one page a verb, and the tables of section 5, as mdoc: made from the
 * help texts and the .def files, so that they cannot say anything else. `help --mdoc` lists the
 * pages, `help --mdoc PAGE` prints one; installing writes them.
 *
 * A help text is: usage lines; paragraphs; blocks whose lines begin with two blanks; and at the end
 * "example:" or "examples:" with one.
 */
#include "queue/event.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <stdlib.h>

static const char date[] = "November 27, 2026";

/* ---- text as mdoc ---- */

/* A line of text: nothing in it is a request or an escape. */
static void put_line(struct slice s)
{
    if (s.n && (s.p[0] == '.' || s.p[0] == '\''))
        fputs("\\&", stdout);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\')
            fputs("\\e", stdout);
        else if (i + 2 < s.n && memcmp(s.p + i, "…", 3) == 0)
            fputs("...", stdout), i += 2;
        else
            putchar(s.p[i]);
    }
    putchar('\n');
}

static struct slice unindent(struct slice line, size_t by)
{
    for (; by > 0 && line.n && line.p[0] == ' '; by--)
        line = slice_skip(line, 1);
    return line;
}

/* A new sentence begins a new line, as mdoc wants it. */
static void put_filled(struct slice line)
{
    for (size_t i = 0; i + 2 < line.n; i++) {
        if ((line.p[i] != '.' && line.p[i] != '?' && line.p[i] != '!') || line.p[i + 1] != ' ')
            continue;
        put_line(slice_head(line, i + 1));
        line = unindent(slice_skip(line, i + 1), SIZE_MAX);
        i = 0;
    }
    put_line(line);
}

static void put_literal(struct slice block, size_t indent)
{
    puts(".Bd -literal -offset indent");
    while (block.n)
        put_line(unindent(slice_cut(&block, '\n'), indent));
    puts(".Ed");
}

/* Up to the next empty line, without it. */
static struct slice take_paragraph(struct slice *text)
{
    const size_t n = slice_find_slice(*text, SLICE_LIT("\n\n"));
    struct slice paragraph = slice_head(*text, n < text->n ? n + 1 : n);
    *text = slice_skip(*text, n < text->n ? n + 2 : n);
    return paragraph;
}

/* A block of options, of filters, of what stands in columns. */
static bool is_block(struct slice paragraph)
{
    return slice_starts(paragraph, SLICE_LIT("  ")) ||
           slice_starts(paragraph, SLICE_LIT("FILTER:")) ||
           slice_find_slice(paragraph, SLICE_LIT("\n  ")) < paragraph.n;
}

/* *fresh: behind the head of a section, which begins a paragraph by itself. */
static void put_paragraph(struct slice paragraph, bool *fresh)
{
    const bool example = slice_starts(paragraph, SLICE_LIT("example"));
    if (!*fresh && (example || !is_block(paragraph)))
        puts(".Pp");
    *fresh = false;
    if (example) {
        slice_cut(&paragraph, '\n');
        puts("Examples:");
        put_literal(paragraph, 2);
    } else if (is_block(paragraph)) {
        put_literal(paragraph, 2);
    } else {
        while (paragraph.n)
            put_filled(unindent(slice_cut(&paragraph, '\n'), SIZE_MAX));
    }
}

static struct slice usage_of(struct slice *help)
{
    struct slice usage = take_paragraph(help);
    if (slice_starts(usage, SLICE_LIT("usage: ")))
        usage = slice_skip(usage, 7);
    return usage;
}

static void put_usage(struct slice usage)
{
    puts(".Bd -literal -offset indent");
    while (usage.n)
        put_line(unindent(slice_cut(&usage, '\n'), 7));
    puts(".Ed");
}

/* ---- pages ---- */

static void put_head(const char *name, const char *section, const char *what)
{
    char upper[64] = "";
    for (size_t i = 0; name[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
    printf(".Dd %s\n.Dt %s %s\n.Os\n.Sh NAME\n.Nm %s\n.Nd ", date, upper, section, name);
    put_line(slice_str(what));
}

/* Those that have exit codes of their own tell them. */
static void put_tail(bool exit_codes)
{
    static const struct {
        int code;
        const char *words;
    } exits[] = {
#define X(name, code, words) {code, words},
#include "relay/cli/exits.def"
#undef X
    };
    if (exit_codes)
        puts(".Sh EXIT STATUS\n.Bl -tag -width Ds -compact");
    for (size_t i = 0; exit_codes && i < sizeof exits / sizeof *exits; i++)
        printf(".It %d\n%s\n", exits[i].code, exits[i].words);
    if (exit_codes)
        puts(".El");
    puts(".Sh SEE ALSO\n.Xr postwain.conf 5 ,\n.Xr postwain 8");
}

struct page {
    const char *verb; /* whose page is wanted */
    bool begun, own_codes;
};

/* "queue" of "queue list". */
static struct slice group_of(const struct cli_verb *v)
{
    struct slice name = slice_str(v->name);
    return slice_cut(&name, ' ');
}

static void put_verb(void *ctx, const struct cli_verb *v, const char *summary)
{
    struct page *p = ctx;
    struct slice help = slice_str(v->help);
    char name[80];
    if (!slice_eq(group_of(v), slice_str(p->verb)))
        return;
    const bool first = !p->begun;
    p->own_codes =
        elsewhere_find(v->name) || slice_find_slice(help, SLICE_LIT("sysexits")) < help.n;
    p->begun = true;
    if (first) {
        snprintf(name, sizeof name, "postwain-%s", p->verb);
        put_head(name, "1", summary);
        puts(".Sh SYNOPSIS");
    } else {
        printf(".Ss %s\n", v->name);
    }
    put_usage(usage_of(&help));
    if (first)
        puts(".Sh DESCRIPTION");
    for (bool fresh = first; help.n;)
        put_paragraph(take_paragraph(&help), &fresh);
}

static void list_verb(void *ctx, const struct cli_verb *v, const char *summary)
{
    (void)ctx, (void)summary;
    if (!strchr(v->name, ' '))
        printf("postwain-%s.1\n", v->name);
}

static void put_fields(void)
{
    static const struct {
        const char *key, *type;
    } fields[] = {
#define TYPE_STR "string"
#define TYPE_INT "integer"
#define TYPE_SECONDS "number, seconds"
#define TYPE_TIME "string, a time"
#define TYPE_BOOL "boolean"
#define TYPE_MAP "object of strings"
#define X(tag, name, key, type) {key, TYPE_##type},
#include "queue/event.def"
#undef X
    };
    puts(".Sh FIELDS\nBeside v, seq, id, time, node, event and final, in this order; what does not "
         "apply\nis not there.\n.Bl -tag -width response_truncated -compact");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        printf(".It Ic %s\n%s\n", fields[i].key, fields[i].type);
    puts(".El");
}

static void put_faults(void)
{
    static const struct {
        const char *name, *status, *sentence;
    } faults[] = {
#define X(name, text, kind, scope, class, enhanced, sentence) {text, enhanced, sentence},
#include "relay/base/fault.def"
#undef X
    };
    puts(".Sh CAUSES\nWhat\n.Ic error\nsays where there was no reply, with the status of a report "
         "about it.\n.Bl -tag -width recipients_limit");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        printf(".It Ic %s\n%s: %s.\n", faults[i].name, faults[i].status, faults[i].sentence);
    puts(".El");
}

static void put_metrics(void)
{
    static const struct {
        const char *name, *kind, *help;
    } metrics[] = {
#define X(name, text, kind, help) {text, kind, help},
#include "relay/base/metrics.def"
#undef X
    };
    put_head("postwain-metrics", "5", "what postwain counts");
    puts(".Sh DESCRIPTION\nServed at\n.Pa /metrics\nof the address in section\n.Ic http\nof\n.Xr "
         "postwain.conf 5 .\n.Bl -tag -width Ds");
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        printf(".It Ic postwain_%s Pq %s\n%s.\n", metrics[i].name, metrics[i].kind,
               metrics[i].help);
    puts(".El\n.Sh SEE ALSO\n.Xr postwain.conf 5 ,\n.Xr postwain 8");
}

static void put_events(void)
{
    put_head("postwain-events", "5", "the delivery log of postwain");
    puts(".Sh DESCRIPTION\nOne JSON object a line, for each thing that happens to a recipient.\n"
         "The schema is printed by\n.Ql postwain log --schema .");
    put_fields();
    put_faults();
    puts(".Sh SEE ALSO\n.Xr postwain-log 1 ,\n.Xr postwain.conf 5 ,\n.Xr postwain 8");
}

int manual_list(void)
{
    cli_each_verb(list_verb, NULL);
    puts("postwain-events.5\npostwain-metrics.5");
    return CLI_DONE;
}

int manual_page(const char *name)
{
    struct slice verb = slice_str(name);
    if (strcmp(name, "postwain-events.5") == 0) {
        put_events();
        return CLI_DONE;
    }
    if (strcmp(name, "postwain-metrics.5") == 0) {
        put_metrics();
        return CLI_DONE;
    }
    if (slice_starts(verb, SLICE_LIT("postwain-")))
        verb = slice_skip(verb, 9);
    char *wanted = slice_dup(slice_cut(&verb, '.'));
    struct page p = {.verb = wanted};
    cli_each_verb(put_verb, &p);
    free(wanted);
    if (!p.begun)
        return cli_fail(CLI_NOTHING, "there is no page %s: `postwain help --mdoc` lists them",
                        name);
    put_tail(!p.own_codes);
    return CLI_DONE;
}

/* `suppress`: who is not to be sent to; listed, added, removed, exported, imported. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 1000, LINE_LIMIT = 8192 };

static const struct cli_option list_options[] = {{"user", 0, true}, {"limit", 0, true}, {0}};
static const struct cli_option add_options[] = {{"user", 0, true}, {"reason", 0, true}, {0}};
static const struct cli_option user_options[] = {{"user", 0, true}, {0}};

static int list(const struct cli_verb *v, int argc, char **argv);
static int change(const struct cli_verb *v, int argc, char **argv);
static int export(const struct cli_verb *v, int argc, char **argv);
static int import(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb group = {
    "suppress", "", NULL, NULL,
    "usage: postwain suppress list|add|remove|export|import …\n"
    "\n"
    "  list [PATTERN]      recipients that are not sent to, since when and why\n"
    "  add ADDRESS...      put them on the list (@DOMAIN: all of a domain)\n"
    "  remove ADDRESS...   take them off it\n"
    "  export              the list, one JSON object a line\n"
    "  import FILE|-       what export wrote, or one address a line\n"
    "\n"
    "A listed recipient is refused at RCPT with 550 5.1.1, or accepted and dropped, and hard\n"
    "bounces may put recipients on the list by themselves: suppression { … } in the "
    "configuration.\n"
    "\n"
    "examples:\n"
    "  postwain suppress list '*@example.com'\n"
    "  postwain suppress remove bob@example.com\n"};

static const struct cli_verb verbs[] = {
    {"suppress list", "", list, list_options,
     "usage: postwain suppress list [PATTERN] [--user NAME] [--limit N] [--json]\n"
     "\n"
     "PATTERN is a shell pattern on addresses. USER is empty for what holds for everybody.\n"
     "SOURCE is bounces or operator. Exit code 1: nobody is listed.\n"
     "\n"
     "examples:\n"
     "  postwain suppress list\n"
     "  postwain suppress list --user shop --json | jq -r "
     "'select(.source==\"bounces\").recipient'\n"},
    {"suppress add", "", change, add_options,
     "usage: postwain suppress add ADDRESS... [--user NAME] [--reason TEXT]\n"
     "\n"
     "  --user NAME     for this user's mail only (default: for everybody's)\n"
     "  --reason TEXT   said to who sends to them, at most 200 bytes\n"
     "\n"
     "Holds at once and across restarts. Mail that is queued already is still tried. Exit code 1:\n"
     "all of them were listed.\n"
     "\n"
     "examples:\n"
     "  postwain suppress add bob@example.com --reason 'asked not to be written to'\n"
     "  postwain suppress add @closed.example --user shop\n"},
    {"suppress remove", "", change, user_options,
     "usage: postwain suppress remove ADDRESS... [--user NAME]\n"
     "\n"
     "Names stand on the list by user and address: without --user the one for everybody is meant.\n"
     "Exit code 1: none of them was listed.\n"
     "\n"
     "example:\n"
     "  postwain suppress remove bob@example.com --user shop\n"},
    {"suppress export", "", export, user_options,
     "usage: postwain suppress export [--user NAME]\n"
     "\n"
     "Writes the list to standard output, one JSON object a line: recipient, user, since, source,\n"
     "reason.\n"
     "\n"
     "example:\n"
     "  postwain suppress export > suppressed.jsonl\n"},
    {"suppress import", "", import, add_options,
     "usage: postwain suppress import FILE|- [--user NAME] [--reason TEXT]\n"
     "\n"
     "A line is an object that export wrote, or an address; empty lines and those that begin with\n"
     "# are passed over. --user and --reason hold for addresses. What is listed already stays as "
     "it\n"
     "is. A line that is neither ends the import with its number; lines before it are kept.\n"
     "\n"
     "examples:\n"
     "  postwain suppress import suppressed.jsonl\n"
     "  cut -d, -f1 unsubscribed.csv | postwain suppress import - --reason unsubscribed\n"},
};

int verb_suppress(const struct cli_verb *v, int argc, char **argv)
{
    (void)v;
    return args_dispatch("suppress", verbs, sizeof verbs / sizeof *verbs, &group, argc, argv);
}

/* Everything that goes into JSON is UTF-8 text. */
static int parse(struct cli_args *a, const struct cli_verb *v, int argc, char **argv)
{
    int rc = args_parse(a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    const char *user = args_value(a, "user"), *reason = args_value(a, "reason");
    if (user && (!user[0] || !utf8_text(user)))
        return args_wrong(a, "--user is a user's name");
    if (reason && (!reason[0] || !utf8_text(reason) || strlen(reason) > 200))
        return args_wrong(a, "--reason is UTF-8 text of at most 200 bytes");
    for (int i = 0; i < a->n_words; i++)
        if (!a->words[i][0] || !utf8_text(a->words[i]))
            return args_wrong(a, "an address is UTF-8 text");
    return ARGS_GO_ON;
}

/* --- list, export
 * --------------------------------------------------------------------------------------- */

static void list_row(void *table, const json_t *row)
{
    char since[SHOW_SIZE];
    const char *const cells[] = {json_text(row, "recipient"), json_text(row, "user"),
                                 show_age(since, row, "since"), json_text(row, "source"),
                                 json_text(row, "reason")};
    table_row(table, cells);
}

static json_t *list_args(const struct cli_args *a)
{
    json_t *args = json_object();
    const char *user = args_value(a, "user");
    if (user)
        json_object_set_new(args, "user", json_string(user));
    if (a->n_words)
        json_object_set_new(args, "address", json_string(a->words[0]));
    return args;
}

static int list(const struct cli_verb *v, int argc, char **argv)
{
    static const struct table_column columns[] = {{"RECIPIENT", false, false},
                                                  {"USER", false, false},
                                                  {"SINCE", true, false},
                                                  {"SOURCE", false, false},
                                                  {"REASON", false, true}};
    struct cli_args a;
    uint64_t limit = 0;
    int rc = parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words > 1)
        return args_wrong(&a, "suppress list takes one pattern");
    if (!args_limit(&a, "limit", &limit, &rc))
        return rc;
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    json_t *args = list_args(&a), *done = NULL;
    if (limit)
        json_object_set_new(args, "limit", json_integer((json_int_t)limit));
    struct table *t = table_new(columns, sizeof columns / sizeof *columns, term_width());
    rc = client_ask(c, "suppress.list", args, a.json ? print_json_line : list_row, t, &done);
    table_free(t);
    if (rc == CLI_DONE && a.json)
        print_json_line(NULL, done);
    if (rc == CLI_DONE && json_number(done, "matched") == 0)
        rc = a.json ? CLI_NOTHING : cli_fail(CLI_NOTHING, "nobody is listed");
    json_decref(done);
    client_free(c);
    return rc;
}

static int export(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "suppress export writes to standard output: redirect it");
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    rc = client_ask_text(c, "suppress.list", list_args(&a), print_text_line, NULL, NULL);
    client_free(c);
    return rc;
}

/* --- add, remove, import
 * -------------------------------------------------------------------------------- */

struct sending {
    struct client *client;
    const char *verb;
    json_t *batch;
    int64_t matched, changed;
};

/* What has been gathered goes out. */
static int send_batch(struct sending *s)
{
    json_t *done = NULL;
    if (json_array_size(s->batch) == 0)
        return CLI_DONE;
    json_t *args = json_pack("{s:o}", "recipients", s->batch);
    MUST(args);
    s->batch = json_array();
    int rc = client_ask(s->client, s->verb, args, NULL, NULL, &done);
    if (rc == CLI_DONE) {
        s->matched += json_number(done, "matched");
        s->changed += json_number(done, "changed");
    }
    json_decref(done);
    return rc;
}

/* Takes entry. */
static int put(struct sending *s, json_t *entry)
{
    json_array_append_new(s->batch, entry);
    return json_array_size(s->batch) >= BATCH ? send_batch(s) : CLI_DONE;
}

static json_t *entry_of(const struct cli_args *a, const char *recipient)
{
    json_t *o = json_pack("{s:s}", "recipient", recipient);
    const char *user = args_value(a, "user"), *reason = args_value(a, "reason");
    MUST(o);
    if (user)
        json_object_set_new(o, "user", json_string(user));
    if (reason)
        json_object_set_new(o, "reason", json_string(reason));
    return o;
}

static int tell(const struct cli_args *a, const struct sending *s)
{
    const bool add = strcmp(s->verb, "suppress.add") == 0;
    const long long rest = (long long)(s->matched - s->changed);
    if (a->json) {
        json_t *done = json_pack("{s:I, s:I}", "matched", (json_int_t)s->matched, "changed",
                                 (json_int_t)s->changed);
        print_json_line(NULL, done);
        json_decref(done);
    } else {
        printf("%lld %s", (long long)s->changed, add ? "added" : "removed");
        if (rest)
            printf(", %lld %s", rest, add ? "were listed already" : "were not listed");
        putchar('\n');
    }
    return s->changed ? CLI_DONE : CLI_NOTHING;
}

static int sending_open(struct sending *s, const struct cli_args *a, const char *verb)
{
    int rc = CLI_DONE;
    *s = (struct sending){.verb = verb, .client = client_open(a, &rc)};
    if (s->client)
        s->batch = json_array();
    return rc;
}

static void sending_close(struct sending *s)
{
    json_decref(s->batch);
    client_free(s->client);
}

static int change(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    struct sending s;
    const bool add = strcmp(v->name, "suppress add") == 0;
    int rc = parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (!a.n_words)
        return args_wrong(&a, "%s takes one address or more", v->name);
    rc = sending_open(&s, &a, add ? "suppress.add" : "suppress.remove");
    if (!s.client)
        return rc;
    for (int i = 0; i < a.n_words && rc == CLI_DONE; i++)
        rc = put(&s, entry_of(&a, a.words[i]));
    if (rc == CLI_DONE)
        rc = send_batch(&s);
    if (rc == CLI_DONE)
        rc = tell(&a, &s);
    sending_close(&s);
    return rc;
}

/* NULL: neither an object of texts nor an address. */
static json_t *line_entry(const struct cli_args *a, const char *line)
{
    if (line[0] != '{')
        return utf8_text(line) && !strpbrk(line, " \t") ? entry_of(a, line) : NULL;
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    if (!o || !json_is_string(json_object_get(o, "recipient"))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int import_lines(const struct cli_args *a, struct sending *s, FILE *f, const char *path)
{
    DEFER_FREE char *line = NULL;
    size_t size = 0, number = 0;
    int rc = CLI_DONE;
    while (rc == CLI_DONE && getline(&line, &size, f) >= 0) {
        const struct slice text = slice_trim(slice_str(line));
        number++;
        if (text.n == 0 || text.p[0] == '#')
            continue;
        DEFER_FREE char *one = slice_dup(text);
        json_t *entry = text.n <= LINE_LIMIT ? line_entry(a, one) : NULL;
        rc = entry ? put(s, entry)
                   : cli_fail(CLI_USAGE, "%s:%zu: neither an address nor a line of suppress export",
                              path, number);
    }
    if (ferror(f))
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    const int rest = send_batch(s); /* also what stood before a bad line */
    return rc == CLI_DONE ? rest : rc;
}

static int import(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    struct sending s;
    int rc = parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words != 1)
        return args_wrong(&a, "suppress import takes one file, or - for standard input");
    const char *path = a.words[0];
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    rc = sending_open(&s, &a, "suppress.add");
    if (s.client) {
        rc = import_lines(&a, &s, f, path);
        if (rc == CLI_DONE) {
            rc = tell(&a, &s);
        } else if (s.changed) {
            tell(&a, &s);
            rc = CLI_PARTLY;
        }
        sending_close(&s);
    }
    if (f != stdin)
        fclose(f);
    return rc;
}

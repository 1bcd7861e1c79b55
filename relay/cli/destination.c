/* `destination`: sites as the scheduler sees them; suspended and resumed. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <string.h>

static const struct cli_option suspend_options[] = {{"for", 0, true}, {"reason", 0, true}, {0}};

static int list(const struct cli_verb *v, int argc, char **argv);
static int show(const struct cli_verb *v, int argc, char **argv);
static int suspend(const struct cli_verb *v, int argc, char **argv);
static int resume(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb group = {
    "destination", "", NULL, NULL,
    "usage: postwain destination list|show|suspend|resume …\n"
    "\n"
    "  list                destinations and their sites: what waits, connections, state\n"
    "  show NAME           one of them, by the name of the destination or of the site\n"
    "  suspend NAME        no mail goes there until it is resumed\n"
    "  resume NAME         it goes on\n"
    "\n"
    "A site is all domains behind the same mail hosts; a destination of the configuration may "
    "have\n"
    "many. What is suspended waits, without attempts, across restarts; attempts under way end.\n"
    "\n"
    "examples:\n"
    "  postwain destination list\n"
    "  postwain destination suspend google --for 2h --reason 'they have trouble'\n"};

static const struct cli_verb verbs[] = {
    {"destination list", "", list, NULL,
     "usage: postwain destination list [--json]\n"
     "\n"
     "READY is due now, WAITING not yet; CONN connections are open, WINDOW may be, LIMIT at most;\n"
     "RATE messages were begun in the last minute, of those that may. WHY is the reason of who\n"
     "suspended it, else what put mail off there last.\n"
     "Destinations of the configuration without mail stand below.\n"
     "\n"
     "example:\n"
     "  postwain destination list --json | jq -r 'select(.suspended).destination'\n"},
    {"destination show", "", show, NULL,
     "usage: postwain destination show NAME [--json]\n"
     "\n"
     "All sites of a destination, or one site, key by key. Exit code 1: there is no such one.\n"
     "\n"
     "example:\n"
     "  postwain destination show google\n"},
    {"destination suspend", "", suspend, suspend_options,
     "usage: postwain destination suspend NAME [--for DURATION] [--reason TEXT]\n"
     "\n"
     "  --for DURATION   such as 30m, 2h, 1d (default: until it is resumed)\n"
     "  --reason TEXT    shown by list and status, at most 500 bytes\n"
     "\n"
     "NAME is a destination of the configuration, all of it, or one site of the list. Its mail is\n"
     "not tried and stays until its lifetime ends. Suspending again changes duration and reason.\n"
     "\n"
     "examples:\n"
     "  postwain destination suspend google --for 2h --reason 'they have trouble'\n"
     "  postwain destination suspend mx.example.com\n"},
    {"destination resume", "", resume, NULL,
     "usage: postwain destination resume NAME\n"
     "\n"
     "Mail goes there again, at once. Exit code 1: it was not suspended.\n"
     "\n"
     "example:\n"
     "  postwain destination resume google\n"},
};

int verb_destination(const struct cli_verb *v, int argc, char **argv)
{
    (void)v;
    return args_dispatch("destination", verbs, sizeof verbs / sizeof *verbs, &group, argc, argv);
}

static void number(char text[SHOW_SIZE], const json_t *row, const char *key)
{
    if (json_object_get(row, key))
        snprintf(text, SHOW_SIZE, "%lld", (long long)json_number(row, key));
    else
        text[0] = 0;
}

/* Why nothing goes to a site that is left alone. */
static const char *dead_words(const json_t *row)
{
    if (json_is_true(json_object_get(row, "local")))
        return "a fault of this host, next try";
    return json_is_true(json_object_get(row, "throttled")) ? "asks for less, next job"
                                                           : "unreachable, next probe";
}

static void state_of(char text[SHOW_SIZE + 40], const json_t *row)
{
    char wait[SHOW_SIZE];
    if (json_is_true(json_object_get(row, "suspended"))) {
        show_ahead(wait, row, "until");
        snprintf(text, SHOW_SIZE + 40,
                 json_object_get(row, "until") ? "suspended for %s%s" : "suspended%s%s",
                 json_object_get(row, "until") ? wait : "", "");
    } else if (json_is_true(json_object_get(row, "dead"))) {
        snprintf(text, SHOW_SIZE + 40, "%s in %s", dead_words(row),
                 show_seconds(wait, json_number(row, "next_probe_seconds")));
    } else {
        snprintf(text, SHOW_SIZE + 40, "%s", json_object_get(row, "site") ? "ok" : "no mail");
    }
}

/* The jobs of the last minute, and behind a stroke those that may begin. */
static void rate_of(char text[2 * SHOW_SIZE], const json_t *row)
{
    long long rate = (long long)json_number(row, "rate"),
              seconds = (long long)json_number(row, "rate_seconds");
    text[0] = 0;
    if (json_object_get(row, "per_minute"))
        snprintf(text, 2 * SHOW_SIZE, "%lld/m", (long long)json_number(row, "per_minute"));
    if (!rate)
        return;
    size_t n = strlen(text);
    const char *unit = seconds == 1 ? "s" : seconds == 60 ? "m" : seconds == 3600 ? "h" : "d";
    snprintf(text + n, 2 * SHOW_SIZE - n, " of %lld/%s", rate, unit);
}

/* Why it stands still; else what was wrong last. */
static const char *why_of(const json_t *row)
{
    const char *reason = json_text(row, "reason");
    return reason[0] ? reason : json_text(row, "last_error");
}

static void list_row(void *table, const json_t *row)
{
    char n[5][SHOW_SIZE], state[SHOW_SIZE + 40], rate[2 * SHOW_SIZE];
    static const char *const keys[] = {"ready", "waiting", "connections", "window", "limit"};
    for (size_t i = 0; i < 5; i++)
        number(n[i], row, keys[i]);
    state_of(state, row);
    rate_of(rate, row);
    const char *const cells[] = {json_text(row, "destination"),
                                 json_text(row, "site"),
                                 n[0],
                                 n[1],
                                 n[2],
                                 n[3],
                                 n[4],
                                 rate,
                                 state,
                                 why_of(row)};
    table_row(table, cells);
}

static int list(const struct cli_verb *v, int argc, char **argv)
{
    static const struct table_column columns[] = {
        {"DESTINATION", false, true}, {"SITE", false, true}, {"READY", true, false},
        {"WAITING", true, false},     {"CONN", true, false}, {"WINDOW", true, false},
        {"LIMIT", true, false},       {"RATE", true, false}, {"STATE", false, false},
        {"WHY", false, true}};
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "destination list takes no arguments");
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    struct table *t = table_new(columns, sizeof columns / sizeof *columns, term_width());
    rc = client_ask(c, "destination.list", json_object(), a.json ? print_json_line : list_row, t,
                    NULL);
    table_free(t);
    client_free(c);
    return rc;
}

/* --- show */

struct showing {
    const char *name;
    bool json;
    unsigned n;
};

static void print_keys(const json_t *row)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value)
    {
        printf("%-20s ", key);
        if (json_is_string(value))
            print_clean(stdout, json_string_value(value));
        else if (json_is_boolean(value))
            printf("%s", json_is_true(value) ? "yes" : "no");
        else
            printf("%lld", (long long)json_integer_value(value));
        putchar('\n');
    }
}

static void show_row(void *ctx, const json_t *row)
{
    struct showing *s = ctx;
    if (strcmp(json_text(row, "destination"), s->name) != 0 &&
        strcmp(json_text(row, "site"), s->name) != 0)
        return;
    if (s->json) {
        print_json_line(NULL, row);
    } else {
        if (s->n)
            putchar('\n');
        print_keys(row);
    }
    s->n++;
}

static int one_name(struct cli_args *a, const struct cli_verb *v, int argc, char **argv)
{
    int rc = args_parse(a, v, argc, argv);
    if (rc == ARGS_GO_ON && (a->n_words != 1 || !utf8_text(a->words[0]) || !a->words[0][0]))
        return args_wrong(a, "%s takes one name", v->name);
    return rc;
}

static int show(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = one_name(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    struct showing s = {.name = a.words[0], .json = a.json};
    rc = client_ask(c, "destination.list", json_object(), show_row, &s, NULL);
    if (rc == CLI_DONE && s.n == 0)
        rc = cli_fail(CLI_NOTHING, "%s is neither a destination nor a site: see destination list",
                      a.words[0]);
    client_free(c);
    return rc;
}

/* --- suspend, resume */

/* Takes args. */
static int change(const struct cli_args *a, const char *verb, json_t *args, const char *word)
{
    int rc;
    json_t *done = NULL;
    struct client *c = client_open(a, &rc);
    if (!c) {
        json_decref(args);
        return rc;
    }
    rc = client_ask(c, verb, args, NULL, NULL, &done);
    if (rc == CLI_DONE && a->json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE)
        printf("%s is %s\n", a->words[0], word);
    json_decref(done);
    client_free(c);
    return rc;
}

static int suspend(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int64_t ms = 0;
    int rc = one_name(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    const char *span = args_value(&a, "for"), *reason = args_value(&a, "reason");
    if (span && (!conf_parse_duration(slice_str(span), &ms) || ms < 1000))
        return args_wrong(&a, "--for takes a duration such as 30m, 2h, 1d");
    if (reason && (!utf8_text(reason) || !reason[0] || strlen(reason) > 500))
        return args_wrong(&a, "--reason is UTF-8 text of at most 500 bytes");
    json_t *args = json_pack("{s:s}", "destination", a.words[0]);
    MUST(args);
    if (ms)
        json_object_set_new(args, "for_s", json_integer((json_int_t)(ms / 1000)));
    if (reason)
        json_object_set_new(args, "reason", json_string(reason));
    return change(&a, "destination.suspend", args, "suspended");
}

static int resume(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = one_name(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    json_t *args = json_pack("{s:s}", "destination", a.words[0]);
    MUST(args);
    return change(&a, "destination.resume", args, "resumed");
}

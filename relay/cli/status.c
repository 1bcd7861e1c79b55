/* `status`: one screen. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <stdlib.h>
#include <unistd.h>

static const struct table_column site_columns[] = {
    {"DESTINATION", false, true}, {"SITE", false, true},  {"READY", true, false},
    {"WAITING", true, false},     {"CONN", true, false},  {"WINDOW", true, false},
    {"LIMIT", true, false},       {"STATE", false, true},
};

struct table *sites_table(void)
{
    return table_new(site_columns, sizeof site_columns / sizeof *site_columns, term_width());
}

void sites_row(void *table, const json_t *row)
{
    static const char *const keys[] = {"ready", "waiting", "connections", "window", "limit"};
    char numbers[5][SHOW_SIZE], state[SHOW_SIZE + 32] = "ok", wait[SHOW_SIZE];
    for (size_t i = 0; i < 5; i++)
        snprintf(numbers[i], SHOW_SIZE, "%lld", (long long)json_number(row, keys[i]));
    if (json_is_true(json_object_get(row, "dead")))
        snprintf(state, sizeof state, "unreachable, next probe in %s",
                 show_seconds(wait, json_number(row, "next_probe_seconds")));
    if (json_is_true(json_object_get(row, "suspended")))
        snprintf(state, sizeof state, "suspended");
    const char *const cells[] = {json_text(row, "destination"),
                                 json_text(row, "site"),
                                 numbers[0],
                                 numbers[1],
                                 numbers[2],
                                 numbers[3],
                                 numbers[4],
                                 state};
    table_row(table, cells);
}

/* Messages and recipients by state, as `status` and `queue` say it. */
void print_counts(FILE *to, const json_t *d)
{
    char oldest[SHOW_SIZE];
    const long long messages = (long long)json_number(d, "messages"),
                    recipients = (long long)json_number(d, "recipients");
    fprintf(to,
            "%lld message%s, %lld recipient%s: %lld ready, %lld waiting, %lld held, %lld active",
            messages, plural(messages), recipients, plural(recipients),
            (long long)json_number(d, "ready"), (long long)json_number(d, "waiting"),
            (long long)json_number(d, "held"), (long long)json_number(d, "active"));
    if (messages && !recipients) /* a report each, and they are gone */
        fputs("; only reports to their senders are still to be written", to);
    if (messages)
        fprintf(to, "; the oldest is %s old",
                show_seconds(oldest, json_number(d, "oldest_seconds")));
}

static void print_head(FILE *to, const json_t *d)
{
    char up[SHOW_SIZE];
    print_clean(to, "postwain ");
    print_clean(to, json_text(d, "version"));
    print_clean(to, " on ");
    print_clean(to, json_text(d, "hostname"));
    fprintf(to, ", up %s, %s\n\n", show_seconds(up, json_number(d, "uptime_seconds")),
            json_is_false(json_object_get(d, "accepting")) ? "accepting no new mail"
                                                           : "accepting mail");
}

/* "12.3 4 0.1": a second, over 1, 5 and 15 minutes. */
static void print_rate(FILE *to, const json_t *d, const char *key, const char *word)
{
    const json_t *rates = json_object_get(d, key), *one;
    size_t i;
    fprintf(to, "%s", word);
    json_array_foreach(rates, i, one)
    {
        const double rate = json_number_value(one);
        fprintf(to, rate > 0 && rate < 100 ? " %.1f" : " %.0f", rate);
    }
}

static void print_rates(FILE *to, const json_t *d)
{
    static const struct {
        const char *key, *word;
    } rates[] = {{"accepted_rate", "accepted"},
                 {"delivered_rate", ", delivered"},
                 {"deferred_rate", ", deferred"},
                 {"bounced_rate", ", bounced"}};
    fputs("\n1/5/15 m  ", to);
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        print_rate(to, d, rates[i].key, rates[i].word);
    fputs(" /s", to);
}

static void print_totals(FILE *to, const json_t *d)
{
    char live[SHOW_SIZE], disk[SHOW_SIZE];
#define N(key) (long long)json_number(d, key)
    fputs("queue     ", to);
    print_counts(to, d);
    fprintf(to,
            "\nsince     %lld accepted, %lld delivered, %lld deferred, %lld bounced, %lld expired",
            N("accepted_total"), N("delivered_total"), N("deferred_total"), N("bounced_total"),
            N("expired_total"));
    print_rates(to, d);
    fprintf(to, "\nsessions  %lld open\n", N("sessions"));
    fprintf(to, "spool     %s of mail in %s on disk\n",
            show_bytes(live, json_number(d, "live_bytes")),
            show_bytes(disk, json_number(d, "disk_bytes")));
    fprintf(to, "log       %lld of %lld events written\n", N("log_seq"), N("last_seq"));
#undef N
}

void print_warnings(FILE *to, const json_t *done)
{
    const json_t *warnings = json_object_get(done, "warnings"), *one;
    size_t i;
    if (json_array_size(warnings))
        fputc('\n', to);
    json_array_foreach(warnings, i, one)
    {
        fputs(term_color() ? "\033[33mwarning:\033[0m " : "warning: ", to);
        print_clean(to, json_string_value(one) ? json_string_value(one) : "");
        fputc('\n', to);
    }
}

/* Recipients that are due count before those that only wait. */
static int64_t business(const json_t *row)
{
    return (json_number(row, "ready") + json_number(row, "connections")) * 1000000 +
           json_number(row, "waiting");
}

static int busiest_first(const void *a, const void *b)
{
    const json_t *const *x = a, *const *y = b;
    const int64_t left = business(*x), right = business(*y);
    return left == right ? strcmp(json_text(*x, "site"), json_text(*y, "site"))
                         : (left < right) - (left > right);
}

/* The busiest; of those for which there is no room how many there are. */
static void print_sites(FILE *to, const json_t *rows, size_t room)
{
    const size_t n = json_array_size(rows);
    const json_t **sorted = must_alloc((n + 1) * sizeof *sorted);
    const size_t shown = n <= room ? n : room > 0 ? room - 1 : 0;
    struct table *t = sites_table();
    table_to(t, to);
    for (size_t i = 0; i < n; i++)
        sorted[i] = json_array_get(rows, i);
    qsort(sorted, n, sizeof *sorted, busiest_first);
    for (size_t i = 0; i < shown; i++)
        sites_row(t, sorted[i]);
    table_free(t);
    if (shown < n)
        fprintf(to, "… and %zu more: postwain queue\n", n - shown);
    free(sorted);
}

void status_page(FILE *to, const json_t *rows, const json_t *done, unsigned lines)
{
    enum { AROUND = 11 }; /* lines that are not the table's or a warning */
    const size_t warnings = json_array_size(json_object_get(done, "warnings"));
    const size_t others = AROUND + warnings + (warnings ? 1 : 0);
    print_head(to, done);
    print_totals(to, done);
    print_warnings(to, done);
    if (json_array_size(rows) == 0)
        return;
    fputc('\n', to);
    print_sites(to, rows, lines > others + 3 ? lines - others : 3);
}

int verb_status(const struct cli_verb *v, int argc, char **argv)
{
    enum { SCREEN = 24 };
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "status takes no arguments");
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    json_t *rows = json_array(), *done = NULL;
    rc = client_ask(c, "status", json_object(), a.json ? print_json_line : json_keep_row, rows,
                    &done);
    if (rc == CLI_DONE && a.json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE)
        status_page(stdout, rows, done, isatty(STDOUT_FILENO) ? term_height() - 1 : SCREEN);
    json_decref(rows);
    json_decref(done);
    client_free(c);
    return rc;
}

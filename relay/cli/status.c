/* `status`: one screen. */
#include "relay/cli/private.h"

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
void print_counts(const json_t *d)
{
    char oldest[SHOW_SIZE];
    const long long messages = (long long)json_number(d, "messages"),
                    recipients = (long long)json_number(d, "recipients");
    printf("%lld message%s, %lld recipient%s: %lld ready, %lld waiting, %lld held, %lld active",
           messages, messages == 1 ? "" : "s", recipients, recipients == 1 ? "" : "s",
           (long long)json_number(d, "ready"), (long long)json_number(d, "waiting"),
           (long long)json_number(d, "held"), (long long)json_number(d, "active"));
    if (messages)
        printf("; the oldest is %s old", show_seconds(oldest, json_number(d, "oldest_seconds")));
}

static void print_totals(const json_t *d)
{
    char up[SHOW_SIZE], live[SHOW_SIZE], disk[SHOW_SIZE];
#define N(key) (long long)json_number(d, key)
    print_clean(stdout, "postwain ");
    print_clean(stdout, json_text(d, "version"));
    print_clean(stdout, " on ");
    print_clean(stdout, json_text(d, "hostname"));
    printf(", up %s, %s\n\n", show_seconds(up, json_number(d, "uptime_seconds")),
           json_is_false(json_object_get(d, "accepting")) ? "accepting no new mail"
                                                          : "accepting mail");
    fputs("queue     ", stdout);
    print_counts(d);
    printf("\nsince     %lld accepted, %lld delivered, %lld deferred, %lld bounced, %lld expired\n",
           N("accepted_total"), N("delivered_total"), N("deferred_total"), N("bounced_total"),
           N("expired_total"));
    printf("sessions  %lld open\n", N("sessions"));
    printf("spool     %s of mail in %s on disk\n", show_bytes(live, json_number(d, "live_bytes")),
           show_bytes(disk, json_number(d, "disk_bytes")));
    printf("log       %lld of %lld events written\n", N("log_seq"), N("last_seq"));
#undef N
}

void print_warnings(const json_t *done)
{
    const json_t *warnings = json_object_get(done, "warnings"), *one;
    size_t i;
    if (json_array_size(warnings))
        putchar('\n');
    json_array_foreach(warnings, i, one)
    {
        fputs(term_color() ? "\033[33mwarning:\033[0m " : "warning: ", stdout);
        print_clean(stdout, json_string_value(one) ? json_string_value(one) : "");
        putchar('\n');
    }
}

static void print_screen(const json_t *rows, const json_t *done)
{
    const json_t *row;
    size_t i;
    print_totals(done);
    if (json_array_size(rows)) {
        putchar('\n');
        struct table *t = sites_table();
        json_array_foreach(rows, i, row) sites_row(t, row);
        table_free(t);
    }
    print_warnings(done);
}

int verb_status(const struct cli_verb *v, int argc, char **argv)
{
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
        print_screen(rows, done);
    json_decref(rows);
    json_decref(done);
    client_free(c);
    return rc;
}

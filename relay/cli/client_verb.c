/* `client`: who is connected, who fails to log in, who is banned; bans put and lifted. */
#include "relay/base/must.h"
#include "relay/cli/private.h"

static const struct cli_option ban_options[] = {{"for", 0, true}, {"reason", 0, true}, {0}};

static int list(const struct cli_verb *v, int argc, char **argv);
static int ban(const struct cli_verb *v, int argc, char **argv);
static int allow(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb group = {
    "client", "", NULL, NULL,
    "usage: postwain client list|ban|allow …\n"
    "\n"
    "  list            clients that are connected, fail to log in, or are banned\n"
    "  ban ADDRESS     refuse its connections for a while\n"
    "  allow ADDRESS   lift a ban, forget its failed logins\n"
    "\n"
    "A client is an IPv4 address or an IPv6 /64. Who fails to log in too often is banned by "
    "itself\n"
    "(clients { auth-failures, ban, allow } in the configuration). Bans end with the daemon.\n"
    "\n"
    "examples:\n"
    "  postwain client list\n"
    "  postwain client allow 192.0.2.7\n"};

static const struct cli_verb verbs[] = {
    {"client list", "", list, NULL,
     "usage: postwain client list [--json]\n"
     "\n"
     "CONNECTIONS are open now, RATE is how many came in the last minute (refused ones too),\n"
     "FAILURES are logins that failed since the last good one. Exit code 1: there is nobody.\n"
     "\n"
     "examples:\n"
     "  postwain client list\n"
     "  postwain client list --json | jq -r 'select(.banned_until).client'\n"},
    {"client ban", "", ban, ban_options,
     "usage: postwain client ban ADDRESS [--for DURATION] [--reason TEXT]\n"
     "\n"
     "Its connections are answered 421 4.7.0 with the reason. Sessions that are logged in go on.\n"
     "Networks in clients.allow cannot be banned; those that a listener trusts are let in there.\n"
     "\n"
     "  --for DURATION   such as 30m, 1h (the default), 7d\n"
     "  --reason TEXT    said to the client, shown in the list\n"
     "\n"
     "example:\n"
     "  postwain client ban 2001:db8::/64 --for 2h --reason 'stuck in a loop'\n"},
    {"client allow", "", allow, NULL,
     "usage: postwain client allow ADDRESS\n"
     "\n"
     "Lifts a ban and forgets the failed logins. For ever: clients { allow = { … } } in the\n"
     "configuration.\n"
     "\n"
     "example:\n"
     "  postwain client allow 192.0.2.7\n"},
};

int verb_client(const struct cli_verb *v, int argc, char **argv)
{
    (void)v;
    return args_dispatch("client", verbs, sizeof verbs / sizeof *verbs, &group, argc, argv);
}

/* ---- list ---- */

static void list_row(void *table, const json_t *row)
{
    char open[SHOW_SIZE], rate[SHOW_SIZE], failures[SHOW_SIZE], until[SHOW_SIZE];
    snprintf(open, sizeof open, "%lld", (long long)json_number(row, "connections"));
    snprintf(rate, sizeof rate, "%lld/m", (long long)json_number(row, "per_minute"));
    snprintf(failures, sizeof failures, "%lld", (long long)json_number(row, "failures"));
    const char *const cells[] = {
        json_text(row, "client"), open, rate, failures, show_ahead(until, row, "banned_until"),
        json_text(row, "reason")};
    table_row(table, cells);
}

static int list(const struct cli_verb *v, int argc, char **argv)
{
    static const struct table_column columns[] = {
        {"CLIENT", false, false},  {"CONNECTIONS", true, false}, {"RATE", true, false},
        {"FAILURES", true, false}, {"BANNED", true, false},      {"REASON", false, true}};
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "client list takes no arguments");
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    struct table *t = table_new(columns, sizeof columns / sizeof *columns, term_width());
    json_t *done = NULL;
    rc = client_ask(c, "client.list", json_object(), a.json ? print_json_line : list_row, t, &done);
    table_free(t);
    if (rc == CLI_DONE && json_number(done, "matched") == 0)
        rc = a.json ? CLI_NOTHING
                    : cli_fail(CLI_NOTHING, "nobody is connected, fails to log in, or is banned");
    json_decref(done);
    client_free(c);
    return rc;
}

/* ---- ban, allow ---- */

/* Takes args. */
static int change(const struct cli_args *a, const char *verb, json_t *args)
{
    int rc;
    json_t *done = NULL;
    char until[SHOW_SIZE];
    struct client *c = client_open(a, &rc);
    if (!c) {
        json_decref(args);
        return rc;
    }
    rc = client_ask(c, verb, args, NULL, NULL, &done);
    if (rc == CLI_DONE && a->json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE && json_object_get(done, "banned_until"))
        printf("%s is banned for %s\n", a->words[0], show_ahead(until, done, "banned_until"));
    else if (rc == CLI_DONE)
        printf("%s may connect again\n", a->words[0]);
    json_decref(done);
    client_free(c);
    return rc;
}

static int one_address(struct cli_args *a, const struct cli_verb *v, int argc, char **argv)
{
    int rc = args_parse(a, v, argc, argv);
    if (rc == ARGS_GO_ON && (a->n_words != 1 || !utf8_text(a->words[0]) || !a->words[0][0]))
        return args_wrong(a, "%s takes one address", v->name);
    return rc;
}

static int ban(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int64_t ms = 3600000;
    int rc = one_address(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    const char *span = args_value(&a, "for"), *reason = args_value(&a, "reason");
    if (span && (!conf_parse_duration(slice_str(span), &ms) || ms < 1000))
        return args_wrong(&a, "--for takes a duration such as 30m, 1h, 7d");
    if (reason && (!utf8_text(reason) || !reason[0] || strlen(reason) > 500))
        return args_wrong(&a, "--reason is UTF-8 text of at most 500 bytes");
    json_t *args = json_pack("{s:s, s:I}", "address", a.words[0], "for_s", (json_int_t)(ms / 1000));
    MUST(args);
    if (reason)
        json_object_set_new(args, "reason", json_string(reason));
    return change(&a, "client.ban", args);
}

static int allow(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = one_address(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    json_t *args = json_pack("{s:s}", "address", a.words[0]);
    MUST(args);
    return change(&a, "client.allow", args);
}

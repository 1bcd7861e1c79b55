/*
 * `queue retry`, `hold`, `remove` and their like: they act on many, so they look first. A
 * dry run tells how many match and shows some; then --expect may refuse, and a person at a terminal
 * is asked.
 */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <unistd.h>

struct act {
    const struct cli_args *a;
    const char *verb; /* "retry" */
    json_t *filter;
    const char *destination; /* redirect; NULL: not this verb */
    int priority;
    bool has_priority;
    struct client *client;
    uint64_t expect;
};

static const char *bare_verb(const struct cli_verb *v)
{
    const char *space = strchr(v->name, ' ');
    MUST(space);
    return space + 1;
}

static int ask(const struct act *act, bool dry_run, void (*row)(void *, const json_t *), void *ctx,
               json_t **ret_done)
{
    char verb[32];
    snprintf(verb, sizeof verb, "queue.%s", act->verb);
    json_t *args = json_pack("{s:O, s:b, s:b}", "filter", act->filter, "all",
                             args_value(act->a, "all") != NULL, "dry_run", dry_run);
    MUST(args);
    const char *reason = args_value(act->a, "reason");
    if (reason)
        json_object_set_new(args, "reason", json_string(reason));
    if (act->destination)
        json_object_set_new(args, "destination", json_string(act->destination));
    if (act->has_priority)
        json_object_set_new(args, "priority", json_integer(act->priority));
    return client_ask(act->client, verb, args, row, ctx, ret_done);
}

static void sample_row(void *table, const json_t *row)
{
    const char *sender = json_text(row, "sender");
    const char *const cells[] = {json_text(row, "queue_id"), sender[0] ? sender : "<>",
                                 json_text(row, "recipient"), json_text(row, "state"),
                                 json_text(row, "response")};
    table_row(table, cells);
}

static struct table *sample_table(void)
{
    static const struct table_column columns[] = {{"ID", false, false},
                                                  {"SENDER", false, true},
                                                  {"RECIPIENT", false, true},
                                                  {"STATE", false, false},
                                                  {"LAST REPLY", false, true}};
    return table_new(columns, sizeof columns / sizeof *columns, term_width());
}

/* The dry run; *ret_matched is how many. */
static int look(const struct act *act, bool show, int64_t *ret_matched)
{
    json_t *done = NULL;
    struct table *t = sample_table();
    void (*row)(void *, const json_t *) = act->a->json ? print_json_line : sample_row;
    int rc = ask(act, true, show ? row : NULL, t, &done);
    const unsigned shown = table_rows(t);
    table_free(t);
    *ret_matched = json_number(done, "matched");
    if (rc == CLI_DONE && show && !act->a->json && *ret_matched > shown)
        printf("… and %lld more\n", (long long)(*ret_matched - shown));
    if (rc == CLI_DONE && show && act->a->json)
        print_json_line(NULL, done);
    json_decref(done);
    return rc;
}

static bool confirmed(const struct act *act, int64_t matched)
{
    char answer[16] = "";
    fprintf(stderr, "%s %lld recipient%s? [y/N] ", act->verb, (long long)matched, plural(matched));
    fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int report(const struct act *act, const json_t *done)
{
    const long long matched = (long long)json_number(done, "matched"),
                    changed = (long long)json_number(done, "changed"),
                    skipped = (long long)json_number(done, "skipped"),
                    in_flight = (long long)json_number(done, "in_flight"),
                    failed = (long long)json_number(done, "failed");
    char words[80] = "";
    if (skipped && !in_flight)
        snprintf(words, sizeof words, " (nothing to change)");
    if (in_flight)
        snprintf(words, sizeof words, " (%lld in flight: applied when the attempt ends)",
                 in_flight);
    if (act->a->json)
        print_json_line(NULL, done);
    else
        printf("%lld matched, %lld changed, %lld skipped%s, %lld failed\n", matched, changed,
               skipped, words, failed);
    if (matched == 0)
        return CLI_NOTHING;
    return failed ? CLI_PARTLY : CLI_DONE;
}

static int act_now(const struct act *act)
{
    json_t *done = NULL;
    int rc = ask(act, false, NULL, NULL, &done);
    if (rc == CLI_DONE)
        rc = report(act, done);
    json_decref(done);
    return rc;
}

static int run(const struct act *act)
{
    const bool dry = args_value(act->a, "dry-run");
    /* Ids from standard input leave nobody to answer. */
    const bool asks =
        !dry && !args_value(act->a, "yes") && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    int64_t matched = 0;
    int rc = look(act, dry || asks, &matched);
    if (rc != CLI_DONE)
        return rc;
    if (args_value(act->a, "expect") && (uint64_t)matched != act->expect)
        return cli_fail(CLI_UNEXPECTED, "%lld recipient%s, not %llu: nothing was done",
                        (long long)matched, matched == 1 ? " matches" : "s match",
                        (unsigned long long)act->expect);
    if (matched == 0)
        return cli_fail(CLI_NOTHING, "nothing matched");
    if (dry) {
        if (!act->a->json)
            printf("%lld would be matched by %s; nothing was done\n", (long long)matched,
                   act->verb);
        return CLI_DONE;
    }
    if (asks && !confirmed(act, matched))
        return cli_fail(CLI_NOTHING, "nothing was done");
    return act_now(act);
}

/* redirect: its --to is no filter. */
static bool take_destination(struct act *act, struct cli_args *a, int *ret_exit)
{
    if (strcmp(act->verb, "redirect") != 0)
        return true;
    const char *to = act->destination = args_take(a, "to");
    if (to && utf8_text(to) && !strpbrk(to, "@*?"))
        return true;
    *ret_exit = args_wrong(
        a, to ? "--to is a destination of the configuration here: choose recipients by --recipient"
              : "say where to: --to DESTINATION");
    return false;
}

/* priority: its number is the first word, and is taken before one like -6 is seen as an option. */
static bool take_priority(struct act *act, int *argc, char **argv)
{
    if (strcmp(act->verb, "priority") != 0 || *argc < 2)
        return false;
    const bool below = argv[1][0] == '-';
    uint64_t n = 0;
    if (!slice_u64(slice_str(argv[1] + below), 9, &n))
        return false;
    act->priority = below ? -(int)n : (int)n;
    memmove(argv + 1, argv + 2, (size_t)(*argc - 1) * sizeof *argv); /* the NULL, too */
    --*argc;
    return true;
}

int verb_queue_act(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    struct act act = {.a = &a, .verb = bare_verb(v)};
    act.has_priority = take_priority(&act, &argc, argv);
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON || !args_number(&a, "expect", &act.expect, &rc))
        return rc;
    if (!take_destination(&act, &a, &rc))
        return rc;
    if (strcmp(act.verb, "priority") == 0 && !act.has_priority)
        return args_wrong(&a, "say which: queue priority N, a number from -9 to 9");
    const char *reason = args_value(&a, "reason");
    if (reason && (!utf8_text(reason) || strlen(reason) > 500))
        return args_wrong(&a, "--reason is UTF-8 text of at most 500 bytes");
    act.filter = filter_of(&a, &rc);
    if (!act.filter)
        return rc;
    const bool all = args_value(&a, "all"), some = json_object_size(act.filter) > 0;
    if (all == some)
        rc = args_wrong(&a, all ? "--all and a filter contradict each other"
                                : "say which: ids, a FILTER, or --all");
    else if ((act.client = client_open(&a, &rc)))
        rc = run(&act);
    client_free(act.client);
    json_decref(act.filter);
    return rc;
}

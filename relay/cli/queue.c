/* `queue`: its verbs, and the summary. */
#include "relay/cli/private.h"

#define FILTER_HELP_OF(to)                                                                         \
    "FILTER: --id ID  --from PATTERN  " to " PATTERN  --user NAME  --destination NAME\n"           \
    "  --site SITE\n"                                                                              \
    "  --state ready|waiting|held|active  --older-than 2h  --newer-than 5m  --attempts-ge N\n"     \
    "  --code 4xx  --reply TEXT  --size-ge 10M  --tag KEY=PATTERN  --ids-from FILE|-\n"
#define FILTER_HELP FILTER_HELP_OF("--to")

static const struct cli_option list_options[] = {FILTER_OPTIONS,     {"limit", 0, true},
                                                 {"after", 0, true}, {"count", 0, false},
                                                 {"sort", 0, true},  {0}};
static const struct cli_option show_options[] = {{"attempts", 0, false}, {0}};
static const struct cli_option cat_options[] = {{"headers", 0, false}, {0}};
static const struct cli_option export_options[] = {FILTER_OPTIONS, {0}};
static const struct cli_option import_options[] = {{"hold", 0, false}, {0}};
#define ACT_OPTIONS                                                                                \
    FILTER_OPTIONS, {"all", 0, false}, {"dry-run", 0, false}, {"expect", 0, true},                 \
        {"yes", 'y', false},                                                                       \
    {                                                                                              \
        "reason", 0, true                                                                          \
    }
static const struct cli_option act_options[] = {ACT_OPTIONS, {0}};
/* Its --to is a destination. */
static const struct cli_option redirect_options[] = {ACT_OPTIONS, {"recipient", 0, true}, {0}};

static int queue_summary(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb summary = {
    "queue", "", queue_summary, NULL,
    "usage: postwain queue [VERB] …\n"
    "\n"
    "Alone: counts by state, what holds each destination back, ages, the most common errors.\n"
    "\n"
    "  list [FILTER]...   one row a recipient      show ID   one message, each recipient\n"
    "  cat ID             the message itself       retry     try again now\n"
    "  hold, release      do not try until released\n"
    "  remove             forget it; nobody is told\n"
    "  bounce, expire     give it up; the sender is told\n"
    "  redirect           another destination      priority  sooner or later than others\n"
    "  export, import     move a queue to another host, or keep a copy\n"
    "\n"
    "examples:\n"
    "  postwain queue\n"
    "  postwain queue list --to '*@example.com' --older-than 2h\n"
    "  postwain queue retry --destination google\n"
    "  postwain queue remove --from app@example.com --dry-run\n"
    "  postwain queue list --code 4xx --json | jq -r .response | sort | uniq -c\n"};

/* `usage` between the verb and what is chosen; `more` are options of its own, each a line. */
#define ACT_HELP_WITH(verb, usage, what, filter, more, examples)                                   \
    "usage: postwain queue " verb usage " (ID... | FILTER... | --all) [--dry-run]\n"               \
    "                      [--expect N] [--yes] [--reason TEXT]\n\n" what "\n\n" filter more       \
    "  --all           everything in the queue\n"                                                  \
    "  --dry-run       only show what would be done\n"                                             \
    "  --expect N      refuse (exit code 6) when not exactly N recipients match\n"                 \
    "  --yes, -y       do not ask\n"                                                               \
    "  --reason TEXT   goes into the delivery log\n"                                               \
    "\n"                                                                                           \
    "examples:\n" examples

#define ACT_HELP(verb, what)                                                                       \
    ACT_HELP_WITH(verb, "", what, FILTER_HELP, "",                                                 \
                  "  postwain queue " verb " --to '*@example.com' --dry-run\n"                     \
                  "  postwain queue " verb " --user newsletter --expect 120 --yes\n")

static const struct cli_verb verbs[] = {
    {"queue list", "", queue_list, list_options,
     "usage: postwain queue list [FILTER]... [--limit N] [--after CURSOR] [--count] [--json]\n"
     "                           [--sort due|age|size]\n"
     "\n"
     "One row a recipient. Patterns are shell patterns: quote them.\n"
     "\n" FILTER_HELP "  --limit N       at most N rows, then the cursor for --after\n"
     "  --count         only how many\n"
     "  --sort WHAT     by next attempt, oldest or largest first; more than 10,000 rows need\n"
     "                  a --limit\n"
     "\n"
     "examples:\n"
     "  postwain queue list --state held\n"
     "  postwain queue list --to '*@example.com' --older-than 2h --code 4xx\n"
     "  postwain queue list --reply 'mailbox full' --count\n"},
    {"queue show", "", queue_show, show_options,
     "usage: postwain queue show ID [--attempts] [--json]\n"
     "\n"
     "The envelope of one message, and each recipient's state, attempts and last reply. Then "
     "every\n"
     "attempt with its time, host, TLS and reply, as the delivery log has it since the message "
     "was\n"
     "queued (of a larger log its newest gigabyte; what may be missing is told).\n"
     "\n"
     "  --attempts      with --json, too: the log's records, before the last line\n"
     "\n"
     "examples:\n"
     "  postwain queue show 001MF7BDBW000\n"
     "  postwain queue show 001MF7BDBW000 --json | tail -n 1 | jq -r .message_id\n"},
    {"queue cat", "", queue_cat, cat_options,
     "usage: postwain queue cat ID [--headers]\n"
     "\n"
     "The message as it would be sent, on standard output, byte for byte.\n"
     "\n"
     "examples:\n"
     "  postwain queue cat 001MF7BDBW000 > message.eml\n"
     "  postwain queue cat 001MF7BDBW000 --headers\n"},
    {"queue retry", "", verb_queue_act, act_options,
     ACT_HELP("retry", "Tries again now, whatever was planned. What is held stays held, and\n"
                       "what its sender wants to go later waits for its time.")},
    {"queue hold", "", verb_queue_act, act_options,
     ACT_HELP("hold", "Is not tried until it is released. It still expires.")},
    {"queue release", "", verb_queue_act, act_options,
     ACT_HELP("release",
              "Ends a hold: tried again now. What is not held but waits for the time that\n"
              "its sender named goes now, too.")},
    {"queue remove", "", verb_queue_act, act_options,
     ACT_HELP("remove", "Forgets it for good. Nobody is told; the delivery log says `cancelled`.")},
    {"queue bounce", "", verb_queue_act, act_options,
     ACT_HELP("bounce",
              "Gives it up as if it had been refused, with the reason: a report goes to "
              "the\nsender (status 5.7.1), the delivery log says `bounced`, class admin.")},
    {"queue expire", "", verb_queue_act, act_options,
     ACT_HELP("expire",
              "Gives it up as if its lifetime were over: a report goes to the sender with "
              "what\nthe receiver said last, the delivery log says `expired`.")},
    {"queue redirect", "", verb_queue_act, redirect_options,
     ACT_HELP_WITH(
         "redirect", " --to DESTINATION",
         "Sends it by another destination of the configuration, at once. It stays so, also when\n"
         "the daemon starts again. --to '' takes that back. Here recipients are chosen by\n"
         "--recipient, which is --to of the other verbs.",
         FILTER_HELP_OF("--recipient"), "",
         "  postwain queue redirect --destination google --to backup --dry-run\n"
         "  postwain queue redirect --recipient '*@example.com' --to smarthost --yes\n")},
    {"queue priority", "", verb_queue_act, act_options,
     ACT_HELP_WITH("priority", " N",
                   "Gives messages another priority, -9 to 9: from 4 on they go before others, up "
                   "to -4\nbehind them (RFC 6710). It is the whole message's, also for recipients "
                   "that were not\nchosen.",
                   FILTER_HELP, "",
                   "  postwain queue priority 6 --from 'password-reset@*' --yes\n"
                   "  postwain queue priority -6 --user newsletter\n")},
    {"queue export", "", verb_export, export_options,
     "usage: postwain queue export DIR [FILTER]... [--json]\n"
     "\n"
     "Writes what waits to DIR, two files a message: ID.eml, as it would be sent, and ID.json, "
     "its\n"
     "envelope with the recipients that are left. The queue is not changed. DIR is made when it\n"
     "is missing. What is there already and equal is kept, so that an interrupted export goes on.\n"
     "\n" FILTER_HELP "\n"
     "examples: a queue moves to another host\n"
     "  postwain drain; postwain queue hold --all --yes   # here; and the hold once more when\n"
     "  postwain queue list --state active                # is empty: now it stands still\n"
     "  postwain queue export /tmp/queue                  # says how many messages, recipients\n"
     "  rsync -a /tmp/queue/ there:/tmp/queue/\n"
     "  postwain queue import /tmp/queue                  # there: as many? Then here:\n"
     "  postwain queue remove --all --expect RECIPIENTS --reason 'moved to there'\n"},
    {"queue import", "", verb_import, import_options,
     "usage: postwain queue import DIR [--hold] [--json]\n"
     "\n"
     "Takes what `queue export` wrote into this daemon's queue, as new mail: each message gets a "
     "new\n"
     "id, keeps the rest of its lifetime, and is due at once. Its files go to DIR/imported when "
     "it\n"
     "is safe here, so that an interrupted import goes on with the same command. What is damaged "
     "or\n"
     "would not be accepted from a client is told and stays in DIR.\n"
     "\n"
     "  --hold          not tried until `queue release`\n"
     "\n"
     "examples:\n"
     "  postwain queue import /tmp/queue\n"
     "  postwain queue import /tmp/queue --hold && postwain queue list --state held\n"},
};

int verb_queue(const struct cli_verb *v, int argc, char **argv)
{
    (void)v;
    return args_dispatch("queue", verbs, sizeof verbs / sizeof *verbs, &summary, argc, argv);
}

static void print_ages(const json_t *done)
{
    static const char *const keys[] = {"1m", "10m", "1h", "6h", "1d", "older"};
    const json_t *ages = json_object_get(done, "age");
    fputs("\nage       ", stdout);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        printf("%s%s %lld", i ? "   " : "", keys[i], (long long)json_number(ages, keys[i]));
    putchar('\n');
}

static void print_errors(const json_t *done)
{
    const json_t *errors = json_object_get(done, "errors"), *one;
    size_t i;
    if (json_array_size(errors) == 0)
        return;
    static const struct table_column columns[] = {{"COUNT", true, false},
                                                  {"LAST REPLY", false, true}};
    struct table *t = table_new(columns, 2, term_width());
    putchar('\n');
    json_array_foreach(errors, i, one)
    {
        char count[SHOW_SIZE];
        snprintf(count, sizeof count, "%lld", (long long)json_number(one, "count"));
        const char *const cells[] = {count, json_text(one, "response")};
        table_row(t, cells);
    }
    table_free(t);
}

static void print_summary(const json_t *rows, const json_t *d)
{
    const json_t *row;
    size_t i;
    if (json_number(d, "messages") == 0) {
        puts("the queue is empty");
        print_warnings(stdout, d);
        return;
    }
    print_counts(stdout, d);
    puts("\n");
    struct table *t = sites_table();
    json_array_foreach(rows, i, row) sites_row(t, row);
    table_free(t);
    print_ages(d);
    print_errors(d);
    print_warnings(stdout, d);
}

static int queue_summary(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    json_t *rows = json_array(), *done = NULL;
    rc = client_ask(c, "queue.summary", json_object(), a.json ? print_json_line : json_keep_row,
                    rows, &done);
    if (rc == CLI_DONE && a.json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE)
        print_summary(rows, done);
    json_decref(rows);
    json_decref(done);
    client_free(c);
    return rc;
}

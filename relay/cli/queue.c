/* `queue` and what only looks at it: list, show, cat. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILTER_HELP                                                                                \
    "FILTER: --id ID  --from PATTERN  --to PATTERN  --user NAME  --destination NAME  --site "      \
    "SITE\n"                                                                                       \
    "  --state ready|waiting|held|active  --older-than 2h  --newer-than 5m  --attempts-ge N\n"     \
    "  --code 4xx  --reply TEXT  --size-ge 10M  --tag KEY=PATTERN  --ids-from FILE|-\n"

static const struct cli_option list_options[] = {FILTER_OPTIONS,     {"limit", 0, true},
                                                 {"after", 0, true}, {"count", 0, false},
                                                 {"sort", 0, true},  {0}};
static const struct cli_option cat_options[] = {{"headers", 0, false}, {0}};
static const struct cli_option export_options[] = {FILTER_OPTIONS, {0}};
static const struct cli_option import_options[] = {{"hold", 0, false}, {0}};
static const struct cli_option act_options[] = {FILTER_OPTIONS,
                                                {"all", 0, false},
                                                {"dry-run", 0, false},
                                                {"expect", 0, true},
                                                {"yes", 'y', false},
                                                {"reason", 0, true},
                                                {0}};

static int queue_summary(const struct cli_verb *v, int argc, char **argv);
static int queue_list(const struct cli_verb *v, int argc, char **argv);
static int queue_show(const struct cli_verb *v, int argc, char **argv);
static int queue_cat(const struct cli_verb *v, int argc, char **argv);

static const struct cli_verb summary = {
    "queue", "", queue_summary, NULL,
    "usage: postwain queue [list|show|cat|retry|hold|release|remove|export|import] …\n"
    "\n"
    "Alone: counts by state, what holds each destination back, ages, the most common errors.\n"
    "\n"
    "  list [FILTER]...   one row a recipient      show ID   one message, each recipient\n"
    "  cat ID             the message itself       retry     try again now\n"
    "  hold, release      do not try until released\n"
    "  remove             forget it; nobody is told\n"
    "  export, import     move a queue to another host, or keep a copy\n"
    "\n"
    "examples:\n"
    "  postwain queue\n"
    "  postwain queue list --to '*@example.com' --older-than 2h\n"
    "  postwain queue retry --destination google\n"
    "  postwain queue remove --from app@example.com --dry-run\n"
    "  postwain queue list --code 4xx --json | jq -r .response | sort | uniq -c\n"};

#define ACT_HELP(verb, what)                                                                       \
    "usage: postwain queue " verb                                                                  \
    " (ID... | FILTER... | --all) [--dry-run] [--expect N] [--yes]\n"                              \
    "                      [--reason TEXT]\n\n" what "\n\n" FILTER_HELP                            \
    "  --all           everything in the queue\n"                                                  \
    "  --dry-run       only show what would be done\n"                                             \
    "  --expect N      refuse (exit code 6) when not exactly N recipients match\n"                 \
    "  --yes           do not ask\n"                                                               \
    "  --reason TEXT   goes into the delivery log\n"                                               \
    "\n"                                                                                           \
    "examples:\n"                                                                                  \
    "  postwain queue " verb " --to '*@example.com' --dry-run\n"                                   \
    "  postwain queue " verb " --user newsletter --expect 120 --yes\n"

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
    {"queue show", "", queue_show, NULL,
     "usage: postwain queue show ID [--json]\n"
     "\n"
     "The envelope of one message, and each recipient's state, attempts and last reply. Every\n"
     "attempt with its time and host is in the delivery log: postwain log --id ID.\n"
     "\n"
     "example:\n"
     "  postwain queue show 001MF7BDBW000\n"},
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
    {"queue export", "", verb_export, export_options,
     "usage: postwain queue export DIR [FILTER]... [--json]\n"
     "\n"
     "Writes what waits to DIR, two files a message: ID.eml, as it would be sent, and ID.json, "
     "its\n"
     "envelope with the recipients that are left. The queue is not changed. DIR is made when it\n"
     "is missing. What is there already and equal is kept, so that an interrupted export goes on.\n"
     "\n" FILTER_HELP "\n"
     "To move a queue to another host:\n"
     "  postwain drain; postwain queue hold --all --yes   here; and the hold once more when\n"
     "  postwain queue list --state active                is empty: now it stands still\n"
     "  postwain queue export /tmp/queue                  says how many messages, recipients\n"
     "  rsync -a /tmp/queue/ there:/tmp/queue/\n"
     "  postwain queue import /tmp/queue                  there: as many? Then here:\n"
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

static void keep_row(void *rows, const json_t *row)
{
    json_array_append_new(rows, json_deep_copy(row));
}

static void print_summary(const json_t *rows, const json_t *d)
{
    const json_t *row;
    size_t i;
    if (json_number(d, "messages") == 0) {
        puts("the queue is empty");
        print_warnings(d);
        return;
    }
    print_counts(d);
    puts("\n");
    struct table *t = sites_table();
    json_array_foreach(rows, i, row) sites_row(t, row);
    table_free(t);
    print_ages(d);
    print_errors(d);
    print_warnings(d);
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
    rc = client_ask(c, "queue.summary", json_object(), a.json ? print_json_line : keep_row, rows,
                    &done);
    if (rc == CLI_DONE && a.json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE)
        print_summary(rows, done);
    json_decref(rows);
    json_decref(done);
    client_free(c);
    return rc;
}

static const struct table_column list_columns[] = {
    {"ID", false, false},    {"AGE", true, false},       {"SIZE", true, false},
    {"SENDER", false, true}, {"RECIPIENT", false, true}, {"STATE", false, false},
    {"TRY", true, false},    {"NEXT", true, false},      {"LAST REPLY", false, true},
};

struct listing {
    struct table *table;
    uint64_t unread; /* rows that are none */
};

static void list_row(void *ctx, char *text, size_t n)
{
    struct listing *l = ctx;
    struct row row;
    char age[SHOW_SIZE], size[SHOW_SIZE], next[SHOW_SIZE];
    uint64_t bytes = 0;
    if (!row_parse(text, n, &row)) {
        l->unread++;
        return;
    }
    const char *id = row_text(&row, "queue_id"), *sender = row_text(&row, "sender"),
               *recipient = row_text(&row, "recipient");
    slice_u64(slice_str(row_text(&row, "size")), INT64_MAX, &bytes);
    const char *since = show_distance(age, row_text(&row, "queued_time"), -1);
    const char *state = row_text(&row, "state"), *attempt = row_text(&row, "attempt"),
               *due = show_distance(next, row_text(&row, "next_attempt"), 1);
    const char *const cells[] = {id,
                                 since,
                                 show_bytes(size, (int64_t)bytes),
                                 sender[0] ? sender : "<>",
                                 recipient,
                                 state,
                                 attempt,
                                 due,
                                 row_text(&row, "response")};
    table_row(l->table, cells);
}

static struct table *list_table(void)
{
    return table_new(list_columns, sizeof list_columns / sizeof *list_columns, term_width());
}

static bool sort_is_known(const struct cli_args *a, int *ret_exit)
{
    const char *sort = args_value(a, "sort");
    if (!sort || strcmp(sort, "due") == 0 || strcmp(sort, "age") == 0 || strcmp(sort, "size") == 0)
        return true;
    *ret_exit = args_wrong(a, "--sort: %s is none of due, age, size", sort);
    return false;
}

/* filter, limit, after, count, sort → the arguments of queue.list; NULL: told. */
static json_t *list_args(const struct cli_args *a, int *ret_exit)
{
    uint64_t limit = 0;
    json_t *filter = filter_of(a, ret_exit);
    if (!filter)
        return NULL;
    if (!args_number(a, "limit", &limit, ret_exit) || !sort_is_known(a, ret_exit)) {
        json_decref(filter);
        return NULL;
    }
    json_t *args =
        json_pack("{s:o, s:b, s:b}", "filter", filter, "count", args_value(a, "count") != NULL,
                  "brief", !a->json); /* the table has no room for more */
    MUST(args);
    if (args_value(a, "limit"))
        json_object_set_new(args, "limit", json_integer((json_int_t)limit));
    if (args_value(a, "after"))
        json_object_set_new(args, "after", json_string(args_value(a, "after")));
    if (args_value(a, "sort"))
        json_object_set_new(args, "sort", json_string(args_value(a, "sort")));
    return args;
}

static int listed(const struct cli_args *a, const json_t *done)
{
    const char *next = json_text(done, "next");
    long long matched = (long long)json_number(done, "matched");
    if (args_value(a, "count") && a->json)
        print_json_line(NULL, done);
    else if (args_value(a, "count"))
        printf("%lld\n", matched);
    else if (matched == 0)
        fputs("nothing matched\n", stderr);
    if (next[0] && args_value(a, "limit")) {
        fputs("there is more: --after ", stderr);
        print_clean(stderr, next);
        fputc('\n', stderr);
    }
    return matched ? CLI_DONE : CLI_NOTHING;
}

/* A listing of a million is not written line by line, and gives way to mail. */
static void stream_output(void)
{
    enum { NICE = 5 };
    static char space[256 * 1024];
    if (!isatty(STDOUT_FILENO))
        setvbuf(stdout, space, _IOFBF, sizeof space);
    setpriority(PRIO_PROCESS, 0, NICE);
}

static int queue_list(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    json_t *args = list_args(&a, &rc), *done = NULL;
    if (!args)
        return rc;
    struct client *c = client_open(&a, &rc);
    if (!c) {
        json_decref(args);
        return rc;
    }
    struct listing l = {.table = list_table()};
    stream_output();
    rc = client_ask_text(c, "queue.list", args, a.json ? print_text_line : list_row, &l, &done);
    table_free(l.table);
    if (rc == CLI_DONE)
        rc = listed(&a, done);
    if (l.unread)
        rc = cli_fail(CLI_PARTLY,
                      "%llu rows could not be read: use the program of the daemon's "
                      "version, or --json",
                      (unsigned long long)l.unread);
    json_decref(done);
    client_free(c);
    return rc;
}

static void show_row(void *first, const json_t *row)
{
    char next[SHOW_SIZE];
    (void)first;
    fputs("\n  ", stdout);
    print_clean(stdout, json_text(row, "recipient"));
    printf("\n    state       %s after %lld attempts", json_text(row, "state"),
           (long long)json_number(row, "attempt"));
    if (json_text(row, "next_attempt")[0])
        printf(", next in %s", show_ahead(next, row, "next_attempt"));
    putchar('\n');
    static const char *const keys[] = {"destination", "site", "mx_host", "response"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!json_text(row, keys[i])[0])
            continue;
        printf("    %-11s ", keys[i]);
        print_clean(stdout, json_text(row, keys[i]));
        putchar('\n');
    }
}

static void print_named(const char *name, const char *text)
{
    if (!text[0])
        return;
    printf("%-11s ", name);
    print_clean(stdout, text);
    putchar('\n');
}

/* What MAIL asked for. */
static void print_asked(const json_t *done)
{
    char ahead[SHOW_SIZE];
    const char *key;
    const json_t *value;
    if (json_text(done, "release")[0])
        printf("release     %s (in %s)\n", json_text(done, "release"),
               show_ahead(ahead, done, "release"));
    if (json_text(done, "deadline")[0])
        printf("deadline    %s (in %s), then %s\n", json_text(done, "deadline"),
               show_ahead(ahead, done, "deadline"),
               strcmp(json_text(done, "by"), "R") == 0 ? "returned" : "told");
    if (json_number(done, "priority"))
        printf("priority    %lld\n", (long long)json_number(done, "priority"));
    print_named("envid", json_text(done, "envid"));
    print_named("route", json_text(done, "route"));
    json_object_foreach(json_object_get(done, "tags"), key, value)
    {
        fputs("tag         ", stdout);
        print_clean(stdout, key);
        putchar('=');
        print_clean(stdout, json_string_value(value));
        putchar('\n');
    }
}

static void print_envelope(const json_t *done)
{
    char size[SHOW_SIZE], age[SHOW_SIZE], left[SHOW_SIZE];
    const char *sender = json_text(done, "sender");
    printf("message     %s\nfrom        ", json_text(done, "queue_id"));
    print_clean(stdout, sender[0] ? sender : "<>");
    if (json_text(done, "message_id")[0]) {
        fputs("\nmessage-id  ", stdout);
        print_clean(stdout, json_text(done, "message_id"));
    }
    printf("\nsize        %s\nqueued      %s (%s ago)\nexpires     %s (in %s)\n",
           show_bytes(size, json_number(done, "size")), json_text(done, "queued_time"),
           show_age(age, done, "queued_time"), json_text(done, "expires"),
           show_ahead(left, done, "expires"));
    print_asked(done);
}

static int one_id(const struct cli_args *a)
{
    if (a->n_words != 1 || !utf8_text(a->words[0]))
        return args_wrong(a, "name one message: %s ID", a->verb->name);
    return ARGS_GO_ON;
}

/* For the verbs about one message. NULL: *ret_exit says how it ends. */
static struct client *open_for_one(struct cli_args *ret, const struct cli_verb *v, int argc,
                                   char **argv, int *ret_exit)
{
    *ret_exit = args_parse(ret, v, argc, argv);
    if (*ret_exit == ARGS_GO_ON)
        *ret_exit = one_id(ret);
    return *ret_exit == ARGS_GO_ON ? client_open(ret, ret_exit) : NULL;
}

static int queue_show(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc;
    struct client *c = open_for_one(&a, v, argc, argv, &rc);
    if (!c)
        return rc;
    json_t *rows = json_array(), *done = NULL;
    rc = client_ask(c, "queue.show", json_pack("{s:s}", "id", a.words[0]),
                    a.json ? print_json_line : keep_row, rows, &done);
    if (rc == CLI_DONE && a.json) {
        print_json_line(NULL, done);
    } else if (rc == CLI_DONE) {
        const json_t *row;
        size_t i;
        print_envelope(done);
        json_array_foreach(rows, i, row) show_row(NULL, row);
    }
    json_decref(rows);
    json_decref(done);
    client_free(c);
    return rc;
}

static void cat_row(void *failed, const json_t *row)
{
    const char *text = json_text(row, "data_base64");
    size_t n = strlen(text), padding = 0;
    unsigned char *bytes = must_alloc(n / 4 * 3 + 4);
    while (padding < 2 && padding < n && text[n - 1 - padding] == '=')
        padding++;
    int decoded = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)n);
    if (decoded < 0 ||
        fwrite(bytes, 1, (size_t)decoded - padding, stdout) + padding != (size_t)decoded)
        *(bool *)failed = true;
    free(bytes);
}

static int queue_cat(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    bool failed = false;
    int rc;
    struct client *c = open_for_one(&a, v, argc, argv, &rc);
    if (!c)
        return rc;
    json_t *args =
        json_pack("{s:s, s:b}", "id", a.words[0], "headers", args_value(&a, "headers") != NULL);
    rc = client_ask(c, "queue.cat", args, cat_row, &failed, NULL);
    if (rc == CLI_DONE && (failed || fflush(stdout) == EOF))
        rc = cli_fail(CLI_PARTLY, "the message could not be written whole");
    client_free(c);
    return rc;
}

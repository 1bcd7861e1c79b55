/* `queue list`: a million rows as they come, or at most 10,000 in another order. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct table_column list_columns[] = {
    {"ID", false, false},    {"AGE", true, false},       {"SIZE", true, false},
    {"SENDER", false, true}, {"RECIPIENT", false, true}, {"STATE", false, false},
    {"TRY", true, false},    {"NEXT", true, false},      {"LAST REPLY", false, true},
};

struct listing {
    struct table *table;
    uint64_t unread; /* rows that are none */
    uint64_t rows, shown_at;
};

/* The first row is shown at once, then each fourfold of it: `| head` ends us (SIGPIPE) before much
 * was gathered for nobody, and a million rows are still written in large pieces. */
static void show_early(struct listing *l)
{
    if (++l->rows < l->shown_at)
        return;
    fflush(stdout);
    l->shown_at *= 4;
}

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
    show_early(l);
}

static void list_text(void *ctx, char *text, size_t n)
{
    print_text_line(NULL, text, n);
    show_early(ctx);
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

static bool cursor_is_text(const struct cli_args *a, int *ret_exit)
{
    const char *after = args_value(a, "after");
    if (!after || utf8_text(after))
        return true;
    *ret_exit = args_wrong(a, "--after takes the cursor that the listing before has told");
    return false;
}

/* filter, limit, after, count, sort → the arguments of queue.list; NULL: told. */
static json_t *list_args(const struct cli_args *a, int *ret_exit)
{
    uint64_t limit = 0;
    json_t *filter = filter_of(a, ret_exit);
    if (!filter)
        return NULL;
    if (!args_limit(a, "limit", &limit, ret_exit) || !sort_is_known(a, ret_exit) ||
        !cursor_is_text(a, ret_exit)) {
        json_decref(filter);
        return NULL;
    }
    json_t *args =
        json_pack("{s:o, s:b, s:b}", "filter", filter, "count", args_value(a, "count") != NULL,
                  "brief", !a->json); /* the table has no room for more */
    MUST(args);
    if (limit)
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
    signal(SIGPIPE, SIG_DFL); /* `| head` has read enough: the rest is not listed for nobody */
    setpriority(PRIO_PROCESS, 0, NICE);
}

int queue_list(const struct cli_verb *v, int argc, char **argv)
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
    struct listing l = {.table = list_table(), .shown_at = 1};
    stream_output();
    rc = client_ask_text(c, "queue.list", args, a.json ? list_text : list_row, &l, &done);
    table_free(l.table);
    if (rc == CLI_DONE)
        rc = listed(&a, done);
    if (l.unread)
        rc = cli_fail(CLI_PARTLY,
                      "%llu row%s could not be read: use the program of the daemon's "
                      "version, or --json",
                      (unsigned long long)l.unread, plural((int64_t)l.unread));
    json_decref(done);
    client_free(c);
    return rc;
}

/* `queue show` and `queue cat`: one message. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <openssl/evp.h>
#include <stdlib.h>

static void show_row(void *first, const json_t *row)
{
    char next[SHOW_SIZE];
    (void)first;
    fputs("\n  ", stdout);
    print_clean(stdout, json_text(row, "recipient"));
    printf("\n    state       %s after %lld attempt%s", json_text(row, "state"),
           (long long)json_number(row, "attempt"), plural(json_number(row, "attempt")));
    if (json_text(row, "next_attempt")[0])
        printf(", next in %s", show_ahead(next, row, "next_attempt"));
    putchar('\n');
    static const char *const keys[] = {"redirected", "destination", "site", "mx_host", "response"};
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

static void show_message(const json_t *rows, const json_t *done)
{
    const json_t *row;
    size_t i;
    print_envelope(done);
    json_array_foreach(rows, i, row) show_row(NULL, row);
}

/* A program asks for them: the log may be large. A person sees them when there were any. */
static bool wants_attempts(const struct cli_args *a, const json_t *rows)
{
    const json_t *row;
    size_t i;
    bool tried = args_value(a, "attempts") != NULL;
    json_array_foreach(rows, i, row) tried = tried || (!a->json && json_number(row, "attempt") > 0);
    return tried;
}

int queue_show(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc;
    struct client *c = open_for_one(&a, v, argc, argv, &rc);
    if (!c)
        return rc;
    json_t *rows = json_array(), *done = NULL;
    rc = client_ask(c, "queue.show", json_pack("{s:s}", "id", a.words[0]),
                    a.json ? print_json_line : json_keep_row, rows, &done);
    if (rc == CLI_DONE && !a.json)
        show_message(rows, done);
    if (rc == CLI_DONE && wants_attempts(&a, rows))
        attempts_show(client_conf(c)->log_deliveries, done, a.json);
    if (rc == CLI_DONE && a.json)
        print_json_line(NULL, done);
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
    if (decoded < 0)
        *(bool *)failed = true;
    else
        fwrite(bytes, 1, (size_t)decoded - padding, stdout);
    free(bytes);
}

int queue_cat(const struct cli_verb *v, int argc, char **argv)
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
    if (rc == CLI_DONE && failed)
        rc = cli_fail(CLI_PARTLY, "the daemon sent no base 64: the message is not whole");
    client_free(c);
    return rc;
}

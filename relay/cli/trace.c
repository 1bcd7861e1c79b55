/* `trace`: SMTP dialogues as they are spoken, both ways. It ends with its reader: whoever piped it
 * into `head` has seen enough, also when nobody says a word any more. */
#include "queue/id.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"

static bool on_row(void *json, const json_t *row)
{
    if (*(const bool *)json) {
        print_json_line(NULL, row);
        return output_is_read();
    }
    const long long lost = (long long)json_number(row, "lost"),
                    hidden = (long long)json_number(row, "hidden");
    if (lost) {
        printf("-- %lld line%s lost: more came than was read\n", lost, lost == 1 ? " is" : "s are");
        return output_is_read();
    }
    const char *who = json_text(row, "who"), *time = json_text(row, "time");
    const char *clock = strchr(time, 'T');
    const bool in = strcmp(json_text(row, "direction"), "in") == 0;
    printf("%.12s %-3s ", clock ? clock + 1 : time, in ? "in" : "out");
    print_clean(stdout, json_text(row, in ? "session_id" : "connection"));
    printf(" %s ", json_text(row, in ? "client_ip" : "mx_ip"));
    fputs(strcmp(who, "client") == 0 ? "C: " : strcmp(who, "server") == 0 ? "S: " : "-- ", stdout);
    print_clean(stdout, json_text(row, "text"));
    if (hidden)
        printf("%s(%lld octet%s not shown)", json_text(row, "text")[0] ? " " : "", hidden,
               plural(hidden));
    putchar('\n');
    return output_is_read();
}

/* NULL: told. */
static json_t *args_of(const struct cli_args *a, int *ret_exit)
{
    static const char *const texts[] = {"to", "from", "site", "client", "id", "user"};
    json_t *args = json_object();
    const char *span = args_value(a, "for");
    uint64_t count = 0, id;
    int64_t ms = 0;
    *ret_exit = ARGS_GO_ON;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *value = args_value(a, texts[i]);
        if (value && (!utf8_text(value) || !value[0]))
            *ret_exit = args_wrong(a, "--%s takes a text", texts[i]);
        else if (value)
            json_object_set_new(args, texts[i], json_string(value));
    }
    const char *destination = args_value(a, "destination"); /* the daemon looks at both names */
    if (destination && (!utf8_text(destination) || !destination[0] || args_value(a, "site")))
        *ret_exit = args_wrong(a, "--destination takes a name, and --site means the same");
    else if (destination)
        json_object_set_new(args, "site", json_string(destination));
    if (args_value(a, "id") && !queue_id_parse(slice_str(args_value(a, "id")), &id))
        *ret_exit = args_wrong(a, "%s is no queue id", args_value(a, "id"));
    if (span && (!conf_parse_duration(slice_str(span), &ms) || ms < 1000))
        *ret_exit = args_wrong(a, "--for takes a duration such as 30s, 5m");
    else if (span)
        json_object_set_new(args, "for_s", json_integer((json_int_t)(ms / 1000)));
    if (args_limit(a, "count", &count, ret_exit) && count)
        json_object_set_new(args, "limit", json_integer((json_int_t)count));
    if (*ret_exit == ARGS_GO_ON)
        return args;
    json_decref(args);
    return NULL;
}

int verb_trace(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "trace takes options only, such as --to '*@example.com'");
    json_t *args = args_of(&a, &rc), *done = NULL, *error = NULL;
    if (!args)
        return rc;
    struct client *c = client_open(&a, &rc);
    if (!c) {
        json_decref(args);
        return rc;
    }
    client_until_unread(c);
    rc = client_send(c, "trace", args);
    if (rc == CLI_DONE)
        rc = client_hear(c, on_row, &a.json, &done, &error);
    if (error)
        rc = client_refused(error);
    else if (done && a.json)
        print_json_line(NULL, done);
    json_decref(error);
    json_decref(done);
    client_free(c);
    return rc;
}

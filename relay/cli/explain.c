/*
 * `explain`: why a message is not there yet, or what would become of mail for an address. Each row
 * of the daemon's answer is told by the printer of its kind; with --json the rows are passed on.
 */
#include "queue/id.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"

/* Two columns: what it is, and the words. */
static void label(const char *name)
{
    printf("  %-12s ", name);
}

static void clean(const char *text)
{
    print_clean(stdout, text);
}

static void named(const char *name, const char *text)
{
    if (!text[0])
        return;
    label(name);
    clean(text);
    putchar('\n');
}

static bool is_true(const json_t *row, const char *key)
{
    return json_is_true(json_object_get(row, key));
}

static long long number(const json_t *row, const char *key)
{
    return (long long)json_number(row, key);
}

/* ---- the message ---- */

static void print_message(const json_t *row)
{
    char size[SHOW_SIZE], age[SHOW_SIZE], ahead[SHOW_SIZE];
    const char *sender = json_text(row, "sender");
    printf("message %s\n", json_text(row, "queue_id"));
    named("from", sender[0] ? sender : "<>");
    named("user", json_text(row, "user"));
    label("queued");
    printf("%s ago, %s\n", show_age(age, row, "queued_time"),
           show_bytes(size, json_number(row, "size")));
    if (json_text(row, "release")[0]) {
        label("release");
        printf("%s (in %s)\n", json_text(row, "release"), show_ahead(ahead, row, "release"));
    }
    if (json_text(row, "deadline")[0]) {
        label("deadline");
        printf("%s (in %s)\n", json_text(row, "deadline"), show_ahead(ahead, row, "deadline"));
    }
    named("route", json_text(row, "route"));
    if (is_true(row, "requiretls"))
        named("tls", "REQUIRETLS: only to hosts that are proven to be the receiver's");
}

static void print_recipient(const json_t *row)
{
    char text[SHOW_SIZE];
    putchar('\n');
    clean(json_text(row, "recipient"));
    putchar('\n');
    label("state");
    printf("%s after %lld attempt%s", json_text(row, "state"), number(row, "attempt"),
           plural(number(row, "attempt")));
    if (json_text(row, "next_attempt")[0])
        printf(", next in %s", show_ahead(text, row, "next_attempt"));
    putchar('\n');
    named("because", json_text(row, "why"));
    if (json_text(row, "last_attempt")[0]) {
        label("last time");
        printf("%s ago", show_age(text, row, "last_attempt"));
        if (json_text(row, "mx_host")[0]) {
            fputs(", ", stdout);
            clean(json_text(row, "mx_host"));
        }
        putchar('\n');
    }
    named("reply", json_text(row, "response"));
    named("redirected", json_text(row, "redirected"));
    label("given up");
    printf("%s (in %s)\n", json_text(row, "expires"), show_ahead(text, row, "expires"));
}

/* ---- the way ---- */

static void print_way(const json_t *row)
{
    fputs("\nthe way to ", stdout);
    clean(json_text(row, "recipient"));
    putchar('\n');
}

static void print_suppressed(const json_t *row)
{
    label("suppressed");
    clean(json_text(row, "why"));
    printf(": new mail is %s\n",
           strcmp(json_text(row, "outcome"), "refused") == 0 ? "refused" : "dropped");
}

static void print_list(const json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        fputs(i ? ", " : "", stdout);
        if (json_is_string(item))
            clean(json_string_value(item));
        else
            printf("%lld", (long long)json_integer_value(item));
    }
}

static void print_rule(const json_t *row)
{
    static const struct {
        const char *rule, *words;
    } rules[] = {{"route", "the message or an operator names it"},
                 {"domains", "its domains claim this one by "},
                 {"mx", "its mx matches the mail hosts by "},
                 {"default", "no other destination claims this domain"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(json_text(row, "rule"), rules[i].rule) == 0)
            fputs(rules[i].words, stdout);
    clean(json_text(row, "pattern"));
}

static void print_limits(const json_t *row)
{
    char text[SHOW_SIZE];
    label("limits");
    printf("%lld connection%s", number(row, "limit"), plural(number(row, "limit")));
    if (number(row, "rate"))
        printf(", %lld message%s in %lld s", number(row, "rate"), plural(number(row, "rate")),
               number(row, "rate_seconds"));
    printf("; given up after %s\n", show_seconds(text, json_number(row, "lifetime_seconds")));
}

static void print_destination(const json_t *row)
{
    label("destination");
    clean(json_text(row, "destination"));
    fputs(": ", stdout);
    print_rule(row);
    putchar('\n');
    named("redirect", json_text(row, "redirect"));
    named("capture", json_text(row, "capture"));
    if (json_object_get(row, "relay")) {
        label("relay");
        print_list(json_object_get(row, "relay"));
        putchar('\n');
    }
    if (json_text(row, "tls_policy")[0]) {
        label("tls");
        printf("%s, from the %s\n", json_text(row, "tls_policy"), json_text(row, "tls_from"));
    }
    named("login", json_text(row, "login"));
    print_limits(row);
}

static void print_mx(const json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        printf("%s%lld ", i ? ", " : "", number(item, "preference"));
        clean(json_text(item, "mx_host")[0] ? json_text(item, "mx_host") : ".");
    }
}

/* That a name is not there is said once, by what follows from it: there is no way, or a host is not
 * called. */
static void print_dns(const json_t *row)
{
    if (strcmp(json_text(row, "status"), "nxdomain") == 0)
        return;
    label("dns");
    clean(json_text(row, "name"));
    printf(" %s: ", json_text(row, "type"));
    if (is_true(row, "null_mx"))
        fputs("takes no mail (null MX)", stdout);
    else if (json_object_get(row, "mx"))
        print_mx(json_object_get(row, "mx"));
    else if (json_object_get(row, "addresses"))
        print_list(json_object_get(row, "addresses"));
    else
        clean(json_text(row, "status"));
    if (json_text(row, "canonical")[0]) {
        fputs(", alias of ", stdout);
        clean(json_text(row, "canonical"));
    }
    printf(" (for %lld s)\n", number(row, "ttl"));
}

static void print_plan(const json_t *row)
{
    if (json_object_get(row, "dns_ms") && number(row, "dns_ms") > 0) {
        label("dns took");
        printf("%lld ms\n", number(row, "dns_ms"));
    }
    if (!json_text(row, "error")[0])
        return;
    label("no way");
    clean(json_text(row, "response"));
    printf(": mail is %s", json_text(row, "outcome"));
    if (json_text(row, "enhanced_status")[0])
        printf(" (%s)", json_text(row, "enhanced_status"));
    putchar('\n');
}

static void print_address(const json_t *row)
{
    const char *address = json_text(row, "mx_ip"), *host = json_text(row, "mx_host");
    clean(host);
    if (!address[0])
        return;
    printf("%s[%s]", host[0] ? " " : "", address);
    if (number(row, "mx_port"))
        printf(":%lld", number(row, "mx_port"));
}

static void print_host(const json_t *row)
{
    char text[SHOW_SIZE];
    if (number(row, "turn"))
        snprintf(text, sizeof text, "host %lld", number(row, "turn"));
    else
        snprintf(text, sizeof text, "not called");
    label(text);
    print_address(row);
    if (json_text(row, "helo")[0] && number(row, "turn")) {
        fputs(", as ", stdout);
        clean(json_text(row, "helo"));
        if (json_text(row, "source_ip")[0])
            printf(" from %s", json_text(row, "source_ip"));
    }
    if (json_text(row, "left_out")[0]) {
        fputs(": ", stdout);
        clean(json_text(row, "left_out"));
    }
    if (is_true(row, "no_answer_lately"))
        fputs("; did not answer lately, so it is called last", stdout);
    if (number(row, "no_answer_threads"))
        printf(" by %lld of %lld threads", number(row, "no_answer_threads"),
               number(row, "threads"));
    if (json_text(row, "state")[0]) {
        const bool login = strcmp(json_text(row, "state"), "login_refused") == 0;
        printf("; %s, again in %s: ", login ? "refused the login" : "failed",
               show_seconds(text, json_number(row, "again_seconds")));
        clean(json_text(row, "why"));
    }
    putchar('\n');
}

static void print_standing(const json_t *row)
{
    const long long ahead = number(row, "ahead"), others = number(row, "users") - 1;
    label("in line");
    printf("%lld recipient%s of the same user before it", ahead, plural(ahead));
    if (others > 0)
        printf(", which takes turns with %lld other user%s", others, plural(others));
    printf(" (%s priority)\n", json_text(row, "rank"));
}

static void print_error(const json_t *row)
{
    char age[SHOW_SIZE];
    label("last error");
    clean(json_text(row, "last_error"));
    printf(" (%s ago)\n", show_age(age, row, "last_error_time"));
}

static void print_state(const json_t *row)
{
    char text[SHOW_SIZE];
    if (is_true(row, "suspended")) {
        named("suspended", json_text(row, "reason")[0] ? json_text(row, "reason") : "yes");
        if (json_text(row, "until")[0])
            named("until", json_text(row, "until"));
    }
    if (is_true(row, "dead")) {
        label(is_true(row, "local")       ? "fault of this host"
              : is_true(row, "throttled") ? "slowed down"
                                          : "unreachable");
        printf("one connection tries it in %s\n",
               show_seconds(text, json_number(row, "next_probe_seconds")));
    }
    if (number(row, "next_job_seconds")) {
        label("rate");
        printf("%lld in %lld s: the next message in %lld s\n", number(row, "rate"),
               number(row, "rate_seconds"), number(row, "next_job_seconds"));
    }
}

static void print_site(const json_t *row)
{
    label("site");
    clean(json_text(row, "site"));
    if (!is_true(row, "known")) {
        fputs(": nothing is on its way there\n", stdout);
        print_state(row);
        return;
    }
    printf(": %lld due, %lld waiting; %lld of %lld connection%s now, %lld at most\n",
           number(row, "ready"), number(row, "waiting"), number(row, "connections"),
           number(row, "window"), plural(number(row, "window")), number(row, "limit"));
    print_state(row);
    if (json_text(row, "last_error")[0])
        print_error(row);
    if (json_text(row, "rank")[0])
        print_standing(row);
}

/* ---- the rehearsal ---- */

static void print_said(const json_t *row)
{
    fputs(strcmp(json_text(row, "step"), "client") == 0 ? "C: " : "S: ", stdout);
    clean(json_text(row, "text"));
    if (number(row, "hidden"))
        printf("%s(%lld octet%s not shown)", json_text(row, "text")[0] ? " " : "",
               number(row, "hidden"), plural(number(row, "hidden")));
}

static void print_called(const json_t *row)
{
    fputs("calling ", stdout);
    print_address(row);
    if (json_text(row, "source_ip")[0])
        printf(" from %s", json_text(row, "source_ip"));
}

static void print_connected(const json_t *row)
{
    fputs("connected to ", stdout);
    print_address(row);
    printf(" in %lld ms", number(row, "connect_ms"));
}

static void print_tls(const json_t *row)
{
    printf("TLS: %s %s; policy %s, ", json_text(row, "tls_version"), json_text(row, "tls_cipher"),
           json_text(row, "tls_policy"));
    fputs(is_true(row, "tls_verified") ? "certificate verified" : "certificate not asked for",
          stdout);
    if (!json_object_get(row, "valid"))
        return;
    fputs("\n              certificate for ", stdout);
    clean(json_text(row, "names")[0] ? json_text(row, "names") : "no name");
    fputs(", by ", stdout);
    clean(json_text(row, "issuer"));
    printf(", until %.10s: ", json_text(row, "not_after"));
    clean(is_true(row, "valid") ? "good for this host" : json_text(row, "problem"));
}

static void print_verdict(const json_t *row)
{
    printf("%s", json_text(row, "outcome"));
    if (json_text(row, "command")[0])
        printf(" at %s", json_text(row, "command"));
    if (number(row, "smtp_code"))
        printf(": %lld", number(row, "smtp_code"));
    if (number(row, "smtp_code") && json_text(row, "enhanced_status")[0])
        printf(" %s", json_text(row, "enhanced_status"));
    if (json_text(row, "response")[0]) {
        fputs(number(row, "smtp_code") ? " " : ": ", stdout);
        clean(json_text(row, "response"));
    }
}

static void print_failed(const json_t *row)
{
    fputs("this host: ", stdout);
    print_verdict(row);
}

static void print_result(const json_t *row)
{
    fputs("the mail would be ", stdout);
    print_verdict(row);
}

static void print_tls_failed(const json_t *row)
{
    fputs("TLS failed: ", stdout);
    clean(json_text(row, "response"));
}

static void print_no_more(const json_t *row)
{
    (void)row;
    fputs("it says more than is shown", stdout);
}

static void print_probe(const json_t *row)
{
    static const struct {
        const char *step;
        void (*print)(const json_t *row);
    } steps[] = {
        {"client", print_said},         {"server", print_said},   {"call", print_called},
        {"connected", print_connected}, {"tls", print_tls},       {"tls_failed", print_tls_failed},
        {"failed", print_failed},       {"result", print_result}, {"more", print_no_more}};
    printf("  %8.3f s  ", (double)json_number(row, "at_ms") / 1000);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (strcmp(json_text(row, "step"), steps[i].step) == 0)
            steps[i].print(row);
    putchar('\n');
}

static void print_row(const json_t *row)
{
    static const struct {
        const char *about;
        void (*print)(const json_t *row);
    } kinds[] = {
        {"message", print_message}, {"recipient", print_recipient},
        {"way", print_way},         {"suppressed", print_suppressed},
        {"dns", print_dns},         {"destination", print_destination},
        {"plan", print_plan},       {"host", print_host},
        {"site", print_site},       {"probe", print_probe},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(json_text(row, "about"), kinds[i].about) == 0)
            kinds[i].print(row);
}

static void on_row(void *json, const json_t *row)
{
    if (*(const bool *)json)
        print_json_line(NULL, row);
    else
        print_row(row);
}

/* NULL: told. */
static json_t *whose(const struct cli_args *a, int *ret_exit)
{
    const char *word = a->n_words == 1 ? a->words[0] : "";
    uint64_t id;
    if (!utf8_text(word) || !word[0]) {
        *ret_exit = args_wrong(a, "say what: explain QUEUE-ID, or explain ADDRESS");
        return NULL;
    }
    if (strchr(word, '@'))
        return json_pack("{s:s}", "address", word);
    if (queue_id_parse(slice_str(word), &id))
        return json_pack("{s:s}", "id", word);
    *ret_exit = args_wrong(a, "%s is neither a queue id nor an address", word);
    return NULL;
}

/* ARGS_GO_ON, or told. */
static int put_options(const struct cli_args *a, json_t *args)
{
    const char *user = args_value(a, "user"), *sender = args_value(a, "sender");
    const bool probe = args_value(a, "probe"), no_rcpt = args_value(a, "no-rcpt");
    if (!probe && (sender || no_rcpt))
        return args_wrong(a, "--sender and --no-rcpt go with --probe");
    if ((user && !utf8_text(user)) || (sender && !utf8_text(sender)))
        return args_wrong(a, "names and addresses are UTF-8");
    if (user)
        json_object_set_new(args, "user", json_string(user));
    if (sender)
        json_object_set_new(args, "sender", json_string(strcmp(sender, "<>") == 0 ? "" : sender));
    if (no_rcpt)
        json_object_set_new(args, "no_rcpt", json_true());
    return ARGS_GO_ON;
}

static void print_more(const json_t *done)
{
    const long long more = number(done, "more");
    if (more)
        printf("\nand %lld recipient%s more: see postwain queue show\n", more, plural(more));
}

int verb_explain(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    json_t *args = whose(&a, &rc), *done = NULL;
    if (!args)
        return rc;
    rc = put_options(&a, args);
    if (rc != ARGS_GO_ON) {
        json_decref(args);
        return rc;
    }
    const char *verb = args_value(&a, "probe") ? "explain.probe" : "explain";
    struct client *c = client_open(&a, &rc);
    if (!c) {
        json_decref(args);
        return rc;
    }
    rc = client_ask(c, verb, args, on_row, &a.json, &done);
    if (rc == CLI_DONE && a.json)
        print_json_line(NULL, done);
    else if (rc == CLI_DONE)
        print_more(done);
    if (rc == CLI_DONE && json_is_false(json_object_get(done, "accepted")))
        rc = CLI_NOTHING;
    json_decref(done);
    client_free(c);
    return rc;
}

/* `log`: the delivery log, files put aside included, on and on with -f; `log rotate`. */
#include "relay/base/must.h"
#include "relay/cli/log_read.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_US 200000 /* a person does not notice, a processor neither */

const char *const log_schema[] = {
#include "relay/cli/log_schema.inc"
    NULL,
};

struct reader {
    const struct cli_args *a;
    const struct log_filter *filter;
    bool color, follow;
    uint64_t shown;
};

static void show_event(struct reader *r, struct slice text, const json_t *event)
{
    r->shown++;
    if (r->a->json) {
        fwrite(text.p, 1, text.n, stdout);
        return;
    }
    struct buf out = BUF_MAX(65536);
    if (log_line(&out, event, r->color))
        printf("%s\n", buf_str(&out));
    buf_done(&out);
}

static void take_line(struct reader *r, struct slice line)
{
    json_t *event = json_loadb((const char *)line.p, line.n, 0, NULL);
    /* Torn by a crash; the daemon writes such a line again. */
    if (!event)
        return;
    if (log_matches(r->filter, event))
        show_event(r, line, event);
    json_decref(event);
}

static void tell_gap(uint64_t from, uint64_t to)
{
    fflush(stdout);
    fprintf(stderr,
            "postwain: the log lacks %llu to %llu: their files were removed or moved away\n",
            (unsigned long long)from, (unsigned long long)to);
}

void log_tell_ahead(const struct log_read *from, uint64_t since)
{
    uint64_t newest = 0;
    if (!log_read_is_ahead(from, since, &newest))
        return;
    fflush(stdout);
    fprintf(stderr,
            "postwain: the newest event is %llu: %llu is of another log, or of one that was lost; "
            "what comes until then is passed over\n",
            (unsigned long long)newest, (unsigned long long)since);
}

/* Waits a moment; false: nobody reads on. */
static bool wait_for_more(void)
{
    if (!output_is_read())
        return false;
    usleep(LOOK_US);
    return true;
}

static int read_on(struct reader *r, struct log_read *from, uint64_t since)
{
    struct slice line;
    struct err e = {0};
    uint64_t seq, gap_from, gap_to;
    bool looked = false;
    while (!ferror(stdout)) {
        int rc = log_read_next(from, &line, &seq, &e);
        if (rc < 0)
            return cli_fail(cli_exit_of(rc), "%s", e.text);
        if (rc > 0) {
            if (log_read_gap(from, &gap_from, &gap_to))
                tell_gap(gap_from, gap_to);
            take_line(r, line);
        } else {
            if (!looked)
                log_tell_ahead(from, since);
            looked = true;
            if (!r->follow || !wait_for_more())
                break;
        }
    }
    return CLI_DONE;
}

static int print_schema(void)
{
    for (const char *const *p = log_schema; *p; p++)
        puts(*p);
    return CLI_DONE;
}

static int rotate(const struct cli_args *a)
{
    int rc = CLI_DONE;
    json_t *done = NULL;
    struct client *c = client_open(a, &rc);
    if (!c)
        return rc;
    rc = client_ask(c, "log.rotate", json_object(), NULL, NULL, &done);
    if (rc == CLI_DONE && a->json)
        print_json_line(NULL, done);
    json_decref(done);
    client_free(c);
    return rc;
}

static int run(struct reader *r, const char *path, bool has_since, uint64_t since)
{
    struct log_read *from = has_since ? log_read_since(path, since) : log_read_live(path);
    MUST(from); /* conf has looked at the path */
    if (!has_since && !r->follow && access(path, R_OK) < 0) {
        log_read_free(from);
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    }
    int rc = read_on(r, from, since);
    log_read_free(from);
    if (rc == CLI_DONE && r->shown == 0 && !r->follow)
        return cli_fail(CLI_NOTHING, "nothing matched");
    return rc;
}

static int read_log(const struct cli_args *a)
{
    int rc = CLI_DONE;
    uint64_t since = 0;
    struct log_filter *filter = NULL;
    struct conf *c = NULL;
    struct reader r = {.a = a, .color = term_color(), .follow = args_value(a, "follow")};
    if (args_number(a, "since-seq", &since, &rc) && (filter = log_filter_new(a, &rc)) &&
        (c = cli_conf(a, &rc))) {
        r.filter = filter;
        rc = run(&r, c->log_deliveries, args_value(a, "since-seq"), since);
    }
    conf_unref(c);
    log_filter_free(filter);
    return rc;
}

int verb_log(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (args_value(&a, "schema"))
        return print_schema();
    if (a.n_words == 1 && strcmp(a.words[0], "rotate") == 0)
        return rotate(&a);
    if (a.n_words)
        return args_wrong(&a, "log takes no arguments but rotate: use --id %s", a.words[0]);
    return read_log(&a);
}

#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <getopt.h>
#include <unistd.h>

static const struct cli_option common[] = {
    {"config", 'c', true}, {"json", 0, false}, {"help", 'h', false}, {0}};

struct getopts {
    struct option list[OPTION_MAX + 1];
    char letters[2 * OPTION_MAX + 3];
    int n;
};

static void add_options(struct getopts *g, const struct cli_option *o)
{
    for (; o && o->name; o++) {
        MUST(g->n < OPTION_MAX);
        g->list[g->n] = (struct option){o->name, o->has_value, NULL, 256 + g->n};
        g->n++;
        if (!o->letter)
            continue;
        size_t end = strlen(g->letters);
        g->letters[end] = o->letter;
        g->letters[end + 1] = o->has_value ? ':' : 0;
    }
}

static const char *name_of_letter(const struct cli_verb *v, int letter)
{
    const struct cli_option *const lists[] = {v->options, common};
    for (size_t i = 0; i < 2; i++)
        for (const struct cli_option *o = lists[i]; o && o->name; o++)
            if (o->letter == letter)
                return o->name;
    return NULL;
}

static int take(struct cli_args *a, const char *name, const char *value)
{
    if (strcmp(name, "help") == 0) {
        fputs(a->verb->help, stdout);
        return CLI_DONE;
    }
    if (strcmp(name, "config") == 0)
        a->config = value;
    if (strcmp(name, "json") == 0)
        a->json = true;
    if (a->n >= sizeof a->names / sizeof *a->names)
        return args_wrong(a, "there are too many options");
    a->names[a->n] = name;
    a->values[a->n++] = value ? value : "";
    return ARGS_GO_ON;
}

/* getopt has not understood it: a letter of several in one word, a name that stands for two, a
 * value that is not wanted, or nothing it knows. word: the last it has taken as a whole. */
static int unknown_option(const struct cli_args *a, const struct getopts *g, const char *word)
{
    const size_t n = strcspn(word, "=");
    unsigned begins = 0;
    if (optopt && optopt < 256)
        return args_wrong(a, "unknown option -%c", optopt);
    if (optopt)
        return args_wrong(a, "%.*s takes no value", (int)n, word);
    for (int i = 0; i < g->n; i++)
        begins += n > 2 && strncmp(g->list[i].name, word + 2, n - 2) == 0;
    return args_wrong(a, begins > 1 ? "%.*s stands for several options" : "unknown option %.*s",
                      begins > 1 ? (int)n : (int)strlen(word), word);
}

int args_parse(struct cli_args *a, const struct cli_verb *v, int argc, char **argv)
{
    struct getopts g = {.letters = ":"};
    const char *from_environment = getenv("POSTWAIN_CONFIG");
    *a = (struct cli_args){.verb = v, .config = from_environment};
    if (!a->config || !*a->config)
        a->config = "/etc/postwain/postwain.conf";
    add_options(&g, v->options);
    add_options(&g, common);
    optind = 0; /* from the start, as glibc has it */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, g.letters, g.list, NULL)) != -1;) {
        if (c == '?')
            return unknown_option(a, &g, argv[optind - 1]);
        if (c == ':')
            return args_wrong(a, "%s needs a value", argv[optind - 1]);
        const char *name = c >= 256 ? g.list[c - 256].name : name_of_letter(v, c);
        MUST(name);
        int rc = take(a, name, optarg);
        if (rc != ARGS_GO_ON)
            return rc;
    }
    a->words = argv + optind;
    a->n_words = argc - optind;
    return ARGS_GO_ON;
}

const char *args_value(const struct cli_args *a, const char *name)
{
    for (size_t i = a->n; i-- > 0;)
        if (strcmp(a->names[i], name) == 0)
            return a->values[i];
    return NULL;
}

const char *args_take(struct cli_args *a, const char *name)
{
    const char *value = args_value(a, name);
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->names[i], name) == 0)
            continue;
        a->names[n] = a->names[i];
        a->values[n++] = a->values[i];
    }
    a->n = n;
    return value;
}

static void complain(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
static void complain(const char *fmt, va_list ap)
{
    struct buf text = BUF_MAX(16384);
    buf_addv(&text, fmt, ap);
    fputs("postwain: ", stderr);
    print_clean(stderr, buf_str(&text));
    fputc('\n', stderr);
    buf_done(&text);
}

int args_wrong(const struct cli_args *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    fprintf(stderr, "Try: postwain %s --help\n", a->verb->name);
    return CLI_USAGE;
}

int cli_fail(int exit_code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    return exit_code;
}

int cli_exit_of(int code)
{
    return code == -EACCES || code == -EPERM || code == EACCES || code == EPERM ? CLI_DENIED
                                                                                : CLI_NOTHING;
}

bool args_number(const struct cli_args *a, const char *name, uint64_t *ret, int *ret_exit)
{
    const char *text = args_value(a, name);
    if (!text || slice_u64(slice_str(text), INT64_MAX, ret))
        return true;
    *ret_exit = args_wrong(a, "--%s: %s is not a number", name, text);
    return false;
}

bool args_limit(const struct cli_args *a, const char *name, uint64_t *ret, int *ret_exit)
{
    *ret = 0;
    if (!args_number(a, name, ret, ret_exit))
        return false;
    if (*ret || !args_value(a, name))
        return true;
    *ret_exit = args_wrong(a, "--%s takes a number of rows, 1 or more", name);
    return false;
}

static struct shown {
    cli_each_fn *each;
    void *ctx;
    const char *summary;
} show;

void args_show(cli_each_fn *each, void *ctx, const char *summary)
{
    show.each = each;
    show.ctx = ctx;
    show.summary = summary;
}

static int show_all(const struct cli_verb *list, size_t n, const struct cli_verb *fallback)
{
    const struct shown to = show; /* it may itself look at all verbs meanwhile */
    to.each(to.ctx, fallback, to.summary);
    for (size_t i = 0; i < n; i++)
        to.each(to.ctx, &list[i], to.summary);
    return CLI_DONE;
}

/* "list, ban or allow" */
static void add_names(struct buf *out, const struct cli_verb *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *space = strchr(list[i].name, ' ');
        buf_addf(out, "%s%s",
                 i == 0       ? ""
                 : i + 1 == n ? " or "
                              : ", ",
                 space ? space + 1 : list[i].name);
    }
}

static int group_alone(const struct cli_verb *list, size_t n, const struct cli_verb *group,
                       int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, group, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    struct buf names = BUF_MAX(1024);
    add_names(&names, list, n);
    rc = args_wrong(&a, "say what to do: %s", buf_str(&names));
    buf_done(&names);
    return rc;
}

int args_dispatch(const char *group, const struct cli_verb *list, size_t n,
                  const struct cli_verb *fallback, int argc, char **argv)
{
    if (show.each)
        return show_all(list, n, fallback);
    /* The first word names the verb; `queue --json` and `queue --help` are the group's own. */
    if (argc < 2 || argv[1][0] == '-')
        return fallback->run ? fallback->run(fallback, argc, argv)
                             : group_alone(list, n, fallback, argc, argv);
    for (size_t i = 0; i < n; i++)
        if (strchr(list[i].name, ' ') && strcmp(strchr(list[i].name, ' ') + 1, argv[1]) == 0)
            return list[i].run(&list[i], argc - 1, argv + 1);
    cli_fail(CLI_USAGE, "there is no verb %s %s", group, argv[1]);
    fprintf(stderr, "Try: postwain %s --help\n", group);
    return CLI_USAGE;
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

struct conf *cli_conf(const struct cli_args *a, int *ret_exit)
{
    struct conf *c = conf_load(a->config, say_problem, NULL);
    if (c)
        return c;
    *ret_exit = access(a->config, R_OK) < 0 ? cli_exit_of(errno) : CLI_NOTHING;
    if (*ret_exit == CLI_NOTHING && access(a->config, F_OK) < 0)
        fputs("Make one with `postwain init`, or name it with -c FILE or $POSTWAIN_CONFIG.\n",
              stderr);
    return NULL;
}

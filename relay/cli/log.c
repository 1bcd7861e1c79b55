/* `log`: the delivery log, files put aside included, on and on with -f. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_US 200000 /* a person does not notice, a processor neither */

const char *const log_schema[] = {
#include "relay/cli/log_schema.inc"
    NULL,
};

struct reader {
    const struct cli_args *a;
    uint64_t since;
    bool has_since, color;
    uint64_t shown;
    char *line;
    size_t size;
};

static void show_event(struct reader *r, const char *text, const json_t *event)
{
    r->shown++;
    if (r->a->json) {
        fputs(text, stdout);
        return;
    }
    struct buf out = BUF_MAX(65536);
    if (log_line(&out, event, r->color))
        printf("%s\n", buf_str(&out));
    buf_done(&out);
}

static void take_line(struct reader *r, size_t n)
{
    json_t *event = json_loadb(r->line, n, 0, NULL);
    /* Torn by a crash; the daemon writes such a line again. */
    if (!event)
        return;
    const json_t *seq = json_object_get(event, "seq");
    const bool old = r->has_since && (!seq || (uint64_t)json_integer_value(seq) <= r->since);
    if (!old && log_matches(r->a, event))
        show_event(r, r->line, event);
    json_decref(event);
}

/* Whole lines up to the end of what is there; the rest of a line under way is read again later. */
static void read_lines(struct reader *r, FILE *f)
{
    for (;;) {
        off_t at = ftello(f);
        ssize_t n = getline(&r->line, &r->size, f);
        if (n <= 0 || r->line[n - 1] != '\n') {
            clearerr(f);
            if (n > 0)
                fseeko(f, at, SEEK_SET);
            return;
        }
        take_line(r, (size_t)n);
    }
}

static int read_file(struct reader *r, const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    read_lines(r, f);
    fclose(f);
    return CLI_DONE;
}

static bool is_put_aside(const char *name, struct slice stem)
{
    struct slice s = slice_str(name);
    return slice_starts(s, stem) && s.n > stem.n && s.p[stem.n] == '-' &&
           slice_iends(s, SLICE_LIT(".jsonl"));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files put aside carry their time in their name: name order is time order. */
static int read_put_aside(struct reader *r, const char *live)
{
    const char *slash = strrchr(live, '/');
    MUST(slash);
    char *folder = slice_dup(slice_of(live, (size_t)(slash - live) + 1));
    struct slice stem = slice_str(slash + 1);
    char **names = NULL;
    size_t n = 0;
    int rc = CLI_DONE;
    if (slice_iends(stem, SLICE_LIT(".jsonl")))
        stem.n -= 6;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!is_put_aside(e->d_name, stem))
            continue;
        struct buf path = BUF_MAX(8192);
        buf_addf(&path, "%s%s", folder, e->d_name);
        names = must_realloc(names, (n + 1) * sizeof *names);
        names[n++] = slice_dup(buf_slice(&path));
        buf_done(&path);
    }
    if (dir)
        closedir(dir);
    if (n)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        if (rc == CLI_DONE)
            rc = read_file(r, names[i]);
        free(names[i]);
    }
    free(names);
    free(folder);
    return rc;
}

static bool is_same(FILE *f, const char *path)
{
    struct stat open_one, named;
    return fstat(fileno(f), &open_one) == 0 && stat(path, &named) == 0 &&
           open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

/* When the name leads to another file, this one was put aside: read to its end, then take the
 * other. */
static int follow(struct reader *r, const char *path)
{
    FILE *f = NULL;
    while (!ferror(stdout)) {
        if (!f && !(f = fopen(path, "re")) && errno != ENOENT)
            return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
        if (f) {
            const bool same = is_same(f, path);
            read_lines(r, f);
            if (!same) {
                fclose(f);
                f = NULL;
                continue;
            }
        }
        fflush(stdout);
        usleep(LOOK_US);
    }
    fclose(f);
    return CLI_DONE;
}

static int run(struct reader *r, const char *path)
{
    int rc = CLI_DONE;
    if (r->has_since)
        rc = read_put_aside(r, path);
    if (rc != CLI_DONE)
        return rc;
    if (args_value(r->a, "follow"))
        return follow(r, path);
    rc = read_file(r, path);
    return rc == CLI_DONE && r->shown == 0 ? cli_fail(CLI_NOTHING, "nothing matched") : rc;
}

static int print_schema(void)
{
    for (const char *const *p = log_schema; *p; p++)
        puts(*p);
    return CLI_DONE;
}

int verb_log(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (args_value(&a, "schema"))
        return print_schema();
    struct reader r = {.a = &a, .has_since = args_value(&a, "since-seq"), .color = term_color()};
    if (a.n_words)
        return args_wrong(&a, "log takes no arguments: use --id %s", a.words[0]);
    if (!args_number(&a, "since-seq", &r.since, &rc))
        return rc;
    struct conf *c = cli_conf(&a, &rc);
    if (!c)
        return rc;
    rc = run(&r, c->log_deliveries);
    free(r.line);
    conf_unref(c);
    return rc;
}

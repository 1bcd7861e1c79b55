/*
 * `spool check`: the daemon checks its own spool; where none runs, it is done here, under the
 * spool's lock and as the owner of its folder, so that nothing is left behind that the daemon could
 * not write.
 */
#include "queue/spool.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

struct checking {
    const struct cli_args *a;
    struct conf *conf;
    bool repair;
};

/* ---- what is said ---- */

static void print_finding(void *ctx, const json_t *row)
{
    const struct checking *k = ctx;
    if (k->a->json) {
        print_json_line(NULL, row);
    } else {
        print_clean(stdout, json_text(row, "finding"));
        putchar('\n');
    }
}

static void say_finding(void *ctx, const char *line)
{
    json_t *row = json_pack("{s:s}", "finding", line);
    MUST(row);
    print_finding(ctx, row);
    json_decref(row);
}

static int report(const struct checking *k, const json_t *done)
{
    const long long damaged = (long long)json_number(done, "damaged"),
                    repaired = (long long)json_number(done, "repaired");
    if (k->a->json) {
        print_json_line(NULL, done);
        return damaged ? CLI_NOTHING : CLI_DONE;
    }
    const long long segments = (long long)json_number(done, "segments"),
                    records = (long long)json_number(done, "records"),
                    messages = (long long)json_number(done, "messages");
    printf("%lld segment%s, %lld record%s, %lld message%s: ", segments, plural(segments), records,
           plural(records), messages, plural(messages));
    if (damaged == 0)
        puts("all is well");
    else if (k->repair)
        printf("%lld problem%s, %lld repaired\n", damaged, plural(damaged), repaired);
    else
        printf("%lld problem%s; `postwain spool check --repair` mends what can be mended\n",
               damaged, plural(damaged));
    return damaged ? CLI_NOTHING : CLI_DONE;
}

/* ---- a running spool ---- */

static int check_running(struct checking *k, struct client *c)
{
    json_t *done = NULL;
    int rc = client_ask(c, "spool.check", json_pack("{s:b}", "repair", (int)k->repair),
                        print_finding, k, &done);
    if (rc == CLI_DONE)
        rc = report(k, done);
    json_decref(done);
    return rc;
}

/* ---- a stopped one ---- */

/* What root does there, the daemon's account must be able to undo. */
static int become_owner(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    if (geteuid() != 0 || st.st_uid == 0)
        return 0;
    if (setgroups(0, NULL) < 0 || setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0)
        return -errno;
    return 0;
}

static int in_use(const struct checking *k)
{
    return cli_fail(CLI_UNREACHABLE,
                    "%s: a process has the spool, and nobody answers at %s: wait until it has "
                    "started or stopped, or stop it, then run the same command again",
                    k->conf->spool_path, k->conf->control_socket);
}

static int trouble(const struct checking *k, int code, const char *why)
{
    if (code == -EWOULDBLOCK)
        return in_use(k);
    return cli_fail(cli_exit_of(code), "%s: %s", k->conf->spool_path, why);
}

/* A repair takes the lock itself; without one it is held here. */
static int verify(struct checking *k, const struct file_ops *fs)
{
    struct spool_report r = {0};
    struct err e = {0};
    int lock = fs->lock(fs->ctx, "lock");
    if (lock < 0)
        return trouble(k, lock, strerror(-lock));
    if (k->repair)
        fs->close(fs->ctx, lock);
    int rc = spool_verify(fs, k->repair, say_finding, k, &r, &e);
    if (!k->repair)
        fs->close(fs->ctx, lock);
    if (rc < 0)
        return trouble(k, rc, e.text[0] ? e.text : strerror(-rc));
    json_t *done = json_pack("{s:I, s:I, s:I, s:I, s:I}", "segments", (json_int_t)r.segments,
                             "records", (json_int_t)r.records, "messages", (json_int_t)r.messages,
                             "damaged", (json_int_t)r.damaged, "repaired", (json_int_t)r.mended);
    rc = report(k, done);
    json_decref(done);
    return rc;
}

static int check_stopped(struct checking *k)
{
    int error = become_owner(k->conf->spool_path);
    if (error < 0)
        return trouble(k, error, strerror(-error));
    struct file_ops *fs = file_posix_new(k->conf->spool_path, &error);
    if (!fs)
        return trouble(k, -error, strerror(error));
    int rc = verify(k, fs);
    file_posix_free(fs);
    return rc;
}

/* ---- the verb ---- */

static int spool_check_verb(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words)
        return args_wrong(&a, "spool check takes no arguments");
    struct checking k = {
        .a = &a, .conf = cli_conf(&a, &rc), .repair = args_value(&a, "repair") != NULL};
    if (!k.conf)
        return rc;
    struct client *c = client_try(k.conf, &rc);
    if (c)
        rc = check_running(&k, c);
    else if (rc == CLI_UNREACHABLE)
        rc = check_stopped(&k);
    client_free(c);
    conf_unref(k.conf);
    return rc;
}

static const struct cli_option check_options[] = {{"repair", 0, false}, {0}};

#define CHECK_HELP                                                                                 \
    "usage: postwain spool check [--repair] [--json]\n"                                            \
    "\n"                                                                                           \
    "Reads every record, body and footer of the spool and tells what is damaged, a line each:\n"   \
    "file, place, what it is, and which message it costs. While the daemon runs it does this\n"    \
    "itself, beside its mail; a stopped spool is read here.\n"                                     \
    "\n"                                                                                           \
    "  --repair   sets damaged stretches aside in quarantine/ and mends what can be mended;\n"     \
    "             of a running spool not the segment that is being written\n"                      \
    "\n"                                                                                           \
    "Exit code 0: all is well; 1: there are (or were) problems; 3: the spool is in use by a\n"     \
    "process that does not answer.\n"                                                              \
    "\n"                                                                                           \
    "examples:\n"                                                                                  \
    "  postwain spool check\n"                                                                     \
    "  postwain spool check --repair; postwain spool check\n"

static const struct cli_verb verbs[] = {
    {"spool check", "", spool_check_verb, check_options, CHECK_HELP},
};

int verb_spool(const struct cli_verb *v, int argc, char **argv)
{
    static const struct cli_verb group = {"spool", "", NULL, NULL, CHECK_HELP};
    (void)v;
    return args_dispatch("spool", verbs, sizeof verbs / sizeof *verbs, &group, argc, argv);
}

/* `init`: a complete working configuration, never over another one. The text is
 * contrib/examples/postwain.conf, carried line by line. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include "relay/tls/tls.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOME "/etc/postwain"

const char *const init_template[] = {
#include "relay/cli/init_template.inc"
    NULL,
};

/* What the example says, and what stands there in a folder of its own. */
static const struct {
    const char *example, *below;
} moves[] = {
    {HOME "/", "/"},
    {"/var/spool/postwain", "/spool"},
    {"/var/log/postwain/", "/"},
    {"/run/postwain/", "/"},
};

static bool is_home(const char *folder)
{
    return strcmp(folder, HOME) == 0;
}

static void replace_once(struct buf *line, const char *old, const char *a, const char *b)
{
    struct slice text = buf_slice(line), what = slice_str(old);
    size_t at = slice_find_slice(text, what);
    if (at == text.n)
        return;
    struct buf fresh = BUF_MAX(2 * PATH_MAX);
    buf_add(&fresh, slice_head(text, at));
    buf_add_str(&fresh, a);
    buf_add_str(&fresh, b);
    buf_add(&fresh, slice_skip(text, at + what.n));
    buf_reset(line);
    buf_add(line, buf_slice(&fresh));
    buf_done(&fresh);
}

void init_write_conf(struct buf *out, const struct init_names *names)
{
    DEFER(buf_done) struct buf line = BUF_MAX(2 * PATH_MAX);
    for (const char *const *p = init_template; *p; p++) {
        buf_reset(&line);
        buf_add_str(&line, *p);
        /* Comments keep their examples, but for the account that is there. */
        if (names->user && slice_starts(buf_slice(&line), SLICE_LIT("# user = ")))
            replace_once(&line, "# user", "user", "");
        for (size_t i = 0; i < sizeof moves / sizeof *moves && !is_home(names->folder); i++)
            replace_once(&line, moves[i].example, names->folder, moves[i].below);
        replace_once(&line, "\"relay.example.com\"", "\"", names->hostname);
        if (slice_starts(buf_slice(&line), SLICE_LIT("hostname")))
            buf_add_u8(&line, '"');
        buf_add(out, buf_slice(&line));
        buf_add_u8(out, '\n');
    }
}

int init_make_folders(const char *path, unsigned last)
{
    DEFER_FREE char *part = slice_dup(slice_str(path));
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return cli_fail(cli_exit_of(errno), "%s: %s", part, strerror(errno));
        *p = '/';
    }
    if (mkdir(path, last) < 0 && errno != EEXIST)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    return CLI_DONE;
}

int init_write_new(const char *folder, const char *name, struct slice text, unsigned mode)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    /* Whatever the umask: the mode is the point. */
    bool ok = fchmod(fd, mode) == 0;
    while (ok && text.n) {
        ssize_t n = write(fd, text.p, text.n);
        ok = n > 0;
        text = slice_skip(text, ok ? (size_t)n : 0);
    }
    ok = ok && fsync(fd) == 0;
    int code = errno;
    close(fd);
    return ok ? CLI_DONE : cli_fail(cli_exit_of(code), "%s: %s", path, strerror(code));
}

static const char *const files[] = {"postwain.conf", "cert.pem", "key.pem", "users"};

static int refuse_existing(const char *folder)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[PATH_MAX];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        if (lstat(path, &st) == 0)
            return cli_fail(CLI_NOTHING,
                            "%s exists already: nothing was changed. Choose another folder, or "
                            "remove what is there",
                            path);
    }
    return CLI_DONE;
}

static int write_files(const struct init_names *names)
{
    static const char users[] = "# Who may log in: a line a user. Use `postwain user add NAME`.\n";
    DEFER(buf_done) struct buf conf = BUF_MAX(1 << 20), cert = BUF_MAX(65536), key = BUF_MAX(65536);
    struct err e;
    init_write_conf(&conf, names);
    if (tls_self_signed(slice_str(names->hostname), &cert, &key, &e) < 0)
        return cli_fail(CLI_NOTHING, "the certificate cannot be made: %s", e.text);
    int rc = init_write_new(names->folder, "key.pem", buf_slice(&key), 0600);
    if (rc == CLI_DONE)
        rc = init_write_new(names->folder, "cert.pem", buf_slice(&cert), 0644);
    if (rc == CLI_DONE)
        rc = init_write_new(names->folder, "users", slice_str(users), 0640);
    /* Last: where it stands, all the rest does. */
    if (rc == CLI_DONE)
        rc = init_write_new(names->folder, "postwain.conf", buf_slice(&conf), 0644);
    return rc;
}

/* The daemon reads key and users file, and owns the spool, as the account that it becomes. */
static int give_away(const struct init_names *names, const char *spool,
                     const struct passwd *account)
{
    static const char *const shared[] = {"users", "key.pem"};
    if (!account)
        return CLI_DONE;
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", names->folder, shared[i]);
        if (chown(path, 0, account->pw_gid) < 0 || chmod(path, 0640) < 0)
            return cli_fail(cli_exit_of(errno), "%s: %s", path, strerror(errno));
    }
    if (chown(spool, account->pw_uid, account->pw_gid) < 0)
        return cli_fail(cli_exit_of(errno), "%s: %s", spool, strerror(errno));
    return CLI_DONE;
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static int finish(const struct init_names *names)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/postwain.conf", names->folder);
    struct conf *c = conf_load(path, say_problem, NULL);
    if (!c)
        return CLI_NOTHING;
    const char *option = is_home(names->folder) ? "" : " -c ", *file = *option ? path : "";
    printf("Made %s, with a self-signed certificate for %s.\n\n"
           "Next:\n"
           "  postwain user add NAME%s%s     a login for your application\n"
           "  postwain check%s%s\n"
           "  postwain serve%s%s\n",
           path, names->hostname, option, file, option, file, option, file);
    if (!strchr(names->hostname, '.'))
        printf(
            "\nFirst put a full name such as relay.example.com into `hostname`: \"%s\" is none.\n",
            names->hostname);
    conf_unref(c);
    return CLI_DONE;
}

static int make(const struct init_names *names, const struct passwd *account)
{
    char spool[PATH_MAX];
    snprintf(spool, sizeof spool, "%s%s",
             is_home(names->folder) ? "/var/spool/postwain" : names->folder,
             is_home(names->folder) ? "" : "/spool");
    int rc = init_make_folders(spool, 0700);
    if (rc == CLI_DONE)
        rc = write_files(names);
    if (rc == CLI_DONE)
        rc = give_away(names, spool, account);
    return rc == CLI_DONE ? finish(names) : rc;
}

/* A path that may stand between quotes in the configuration, and leaves room for a socket's name.
 */
static int check_folder(const struct cli_args *a, const char *folder)
{
    if (strpbrk(folder, "\"\\$\r\n") || !utf8_text(folder))
        return args_wrong(a,
                          "%s: a folder whose name holds quotes, \\, $ or line ends cannot be "
                          "written into a configuration",
                          folder);
    if (strlen(folder) > 90)
        return args_wrong(a, "%s: too long for the path of a control socket", folder);
    return ARGS_GO_ON;
}

static bool host_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 253 && name[0] != '-' && name[0] != '.' && name[n - 1] != '.' &&
           n == strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
}

static int run(const struct cli_args *a, const char *folder, const char *hostname)
{
    struct passwd entry, *account = NULL;
    char text[4096];
    int rc = check_folder(a, folder);
    if (rc != ARGS_GO_ON)
        return rc;
    if (geteuid() == 0 && is_home(folder))
        getpwnam_r("postwain", &entry, text, sizeof text, &account);
    const struct init_names names = {folder, hostname, account ? "postwain" : NULL};
    return make(&names, account);
}

int verb_init(const struct cli_verb *v, int argc, char **argv)
{
    struct cli_args a;
    char host[256] = "";
    int rc = args_parse(&a, v, argc, argv);
    if (rc != ARGS_GO_ON)
        return rc;
    if (a.n_words > 1)
        return args_wrong(&a, "init takes one folder");
    const char *folder = a.n_words ? a.words[0] : HOME, *name = args_value(&a, "hostname");
    if (name && !host_ok(name))
        return args_wrong(&a, "--hostname: %s is not a host name", name);
    if (!name)
        name = gethostname(host, sizeof host - 1) == 0 && host_ok(host) ? host : "localhost";
    if ((rc = refuse_existing(folder)) != CLI_DONE ||
        (rc = init_make_folders(folder, 0755)) != CLI_DONE)
        return rc;
    DEFER_FREE char *real = realpath(folder, NULL);
    if (!real)
        return cli_fail(cli_exit_of(errno), "%s: %s", folder, strerror(errno));
    return run(&a, real, name);
}

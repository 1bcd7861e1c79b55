/*
 * `postwain sendmail`, and the program under the names sendmail, mailq and newaliases: what cron,
 * mutt, git and forty years of scripts hand their mail to. Through the control socket where this
 * account may use it, else by SMTP to a listener that trusts this host. Nothing is kept here: when
 * the relay does not take a message, the exit code says so and the mail is still the caller's.
 */
#include "relay/cli/sendmail.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

enum { READ_BYTES = 65536, ROOM = 16384 };

int sendmail_fail(int code, const char *fmt, ...)
{
    va_list ap;
    struct buf text = BUF_MAX(ROOM);
    va_start(ap, fmt);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    fputs("sendmail: ", stderr);
    print_clean(stderr, buf_str(&text));
    fputc('\n', stderr);
    buf_done(&text);
    return code;
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "sendmail: %s\n", line);
}

static struct conf *load(const struct sendmail_args *a, int *ret_exit)
{
    const char *path = a->config ? a->config : getenv("POSTWAIN_CONFIG");
    if (!path || !*path)
        path = "/etc/postwain/postwain.conf";
    struct conf *conf = conf_load(path, say_problem, NULL);
    if (!conf)
        *ret_exit = sendmail_fail(EX_CONFIG,
                                  "%s: the relay's configuration cannot be used; name another with "
                                  "-C FILE or $POSTWAIN_CONFIG",
                                  path);
    return conf;
}

/* ---- who ---- */

/* The name of an account is the first part of its GECOS field. */
static const char *fullname_of(const struct passwd *account, char *text, size_t size)
{
    const char *env = getenv("NAME");
    if (env && *env)
        return env;
    if (!account)
        return NULL;
    snprintf(text, size, "%.*s", (int)strcspn(account->pw_gecos, ","), account->pw_gecos);
    return *text && !strchr(text, '&') ? text : NULL;
}

/* A login name that could be no address (a uid without an account, blanks) is replaced by the
 * number. */
static const char *login_of(const struct passwd *account, char *text, size_t size)
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.+";
    const char *name = account ? account->pw_name : "";
    const bool ok = *name && *name != '.' && strlen(name) <= 64 && !name[strspn(name, fine)];
    if (ok)
        snprintf(text, size, "%s", name);
    else
        snprintf(text, size, "uid%u", (unsigned)getuid());
    return text;
}

/* ---- sending ---- */

static int read_all(struct sendmail_reader *r)
{
    DEFER_FREE uint8_t *bytes = must_alloc(READ_BYTES);
    while (!r->ended && !r->text.overflow) {
        const ssize_t n = read(STDIN_FILENO, bytes, READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sendmail_fail(EX_IOERR, "standard input: %s", strerror(errno));
        if (n == 0)
            break;
        sendmail_read(r, slice_of(bytes, (size_t)n));
    }
    sendmail_read_end(r);
    return EX_OK;
}

static uint64_t largest(const struct conf *conf)
{
    uint64_t max = 0;
    for (size_t i = 0; i < conf->n_listeners; i++)
        if (conf->listeners[i].max_message_size > max)
            max = conf->listeners[i].max_message_size;
    return max;
}

/* Where this account may use the socket, it does; whether anybody listens there is another matter.
 */
static int deliver(struct conf *conf, const struct sendmail_args *a, const struct sendmail_mail *m)
{
    char id[32] = "";
    const int rc = client_may_change(conf) ? sendmail_by_socket(conf, a, m, id)
                                           : sendmail_by_smtp(conf, a, m, id);
    if (rc == EX_OK && a->verbose)
        printf("queued as %s\n", id);
    return rc;
}

static int send_text(struct conf *conf, const struct sendmail_args *a, struct slice text)
{
    char name[256], login[80], problem[160] = "";
    const struct passwd *account = getpwuid(getuid());
    const struct sendmail_who who = {.login = login_of(account, login, sizeof login),
                                     .fullname = fullname_of(account, name, sizeof name),
                                     .hostname = conf->hostname,
                                     .postmaster = conf->postmaster};
    DEFER(sendmail_mail_done) struct sendmail_mail m = {0};
    const int rc = sendmail_compose(&m, a, &who, text, problem);
    return rc == EX_OK ? deliver(conf, a, &m) : sendmail_fail(rc, "%s", problem);
}

static int send_mail(struct conf *conf, const struct sendmail_args *a)
{
    const uint64_t max = largest(conf);
    struct sendmail_reader r = {.dot_is_text = a->dot_is_text};
    buf_init(&r.text, (size_t)max);
    int rc = read_all(&r);
    if (rc == EX_OK && r.text.overflow)
        rc = sendmail_fail(EX_DATAERR,
                           "the message is larger than max-message-size of every listener (%llu "
                           "octets)",
                           (unsigned long long)max);
    else if (rc == EX_OK)
        rc = send_text(conf, a, buf_slice(&r.text));
    buf_done(&r.text);
    return rc;
}

/* ---- -q ---- */

static int flush(struct conf *conf, const struct sendmail_args *a)
{
    DEFER(buf_done) struct buf to = BUF_MAX(1024), from = BUF_MAX(1024);
    json_t *args = json_object(), *filter = json_object();
    if (a->only[SENDMAIL_ONLY_ID])
        json_object_set_new(filter, "id", json_pack("[s]", a->only[SENDMAIL_ONLY_ID]));
    if (a->only[SENDMAIL_ONLY_TO] && buf_addf(&to, "*%s*", a->only[SENDMAIL_ONLY_TO]))
        json_object_set_new(filter, "to", json_string(buf_str(&to)));
    if (a->only[SENDMAIL_ONLY_FROM] && buf_addf(&from, "*%s*", a->only[SENDMAIL_ONLY_FROM]))
        json_object_set_new(filter, "from", json_string(buf_str(&from)));
    if (json_object_size(filter) == 0)
        json_object_set_new(args, "all", json_true());
    json_object_set_new(args, "filter", filter);
    int rc;
    struct client *c = client_try(conf, &rc);
    if (!c) {
        json_decref(args);
        return rc == CLI_DENIED ? EX_NOPERM
                                : sendmail_fail(EX_TEMPFAIL, "%s: the relay is not running",
                                                conf->control_socket);
    }
    rc = client_ask(c, "queue.retry", args, NULL, NULL, NULL);
    client_free(c);
    return rc == CLI_DONE ? EX_OK : rc == CLI_UNREACHABLE ? EX_TEMPFAIL : EX_DATAERR;
}

/* ---- the verb ---- */

static int with_conf(struct conf *conf, const struct sendmail_args *a)
{
    switch (a->mode) {
    case SENDMAIL_SEND:
        return send_mail(conf, a);
    case SENDMAIL_SMTP:
        return sendmail_session(conf);
    case SENDMAIL_LIST:
        return mailq(conf);
    case SENDMAIL_FLUSH:
        return flush(conf, a);
    case SENDMAIL_ALIASES:
    case SENDMAIL_NOTHING:
    case SENDMAIL_HELP:
        return EX_OK;
    }
    UNREACHABLE();
}

static int run(const char *help, const struct sendmail_args *a)
{
    int rc = EX_OK;
    if (a->mode == SENDMAIL_HELP)
        fputs(help, stdout);
    if (a->mode == SENDMAIL_HELP || a->mode == SENDMAIL_ALIASES || a->mode == SENDMAIL_NOTHING)
        return EX_OK;
    struct conf *conf = load(a, &rc);
    if (!conf)
        return rc;
    rc = with_conf(conf, a);
    conf_unref(conf);
    if (fflush(stdout) != 0 && rc == EX_OK && a->mode != SENDMAIL_SEND)
        rc = sendmail_fail(EX_IOERR, "standard output: %s", strerror(errno));
    return rc;
}

int verb_sendmail(const struct cli_verb *v, int argc, char **argv)
{
    struct sendmail_args a;
    const int rc = sendmail_args(&a, argc, argv);
    if (rc == EX_OK)
        return run(v->help, &a);
    sendmail_fail(rc, "%s", a.problem);
    fputs("Try: postwain sendmail --help\n", stderr);
    return rc;
}

/* One JSON object a line each way over the control socket; blocking, one request at a time. */
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SILENCE_S 60
#define PROTOCOL 1

struct client {
    int fd; /* -1: not connected */
    struct line_reader in;
    char *line; /* the last one, in the reader's buffer */
    int next_id;
    bool hushed; /* that it went away has been said */
    bool mute;   /* nothing at all is said */
    bool until_unread;
    bool may_change;
    bool said;        /* a line of progress stands on the terminal */
    char *waits_for;  /* what was told of it last; NULL: nothing */
    const char *path; /* lives with conf */
    struct conf *conf;
};

static void disconnect(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    line_reader_done(&c->in);
}

void client_free(struct client *c)
{
    if (!c)
        return;
    disconnect(c);
    conf_unref(c->conf);
    free(c->waits_for);
    free(c);
}

const struct conf *client_conf(const struct client *c)
{
    return c->conf;
}

static int unreachable(const struct client *c, int code)
{
    if (c->mute || (c->hushed && (code == ENOENT || code == ECONNREFUSED)))
        return CLI_UNREACHABLE;
    if (code == EACCES || code == EPERM)
        return cli_fail(CLI_DENIED,
                        "%s: you may not control this daemon: run as root, or as a member of the "
                        "socket's group",
                        c->path);
    return cli_fail(CLI_UNREACHABLE,
                    "%s: %s: the daemon cannot be reached. Is it running? Start it with `postwain "
                    "serve -c %s`",
                    c->path, strerror(code), c->conf->path);
}

static int connect_to(struct client *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval silence = {.tv_sec = SILENCE_S};
    MUST(strlen(c->path) < sizeof address.sun_path);
    memcpy(address.sun_path, c->path, strlen(c->path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return unreachable(c, errno);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int code = errno;
        close(fd);
        return unreachable(c, code);
    }
    c->fd = c->in.fd = fd;
    return CLI_DONE;
}

/* The next line is in c->line; 0: told. */
static size_t read_line(struct client *c, int *ret_exit)
{
    const size_t n = line_reader_next(&c->in, &c->line);
    if (n > 0)
        return n;
    const char *why = errno == EAGAIN ? "no answer within a minute"
                      : errno         ? strerror(errno)
                                      : "it closed the connection";
    *ret_exit = CLI_UNREACHABLE;
    if (!c->hushed)
        cli_fail(CLI_UNREACHABLE, "%s: the daemon went away: %s", c->path, why);
    return 0;
}

/* NULL: told. */
static json_t *object_of(const struct client *c, size_t n, int *ret_exit)
{
    json_t *object = json_loadb(c->line, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        *ret_exit = cli_fail(CLI_UNREACHABLE, "%s: what answers there is not postwain", c->path);
        return NULL;
    }
    return object;
}

static json_t *read_object(struct client *c, int *ret_exit)
{
    size_t n = read_line(c, ret_exit);
    return n ? object_of(c, n, ret_exit) : NULL;
}

/* Who may look is let in: the daemon says what is too much. A daemon of old says nothing. */
static int access_of(struct client *c, const char *access)
{
    c->may_change = strcmp(access, "read") != 0 && strcmp(access, "none") != 0;
    if (strcmp(access, "none") != 0 || c->mute)
        return CLI_DONE;
    return cli_fail(CLI_DENIED,
                    "%s: you may not control this daemon: none of your groups is in control.admins "
                    "or control.readers of %s",
                    c->path, c->conf->path);
}

static int greet(struct client *c)
{
    int rc = connect_to(c);
    if (rc != CLI_DONE)
        return rc;
    json_t *hello = read_object(c, &rc);
    if (!hello)
        return rc;
    int64_t protocol = json_number(hello, "protocol");
    if (protocol != PROTOCOL)
        rc = cli_fail(CLI_UNREACHABLE,
                      "%s: the daemon (version %s) speaks protocol %lld, this program %d: use the "
                      "program of the same version",
                      c->path, json_text(hello, "postwain"), (long long)protocol, PROTOCOL);
    else
        rc = access_of(c, json_text(hello, "access"));
    json_decref(hello);
    return rc;
}

void client_hush(struct client *c)
{
    c->hushed = true;
}

void client_heed(struct client *c, const volatile sig_atomic_t *ended)
{
    c->in.ended = ended;
}

void client_until_unread(struct client *c)
{
    c->until_unread = true;
}

/* Takes conf. */
static struct client *client_new(struct conf *conf, bool hushed, int *ret_exit)
{
    struct client *c = must_alloc(sizeof *c);
    c->fd = -1;
    c->conf = conf;
    c->path = conf->control_socket;
    c->hushed = hushed;
    *ret_exit = greet(c);
    c->hushed = false;
    if (*ret_exit == CLI_DONE)
        return c;
    client_free(c);
    return NULL;
}

struct client *client_again(const struct client *first, int *ret_exit)
{
    return client_new(conf_ref(first->conf), false, ret_exit);
}

struct client *client_try(struct conf *conf, int *ret_exit)
{
    return client_new(conf_ref(conf), true, ret_exit);
}

bool client_may_change(struct conf *conf)
{
    if (access(conf->control_socket, W_OK) < 0)
        return errno != EACCES;
    struct client c = {
        .fd = -1, .conf = conf, .path = conf->control_socket, .mute = true, .hushed = true};
    /* Whether anybody is there is said by who asks in earnest. */
    const bool may = conf->control_admins.n + conf->control_readers.n == 0 ||
                     greet(&c) != CLI_DONE || c.may_change;
    disconnect(&c);
    return may;
}

struct client *client_open(const struct cli_args *a, int *ret_exit)
{
    struct conf *conf = cli_conf(a, ret_exit);
    return conf ? client_new(conf, false, ret_exit) : NULL;
}

int client_refused(const json_t *error)
{
    static const struct {
        const char *code;
        int exit;
    } codes[] = {{"not-found", CLI_NOTHING}, {"usage", CLI_USAGE}, {"denied", CLI_DENIED}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(json_text(error, "code"), codes[i].code) == 0)
            return cli_fail(codes[i].exit, "%s", json_text(error, "message"));
    return cli_fail(CLI_NOTHING, "%s", json_text(error, "message"));
}

/* Not through stdio: a daemon that has gone must not end us by SIGPIPE, but with a sentence. */
static bool send_all(int fd, struct slice text)
{
    while (text.n) {
        const ssize_t n = send(fd, text.p, text.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return false;
        text = slice_skip(text, n < 0 ? 0 : (size_t)n);
    }
    return true;
}

/* Who hung up has perhaps said why. */
static int hung_up(struct client *c, int code)
{
    json_error_t ignored;
    if (c->hushed)
        return CLI_UNREACHABLE;
    const size_t n = line_reader_next(&c->in, &c->line);
    json_t *last = n > 0 ? json_loadb(c->line, n, 0, &ignored) : NULL;
    const char *why = json_text(json_object_get(last, "error"), "message");
    cli_fail(CLI_UNREACHABLE, "%s: the daemon %s: %s", c->path, why[0] ? "hung up" : "went away",
             why[0] ? why : strerror(code));
    json_decref(last);
    return CLI_UNREACHABLE;
}

int client_send(struct client *c, const char *verb, json_t *args)
{
    json_t *request = json_pack("{s:i, s:s, s:o}", "id", ++c->next_id, "verb", verb, "args", args);
    MUST(request);
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    MUST(text);
    bool sent = send_all(c->fd, slice_str(text)) && send_all(c->fd, SLICE_LIT("\n"));
    const int code = errno;
    free(text);
    return sent ? CLI_DONE : hung_up(c, code);
}

int client_hear(struct client *c, bool (*row)(void *ctx, const json_t *row), void *ctx,
                json_t **ret_done, json_t **ret_error)
{
    int rc = CLI_DONE;
    for (;;) {
        json_t *answer = read_object(c, &rc);
        if (!answer)
            return rc;
        const json_t *one = json_object_get(answer, "row");
        json_t *error = json_object_get(answer, "error"), *done = json_object_get(answer, "done");
        const bool go_on =
            one ? !row || row(ctx, one)
                : json_object_get(answer, "progress") && (!c->until_unread || output_is_read());
        if (error)
            *ret_error = json_incref(error);
        else if (done && ret_done)
            *ret_done = json_incref(done);
        json_decref(answer);
        if (!go_on)
            return CLI_DONE;
    }
}

/* Who takes the rows: parsed, or as text. */
struct taker {
    void (*row)(void *ctx, const json_t *row);
    void (*text)(void *ctx, char *text, size_t n);
    void *ctx;
    char head[40]; /* of a row's line, as the daemon writes it */
    size_t head_n;
};

static void clear_progress(struct client *c)
{
    if (c->said)
        fputs("\r\033[K", stderr);
    c->said = false;
}

/* Nobody waits without a word, at a terminal or not: once for each cause. */
static void say_waits(struct client *c, const char *why)
{
    if (!why[0] || (c->waits_for && strcmp(c->waits_for, why) == 0))
        return;
    free(c->waits_for);
    c->waits_for = slice_dup(slice_str(why));
    fputs("postwain: waiting for the disk: ", stderr);
    print_clean(stderr, why);
    fputs(
        ".\nWhat is changed so far holds; it is kept, and the rest done, as soon as there is room. "
        "Ctrl-C ends\nthe waiting and the rest, and takes nothing back. Should the relay end "
        "before "
        "it is kept, it is undone.\n",
        stderr);
}

/* The daemon is at work. What has come so far is shown. */
static void say_progress(struct client *c, const json_t *p)
{
    fflush(stdout);
    say_waits(c, json_text(p, "waits_for"));
    const bool counts = json_object_get(p, "matched") || json_object_get(p, "steps");
    if (!isatty(STDERR_FILENO) || !counts)
        return;
    clear_progress(c);
    c->said = true;
    if (json_object_get(p, "steps")) {
        fprintf(stderr, "step %lld", (long long)json_number(p, "steps"));
        return;
    }
    fprintf(stderr, "%lld matched", (long long)json_number(p, "matched"));
    if (json_number(p, "changed"))
        fprintf(stderr, ", %lld changed", (long long)json_number(p, "changed"));
    fputs(" so far", stderr);
}

/* A row that need not be parsed; false: look closer. */
static bool give_text(const struct client *c, const struct taker *t, size_t n)
{
    if (!t->text || n < t->head_n + 4 || memcmp(c->line, t->head, t->head_n) != 0 ||
        memcmp(c->line + n - 3, "}}\n", 3) != 0)
        return false;
    c->line[n - 2] = 0;
    t->text(t->ctx, c->line + t->head_n, n - t->head_n - 2);
    return true;
}

static void give_row(const struct taker *t, const json_t *row)
{
    if (t->text) {
        char *text = json_dumps(row, JSON_COMPACT);
        MUST(text);
        t->text(t->ctx, text, strlen(text));
        free(text);
    } else if (t->row) {
        t->row(t->ctx, row);
    }
}

/* False: it was the last of this answer. */
static bool take_answer(struct client *c, const struct taker *t, const json_t *answer,
                        int *ret_exit, json_t **ret_done)
{
    const json_t *row = json_object_get(answer, "row");
    const json_t *progress = json_object_get(answer, "progress");
    const json_t *error = json_object_get(answer, "error");
    json_t *done = json_object_get(answer, "done");
    if (row)
        give_row(t, row);
    else if (progress)
        say_progress(c, progress);
    else if (error)
        *ret_exit = client_refused(error);
    else if (done && ret_done)
        *ret_done = json_incref(done);
    return row || progress;
}

static int ask(struct client *c, const char *verb, json_t *args, struct taker *t, json_t **ret_done)
{
    int rc = client_send(c, verb, args);
    t->head_n = (size_t)snprintf(t->head, sizeof t->head, "{\"id\":%d,\"row\":", c->next_id);
    for (bool more = true; more && rc == CLI_DONE;) {
        size_t n = read_line(c, &rc);
        if (n)
            clear_progress(c);
        if (n == 0 || give_text(c, t, n))
            continue;
        json_t *answer = object_of(c, n, &rc);
        if (!answer)
            break;
        more = take_answer(c, t, answer, &rc, ret_done);
        json_decref(answer);
    }
    return rc;
}

int client_ask(struct client *c, const char *verb, json_t *args,
               void (*row)(void *ctx, const json_t *row), void *ctx, json_t **ret_done)
{
    return ask(c, verb, args, &(struct taker){.row = row, .ctx = ctx}, ret_done);
}

int client_ask_text(struct client *c, const char *verb, json_t *args,
                    void (*row)(void *ctx, char *text, size_t n), void *ctx, json_t **ret_done)
{
    return ask(c, verb, args, &(struct taker){.text = row, .ctx = ctx}, ret_done);
}

/*
 * What a login at a relay needs to know: a password from a file, a token from a file or a program.
 * Helper threads read and run, so that neither a slow disk nor a slow program holds the loop: one
 * reads files, and each program under way has one of its own, RUNNERS_MAX at most, so that one that
 * hangs delays no other destination's login. Of a destination one program is under way at a time;
 * those beyond RUNNERS_MAX wait for the first that ends.
 *
 * Files are read for each login. A program's token is kept for TOKEN_MS, or until it is refused;
 * connections that want it while the program runs wait for the same answer. All of this is a
 * configuration's own: what an older one's program says is for those that were made under it.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/outbound/conn.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET_MAX 8192 /* of the first line; a longer one is refused */
#define COMMAND_MS 30000
#define RUNNERS_MAX 8 /* destinations whose programs are under way at one time */
#define END_MS 10     /* between looks at one that has said all */
#define SLICE_MS 200  /* a program under way hears so soon that the relay ends */
#define TOKEN_MS 300000

extern char **environ;

struct secret {
    uint64_t conf; /* serial of the configuration that the destination is of */
    char *destination;
    struct buf value; /* "" = none kept */
    struct mono until;
    bool asked;
    uint64_t *waiting; /* connections */
    size_t n_waiting;
    struct secret *next;
};

/* A thread that runs one program at a time. */
struct runner {
    struct worker *worker; /* NULL: not needed yet */
    bool busy;
};

struct out_secrets {
    struct outbound *o;
    struct worker *reader; /* of files; NULL: not needed yet */
    struct runner runners[RUNNERS_MAX];
    struct secret_job *first, **last; /* programs that wait for a runner, linked by `next` */
    struct port port;
    atomic_bool ending;
    struct secret *list;
};

/* Everything it needs is its own: the configuration may be gone when it runs. */
struct secret_job {
    struct worker_job job;
    struct out_secrets *from;
    struct runner *runner; /* whose it is; the loop's */
    struct secret_job *next;
    uint64_t conf;
    char *destination, *path; /* of a file; NULL: run argv */
    char **argv;
    bool token; /* it is to be one, not a password */
    int64_t limit_ms;
    struct buf value; /* answer */
    char problem[300];
};

static void job_free(struct secret_job *j)
{
    for (size_t i = 0; j->argv && j->argv[i]; i++)
        free(j->argv[i]);
    free(j->argv);
    free(j->destination);
    free(j->path);
    out_secret_wipe(&j->value);
    free(j);
}

void out_secret_wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_done(b);
}

void out_secrets_drop(struct msg *m)
{
    job_free((struct secret_job *)(void *)m);
}

/* --- the helper's side */

static void problem(struct secret_job *j, const char *what, const char *why)
{
    snprintf(j->problem, sizeof j->problem, "%.200s: %.80s", what, why);
}

/* RFC 6749 appendix A.12, without blanks: a caret-A would be a field of its own in what is said
 * (RFC 7628 section 3.1), and a program that prints JSON, or why it fails, has made none. */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e)
            return false;
    return true;
}

/* The first line, as far as it can be a secret. */
static void judge(struct secret_job *j, const char *what)
{
    struct slice rest = buf_slice(&j->value), line = slice_cut(&rest, '\n');
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (j->value.overflow || line.n > SECRET_MAX)
        problem(j, what, "its first line is too long for a secret");
    else if (line.n == 0)
        problem(j, what, "its first line is empty");
    else if (slice_find(line, 0) < line.n)
        problem(j, what, "holds a NUL");
    else if (j->token && !is_token(line))
        problem(j, what, "its first line is no access token");
    if (!j->problem[0])
        buf_cut(&j->value, line.n);
}

/* False: the end, or an error (*ret_error). */
static bool read_piece(int fd, struct buf *out, int *ret_error)
{
    uint8_t bytes[1024];
    ssize_t n = read(fd, bytes, sizeof bytes);
    *ret_error = n < 0 ? errno : 0;
    if (n > 0)
        buf_add(out, slice_of(bytes, (size_t)n));
    explicit_bzero(bytes, sizeof bytes);
    return (n > 0 && !out->overflow) || *ret_error == EINTR;
}

static void read_file(struct secret_job *j)
{
    int error = 0;
    /* Without O_NONBLOCK a pipe of that name would hold all files, and the end of the relay. */
    int fd = open(j->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        problem(j, j->path, strerror(errno));
        return;
    }
    while (read_piece(fd, &j->value, &error))
        continue;
    close(fd);
    if (error)
        problem(j, j->path, strerror(error));
    else
        judge(j, j->path);
}

/* Standard input is empty, standard error ours. A group of its own, which is ended as one. */
static int start(struct secret_job *j, int out, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(ret_pid, j->argv[0], &files, &attributes, j->argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

/* Until the program closes its output. False: it has taken too long, or the relay ends. */
static bool hear(struct secret_job *j, int fd, struct mono until)
{
    int error = 0;
    while (!mono_reached(until, mono_now()) && !atomic_load(&j->from->ending)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, SLICE_MS) > 0 && !read_piece(fd, &j->value, &error))
            return true;
    }
    return false;
}

/* It has said all, and may still run. False: it had to be killed. */
static bool end(const struct secret_job *j, pid_t pid, struct mono until, int *ret_status)
{
    pid_t ended;
    while ((ended = waitpid(pid, ret_status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
        if (mono_reached(until, mono_now()) || atomic_load(&j->from->ending)) {
            kill(-pid, SIGKILL);
            while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
                continue;
            return false;
        }
        poll(NULL, 0, END_MS);
    }
    return true;
}

static void took_too_long(struct secret_job *j)
{
    char why[80];
    snprintf(why, sizeof why, "took longer than %lld seconds", (long long)j->limit_ms / 1000);
    problem(j, j->argv[0], why);
}

static void run_command(struct secret_job *j)
{
    const struct mono until = mono_add(mono_now(), j->limit_ms);
    int pipe_fds[2], status = 0;
    pid_t pid;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        problem(j, j->argv[0], strerror(errno));
        return;
    }
    int rc = start(j, pipe_fds[1], &pid);
    close(pipe_fds[1]);
    bool in_time = rc == 0 && hear(j, pipe_fds[0], until);
    close(pipe_fds[0]);
    if (rc != 0) {
        problem(j, j->argv[0], strerror(rc));
        return;
    }
    if (!in_time || j->value.overflow)
        kill(-pid, SIGKILL);
    in_time = end(j, pid, until, &status) && in_time;
    if (!in_time)
        took_too_long(j);
    else if (!j->value.overflow && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        problem(j, j->argv[0], "failed");
    else
        judge(j, j->argv[0]);
}

static void run(struct worker_job *job)
{
    struct secret_job *j = (struct secret_job *)job;
    if (j->path)
        read_file(j);
    else
        run_command(j);
}

/* --- the loop's side */

static struct secret *secret_of(struct out_secrets *s, uint64_t conf, const char *destination)
{
    for (struct secret *t = s->list; t; t = t->next)
        if (t->conf == conf && strcmp(t->destination, destination) == 0)
            return t;
    struct secret *t = must_alloc(sizeof *t);
    t->conf = conf;
    t->destination = slice_dup(slice_str(destination));
    t->next = s->list;
    s->list = t;
    return t;
}

static void secret_free(struct secret *t)
{
    out_secret_wipe(&t->value);
    free(t->destination);
    free(t->waiting);
    free(t);
}

/* Of older configurations than this one, but what somebody waits for. */
static void forget_before(struct out_secrets *s, uint64_t conf)
{
    for (struct secret **at = &s->list; *at;) {
        struct secret *t = *at;
        if (t->conf >= conf || t->asked) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        secret_free(t);
    }
}

static struct runner *free_runner(struct out_secrets *s)
{
    for (size_t i = 0; i < RUNNERS_MAX; i++)
        if (!s->runners[i].busy)
            return &s->runners[i];
    return NULL;
}

/* As many of those that wait as there are runners. */
static void run_programs(struct out_secrets *s)
{
    struct runner *r;
    while (s->first && (r = free_runner(s))) {
        struct secret_job *j = s->first;
        s->first = j->next;
        if (!s->first)
            s->last = &s->first;
        if (!r->worker)
            r->worker = worker_new("secrets");
        r->busy = true;
        j->runner = r;
        worker_push(r->worker, &j->job);
    }
}

static void push(struct out_secrets *s, struct secret_job *j)
{
    if (!j->path) {
        *s->last = j;
        s->last = &j->next;
        run_programs(s);
        return;
    }
    if (!s->reader)
        s->reader = worker_new("secrets");
    worker_push(s->reader, &j->job);
}

static void ask(struct out_secrets *s, struct secret *t, const struct conf_destination *d)
{
    struct secret_job *j = must_alloc(sizeof *j);
    const char *path = d->password_file[0] ? d->password_file : d->token_file;
    j->job.msg.type = OUT_SECRET;
    j->job.run = run;
    j->job.reply = &s->port;
    j->from = s;
    j->conf = t->conf;
    j->destination = slice_dup(slice_str(t->destination));
    j->value = BUF_MAX(4 * SECRET_MAX);
    j->token = !d->password_file[0];
    j->limit_ms = COMMAND_MS / 100 * s->o->conf->debug_phase_percent;
    if (path[0]) {
        j->path = slice_dup(slice_str(path));
    } else {
        j->argv = must_alloc((d->token_command.n + 1) * sizeof *j->argv);
        for (size_t i = 0; i < d->token_command.n; i++)
            j->argv[i] = slice_dup(slice_str(d->token_command.items[i]));
    }
    t->asked = true;
    push(s, j);
}

static void keep(struct secret *t, struct buf *value, struct mono now)
{
    out_secret_wipe(&t->value);
    t->value = *value;
    *value = (struct buf){0};
    t->until = mono_add(now, TOKEN_MS);
}

static void on_answer(void *ctx, struct msg *m)
{
    struct out_secrets *s = ctx;
    struct secret_job *j = (struct secret_job *)(void *)m;
    struct secret *t = secret_of(s, j->conf, j->destination);
    if (j->runner) {
        j->runner->busy = false;
        run_programs(s);
    }
    DEFER_FREE uint64_t *waiting = t->waiting;
    size_t n = t->n_waiting;
    t->waiting = NULL;
    t->n_waiting = 0;
    t->asked = false;
    for (size_t i = 0; i < n; i++)
        out_login_secret(s->o, waiting[i], buf_slice(&j->value), j->problem);
    if (j->argv && !j->problem[0])
        keep(t, &j->value, loop_now(s->o->loop));
    forget_before(s, s->o->conf->serial);
    job_free(j);
}

static struct out_secrets *secrets_new(struct outbound *o)
{
    struct out_secrets *s = must_alloc(sizeof *s);
    s->o = o;
    s->port = (struct port){.inbox = o->port.inbox, .fn = on_answer, .ctx = s};
    s->last = &s->first;
    return s;
}

void out_secret_ask(struct out_conn *c)
{
    struct outbound *o = c->o;
    if (!o->secrets)
        o->secrets = secrets_new(o);
    struct secret *t = secret_of(o->secrets, c->conf->serial, c->dest->name);
    if (t->value.n > 0 && !mono_reached(t->until, loop_now(o->loop))) {
        out_login_secret(o, c->id, buf_slice(&t->value), "");
        return;
    }
    t->waiting = must_realloc(t->waiting, (t->n_waiting + 1) * sizeof *t->waiting);
    t->waiting[t->n_waiting++] = c->id;
    if (!t->asked)
        ask(o->secrets, t, c->dest);
}

void out_secret_refused(const struct out_conn *c)
{
    struct secret *t = secret_of(c->o->secrets, c->conf->serial, c->dest->name);
    if (slice_eq(buf_slice(&t->value), buf_slice(&c->login.secret))) /* else it is a newer one */
        out_secret_wipe(&t->value);
}

void out_secrets_forget(struct outbound *o)
{
    if (o->secrets)
        forget_before(o->secrets, o->conf->serial);
}

void out_secrets_free(struct out_secrets *s)
{
    struct secret *next;
    if (!s)
        return;
    atomic_store(&s->ending, true);
    worker_free(s->reader);
    for (size_t i = 0; i < RUNNERS_MAX; i++)
        worker_free(s->runners[i].worker);
    while (s->first) {
        struct secret_job *j = s->first;
        s->first = j->next;
        job_free(j);
    }
    for (struct secret *t = s->list; t; t = next) {
        next = t->next;
        secret_free(t);
    }
    free(s);
}

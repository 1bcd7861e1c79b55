/* Verbs as a script runs them: what is asked of the daemon, what is printed, and the exit code. The
 * daemon is a thread that answers by a script. Who includes this names a FOLDER of its own. */
#pragma once
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define CONF FOLDER "/postwain.conf"
#define GREETING "{\"postwain\":\"0.1.0\",\"protocol\":1}\n"

static char out[65536], err[65536], asked[65536];

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    MUST(f);
    fputs(text, f);
    fclose(f);
}

static void read_back(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");
    MUST(f);
    text[fread(text, 1, size - 1, f)] = 0;
    fclose(f);
}

/* One command line, words parted by blanks; standard streams are files meanwhile. */
static int run(const char *line)
{
    char copy[1000], *words[64] = {0};
    int n = 0, saved[3];
    snprintf(copy, sizeof copy, "%s", line);
    for (char *p = copy; *p;) {
        words[n++] = p;
        while (*p && *p != ' ')
            p++;
        if (*p)
            *p++ = 0;
    }
    static const char *const files[] = {FOLDER "/in", FOLDER "/out", FOLDER "/err"};
    fflush(stdout);
    for (int i = 0; i < 3; i++) {
        saved[i] = dup(i);
        int fd = open(files[i], i ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY | O_CREAT, 0600);
        MUST(fd >= 0 && dup2(fd, i) == i);
        close(fd);
    }
    clearerr(stdin);
    int rc = cli_run(n, words);
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    __fpurge(stdin);
    read_back(FOLDER "/out", out, sizeof out);
    read_back(FOLDER "/err", err, sizeof err);
    return rc;
}

struct daemon {
    int fd;
    const char *greeting;
    const char *const *answers; /* one a request; NULL ends */
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct daemon *d = arg;
    int fd = accept(d->fd, NULL, NULL);
    char *line = NULL;
    size_t size = 0;
    FILE *in = fdopen(fd, "r+");
    MUST(in);
    fputs(d->greeting, in);
    fflush(in);
    for (const char *const *p = d->answers; *p && getline(&line, &size, in) > 0; p++) {
        size_t at = strlen(asked);
        snprintf(asked + at, sizeof asked - at, "%s", line);
        fseek(in, 0, SEEK_CUR);
        fputs(*p, in);
        fflush(in);
    }
    free(line);
    fclose(in);
    return NULL;
}

static inline int run_with(const char *line, const char *greeting, const char *const *answers)
{
    struct daemon d = {.greeting = greeting, .answers = answers};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = FOLDER "/control.sock"};
    unlink(address.sun_path);
    asked[0] = 0;
    d.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    MUST(bind(d.fd, (const struct sockaddr *)&address, sizeof address) == 0);
    MUST(listen(d.fd, 1) == 0);
    pthread_create(&d.thread, NULL, serve, &d);
    int rc = run(line);
    shutdown(d.fd, SHUT_RDWR);
    pthread_join(d.thread, NULL);
    close(d.fd);
    unlink(address.sun_path);
    return rc;
}

#define WITH(line, ...) run_with(line, GREETING, (const char *const[]){__VA_ARGS__, NULL})
#define DONE(n, object) "{\"id\":" #n ",\"done\":" object "}\n"
#define ROW                                                                                        \
    "{\"id\":1,\"row\":{\"queue_id\":\"Q1\",\"rcpt\":0,\"sender\":\"\",\"recipient\":\"a@b\","     \
    "\"size\":2048,"                                                                               \
    "\"queued_time\":\"2020-01-02T03:04:05.000000Z\",\"state\":\"held\",\"attempt\":3,"            \
    "\"response\":\"450 4.2.2 \\u001b[31mfull\"}}\n"

static inline void expect(const char *where, const char *words)
{
    if (!strstr(where, words))
        fail_msg("no \"%s\" in:\n%s%s", words, where, where == out ? err : "");
}

static inline void expect_asked(const char *json)
{
    json_t *want = json_loads(json, 0, NULL),
           *got = json_loads(asked, JSON_DISABLE_EOF_CHECK, NULL);
    MUST(want);
    if (!json_equal(want, got))
        fail_msg("asked %s instead of %s", asked, json);
    json_decref(want);
    json_decref(got);
}

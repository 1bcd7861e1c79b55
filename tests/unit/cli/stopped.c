/* A verb that waits is stopped and goes on (Ctrl-Z and fg), or hears a signal, in the middle of a
 * line: nothing of it is lost. The verb is a process of its own, and the daemon is this one; a read
 * with a time limit ends by EINTR then, however the signal is handled (signal(7)). */
#define FOLDER "/tmp/postwain-unit-stopped"
#include "tests/unit/cli/world.h"
#include <errno.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

enum { PATIENCE_MS = 20000 };

struct verb {
    pid_t pid;
    int listening, fd;
};

static volatile sig_atomic_t ended, heard;

static void on_end(int number)
{
    (void)number;
    ended = 1;
}

static void on_other(int number)
{
    (void)number;
    heard++;
}

static void say(const struct verb *v, const char *text)
{
    assert_int_equal(send(v->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static struct verb begin(int (*in_child)(void))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = FOLDER "/control.sock"};
    struct verb v = {.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    unlink(address.sun_path);
    MUST(bind(v.listening, (const struct sockaddr *)&address, sizeof address) == 0);
    MUST(listen(v.listening, 1) == 0);
    fflush(NULL);
    v.pid = fork();
    MUST(v.pid >= 0);
    if (v.pid == 0)
        _exit(in_child());
    v.fd = accept(v.listening, NULL, NULL);
    MUST(v.fd >= 0);
    say(&v, GREETING);
    return v;
}

static void hear_request(const struct verb *v)
{
    for (char c = 0; c != '\n';)
        assert_int_equal(read(v->fd, &c, 1), 1);
}

static char state_of(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    read_back(path, text, sizeof text);
    const char *name_end = strrchr(text, ')');
    MUST(name_end);
    return name_end[2];
}

/* All that was said is with it, and it sleeps: in its read, for it waits for nothing else. */
static void until_it_waits(const struct verb *v)
{
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        int unread = 1;
        MUST(ioctl(v->fd, SIOCOUTQ, &unread) == 0);
        if (unread == 0 && state_of(v->pid) == 'S')
            return;
        usleep(1000);
    }
    fail_msg("it does not wait");
}

/* It has been handled: it is pending no more. */
static void until_it_has_heard(const struct verb *v)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)v->pid);
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        read_back(path, text, sizeof text);
        const char *pending = strstr(text, "ShdPnd:");
        MUST(pending);
        if (strtoull(pending + strlen("ShdPnd:"), NULL, 16) == 0)
            return;
        usleep(1000);
    }
    fail_msg("it does not hear");
}

static void stop_and_go_on(const struct verb *v)
{
    int status;
    until_it_waits(v);
    kill(v->pid, SIGSTOP);
    assert_int_equal(waitpid(v->pid, &status, WUNTRACED), v->pid);
    assert_true(WIFSTOPPED(status));
    kill(v->pid, SIGCONT);
    assert_int_equal(waitpid(v->pid, &status, WCONTINUED), v->pid);
    assert_true(WIFCONTINUED(status));
    until_it_waits(v);
}

static int end(const struct verb *v)
{
    int status;
    assert_int_equal(waitpid(v->pid, &status, 0), v->pid);
    close(v->fd);
    close(v->listening);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int list(void)
{
    return run("queue list --json");
}

static void nothing_is_lost(void **state)
{
    (void)state;
    struct verb v = begin(list);
    hear_request(&v);
    stop_and_go_on(&v);
    say(&v, "{\"id\":1,\"row\":{\"queue_id\":\"Q1\",\"rec");
    stop_and_go_on(&v);
    say(&v, "ipient\":\"a@b\"}}\n{\"id\":1,\"row\":{\"queue_id\":\"Q2\"}}\n{");
    stop_and_go_on(&v);
    say(&v, "\"id\":1,\"done\":{\"matched\":2}}\n");
    assert_int_equal(end(&v), CLI_DONE);
    read_back(FOLDER "/out", out, sizeof out);
    read_back(FOLDER "/err", err, sizeof err);
    assert_string_equal(out,
                        "{\"queue_id\":\"Q1\",\"recipient\":\"a@b\"}\n{\"queue_id\":\"Q2\"}\n");
    assert_string_equal(err, "");
}

/* As `top` asks. Its exit code; 100 more for each of the other signals. */
static int ask_heeding(void)
{
    static const struct cli_verb none = {.name = "none"};
    static char name[] = "none";
    char *words[] = {name, NULL};
    struct cli_args a;
    int rc;
    json_t *done = NULL, *error = NULL;
    const struct sigaction on_int = {.sa_handler = on_end}, on_winch = {.sa_handler = on_other};
    sigaction(SIGINT, &on_int, NULL);
    sigaction(SIGWINCH, &on_winch, NULL);
    args_parse(&a, &none, 1, words);
    struct client *c = client_open(&a, &rc);
    if (!c)
        return rc;
    client_hush(c);
    client_heed(c, &ended);
    rc = client_send(c, "status", json_object());
    if (rc == CLI_DONE)
        rc = client_hear(c, NULL, NULL, &done, &error);
    client_free(c);
    json_decref(done);
    return rc + 100 * (int)heard;
}

static void a_signal_passes(void **state)
{
    (void)state;
    struct verb v = begin(ask_heeding);
    hear_request(&v);
    say(&v, "{\"id\":1,");
    until_it_waits(&v);
    kill(v.pid, SIGWINCH);
    until_it_has_heard(&v);
    until_it_waits(&v);
    say(&v, "\"done\":{}}\n");
    assert_int_equal(end(&v), 100 + CLI_DONE);
}

static void a_signal_ends(void **state)
{
    (void)state;
    struct verb v = begin(ask_heeding);
    hear_request(&v);
    say(&v, "{\"id\":1,");
    until_it_waits(&v);
    kill(v.pid, SIGINT);
    assert_int_equal(end(&v), CLI_UNREACHABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost),
                                       cmocka_unit_test(a_signal_passes),
                                       cmocka_unit_test(a_signal_ends)};
    mkdir(FOLDER, 0700);
    write_file(CONF, "hostname = h.test\ncontrol { socket = control.sock }\n");
    setenv("POSTWAIN_CONFIG", CONF, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

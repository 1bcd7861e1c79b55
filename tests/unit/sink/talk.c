/*
 * The receiver as a whole, over real sockets: a child process runs it, this one talks to it. If
 * this breaks, tests and demonstrations that receive with `postwain sink` see replies before the
 * file is there, other bytes than were sent, or no end on SIGTERM.
 */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/sink/private.h"
#include "relay/sink/sink.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

struct child {
    pid_t pid;
    FILE *out;
    unsigned port;
};

static struct child start(const char *const *more)
{
    struct child c = {0};
    int pipe_fd[2];
    char *argv[32] = {
        (char[]){"sink"}, (char[]){"--listen"},   (char[]){"127.0.0.1:0"}, (char[]){"--maildir"},
        folder,           (char[]){"--hostname"}, (char[]){"sink.example"}};
    int argc = 7;
    while (*more)
        argv[argc++] = strdup(*more++);
    assert_int_equal(pipe(pipe_fd), 0);
    c.pid = fork();
    if (c.pid == 0) {
        dup2(pipe_fd[1], 1);
        close(pipe_fd[0]);
        close(pipe_fd[1]);
        exit(sink_main(argc, argv));
    }
    close(pipe_fd[1]);
    while (argc > 7)
        free(argv[--argc]);
    c.out = fdopen(pipe_fd[0], "r");
    char line[256] = "";
    assert_non_null(fgets(line, sizeof line, c.out));
    struct slice rest = slice_str(line);
    assert_true(slice_eq(slice_cut(&rest, ':'), SLICE_LIT("ready 127.0.0.1")));
    uint64_t port = 0;
    assert_true(slice_u64(slice_trim(rest), 65535, &port));
    c.port = (unsigned)port;
    return c;
}

static void stop(struct child *c)
{
    int status = -1;
    assert_int_equal(kill(c->pid, SIGTERM), 0);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_int_equal(status, 0);
    fclose(c->out);
}

static FILE *call(const struct child *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    FILE *f = fdopen(fd, "r+");
    setvbuf(f, NULL, _IONBF, 0);
    return f;
}

/* Reads a reply (its last line) that must begin so. */
static void expect(FILE *f, const char *begin)
{
    char line[2048] = "";
    do
        assert_non_null(fgets(line, sizeof line, f));
    while (line[3] == '-');
    if (strncmp(line, begin, strlen(begin)) != 0)
        fail_msg("wanted %s, got %s", begin, line);
}

static void say(FILE *f, const char *text, const char *reply)
{
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    expect(f, reply);
}

/* The file named by the line that the sink printed. */
static struct buf read_filed(struct child *c, const char *want_in_line)
{
    char line[4096] = "";
    struct buf b = BUF_MAX(64 << 20);
    assert_non_null(fgets(line, sizeof line, c->out));
    assert_non_null(strstr(line, want_in_line));
    char *path = strstr(line, "file=");
    assert_non_null(path);
    path[strcspn(path, "\n")] = 0;
    FILE *f = fopen(path + 5, "r");
    assert_non_null(f);
    static char piece[65536];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_add(&b, slice_of(piece, n));
    fclose(f);
    return b;
}

static void hello(FILE *f)
{
    expect(f, "220 sink.example ");
    say(f, "EHLO test.example\r\n", "250 ");
}

static void test_talk(void **state)
{
    (void)state;
    static const char *const args[] = {"--refuse", "nobody@*", "--defer", "*@slow.example", NULL};
    struct child c = start(args);
    FILE *f = call(&c);
    hello(f);
    say(f, "MAIL FROM:<a@example.com>\r\n", "250 2.1.0");
    say(f, "RCPT TO:<Nobody@example.com>\r\n", "550 5.1.1");
    say(f, "RCPT TO:<x@slow.example>\r\n", "450 4.2.0");
    say(f, "RCPT TO:<b@example.com>\r\n", "250 2.1.5");
    say(f, "DATA\r\n", "354");
    say(f, "Subject: x\r\n\r\n..dot\r\nlast\r\n.\r\n", "250 2.0.0 Ok: filed as ");
    DEFER(buf_done)
    struct buf got = read_filed(&c, "Z from=<a@example.com> to=<b@example.com> size=26 file=");
    assert_string_equal(buf_str(&got),
                        "Return-Path: <a@example.com>\r\nDelivered-To: b@example.com\r\n"
                        "Subject: x\r\n\r\n.dot\r\nlast\r\n");
    /* Several recipients, the null sender, no content at all. */
    say(f, "MAIL FROM:<>\r\n", "250");
    say(f, "RCPT TO:<b@example.com>\r\n", "250");
    say(f, "RCPT TO:<c@example.com>\r\n", "250");
    say(f, "BDAT 0 LAST\r\n", "250");
    DEFER(buf_done)
    struct buf empty = read_filed(&c, "from=<> to=<b@example.com>,<c@example.com> size=0 ");
    assert_string_equal(
        buf_str(&empty),
        "Return-Path: <>\r\nX-Envelope-To: b@example.com\r\nX-Envelope-To: c@example.com\r\n");
    say(f, "QUIT\r\n", "221");
    fclose(f);
    stop(&c);
}

/* 20 MB, in whatever pieces the network makes of them. */
static void test_large(void **state)
{
    (void)state;
    static const char *const args[] = {"--no-tls", NULL};
    struct child c = start(args);
    FILE *f = call(&c);
    DEFER(buf_done) struct buf text = BUF_MAX(32 << 20);
    for (unsigned i = 0; i < 300000; i++)
        buf_addf(&text, "line %u of a message that is long: it must not be held in memory here\r\n",
                 i);
    hello(f);
    say(f, "MAIL FROM:<a@example.com>\r\n", "250");
    say(f, "RCPT TO:<b@example.com>\r\n", "250");
    say(f, "DATA\r\n", "354");
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    say(f, ".\r\n", "250");
    DEFER(buf_done) struct buf got = read_filed(&c, "size=");
    size_t front = slice_find_slice(buf_slice(&got), SLICE_LIT("line 0"));
    assert_true(slice_eq(slice_skip(buf_slice(&got), front), buf_slice(&text)));
    fclose(f);
    stop(&c);
}

/* Whether the second of three was answered before one that waits for the first one's answer. */
static bool waits_beside(void)
{
    static const char *const args[] = {"--delay", "400", "--quiet", NULL};
    struct child c = start(args);
    FILE *f[3];
    for (size_t i = 0; i < 3; i++) {
        f[i] = call(&c);
        hello(f[i]);
        say(f[i], "MAIL FROM:<a@example.com>\r\n", "250");
        say(f[i], "RCPT TO:<b@example.com>\r\n", "250");
        say(f[i], "DATA\r\n", "354");
    }
    struct mono before = mono_now();
    for (size_t i = 0; i < 3; i++)
        assert_true(fputs("x\r\n.\r\n", f[i]) >= 0);
    fclose(f[2]);
    expect(f[0], "250");
    assert_true(mono_now().ms - before.ms >= 395);
    expect(f[1], "250");
    const bool beside = mono_now().ms - before.ms < 795;
    fclose(f[1]);
    say(f[0], "MAIL FROM:<a@example.com>\r\n", "250");
    stop(&c); /* while a session is open */
    fclose(f[0]);
    return beside;
}

/* The replies wait, for each session on its own (seen where the machine is quick enough, once); a
 * client that is gone meanwhile harms nobody; SIGTERM ends it all the same. */
static void test_delay(void **state)
{
    (void)state;
    bool beside = false;
    for (unsigned i = 0; i < 20 && !beside; i++)
        beside = waits_beside();
    assert_true(beside);
}

static void test_usage(void **state)
{
    (void)state;
    char *const rows[][6] = {
        {(char[]){"sink"}},
        {(char[]){"sink"}, (char[]){"--listen"}, (char[]){"127.0.0.1:0"}},
        {(char[]){"sink"}, (char[]){"--maildir"}, (char[]){"/tmp/x"}},
        {(char[]){"sink"}, (char[]){"--listen"}},
        {(char[]){"sink"}, (char[]){"--what"}},
        {(char[]){"sink"}, (char[]){"--delay"}, (char[]){"soon"}},
        {(char[]){"sink"}, (char[]){"x"}},
    };
    assert_non_null(freopen("/dev/null", "w", stderr));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *argv[6] = {0};
        int argc = 0;
        while (rows[i][argc])
            argv[argc] = rows[i][argc], argc++;
        assert_int_equal(sink_main(argc, argv), 2);
    }
    char *no_address[] = {(char[]){"sink"}, (char[]){"--listen"}, (char[]){"nowhere"},
                          (char[]){"--maildir"}, folder};
    assert_int_equal(sink_main(5, no_address), 1);
}

int main(void)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(256);
    snprintf(folder, sizeof folder, "/tmp/unit-sink-talk-%d", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talk),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_usage),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_addf(&clean, "rm -rf %s", folder);
    return system(buf_str(&clean)) == 0 ? rc : 1;
}

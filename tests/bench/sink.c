/*
 * sink: an SMTP receiver that takes and forgets everything, fast: one thread, epoll, no file.
 * Counts messages; on the Nth it prints one JSON line with the time since the first connection, and
 * when that was by CLOCK_MONOTONIC, and ends.
 *
 *   bench_sink --port P --messages N [--seconds 300] [--busy] [--times FILE]
 *
 * --busy: every recipient hears 450, until SIGUSR1; the time is then since the first message taken.
 * --times writes when the content of each message had come, in ns of CLOCK_MONOTONIC, as 64-bit
 * numbers in the order of recipients u<i>@… (0: it has not).
 *
 * Speaks plain ESMTP with PIPELINING, 8BITMIME and SIZE; end of data is CRLF.CRLF, at any split of
 * the input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct peer {
    int fd;
    bool data, has_rcpt;
    unsigned matched; /* bytes of CRLF.CRLF seen; the content begins after a CRLF */
    char line[1024];
    size_t n;
    long rcpt; /* the number of the last recipient; -1: it has none */
};

static long messages, taken;
static double first_connection, first_message, last_message;
static volatile sig_atomic_t busy;
static int64_t *came_at;

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *rcpt(struct peer *p)
{
    if (busy)
        return "450 4.3.2 busy\r\n";
    p->has_rcpt = true;
    p->rcpt = strncasecmp(p->line, "RCPT TO:<u", 10) == 0 ? strtol(p->line + 10, NULL, 10) : -1;
    return "250 ok\r\n";
}

static const char *answer(struct peer *p)
{
    if (strncasecmp(p->line, "EHLO", 4) == 0)
        return "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n";
    if (strncasecmp(p->line, "RCPT", 4) == 0)
        return rcpt(p);
    if (strncasecmp(p->line, "DATA", 4) == 0) {
        if (!p->has_rcpt)
            return "554 5.5.1 no recipient\r\n";
        p->has_rcpt = false;
        p->data = true;
        p->matched = 2;
        return "354 go on\r\n";
    }
    if (strncasecmp(p->line, "QUIT", 4) == 0)
        return "221 bye\r\n";
    return "250 ok\r\n";
}

/* One octet of content; true at the end of data. Bulk is skipped by memchr in feed(). */
static bool content(struct peer *p, char b)
{
    static const char end[] = "\r\n.\r\n";
    if (b == end[p->matched])
        p->matched++;
    else
        p->matched = b == '\r' ? 1 : 0;
    return p->matched == 5;
}

static void note(const struct peer *p)
{
    last_message = seconds_now();
    if (taken++ == 0)
        first_message = last_message;
    if (came_at && p->rcpt >= 0 && p->rcpt < messages)
        came_at[p->rcpt] = (int64_t)(last_message * 1e9);
}

static bool feed(struct peer *p, const char *in, size_t n, char *out, size_t *out_n)
{
    for (size_t i = 0; i < n; i++) {
        if (p->data) {
            if (p->matched == 0) {
                const char *cr = memchr(in + i, '\r', n - i);
                if (!cr)
                    return true;
                i = (size_t)(cr - in);
            }
            if (content(p, in[i])) {
                p->data = false;
                note(p);
                memcpy(out + *out_n, "250 2.0.0 taken\r\n", 17);
                *out_n += 17;
            }
        } else if (in[i] == '\n') {
            p->line[p->n < sizeof p->line - 1 ? p->n : sizeof p->line - 1] = 0;
            p->n = 0;
            const char *a = answer(p);
            memcpy(out + *out_n, a, strlen(a));
            *out_n += strlen(a);
            if (a[0] == '2' && a[1] == '2' && a[2] == '1')
                return false;
        } else if (p->n < sizeof p->line - 1) {
            p->line[p->n++] = in[i];
        }
    }
    return true;
}

static void drop(struct peer *p)
{
    close(p->fd);
    free(p);
}

static void serve(struct peer *p)
{
    static char in[65536], out[65536 * 16];
    ssize_t n = recv(p->fd, in, sizeof in, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(p);
        return;
    }
    size_t out_n = 0;
    bool stays = feed(p, in, (size_t)n, out, &out_n);
    if (out_n > 0 && send(p->fd, out, out_n, MSG_NOSIGNAL) < 0)
        stays = false;
    if (!stays)
        drop(p);
}

static void welcome(int ep, int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (first_connection == 0)
        first_connection = seconds_now();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct peer *p = calloc(1, sizeof *p);
    p->fd = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    if (send(fd, "220 sink.test ESMTP\r\n", 21, MSG_NOSIGNAL) < 0)
        drop(p);
}

static int listen_on(long port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 1024) != 0) {
        perror("bench_sink");
        exit(1);
    }
    return fd;
}

static void on_recovered(int signal_number)
{
    (void)signal_number;
    busy = 0;
}

static void write_times(const char *name)
{
    FILE *f = fopen(name, "wb");
    if (!f || fwrite(came_at, sizeof *came_at, (size_t)messages, f) != (size_t)messages) {
        perror(name);
        exit(1);
    }
    fclose(f);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"port", 1, 0, 'p'},    {"messages", 1, 0, 'n'},
                                          {"seconds", 1, 0, 'T'}, {"busy", 0, 0, 'b'},
                                          {"times", 1, 0, 'm'},   {0, 0, 0, 0}};
    long port = 0, seconds = 300;
    const char *times = NULL;
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (o == 'p')
            port = strtol(optarg, NULL, 10);
        else if (o == 'n')
            messages = strtol(optarg, NULL, 10);
        else if (o == 'T')
            seconds = strtol(optarg, NULL, 10);
        else if (o == 'b')
            busy = 1;
        else if (o == 'm')
            times = optarg;
        else
            return 2;
    }
    if (port <= 0 || messages <= 0) {
        fputs("usage: bench_sink --port P --messages N [--seconds S]\n", stderr);
        return 2;
    }
    const bool was_busy = busy;
    signal(SIGUSR1, on_recovered);
    if (times)
        came_at = calloc((size_t)messages, sizeof *came_at);
    int listener = listen_on(port), ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    puts("ready");
    fflush(stdout);
    double end = seconds_now() + (double)seconds;
    while (taken < messages && seconds_now() < end) {
        struct epoll_event got[64];
        int n = epoll_wait(ep, got, 64, 1000);
        for (int i = 0; i < n; i++) {
            if (got[i].data.ptr)
                serve(got[i].data.ptr);
            else
                welcome(ep, listener);
        }
    }
    printf("{\"taken\":%ld,\"seconds\":%.3f,\"ended\":%.6f}\n", taken,
           last_message - (was_busy ? first_message : first_connection), last_message);
    fflush(stdout);
    if (times)
        write_times(times);
    free(came_at);
    return taken == messages ? 0 : 1;
}

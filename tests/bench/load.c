/*
 * load: an SMTP load generator. S sessions, each a thread with one blocking connection, hand in N
 * messages of B octets, one recipient each, without pipelining (as most libraries do). Prints one
 * JSON line when the last 250 has come.
 *
 *   bench_load --port P [--host 127.0.0.1] [--sessions 20] [--messages 1000] [--size 4096]
 * [--domains 100] [--per-connection 0]
 *              [--starttls] [--user NAME --password WORD] [--seconds 120] [--rate R] [--times FILE]
 *
 * With a rate message i begins at i/R seconds, or as soon as a session is free after that.
 * --times writes when each message got its 250, in ns of CLOCK_MONOTONIC, as 64-bit numbers in the
 * order of messages (0: it did not); recipient number i is u<i>@….
 * Ends early, with what was done so far, on SIGTERM.
 * accept_rate: messages a second until the last 250.  data_*_ms: from the last octet of a message
 * to its 250.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *host, *user, *password, *times;
    long port, sessions, messages, size, domains, per_connection, seconds, rate;
    bool starttls;
} opt = {.host = "127.0.0.1",
         .sessions = 20,
         .messages = 1000,
         .size = 4096,
         .domains = 100,
         .seconds = 120};

static SSL_CTX *tls;
static char *body;
static size_t body_n;
static atomic_long next_message, accepted, refused, lost;
static atomic_int last_refusal;
static float *latency;    /* by message, ms; < 0: not accepted */
static int64_t *taken_at; /* by message, ns; 0: not accepted */
static double begun;
static volatile sig_atomic_t stopping;

struct client {
    int fd;
    SSL *ssl;
    char in[4096];
    size_t n, at;
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool put(struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = c->ssl ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static int get_byte(struct client *c)
{
    if (c->at == c->n) {
        ssize_t k =
            c->ssl ? SSL_read(c->ssl, c->in, sizeof c->in) : recv(c->fd, c->in, sizeof c->in, 0);
        if (k <= 0)
            return -1;
        c->n = (size_t)k;
        c->at = 0;
    }
    return (unsigned char)c->in[c->at++];
}

/* The code of a whole reply, all its lines read; -1 when the connection is gone. */
static int reply(struct client *c)
{
    for (;;) {
        char head[4] = {0};
        size_t n = 0;
        int b;
        while ((b = get_byte(c)) >= 0 && b != '\n') {
            if (n < sizeof head)
                head[n] = (char)b;
            n++;
        }
        if (b < 0 || n < 3)
            return -1;
        if (head[3] != '-')
            return (head[0] - '0') * 100 + (head[1] - '0') * 10 + (head[2] - '0');
    }
}

static int say(struct client *c, const char *line)
{
    return put(c, line, strlen(line)) ? reply(c) : -1;
}

static void hang_up(struct client *c)
{
    if (c->ssl)
        SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    *c = (struct client){.fd = -1};
}

static bool login(struct client *c)
{
    unsigned char plain[300], encoded[420];
    char line[512];
    int n = snprintf((char *)plain, sizeof plain, "%c%s%c%s", 0, opt.user, 0, opt.password);
    EVP_EncodeBlock(encoded, plain, n);
    snprintf(line, sizeof line, "AUTH PLAIN %s\r\n", (char *)encoded);
    return say(c, line) == 235;
}

static bool start_tls(struct client *c)
{
    if (say(c, "STARTTLS\r\n") != 220)
        return false;
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    return SSL_connect(c->ssl) == 1 && say(c, "EHLO load.test\r\n") == 250;
}

static bool dial(struct client *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    struct timeval patience = {.tv_sec = 60};
    int one = 1;
    inet_pton(AF_INET, opt.host, &a.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0 && reply(c) == 220 &&
           say(c, "EHLO load.test\r\n") == 250 && (!opt.starttls || start_tls(c)) &&
           (!opt.user || login(c));
}

/* false: the connection is of no more use. */
static bool one_message(struct client *c, long i)
{
    char line[512];
    int code = say(c, "MAIL FROM:<load@sender.test>\r\n");
    if (code == 250) {
        snprintf(line, sizeof line, "RCPT TO:<u%ld@d%ld.test>\r\n", i, i % opt.domains);
        code = say(c, line);
    }
    if (code == 250)
        code = say(c, "DATA\r\n");
    if (code == 354) {
        int n = snprintf(line, sizeof line,
                         "From: <load@sender.test>\r\nTo: <u%ld@d%ld.test>\r\nDate: Mon, 1 Jan "
                         "2024 00:00:00 +0000\r\n"
                         "Message-ID: <%ld.%d@sender.test>\r\nSubject: load %ld\r\n\r\n",
                         i, i % opt.domains, i, (int)getpid(), i);
        if (!put(c, line, (size_t)n) || !put(c, body, body_n)) {
            lost++;
            return false;
        }
        double sent = seconds_now();
        code = reply(c);
        if (code == 250) {
            double heard = seconds_now();
            latency[i] = (float)((heard - sent) * 1e3);
            taken_at[i] = (int64_t)(heard * 1e9);
            accepted++;
            return true;
        }
    }
    refused++;
    last_refusal = code;
    return code > 0 && code != 421 && say(c, "RSET\r\n") == 250;
}

static void on_stop(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

/* When message i is to begin. */
static void wait_for_turn(long i)
{
    double left = opt.rate ? begun + (double)i / (double)opt.rate - seconds_now() : 0;
    if (left > 0)
        usleep((useconds_t)(left * 1e6));
}

static void *session(void *unused)
{
    (void)unused;
    struct client c = {.fd = -1};
    long on_this = 0, failures = 0;
    while (!stopping && seconds_now() < begun + (double)opt.seconds && failures < 50) {
        if (c.fd < 0) {
            if (!dial(&c)) {
                hang_up(&c);
                failures++;
                usleep(20000);
                continue;
            }
            on_this = 0;
        }
        long i = next_message++;
        if (i >= opt.messages)
            break;
        wait_for_turn(i);
        bool usable = one_message(&c, i);
        if (!usable)
            hang_up(&c);
        else if (opt.per_connection && ++on_this >= opt.per_connection) {
            say(&c, "QUIT\r\n");
            hang_up(&c);
        }
    }
    if (c.fd >= 0)
        say(&c, "QUIT\r\n");
    hang_up(&c);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void make_body(void)
{
    size_t want = opt.size > 300 ? (size_t)opt.size - 200 : 100;
    body = malloc(want + 100);
    while (body_n < want) {
        memset(body + body_n, 'a' + (int)(body_n / 80 % 26), 78);
        memcpy(body + body_n + 78, "\r\n", 2);
        body_n += 80;
    }
    memcpy(body + body_n, ".\r\n", 3);
    body_n += 3;
}

static void options(int argc, char **argv)
{
    static const struct option names[] = {{"host", 1, 0, 'h'},           {"port", 1, 0, 'p'},
                                          {"sessions", 1, 0, 's'},       {"messages", 1, 0, 'n'},
                                          {"size", 1, 0, 'l'},           {"domains", 1, 0, 'd'},
                                          {"per-connection", 1, 0, 'k'}, {"starttls", 0, 0, 't'},
                                          {"user", 1, 0, 'u'},           {"password", 1, 0, 'w'},
                                          {"seconds", 1, 0, 'T'},        {"rate", 1, 0, 'r'},
                                          {"times", 1, 0, 'm'},          {0, 0, 0, 0}};
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        long number = optarg ? strtol(optarg, NULL, 10) : 0;
        switch (o) {
        case 'h':
            opt.host = optarg;
            break;
        case 'p':
            opt.port = number;
            break;
        case 's':
            opt.sessions = number;
            break;
        case 'n':
            opt.messages = number;
            break;
        case 'l':
            opt.size = number;
            break;
        case 'd':
            opt.domains = number;
            break;
        case 'k':
            opt.per_connection = number;
            break;
        case 't':
            opt.starttls = true;
            break;
        case 'u':
            opt.user = optarg;
            break;
        case 'w':
            opt.password = optarg;
            break;
        case 'T':
            opt.seconds = number;
            break;
        case 'r':
            opt.rate = number;
            break;
        case 'm':
            opt.times = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (opt.port <= 0 || opt.messages <= 0 || opt.domains <= 0 || opt.sessions <= 0 ||
        (opt.user && !opt.password)) {
        fputs("bench_load: --port is needed; see the head of tests/bench/load.c\n", stderr);
        exit(2);
    }
}

static void write_times(void)
{
    FILE *f = opt.times ? fopen(opt.times, "wb") : NULL;
    if (opt.times && (!f || fwrite(taken_at, sizeof *taken_at, (size_t)opt.messages, f) !=
                                (size_t)opt.messages)) {
        perror(opt.times);
        exit(1);
    }
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_stop);
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    make_body();
    latency = malloc((size_t)opt.messages * sizeof *latency);
    taken_at = calloc((size_t)opt.messages, sizeof *taken_at);
    for (long i = 0; i < opt.messages; i++)
        latency[i] = -1;
    pthread_t *threads = calloc((size_t)opt.sessions, sizeof *threads);
    begun = seconds_now();
    for (long i = 0; i < opt.sessions; i++)
        pthread_create(&threads[i], NULL, session, NULL);
    for (long i = 0; i < opt.sessions; i++)
        pthread_join(threads[i], NULL);
    double took = seconds_now() - begun;
    write_times();
    qsort(latency, (size_t)opt.messages, sizeof *latency, by_value);
    long n = accepted, first = opt.messages - n;
    printf("{\"accepted\":%ld,\"refused\":%ld,\"last_refusal\":%d,\"lost\":%ld,\"seconds\":%.3f,"
           "\"accept_rate\":%.1f,"
           "\"data_p50_ms\":%.3f,\"data_p99_ms\":%.3f}\n",
           n, (long)refused, (int)last_refusal, (long)lost, took, (double)n / took,
           n ? (double)latency[first + n / 2] : 0, n ? (double)latency[first + n * 99 / 100] : 0);
    SSL_CTX_free(tls);
    free(threads);
    free(latency);
    free(taken_at);
    free(body);
    return n == opt.messages ? 0 : 1;
}

/*
 * load: an SMTP load generator. S sessions hand in N messages of B octets, one recipient each,
 * without pipelining (as most libraries do). Prints one JSON line when the last 250 has come.
 *
 *   bench_load --port P [--host 127.0.0.1] [--sessions 20] [--messages 1000] [--size 4096]
 *              [--domains 100] [--per-connection 0] [--starttls] [--user NAME --password WORD]
 *              [--seconds 120] [--rate R] [--times FILE] [--threads T]
 *
 * With a rate message i begins at i/R seconds, or as soon as a session is free after that.
 * --times writes when each message got its 250, in ns of CLOCK_MONOTONIC, as 64-bit numbers in the
 * order of messages (0: it did not); recipient number i is u<i>@….
 * Ends early, with what was done so far, on SIGTERM.
 * begun: when the first connection was asked for, in seconds of CLOCK_MONOTONIC.
 * accept_rate: messages a second from then until the last 250.  data_*_ms: from the last octet of
 * a message to its 250.
 *
 * It shares the machine with what it measures, so it must be cheap: sessions are spread over T
 * threads (by default one for two processors) with an epoll each; a command or a whole message is
 * one system call (and, up to 16 KiB, one TLS record), a reply is one. Each connection with
 * --starttls is a whole handshake: nothing is resumed, as programs that send mail rarely do.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* ENGINE: see read_keys_at_once */
#include "tests/bench/load_generator/load.h"
#include <getopt.h>
#include <openssl/engine.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct load load = {.opt = {.host = "127.0.0.1",
                            .sessions = 20,
                            .messages = 1000,
                            .size = 4096,
                            .domains = 100,
                            .seconds = 120}};

struct crew {
    pthread_t thread;
    int ep;
    struct session *sessions;
    long n, over;
};

/* Who waits for its time goes on, who waits for a reply too long gives up; the time of the next. */
static double tick(struct crew *w)
{
    double now = seconds_now(), next = now + 1;
    w->over = 0;
    for (long i = 0; i < w->n; i++) {
        struct session *c = &w->sessions[i];
        if (c->step != OVER && c->due <= now)
            session_due(c);
        w->over += c->step == OVER;
        if (c->step != OVER && c->due < next)
            next = c->due;
    }
    return next;
}

static void *work(void *arg)
{
    struct crew *w = arg;
    double next = 0;
    while (w->over < w->n) {
        struct epoll_event got[64];
        double now = seconds_now();
        if (next <= now)
            next = tick(w);
        int left_ms = next > now ? (int)((next - now) * 1e3 + 0.999) : 0;
        int n = epoll_wait(w->ep, got, 64, left_ms);
        for (int i = 0; i < n; i++) {
            struct session *c = got[i].data.ptr;
            session_event(c, got[i].events);
            if (c->step != OVER && c->due < next)
                next = c->due;
            w->over += c->step == OVER;
        }
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void make_body(void)
{
    size_t want = load.opt.size > 300 ? (size_t)load.opt.size - 200 : 100;
    load.body = malloc(want + 100);
    while (load.body_n < want) {
        memset(load.body + load.body_n, 'a' + (int)(load.body_n / 80 % 26), 78);
        memcpy(load.body + load.body_n + 78, "\r\n", 2);
        load.body_n += 80;
    }
    memcpy(load.body + load.body_n, ".\r\n", 3);
    load.body_n += 3;
}

/* Each has a value, a number or a text; --starttls alone has none. */
static const struct {
    const char *name;
    long *number;
    const char **text;
} known[] = {
    {"host", NULL, &load.opt.host},
    {"port", &load.opt.port, NULL},
    {"sessions", &load.opt.sessions, NULL},
    {"messages", &load.opt.messages, NULL},
    {"size", &load.opt.size, NULL},
    {"domains", &load.opt.domains, NULL},
    {"per-connection", &load.opt.per_connection, NULL},
    {"user", NULL, &load.opt.user},
    {"password", NULL, &load.opt.password},
    {"seconds", &load.opt.seconds, NULL},
    {"rate", &load.opt.rate, NULL},
    {"times", NULL, &load.opt.times},
    {"threads", &load.opt.threads, NULL},
};
enum { KNOWN = sizeof known / sizeof *known };

static void options(int argc, char **argv)
{
    struct option names[KNOWN + 2] = {{0}};
    for (int i = 0; i < KNOWN; i++)
        names[i] = (struct option){known[i].name, required_argument, NULL, i + 1};
    names[KNOWN] = (struct option){"starttls", no_argument, NULL, KNOWN + 1};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (o == KNOWN + 1)
            load.opt.starttls = true;
        else if (o < 1 || o > KNOWN)
            exit(2);
        else if (known[o - 1].number)
            *known[o - 1].number = strtol(optarg, NULL, 10);
        else
            *known[o - 1].text = optarg;
    }
    if (load.opt.port <= 0 || load.opt.messages <= 0 || load.opt.domains <= 0 ||
        load.opt.sessions <= 0 || load.opt.threads <= 0 || (load.opt.user && !load.opt.password)) {
        fputs("bench_load: --port is needed; see the head of tests/bench/load_generator/load.c\n",
              stderr);
        exit(2);
    }
}

static void write_times(void)
{
    FILE *f = load.opt.times ? fopen(load.opt.times, "wb") : NULL;
    if (load.opt.times &&
        (!f || fwrite(load.taken_at, sizeof *load.taken_at, (size_t)load.opt.messages, f) !=
                   (size_t)load.opt.messages)) {
        perror(load.opt.times);
        exit(1);
    }
    if (f)
        fclose(f);
}

/* Whoever shows whatever certificate will do: there is nothing to be verified. */
static int anybody(X509_STORE_CTX *store, void *unused)
{
    (void)store, (void)unused;
    return 1;
}

#ifndef OPENSSL_NO_ENGINE

static int ec_method(ENGINE *e, EVP_PKEY_METHOD **ret, const int **ret_kinds, int kind)
{
    static const int kinds[] = {EVP_PKEY_EC};
    (void)e;
    if (!ret) {
        *ret_kinds = kinds;
        return 1;
    }
    *ret = kind == EVP_PKEY_EC ? (EVP_PKEY_METHOD *)(uintptr_t)EVP_PKEY_meth_find(kind) : NULL;
    return *ret ? 1 : 0;
}

/* OpenSSL 3.0 makes a list of all decoders it knows, and tries them, for the key in each
 * certificate that it sees: 105 of a handshake's 420 µs. Where an engine has methods for that kind
 * of key it reads it as OpenSSL 1.1 did; this one's are OpenSSL's own. */
static void read_keys_at_once(void)
{
    ENGINE *e = ENGINE_new();
    if (e && ENGINE_set_id(e, "at-once") && ENGINE_set_name(e, "bench_load") &&
        ENGINE_set_pkey_meths(e, ec_method) && ENGINE_add(e))
        ENGINE_register_pkey_meths(e);
    ENGINE_free(e); /* the list of engines has it, too */
}

#else

static void read_keys_at_once(void)
{
}

#endif

static void make_tls(void)
{
    read_keys_at_once();
    load.tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_cert_verify_callback(load.tls, anybody, NULL);
    SSL_CTX_set_read_ahead(load.tls, 1); /* a record is one read, not two */
    SSL_CTX_set_mode(load.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void on_stop(int signal_number)
{
    (void)signal_number;
    load.stopping = 1;
}

static struct crew *start_crews(void)
{
    struct crew *crews = calloc((size_t)load.opt.threads, sizeof *crews);
    for (long i = 0; i < load.opt.threads; i++) {
        struct crew *w = &crews[i];
        w->n = load.opt.sessions / load.opt.threads + (i < load.opt.sessions % load.opt.threads);
        w->sessions = calloc((size_t)w->n + 1, sizeof *w->sessions);
        w->ep = epoll_create1(EPOLL_CLOEXEC);
        for (long k = 0; k < w->n; k++)
            w->sessions[k] = (struct session){.ep = w->ep, .fd = -1};
        pthread_create(&w->thread, NULL, work, w);
    }
    return crews;
}

static void join_crews(struct crew *crews)
{
    for (long i = 0; i < load.opt.threads; i++) {
        pthread_join(crews[i].thread, NULL);
        for (long k = 0; k < crews[i].n; k++)
            session_hang_up(&crews[i].sessions[k]);
        close(crews[i].ep);
        free(crews[i].sessions);
    }
    free(crews);
}

/* From the first connection to the last 250. */
static double seconds_taken(void)
{
    double last = load.begun;
    for (long i = 0; i < load.opt.messages; i++)
        if ((double)load.taken_at[i] / 1e9 > last)
            last = (double)load.taken_at[i] / 1e9;
    return last > load.begun ? last - load.begun : seconds_now() - load.begun;
}

int main(int argc, char **argv)
{
    load.opt.threads = (sysconf(_SC_NPROCESSORS_ONLN) + 1) / 2;
    options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_stop);
    make_tls();
    make_body();
    load.latency = malloc((size_t)load.opt.messages * sizeof *load.latency);
    load.taken_at = calloc((size_t)load.opt.messages, sizeof *load.taken_at);
    for (long i = 0; i < load.opt.messages; i++)
        load.latency[i] = -1;
    load.begun = seconds_now();
    join_crews(start_crews());
    double took = seconds_taken();
    write_times();
    qsort(load.latency, (size_t)load.opt.messages, sizeof *load.latency, by_value);
    long n = load.accepted, first = load.opt.messages - n;
    printf("{\"accepted\":%ld,\"refused\":%ld,\"last_refusal\":%d,\"lost\":%ld,\"begun\":%.6f,"
           "\"seconds\":%.3f,\"accept_rate\":%.1f,\"data_p50_ms\":%.3f,\"data_p99_ms\":%.3f}\n",
           n, (long)load.refused, (int)load.last_refusal, (long)load.lost, load.begun, took,
           (double)n / took, n ? (double)load.latency[first + n / 2] : 0,
           n ? (double)load.latency[first + n * 99 / 100] : 0);
    SSL_CTX_free(load.tls);
    free(load.latency);
    free(load.taken_at);
    free(load.body);
    return n == load.opt.messages ? 0 : 1;
}

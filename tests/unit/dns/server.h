/* A name server of a test's own, over UDP on loopback: the first label of a name says what it does
 * ("mute", "forged", "junk", "fail", "refused", "nx", "none", "six", "mail", "brief"; else one
 * address). It counts the questions. */
#pragma once
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    int fd, stop[2];
    pthread_t thread;
    char servers[64];
    atomic_int asked;     /* questions that came */
    pthread_mutex_t lock; /* of last_name */
    char last_name[256];  /* of the last one */
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void u16(struct buf *b, unsigned v)
{
    buf_add_u8(b, (uint8_t)(v >> 8));
    buf_add_u8(b, (uint8_t)v);
}

static void add_record(struct buf *b, unsigned type, uint32_t ttl, struct slice rdata)
{
    u16(b, 0xc00c);
    u16(b, type);
    u16(b, 1);
    u16(b, ttl >> 16);
    u16(b, ttl & 0xffff);
    u16(b, (unsigned)rdata.n);
    buf_add(b, rdata);
}

static bool is(const char *label)
{
    return strncmp(server.last_name, label, strlen(label)) == 0;
}

static void send_to(const struct buf *b, const struct sockaddr_in *to)
{
    sendto(server.fd, b->p, b->n, 0, (const struct sockaddr *)to, sizeof *to);
}

/* The question as it came, with other flags and counts. */
static void begin(struct buf *b, struct slice question, unsigned rcode, unsigned answers,
                  unsigned authority)
{
    buf_reset(b);
    buf_add(b, slice_head(question, 2));
    u16(b, 0x8180 | rcode);
    u16(b, 1);
    u16(b, answers);
    u16(b, authority);
    u16(b, 0);
    buf_add(b, slice_skip(question, 12));
}

#define SOA SLICE_LIT("\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\74")
#define GOOD SLICE_LIT("\31\0\0\1")
#define EVIL SLICE_LIT("\6\6\6\6")

static void answer(struct slice question, unsigned type, const struct sockaddr_in *to)
{
    DEFER(buf_done) struct buf b = BUF_MAX(4096);
    if (is("mute"))
        return;
    if (is("forged")) { /* another id first, then another name, then the truth */
        begin(&b, question, 0, 1, 0);
        add_record(&b, 1, 60, EVIL);
        b.p[0] ^= 0x55;
        send_to(&b, to);
        b.p[0] ^= 0x55;
        b.p[14] ^= 1;
        send_to(&b, to);
    }
    if (is("junk")) {
        begin(&b, question, 0, 9, 0);
        send_to(&b, to);
        return;
    }
    if (is("fail") || is("refused"))
        begin(&b, question, is("fail") ? 2 : 5, 0, 0);
    else if (is("nx"))
        begin(&b, question, 3, 0, 1);
    else if (is("none") || (type == 28 && !is("six")) || (type == 15 && !is("mail")))
        begin(&b, question, 0, 0, 1);
    else
        begin(&b, question, 0, 1, 0);
    if (b.p[9] == 1)
        add_record(&b, 6, 300, SOA);
    else if (b.p[7] == 1 && type == 15)
        add_record(&b, 15, 60, SLICE_LIT("\0\12\2mx\4test\0"));
    else if (b.p[7] == 1 && type == 28)
        add_record(&b, 28, 60, SLICE_LIT("\46\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"));
    else if (b.p[7] == 1)
        add_record(&b, 1, is("brief") ? 1 : 60, GOOD);
    send_to(&b, to);
}

/* Header, name, type, class; what follows (EDNS) is cut off. */
static void on_question(struct slice packet, const struct sockaddr_in *from)
{
    size_t at = 12, n = 0;
    char name[256] = "";
    while (at < packet.n && packet.p[at]) {
        size_t label = packet.p[at];
        if (at + 1 + label >= packet.n || n + label + 1 >= sizeof name)
            return;
        if (n)
            name[n++] = '.';
        memcpy(name + n, packet.p + at + 1, label);
        n += label;
        at += 1 + label;
    }
    if (at + 5 > packet.n)
        return;
    pthread_mutex_lock(&server.lock);
    memcpy(server.last_name, name, sizeof name);
    pthread_mutex_unlock(&server.lock);
    atomic_fetch_add(&server.asked, 1);
    answer(slice_head(packet, at + 5), packet.p[at + 2], from);
}

static void *serve(void *arg)
{
    (void)arg;
    for (;;) {
        struct pollfd fds[2] = {{.fd = server.fd, .events = POLLIN},
                                {.fd = server.stop[0], .events = POLLIN}};
        uint8_t bytes[2048];
        struct sockaddr_in from;
        socklen_t from_n = sizeof from;
        poll(fds, 2, -1);
        if (fds[1].revents)
            return NULL;
        ssize_t n = recvfrom(server.fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from,
                             &from_n);
        if (n > 0)
            on_question(slice_of(bytes, (size_t)n), &from);
    }
}

static int start_server(void **state)
{
    (void)state;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof in;
    server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (server.fd < 0 || bind(server.fd, (struct sockaddr *)&in, n) ||
        getsockname(server.fd, (struct sockaddr *)&in, &n) || pipe(server.stop))
        return -1;
    snprintf(server.servers, sizeof server.servers, "127.0.0.1:%u", ntohs(in.sin_port));
    return pthread_create(&server.thread, NULL, serve, NULL);
}

static int stop_server(void **state)
{
    (void)state;
    close(server.stop[1]);
    pthread_join(server.thread, NULL);
    close(server.stop[0]);
    close(server.fd);
    return 0;
}

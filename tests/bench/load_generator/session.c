/* One session: its connection, what it says and hears, one message after the other. Nothing here
 * blocks. */
#include "tests/bench/load_generator/load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FAILURES_MAX = 50, PATIENCE_S = 60, RECORD_MAX = 16384 };
#define PAUSE_S 0.02 /* after a connection that did not come about */

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- bytes out ---- */

static size_t unsaid(const struct session *c)
{
    return c->out[0].iov_len + c->out[1].iov_len;
}

static void said(struct session *c, size_t n)
{
    for (int i = 0; i < 2; i++) {
        size_t k = n < c->out[i].iov_len ? n : c->out[i].iov_len;
        c->out[i].iov_base = (char *)c->out[i].iov_base + k;
        c->out[i].iov_len -= k;
        n -= k;
    }
}

/* One record; octets, or -1 with errno. */
static ssize_t put_tls(struct session *c)
{
    static _Thread_local char record[RECORD_MAX];
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        size_t room = sizeof record - n;
        size_t k = c->out[i].iov_len < room ? c->out[i].iov_len : room;
        if (k > 0)
            memcpy(record + n, c->out[i].iov_base, k);
        n += k;
    }
    ERR_clear_error();
    int k = SSL_write(c->ssl, record, (int)n);
    if (k > 0)
        return k;
    errno = SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

static ssize_t put_clear(struct session *c)
{
    struct msghdr m = {.msg_iov = c->out, .msg_iovlen = 2};
    return sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

static void want_room(struct session *c, bool blocked)
{
    struct epoll_event e = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.ptr = c};
    if (blocked != c->blocked)
        epoll_ctl(c->ep, EPOLL_CTL_MOD, c->fd, &e);
    c->blocked = blocked;
}

/* False: the connection is gone. */
static bool put(struct session *c)
{
    while (unsaid(c) > 0) {
        ssize_t k = c->ssl ? put_tls(c) : put_clear(c);
        if (k < 0 && errno != EAGAIN)
            return false;
        if (k < 0) {
            want_room(c, true);
            return true;
        }
        said(c, (size_t)k);
    }
    want_room(c, false);
    if (c->step == CONTENT)
        c->sent = seconds_now();
    return true;
}

/* Says the line, and the content behind it, and waits for the reply. */
static bool say_all(struct session *c, enum step step, size_t n, bool content)
{
    c->step = step;
    c->due = seconds_now() + PATIENCE_S;
    c->out[0] = (struct iovec){c->line, n};
    c->out[1] = (struct iovec){load.body, content ? load.body_n : 0};
    return put(c);
}

__attribute__((format(printf, 3, 4))) static bool say(struct session *c, enum step step,
                                                      const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(c->line, sizeof c->line, format, ap);
    va_end(ap);
    return say_all(c, step, (size_t)n, false);
}

/* ---- a session's life ---- */

static bool dial(struct session *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load.opt.port)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    inet_pton(AF_INET, load.opt.host, &a.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->step = GREETING;
    c->due = seconds_now() + PATIENCE_S;
    c->on_this = 0;
    int code = connect(c->fd, (struct sockaddr *)&a, sizeof a);
    return (code == 0 || errno == EINPROGRESS) && epoll_ctl(c->ep, EPOLL_CTL_ADD, c->fd, &e) == 0;
}

void session_hang_up(struct session *c)
{
    if (c->ssl)
        SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    c->ssl = NULL;
    c->fd = -1;
    c->blocked = false;
    c->head_n = 0;
    c->out[0].iov_len = c->out[1].iov_len = 0;
}

static bool is_time_over(void)
{
    return load.stopping || seconds_now() >= load.begun + (double)load.opt.seconds;
}

static void pause_then_dial(struct session *c, double pause)
{
    session_hang_up(c);
    c->step = PAUSE;
    c->due = seconds_now() + pause;
}

/* The connection is of no more use, or never was. */
static void broken(struct session *c)
{
    if (c->step == TURN || (c->step >= MAIL && c->step <= CONTENT)) {
        if (c->step == CONTENT && unsaid(c) > 0)
            load.lost++;
        else
            load.refused++;
        load.last_refusal = -1;
        pause_then_dial(c, 0);
    } else if (c->step >= RESET) {
        pause_then_dial(c, 0);
    } else {
        c->failures++;
        pause_then_dial(c, PAUSE_S);
    }
}

static bool start_handshake(struct session *c)
{
    c->ssl = SSL_new(load.tls);
    SSL_set_fd(c->ssl, c->fd);
    c->step = HANDSHAKE;
    return true;
}

static bool login(struct session *c)
{
    unsigned char plain[300], encoded[420];
    int n =
        snprintf((char *)plain, sizeof plain, "%c%s%c%s", 0, load.opt.user, 0, load.opt.password);
    EVP_EncodeBlock(encoded, plain, n);
    return say(c, LOGIN, "AUTH PLAIN %s\r\n", (char *)encoded);
}

static bool go_on(struct session *c);

/* A message is taken when there is a connection for it. */
static bool take_turn(struct session *c)
{
    c->message = load.next_message++;
    c->step = TURN;
    c->due = load.opt.rate ? load.begun + (double)c->message / (double)load.opt.rate : 0;
    if (c->message >= load.opt.messages || is_time_over())
        return say(c, QUIT, "QUIT\r\n");
    return c->due > seconds_now() || go_on(c);
}

static bool go_on(struct session *c)
{
    if (c->step == TURN)
        return say(c, MAIL, "MAIL FROM:<load@sender.test>\r\n");
    if (load.next_message >= load.opt.messages || is_time_over() || c->failures >= FAILURES_MAX) {
        c->step = OVER;
        return true;
    }
    return dial(c);
}

static bool send_content(struct session *c)
{
    long i = c->message;
    int n = snprintf(c->line, sizeof c->line,
                     "From: <load@sender.test>\r\nTo: <u%ld@d%ld.test>\r\nDate: Mon, 1 Jan "
                     "2024 00:00:00 +0000\r\n"
                     "Message-ID: <%ld.%d@sender.test>\r\nSubject: load %ld\r\n\r\n",
                     i, i % load.opt.domains, i, (int)getpid(), i);
    return say_all(c, CONTENT, (size_t)n, true);
}

static bool is_taken(struct session *c)
{
    double heard = seconds_now();
    load.latency[c->message] = (float)((heard - c->sent) * 1e3);
    load.taken_at[c->message] = (int64_t)(heard * 1e9);
    load.accepted++;
    if (load.opt.per_connection && ++c->on_this >= load.opt.per_connection)
        return say(c, QUIT, "QUIT\r\n");
    return take_turn(c);
}

static bool is_refused(struct session *c, int code)
{
    load.refused++;
    load.last_refusal = code;
    if (code != 421)
        return say(c, RESET, "RSET\r\n");
    pause_then_dial(c, 0);
    return true;
}

/* ---- the dialogue ---- */

/* What is expected in each step, and what follows. */
static bool on_reply(struct session *c, int code)
{
    static const int expected[] = {
        [GREETING] = 220, [HELLO] = 250, [STARTTLS] = 220, [HELLO_TLS] = 250,
        [LOGIN] = 235,    [MAIL] = 250,  [RCPT] = 250,     [DATA] = 354,
        [CONTENT] = 250,  [RESET] = 250, [QUIT] = 221};
    const bool as_expected = code == expected[c->step];
    if (!as_expected && c->step >= MAIL && c->step <= CONTENT)
        return is_refused(c, code);
    if (!as_expected)
        return false;
    switch (c->step) {
    case GREETING:
        return say(c, HELLO, "EHLO load.test\r\n");
    case HELLO:
        return load.opt.starttls ? say(c, STARTTLS, "STARTTLS\r\n")
               : load.opt.user   ? login(c)
                                 : take_turn(c);
    case STARTTLS:
        return start_handshake(c);
    case HELLO_TLS:
        return load.opt.user ? login(c) : take_turn(c);
    case LOGIN:
    case RESET:
        return take_turn(c);
    case MAIL:
        return say(c, RCPT, "RCPT TO:<u%ld@d%ld.test>\r\n", c->message,
                   c->message % load.opt.domains);
    case RCPT:
        return say(c, DATA, "DATA\r\n");
    case DATA:
        return send_content(c);
    case CONTENT:
        return is_taken(c);
    case QUIT:
        session_hang_up(c);
        c->step = PAUSE;
        return go_on(c);
    case PAUSE:
    case TURN:
    case HANDSHAKE:
    case OVER:
        break;
    }
    return false;
}

/* One line of a reply may come in pieces; only its first four octets count. */
static bool take_bytes(struct session *c, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\n') {
            if (c->head_n < sizeof c->head)
                c->head[c->head_n++] = p[i];
            continue;
        }
        const char *h = c->head;
        const bool last = c->head_n >= 3 && !(c->head_n == 4 && h[3] == '-');
        const bool bad = c->head_n < 3;
        c->head_n = 0;
        if (bad || (last && !on_reply(c, (h[0] - '0') * 100 + (h[1] - '0') * 10 + (h[2] - '0'))))
            return false;
    }
    return true;
}

/* Octets; 0: there are none now; -1: the connection is gone. */
static ssize_t get(struct session *c, char *to, size_t max)
{
    if (!c->ssl) {
        ssize_t n = recv(c->fd, to, max, 0);
        return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
    }
    ERR_clear_error();
    int n = SSL_read(c->ssl, to, (int)max);
    return n > 0 ? n : SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ ? 0 : -1;
}

static bool shake_hands(struct session *c)
{
    ERR_clear_error();
    int code = SSL_connect(c->ssl);
    if (code == 1)
        return say(c, HELLO_TLS, "EHLO load.test\r\n");
    return SSL_get_error(c->ssl, code) == SSL_ERROR_WANT_READ;
}

static bool on_readable(struct session *c)
{
    char in[4096];
    if (c->step == HANDSHAKE)
        return shake_hands(c);
    do {
        ssize_t n = get(c, in, sizeof in);
        if (n < 0)
            return false;
        if (n == 0)
            return true;
        if (!take_bytes(c, in, (size_t)n))
            return false;
        if (c->step == HANDSHAKE)
            return shake_hands(c); /* the client's hello */
    } while (c->ssl && SSL_has_pending(c->ssl));
    return true;
}

/* ---- told by its thread ---- */

void session_event(struct session *c, uint32_t events)
{
    bool ok = true;
    if (c->fd < 0)
        return; /* it was hung up within this turn */
    if (events & EPOLLOUT)
        ok = put(c);
    if (ok && (events & ~(uint32_t)EPOLLOUT))
        ok = on_readable(c);
    if (!ok)
        broken(c);
}

void session_due(struct session *c)
{
    const bool waits = c->step == PAUSE || c->step == TURN;
    if (!waits || !go_on(c))
        broken(c);
}

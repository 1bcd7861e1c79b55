/*
 * A message to the daemon by SMTP, for accounts that may not use the control socket: over a
 * listener that takes mail from this host in clear and without a login (its `trust`). All
 * recipients or none: one that is refused ends it, as over the control socket.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/sendmail.h"
#include "relay/smtp/dot.h"
#include "relay/smtp/ehlo.h"
#include "relay/smtp/reply.h"
#include "relay/smtp/xtext.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { SILENCE_S = 300, PIECE_BYTES = 65536 };

/* ---- where ---- */

struct ip {
    int family;
    uint8_t bytes[16];
};

static bool read_ip(struct slice text, struct ip *ret)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    ret->family = slice_find(text, ':') < text.n ? AF_INET6 : AF_INET;
    return inet_pton(ret->family, copy, ret->bytes) == 1;
}

static bool in_network(const struct ip *ip, struct slice cidr)
{
    struct ip net;
    const size_t at = slice_find(cidr, '/');
    uint64_t bits;
    if (!read_ip(slice_head(cidr, at), &net) || net.family != ip->family)
        return false;
    const uint64_t all = net.family == AF_INET ? 32 : 128;
    if (at == cidr.n)
        bits = all;
    else if (!slice_u64(slice_skip(cidr, at + 1), all, &bits))
        return false;
    for (uint64_t i = 0; i < bits; i++)
        if ((net.bytes[i / 8] ^ ip->bytes[i / 8]) & (0x80 >> i % 8))
            return false;
    return true;
}

/* Where a client of this host reaches "ADDRESS:PORT", which is also where it comes from. */
static bool read_place(struct slice text, struct ip *ret, struct sendmail_place *place)
{
    static const uint8_t anywhere[16];
    const size_t close = text.n && text.p[0] == '[' ? slice_find(text, ']') : SIZE_MAX;
    const size_t colon = close < text.n ? close + 1 : slice_find(text, ':');
    const struct slice host =
        close < text.n ? slice_of(text.p + 1, close - 1) : slice_head(text, colon);
    uint64_t port;
    if (colon >= text.n || text.p[colon] != ':' ||
        !slice_u64(slice_skip(text, colon + 1), UINT16_MAX, &port) || !read_ip(host, ret))
        return false;
    const bool v4 = ret->family == AF_INET;
    if (memcmp(ret->bytes, anywhere, v4 ? 4 : 16) == 0)
        MUST(read_ip(v4 ? SLICE_LIT("127.0.0.1") : SLICE_LIT("::1"), ret));
    place->port = (uint16_t)port;
    return inet_ntop(ret->family, ret->bytes, place->host, sizeof place->host) != NULL;
}

static bool have(const struct conf_list *networks, const struct ip *ip)
{
    for (size_t i = 0; i < networks->n; i++)
        if (in_network(ip, slice_str(networks->items[i])))
            return true;
    return false;
}

enum sendmail_trust sendmail_trusting(const struct conf *conf, struct sendmail_place *ret)
{
    enum sendmail_trust found = SENDMAIL_NO_TRUST;
    for (size_t i = 0; i < conf->n_listeners; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        for (size_t n = 0; n < l->address.n && l->tls != CONF_TLS_IMPLICIT; n++) {
            struct ip ip;
            struct sendmail_place place = {0};
            if (!read_place(slice_str(l->address.items[n]), &ip, &place) || !have(&l->trust, &ip))
                continue;
            *ret = place;
            if (!have(&l->proxy_protocol, &ip))
                return SENDMAIL_TRUSTED;
            found = SENDMAIL_BEHIND_PROXY;
        }
    }
    return found;
}

static int connect_to(const struct sendmail_place *place)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(place->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(place->port)};
    const bool is_v4 = inet_pton(AF_INET, place->host, &v4.sin_addr) == 1;
    const struct timeval silence = {.tv_sec = SILENCE_S};
    if (!is_v4 && inet_pton(AF_INET6, place->host, &v6.sin6_addr) != 1)
        return -1;
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence);
    const struct sockaddr *to = is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    if (connect(fd, to, is_v4 ? sizeof v4 : sizeof v6) == 0)
        return fd;
    const int code = errno;
    close(fd);
    errno = code;
    return -1;
}

/* ---- the dialogue ---- */

struct talk {
    int fd;
    struct smtp_reply_parser parser;
    uint8_t in[4096];
    struct slice unread;
    struct smtp_peer peer;
    bool lost; /* the connection */
};

static bool send_all(struct talk *t, struct slice bytes)
{
    while (bytes.n && !t->lost) {
        const ssize_t n = send(t->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        t->lost = n < 0 && errno != EINTR; /* after Ctrl-Z and fg */
        bytes = slice_skip(bytes, n < 0 ? 0 : (size_t)n);
    }
    return !t->lost;
}

/* The reply is in t->parser; its lines but the first are EHLO's keywords where that is asked. */
static unsigned hear(struct talk *t, bool ehlo)
{
    for (unsigned lines = 0;;) {
        while (t->unread.n) {
            const enum smtp_reply_result r = smtp_reply_parse(&t->parser, &t->unread);
            if (r == SMTP_REPLY_BAD) {
                t->lost = true;
                return 0;
            }
            if (r == SMTP_REPLY_MORE)
                continue;
            if (ehlo && lines++)
                smtp_ehlo_line(&t->peer, t->parser.line);
            if (r == SMTP_REPLY_DONE)
                return t->parser.reply.code;
        }
        const ssize_t n = recv(t->fd, t->in, sizeof t->in, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            t->lost = true;
            return 0;
        }
        t->unread = slice_of(t->in, (size_t)n);
    }
}

/* What a reply other than the wanted one means. 5xx is about `what`. */
static int trouble(struct talk *t, int refused, const char *what)
{
    const struct smtp_reply *r = &t->parser.reply;
    if (t->lost)
        return sendmail_fail(EX_TEMPFAIL,
                             "the relay closed the connection; the mail was not taken, "
                             "send it again later");
    const bool policy = r->code == 530 || (r->code >= 500 && r->enhanced.subject == 7);
    const int rc = r->code < 500 ? EX_TEMPFAIL : policy ? EX_NOPERM : refused;
    return sendmail_fail(rc, "%s: the relay says %u %.*s%s", what, r->code, SLICE_ARG(r->text),
                         rc == EX_TEMPFAIL ? "; the mail was not taken, send it again later" : "");
}

/* The line is used up. */
static int say(struct talk *t, struct buf *line, unsigned wanted, int refused, const char *what)
{
    buf_add_str(line, "\r\n");
    MUST(!line->overflow);
    send_all(t, buf_slice(line));
    buf_reset(line);
    if (!t->lost && hear(t, strcmp(what, "EHLO") == 0) == wanted)
        return EX_OK;
    return trouble(t, refused, what);
}

static int greet(struct talk *t, const char *hostname)
{
    DEFER(buf_done) struct buf line = BUF_MAX(1024);
    if (hear(t, false) != 220)
        return trouble(t, EX_UNAVAILABLE, "connect");
    buf_addf(&line, "EHLO %s", hostname);
    return say(t, &line, 250, EX_UNAVAILABLE, "EHLO");
}

static int sender(struct talk *t, const struct sendmail_args *a, const struct sendmail_mail *m)
{
    DEFER(buf_done) struct buf line = BUF_MAX(8192);
    buf_addf(&line, "MAIL FROM:<%.*s>", SLICE_ARG(buf_slice(&m->sender)));
    if (t->peer.size)
        buf_addf(&line, " SIZE=%zu", m->content.n);
    if (t->peer.eight_bit_mime && a->body == MAIL_BODY_8BITMIME)
        buf_add_str(&line, " BODY=8BITMIME");
    if (m->utf8)
        buf_add_str(&line, " SMTPUTF8");
    if (t->peer.dsn && a->ret)
        buf_addf(&line, " RET=%s", a->ret == MAIL_RET_FULL ? "FULL" : "HDRS");
    if (t->peer.dsn && a->envid) {
        buf_add_str(&line, " ENVID=");
        xtext_encode(&line, slice_str(a->envid));
    }
    return say(t, &line, 250, EX_DATAERR, "the sender");
}

static int recipient(struct talk *t, const struct sendmail_args *a, struct slice address)
{
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    DEFER(buf_done) struct buf line = BUF_MAX(4096), what = BUF_MAX(400);
    const char *before = " NOTIFY=";
    buf_addf(&line, "RCPT TO:<%.*s>", SLICE_ARG(address));
    for (unsigned i = 0; i < 4 && t->peer.dsn; i++)
        if (a->notify & (1U << i)) {
            buf_addf(&line, "%s%s", before, words[i]);
            before = ",";
        }
    buf_addf(&what, "%.*s", SLICE_ARG(slice_head(address, 300)));
    return say(t, &line, 250, EX_NOUSER, buf_str(&what));
}

static int content(struct talk *t, struct slice rest)
{
    DEFER(buf_done) struct buf out = BUF_MAX(2 * PIECE_BYTES + 16);
    struct dot_writer w = {0};
    for (; rest.n && !t->lost; rest = slice_skip(rest, PIECE_BYTES)) {
        MUST(dot_write(&w, slice_head(rest, PIECE_BYTES), &out));
        send_all(t, buf_slice(&out));
        buf_reset(&out);
    }
    MUST(dot_finish(&w, &out));
    send_all(t, buf_slice(&out));
    return !t->lost && hear(t, false) == 250 ? EX_OK : trouble(t, EX_DATAERR, "the message");
}

static int dialogue(struct talk *t, const struct conf *conf, const struct sendmail_args *a,
                    const struct sendmail_mail *m, char ret_id[32])
{
    DEFER(buf_done) struct buf line = BUF_MAX(64);
    int rc = greet(t, conf->hostname);
    if (rc == EX_OK)
        rc = sender(t, a, m);
    for (size_t i = 0; i < m->n_rcpts && rc == EX_OK; i++)
        rc = recipient(t, a, m->rcpts[i]);
    buf_add_str(&line, "DATA");
    if (rc == EX_OK)
        rc = say(t, &line, 354, EX_UNAVAILABLE, "DATA");
    if (rc == EX_OK)
        rc = content(t, buf_slice(&m->content));
    if (rc == EX_OK) {
        const struct slice said = t->parser.reply.text, words = SLICE_LIT("queued as ");
        const struct slice id = slice_skip(said, slice_find_slice(said, words) + words.n);
        snprintf(ret_id, 32, "%.*s", SLICE_ARG(slice_head(id, 31)));
    }
    send_all(t, SLICE_LIT("QUIT\r\n"));
    return rc;
}

/* Told when there is none. */
static bool find_place(const struct conf *conf, struct sendmail_place *ret)
{
    switch (sendmail_trusting(conf, ret)) {
    case SENDMAIL_TRUSTED:
        return true;
    case SENDMAIL_BEHIND_PROXY:
        sendmail_fail(
            EX_NOPERM,
            "the listener at %s port %u trusts this host, but proxy-protocol has it, too: "
            "it takes this host for a balancer. %s is not open to this account. Ask for "
            "membership of the socket's group, or for a listener of its own with trust = "
            "{ \"127.0.0.1\" }",
            ret->host, ret->port, conf->control_socket);
        return false;
    case SENDMAIL_NO_TRUST:
        sendmail_fail(EX_NOPERM,
                      "no listener takes mail from this host without a login, and %s is not open "
                      "to this account. Ask for membership of the socket's group, or for a "
                      "listener with trust = { \"127.0.0.1\" }",
                      conf->control_socket);
        return false;
    }
    UNREACHABLE();
}

int sendmail_by_smtp(const struct conf *conf, const struct sendmail_args *a,
                     const struct sendmail_mail *m, char ret_id[32])
{
    struct sendmail_place place;
    if (!find_place(conf, &place))
        return EX_NOPERM;
    struct talk t = {.fd = connect_to(&place)};
    if (t.fd < 0)
        return sendmail_fail(EX_TEMPFAIL,
                             "%s port %u: %s; the mail was not taken, send it again when the relay "
                             "runs (postwain serve)",
                             place.host, place.port, strerror(errno));
    smtp_reply_parser_init(&t.parser);
    const int rc = dialogue(&t, conf, a, m, ret_id);
    smtp_reply_parser_done(&t.parser);
    close(t.fd);
    return rc;
}

/* ---- -bs ---- */

static bool copy(int from, int to)
{
    uint8_t bytes[16384];
    ssize_t n = read(from, bytes, sizeof bytes);
    struct slice rest = slice_of(bytes, n > 0 ? (size_t)n : 0);
    while (rest.n) {
        n = write(to, rest.p, rest.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        rest = slice_skip(rest, (size_t)n);
    }
    return n > 0;
}

/* Until the relay closes; the client's end is passed on, for what is still answered. */
static int pump(int fd)
{
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0) {
            if (errno != EINTR)
                return EX_OSERR;
            continue; /* after Ctrl-Z and fg; nothing stands in revents */
        }
        if (p[1].revents && !copy(fd, STDOUT_FILENO))
            return EX_OK;
        if (p[0].revents && !copy(STDIN_FILENO, fd)) {
            shutdown(fd, SHUT_WR);
            p[0].fd = -1;
        }
    }
}

int sendmail_session(const struct conf *conf)
{
    struct sendmail_place place;
    if (!find_place(conf, &place)) {
        printf("421 4.3.0 %s no listener takes mail from here without a login\r\n", conf->hostname);
        return EX_UNAVAILABLE;
    }
    int fd = connect_to(&place);
    if (fd < 0) {
        printf("421 4.3.2 %s the relay is not running\r\n", conf->hostname);
        return sendmail_fail(EX_TEMPFAIL, "%s port %u: %s", place.host, place.port,
                             strerror(errno));
    }
    const int rc = pump(fd);
    close(fd);
    return rc;
}

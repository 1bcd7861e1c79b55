/* For the tests of the front door: the room on a loop of its own, a real spooler on a real folder,
 * and clients that the test plays by hand. Nothing is delivered. */
#pragma once
#include "relay/base/must.h"
#include "relay/conf/users.h"
#include "relay/inbound/private.h"
#include "relay/spooler/requests.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* libuv closes sockets by the bare system call, so the thread sanitizer takes the next file with
 * that number for the same one. */
const char *__tsan_default_suppressions(void)
{
    return "race:^posix_close$\nrace:^posix_fsync_dir$\n";
}

enum { PATIENCE_S = 60 };
/* The listeners of the configuration below; the name of one is long. */
enum { TRUSTED, SUBMISSION, SUBMISSIONS, LISTENERS };

struct world {
    char folder[64];
    struct conf *conf;
    struct tls_context *tls;
    struct loop *net;
    struct inbox *inbox;
    struct port nowhere; /* where deliveries go */
    struct spooler *spooler;
    struct inbound_shared *shared;
    struct inbound *in;
    uint16_t port[LISTENERS];
    atomic_uint accepted, rejected; /* events */
    atomic_uint rejected_of_sender; /* those that name one */
    char rejected_domain[64];       /* of the last one, once it is counted */
};

static struct slice text_of(const struct event *e, enum event_field field)
{
    struct cursor c = cursor_of(e->fields);
    struct event_value v;
    while (event_next(&c, &v))
        if (v.field == field)
            return v.str;
    return SLICE_NONE;
}

static void on_event(void *ctx, const struct event *e)
{
    struct world *w = ctx;
    w->accepted += e->name == EVENT_ACCEPTED;
    if (e->name != EVENT_REJECTED)
        return;
    snprintf(w->rejected_domain, sizeof w->rejected_domain, "%.*s",
             SLICE_ARG(text_of(e, EV_RECIPIENT_DOMAIN)));
    w->rejected_of_sender += text_of(e, EV_SENDER).n > 0;
    w->rejected++;
}

static void on_order(void *ctx, struct msg *m)
{
    (void)ctx;
    spooler_order_free(m);
}

static inline void write_file(const struct world *w, const char *name, const char *text)
{
    char path[200], fresh[200];
    snprintf(fresh, sizeof fresh, "%s/fresh", w->folder);
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    FILE *f = fopen(fresh, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(rename(fresh, path), 0);
}

/* One user with both secrets, as `user add` writes him; options such as "from=*@a.test". */
static inline void write_user(const struct world *w, const char *name, const char *password,
                              const char *options)
{
    char line[2000];
    struct user_secrets s;
    struct err e;
    assert_int_equal(users_hash(slice_str(password), &s, &e), 0);
    snprintf(line, sizeof line, "%s:%s:scram=%s,%s\n", name, s.hash, s.scram, options);
    write_file(w, "users", line);
}

static void say_problem(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static inline struct conf *load_conf(const struct world *w, const char *more)
{
    char text[3000], path[200];
    snprintf(text, sizeof text,
             "hostname = relay.test\nusers { file = \"users\" }\n"
             "tls { certificate = \"cert.pem\" key = \"key.pem\" }\n"
             "listener \"trusted\" { address = { \"127.0.0.1:1\" } tls = none auth = none "
             "trust = { \"127.0.0.0/8\" } max-message-size = 2M %s }\n"
             "listener \"submission-with-a-name-that-is-longer-than-anybody-thought-that-a-name-"
             "would-be\" { address = { \"127.0.0.1:2\" } }\n"
             "listener \"submissions\" { address = { \"127.0.0.1:3\" } tls = implicit }\n",
             more);
    write_file(w, "conf", text);
    snprintf(path, sizeof path, "%s/conf", w->folder);
    struct conf *c = conf_load(path, say_problem, NULL);
    assert_non_null(c);
    return c;
}

/* A certificate of its own each time. */
static inline struct tls_context *make_tls(void)
{
    struct buf cert = BUF_MAX(65536), key = BUF_MAX(65536);
    struct tls_context *tls = NULL;
    struct err e;
    assert_int_equal(tls_self_signed(SLICE_LIT("relay.test"), &cert, &key, &e), 0);
    assert_int_equal(tls_context_server_pem(&tls, buf_slice(&cert), buf_slice(&key), &e), 0);
    buf_done(&cert);
    buf_done(&key);
    return tls;
}

static inline void open_spool(struct world *w, int64_t sync_delay_ms, struct spool_report *ret)
{
    char path[100];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/spool", w->folder);
    struct spooler_conf c = {.path = path,
                             .retry = {.pause_s = {60}, .n = 1},
                             .lifetime_s = 86400,
                             .node = SLICE_LIT("t"),
                             .segment_bytes = 1 << 20,
                             .sync_delay_ms = sync_delay_ms};
    assert_int_equal(spooler_new(&w->spooler, &c, ret, &e), 0);
}

static inline void listen_at(struct world *w, size_t listener)
{
    struct sockaddr_storage a = {0};
    struct err e;
    socklen_t size = sizeof(struct sockaddr_in);
    assert_int_equal(net_parse_address(SLICE_LIT("127.0.0.1:0"), &a, &e), 0);
    int fd = net_bind(&a, &e);
    assert_true(fd >= 0);
    getsockname(fd, (struct sockaddr *)&a, &size);
    w->port[listener] = ntohs(((struct sockaddr_in *)&a)->sin_port);
    inbound_listen(w->in, listener, fd);
}

/* more: of the trusted listener. */
static inline struct world *world_new(int64_t sync_delay_ms, const char *more)
{
    struct world *w = must_alloc(sizeof *w);
    struct spool_report report;
    snprintf(w->folder, sizeof w->folder, "/tmp/unit_inbound_XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    write_file(w, "users", "");
    w->conf = load_conf(w, more);
    w->tls = make_tls();
    w->net = loop_new("net", 0);
    w->inbox = inbox_new(w->net, NULL, NULL);
    w->nowhere = (struct port){w->inbox, on_order, NULL};
    open_spool(w, sync_delay_ms, &report);
    const struct port *ports[] = {&w->nowhere};
    spooler_set_outbound(w->spooler, ports, 1);
    spooler_set_events(w->spooler, on_event, w);
    w->shared = inbound_shared_new(w->spooler, w->conf->users_file);
    w->in = inbound_new(w->net, w->inbox, w->shared, w->conf, w->tls);
    for (size_t i = 0; i < LISTENERS; i++)
        listen_at(w, i);
    assert_int_equal(spooler_start(w->spooler), 0);
    assert_int_equal(loop_start(w->net), 0);
    return w;
}

static inline void drop(struct msg *m)
{
    if (inbound_drop(m))
        return;
    if (m->type >= OUT_RESOLVE)
        spooler_order_free(m);
    else
        spooler_request_free(m);
}

/* As the daemon ends. Returns how many messages the spool has. */
static inline uint64_t world_free(struct world *w)
{
    char command[128];
    struct spool_report report = {0};
    loop_stop(w->net);
    loop_join(w->net);
    inbound_shared_end_hashing(w->shared);
    spooler_free(w->spooler);
    inbound_free(w->in);
    inbox_free(w->inbox, drop);
    loop_free(w->net);
    inbound_shared_free(w->shared);
    tls_context_unref(w->tls);
    conf_unref(w->conf);
    open_spool(w, 0, &report);
    spooler_free(w->spooler);
    assert_int_equal(report.damaged, 0);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
    free(w);
    return report.messages;
}

static inline unsigned body_files(const struct world *w)
{
    char path[128];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/spool/body", w->folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline void all_sessions_end(const struct world *w)
{
    for (int i = 0; inbound_shared_sessions(w->shared) > 0; i++) {
        assert_true(i < PATIENCE_S * 100);
        usleep(10000);
    }
}

/* Holds the thread that runs it until it is opened. */
struct gate {
    struct worker_job job;
    struct port port;
    sem_t reached, opened, over;
};

static void gate_stand(struct gate *g)
{
    sem_post(&g->reached);
    while (sem_wait(&g->opened) != 0)
        ;
}

static void gate_as_job(struct worker_job *j)
{
    gate_stand((struct gate *)j);
}

static void gate_over(void *ctx, struct msg *m)
{
    struct gate *g = ctx;
    (void)m;
    sem_post(&g->over);
}

static inline void gate_init(struct gate *g, const struct world *w)
{
    sem_init(&g->reached, 0, 0);
    sem_init(&g->opened, 0, 0);
    sem_init(&g->over, 0, 0);
    g->port = (struct port){w->inbox, gate_over, g};
    g->job = (struct worker_job){.run = gate_as_job, .reply = &g->port};
}

static inline void hold_hasher(struct gate *g, const struct world *w)
{
    gate_init(g, w);
    worker_push(w->shared->hasher, &g->job);
    sem_wait(&g->reached);
}

static inline void let_go(struct gate *g)
{
    sem_post(&g->opened);
}

/* The hasher's answer has come: nothing points to the gate any more. */
static inline void gate_gone(struct gate *g)
{
    while (sem_wait(&g->over) != 0)
        ;
}

struct beat {
    struct msg msg;
    struct port port;
    atomic_bool heard;
};

static void hear_beat(void *ctx, struct msg *m)
{
    struct beat *b = ctx;
    (void)m;
    b->heard = true;
}

/* The loop has carried out what was sent to it before. */
static inline void loop_has_read(const struct world *w)
{
    struct beat b = {.port = {w->inbox, hear_beat, &b}};
    port_send(&b.port, &b.msg);
    for (int i = 0; !b.heard; i++) {
        MUST(i < PATIENCE_S * 1000);
        usleep(1000);
    }
}

/* --- clients */

static inline int call(const struct world *w, size_t listener)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(w->port[listener]),
                            .sin_addr.s_addr = htonl(0x7f000001)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* What a client speaks through: a socket, or TLS on it. */
struct line {
    int fd;
    SSL *ssl;
};

static inline void say_bytes(struct line *l, const char *s, size_t n)
{
    if (l->ssl) {
        assert_int_equal(SSL_write(l->ssl, s, (int)n), n);
        return;
    }
    while (n > 0) {
        ssize_t went = send(l->fd, s, n, MSG_NOSIGNAL);
        assert_true(went > 0);
        s += went;
        n -= (size_t)went;
    }
}

static inline void say(struct line *l, const char *s)
{
    say_bytes(l, s, strlen(s));
}

/* A process that was stopped and goes on is told so by sockets with a time limit (signal(7)). */
static inline bool hear_byte(struct line *l, char *ret)
{
    int n;
    do {
        errno = 0;
        n = l->ssl ? SSL_read(l->ssl, ret, 1) : (int)recv(l->fd, ret, 1, 0);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

/* The last line of the next reply; "" at the end. */
static inline void hear_reply(struct line *l, char ret[1100])
{
    do {
        size_t n = 0;
        while (n < 1090 && hear_byte(l, ret + n))
            if (ret[n++] == '\n')
                break;
        ret[n] = 0;
    } while (ret[0] && ret[3] == '-');
}

static inline void hear(struct line *l, const char *start)
{
    char reply[1100];
    hear_reply(l, reply);
    if (strncmp(reply, start, strlen(start)) != 0)
        fail_msg("\"%s\" instead of \"%s\"", reply, start);
}

static inline void talk(struct line *l, const char *says, const char *hears)
{
    say(l, says);
    hear(l, hears);
}

static inline void hear_end(struct line *l)
{
    char c;
    assert_false(hear_byte(l, &c));
}

static inline SSL_CTX *client_ctx(void)
{
    static SSL_CTX *ctx;
    if (!ctx)
        ctx = SSL_CTX_new(TLS_client_method());
    return ctx;
}

static inline void line_tls(struct line *l)
{
    l->ssl = SSL_new(client_ctx());
    SSL_set_fd(l->ssl, l->fd);
    assert_int_equal(SSL_connect(l->ssl), 1);
}

static inline void line_end(struct line *l)
{
    SSL_free(l->ssl);
    close(l->fd);
}

/* On 587: greeted, under TLS, EHLO said. */
static inline struct line submission(const struct world *w)
{
    struct line l = {.fd = call(w, SUBMISSION)};
    hear(&l, "220 ");
    talk(&l, "EHLO c\r\n", "250 ");
    talk(&l, "STARTTLS\r\n", "220 ");
    line_tls(&l);
    talk(&l, "EHLO c\r\n", "250 ");
    return l;
}

static inline void hang_up(int fd, bool reset)
{
    struct linger l = {.l_onoff = 1};
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(fd);
}

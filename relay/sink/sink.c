/* The life of the receiver: one loop for its connections, one thread for syncing. */
#include "relay/sink/sink.h"
#include "relay/base/defer.h"
#include "relay/net/addr.h"
#include "relay/sink/private.h"
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STOP_MS = 5000, TIMEOUT_MS = 5 * 60 * 1000, MAX_ERRORS = 100 };
/* Where --offer has FUTURERELEASE: all is filed at once, whatever was asked for. */
#define MAX_HOLD_S 2592000

static int make_tls(struct sink *k, struct err *e)
{
    DEFER(buf_done) struct buf cert = BUF_MAX(65536), key = BUF_MAX(65536);
    if (!k->options.tls)
        return 0;
    int rc = tls_self_signed(slice_str(k->hostname), &cert, &key, e);
    return rc < 0 ? rc : tls_context_server_pem(&k->tls, buf_slice(&cert), buf_slice(&key), e);
}

static void find_hostname(struct sink *k)
{
    if (k->options.hostname)
        snprintf(k->hostname, sizeof k->hostname, "%s", k->options.hostname);
    else if (gethostname(k->hostname, sizeof k->hostname - 1) < 0 ||
             !address_is_domain(slice_str(k->hostname)) || k->hostname[0] == '[')
        snprintf(k->hostname, sizeof k->hostname, "localhost");
}

static void configure(struct sink *k)
{
    k->smtp = (struct smtp_server_conf){
        .hostname = slice_str(k->hostname),
        .banner = SLICE_LIT("ESMTP postwain sink"),
        .extensions = k->options.offer,
        .starttls = k->tls,
        .max_message_size = SINK_MESSAGE_MAX,
        .max_recipients = SINK_RCPTS_MAX,
        .max_errors = MAX_ERRORS,
        .max_hold_s = MAX_HOLD_S,
        .max_hold_until = wall_add_s(wall_now(), MAX_HOLD_S),
        .command_timeout_ms = TIMEOUT_MS,
        .data_timeout_ms = TIMEOUT_MS,
    };
}

/* "ready 127.0.0.1:2525": as bound, so that port 0 shows the real one. */
static void say_ready(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    char text[64];
    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        return;
    net_addr_port_text(&a, text);
    printf("ready %s\n", text);
    fflush(stdout);
}

static int listen_all(struct sink *k, struct err *e)
{
    const struct net_acceptor acceptor = {.accept = session_accept, .ctx = k};
    int fds[SINK_LISTEN_MAX];
    for (size_t i = 0; i < k->options.n_listen; i++) {
        struct sockaddr_storage a;
        int rc = net_parse_address(slice_str(k->options.listen[i]), &a, e);
        if (rc < 0)
            return rc;
        fds[i] = net_bind(&a, e);
        if (fds[i] < 0)
            return fds[i];
        k->listeners[k->n_listeners++] = net_listen(k->loop, fds[i], &acceptor);
    }
    for (size_t i = 0; i < k->options.n_listen; i++)
        say_ready(fds[i]);
    return 0;
}

static void on_give_up(void *ctx, struct mono now)
{
    struct sink *k = ctx;
    (void)now;
    loop_stop(k->loop);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct sink *k = h->data;
    struct mono now = loop_now(k->loop);
    (void)signum;
    if (k->stopping || !k->sessions) {
        loop_stop(k->loop);
        return;
    }
    k->stopping = true;
    for (size_t i = 0; i < k->n_listeners; i++)
        net_listener_close(k->listeners[i]);
    deadline_set(k->loop, &k->give_up, mono_add(now, STOP_MS));
    session_stop_all(k);
}

static void watch(struct sink *k, uv_signal_t *h, int signum)
{
    if (uv_signal_init(loop_uv(k->loop), h) < 0)
        return;
    h->data = k;
    uv_signal_start(h, on_signal, signum);
}

static int make(struct sink *k, struct err *e)
{
    find_hostname(k);
    int rc = maildir_make(k->options.maildir, e);
    if (rc == 0)
        rc = make_tls(k, e);
    if (rc < 0)
        return rc;
    configure(k);
    k->loop = loop_new("sink", 0);
    k->inbox = inbox_new(k->loop, NULL, NULL);
    k->port = (struct port){.inbox = k->inbox, .fn = session_on_filed, .ctx = k};
    deadline_init(k->loop, &k->late_at, session_on_late, k);
    deadline_init(k->loop, &k->give_up, on_give_up, k);
    k->disk = worker_new("disk");
    return 0;
}

static void done(struct sink *k)
{
    if (k->disk)
        worker_free(k->disk);
    session_drop_late(k);
    if (k->loop) {
        inbox_free(k->inbox, session_drop_job);
        loop_free(k->loop);
    }
    tls_context_unref(k->tls);
    options_done(&k->options);
}

int sink_main(int argc, char **argv)
{
    struct sink k = {0};
    struct err e = {0};
    uv_signal_t on_term, on_int;
    int rc = options_parse(&k.options, argc, argv);
    if (rc != 0 || k.options.help) {
        if (rc == 0)
            fputs(sink_help, stdout);
        done(&k);
        return rc;
    }
    rc = make(&k, &e);
    if (rc == 0) {
        watch(&k, &on_term, SIGTERM);
        watch(&k, &on_int, SIGINT);
        rc = listen_all(&k, &e);
    }
    if (rc == 0)
        loop_run_here(k.loop);
    else
        fprintf(stderr, "postwain sink: %s\n", e.text);
    done(&k);
    return rc < 0 ? 1 : 0;
}

/* libmicrohttpd waits by an epoll descriptor of its own, which the loop watches; it is run when
 * that is readable, and at the times it asks for. */
#include "relay/admin/http.h"
#include "relay/admin/exposition.h"
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

enum { CONNECTIONS_MAX = 16, SILENCE_S = 10, MEMORY_MAX = 16384, BACKLOG = 16 };
enum { ANSWER_MS = 5000, TEXT_MAX_BYTES = 4 << 20 };

/* One request, from its first line to the end of its answer. */
struct asking {
    struct http *http;
    struct MHD_Connection *connection;
    bool suspended;
    unsigned status; /* 0: not decided */
    struct buf text;
    struct asking *prev, *next; /* of those suspended */
};

struct http {
    struct admin *admin;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    struct deadline run_at, answer_at;
    struct port from_spool;
    struct asking *waiting;
    bool asked; /* the spooler has our question */
};

static void run(struct http *h);

/* --- answers --------------------------------------------------------------------------------- */

static enum MHD_Result give(struct MHD_Connection *c, unsigned status, struct slice text,
                            const char *type)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        text.n, (void *)(uintptr_t)(text.n ? (const void *)text.p : ""), MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result ok = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *line)
{
    return give(c, status, slice_str(line), "text/plain; charset=utf-8");
}

static enum MHD_Result say_ready(struct http *h, struct MHD_Connection *c)
{
    const struct admin *a = h->admin;
    if (a->hooks.draining(a->hooks.ctx))
        return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "draining\n");
    if (spooler_accepting(a->spooler) < 0)
        return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "the spool takes no mail now\n");
    return say(c, MHD_HTTP_OK, "ready\n");
}

static void gauge(struct buf *out, const char *name, const char *help, int64_t value)
{
    exposition_family(out, name, "gauge", help);
    exposition_value(out, name, NULL, NULL, value);
}

static void write_all(const struct admin *a, const struct spooler_admin *page, struct buf *out)
{
    struct exposition e = {.out = out, .now = wall_now()};
    const int64_t up_s = (loop_now(a->loop).ms - a->begun.ms) / 1000;
    json_t *warnings = status_warnings(a, page);
    exposition_family(out, "info", "gauge", "1, with the version");
    exposition_value(out, "info", "version", PW_VERSION, 1);
    gauge(out, "start_time_seconds", "when the process began, in seconds since 1970",
          e.now.us / WALL_SECOND - up_s);
    gauge(out, "accepting", "1 while new mail is taken",
          !a->hooks.draining(a->hooks.ctx) && spooler_accepting(a->spooler) == 0);
    gauge(out, "warnings", "warnings in postwain status", (int64_t)json_array_size(warnings));
    json_decref(warnings);
    exposition_counters(out);
    exposition_queue(out, page, e.now);
    gauge(out, "events_behind", "events that are not yet in the delivery log",
          (int64_t)(events_pushed_seq(a->events) - events_written_seq(a->events)));
    exposition_family(out, "certificate_expires_in_seconds", "gauge",
                      "until a certificate of the listeners ends");
    a->hooks.certificates(a->hooks.ctx, exposition_certificate, &e);
}

/* All who wait get the same. */
static void answer(struct http *h, unsigned status, struct slice text)
{
    struct asking *one, *next;
    deadline_set(h->admin->loop, &h->answer_at, MONO_NEVER);
    DL_FOREACH_SAFE (h->waiting, one, next) {
        DL_DELETE(h->waiting, one);
        one->suspended = false;
        one->status = status;
        buf_add(&one->text, text);
        MHD_resume_connection(one->connection);
    }
}

static void on_answer_late(void *ctx, struct mono now)
{
    struct http *h = ctx;
    (void)now;
    answer(h, MHD_HTTP_SERVICE_UNAVAILABLE, SLICE_LIT("the spooler does not answer\n"));
    run(h);
}

static void on_spooler(void *ctx, struct msg *m)
{
    struct http *h = ctx;
    struct spooler_admin *page = (void *)m;
    DEFER(buf_done) struct buf text = BUF_MAX(TEXT_MAX_BYTES);
    h->asked = false;
    h->admin->outstanding--;
    if (h->waiting) {
        write_all(h->admin, page, &text);
        if (text.overflow)
            answer(h, MHD_HTTP_INTERNAL_SERVER_ERROR, SLICE_LIT("more than 4 MiB of metrics\n"));
        else
            answer(h, MHD_HTTP_OK, buf_slice(&text));
    }
    spooler_admin_free(page);
    if (h->daemon)
        run(h);
    admin_stop_if_over(h->admin);
}

static void ask_spooler(struct http *h)
{
    if (h->asked)
        return;
    struct spooler_admin *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_ADMIN;
    q->reply = &h->from_spool;
    q->verb = ADMIN_STATUS;
    h->asked = true;
    h->admin->outstanding++;
    port_send(spooler_port(h->admin->spooler), &q->msg);
}

static void wait_for_spooler(struct http *h, struct asking *one)
{
    if (!h->waiting)
        deadline_set(h->admin->loop, &h->answer_at, mono_add(loop_now(h->admin->loop), ANSWER_MS));
    DL_APPEND(h->waiting, one);
    one->suspended = true;
    MHD_suspend_connection(one->connection);
    ask_spooler(h);
}

/* --- requests -------------------------------------------------------------------------------- */

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_n, void **of_request)
{
    struct http *h = ctx;
    struct asking *one = *of_request;
    (void)version, (void)upload;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "this door is for looking: GET\n");
    if (!one) { /* the header section is there; what else comes with it is thrown away */
        one = must_alloc(sizeof *one);
        *one = (struct asking){.http = h, .connection = c, .text = BUF_MAX(TEXT_MAX_BYTES)};
        *of_request = one;
        return MHD_YES;
    }
    if (*upload_n) {
        *upload_n = 0;
        return MHD_YES;
    }
    if (one->status)
        return give(c, one->status, buf_slice(&one->text),
                    "text/plain; version=0.0.4; charset=utf-8");
    if (strcmp(url, "/healthz") == 0)
        return say(c, MHD_HTTP_OK, "ok\n");
    if (strcmp(url, "/readyz") == 0)
        return say_ready(h, c);
    if (strcmp(url, "/metrics") != 0)
        return say(c, MHD_HTTP_NOT_FOUND, "there are /metrics, /healthz and /readyz\n");
    wait_for_spooler(h, one);
    return MHD_YES;
}

static void on_over(void *ctx, struct MHD_Connection *c, void **of_request,
                    enum MHD_RequestTerminationCode how)
{
    struct http *h = ctx;
    struct asking *one = *of_request;
    (void)c, (void)how;
    if (!one)
        return;
    if (one->suspended)
        DL_DELETE(h->waiting, one);
    buf_done(&one->text);
    free(one);
    *of_request = NULL;
}

/* --- the loop -------------------------------------------------------------------------------- */

static unsigned connections(const struct http *h)
{
    return MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* Full, it does not listen; and it sees only at its next run that there is room again. */
static void run(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    unsigned before;
    do {
        before = connections(h);
        MHD_run(h->daemon);
    } while (connections(h) < before);
    struct mono at = MONO_NEVER;
    if (MHD_get_timeout(h->daemon, &ms) == MHD_YES)
        at = mono_add(loop_now(h->admin->loop), ms < 60000 ? (int64_t)ms : 60000);
    deadline_set(h->admin->loop, &h->run_at, at);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct http *h = poll->data;
    (void)status, (void)events;
    if (h->daemon)
        run(h);
}

static void on_run(void *ctx, struct mono now)
{
    struct http *h = ctx;
    (void)now;
    if (h->daemon)
        run(h);
}

/* --- life ------------------------------------------------------------------------------------ */

/* The configuration has checked it. */
static socklen_t read_address(const char *text, struct sockaddr_storage *ret)
{
    struct slice s = slice_str(text);
    char ip[INET6_ADDRSTRLEN] = "";
    uint64_t port = 0;
    size_t colon = s.n;
    while (colon > 0 && s.p[colon - 1] != ':')
        colon--;
    MUST(colon > 0 && slice_u64(slice_skip(s, colon), 65535, &port));
    s = slice_head(s, colon - 1);
    const bool v6 = s.n > 2 && s.p[0] == '[';
    if (v6)
        s = slice_of(s.p + 1, s.n - 2);
    MUST(s.n < sizeof ip);
    memcpy(ip, s.p, s.n);
    if (v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
        *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        MUST(inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1);
        return sizeof *in6;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    MUST(inet_pton(AF_INET, ip, &in->sin_addr) == 1);
    return sizeof *in;
}

static int bind_address(const char *address, struct err *e)
{
    struct sockaddr_storage a = {0};
    const socklen_t size = read_address(address, &a);
    int one = 1, fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, "http: cannot make a socket for %s", address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (const struct sockaddr *)&a, size) != 0 || listen(fd, BACKLOG) != 0) {
        int code = err_errno(e, "http: cannot listen on %s", address);
        close(fd);
        return code;
    }
    return fd;
}

static void log_nothing(void *ctx, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static void log_nothing(void *ctx, const char *fmt, va_list ap)
{
    (void)ctx, (void)fmt, (void)ap; /* about peers; it would go to standard error as it is */
}

static void watch(struct http *h)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    MUST(info && uv_poll_init(loop_uv(h->admin->loop), &h->poll, info->epoll_fd) == 0);
    h->poll.data = h;
    MUST(uv_poll_start(&h->poll, UV_READABLE, on_readable) == 0);
    deadline_init(h->admin->loop, &h->run_at, on_run, h);
    deadline_init(h->admin->loop, &h->answer_at, on_answer_late, h);
}

int http_new(struct http **ret, struct admin *a, const char *address, struct err *e)
{
    int fd = bind_address(address, e);
    if (fd < 0)
        return fd;
    struct http *h = must_alloc(sizeof *h);
    h->admin = a;
    h->from_spool = (struct port){.inbox = a->inbox, .fn = on_spooler, .ctx = h};
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, log_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_over, h, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_MAX, MHD_OPTION_END);
    if (!h->daemon) {
        close(fd);
        free(h);
        return err_set(e, -ENOMEM, "http: the server for %s does not start", address);
    }
    watch(h);
    LOG(LV_INFO, "listening", LOG_S("listener", "http"), LOG_S("address", address));
    *ret = h;
    return 0;
}

void http_stop(struct http *h)
{
    uv_poll_stop(&h->poll);
    uv_close((uv_handle_t *)&h->poll, NULL);
    answer(h, MHD_HTTP_SERVICE_UNAVAILABLE, SLICE_LIT("stopping\n"));
    MHD_run(h->daemon);
    MHD_stop_daemon(h->daemon); /* its descriptors go with it */
    h->daemon = NULL;
    deadline_close(&h->run_at, NULL);
    deadline_close(&h->answer_at, NULL);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    if (h->daemon) /* the loop never ran: nobody waits */
        MHD_stop_daemon(h->daemon);
    free(h);
}

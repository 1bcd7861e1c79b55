/*
 * The control socket against a spooler that this test plays: a million messages, pages, content. If
 * this breaks, a long listing takes the relay's memory, one client's nonsense reaches another, or a
 * second start takes over a living relay's socket.
 */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MESSAGES 1000000
#define CONTENT_SIZE (3 * PIECE_BYTES + 17)

/* ---- the spooler's part ---- */

struct spooler {
    struct loop *loop;
    struct inbox *inbox;
    struct port port;
    atomic_uint pages, reads, rows_out;
    atomic_bool full;
    char actor[64], reason[64];
};

const struct port *spooler_port(struct spooler *s)
{
    return &s->port;
}

int spooler_accepting(const struct spooler *s)
{
    return atomic_load(&s->full) ? -ENOSPC : 0;
}

static struct buf lit(const char *s)
{
    struct buf b = BUF_MAX(1024);
    buf_add_str(&b, s);
    return b;
}

/* Message n has id n; each has two recipients. */
static void list_page(struct spooler_admin *a)
{
    uint64_t from = a->after + 1, to = from + a->limit;
    if (a->filter.n_ids == 1)
        from = a->filter.ids[0], to = from + 1;
    if (to > MESSAGES + 1)
        to = MESSAGES + 1;
    for (size_t i = 0; i < a->n_rows; i++) {
        buf_done(&a->rows[i].sender);
        buf_done(&a->rows[i].recipient);
    }
    free(a->rows);
    a->n_rows = 0;
    a->rows = calloc(2 * PAGE_MESSAGES, sizeof *a->rows);
    for (uint64_t id = from; id < to && id > 0; id++)
        for (uint32_t k = 0; k < 2; k++)
            a->rows[a->n_rows++] = (struct queue_row){.id = id,
                                                      .rcpt = k,
                                                      .n_rcpts = 2,
                                                      .size = CONTENT_SIZE,
                                                      .sender = lit("a@example.com"),
                                                      .recipient = lit("b@example.com")};
    a->matched += a->n_rows;
    a->next = a->filter.n_ids || to == MESSAGES + 1 ? 0 : to - 1;
}

static void change_page(struct spooler *s, struct spooler_admin *a)
{
    snprintf(s->actor, sizeof s->actor, "%s", buf_str(&a->actor));
    snprintf(s->reason, sizeof s->reason, "%s", buf_str(&a->reason));
    a->matched += 10;
    a->skipped += 1;
    a->changed += a->dry_run ? 0 : 9;
    a->next = a->after < 4 ? a->after + 1 : 0; /* five pages */
}

static void site_page(struct spooler_admin *a)
{
    a->sites = calloc(1, sizeof *a->sites);
    a->n_sites = 1;
    a->sites[0] = (struct queue_site_row){.site = lit("mx.example"),
                                          .destination = lit("default"),
                                          .dead = true,
                                          .next_probe_ms = 5000};
    a->totals.messages = MESSAGES;
}

static void answer_admin(struct spooler *s, struct spooler_admin *a)
{
    atomic_fetch_add(&s->pages, 1);
    switch (a->verb) {
    case ADMIN_LIST:
    case ADMIN_SHOW:
        list_page(a);
        break;
    case ADMIN_STATUS:
    case ADMIN_QUEUE:
        site_page(a);
        break;
    case ADMIN_RETRY:
    case ADMIN_REMOVE:
    case ADMIN_HOLD:
    case ADMIN_RELEASE:
        change_page(s, a);
        break;
    }
}

static void free_body(struct frozen *f)
{
    free(f);
}

static struct body *body_made(size_t n)
{
    struct body *b = malloc(sizeof *b + n);
    frozen_init(&b->frozen, free_body);
    b->n = n;
    return b;
}

static uint8_t content_at(uint64_t i)
{
    return i < 6   ? (uint8_t) "A: b\r\n"[i]
           : i < 8 ? (uint8_t) "\r\n"[i - 6]
                   : (uint8_t)(i * 7 + i / 251);
}

static void answer_read(struct spooler *s, struct spooler_read *r)
{
    atomic_fetch_add(&s->reads, 1);
    if (r->id == 666 && r->offset > 0) {
        r->error = -EBADMSG;
        return;
    }
    size_t n = r->offset + r->n < CONTENT_SIZE ? r->n : CONTENT_SIZE - r->offset;
    r->body = body_made(n);
    for (size_t i = 0; i < n; i++)
        r->body->bytes[i] = content_at(r->offset + i);
}

static void on_request(void *ctx, struct msg *m)
{
    const struct port *reply;
    if (m->type == SPOOLER_READ) {
        answer_read(ctx, (struct spooler_read *)(void *)m);
        reply = ((struct spooler_read *)(void *)m)->reply;
    } else {
        answer_admin(ctx, (struct spooler_admin *)(void *)m);
        reply = ((struct spooler_admin *)(void *)m)->reply;
    }
    port_send(reply, m);
}

/* ---- the house's part ---- */

static struct spooler spooler;
static struct admin *admin;
static struct conf conf;
static struct events *events;
static char folder[64], path[96];
static atomic_uint reloads, drains, stops;

static int hook_reload(void *ctx, struct err *e)
{
    (void)ctx;
    return atomic_fetch_add(&reloads, 1) == 0 ? 0
                                              : err_set(e, -EINVAL, "postwain.conf:7: no such key");
}

static void hook_stop(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&stops, 1);
}

static void hook_drain(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&drains, 1);
}

struct conf *conf_ref(struct conf *c)
{
    return c;
}

void conf_unref(struct conf *c)
{
    (void)c;
}

static const struct admin_hooks hooks = {
    .reload = hook_reload, .stop = hook_stop, .drain = hook_drain};

static int start(void **state)
{
    (void)state;
    struct err e = {0};
    uint64_t last;
    DEFER(buf_done) struct buf log = BUF_MAX(256);
    buf_addf(&log, "%s/log", folder);
    const struct events_conf ec = {buf_str(&log), "node", 0, 0};
    if (events_new(&events, &ec, &last, &e) < 0 || events_start(events) < 0)
        return 1;
    spooler = (struct spooler){.loop = loop_new("spooler", 0)};
    spooler.inbox = inbox_new(spooler.loop, NULL, NULL);
    spooler.port = (struct port){.inbox = spooler.inbox, .fn = on_request, .ctx = &spooler};
    conf = (struct conf){.control_socket = path, .hostname = "relay.example"};
    return loop_start(spooler.loop) < 0 ||
           admin_new(&admin, &conf, &spooler, events, &hooks, &e) < 0 || admin_start(admin) < 0;
}

static int end(void **state)
{
    (void)state;
    struct stat st;
    admin_free(admin);
    loop_stop(spooler.loop);
    loop_join(spooler.loop);
    inbox_free(spooler.inbox, NULL);
    loop_free(spooler.loop);
    events_free(events);
    return stat(path, &st) == 0; /* the socket goes with us */
}

/* ---- a client ---- */

static int call_raw(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static json_t *read_object(FILE *f)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n = getline(&line, &size, f);
    json_t *o = n < 0 ? NULL : json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
    assert_true(n < 0 || (o && line[n - 1] == '\n'));
    free(line);
    return o;
}

static FILE *call(void)
{
    FILE *f = fdopen(call_raw(), "r+");
    json_t *hello = read_object(f);
    assert_int_equal(json_integer_value(json_object_get(hello, "protocol")), 1);
    assert_string_equal(json_string_value(json_object_get(hello, "postwain")), PW_VERSION);
    json_decref(hello);
    return f;
}

static void say(FILE *f, const char *line)
{
    assert_true(fputs(line, f) >= 0 && fputc('\n', f) != EOF && fflush(f) == 0);
}

struct answer {
    json_t *last; /* done or error object */
    bool ok;
    uint64_t rows;
    json_t *first_row, *last_row;
    struct buf data;
};

static struct answer hear(FILE *f)
{
    struct answer a = {.data = BUF_MAX(16 << 20)};
    for (;;) {
        json_t *o = read_object(f);
        assert_non_null(o);
        json_t *row = json_object_get(o, "row"), *done = json_object_get(o, "done");
        if (!row) {
            a.ok = done != NULL;
            a.last = json_incref(done ? done : json_object_get(o, "error"));
            assert_non_null(a.last);
            json_decref(o);
            return a;
        }
        const char *data = json_string_value(json_object_get(row, "data_base64"));
        if (data)
            buf_add_str(&a.data, data);
        if (a.rows++ == 0)
            a.first_row = json_incref(row);
        json_decref(a.last_row);
        a.last_row = json_incref(row);
        json_decref(o);
    }
}

static void answer_done(struct answer *a)
{
    json_decref(a->last);
    json_decref(a->first_row);
    json_decref(a->last_row);
    buf_done(&a->data);
}

static long long number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static const char *string(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    assert_non_null(s);
    return s;
}

/* ---- tests ---- */

static void test_limit_and_cursor(void **state)
{
    (void)state;
    FILE *f = call();
    char place[64] = "", line[256];
    uint64_t seen = 0;
    for (int page = 0; page < 400; page++) { /* 7 is odd: pages end within a message */
        snprintf(line, sizeof line,
                 "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":7%s%s%s}}",
                 place[0] ? ",\"after\":\"" : "", place, place[0] ? "\"" : "");
        say(f, line);
        struct answer a = hear(f);
        assert_true(a.ok);
        assert_int_equal(a.rows, 7);
        assert_int_equal(number(a.first_row, "rcpt"), seen % 2);
        uint64_t id = 0;
        assert_true(queue_id_parse(slice_str(string(a.first_row, "queue_id")), &id));
        assert_int_equal(id, seen / 2 + 1);
        seen += 7;
        snprintf(place, sizeof place, "%s", string(a.last, "next"));
        answer_done(&a);
    }
    fclose(f);
}

static void test_count_and_all_rows(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"count\":true}}");
    struct answer a = hear(f);
    assert_int_equal(number(a.last, "matched"), 2 * MESSAGES);
    assert_int_equal(a.rows, 0);
    assert_null(json_object_get(a.last, "next"));
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"limit\":25000}}");
    a = hear(f);
    assert_int_equal(a.rows, 25000);
    answer_done(&a);
    fclose(f);
}

/* A client that asks for two million rows and does not read them: pages are not even asked for.
 * Others are served meanwhile. */
static void test_slow_reader(void **state)
{
    (void)state;
    FILE *slow = call(), *other = call();
    unsigned before = atomic_load(&spooler.pages);
    say(slow, "{\"id\":1,\"verb\":\"queue.list\",\"args\":{}}");
    usleep(500000);
    say(other, "{\"id\":2,\"verb\":\"status\",\"args\":{}}");
    struct answer a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    assert_true(atomic_load(&spooler.pages) - before < 20);
    fclose(slow); /* and goes away in the middle */
    say(other, "{\"id\":3,\"verb\":\"status\"}");
    a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    fclose(other);
}

static void test_status(void **state)
{
    (void)state;
    FILE *f = call();
    atomic_store(&spooler.full, true);
    say(f, "{\"id\":2,\"verb\":\"status\",\"args\":{}}");
    struct answer a = hear(f);
    atomic_store(&spooler.full, false);
    assert_int_equal(a.rows, 1);
    assert_string_equal(string(a.first_row, "site"), "mx.example");
    assert_string_equal(string(a.last, "version"), PW_VERSION);
    assert_string_equal(string(a.last, "hostname"), "relay.example");
    assert_int_equal(number(a.last, "messages"), MESSAGES);
    static const char *const keys[] = {
        "uptime_seconds", "recipients",     "ready",         "waiting",        "held",
        "active",         "oldest_seconds", "sessions",      "accepted_total", "delivered_total",
        "deferred_total", "bounced_total",  "expired_total", "live_bytes",     "disk_bytes",
        "last_seq",       "log_seq"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_true(number(a.last, keys[i]) >= 0);
    assert_true(json_is_false(json_object_get(a.last, "accepting")));
    assert_int_equal(json_array_size(json_object_get(a.last, "warnings")),
                     2); /* the disk, the dead site */
    answer_done(&a);
    say(f, "{\"id\":2,\"verb\":\"queue.summary\",\"args\":{}}");
    a = hear(f);
    assert_int_equal(a.rows, 1);
    assert_non_null(json_object_get(a.last, "age"));
    assert_non_null(json_object_get(a.last, "errors"));
    answer_done(&a);
    fclose(f);
}

static void test_changes(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.remove\",\"args\":{\"filter\":{\"to\":\"*\"},\"reason\":"
           "\"asked to\"}}");
    struct answer a = hear(f);
    assert_int_equal(a.rows, 0);
    assert_int_equal(number(a.last, "matched"), 50);
    assert_int_equal(number(a.last, "changed"), 45);
    assert_int_equal(number(a.last, "skipped"), 5);
    assert_int_equal(number(a.last, "failed"), 0);
    assert_string_equal(spooler.reason, "asked to");
    assert_true(spooler.actor[0]);
    assert_string_not_equal(spooler.actor, "unknown");
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.hold\",\"args\":{\"all\":true,\"dry_run\":true}}");
    a = hear(f);
    assert_int_equal(a.rows, SAMPLE_ROWS);
    assert_int_equal(number(a.last, "matched"), 50);
    assert_int_equal(number(a.last, "changed"), 0);
    answer_done(&a);
    fclose(f);
}

static size_t decode(const struct buf *b64, uint8_t *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (size_t i = 0; i + 3 < b64->n; i += 4) {
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            const char *d = b64->p[i + k] == '=' ? digits : strchr(digits, b64->p[i + k]);
            v = v << 6 | (uint32_t)(d - digits);
        }
        for (size_t k = 0; k < 3; k++)
            if (k == 0 || b64->p[i + k + 1] != '=')
                out[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    return n;
}

static void test_content(void **state)
{
    (void)state;
    static uint8_t got[CONTENT_SIZE + 16];
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"0000000000005\"}}");
    struct answer a = hear(f);
    assert_true(a.ok);
    assert_int_equal(a.rows, 4);
    assert_int_equal(number(a.last, "size"), CONTENT_SIZE);
    assert_int_equal(decode(&a.data, got), CONTENT_SIZE);
    for (uint64_t i = 0; i < CONTENT_SIZE; i++)
        assert_true(got[i] == content_at(i));
    answer_done(&a);
    say(f,
        "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"0000000000005\",\"headers\":true}}");
    a = hear(f);
    assert_int_equal(number(a.last, "size"), 8);
    assert_int_equal(decode(&a.data, got), 8);
    answer_done(&a);
    char line[128], id[QUEUE_ID_SIZE];
    queue_id_write(666, id);
    snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"%s\"}}", id);
    say(f, line);
    a = hear(f);
    assert_false(a.ok);
    assert_string_equal(string(a.last, "code"), "failed");
    answer_done(&a);
    fclose(f);
}

static void test_show(void **state)
{
    (void)state;
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"0000000000005\"}}");
    struct answer a = hear(f);
    assert_int_equal(a.rows, 2);
    assert_string_equal(string(a.last, "sender"), "a@example.com");
    assert_int_equal(number(a.last, "size"), CONTENT_SIZE);
    answer_done(&a);
    say(f, "{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"00000000000ZZ\"}}\n"
           "{\"id\":1,\"verb\":\"queue.show\",\"args\":{\"id\":\"ZZZZZZZZZZZZ\"}}");
    for (int i = 0; i < 2; i++) {
        a = hear(f);
        if (i == 1)
            assert_string_equal(string(a.last, "code"), "usage");
        answer_done(&a);
    }
    char line[128], id[QUEUE_ID_SIZE];
    queue_id_write(MESSAGES + 5, id);
    snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"queue.cat\",\"args\":{\"id\":\"%s\"}}", id);
    say(f, line);
    a = hear(f);
    assert_string_equal(string(a.last, "code"), "not-found");
    answer_done(&a);
    fclose(f);
}

static void test_orders(void **state)
{
    (void)state;
    static const char *const lines[] = {"reload", "reload", "drain", "log.reopen", "stop"};
    FILE *f = call();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[128];
        snprintf(line, sizeof line, "{\"id\":1,\"verb\":\"%s\",\"args\":{}}", lines[i]);
        say(f, line);
        struct answer a = hear(f);
        assert_int_equal(a.ok, i != 1);
        if (i == 1)
            assert_non_null(strstr(string(a.last, "message"), "postwain.conf:7"));
        answer_done(&a);
    }
    for (int i = 0; i < 100 && atomic_load(&stops) == 0; i++)
        usleep(10000);
    assert_int_equal(atomic_load(&drains), 1);
    assert_int_equal(atomic_load(&stops), 1);
    fclose(f);
}

/* Many requests in one write, also byte by byte: each is answered, in order. */
static void test_pipelined(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf lines = BUF_MAX(1 << 20);
    for (unsigned i = 0; i < 200; i++)
        buf_addf(&lines, "{\"id\":%u,\"verb\":\"%s\"}\r\n\n", i, i % 3 ? "status" : "nonsense");
    for (int slow = 0; slow < 2; slow++) {
        int fd = call_raw();
        for (size_t at = 0; at < lines.n;) {
            size_t n = slow ? 7 : lines.n;
            ssize_t sent = send(fd, lines.p + at, n < lines.n - at ? n : lines.n - at, 0);
            assert_true(sent > 0);
            at += (size_t)sent;
        }
        shutdown(fd, SHUT_WR); /* the answers come all the same */
        FILE *f = fdopen(fd, "r");
        json_decref(read_object(f));
        for (unsigned i = 0; i < 200;) {
            json_t *o = read_object(f);
            assert_non_null(o);
            assert_int_equal(number(o, "id"), i);
            assert_int_equal(json_object_get(o, "error") != NULL, i % 3 == 0);
            i += json_object_get(o, "row") == NULL;
            json_decref(o);
        }
        assert_null(read_object(f));
        fclose(f);
    }
}

/* What is no request ends that peer, with a word; others do not notice. */
static void test_nonsense(void **state)
{
    (void)state;
    static const char *const rows[] = {"GET / HTTP/1.1\r\n\r\n", "{}\n",
                                       "{\"id\":1,\"verb\":\"status\"", NULL};
    FILE *other = call();
    for (size_t i = 0; i < 4; i++) {
        int fd = call_raw();
        FILE *f = fdopen(fd, "r");
        json_decref(read_object(f));
        if (rows[i]) {
            assert_int_equal(send(fd, rows[i], strlen(rows[i]), MSG_NOSIGNAL), strlen(rows[i]));
        } else { /* a line without an end */
            static char endless[REQUEST_LINE_MAX + 100];
            memset(endless, ' ', sizeof endless);
            for (size_t at = 0; at < sizeof endless;) {
                ssize_t n = send(fd, endless + at, sizeof endless - at, MSG_NOSIGNAL);
                if (n <= 0)
                    break;
                at += (size_t)n;
            }
        }
        if (i == 2) { /* half a request, then gone: nothing to say */
            shutdown(fd, SHUT_WR);
            assert_null(read_object(f));
        } else {
            json_t *o = read_object(f);
            assert_non_null(json_object_get(o, "error"));
            json_decref(o);
            assert_null(read_object(f));
        }
        fclose(f);
    }
    say(other, "{\"id\":1,\"verb\":\"status\"}");
    struct answer a = hear(other);
    assert_true(a.ok);
    answer_done(&a);
    fclose(other);
}

/* A megabyte of short bad requests without reading: answers are bounded as well. */
static void test_flood(void **state)
{
    (void)state;
    int fd = call_raw();
    for (unsigned i = 0; i < 100000; i++)
        if (send(fd, "{\"id\":1,\"verb\":\"x\"}\n", 20, MSG_NOSIGNAL | MSG_DONTWAIT) != 20)
            break;
    usleep(200000);
    close(fd);
    FILE *f = call();
    say(f, "{\"id\":1,\"verb\":\"status\"}");
    struct answer a = hear(f);
    assert_true(a.ok);
    answer_done(&a);
    fclose(f);
}

static void test_too_many_peers(void **state)
{
    (void)state;
    FILE *f[ADMIN_PEERS_MAX];
    for (size_t i = 0; i < ADMIN_PEERS_MAX; i++)
        f[i] = call();
    FILE *more = call();
    json_t *o = read_object(more);
    assert_string_equal(string(json_object_get(o, "error"), "code"), "busy");
    json_decref(o);
    assert_null(read_object(more));
    fclose(more);
    for (size_t i = 0; i < ADMIN_PEERS_MAX; i++)
        fclose(f[i]);
}

/* One socket, one relay. */
static void test_second_start(void **state)
{
    (void)state;
    struct admin *second = NULL;
    struct err e = {0};
    struct stat st;
    assert_true(admin_new(&second, &conf, &spooler, events, &hooks, &e) < 0);
    assert_int_equal(e.code, -EADDRINUSE);
    assert_null(second);
    FILE *f = call(); /* the first one still has its socket */
    fclose(f);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
}

/* After kill -9 the socket is still there, and in nobody's way; a file that is no socket is not
 * touched. */
static void test_stale_socket(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf stale = BUF_MAX(256);
    struct admin *a = NULL;
    struct err e = {0};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    buf_addf(&stale, "%s/deep/er/sock", folder);
    struct conf c = {.control_socket = buf_str(&stale), .hostname = "relay.example"};
    assert_int_equal(admin_new(&a, &c, &spooler, events, &hooks, &e), 0); /* folders are made */
    admin_free(a);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", buf_str(&stale));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    assert_int_equal(admin_new(&a, &c, &spooler, events, &hooks, &e), 0);
    admin_free(a);
    fclose(fopen(buf_str(&stale), "w"));
    assert_true(admin_new(&a, &c, &spooler, events, &hooks, &e) < 0);
    assert_int_equal(access(buf_str(&stale), F_OK), 0);
    static char endless[300];
    memset(endless, 'x', sizeof endless - 1);
    endless[0] = '/';
    c.control_socket = endless;
    assert_true(admin_new(&a, &c, &spooler, events, &hooks, &e) < 0);
}

/* The end comes while listings run. */
static void test_end_in_the_middle(void **state)
{
    FILE *f[8];
    for (size_t i = 0; i < 8; i++) {
        f[i] = call();
        say(f[i], i % 2 ? "{\"id\":1,\"verb\":\"queue.list\",\"args\":{\"count\":true}}"
                        : "{\"id\":1,\"verb\":\"queue.list\"}");
    }
    assert_int_equal(end(state), 0);
    for (size_t i = 0; i < 8; i++)
        fclose(f[i]);
    assert_int_equal(start(state), 0);
}

int main(void)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(256);
    snprintf(folder, sizeof folder, "/tmp/unit-admin-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/control.sock", folder);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_and_cursor),
        cmocka_unit_test(test_count_and_all_rows),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_too_many_peers),
        cmocka_unit_test(test_second_start),
        cmocka_unit_test(test_stale_socket),
        cmocka_unit_test(test_end_in_the_middle),
    };
    int rc = cmocka_run_group_tests(tests, start, end);
    buf_addf(&clean, "rm -rf %s", folder);
    return system(buf_str(&clean)) == 0 ? rc : 1;
}

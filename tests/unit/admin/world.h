/* A control socket whose spooler and house are played by the test program, and a client of it. */
#pragma once
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include "tests/unit/admin/content.h"
#include <errno.h>
#include <pthread.h>
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

/* libuv closes sockets by the bare system call, so the thread sanitizer takes the folder that is
 * opened next with that number for the same file. */
const char *__tsan_default_suppressions(void)
{
    return "race_top:interceptor_closedir$\n";
}

#define MESSAGES 1000000
#define CONTENT_SIZE (3 * PIECE_BYTES + 17)

/* ---- the spooler's part ---- */

struct spooler {
    struct loop *loop;
    struct inbox *inbox;
    struct port port;
    atomic_uint pages, reads, rows_out;
    atomic_bool full;
    pthread_mutex_t lock; /* guards the two */
    char actor[64], reason[64];
};

const struct port *spooler_port(struct spooler *s)
{
    return &s->port;
}

const char *spooler_above(const struct spooler *s)
{
    (void)s;
    return NULL;
}

int spooler_accepting(const struct spooler *s)
{
    return atomic_load(&s->full) ? -ENOSPC : 0;
}

uint64_t spooler_new_id(struct wall now)
{
    static _Atomic uint64_t last;
    return queue_id_draw(&last, now);
}

static inline struct buf lit(const char *s)
{
    struct buf b = BUF_MAX(1024);
    buf_add_str(&b, s);
    return b;
}

#define PAGE_MESSAGES 200

static inline bool row(struct spooler_admin *a, uint64_t id, uint32_t rcpt)
{
    if (a->rows_given == a->rows_max ||
        !spooler_admin_row(a, &(struct queue_row){.id = id,
                                                  .rcpt = rcpt,
                                                  .n_rcpts = 2,
                                                  .size = CONTENT_SIZE,
                                                  .sender = SLICE_LIT("a@example.com"),
                                                  .recipient = SLICE_LIT("b@example.com")}))
        return false;
    a->rows_given++;
    return true;
}

/* Message n has id n; each has two recipients. */
static inline void list_page(struct spooler_admin *a)
{
    bool one = a->filter.n_ids == 1;
    uint64_t id = one        ? a->filter.ids[0]
                  : a->at.id ? a->at.id
                             : 1,
             to = one ? id + 1 : MESSAGES + 1;
    uint32_t k = a->at.rcpt;
    spooler_admin_reset(a);
    for (unsigned i = 0; id < to && id <= MESSAGES; id++, k = 0, i++) {
        a->next = (struct queue_place){id, k};
        if (i == PAGE_MESSAGES)
            return;
        for (; k < 2; k++, a->matched++) {
            a->next = (struct queue_place){id, k};
            bool sorting = a->sort && a->rows_max == ADMIN_SORT_MAX; /* rows come last */
            if (!sorting && !row(a, id, k) && !a->count)
                return;
        }
    }
    a->next = (struct queue_place){0};
}

static inline void change_page(struct spooler *s, struct spooler_admin *a)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->actor, sizeof s->actor, "%s", buf_str(&a->actor));
    snprintf(s->reason, sizeof s->reason, "%s", buf_str(&a->reason));
    pthread_mutex_unlock(&s->lock);
    spooler_admin_reset(a);
    a->matched += 10;
    a->skipped += 1;
    a->changed += a->dry_run ? 0 : 9;
    if (strcmp(buf_str(&a->reason), "slowly") == 0)
        usleep(400000);
    for (uint32_t k = 0; k < 3 && a->dry_run; k++)
        row(a, a->at.id + 1, k);
    a->next.id = a->at.id < 4 ? a->at.id + 1 : 0; /* five pages */
}

static inline void site_page(const struct spooler *s, struct spooler_admin *a)
{
    a->sites = calloc(1, sizeof *a->sites);
    a->n_sites = 1;
    a->sites[0] = (struct queue_site_row){.site = lit("mx.example"),
                                          .destination = lit("default"),
                                          .dead = true,
                                          .waiting = 1,
                                          .next_probe_ms = 5000};
    a->totals.messages = MESSAGES;
    if (atomic_load(&s->full))
        a->totals.disk = (struct spooler_disk){.error = "syncing the spool failed: Disk quota",
                                               .since = {1800000000 * WALL_SECOND},
                                               .full = "less room than spool.min-free"};
}

static inline void answer_admin(struct spooler *s, struct spooler_admin *a)
{
    atomic_fetch_add(&s->pages, 1);
    switch (a->verb) {
    case ADMIN_LIST:
    case ADMIN_SHOW:
        list_page(a);
        break;
    case ADMIN_STATUS:
    case ADMIN_QUEUE:
        site_page(s, a);
        break;
    case ADMIN_DISK:
        snprintf(a->totals.disk.error, sizeof a->totals.disk.error, "no room left");
        break;
    case ADMIN_RETRY:
    case ADMIN_REMOVE:
    case ADMIN_HOLD:
    case ADMIN_BOUNCE:
    case ADMIN_EXPIRE:
    case ADMIN_REDIRECT:
    case ADMIN_PRIORITY:
    case ADMIN_RELEASE:
        change_page(s, a);
        break;
    }
}

static inline void answer_read(struct spooler *s, struct spooler_read *r)
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

/* What a test plays itself: where the answer goes, or NULL: it has been freed. */
static const struct port *(*_Atomic play)(struct spooler *s, struct msg *m);

/* Keeps what is not to be answered yet. NULL: all is answered. */
static bool (*_Atomic play_keep)(struct spooler_admin *a);

/* At the end: answers that wait for the disk are to come. NULL: none does. */
static void (*play_let_go)(void);

static inline void on_request(void *ctx, struct msg *m)
{
    const struct port *reply;
    if (m->type == SPOOLER_CONTROL) {
        MUST(((struct spooler_control *)(void *)m)->what == SPOOLER_LET_GO);
        if (play_let_go)
            play_let_go();
        free(m);
        return;
    }
    if (m->type == SPOOLER_EXPORT || m->type == SPOOLER_STORE || m->type == SPOOLER_BODY ||
        m->type == SPOOLER_CHECK) {
        reply = atomic_load(&play)(ctx, m);
        if (!reply)
            return;
    } else if (m->type == SPOOLER_READ) {
        answer_read(ctx, (struct spooler_read *)(void *)m);
        reply = ((struct spooler_read *)(void *)m)->reply;
    } else {
        struct spooler_admin *a = (struct spooler_admin *)(void *)m;
        if (atomic_load(&play_keep) && atomic_load(&play_keep)(a))
            return;
        answer_admin(ctx, a);
        reply = a->reply;
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

static inline int hook_reload(void *ctx, struct err *e)
{
    (void)ctx;
    return atomic_fetch_add(&reloads, 1) == 0 ? 0
                                              : err_set(e, -EINVAL, "postwain.conf:7: no such key");
}

static inline void hook_stop(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&stops, 1);
}

static inline void hook_drain(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&drains, 1);
}

static inline bool hook_draining(void *ctx)
{
    (void)ctx;
    return atomic_load(&drains) > 0;
}

/* 200,000 clients, of which the odd ones are banned. */
enum { CLIENTS = 200000 };

static inline bool hook_clients(void *ctx, size_t *at, struct admin_client *rows, size_t max,
                                size_t *ret_n)
{
    (void)ctx;
    size_t n = 0;
    for (; n < max && *at < CLIENTS; n++, ++*at) {
        rows[n] = (struct admin_client){.connections = 3, .lately = 70, .failures = 2};
        snprintf(rows[n].address, sizeof rows[n].address, "10.0.%zu.%zu", *at >> 8, *at & 255);
        if (*at % 2) {
            rows[n].banned_s = 60;
            snprintf(rows[n].reason, sizeof rows[n].reason, "2 failed logins");
        }
    }
    *ret_n = n;
    return *at < CLIENTS;
}

/* Written on admin's thread, read on the test's when it has been answered. */
static pthread_mutex_t ban_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_ban[400];

static inline void ban_seen(char ret[400])
{
    pthread_mutex_lock(&ban_lock);
    memcpy(ret, last_ban, sizeof last_ban);
    pthread_mutex_unlock(&ban_lock);
}

static inline int hook_client_ban(void *ctx, struct slice address, int64_t for_s,
                                  struct slice reason, struct slice actor, struct err *e)
{
    (void)ctx;
    if (!slice_eq(address, SLICE_LIT("192.0.2.1")))
        return err_set(e, -EINVAL, "is not one client");
    pthread_mutex_lock(&ban_lock);
    snprintf(last_ban, sizeof last_ban, "%lld %.*s %d", (long long)for_s, SLICE_ARG(reason),
             actor.n > 0);
    pthread_mutex_unlock(&ban_lock);
    return 0;
}

static inline int hook_client_allow(void *ctx, struct slice address, struct slice actor,
                                    struct err *e)
{
    (void)ctx, (void)actor;
    return slice_eq(address, SLICE_LIT("192.0.2.1")) ? 0 : err_set(e, -ENOENT, "is not banned");
}

struct conf *conf_ref(struct conf *c)
{
    return c;
}

void conf_unref(struct conf *c)
{
    (void)c;
}

/* The only destination of this world. */
const struct conf_destination *conf_by_name(const struct conf *c, struct slice name)
{
    static const struct conf_destination backup;
    (void)c;
    return slice_eq(name, SLICE_LIT("backup")) ? &backup : NULL;
}

/* One certificate that ends in three days, one that has years. */
static void hook_certificates(void *ctx, admin_certificate_fn *each, void *each_ctx)
{
    (void)ctx;
    const int64_t now_s = wall_now().us / WALL_SECOND, day_s = 86400;
    const struct admin_certificate list[] = {
        {"", "/etc/soon.pem", "EC", now_s + 3 * day_s + 60},
        {"b.example", "/etc/later.pem", "RSA", now_s + 900 * day_s}};
    each(each_ctx, &list[0]);
    each(each_ctx, &list[1]);
}

static void hook_warnings(void *ctx, admin_say_fn *say, void *say_ctx)
{
    (void)ctx;
    say(say_ctx, "the house is on fire");
}

static bool hook_suppress_asked(void *ctx, struct slice user, struct slice recipient,
                                char why[ADMIN_SUPPRESSED_WHY], bool *ret_drop)
{
    (void)ctx, (void)user, (void)recipient, (void)why, (void)ret_drop;
    return false;
}

/* Two rows at once; or, for "slow@…", when a test says so. */
static struct lines *_Atomic slow_answer;
static const struct port *_Atomic slow_reply;

static inline struct lines *lines_of(const char *text, void *cookie, bool last)
{
    struct lines *l = must_alloc(sizeof *l);
    *l = (struct lines){.cookie = cookie, .text = BUF_MAX(4096), .last = last};
    buf_add_str(&l->text, text);
    return l;
}

static inline int hook_explain(void *ctx, const struct admin_explain *a, const struct port *reply,
                               void *cookie, struct err *e)
{
    (void)ctx;
    if (slice_find(a->recipient, '@') == a->recipient.n)
        return err_set(e, -EINVAL, "is not an address");
    struct lines *l = lines_of("{\"about\":\"way\"}\n{\"about\":\"site\",\"destination\":\"d\","
                               "\"site\":\"s\"}\n",
                               cookie, true);
    if (slice_starts(a->recipient, SLICE_LIT("slow"))) {
        atomic_store(&slow_reply, reply);
        atomic_store(&slow_answer, l);
    } else {
        port_send(reply, &l->msg);
    }
    return 0;
}

/* The last lines come at once. */
static atomic_uint stopped;

static inline void hook_explain_stop(void *ctx, const void *cookie)
{
    (void)ctx;
    atomic_fetch_add(&stopped, 1);
    struct lines *l = atomic_load(&slow_answer);
    if (l && l->cookie == cookie)
        port_send(atomic_load(&slow_reply), &l->msg);
}

/* One, or as many as may be, each as long as it may be. */
enum { SUSPENSIONS = 1000 };
static atomic_bool many_suspended;
static atomic_uint suspended_asked;

static inline bool hook_suspended(void *ctx, size_t *at, struct admin_suspension *ret)
{
    (void)ctx;
    atomic_fetch_add(&suspended_asked, 1);
    *ret = (struct admin_suspension){.name = "s", .reason = "they sleep"};
    if (!atomic_load(&many_suspended))
        return (*at)++ == 0;
    snprintf(ret->name, sizeof ret->name, "n%zu", *at);
    memset(ret->reason, '"', sizeof ret->reason - 1);
    return (*at)++ < SUSPENSIONS;
}

/* For the test that plays the net loops. */
static int (*trace_played)(const struct admin_trace *t, const struct port *reply, void *cookie,
                           struct err *e);
static void (*trace_end_played)(const void *cookie);

static inline int hook_trace(void *ctx, const struct admin_trace *t, const struct port *reply,
                             void *cookie, struct err *e)
{
    (void)ctx;
    return trace_played(t, reply, cookie, e);
}

static inline void hook_trace_end(void *ctx, const void *cookie)
{
    (void)ctx;
    trace_end_played(cookie);
}

static const struct admin_hooks hooks = {.explain = hook_explain,
                                         .trace = hook_trace,
                                         .trace_end = hook_trace_end,
                                         .explain_stop = hook_explain_stop,
                                         .suspended = hook_suspended,
                                         .suppress_asked = hook_suppress_asked,
                                         .reload = hook_reload,
                                         .stop = hook_stop,
                                         .drain = hook_drain,
                                         .draining = hook_draining,
                                         .certificates = hook_certificates,
                                         .warnings = hook_warnings,
                                         .clients = hook_clients,
                                         .client_ban = hook_client_ban,
                                         .client_allow = hook_client_allow};

static inline int start(void **state)
{
    (void)state;
    struct err e = {0};
    uint64_t last;
    DEFER(buf_done) struct buf log = BUF_MAX(256);
    buf_addf(&log, "%s/log", folder);
    const struct events_conf ec = {.path = buf_str(&log), .node = "node"};
    if (events_new(&events, &ec, &last, &e) < 0 || events_start(events) < 0)
        return 1;
    spooler = (struct spooler){.loop = loop_new("spooler", 0), .lock = PTHREAD_MUTEX_INITIALIZER};
    spooler.inbox = inbox_new(spooler.loop, NULL, NULL);
    spooler.port = (struct port){.inbox = spooler.inbox, .fn = on_request, .ctx = &spooler};
    static struct conf_listener listener = {.max_message_size = 2 << 20, .max_recipients = 1000};
    conf = (struct conf){.control_socket = path,
                         .hostname = "relay.example",
                         .postmaster = "pm@relay.example",
                         .listeners = &listener,
                         .n_listeners = 1};
    return loop_start(spooler.loop) < 0 ||
           admin_new(&admin, &conf, &spooler, events, &hooks, &e) < 0 || admin_start(admin) < 0;
}

static inline int end(void **state)
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

static inline int call_raw(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static inline json_t *read_object(FILE *f)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n = getline(&line, &size, f);
    json_t *o = n < 0 ? NULL : json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
    assert_true(n < 0 || (o && line[n - 1] == '\n'));
    free(line);
    return o;
}

static inline FILE *call(void)
{
    FILE *f = fdopen(call_raw(), "r+");
    json_t *hello = read_object(f);
    assert_int_equal(json_integer_value(json_object_get(hello, "protocol")), 1);
    assert_string_equal(json_string_value(json_object_get(hello, "postwain")), PW_VERSION);
    json_decref(hello);
    return f;
}

static inline void say(FILE *f, const char *line)
{
    assert_true(fputs(line, f) >= 0 && fputc('\n', f) != EOF && fflush(f) == 0);
}

struct answer {
    json_t *last; /* done or error object */
    bool ok;
    uint64_t rows, progress;
    json_t *first_row, *last_row;
    struct buf data;
};

static inline struct answer hear(FILE *f)
{
    struct answer a = {.data = BUF_MAX(16 << 20)};
    for (;;) {
        json_t *o = read_object(f);
        assert_non_null(o);
        json_t *row = json_object_get(o, "row"), *done = json_object_get(o, "done");
        if (json_object_get(o, "progress")) {
            a.progress++;
            json_decref(o);
            continue;
        }
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

static inline void answer_done(struct answer *a)
{
    json_decref(a->last);
    json_decref(a->first_row);
    json_decref(a->last_row);
    buf_done(&a->data);
}

static inline long long number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static inline const char *string(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    assert_non_null(s);
    return s;
}

static inline int run_with_admin(const struct CMUnitTest *tests, size_t n)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(256);
    snprintf(folder, sizeof folder, "/tmp/unit-admin-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/control.sock", folder);
    signal(SIGPIPE, SIG_IGN);
    int rc = _cmocka_run_group_tests("admin", tests, n, start, end);
    buf_addf(&clean, "rm -rf %s", folder);
    return system(buf_str(&clean)) == 0 ? rc : 1;
}

/* The socket and the thread. */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

enum { MSG_RECONFIGURE = 1, MSG_STOP, MSG_BEGIN };

enum { BACKLOG = 64, FOLDER_MODE = 0755, NICE = 5 };

struct order {
    struct msg msg;
    struct conf *conf;
};

/* ---- the socket ---- */

static int make_folders(struct admin *a, const char *path, struct err *e)
{
    DEFER_FREE char *copy = slice_dup(slice_str(path));
    for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
        uv_fs_t f;
        *p = 0;
        int rc = uv_fs_mkdir(loop_uv(a->loop), &f, copy, FOLDER_MODE, NULL);
        uv_fs_req_cleanup(&f);
        if (rc < 0 && rc != UV_EEXIST && rc != UV_EACCES && rc != UV_EROFS)
            return err_set(e, rc, "cannot make the folder %s of the control socket: %s", copy,
                           uv_strerror(rc));
        *p = '/';
    }
    return 0;
}

/* 0: nobody is there; -EADDRINUSE: somebody answers; other: errno of the attempt. */
static int try_connect(const struct sockaddr_un *to)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 || errno == EAGAIN
                 ? -EADDRINUSE
                 : -errno;
    close(fd);
    return rc;
}

/* What a killed predecessor left is taken away; what lives, and what is no socket, is not. */
static int clear_path(struct admin *a, const char *path, struct err *e)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path)
        return err_set(e, -ENAMETOOLONG, "control socket %s: the path is longer than %zu bytes",
                       path, sizeof to.sun_path - 1);
    memcpy(to.sun_path, path, strlen(path));
    int rc = try_connect(&to);
    if (rc == -ENOENT)
        return 0;
    if (rc == -EADDRINUSE)
        return err_set(e, rc, "control socket %s: another postwain answers there", path);
    uv_fs_t f;
    bool is_socket = uv_fs_lstat(loop_uv(a->loop), &f, path, NULL) == 0 &&
                     (f.statbuf.st_mode & 0170000) == 0140000;
    uv_fs_req_cleanup(&f);
    if (rc != -ECONNREFUSED || !is_socket)
        return err_set(e, rc,
                       "control socket %s: something else is there, or it cannot be reached: %s",
                       path, uv_strerror(rc));
    rc = uv_fs_unlink(loop_uv(a->loop), &f, path, NULL);
    uv_fs_req_cleanup(&f);
    return rc < 0 ? err_set(e, rc, "cannot remove the old control socket %s: %s", path,
                            uv_strerror(rc))
                  : 0;
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        peer_accept(listener->data);
    else
        LOG(LV_WARN, "control_accept_failed", LOG_S("problem", uv_strerror(status)));
}

/* Nobody can connect before listen, so nobody meets the mode that bind gave. */
static int bind_socket(struct admin *a, const char *path, struct err *e)
{
    uv_fs_t f;
    int rc = uv_pipe_bind(&a->listener, path);
    if (rc < 0)
        return err_set(e, rc, "cannot make the control socket %s: %s", path, uv_strerror(rc));
    rc = uv_fs_chmod(loop_uv(a->loop), &f, path, (int)access_mode(&a->access), NULL);
    uv_fs_req_cleanup(&f);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&a->listener, BACKLOG, on_connection);
    return rc < 0
               ? err_set(e, rc, "cannot listen on the control socket %s: %s", path, uv_strerror(rc))
               : 0;
}

static int open_socket(struct admin *a, struct err *e)
{
    const char *path = a->path = slice_dup(slice_str(a->conf->control_socket));
    access_rules_of(a->conf, &a->access);
    int rc = make_folders(a, path, e);
    if (rc == 0)
        rc = clear_path(a, path, e);
    return rc < 0 ? rc : bind_socket(a, path, e);
}

/* ---- the thread ---- */

void admin_stop_if_over(struct admin *a)
{
    if (a->stopping && a->outstanding == 0)
        loop_stop(a->loop);
}

/* They are answers to nobody now, and one to a change would wait until the disk has room for it. */
static void let_go(struct admin *a)
{
    struct spooler_control *c = must_alloc(sizeof *c);
    c->msg.type = SPOOLER_CONTROL;
    c->what = SPOOLER_LET_GO;
    port_send(spooler_port(a->spooler), &c->msg);
}

static void stop(struct admin *a)
{
    struct peer *p, *next;
    a->stopping = true;
    uv_close((uv_handle_t *)&a->listener, NULL);
    deadline_set(a->loop, &a->note_at, MONO_NEVER);
    deadline_set(a->loop, &a->beat_at, MONO_NEVER);
    deadline_set(a->loop, &a->look_at, MONO_NEVER);
    if (a->http)
        http_stop(a->http);
    DL_FOREACH_SAFE (a->peers, p, next)
        peer_close(p);
    if (a->outstanding > 0)
        let_go(a);
    admin_stop_if_over(a);
}

/* When the processors have not time for all, mail goes before those who look at it. */
static void give_way(void)
{
    setpriority(PRIO_PROCESS, 0, NICE); /* Linux: of this thread */
}

/* Who is connected keeps what he may; the socket's path stays what it was at the start. Once it has
 * been open to all, its mode says nothing about those who have connected and wait: they are judged
 * by their groups until the end. */
static void reconfigure(struct admin *a, struct conf *conf)
{
    uv_fs_t f;
    const bool was_open = a->access.by_groups;
    access_rules_of(conf, &a->access);
    a->access.by_groups = a->access.by_groups || was_open;
    uv_fs_chmod(loop_uv(a->loop), &f, a->path, (int)access_mode(&a->access), NULL);
    uv_fs_req_cleanup(&f);
    conf_unref(a->conf);
    a->conf = conf;
}

static void on_order(void *ctx, struct msg *m)
{
    struct admin *a = ctx;
    struct order *o = (struct order *)(void *)m;
    if (m->type == MSG_STOP) {
        stop(a);
    } else if (m->type == MSG_BEGIN) {
        give_way();
        status_note(a, loop_now(a->loop));
    } else {
        reconfigure(a, TAKE_PTR(o->conf));
    }
    free(o);
}

static struct peer *asker(struct msg *m)
{
    void *v = m;
    switch (m->type) {
    case SPOOLER_READ:
        return ((struct spooler_read *)v)->cookie;
    case SPOOLER_EXPORT:
        return ((struct spooler_export *)v)->cookie;
    case SPOOLER_CHECK:
        return ((struct spooler_check *)v)->cookie;
    case SPOOLER_BODY:
        return ((struct spooler_body *)v)->cookie;
    case SPOOLER_STORE:
        return ((struct spooler_store *)v)->cookie;
    default:
        return ((struct spooler_admin *)v)->cookie;
    }
}

static void on_answer(void *ctx, struct msg *m)
{
    struct admin *a = ctx;
    task_answered(asker(m), m);
    admin_stop_if_over(a);
}

static void tell(struct admin *a, unsigned type, struct conf *conf)
{
    struct order *o = must_alloc(sizeof *o);
    o->msg.type = type;
    o->conf = conf;
    port_send(&a->port, &o->msg);
}

int admin_new(struct admin **ret, struct conf *conf, struct spooler *spooler, struct events *events,
              const struct admin_hooks *h, struct err *e)
{
    struct admin *a = must_alloc(sizeof *a);
    a->conf = conf_ref(conf);
    a->spooler = spooler;
    a->events = events;
    a->hooks = *h;
    a->begun = mono_now();
    a->loop = loop_new("admin", 0);
    deadline_init(a->loop, &a->note_at, status_note, a);
    deadline_init(a->loop, &a->beat_at, explain_beat, a);
    deadline_init(a->loop, &a->look_at, waits_look, a);
    a->inbox = inbox_new(a->loop, NULL, NULL);
    a->port = (struct port){.inbox = a->inbox, .fn = on_order, .ctx = a};
    a->from_spool = (struct port){.inbox = a->inbox, .fn = on_answer, .ctx = a};
    a->from_nets = (struct port){.inbox = a->inbox, .fn = task_lines, .ctx = a};
    a->from_disk = (struct port){.inbox = a->inbox, .fn = waits_told, .ctx = a};
    a->from_log = (struct port){.inbox = a->inbox, .fn = log_rotated, .ctx = a};
    MUST(uv_pipe_init(loop_uv(a->loop), &a->listener, 0) == 0);
    a->listener.data = a;
    int rc = open_socket(a, e);
    if (rc == 0 && conf->http_address && conf->http_address[0])
        rc = http_new(&a->http, a, conf->http_address, e);
    if (rc < 0) {
        admin_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

int admin_start(struct admin *a)
{
    int rc = loop_start(a->loop);
    a->started = rc == 0;
    if (a->started)
        tell(a, MSG_BEGIN, NULL);
    return rc;
}

void admin_reconfigure(struct admin *a, struct conf *conf)
{
    tell(a, MSG_RECONFIGURE, conf_ref(conf));
}

static void drop(struct msg *m)
{
    struct order *o = (struct order *)(void *)m;
    conf_unref(o->conf);
    free(o);
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    if (a->started) {
        tell(a, MSG_STOP, NULL);
        loop_join(a->loop);
    }
    inbox_free(a->inbox, drop);
    loop_free(a->loop);
    http_free(a->http);
    conf_unref(a->conf);
    free(a->path);
    free(a);
}

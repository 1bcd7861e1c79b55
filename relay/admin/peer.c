/*
 * One client of the control socket: lines in, lines out. Requests of one peer are done one after
 * the other: while one is on its way nothing is read, so that a peer cannot make us hold more than
 * a line, a page and PEER_UNSENT_MAX.
 */
#include "relay/admin/private.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

enum { OUT_MAX = 4 << 20, READ_BYTES = 65536 };

/* ---- out ---- */

size_t peer_unsent(const struct peer *p)
{
    return p->out.n + p->flying.n;
}

static void read_on(struct peer *p);

static void on_written(uv_write_t *w, int status)
{
    struct peer *p = w->data;
    p->writing = false;
    p->moved = mono_now();
    buf_reset(&p->flying);
    if (status < 0) {
        peer_close(p);
        return;
    }
    peer_flush(p);
    if (!p->closing) {
        task_go_on(p);
        read_on(p);
    }
}

void peer_flush(struct peer *p)
{
    if (p->writing || p->out.n == 0 || uv_is_closing((uv_handle_t *)&p->pipe)) {
        if (p->closing && !p->writing)
            peer_close(p);
        return;
    }
    struct buf empty = p->flying;
    p->flying = p->out;
    p->out = empty;
    uv_buf_t b = uv_buf_init((char *)p->flying.p, (unsigned)p->flying.n);
    p->write.data = p;
    p->writing = true;
    if (uv_write(&p->write, (uv_stream_t *)&p->pipe, &b, 1, on_written) < 0) {
        p->writing = false;
        peer_close(p);
    }
}

void peer_row(struct peer *p, json_t *value)
{
    rows_line(&p->out, p->task.request.id, "row", value);
}

void peer_row_recipient(struct peer *p, const struct queue_row *r)
{
    buf_add(&p->out, buf_slice(&p->task.head));
    rows_recipient(&p->out, r, p->task.request.brief);
    buf_add(&p->out, SLICE_LIT("}\n"));
}

void peer_progress(struct peer *p, json_t *value)
{
    rows_line(&p->out, p->task.request.id, "progress", value);
    peer_flush(p);
}

/* The answer is complete: the next request may be read. */
static void finish(struct peer *p)
{
    task_end(&p->task);
    peer_flush(p);
    read_on(p);
}

void peer_done(struct peer *p, json_t *value)
{
    rows_line(&p->out, p->task.request.id, "done", value);
    finish(p);
}

void peer_error(struct peer *p, const char *code, const char *message)
{
    struct problem why = {.code = code};
    snprintf(why.message, sizeof why.message, "%s", message);
    rows_error(&p->out, p->task.request.id, &why);
    finish(p);
}

void peer_no_message(struct peer *p)
{
    peer_error(
        p, "not-found",
        "no such message in the queue (any more); its story is in the delivery log: postwain "
        "log --since-seq 0 --id ID");
}

/* ---- in ---- */

/* What is wrong with the line itself is told, then the peer is closed: nobody knows where its next
 * line begins. */
static void hang_up(struct peer *p, const struct problem *why)
{
    rows_error(&p->out, NULL, why);
    p->closing = true;
    uv_read_stop((uv_stream_t *)&p->pipe);
    peer_flush(p);
}

static void take_line(struct peer *p, struct slice line)
{
    struct request r;
    struct problem why;
    if (request_parse(line, &r, &why)) {
        if (p->access == ACCESS_ADMIN || request_looks(r.verb)) {
            task_begin(p, &r);
            return;
        }
        why = (struct problem){.code = "denied"};
        snprintf(why.message, sizeof why.message,
                 "%s may look, and change nothing: none of its groups is in control.admins",
                 p->actor);
    }
    if (why.hopeless)
        hang_up(p, &why);
    else
        rows_error(&p->out, r.id, &why);
    request_done(&r);
}

/* Its next request can be looked at. */
static bool is_idle(const struct peer *p)
{
    return !p->task.active && !p->closing && peer_unsent(p) <= PEER_UNSENT_MAX;
}

/* Lines up to the first that starts a task which takes its time. */
static void take_lines(struct peer *p)
{
    while (is_idle(p)) {
        struct slice all = buf_slice(&p->in);
        size_t n = slice_find(all, '\n');
        if (n == all.n)
            break;
        DEFER(buf_done) struct buf line = BUF_MAX(REQUEST_LINE_MAX);
        buf_add(&line, slice_trim(slice_head(all, n)));
        buf_drop(&p->in, n + 1);
        if (line.n > 0)
            take_line(p, buf_slice(&line));
    }
    if (is_idle(p) && p->in.n >= REQUEST_LINE_MAX) {
        const struct problem long_line = {"usage", "not a request: a line has at most 1 MiB", true};
        hang_up(p, &long_line);
    }
    peer_flush(p);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct peer *p = h->data;
    (void)suggested;
    size_t room = p->in.max - p->in.n < READ_BYTES ? p->in.max - p->in.n : READ_BYTES;
    uint8_t *at = room ? buf_reserve(&p->in, room) : NULL;
    *ret = uv_buf_init((char *)at, at ? (unsigned)room : 0);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct peer *p = s->data;
    (void)b;
    if (n < 0) {
        /* It may have closed only its own side, and still read. */
        p->closing = true;
        uv_read_stop(s);
        p->reading = false;
        if (!p->task.active)
            peer_flush(p);
        return;
    }
    p->moved = mono_now();
    buf_commit(&p->in, (size_t)n);
    read_on(p);
}

static void read_on(struct peer *p)
{
    if (p->taking)
        return; /* the loop that is running below us goes on */
    p->taking = true;
    take_lines(p);
    p->taking = false;
    bool want = is_idle(p);
    if (want == p->reading || uv_is_closing((uv_handle_t *)&p->pipe))
        return;
    p->reading = want;
    if (want)
        uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&p->pipe);
}

/* ---- life ---- */

void peer_free_if_over(struct peer *p)
{
    if (!p->closed || p->task.asked)
        return;
    check_drop(p);
    task_end(&p->task);
    import_drop(p);
    buf_done(&p->in);
    buf_done(&p->out);
    buf_done(&p->flying);
    free(p);
}

static void on_closed(uv_handle_t *h)
{
    struct peer *p = h->data;
    p->closed = true;
    peer_free_if_over(p);
}

void peer_close(struct peer *p)
{
    if (uv_is_closing((uv_handle_t *)&p->pipe))
        return;
    p->closing = true;
    explain_stop(p);
    trace_end(p);
    DL_DELETE(p->admin->peers, p);
    p->admin->n_peers--;
    uv_close((uv_handle_t *)&p->pipe, on_closed);
}

/* While a task is on its way nothing is read, so libuv does not tell. */
bool peer_has_gone(const struct peer *p)
{
    uv_os_fd_t fd;
    if (uv_fileno((const uv_handle_t *)&p->pipe, &fd) < 0)
        return true;
    struct pollfd f = {.fd = fd};
    return poll(&f, 1, 0) > 0 && (f.revents & (POLLHUP | POLLERR));
}

/* Every group that the other end is in; how many. */
static size_t groups_of(int fd, const struct ucred *who, gid_t *groups, size_t max)
{
    socklen_t n = (socklen_t)((max - 1) * sizeof *groups);
    groups[0] = who->gid;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups + 1, &n) < 0)
        return 1; /* more of them than anybody needs, or an old kernel: the first one counts */
    return 1 + n / sizeof *groups;
}

static void name_actor(struct peer *p, uid_t uid)
{
    char space[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(uid, &entry, space, sizeof space, &found) == 0 && found)
        snprintf(p->actor, sizeof p->actor, "%s", found->pw_name);
    else
        snprintf(p->actor, sizeof p->actor, "uid:%u", (unsigned)uid);
}

/* Who is at the other end, for the events of what it does; and what it may do. */
static void find_actor(struct peer *p)
{
    struct ucred who;
    gid_t groups[1025];
    socklen_t n = sizeof who;
    uv_os_fd_t fd;
    snprintf(p->actor, sizeof p->actor, "unknown");
    if (uv_fileno((uv_handle_t *)&p->pipe, &fd) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0) {
        p->access = p->admin->access.by_groups ? ACCESS_NONE : ACCESS_ADMIN;
        return;
    }
    name_actor(p, who.uid);
    size_t n_groups = groups_of(fd, &who, groups, sizeof groups / sizeof *groups);
    p->access = access_of(&p->admin->access, who.uid, groups, n_groups);
}

static void greet(struct peer *p)
{
    json_t *hello = json_object();
    rows_put(hello, "postwain", json_string(PW_VERSION));
    rows_put(hello, "protocol", json_integer(1));
    rows_put(hello, "access", json_string(access_name(p->access)));
    rows_object(&p->out, hello);
}

/* It asks for nothing, or takes nothing of what it asked for. */
static bool is_quiet(const struct peer *p, struct mono now)
{
    return !p->closing && (!p->task.active || p->writing) &&
           mono_reached(mono_add(p->moved, PEER_QUIET_MS), now);
}

/* Programs that hang, or forget their connections, do not lock an operator out. */
static bool make_room(struct admin *a)
{
    const struct problem over = {"busy", "silent for too long: others waited for the place", true};
    const struct mono now = mono_now();
    struct peer *p, *longest = NULL;
    DL_FOREACH (a->peers, p)
        if (is_quiet(p, now) && (!longest || !mono_reached(longest->moved, p->moved)))
            longest = p;
    if (!longest)
        return false;
    if (longest->writing)
        peer_close(longest);
    else
        hang_up(longest, &over);
    return true;
}

void peer_accept(struct admin *a)
{
    struct peer *p = must_alloc(sizeof *p);
    const bool has_room = a->n_peers < ADMIN_PEERS_MAX || make_room(a);
    p->admin = a;
    p->moved = mono_now();
    buf_init(&p->in, REQUEST_LINE_MAX);
    buf_init(&p->out, OUT_MAX);
    buf_init(&p->flying, OUT_MAX);
    MUST(uv_pipe_init(loop_uv(a->loop), &p->pipe, 0) == 0);
    p->pipe.data = p;
    DL_APPEND(a->peers, p);
    a->n_peers++;
    if (uv_accept((uv_stream_t *)&a->listener, (uv_stream_t *)&p->pipe) < 0) {
        peer_close(p);
        return;
    }
    find_actor(p);
    greet(p);
    if (!has_room) {
        const struct problem full = {"busy", "too many clients of the control socket; try again",
                                     true};
        hang_up(p, &full);
        return;
    }
    if (p->access == ACCESS_NONE) {
        const struct problem denied = {
            "denied", "none of your groups is in control.admins or control.readers", true};
        hang_up(p, &denied);
        return;
    }
    read_on(p);
}

/*
 * Suspended destinations: kept in a file of the spool's folder, so that they survive a restart, and
 * told to the spooler, whose scheduler lets them stand. The list is changed on the admin thread and
 * ended in time on the main one, under a lock; a change counts when the file has it.
 */
#include "queue/file.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/house.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (2u << 20)
#define NAME "list"
#define FRESH "list.new"

static int read_file(struct house *h, struct buf *out)
{
    const struct file_ops *f = h->suspend_fs;
    int fd = f->open(f->ctx, NAME, O_RDONLY, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int64_t size = f->size(f->ctx, fd);
    uint8_t *to = size > 0 && size <= FILE_MAX ? buf_reserve(out, (size_t)size) : NULL;
    ssize_t n = to ? f->pread(f->ctx, fd, to, (size_t)size, 0) : size > 0 ? -EFBIG : size;
    if (n > 0)
        buf_commit(out, (size_t)n);
    f->close(f->ctx, fd);
    return n < 0 ? (int)n : 0;
}

static int write_fresh(const struct file_ops *f, struct slice text)
{
    int fd = f->open(f->ctx, FRESH, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    int rc = f->truncate(f->ctx, fd, 0);
    if (rc >= 0 && text.n > 0)
        rc = (int)f->pwrite(f->ctx, fd, text.p, text.n, 0);
    if (rc >= 0)
        rc = f->fdatasync(f->ctx, fd);
    f->close(f->ctx, fd);
    return rc < 0 ? rc : 0;
}

static int write_file(struct house *h)
{
    const struct file_ops *f = h->suspend_fs;
    DEFER(buf_done) struct buf text = BUF_MAX(FILE_MAX);
    suspensions_write(&h->suspended, &text);
    int rc = write_fresh(f, buf_slice(&text));
    if (rc >= 0)
        rc = f->rename(f->ctx, FRESH, NAME);
    if (rc >= 0)
        rc = f->fsync_dir(f->ctx, ".");
    return rc < 0 ? rc : 0;
}

static void tell_spooler(struct house *h)
{
    struct spooler_suspend *m = must_alloc(sizeof *m);
    m->msg.type = SPOOLER_SUSPEND;
    m->n = h->suspended.n;
    m->names = must_alloc((m->n + 1) * sizeof *m->names);
    for (size_t i = 0; i < m->n; i++)
        m->names[i] = slice_dup(slice_str(h->suspended.list[i].name));
    port_send(spooler_port(h->spooler), &m->msg);
}

int house_make_suspend(struct house *h, struct err *e)
{
    char folder[4096];
    int code = 0;
    DEFER(buf_done) struct buf text = BUF_MAX(FILE_MAX);
    snprintf(folder, sizeof folder, "%s/suspended", h->conf->spool_path);
    h->suspend_fs = file_posix_new(folder, &code);
    if (!h->suspend_fs)
        return err_set(e, -code, "cannot use the folder %s: %s", folder, strerror(code));
    int rc = read_file(h, &text);
    if (rc < 0)
        return err_set(e, rc, "cannot read %s/" NAME ": %s", folder, strerror(-rc));
    size_t bad = suspensions_read(&h->suspended, buf_slice(&text));
    if (bad)
        LOG(LV_WARN, "suspended_list", LOG_N("damaged_lines", bad));
    for (size_t i = 0; i < h->suspended.n; i++)
        LOG(LV_INFO, "destination_suspended", LOG_S("name", h->suspended.list[i].name),
            LOG_S("reason", h->suspended.list[i].reason));
    char **names = must_alloc((h->suspended.n + 1) * sizeof *names);
    for (size_t i = 0; i < h->suspended.n; i++)
        names[i] = h->suspended.list[i].name;
    spooler_set_suspended(h->spooler, names, h->suspended.n);
    free(names);
    return 0;
}

void house_free_suspend(struct house *h)
{
    suspensions_done(&h->suspended);
    if (h->suspend_fs)
        file_posix_free(h->suspend_fs);
}

void house_look_suspended(struct house *h)
{
    uv_mutex_lock(&h->suspending);
    if (suspensions_end(&h->suspended, wall_now()) > 0) {
        int rc = write_file(h);
        if (rc < 0) /* what the file has too much ends at the next start */
            LOG(LV_WARN, "suspended_list", LOG_S("problem", strerror(-rc)));
        tell_spooler(h);
    }
    uv_mutex_unlock(&h->suspending);
}

/* --- operators
 * ------------------------------------------------------------------------------------------ */

bool house_suspended(void *ctx, size_t *at, struct admin_suspension *ret)
{
    struct house *h = ctx;
    uv_mutex_lock(&h->suspending);
    const bool found = *at < h->suspended.n;
    if (found) {
        const struct suspension *s = &h->suspended.list[(*at)++];
        snprintf(ret->name, sizeof ret->name, "%s", s->name);
        snprintf(ret->actor, sizeof ret->actor, "%s", s->actor);
        snprintf(ret->reason, sizeof ret->reason, "%s", s->reason);
        ret->since = s->since;
        ret->until = s->until;
    }
    uv_mutex_unlock(&h->suspending);
    return found;
}
_Static_assert(sizeof((struct admin_suspension *)0)->name > SUSPEND_TEXT_MAX, "room for any");

/* The file, then the spooler; without the file all stays as it was. */
static int keep(struct house *h, struct suspensions *before, struct err *e)
{
    int rc = write_file(h);
    if (rc == 0) {
        tell_spooler(h);
        suspensions_done(before);
        return 0;
    }
    suspensions_done(&h->suspended);
    h->suspended = *before;
    return err_set(e, rc, "the spool cannot be written: %s", strerror(-rc));
}

static void copy_list(const struct suspensions *from, struct suspensions *to)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct suspension *s = &from->list[i];
        suspensions_put(to, slice_str(s->name), slice_str(s->actor), slice_str(s->reason), s->since,
                        s->until);
    }
}

int house_suspend(void *ctx, struct slice name, int64_t for_s, struct slice reason,
                  struct slice actor, struct err *e)
{
    struct house *h = ctx;
    struct suspensions before = {0};
    struct wall now = wall_now(), until = for_s ? wall_add_s(now, for_s) : (struct wall){0};
    uv_mutex_lock(&h->suspending);
    copy_list(&h->suspended, &before);
    int rc = -ENOSPC;
    if (suspensions_put(&h->suspended, name, actor, reason, now, until))
        rc = keep(h, &before, e);
    else
        err_set(e, rc, "at most %d can be suspended", SUSPEND_MAX);
    uv_mutex_unlock(&h->suspending);
    if (rc == 0)
        LOG(LV_INFO, "destination_suspended", LOG_B("name", name), LOG_N("seconds", for_s),
            LOG_B("reason", reason), LOG_B("actor", actor));
    return rc;
}

int house_resume(void *ctx, struct slice name, struct slice actor, struct err *e)
{
    struct house *h = ctx;
    struct suspensions before = {0};
    uv_mutex_lock(&h->suspending);
    copy_list(&h->suspended, &before);
    int rc = suspensions_drop(&h->suspended, name) ? keep(h, &before, e) : -ENOENT;
    if (rc == -ENOENT) {
        suspensions_done(&before);
        err_set(e, rc, "%.*s is not suspended", SLICE_ARG(slice_head(name, 200)));
    }
    uv_mutex_unlock(&h->suspending);
    if (rc == 0)
        LOG(LV_INFO, "destination_resumed", LOG_B("name", name), LOG_B("actor", actor));
    return rc;
}

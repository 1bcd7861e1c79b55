#include "relay/base/maildir.h"
#include "relay/base/clock.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_folder(const char *path, const char *name, struct err *e)
{
    DEFER(buf_done) struct buf b = BUF_MAX(4096);
    buf_addf(&b, "%s%s", path, name);
    if (mkdir(buf_str(&b), 0777) < 0 && errno != EEXIST)
        return err_errno(e, "cannot make the folder %s", buf_str(&b));
    return 0;
}

int maildir_make(const char *path, struct err *e)
{
    static const char *const names[] = {"", "/tmp", "/new", "/cur"};
    int rc = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && rc == 0; i++)
        rc = make_folder(path, names[i], e);
    return rc;
}

/* Unique: time, process, a counter (https://cr.yp.to/proto/maildir.html). */
static void add_name(struct buf *out, const char *host)
{
    static atomic_uint count;
    struct wall now = wall_now();
    buf_addf(out, "%lld.M%06lldP%dQ%u.%s", (long long)(now.us / WALL_SECOND),
             (long long)(now.us % WALL_SECOND), (int)getpid(), atomic_fetch_add(&count, 1) + 1,
             host);
}

static int write_all(int fd, struct slice s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        s = slice_skip(s, (size_t)n);
    }
    return 0;
}

static void add_field(struct buf *out, const char *name, const char *before, struct slice address,
                      const char *after)
{
    buf_addf(out, "%s: %s", name, before);
    buf_add(out, address);
    buf_addf(out, "%s\r\n", after);
}

static int write_envelope(int fd, struct slice sender, const struct slice *rcpts, size_t n)
{
    DEFER(buf_done) struct buf b = BUF_MAX(1 << 20);
    add_field(&b, "Return-Path", "<", sender, ">");
    for (size_t i = 0; i < n; i++)
        add_field(&b, n == 1 ? "Delivered-To" : "X-Envelope-To", "", rcpts[i], "");
    MUST(!b.overflow);
    return write_all(fd, buf_slice(&b));
}

static char *path_of(const char *maildir, const char *folder, const char *name)
{
    DEFER(buf_done) struct buf b = BUF_MAX(8192);
    buf_addf(&b, "%s/%s/%s", maildir, folder, name);
    return slice_dup(buf_slice(&b));
}

int filing_begin(struct filing **ret, const char *maildir, const char *host, struct slice sender,
                 const struct slice *rcpts, size_t n_rcpts, struct err *e)
{
    DEFER(buf_done) struct buf name = BUF_MAX(512);
    add_name(&name, host);
    struct filing *f = must_alloc(sizeof *f);
    f->tmp = path_of(maildir, "tmp", buf_str(&name));
    f->path = path_of(maildir, "new", buf_str(&name));
    f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int rc = f->fd < 0 ? -errno : write_envelope(f->fd, sender, rcpts, n_rcpts);
    if (rc < 0) {
        errno = -rc;
        err_errno(e, "cannot write %s", f->tmp);
        filing_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

int filing_add(struct filing *f, struct slice piece, struct err *e)
{
    int rc = write_all(f->fd, piece);
    if (rc == 0) {
        f->size += piece.n;
        return 0;
    }
    errno = -rc;
    return err_errno(e, "cannot write %s", f->tmp);
}

static int sync_new(const char *maildir)
{
    DEFER(buf_done) struct buf b = BUF_MAX(4096);
    buf_addf(&b, "%s/new", maildir);
    int fd = open(buf_str(&b), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int move(struct filing *f, const char *maildir)
{
    if (rename(f->tmp, f->path) < 0)
        return -errno;
    int rc = sync_new(maildir);
    if (rc < 0)
        unlink(f->path); /* the sender hears 4xx and comes again */
    return rc;
}

int filing_finish(struct filing *f, const char *maildir, struct err *e)
{
    int rc = fsync(f->fd) < 0 ? -errno : move(f, maildir);
    if (rc == 0) {
        close(f->fd);
        f->fd = -1;
        return 0;
    }
    errno = -rc;
    return err_errno(e, "cannot file %s", f->path);
}

void filing_free(struct filing *f)
{
    if (!f)
        return;
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->tmp);
    }
    free(f->tmp);
    free(f->path);
    free(f);
}

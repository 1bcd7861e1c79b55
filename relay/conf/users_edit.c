/* One line of the users file changed, the rest kept as it stands: written whole beside it, synced,
 * renamed. A lock on the folder keeps two editors apart. */
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/conf/users.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define FILE_MAX ((size_t)16 << 20)

struct edit {
    enum users_edit what;
    const char *name, *hash, *options;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static bool is_line_of(struct slice line, const char *name)
{
    struct slice rest = slice_trim(line);
    return slice_find(rest, ':') < rest.n && slice_eq(slice_cut(&rest, ':'), slice_str(name));
}

static void add_line(struct buf *out, const struct edit *w, struct slice options)
{
    buf_addf(out, "%s:%s", w->name, w->hash);
    if (options.n)
        buf_addf(out, ":%.*s", SLICE_ARG(options));
    buf_add_u8(out, '\n');
}

static void copy_line(struct buf *out, struct slice line)
{
    buf_add(out, line);
    buf_add_u8(out, '\n');
}

/* Returns how many lines were of this user. */
static unsigned rewrite(struct buf *out, struct slice old, const struct edit *w)
{
    unsigned found = 0;
    while (old.n) {
        struct slice line = slice_cut(&old, '\n');
        if (!is_line_of(line, w->name)) {
            copy_line(out, line);
            continue;
        }
        found++;
        struct slice options = slice_trim(line);
        slice_cut(&options, ':');
        slice_cut(&options, ':');
        if (w->what == USERS_PASSWORD)
            add_line(out, w, options);
        else if (w->what == USERS_ADD)
            copy_line(out, line);
    }
    if (w->what == USERS_ADD)
        add_line(out, w, slice_str(w->options));
    return found;
}

static int read_file(const char *path, struct buf *text, struct stat *st, struct err *e)
{
    DEFER(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, st) < 0)
        return err_errno(e, "%s", path);
    for (ssize_t n = 1; n != 0;) {
        uint8_t *room = buf_reserve(text, 65536);
        if (!room)
            return err_set(e, -EFBIG, "%s is larger than %zu bytes", path, FILE_MAX);
        n = read(fd, room, 65536);
        if (n < 0)
            return err_errno(e, "%s", path);
        buf_commit(text, (size_t)n);
    }
    return 0;
}

static int write_all(int fd, struct slice text, const char *path, struct err *e)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0)
            return err_errno(e, "%s", path);
        text = slice_skip(text, (size_t)n);
    }
    return fsync(fd) < 0 ? err_errno(e, "%s", path) : 0;
}

static int replace(const char *path, int folder, struct slice text, const struct stat *st,
                   struct err *e)
{
    DEFER(buf_done) struct buf name = BUF_MAX(PATH_MAX);
    buf_addf(&name, "%s.XXXXXX", path);
    DEFER_FREE char *fresh = slice_dup(buf_slice(&name));
    DEFER(close_fd) int fd = mkostemp(fresh, O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s", fresh);
    /* The daemon reads it under its own account: keep whose it was. Only root may give files away.
     */
    if (fchown(fd, st->st_uid, st->st_gid) < 0 && geteuid() == 0)
        err_errno(e, "%s", fresh);
    int rc = fchmod(fd, st->st_mode & 07777) < 0 ? err_errno(e, "%s", fresh) : 0;
    if (rc == 0)
        rc = write_all(fd, text, fresh, e);
    if (rc == 0 && rename(fresh, path) < 0)
        rc = err_errno(e, "%s", path);
    if (rc < 0)
        unlink(fresh);
    else if (fsync(folder) < 0)
        rc = err_errno(e, "%s", path);
    return rc;
}

static int edit_locked(const char *path, int folder, const struct edit *w, struct err *e)
{
    DEFER(buf_done) struct buf old = BUF_MAX(FILE_MAX), fresh = BUF_MAX(FILE_MAX + 4096);
    struct stat st;
    int rc = read_file(path, &old, &st, e);
    if (rc < 0)
        return rc;
    unsigned found = rewrite(&fresh, buf_slice(&old), w);
    if (w->what == USERS_ADD && found)
        return err_set(e, -EEXIST, "user %s exists already", w->name);
    if (w->what != USERS_ADD && !found)
        return err_set(e, -ENOENT, "there is no user %s", w->name);
    if (fresh.overflow)
        return err_set(e, -EFBIG, "%s would be larger than %zu bytes", path, FILE_MAX);
    return replace(path, folder, buf_slice(&fresh), &st, e);
}

static bool one_line(const char *text)
{
    return !text || !strpbrk(text, "\r\n");
}

int users_edit(const char *path, enum users_edit what, const char *name, const char *hash,
               const char *opts, struct err *e)
{
    struct edit w = {what, name, hash, opts ? opts : ""};
    if (!user_name_ok(slice_str(name)))
        return err_set(e, -EINVAL, "\"%s\" is not a user name: 1 to 64 of A-Z a-z 0-9 . _ - @ +",
                       name);
    MUST(what == USERS_REMOVE || hash);
    if (!one_line(hash) || !one_line(opts) || (hash && strchr(hash, ':')))
        return err_set(e, -EINVAL, "a line of the users file cannot hold that");
    /* Behind a symbolic link the file itself is replaced, not the link. */
    DEFER_FREE char *real = realpath(path, NULL);
    if (!real)
        return err_errno(e, "%s", path);
    char *slash = strrchr(real, '/');
    DEFER_FREE char *folder_path = slice_dup(slice_of(real, (size_t)(slash - real) + 1));
    DEFER(close_fd) int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || flock(folder, LOCK_EX) < 0)
        return err_errno(e, "%s", folder_path);
    return edit_locked(real, folder, &w, e);
}

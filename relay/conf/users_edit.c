/* One line of the users file changed, the rest kept as it stands: written whole beside it, synced,
 * renamed. A lock on the folder keeps two editors apart. */
#include "relay/base/base64.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/conf/users_private.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define KEY_COMMENT                                                                                \
    "# What names that are not in this file are answered with: keep the next line.\n"

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

static struct slice key_of(struct slice option)
{
    return slice_head(option, slice_find(option, '='));
}

/* Whether an item of "key=value,…" (or "key,…") has this key. */
static bool has_key(struct slice list, struct slice key)
{
    while (list.n)
        if (slice_eq(key_of(slice_trim(slice_cut(&list, ','))), key))
            return true;
    return false;
}

struct line_writer {
    struct buf *out;
    unsigned n; /* options so far */
};

static void add_option(struct line_writer *w, struct slice option)
{
    buf_addf(w->out, "%c%.*s", w->n++ ? ',' : ':', SLICE_ARG(option));
}

static void add_options(struct line_writer *w, struct slice options)
{
    while (options.n) {
        struct slice option = slice_trim(slice_cut(&options, ','));
        if (option.n)
            add_option(w, option);
    }
}

/* Of the old options those stay that nothing speaks against. */
static bool stays(const struct users_change *c, struct slice option)
{
    struct slice key = key_of(option);
    if (c->what == USERS_PASSWORD)
        return !slice_eq(key, SLICE_LIT("scram"));
    return !has_key(slice_str(c->options), key) && !has_key(slice_str(c->unset), key);
}

static void add_line(struct buf *out, const struct users_change *c, struct slice hash,
                     struct slice old_options)
{
    struct line_writer w = {.out = out};
    buf_addf(out, "%s:%.*s", c->name, SLICE_ARG(hash));
    if (c->secrets && c->secrets->scram[0]) {
        DEFER(buf_done) struct buf scram = BUF_MAX(sizeof c->secrets->scram + 8);
        buf_addf(&scram, "scram=%s", c->secrets->scram);
        add_option(&w, buf_slice(&scram));
    }
    while (old_options.n) {
        struct slice option = slice_trim(slice_cut(&old_options, ','));
        if (option.n && stays(c, option))
            add_option(&w, option);
    }
    add_options(&w, slice_str(c->options));
    buf_add_u8(out, '\n');
}

static void copy_line(struct buf *out, struct slice line)
{
    buf_add(out, line);
    buf_add_u8(out, '\n');
}

static void change_line(struct buf *out, struct slice line, const struct users_change *c)
{
    struct slice options = slice_trim(line);
    slice_cut(&options, ':');
    struct slice hash = slice_cut(&options, ':');
    if (c->what == USERS_ADD)
        copy_line(out, line);
    else if (c->what == USERS_PASSWORD)
        add_line(out, c, slice_str(c->secrets->hash), options);
    else if (c->what == USERS_SET)
        add_line(out, c, hash, options);
}

/* Answers to unknown names are made with it: random, once. */
static void add_key(struct buf *out)
{
    DEFER(buf_done) struct buf text = BUF_MAX(64);
    uint8_t key[32];
    rand_bytes(key, sizeof key);
    MUST(base64_encode(&text, slice_of(key, sizeof key)));
    buf_addf(out, KEY_COMMENT USERS_KEY_START "%s\n", buf_str(&text));
    explicit_bzero(key, sizeof key);
}

/* Returns how many lines were of this user. */
static unsigned rewrite(struct buf *out, struct slice old, const struct users_change *c)
{
    unsigned found = 0;
    bool has_file_key = false;
    while (old.n) {
        struct slice line = slice_cut(&old, '\n');
        const bool ours = is_line_of(line, c->name);
        found += ours;
        has_file_key |= slice_starts(slice_trim(line), SLICE_LIT(USERS_KEY_START));
        if (ours)
            change_line(out, line, c);
        else
            copy_line(out, line);
    }
    if (!has_file_key && c->secrets && c->secrets->scram[0])
        add_key(out);
    if (c->what == USERS_ADD)
        add_line(out, c, slice_str(c->secrets->hash), SLICE_NONE);
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
            return err_set(e, -EFBIG, "%s is larger than %zu bytes", path, USERS_FILE_MAX);
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
    int rc = 0;
    if ((fchown(fd, st->st_uid, st->st_gid) < 0 && geteuid() == 0) ||
        fchmod(fd, st->st_mode & 07777) < 0)
        rc = err_errno(e, "%s", fresh);
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

static int edit_locked(const char *path, int folder, const struct users_change *c, struct err *e)
{
    DEFER(buf_done)
    struct buf old = BUF_MAX(USERS_FILE_MAX), fresh = BUF_MAX(USERS_FILE_MAX + 8192);
    struct stat st;
    int rc = read_file(path, &old, &st, e);
    if (rc < 0)
        return rc;
    unsigned found = rewrite(&fresh, buf_slice(&old), c);
    if (c->what == USERS_ADD && found)
        return err_set(e, -EEXIST, "user %s exists already", c->name);
    if (c->what != USERS_ADD && !found)
        return err_set(e, -ENOENT, "there is no user %s", c->name);
    if (fresh.overflow || fresh.n > USERS_FILE_MAX)
        return err_set(e, -EFBIG, "%s would be larger than %zu bytes", path, USERS_FILE_MAX);
    rc = users_text_check(buf_slice(&fresh), path, e);
    return rc < 0 ? rc : replace(path, folder, buf_slice(&fresh), &st, e);
}

static bool one_line(const char *text)
{
    return !text || !strpbrk(text, "\r\n");
}

static bool is_writable(const struct users_change *c)
{
    const struct user_secrets *s = c->secrets;
    return one_line(c->options) && one_line(c->unset) &&
           (!s || (one_line(s->hash) && one_line(s->scram) && !strchr(s->hash, ':')));
}

int users_edit(const char *path, const struct users_change *c, struct err *e)
{
    MUST(c->secrets || c->what == USERS_SET || c->what == USERS_REMOVE);
    if (!user_name_ok(slice_str(c->name)))
        return err_set(e, -EINVAL, "\"%s\" is not a user name: 1 to 64 of A-Z a-z 0-9 . _ - @ +",
                       c->name);
    if (!is_writable(c))
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
    return edit_locked(real, folder, c, e);
}

#include "relay/events/logfile.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/events/line.h"
#include "relay/events/names.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TAIL_BYTES (4 * LINE_MAX_BYTES) /* at least three whole lines */
enum { FIRST_BYTES = 1024 };            /* the names and numbers of a first line */

/* ---- the folder ---- */

static int make_folders(char *path, struct err *e)
{
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char end = *p;
        *p = 0;
        int rc = mkdir(path, 0750);
        int why = errno;
        *p = end;
        if (rc < 0 && why != EEXIST && (end == 0 || why != EACCES)) {
            errno = why;
            return err_errno(e, "cannot make the folder %s", path);
        }
        if (end == 0)
            return 0;
    }
}

/* A new name is as durable as its folder. */
static void sync_folder(const struct logfile *f)
{
    int fd = open(f->names.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int logfile_init(struct logfile *f, const char *path, struct err *e)
{
    *f = (struct logfile){.fd = -1};
    if (!names_init(&f->names, path))
        return err_set(e, -EINVAL, "the delivery log's path %s names no file", path);
    f->path = slice_dup(slice_str(path));
    return make_folders(f->names.folder, e);
}

void logfile_done(struct logfile *f)
{
    logfile_close(f);
    free(f->path);
    names_done(&f->names);
}

/* ---- reading the end ---- */

void logfile_tail_done(struct logfile_tail *t)
{
    buf_done(&t->torn);
}

static int read_at(int fd, uint64_t offset, size_t n, struct buf *ret)
{
    buf_init(ret, n);
    while (ret->n < n) {
        uint8_t *room = buf_reserve(ret, n - ret->n);
        MUST(room);
        ssize_t got = pread(fd, room, n - ret->n, (off_t)(offset + ret->n));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        buf_commit(ret, (size_t)got);
    }
    return 0;
}

/* Index behind the last line feed of s; 0 when there is none. */
static size_t behind_last_line(struct slice s)
{
    size_t n = s.n;
    while (n > 0 && s.p[n - 1] != '\n')
        n--;
    return n;
}

static bool last_seq(struct slice lines, uint64_t *ret)
{
    while (lines.n > 0) {
        struct slice before = slice_head(lines, lines.n - 1);
        size_t start = behind_last_line(before);
        if (line_seq(slice_skip(before, start), ret))
            return true;
        lines = slice_head(lines, start);
    }
    return false;
}

static int read_tail(int fd, uint64_t size, struct logfile_tail *ret)
{
    size_t n = size < TAIL_BYTES ? (size_t)size : TAIL_BYTES;
    DEFER(buf_done) struct buf tail;
    int rc = read_at(fd, size - n, n, &tail);
    if (rc < 0)
        return rc;
    struct slice all = buf_slice(&tail);
    size_t end = behind_last_line(all);
    struct slice torn = slice_skip(all, end);
    ret->spoiled = torn.n >= LINE_MAX_BYTES;
    buf_init(&ret->torn, LINE_MAX_BYTES);
    if (!ret->spoiled)
        buf_add(&ret->torn, torn);
    ret->has_seq = last_seq(slice_head(all, end), &ret->seq);
    return 0;
}

/* What the first line says. */
static void read_first(struct logfile *f)
{
    DEFER(buf_done) struct buf head;
    f->id[0] = 0;
    f->began = wall_now();
    f->before = UINT64_MAX;
    if (read_at(f->fd, 0, FIRST_BYTES, &head) < 0)
        return;
    struct slice id = line_file_id(buf_slice(&head));
    if (id.n == 0 || id.n >= sizeof f->id)
        return;
    memcpy(f->id, id.p, id.n);
    f->id[id.n] = 0;
    line_opened_time(buf_slice(&head), &f->began);
    line_seq(buf_slice(&head), &f->before);
}

/* ---- the live file ---- */

int logfile_open(struct logfile *f, struct logfile_tail *ret, struct err *e)
{
    struct stat st;
    *ret = (struct logfile_tail){0};
    MUST(f->fd < 0);
    f->fd = open(f->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    if (f->fd < 0) /* a pipe or a terminal that is only written */
        f->fd = open(f->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0)
        return err_errno(e, "cannot open the delivery log %s", f->path);
    if (fstat(f->fd, &st) < 0)
        return logfile_close(f), err_errno(e, "cannot look at the delivery log %s", f->path);
    f->regular = S_ISREG(st.st_mode);
    f->size = f->regular ? (uint64_t)st.st_size : 0;
    f->id[0] = 0;
    ret->empty = f->size == 0;
    if (ret->empty) {
        sync_folder(f);
        return 0;
    }
    int rc = read_tail(f->fd, f->size, ret);
    if (rc < 0) {
        logfile_close(f);
        errno = -rc;
        return err_errno(e, "cannot read the end of the delivery log %s", f->path);
    }
    read_first(f);
    return 0;
}

void logfile_close(struct logfile *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

int logfile_append(struct logfile *f, struct slice s, size_t *ret_n, struct err *e)
{
    ssize_t n;
    do
        n = write(f->fd, s.p, s.n);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, "cannot write to the delivery log %s", f->path);
    *ret_n = (size_t)n;
    f->size += (size_t)n;
    return 0;
}

int logfile_sync(struct logfile *f, struct err *e)
{
    if (!f->regular || fdatasync(f->fd) == 0)
        return 0;
    return err_errno(e, "cannot sync the delivery log %s", f->path);
}

bool logfile_moved(const struct logfile *f)
{
    struct stat named, open_one;
    if (f->fd < 0 || !f->regular || fstat(f->fd, &open_one) < 0)
        return false;
    if (stat(f->path, &named) < 0)
        return errno == ENOENT;
    return named.st_ino != open_one.st_ino || named.st_dev != open_one.st_dev;
}

/* By a file, or by what is left of it compressed. */
static bool is_taken(const char *path)
{
    DEFER(buf_done) struct buf packed = BUF_MAX(4096);
    buf_addf(&packed, "%s" NAMES_PACKED, path);
    return access(path, F_OK) == 0 || access(buf_str(&packed), F_OK) == 0;
}

int logfile_set_aside(struct logfile *f, struct wall now, uint64_t seq, bool torn, struct err *e)
{
    DEFER(buf_done) struct buf to = BUF_MAX(4096);
    for (unsigned copy = 1;; copy++) {
        buf_reset(&to);
        buf_addf(&to, "%s/", f->names.folder);
        names_write(&to, &f->names, &(struct name){now, seq, copy, torn});
        if (!is_taken(buf_str(&to)))
            break;
    }
    if (rename(f->path, buf_str(&to)) < 0)
        return err_errno(e, "cannot rename the delivery log %s to %s", f->path, buf_str(&to));
    sync_folder(f);
    return 0;
}

/* ---- those set aside ---- */

/* The last number in the file itself: a crash may have taken the end of one whose name promises
 * more. A compressed one was whole when it was made. */
static bool seq_of(const struct logfile *f, const struct names_file *one, uint64_t *ret)
{
    DEFER(buf_done) struct buf path = BUF_MAX(4096);
    if (one->packed) {
        *ret = one->seq;
        return true;
    }
    buf_addf(&path, "%s/%s", f->names.folder, one->name);
    int fd = open(buf_str(&path), O_RDONLY | O_CLOEXEC);
    struct logfile_tail tail = {0};
    bool found = fd >= 0 && read_tail(fd, one->bytes, &tail) == 0 && tail.has_seq;
    if (fd >= 0)
        close(fd);
    if (found)
        *ret = tail.seq;
    logfile_tail_done(&tail);
    return found;
}

bool logfile_newest_seq(const struct logfile *f, uint64_t *ret)
{
    DEFER(names_list_done) struct names_list l;
    return names_list(&l, &f->names) == 0 && l.n > 0 && seq_of(f, &l.at[l.n - 1], ret);
}

bool logfile_room(const struct logfile *f, uint64_t *ret_bytes, uint64_t *ret_files)
{
    struct statvfs st;
    if (statvfs(f->names.folder, &st) < 0)
        return false;
    *ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_files = st.f_files ? (uint64_t)st.f_favail : UINT64_MAX; /* 0: made as they are needed */
    return true;
}

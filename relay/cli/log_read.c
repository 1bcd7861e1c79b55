#include "relay/cli/log_read.h"
#include "relay/base/buf.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/cli/log_seek.h"
#include "relay/events/line.h"
#include "relay/events/names.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { PIECE = 256 * 1024, WINDOW = 1 << 20, PACKED_TIMES = 10 }; /* events become a tenth */

struct log_read {
    char *path;
    struct names names;
    uint64_t next;      /* the number that is wanted; 0: any */
    bool by_seq;        /* files put aside, too */
    bool from_oldest;   /* whatever is the first line is not a gap */
    struct wall since;  /* the first file is begun here … */
    uint64_t max_bytes; /* … or so far before its end; 0: as files are */
    uint64_t gap_from, gap_to;
    uint64_t newest;   /* number that lines and names have told of, passed over or not */
    uint64_t done_seq; /* of the file put aside that was read last … */
    char *done_name;   /* … and its name; NULL: none */
    /* the open file; fd -1: none */
    int fd;
    bool live, moved;
    char *name; /* of one put aside */
    uint64_t name_seq;
    ZSTD_DCtx *z;      /* NULL: it is not compressed */
    struct buf packed; /* read, not yet decompressed */
    struct buf data;   /* lines from `at` on */
    size_t at, seen;   /* seen: no line feed stands before it */
};

static struct log_read *make(const char *live)
{
    struct log_read *r = must_alloc(sizeof *r);
    r->fd = -1;
    if (!names_init(&r->names, live)) {
        free(r);
        return NULL;
    }
    r->path = slice_dup(slice_str(live));
    buf_init(&r->packed, WINDOW);
    buf_init(&r->data, WINDOW);
    return r;
}

struct log_read *log_read_since(const char *live, uint64_t after)
{
    struct log_read *r = make(live);
    if (r) {
        r->next = after + 1;
        r->by_seq = true;
        r->from_oldest = after == 0;
    }
    return r;
}

struct log_read *log_read_live(const char *live)
{
    return make(live);
}

static uint64_t live_bytes(const struct log_read *r)
{
    struct stat st;
    return stat(r->path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/* The number of the last event before the oldest file that is wanted, for its time and as long as
 * there is room; a file that has no room whole is not begun, unless it is the live one. */
static uint64_t last_before(const struct log_read *r, const struct names_list *l)
{
    uint64_t bytes = live_bytes(r);
    size_t first = l->n;
    while (first > 0 && (l->at[first - 1].written_s + 1) * WALL_SECOND >= r->since.us) {
        bytes += l->at[first - 1].bytes * (l->at[first - 1].packed ? PACKED_TIMES : 1);
        if (bytes > r->max_bytes)
            break;
        first--;
    }
    return first > 0 ? l->at[first - 1].seq : 0;
}

struct log_read *log_read_from(const char *live, struct wall since, uint64_t max_bytes)
{
    DEFER(names_list_done) struct names_list l = {0};
    struct log_read *r = make(live);
    if (!r)
        return NULL;
    r->by_seq = r->from_oldest = true;
    r->since = since;
    r->max_bytes = max_bytes;
    r->next = 1;
    if (names_list(&l, &r->names) == 0)
        r->next = last_before(r, &l) + 1;
    return r;
}

static void leave(struct log_read *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    ZSTD_freeDCtx(TAKE_PTR(r->z));
    if (r->name) {
        free(r->done_name);
        r->done_name = TAKE_PTR(r->name);
        r->done_seq = r->name_seq;
    }
    buf_reset(&r->packed);
    buf_reset(&r->data);
    r->at = r->seen = 0;
    r->live = r->moved = false;
}

void log_read_free(struct log_read *r)
{
    if (!r)
        return;
    leave(r);
    free(r->done_name);
    free(r->path);
    names_done(&r->names);
    buf_done(&r->packed);
    buf_done(&r->data);
    free(r);
}

bool log_read_gap(struct log_read *r, uint64_t *ret_from, uint64_t *ret_to)
{
    if (r->gap_from == 0)
        return false;
    *ret_from = r->gap_from;
    *ret_to = r->gap_to;
    r->gap_from = 0;
    return true;
}

bool log_read_is_ahead(const struct log_read *r, uint64_t after, uint64_t *ret_newest)
{
    if (r->fd < 0 || !r->live || after <= r->newest)
        return false;
    *ret_newest = r->newest;
    return true;
}

static void note_newest(struct log_read *r, uint64_t seq)
{
    if (seq > r->newest)
        r->newest = seq;
}

/* ---- which file ---- */

static bool is_behind_done(const struct log_read *r, const struct names_file *f)
{
    if (!r->done_name)
        return true;
    return f->seq != r->done_seq ? f->seq > r->done_seq : strcmp(f->name, r->done_name) > 0;
}

static bool open_aside(struct log_read *r, const struct names_file *f)
{
    DEFER(buf_done) struct buf path = BUF_MAX(8192);
    buf_addf(&path, "%s/%s", r->names.folder, f->name);
    r->fd = open(buf_str(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (r->fd < 0)
        return false;
    r->name = slice_dup(slice_str(f->name));
    r->name_seq = f->seq;
    r->z = f->packed ? ZSTD_createDCtx() : NULL;
    return true;
}

/* The oldest one put aside that has what is wanted: 1, 0: there is none, or negative errno. One
 * that is gone when it is opened has been compressed meanwhile. */
static int open_next_aside(struct log_read *r)
{
    for (unsigned tries = 0; tries < 100; tries++) {
        DEFER(names_list_done) struct names_list l;
        int rc = names_list(&l, &r->names);
        if (rc < 0)
            return rc;
        const struct names_file *wanted = NULL;
        note_newest(r, l.n ? l.at[l.n - 1].seq : 0);
        for (size_t i = 0; i < l.n && !wanted; i++)
            if (l.at[i].seq >= r->next && is_behind_done(r, &l.at[i]))
                wanted = &l.at[i];
        if (!wanted)
            return 0;
        if (open_aside(r, wanted))
            return 1;
        if (errno != ENOENT)
            return -errno;
    }
    return -EAGAIN;
}

static int open_live(struct log_read *r)
{
    struct stat st;
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        leave(r);
        return -ESPIPE;
    }
    r->live = true;
    return 1;
}

/* 1: a file is open; 0: there is none yet. */
static int open_next(struct log_read *r)
{
    const bool aside = r->by_seq || r->next > 0;
    int rc = aside ? open_next_aside(r) : 0;
    if (rc != 0)
        return rc;
    rc = open_live(r);
    if (rc <= 0 || !aside)
        return rc;
    /* It may have become the live one since we looked. */
    int fd = r->fd;
    r->fd = -1;
    rc = open_next_aside(r);
    if (rc == 0) {
        r->fd = fd;
        return 1;
    }
    close(fd);
    r->live = false;
    return rc;
}

/* Of the first file the beginning is passed over, where there is one. */
static void begin_within(struct log_read *r)
{
    struct stat st;
    const uint64_t max_bytes = r->max_bytes;
    r->max_bytes = 0;
    if (max_bytes == 0 || r->z || fstat(r->fd, &st) < 0)
        return;
    const uint64_t size = (uint64_t)st.st_size;
    uint64_t at = log_seek(r->fd, size, r->since);
    if (size - at > max_bytes)
        at = log_seek_line(r->fd, size, size - max_bytes);
    lseek(r->fd, (off_t)at, SEEK_SET);
}

static int open_and_begin(struct log_read *r)
{
    int rc = open_next(r);
    if (rc > 0)
        begin_within(r);
    return rc;
}

/* ---- reading ---- */

/* What is before `at` goes; room for more. NULL: a line that is no line fills the window. */
static uint8_t *make_room(struct log_read *r, size_t n)
{
    buf_drop(&r->data, r->at);
    r->seen -= r->at;
    r->at = 0;
    uint8_t *room = buf_reserve(&r->data, n);
    if (!room) { /* garbage without a line feed: passed over */
        buf_reset(&r->data);
        r->seen = 0;
        room = buf_reserve(&r->data, n);
    }
    return room;
}

static ssize_t read_some(int fd, uint8_t *p, size_t n)
{
    ssize_t got;
    do
        got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static int unpack(struct log_read *r)
{
    ZSTD_inBuffer in = {r->packed.p, r->packed.n, 0};
    ZSTD_outBuffer out = {make_room(r, PIECE), PIECE, 0};
    size_t rc = ZSTD_decompressStream(r->z, &out, &in);
    if (ZSTD_isError(rc))
        return -EBADMSG;
    buf_commit(&r->data, out.pos);
    buf_drop(&r->packed, in.pos);
    return out.pos > 0 || in.pos > 0;
}

/* More of the open file: 1, 0: its end, or negative errno. */
static int fill(struct log_read *r)
{
    struct buf *to = r->z ? &r->packed : &r->data;
    if (r->z && r->packed.n > 0)
        return unpack(r);
    uint8_t *room = r->z ? buf_reserve(to, PIECE) : make_room(r, PIECE);
    ssize_t n = read_some(r->fd, room, PIECE);
    if (n <= 0)
        return (int)n;
    buf_commit(to, (size_t)n);
    return r->z ? unpack(r) : 1;
}

/* The live name leads to another file. As long as there is none, the daemon may still write here.
 */
static bool is_moved(const struct log_read *r)
{
    struct stat open_one, named;
    return fstat(r->fd, &open_one) == 0 && stat(r->path, &named) == 0 &&
           (open_one.st_ino != named.st_ino || open_one.st_dev != named.st_dev);
}

/* At the end of the open file: 1: look on; 0: there is no more now. */
static int at_end(struct log_read *r)
{
    if (!r->live || r->moved) {
        leave(r);
        return 1;
    }
    r->moved = is_moved(r); /* then it is read to its end once more, which is final now */
    return r->moved;
}

/* ---- lines ---- */

static bool take_line(struct log_read *r, struct slice *ret)
{
    struct slice rest = slice_skip(buf_slice(&r->data), r->seen);
    size_t n = slice_find(rest, '\n');
    r->seen += n;
    if (n == rest.n)
        return false;
    r->seen++;
    *ret = slice_of(r->data.p + r->at, r->seen - r->at);
    r->at = r->seen;
    return true;
}

/* The number of an event's line; 0: it is none. */
static uint64_t seq_of(struct slice line)
{
    uint64_t seq = 0;
    static const struct slice service = {(const uint8_t *)"{\"v\":1,\"event\":", 15};
    return !slice_starts(line, service) && line_seq(line, &seq) ? seq : 0;
}

/* A line that is no event tells the number before its file's first one. */
static void note_opened(struct log_read *r, struct slice line)
{
    uint64_t before = 0;
    if (line_seq(line, &before))
        note_newest(r, before);
}

/* Whether this one is to be given; then what is wanted is the one behind it. */
static bool is_wanted(struct log_read *r, uint64_t seq)
{
    note_newest(r, seq);
    if (seq == 0)
        return !r->by_seq;
    if (seq < r->next)
        return false;
    if (r->next > 0 && seq > r->next && !r->from_oldest) {
        r->gap_from = r->next;
        r->gap_to = seq - 1;
    }
    r->from_oldest = false;
    r->next = seq + 1;
    return true;
}

static int fail(struct log_read *r, int code, struct err *e)
{
    if (code == -ESPIPE)
        return err_set(e, code, "%s is no file: what goes there cannot be read again", r->path);
    if (code == -EBADMSG)
        return err_set(e, code, "%s/%s is damaged: it cannot be decompressed", r->names.folder,
                       r->name);
    errno = -code;
    return err_errno(e, "%s", r->name ? r->name : r->path);
}

int log_read_next(struct log_read *r, struct slice *ret, uint64_t *ret_seq, struct err *e)
{
    for (;;) {
        int rc;
        while (take_line(r, ret)) {
            *ret_seq = seq_of(*ret);
            if (*ret_seq == 0)
                note_opened(r, *ret);
            if (is_wanted(r, *ret_seq))
                return 1;
        }
        if (r->fd < 0)
            rc = open_and_begin(r);
        else if ((rc = fill(r)) == 0)
            rc = at_end(r);
        if (rc <= 0)
            return rc < 0 ? fail(r, rc, e) : 0;
    }
}

#include "relay/events/names.h"
#include "relay/base/defer.h"
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void names_write(struct buf *out, const char *stem, const char *ending, const struct name *n)
{
    char t[WALL_RFC3339_SIZE];
    wall_rfc3339(n->time, t); /* 2026-01-02T03:04:05.123456Z */
    buf_addf(out, "%s-%.4s%.2s%.2sT%.2s%.2s%.2sZ-%" PRIu64, stem, t, t + 5, t + 8, t + 11, t + 14,
             t + 17, n->seq);
    if (n->copy > 1)
        buf_addf(out, "-%u", n->copy);
    buf_addf(out, "%s%s", n->torn ? "-torn" : "", ending);
}

static bool is_time(struct slice s)
{
    static const char shape[] = "00000000T000000Z";
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        bool fits = i < s.n && (shape[i] == '0' ? s.p[i] >= '0' && s.p[i] <= '9'
                                                : s.p[i] == (uint8_t)shape[i]);
        if (!fits)
            return false;
    }
    return s.n == sizeof shape - 1;
}

bool names_parse(struct slice name, const char *stem, const char *ending, uint64_t *ret_seq)
{
    struct slice first = slice_str(stem), last = slice_str(ending), torn = SLICE_LIT("-torn");
    if (!slice_starts(name, first) || name.n < first.n + last.n + 1 || name.p[first.n] != '-')
        return false;
    struct slice rest = slice_skip(name, first.n + 1);
    if (!slice_eq(slice_skip(rest, rest.n - last.n), last))
        return false;
    rest = slice_head(rest, rest.n - last.n);
    if (rest.n > torn.n && slice_eq(slice_skip(rest, rest.n - torn.n), torn))
        rest = slice_head(rest, rest.n - torn.n);
    uint64_t seq, copy = 2;
    bool has_copy;
    if (!is_time(slice_cut(&rest, '-')))
        return false;
    struct slice number = slice_cut(&rest, '-');
    has_copy = rest.n > 0;
    if (!slice_u64(number, UINT64_MAX, &seq) || (has_copy && !slice_u64(rest, UINT32_MAX, &copy)))
        return false;
    *ret_seq = seq;
    return true;
}

/* Calls each for every set-aside file of the log. */
static void names_each(const char *folder, const char *stem, const char *ending,
                       void (*each)(void *ctx, int folder_fd, const char *name, uint64_t seq),
                       void *ctx)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    uint64_t seq;
    while (d && (entry = readdir(d)))
        if (names_parse(slice_str(entry->d_name), stem, ending, &seq))
            each(ctx, dirfd(d), entry->d_name, seq);
    if (d)
        closedir(d);
}

struct newest {
    char *name;
    uint64_t seq;
};

static void keep_newest(void *ctx, int folder_fd, const char *name, uint64_t seq)
{
    struct newest *best = ctx;
    (void)folder_fd;
    if (best->name && best->seq >= seq)
        return;
    free(best->name);
    *best = (struct newest){slice_dup(slice_str(name)), seq};
}

char *names_newest(const char *folder, const char *stem, const char *ending)
{
    struct newest best = {0};
    names_each(folder, stem, ending, keep_newest, &best);
    return best.name;
}

struct sweep {
    struct wall before;
    unsigned removed;
};

static void remove_older(void *ctx, int folder_fd, const char *name, uint64_t seq)
{
    struct sweep *s = ctx;
    struct stat st;
    (void)seq;
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        (int64_t)st.st_mtim.tv_sec < s->before.us / WALL_SECOND &&
        unlinkat(folder_fd, name, 0) == 0)
        s->removed++;
}

unsigned names_remove_older(const char *folder, const char *stem, const char *ending,
                            struct wall before)
{
    struct sweep s = {.before = before};
    names_each(folder, stem, ending, remove_older, &s);
    return s.removed;
}

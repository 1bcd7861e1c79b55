#include "relay/events/names.h"
#include "relay/base/must.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

bool names_init(struct names *n, const char *path)
{
    struct slice whole = slice_str(path);
    size_t slash = whole.n;
    while (slash > 0 && whole.p[slash - 1] != '/')
        slash--;
    struct slice name = slice_skip(whole, slash);
    if (name.n == 0)
        return false;
    size_t dot = name.n;
    while (dot > 0 && name.p[dot - 1] != '.')
        dot--;
    size_t stem = dot > 1 ? dot - 1 : name.n;
    n->folder = slice_dup(slash == 0   ? SLICE_LIT(".")
                          : slash == 1 ? SLICE_LIT("/")
                                       : slice_head(whole, slash - 1));
    n->stem = slice_dup(slice_head(name, stem));
    n->ending = slice_dup(slice_skip(name, stem));
    return true;
}

void names_done(struct names *n)
{
    free(n->folder);
    free(n->stem);
    free(n->ending);
    *n = (struct names){0};
}

void names_write(struct buf *out, const struct names *of, const struct name *n)
{
    char t[WALL_RFC3339_SIZE];
    wall_rfc3339(n->time, t); /* 2026-01-02T03:04:05.123456Z */
    buf_addf(out, "%s-%.4s%.2s%.2sT%.2s%.2s%.2sZ-%" PRIu64, of->stem, t, t + 5, t + 8, t + 11,
             t + 14, t + 17, n->seq);
    if (n->copy > 1)
        buf_addf(out, "-%u", n->copy);
    buf_addf(out, "%s%s", n->torn ? "-torn" : "", of->ending);
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

/* Takes `end` away from the end of s when it is there. */
static bool cut_end(struct slice *s, struct slice end)
{
    if (s->n < end.n || !slice_eq(slice_skip(*s, s->n - end.n), end))
        return false;
    *s = slice_head(*s, s->n - end.n);
    return true;
}

bool names_parse(struct slice name, const struct names *of, uint64_t *ret_seq, bool *ret_packed)
{
    struct slice first = slice_str(of->stem);
    if (!slice_starts(name, first) || name.n <= first.n || name.p[first.n] != '-')
        return false;
    struct slice rest = slice_skip(name, first.n + 1);
    bool packed = cut_end(&rest, SLICE_LIT(NAMES_PACKED));
    if (!cut_end(&rest, slice_str(of->ending)))
        return false;
    cut_end(&rest, SLICE_LIT("-torn"));
    uint64_t seq, copy = 2;
    if (!is_time(slice_cut(&rest, '-')))
        return false;
    struct slice number = slice_cut(&rest, '-');
    const bool has_copy = rest.n > 0;
    if (!slice_u64(number, UINT64_MAX, &seq) || (has_copy && !slice_u64(rest, UINT32_MAX, &copy)))
        return false;
    *ret_seq = seq;
    *ret_packed = packed;
    return true;
}

static int by_age(const void *a, const void *b)
{
    const struct names_file *x = a, *y = b;
    if (x->seq != y->seq)
        return x->seq < y->seq ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void add(struct names_list *l, size_t *cap, int folder, const char *name, uint64_t seq,
                bool packed)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return;
    if (l->n == *cap) {
        *cap = *cap ? 2 * *cap : 64;
        l->at = must_realloc(l->at, *cap * sizeof *l->at);
    }
    l->at[l->n++] = (struct names_file){.name = slice_dup(slice_str(name)),
                                        .seq = seq,
                                        .bytes = (uint64_t)st.st_size,
                                        .written_s = st.st_mtim.tv_sec,
                                        .packed = packed};
}

int names_list(struct names_list *ret, const struct names *of)
{
    size_t cap = 0;
    uint64_t seq;
    bool packed;
    *ret = (struct names_list){0};
    DIR *d = opendir(of->folder);
    if (!d)
        return -errno;
    for (struct dirent *entry; (entry = readdir(d));)
        if (names_parse(slice_str(entry->d_name), of, &seq, &packed))
            add(ret, &cap, dirfd(d), entry->d_name, seq, packed);
    closedir(d);
    if (ret->n)
        qsort(ret->at, ret->n, sizeof *ret->at, by_age);
    return 0;
}

void names_list_done(struct names_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->at[i].name);
    free(l->at);
    *l = (struct names_list){0};
}

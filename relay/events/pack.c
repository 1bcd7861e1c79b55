#include "relay/events/pack.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { LEVEL = 3, PIECE = 256 * 1024, PATH_BYTES = 4096 };
#define NEW_END ".new"

struct packing {
    int from, to;
    ZSTD_CCtx *z;
    uint8_t *in, *out;
    const atomic_bool *stop;
};

static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = write(fd, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

/* One piece of the file; the last one ends the frame. */
static int pack_piece(struct packing *k, size_t n, bool last)
{
    ZSTD_inBuffer in = {k->in, n, 0};
    size_t left;
    do {
        ZSTD_outBuffer out = {k->out, PIECE, 0};
        left = ZSTD_compressStream2(k->z, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return -EIO;
        int rc = write_all(k->to, k->out, out.pos);
        if (rc < 0)
            return rc;
    } while (last ? left > 0 : in.pos < in.size);
    return 0;
}

static int pack_all(struct packing *k)
{
    for (off_t at = 0;;) {
        if (atomic_load(k->stop))
            return -ECANCELED;
        ssize_t n = read(k->from, k->in, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        int rc = pack_piece(k, (size_t)n, n == 0);
        if (rc < 0 || n == 0)
            return rc;
        /* Nobody reads it again soon: it shall not push the spool's pages out of memory. */
        posix_fadvise(k->from, at, n, POSIX_FADV_DONTNEED);
        at += n;
    }
}

/* The time stays that of the last event: retention goes by it. */
static int like_before(int from, int to)
{
    struct stat st;
    if (fstat(from, &st) < 0)
        return -errno;
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (fchmod(to, st.st_mode & 07777) < 0 || futimens(to, times) < 0)
        return -errno;
    /* As another account it can only be the owner that it is. */
    if (geteuid() == 0 && fchown(to, st.st_uid, st.st_gid) < 0)
        return -errno;
    return 0;
}

static int pack_open(struct packing *k, uint64_t *ret_bytes)
{
    struct stat st;
    if (fstat(k->from, &st) < 0)
        return -errno;
    ZSTD_CCtx_setParameter(k->z, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(k->z, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setPledgedSrcSize(k->z, (unsigned long long)st.st_size);
    int rc = pack_all(k);
    if (rc == 0)
        rc = like_before(k->from, k->to);
    if (rc == 0 && fsync(k->to) < 0)
        rc = -errno;
    if (rc == 0 && fstat(k->to, &st) < 0)
        rc = -errno;
    *ret_bytes = (uint64_t)st.st_size;
    return rc;
}

/* name → next in the folder; *ret_bytes. */
static int pack_to(int folder, const char *name, const char *next, const atomic_bool *stop,
                   uint64_t *ret_bytes)
{
    struct packing k = {.stop = stop, .to = -1};
    k.from = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (k.from < 0)
        return -errno;
    k.to = openat(folder, next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = k.to < 0 ? -errno : 0;
    if (rc == 0) {
        k.z = ZSTD_createCCtx();
        MUST(k.z);
        k.in = must_alloc(PIECE);
        k.out = must_alloc(PIECE);
        rc = pack_open(&k, ret_bytes);
        ZSTD_freeCCtx(k.z);
        free(k.in);
        free(k.out);
        close(k.to);
    }
    close(k.from);
    return rc;
}

static int pack_in(int folder, const char *name, const atomic_bool *stop, uint64_t *ret_bytes)
{
    DEFER(buf_done) struct buf next = BUF_MAX(PATH_BYTES), packed = BUF_MAX(PATH_BYTES);
    buf_addf(&packed, "%s" NAMES_PACKED, name);
    buf_addf(&next, ".%s" NEW_END, buf_str(&packed));
    int rc = pack_to(folder, name, buf_str(&next), stop, ret_bytes);
    if (rc == 0 && renameat(folder, buf_str(&next), folder, buf_str(&packed)) < 0)
        rc = -errno;
    if (rc < 0) {
        unlinkat(folder, buf_str(&next), 0);
        return rc;
    }
    /* The new name first, durably; only then the old one goes. */
    if (fsync(folder) < 0)
        return -errno;
    return unlinkat(folder, name, 0) < 0 ? -errno : 0;
}

int pack_file(const struct names *of, const char *name, const atomic_bool *stop,
              uint64_t *ret_bytes, struct err *e)
{
    int folder = open(of->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return err_errno(e, "cannot open the folder %s", of->folder);
    int rc = pack_in(folder, name, stop, ret_bytes);
    close(folder);
    if (rc < 0) {
        errno = -rc;
        return err_errno(e, "cannot compress %s/%s", of->folder, name);
    }
    return 0;
}

static bool is_unfinished(const char *name, const struct names *of)
{
    struct slice s = slice_str(name), end = SLICE_LIT(NEW_END);
    uint64_t seq;
    bool packed;
    if (s.n < end.n + 1 || s.p[0] != '.' || !slice_eq(slice_skip(s, s.n - end.n), end))
        return false;
    return names_parse(slice_skip(slice_head(s, s.n - end.n), 1), of, &seq, &packed) && packed;
}

void pack_tidy(const struct names *of)
{
    DIR *d = opendir(of->folder);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (is_unfinished(entry->d_name, of))
            unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        closedir(d);
}

#include "relay/base/must.h"
#include "tests/sim/fake_disk_int.h"

struct fake_disk *fake_disk_new(uint64_t seed)
{
    struct fake_disk *d = must_alloc(sizeof *d);
    rng_seed(&d->rng, seed);
    d->room = d->files = -1;
    fake_ops_init(d);
    return d;
}

static void close_all(struct fake_disk *d)
{
    for (int fd = 0; fd < FDS_MAX; fd++) {
        inode_unref(d->fds[fd].inode);
        d->fds[fd].inode = NULL;
    }
}

void fake_disk_free(struct fake_disk *d)
{
    if (!d)
        return;
    close_all(d);
    names_forget(d);
    free(d->journal);
    names_done(&d->now);
    names_done(&d->synced);
    free(d);
}

const struct file_ops *fake_disk_ops(struct fake_disk *d)
{
    return &d->ops;
}

uint64_t fake_disk_bytes_read(const struct fake_disk *d)
{
    return d->bytes_read;
}

uint64_t fake_disk_steps(const struct fake_disk *d)
{
    return d->steps;
}

void fake_disk_count_reads(struct fake_disk *d, bool on)
{
    d->count_reads = on;
}

const char *fake_disk_last(const struct fake_disk *d)
{
    return d->last;
}

void fake_disk_fail_at(struct fake_disk *d, uint64_t at, int error)
{
    d->fail_at = at;
    d->fail_error = error;
}

void fake_disk_fail_from(struct fake_disk *d, uint64_t from, int error)
{
    d->fail_from = from;
    d->fail_from_error = error;
}

void fake_disk_fail_only(struct fake_disk *d, unsigned ops)
{
    d->fail_only = ops;
}

void fake_disk_set_files(struct fake_disk *d, int64_t files)
{
    d->files = files;
}

void fake_disk_set_room(struct fake_disk *d, int64_t bytes)
{
    d->room = bytes;
}

void fake_disk_cut_at(struct fake_disk *d, uint64_t at)
{
    d->cut_at = at;
}

bool fake_disk_is_cut(const struct fake_disk *d)
{
    return d->cut;
}

static const char *const folders[] = {".", "body", "quarantine"};

static void lose(struct fake_disk *d, enum fake_loss loss)
{
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        size_t keep = loss == FAKE_LOSE_ALL ? 0 : SIZE_MAX;
        if (loss == FAKE_LOSE_SOME)
            keep = (size_t)rng_below(&d->rng, d->n_journal + 1);
        names_sync(d, folders[i], keep);
    }
    names_forget(d);
    names_done(&d->now);
    for (size_t i = 0; i < d->synced.n; i++)
        names_add(&d->now, d->synced.at[i].path, d->synced.at[i].inode);
    for (size_t i = 0; i < d->now.n; i++)
        if (d->now.at[i].inode)
            inode_lose(d, d->now.at[i].inode, loss);
}

void fake_disk_power_on(struct fake_disk *d, enum fake_loss loss)
{
    for (int fd = 0; fd < FDS_MAX; fd++)
        if (d->fds[fd].inode && d->fds[fd].lock)
            d->fds[fd].inode->locked = false;
    close_all(d);
    if (loss != FAKE_LOSE_NONE)
        lose(d, loss);
    d->cut = false;
    d->cut_at = d->fail_at = d->fail_from = 0;
    d->unreadable.to = 0;
}

bool fake_disk_flip(struct fake_disk *d, const char *path, uint64_t offset, uint8_t mask)
{
    struct name *n = names_find(&d->now, path);
    if (!n || !n->inode || offset >= n->inode->n_now)
        return false;
    n->inode->now[offset] ^= mask;
    n->inode->synced[offset] ^= mask;
    return true;
}

bool fake_disk_truncate(struct fake_disk *d, const char *path, uint64_t size)
{
    struct name *n = names_find(&d->now, path);
    if (!n || !n->inode || size > n->inode->n_now)
        return false;
    n->inode->n_now = n->inode->n_synced = (size_t)size;
    return true;
}

void fake_disk_unreadable(struct fake_disk *d, const char *path, uint64_t from, uint64_t to)
{
    name_set(d->unreadable.path, path);
    d->unreadable.from = from;
    d->unreadable.to = to;
}

int64_t fake_disk_file_size(const struct fake_disk *d, const char *path)
{
    for (size_t i = 0; i < d->now.n; i++)
        if (d->now.at[i].inode && strcmp(d->now.at[i].path, path) == 0)
            return (int64_t)d->now.at[i].inode->n_now;
    return -1;
}

size_t fake_disk_count(const struct fake_disk *d, const char *folder)
{
    size_t n = 0;
    for (size_t i = 0; i < d->now.n; i++)
        n += name_in_folder(d->now.at[i].path, folder);
    return n;
}

size_t fake_disk_open_fds(const struct fake_disk *d)
{
    size_t n = 0;
    for (int fd = 0; fd < FDS_MAX; fd++)
        n += d->fds[fd].inode != NULL;
    return n;
}

struct fake_disk *fake_disk_clone(const struct fake_disk *d)
{
    struct fake_disk *c = fake_disk_new(0);
    c->rng = d->rng;
    for (size_t i = 0; i < d->now.n; i++) {
        const struct inode *from = d->now.at[i].inode;
        struct inode *to = from ? must_alloc(sizeof *to) : NULL;
        if (from && from->n_now) {
            inode_write(to, from->now, from->n_now, 0);
            inode_sync(to);
        }
        names_add(&c->now, d->now.at[i].path, to);
        names_add(&c->synced, d->now.at[i].path, to);
    }
    return c;
}

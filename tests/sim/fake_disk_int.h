/* The inside of the fake disk, shared by fake_disk.c (life, power, tests' side), fake_ops.c (the
 * table of system calls, faults) and fake_files.c (contents and names, now and as far as synced).
 */
#pragma once
#include "relay/base/rand.h"
#include "tests/sim/fake_disk.h"
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, FDS_MAX = 256, NAME_MAX_BYTES = 160, STALE = 0xdb };

/* A file's content, now and as far as it is synced. `dirty` has a byte for each sector. */
struct inode {
    uint8_t *now, *synced, *dirty;
    size_t n_now, n_synced, cap;
    unsigned refs; /* names (now or synced) and open files */
    bool locked;
};

struct name {
    char path[NAME_MAX_BYTES];
    struct inode *inode; /* NULL: a folder */
};

struct names {
    struct name *at;
    size_t n;
};

/* An operation on names that its folder has not synced. */
struct name_op {
    enum { OP_ADD, OP_RENAME, OP_REMOVE } what;
    char path[NAME_MAX_BYTES], to[NAME_MAX_BYTES];
    struct inode *inode;
};

struct fake_disk {
    struct file_ops ops;
    struct names now, synced;
    struct name_op *journal;
    size_t n_journal;
    struct {
        struct inode *inode;
        char path[NAME_MAX_BYTES];
        bool lock;
    } fds[FDS_MAX];
    struct rng rng;
    uint64_t steps, fail_at, fail_from, cut_at, bytes_read;
    int fail_error, fail_from_error;
    unsigned fail_only;
    int64_t room, files;
    struct {
        char path[NAME_MAX_BYTES];
        uint64_t from, to;
    } unreadable;
    bool cut, count_reads;
    char last[400];
};

struct inode *inode_ref(struct inode *i);
void inode_unref(struct inode *i);
void inode_grow(struct inode *i, size_t n, uint8_t fill);
void inode_shrink(struct inode *i, size_t n);
void inode_write(struct inode *i, const void *p, size_t n, uint64_t offset);
void inode_sync(struct inode *i);
void inode_lose(struct fake_disk *d, struct inode *i, enum fake_loss loss);
size_t inode_sectors(size_t n);
void inode_sector_sync(struct inode *i, size_t sector);
struct name *names_find(struct names *l, const char *path);
void names_add(struct names *l, const char *path, struct inode *i);
void name_set(char to[NAME_MAX_BYTES], const char *path);
void names_do(struct fake_disk *d, int what, const char *path, const char *to, struct inode *i);
bool name_in_folder(const char *path, const char *folder);
void names_sync(struct fake_disk *d, const char *folder, size_t n);
void names_done(struct names *l);
void names_forget(struct fake_disk *d);

void fake_ops_init(struct fake_disk *d); /* fills d->ops */

/*
 * A disk in memory behind struct file_ops that is as forgetful as a real one: what was not synced
 * may be lost at a power cut, by sectors, in any combination; names that were not synced with their
 * folder may be lost, the youngest first. Operations are numbered from 1; any of them can fail or
 * be the last before the cut. Not thread-safe.
 */
#pragma once
#include "queue/file.h"
#include <stdbool.h>

struct fake_disk;
struct fake_disk *fake_disk_new(uint64_t seed);
void fake_disk_free(struct fake_disk *d);
const struct file_ops *fake_disk_ops(struct fake_disk *d);

/* Operations so far: those that change something (and reads, when count_reads is set). */
uint64_t fake_disk_steps(const struct fake_disk *d);
void fake_disk_count_reads(struct fake_disk *d, bool on);
/* Bytes that were read so far. */
uint64_t fake_disk_bytes_read(const struct fake_disk *d);
/* "pwrite seg-00000001 8192+512" of the last operation, for messages of a failing test. */
const char *fake_disk_last(const struct fake_disk *d);

/* Operation `step` fails with `error` (negative errno) and does nothing; a failing write may leave
 * a part, a failing sync any part. 0: none. */
void fake_disk_fail_at(struct fake_disk *d, uint64_t step, int error);
/* Everything from `step` on fails, for as long as it is set (a disk gone bad, or full). 0: none. */
void fake_disk_fail_from(struct fake_disk *d, uint64_t step, int error);
/* Only these operations count for failing (bits of enum fake_op); 0: all. */
enum fake_op {
    FAKE_OPEN = 1,
    FAKE_PREAD = 2,
    FAKE_PWRITE = 4,
    FAKE_SYNC = 8,
    FAKE_SYNC_DIR = 16,
    FAKE_ALLOCATE = 32,
    FAKE_RENAME = 64,
    FAKE_UNLINK = 128,
    FAKE_MKDIR = 256
};
void fake_disk_fail_only(struct fake_disk *d, unsigned ops);
/* Bytes that may still be allocated or written; -1: no end. */
void fake_disk_set_room(struct fake_disk *d, int64_t bytes);
/* Files that may still be made; -1: no end. */
void fake_disk_set_files(struct fake_disk *d, int64_t files);

/* The power goes at operation `step`: it happens in memory at best, and every later one fails with
 * -EIO. 0: never. */
void fake_disk_cut_at(struct fake_disk *d, uint64_t step);
bool fake_disk_is_cut(const struct fake_disk *d);
enum fake_loss {
    FAKE_LOSE_ALL,  /* nothing unsynced survives */
    FAKE_LOSE_NONE, /* a killed process, no power cut: all is there, and what was unsynced still is
                     */
    FAKE_LOSE_SOME  /* each unsynced sector, and the oldest so many unsynced names, by chance */
};
/* The power comes back (or goes and comes back now): open files and locks are gone, what was lost
 * is lost, faults are cleared. */
void fake_disk_power_on(struct fake_disk *d, enum fake_loss loss);

/* For tests: changes bytes behind everybody's back. */
bool fake_disk_flip(struct fake_disk *d, const char *path, uint64_t offset, uint8_t mask);
bool fake_disk_truncate(struct fake_disk *d, const char *path, uint64_t size);
/* Reading any of these bytes says -EIO, until the power comes back; one stretch at a time. */
void fake_disk_unreadable(struct fake_disk *d, const char *path, uint64_t from, uint64_t to);
int64_t fake_disk_file_size(const struct fake_disk *d, const char *path); /* -1: no such file */
size_t fake_disk_count(const struct fake_disk *d, const char *folder);    /* names directly in it */
size_t fake_disk_open_fds(const struct fake_disk *d);
/* A copy of what is there now, as if synced, with nothing open. */
struct fake_disk *fake_disk_clone(const struct fake_disk *d);

/* What is asked of the kernel is counted where the linker puts us in between (--wrap). */
#include "tests/bench/spool_load/load.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

static _Atomic uint64_t writes, bytes, syncs;
static _Atomic double write_begun, sync_ended;

ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t offset);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t offset)
{
    writes++;
    write_begun = seconds_now();
    bytes += n;
    return __real_pwrite(fd, p, n, offset);
}

int __wrap_fdatasync(int fd)
{
    syncs++;
    int rc = __real_fdatasync(fd);
    sync_ended = seconds_now();
    return rc;
}

int __wrap_fsync(int fd)
{
    syncs++;
    return __real_fsync(fd);
}

/* 0 where /proc has no such file. */
static uint64_t proc_write_bytes(void)
{
    FILE *f = fopen("/proc/self/io", "re");
    char line[128];
    unsigned long long n = 0;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "write_bytes: ", 13) == 0)
            n = strtoull(line + 13, NULL, 10);
    if (f)
        fclose(f);
    return n;
}

void last_commit(double *ret_begun, double *ret_ended)
{
    *ret_begun = write_begun;
    *ret_ended = sync_ended;
}

struct io_count io_now(void)
{
    return (struct io_count){writes, bytes, syncs, proc_write_bytes()};
}

struct io_count io_since(struct io_count before)
{
    struct io_count now = io_now();
    return (struct io_count){now.writes - before.writes, now.bytes - before.bytes,
                             now.syncs - before.syncs, now.disk_bytes - before.disk_bytes};
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void series_add(struct series *s, double ms)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 4096;
        s->at = realloc(s->at, s->cap * sizeof *s->at);
        if (!s->at)
            die("out of memory");
    }
    s->at[s->n++] = (float)ms;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double series_part(struct series *s, double part)
{
    if (s->n == 0)
        return 0;
    qsort(s->at, s->n, sizeof *s->at, by_value);
    size_t i = (size_t)((double)s->n * part);
    return (double)s->at[i < s->n ? i : s->n - 1];
}

void series_done(struct series *s)
{
    free(s->at);
    *s = (struct series){0};
}

/* A folder for one test program, numbered events, and what the log should have made of them. */
#pragma once
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/events/line.h"
#include "relay/events/names.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char live[96];
static struct names of_log;
static _Atomic uint64_t kept;

static inline void on_kept(void *ctx, uint64_t seq)
{
    (void)ctx;
    atomic_store(&kept, seq);
}

/* ---- the folder ---- */

static inline int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in the folder, sorted: set-aside files in the order of their numbers within a second come
 * before the live one. */
static inline size_t list_folder(char *names[64])
{
    DIR *d = opendir(folder);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && n < 64)
            names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    return n;
}

static inline void free_names(char *names[64], size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
}

static inline void empty_folder(void)
{
    char *names[64];
    for (size_t n; (n = list_folder(names)) > 0; free_names(names, n))
        for (size_t i = 0; i < n; i++) {
            DEFER(buf_done) struct buf path = BUF_MAX(4096);
            buf_addf(&path, "%s/%s", folder, names[i]);
            unlink(buf_str(&path));
        }
}

static inline struct buf read_named(const char *name)
{
    DEFER(buf_done) struct buf path = BUF_MAX(4096);
    struct buf b = BUF_MAX(64 << 20);
    buf_addf(&path, "%s/%s", folder, name);
    FILE *f = fopen(buf_str(&path), "r");
    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF;)
        buf_add_u8(&b, (uint8_t)c);
    fclose(f);
    return b;
}

static inline struct buf read_live(void)
{
    return read_named("delivery.jsonl");
}

static inline void write_live(struct slice s)
{
    FILE *f = fopen(live, "w");
    assert_non_null(f);
    if (s.n > 0)
        assert_int_equal(fwrite(s.p, 1, s.n, f), s.n);
    fclose(f);
}

/* ---- events ---- */

static inline struct event event_n(struct buf *fields, uint64_t seq)
{
    buf_reset(fields);
    event_add_str(fields, EV_QUEUE_ID, SLICE_LIT("0123456789ABC"));
    event_add_str(fields, EV_REASON, SLICE_LIT("gr\xc3\xbc\xc3\x9f \"quoted\"\r\n"));
    return (struct event){
        seq, {INT64_C(1767323045000000) + (int64_t)seq}, EVENT_DEFERRED, buf_slice(fields)};
}

static inline void add_lines(struct buf *out, uint64_t from, uint64_t to)
{
    DEFER(buf_done) struct buf fields = BUF_MAX(4096);
    for (uint64_t seq = from; seq <= to; seq++) {
        struct event e = event_n(&fields, seq);
        event_line(out, &e, "node");
    }
}

static inline void push(struct events *ev, uint64_t from, uint64_t to)
{
    DEFER(buf_done) struct buf fields = BUF_MAX(4096);
    for (uint64_t seq = from; seq <= to; seq++) {
        struct event e = event_n(&fields, seq);
        events_push(ev, &e);
    }
}

static inline struct events *open_as(const char *node, uint64_t rotate, int64_t keep_s,
                                     uint64_t *ret_last)
{
    struct events *ev = NULL;
    struct err e = {0};
    const struct events_conf c = {
        .path = live, .node = node, .rotate_bytes = rotate, .keep_s = keep_s};
    assert_int_equal(events_new(&ev, &c, ret_last, &e), 0);
    events_set_spool(ev, &(struct events_spool){.kept = on_kept});
    atomic_store(&kept, 0);
    return ev;
}

static inline struct events *open_log(uint64_t rotate, uint64_t *ret_last)
{
    return open_as("node", rotate, 0, ret_last);
}

static inline bool wait_kept(uint64_t seq)
{
    for (int i = 0; i < 6000 && atomic_load(&kept) != seq; i++)
        usleep(10000);
    return atomic_load(&kept) == seq;
}

static inline size_t first_line(const struct buf *b)
{
    return slice_find(buf_slice(b), '\n') + 1;
}

static inline void assert_opened(const struct buf *b, uint64_t next_seq)
{
    uint64_t seq = 0;
    struct slice line = slice_head(buf_slice(b), first_line(b));
    assert_true(line.n > 1024);
    assert_true(line_file_id(line).n == 32);
    assert_true(line_seq(line, &seq));
    assert_int_equal(seq + 1, next_seq);
}

/* The file is its opening line and exactly these events. */
static inline void assert_live_holds(uint64_t from, uint64_t to)
{
    DEFER(buf_done) struct buf got = read_live(), want = BUF_MAX(64 << 20);
    add_lines(&want, from, to);
    assert_opened(&got, from);
    struct slice rest = slice_skip(buf_slice(&got), first_line(&got));
    assert_true(slice_eq(rest, buf_slice(&want)));
}

static inline int setup(void **state)
{
    (void)state;
    empty_folder();
    return 0;
}

static inline int run_in_folder(const struct CMUnitTest *tests, size_t n)
{
    snprintf(folder, sizeof folder, "/tmp/unit-events-%d", (int)getpid());
    snprintf(live, sizeof live, "%s/delivery.jsonl", folder);
    if (mkdir(folder, 0700) < 0)
        return 1;
    if (!names_init(&of_log, live))
        return 1;
    int rc = _cmocka_run_group_tests("events", tests, n, NULL, NULL);
    names_done(&of_log);
    empty_folder();
    rmdir(folder);
    return rc;
}

/* What the spooler makes of the disk, beside what the disk gives: a loop of one write and one
 * fdatasync of as many bytes, into a file made as segments are made, turn by turn. */
#include "relay/base/must.h"
#include "tests/bench/spool_load/load.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define RAW_FILE_BYTES (64u * 1024 * 1024)

struct raw {
    struct file_ops *fs;
    int fd;
    uint64_t at;
    void *bytes;
};

static void raw_renew(struct raw *r)
{
    struct file_ops *fs = r->fs;
    if (r->fd >= 0)
        fs->close(fs->ctx, r->fd);
    fs->unlink(fs->ctx, "raw");
    r->fd = fs->open(fs->ctx, "raw", O_RDWR | O_CREAT | O_EXCL, 0600);
    if (r->fd < 0 || fs->allocate(fs->ctx, r->fd, RAW_FILE_BYTES) < 0 ||
        fs->fsync_dir(fs->ctx, ".") < 0 || fs->fdatasync(fs->ctx, r->fd) < 0)
        die("cannot make the raw file");
    r->at = 0;
}

/* Batches a second; each one's time goes to `ms`. Making the next file is not counted. */
static double raw_turn(struct raw *r, size_t n, double seconds, struct series *ms)
{
    double spent = 0;
    unsigned batches = 0;
    r->bytes = realloc(r->bytes, n);
    MUST(r->bytes);
    memset(r->bytes, 'r', n);
    for (; spent < seconds; batches++) {
        if (r->fd < 0 || r->at + n > RAW_FILE_BYTES)
            raw_renew(r);
        double begun = seconds_now();
        if (r->fs->pwrite(r->fs->ctx, r->fd, r->bytes, n, r->at) < 0 ||
            r->fs->fdatasync(r->fs->ctx, r->fd) < 0)
            die("cannot write the raw file");
        double took = seconds_now() - begun;
        r->at += n;
        spent += took;
        series_add(ms, took * 1e3);
    }
    return batches / spent;
}

static void append(struct series *to, struct series *from)
{
    for (size_t i = 0; i < from->n; i++)
        series_add(to, (double)from->at[i]);
    series_done(from);
}

struct sums {
    uint64_t stored, syncs, bytes;
    double seconds, raw_messages_s; /* the latter summed over rounds */
    struct series answers, before, during, after, raw, ratios, p50_ratios;
};

/* One turn of each. A batch is what lies between two syncs. */
static void one_round(struct house *h, struct raw *raw, const struct turn *t, struct sums *sum)
{
    struct turn_result r = house_turn(h, t);
    struct series raw_ms = {0};
    double messages_s = (double)r.stored / r.seconds;
    double batch = r.io.syncs ? (double)r.io.bytes / (double)r.io.syncs : 4096;
    double per_batch = r.io.syncs ? (double)r.stored / (double)r.io.syncs : 1;
    double raw_s =
        raw_turn(raw, ((size_t)batch + 511) / 512 * 512, t->seconds, &raw_ms) * per_batch;
    sum->stored += r.stored;
    sum->seconds += r.seconds;
    sum->syncs += r.io.syncs;
    sum->bytes += r.io.bytes;
    sum->raw_messages_s += raw_s;
    series_add(&sum->ratios, messages_s / raw_s);
    series_add(&sum->p50_ratios, series_part(&r.answers, 0.5) / series_part(&raw_ms, 0.5));
    append(&sum->answers, &r.answers);
    append(&sum->before, &r.before);
    append(&sum->during, &r.during);
    append(&sum->after, &r.after);
    append(&sum->raw, &raw_ms);
}

static void say(const struct options *o, struct sums *s)
{
    double n = s->stored ? (double)s->stored : 1, syncs = s->syncs ? (double)s->syncs : 1;
    printf("{\"part\":\"commit\",\"writers\":%u,\"rounds\":%u,\"messages_s\":%.1f,"
           "\"raw_messages_s\":%.1f,\"ratio\":%.3f,\"ratio_least\":%.3f,\"ratio_most\":%.3f,",
           o->writers, o->rounds, n / s->seconds, s->raw_messages_s / o->rounds,
           series_part(&s->ratios, 0.5), series_part(&s->ratios, 0), series_part(&s->ratios, 1));
    printf("\"syncs_message\":%.4f,\"batch_bytes\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
           "\"raw_p50_ms\":%.3f,\"raw_p99_ms\":%.3f,\"p50_ratio\":%.3f,"
           "\"before_p50_ms\":%.3f,\"during_p50_ms\":%.3f,\"after_p50_ms\":%.3f}\n",
           (double)s->syncs / n, (double)s->bytes / syncs, series_part(&s->answers, 0.5),
           series_part(&s->answers, 0.99), series_part(&s->raw, 0.5), series_part(&s->raw, 0.99),
           series_part(&s->p50_ratios, 0.5), series_part(&s->before, 0.5),
           series_part(&s->during, 0.5), series_part(&s->after, 0.5));
}

void part_commit(const struct options *o)
{
    struct raw raw = {.fd = -1};
    struct sums sum = {0};
    char dir[512];
    int error = 0;
    snprintf(dir, sizeof dir, "%s-raw", o->dir);
    raw.fs = file_posix_new(dir, &error);
    if (!raw.fs)
        die("%s: %s", dir, strerror(error));
    struct house *h = house_new(o->dir, false);
    struct turn t = {.writers = o->writers, .size = o->size, .seconds = o->seconds / 4};
    struct turn_result warm = house_turn(h, &t);
    turn_result_done(&warm);
    t.seconds = o->seconds;
    for (unsigned i = 0; i < o->rounds; i++)
        one_round(h, &raw, &t, &sum);
    house_free(h);
    say(o, &sum);
    raw.fs->close(raw.fs->ctx, raw.fd);
    raw.fs->unlink(raw.fs->ctx, "raw");
    file_posix_free(raw.fs);
    free(raw.bytes);
    series_done(&sum.answers);
    series_done(&sum.before);
    series_done(&sum.during);
    series_done(&sum.after);
    series_done(&sum.raw);
    series_done(&sum.ratios);
    series_done(&sum.p50_ratios);
}

#include "queue/id.h"
#include "queue/replay.h"
#include "queue/spool_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

struct check {
    const struct file_ops *fs;
    void (*say)(void *ctx, const char *line);
    void *ctx;
    uint64_t damaged_bodies;
};

static void say(struct check *c, const char *line)
{
    if (c->say)
        c->say(c->ctx, line);
}

static void on_damage(void *ctx, struct segment *g, uint64_t from, uint64_t to, const char *what)
{
    char line[REPLAY_LINE_SIZE];
    replay_line(line, g, from, to, what);
    say(ctx, line);
}

/* The content of one large message, piece by piece. */
static int check_file(struct check *c, const struct message *m)
{
    enum { STEP = 1 << 20 };
    struct spool nothing = {.fs = c->fs};
    int rc = 0;
    for (uint64_t at = 0; (at < m->place.n || at == 0) && rc >= 0; at += STEP) {
        struct spool_read *r = spool_read_new(&nothing, m, at, STEP);
        struct body *b = NULL;
        rc = spool_read_run(r, &b);
        body_unref(b);
        spool_read_free(&nothing, r);
    }
    return rc;
}

static void check_files(struct check *c, struct fold *f)
{
    for (struct message *m = index_after(&f->index, 0); m; m = index_after(&f->index, m->id)) {
        int rc = m->place.in_file ? check_file(c, m) : 0;
        if (rc >= 0)
            continue;
        char id[QUEUE_ID_SIZE], line[200];
        queue_id_write(m->id, id);
        snprintf(line, sizeof line, "body/%s.body: %s", id,
                 rc == -EBADMSG  ? "damaged"
                 : rc == -ENOENT ? "missing"
                                 : "cannot be read");
        say(c, line);
        c->damaged_bodies++;
    }
}

static int check_log(const struct log_found *l, struct segment *segments, struct replay *rp,
                     struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        segments[i] = (struct segment){
            .number = l->segments[i].number, .size = l->segments[i].size, .fd = -1};
        int rc = replay_segment(rp, &l->segments[i], &segments[i]);
        if (rc < 0)
            return err_set(e, rc, "cannot read segment seg-%08x", segments[i].number);
    }
    return 0;
}

int spool_verify(const struct file_ops *fs, void (*say_fn)(void *ctx, const char *line), void *ctx,
                 struct spool_report *ret_report, struct err *e)
{
    struct check c = {.fs = fs, .say = say_fn, .ctx = ctx};
    struct spool_report report = {0};
    struct log_found l;
    struct fold fold = {0};
    int rc = log_find(fs, &l, e);
    if (rc < 0)
        return rc;
    struct replay rp = {.fs = fs,
                        .fold = &fold,
                        .report = &report,
                        .salt = l.salt,
                        .check_bodies = true,
                        .damage = on_damage,
                        .ctx = &c};
    struct segment *segments = calloc(l.n + 1, sizeof *segments);
    rc = segments ? check_log(&l, segments, &rp, e) : err_set(e, -ENOMEM, "no memory");
    if (rc >= 0) {
        check_files(&c, &fold);
        report.messages = fold.index.n;
        report.recipients = fold.recipients;
        report.damaged += c.damaged_bodies;
        if (ret_report)
            *ret_report = report;
        rc = report.damaged > INT32_MAX ? INT32_MAX : (int)report.damaged;
    }
    fold_done(&fold);
    free(segments);
    log_found_done(&l);
    return rc;
}

/* spool check of a stopped spool. */
#include "queue/check.h"
#include "queue/names.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void say_names(struct spool_check *c, const struct log_found *l)
{
    char line[NAMES_LINE_SIZE];
    for (size_t i = 0; i < l->n_strays; i++) {
        names_stray_line(line, &l->strays[i]);
        check_say(c, line);
    }
    for (size_t i = 0; i < l->n; i++) {
        if (l->segments[i].named == l->segments[i].number)
            continue;
        names_moved_line(line, &l->segments[i]);
        check_say(c, line);
    }
}

static int mend_names(struct spool_check *c, struct log_found *l, struct err *e)
{
    uint64_t n = c->report.damaged;
    int rc = n ? c->fs->mkdir(c->fs->ctx, "quarantine", 0700) : 0;
    if (rc < 0 && rc != -EEXIST)
        return err_set(e, rc, "cannot make folder quarantine in the spool");
    rc = names_settle(c->fs, l, e);
    c->report.mended += rc >= 0 ? n : 0;
    return rc;
}

static void take_segments(struct spool_check *c, const struct log_found *l)
{
    c->salt = l->salt;
    c->segments = must_alloc((l->n + 1) * sizeof *c->segments);
    for (size_t i = 0; i < l->n; i++)
        c->segments[c->n_segments++] =
            (struct check_segment){.found = l->segments[i], .may_repair = true};
}

/* The index as the next opening would make it: by the footers that are good. */
static int fold_log(const struct log_found *l, const struct file_ops *fs, struct fold *f,
                    struct segment *segments, struct spool_report *report, struct err *e)
{
    struct replay rp = {.fs = fs, .fold = f, .report = report, .salt = l->salt};
    int rc = 0;
    for (size_t i = 0; i < l->n && rc >= 0; i++) {
        segments[i] = (struct segment){.number = l->segments[i].number, .fd = -1};
        rc = replay_segment(&rp, &l->segments[i], &segments[i]);
        if (rc < 0)
            err_set(e, rc, "cannot read segment seg-%08x", segments[i].number);
    }
    replay_end(&rp);
    return rc;
}

static int verify(struct spool_check *c, struct err *e)
{
    struct log_found l;
    struct fold fold = {0};
    struct spool_report folded = {0};
    int rc = log_find(c->fs, &l, e);
    if (rc < 0)
        return rc;
    say_names(c, &l);
    if (c->repair)
        rc = mend_names(c, &l, e);
    struct segment *segments = must_alloc((l.n + 1) * sizeof *segments);
    /* Before anything is mended: that is the index that mending is to keep. */
    if (rc >= 0)
        rc = fold_log(&l, c->fs, &fold, segments, &folded, e);
    if (rc >= 0) {
        take_segments(c, &l);
        while (check_step(c))
            ;
        check_settle(c, &fold);
        c->report.bytes_lost_at_tail = folded.bytes_lost_at_tail;
    }
    fold_done(&fold);
    for (size_t i = 0; segments && i < l.n; i++)
        fold_segment_done(&fold, &segments[i]);
    free(segments);
    log_found_done(&l);
    return rc;
}

int spool_verify(const struct file_ops *fs, bool repair, void (*say)(void *ctx, const char *line),
                 void *ctx, struct spool_report *ret_report, struct err *e)
{
    struct spool_check c = {.fs = fs, .repair = repair, .say = say, .ctx = ctx};
    int lock = repair ? fs->lock(fs->ctx, "lock") : -1;
    if (repair && lock < 0)
        return err_set(e, lock,
                       lock == -EWOULDBLOCK ? "the spool is in use by another process"
                                            : "cannot lock the spool");
    int rc = verify(&c, e);
    if (lock >= 0)
        fs->close(fs->ctx, lock);
    if (rc >= 0) {
        if (ret_report)
            *ret_report = c.report;
        rc = c.report.damaged > INT32_MAX ? INT32_MAX : (int)c.report.damaged;
    }
    check_done(&c);
    return rc;
}

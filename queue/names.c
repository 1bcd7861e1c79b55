#include "queue/names.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { NAMES_MAX = 100 };

/* Moves the whole file to quarantine/. */
static int set_aside(const struct file_ops *fs, uint32_t named)
{
    char from[SEGMENT_NAME_SIZE], to[2 * SEGMENT_NAME_SIZE];
    int fd = -EEXIST;
    segment_name(from, "seg", named);
    /* A name that is free: another file may have been set aside under this one before. */
    for (unsigned i = 0; i < NAMES_MAX && fd == -EEXIST; i++) {
        snprintf(to, sizeof to, "quarantine/%s.%u", from, i);
        fd = fs->open(fs->ctx, to, O_RDWR | O_CREAT | O_EXCL, 0600);
    }
    if (fd < 0)
        return fd;
    fs->close(fs->ctx, fd);
    int rc = fs->rename(fs->ctx, from, to);
    if (rc < 0)
        fs->unlink(fs->ctx, to);
    return rc;
}

/* --- names
 * ---------------------------------------------------------------------------------------------- */

void names_stray_line(char ret[NAMES_LINE_SIZE], const struct segment_stray *s)
{
    if (s->named == s->number)
        snprintf(ret, NAMES_LINE_SIZE, "seg-%08x: not part of the log, its header is damaged",
                 s->named);
    else
        snprintf(ret, NAMES_LINE_SIZE, "seg-%08x: a duplicate of segment seg-%08x", s->named,
                 s->number);
}

void names_moved_line(char ret[NAMES_LINE_SIZE], const struct segment_found *f)
{
    snprintf(ret, NAMES_LINE_SIZE, "seg-%08x: is segment seg-%08x under another name", f->named,
             f->number);
}

static int rename_segment(const struct file_ops *fs, struct segment_found *f, uint32_t to_number,
                          struct err *e)
{
    char from[SEGMENT_NAME_SIZE], to[SEGMENT_NAME_SIZE];
    segment_name(from, "seg", f->named);
    segment_name(to, "seg", to_number);
    int rc = fs->rename(fs->ctx, from, to);
    if (rc < 0)
        return err_set(e, rc, "cannot rename segment %s to %s", from, to);
    f->named = to_number;
    return 0;
}

static struct segment_found *find_named(struct log_found *l, uint32_t named)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->segments[i].named == named)
            return &l->segments[i];
    return NULL;
}

/* Whoever has its name under a wrong number first gets one that nobody has: should the power go now
 * it is found by its header again. */
static int give_name(const struct file_ops *fs, struct log_found *l, struct segment_found *f,
                     struct err *e)
{
    struct segment_found *other = find_named(l, f->number);
    int rc = 0;
    for (size_t i = 0; i < l->n_strays; i++)
        if (l->strays[i].stays && l->strays[i].named == f->number)
            return err_set(e, -EEXIST, "cannot set segment file seg-%08x aside", f->number);
    if (other)
        rc = rename_segment(fs, other, ++l->last_number, e);
    return rc < 0 ? rc : rename_segment(fs, f, f->number, e);
}

int names_settle(const struct file_ops *fs, struct log_found *l, struct err *e)
{
    bool changed = l->n_strays > 0;
    for (size_t i = 0; i < l->n_strays; i++)
        l->strays[i].stays = set_aside(fs, l->strays[i].named) < 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->segments[i].named == l->segments[i].number)
            continue;
        int rc = give_name(fs, l, &l->segments[i], e);
        if (rc < 0)
            return rc;
        changed = true;
    }
    int rc = changed ? fs->fsync_dir(fs->ctx, ".") : 0;
    if (changed && rc >= 0)
        rc = fs->fsync_dir(fs->ctx, "quarantine");
    return rc < 0 ? err_set(e, rc, "cannot sync the spool folder") : 0;
}

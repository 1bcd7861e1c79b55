/* spool check: its steps, what is in doubt until the end, and the check of a running spool. */
#include "queue/check.h"
#include "queue/id.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILES_A_STEP = 256 };

void check_say(struct spool_check *c, const char *line)
{
    c->report.damaged++;
    if (c->say)
        c->say(c->ctx, line);
}

void check_tell(struct spool_check *c, uint32_t number, uint64_t from, uint64_t to,
                const char *what)
{
    char line[REPLAY_LINE_SIZE];
    struct segment g = {.number = number};
    replay_line(line, &g, from, to, what);
    check_say(c, line);
}

void check_doubt(struct spool_check *c, enum check_doubt_kind kind, uint32_t segment, uint64_t id,
                 uint64_t at)
{
    if (c->n_doubts == c->doubts_cap) {
        c->doubts_cap = c->doubts_cap ? 2 * c->doubts_cap : 16;
        c->doubts = must_realloc(c->doubts, c->doubts_cap * sizeof *c->doubts);
    }
    c->doubts[c->n_doubts++] =
        (struct check_doubt){.kind = kind, .segment = segment, .id = id, .at = at};
}

/* --- steps
 * ---------------------------------------------------------------------------------------------- */

static int by_id_newest_last(const void *a, const void *b)
{
    const struct check_file *x = a, *y = b;
    if (x->id != y->id)
        return x->id > y->id ? 1 : -1;
    return (x->segment > y->segment) - (x->segment < y->segment);
}

/* A message that was copied forward is named by several records; the youngest counts. */
static void sort_files(struct spool_check *c)
{
    size_t kept = 0;
    if (c->n_files)
        qsort(c->files, c->n_files, sizeof *c->files, by_id_newest_last);
    for (size_t i = 0; i < c->n_files; i++) {
        if (kept && c->files[kept - 1].id == c->files[i].id)
            kept--;
        c->files[kept++] = c->files[i];
    }
    c->n_files = kept;
    c->files_sorted = true;
}

static void check_file(struct spool_check *c, const struct check_file *f)
{
    int rc = spool_body_check(c->fs, f->id, f->n);
    if (rc == -ENOENT)
        check_doubt(c, DOUBT_FILE_MISSING, f->segment, f->id, f->at);
    else if (rc < 0)
        check_doubt(c, DOUBT_FILE, f->segment, f->id, f->at);
}

bool check_step(struct spool_check *c)
{
    if (c->next_segment < c->n_segments) {
        check_segment(c, &c->segments[c->next_segment++]);
        return true;
    }
    if (!c->files_sorted)
        sort_files(c);
    for (size_t i = 0; i < FILES_A_STEP && c->next_file < c->n_files; i++)
        check_file(c, &c->files[c->next_file++]);
    return c->next_file < c->n_files;
}

/* --- the end
 * ---------------------------------------------------------------------------------------------- */

static const char *const doubt_words[] = {
    [DOUBT_BODY] = "body damaged",
    [DOUBT_RECORD] = "record lost",
    [DOUBT_FILE] = "body file damaged",
    [DOUBT_FILE_MISSING] = "body file missing",
};

/* The message is there, and that record is the one it is read from. A body file is its own,
 * wherever the record is by now. */
static bool lives_there(const struct fold *f, const struct check_doubt *d)
{
    const struct message *m = index_find(&f->index, d->id);
    if (d->kind == DOUBT_FILE || d->kind == DOUBT_FILE_MISSING)
        return m && m->in_file;
    return m && m->home && m->home->number == d->segment && m->record_at == d->at;
}

void check_settle(struct spool_check *c, const struct fold *f)
{
    for (size_t i = 0; i < c->n_doubts; i++) {
        const struct check_doubt *d = &c->doubts[i];
        char id[QUEUE_ID_SIZE], line[REPLAY_LINE_SIZE];
        if (!lives_there(f, d))
            continue;
        queue_id_write(d->id, id);
        snprintf(line, sizeof line, "message %s: %s, goes back to its sender at its next attempt",
                 id, doubt_words[d->kind]);
        check_say(c, line);
    }
    c->report.messages = f->index.n;
    c->report.recipients = f->recipients;
}

void check_done(struct spool_check *c)
{
    free(c->segments);
    free(c->files);
    free(c->doubts);
}

/* --- a running spool
 * ---------------------------------------------------------------------------------------------- */

struct spool_check *spool_check_new(struct spool *s, bool repair)
{
    struct spool_check *c = must_alloc(sizeof *c);
    size_t n = 0;
    for (struct segment *g = s->segments; g; g = g->next)
        n++;
    c->fs = s->fs;
    c->salt = s->salt;
    c->repair = repair;
    c->segments = must_alloc((n + 1) * sizeof *c->segments);
    for (struct segment *g = s->segments; g; g = g->next) {
        g->pins++;
        c->segments[c->n_segments++] = (struct check_segment){
            .found = segment_as_found(g), .pinned = g, .may_repair = g->next && !g->end_unsure};
    }
    return c;
}

bool spool_check_step(struct spool_check *c, void (*say)(void *ctx, const char *line), void *ctx)
{
    c->say = say;
    c->ctx = ctx;
    return check_step(c);
}

static void let_go(struct spool *s, struct check_segment *cs)
{
    struct segment *g = cs->pinned;
    cs->pinned = NULL;
    if (!g)
        return;
    if (cs->footer_to)
        segment_has_footer(s, g, cs->footer_to);
    /* Where some of it went bad, the rest is better off elsewhere. */
    if (cs->damaged && g->next)
        g->evacuate = s->evacuating = true;
    g->pins--;
}

void spool_check_release(struct spool *s, struct spool_check *c)
{
    for (size_t i = 0; i < c->n_segments; i++)
        let_go(s, &c->segments[i]);
    c->released = c->released || c->next_segment < c->n_segments;
    c->next_segment = c->n_segments;
}

void spool_check_free(struct spool *s, struct spool_check *c,
                      void (*say)(void *ctx, const char *line), void *ctx,
                      struct spool_report *ret_report)
{
    c->say = say;
    c->ctx = ctx;
    for (size_t i = 0; i < c->n_segments; i++)
        let_go(s, &c->segments[i]);
    if (c->released)
        check_say(c, "not all was checked: for too long nobody asked how it goes on");
    check_settle(c, &s->fold);
    if (ret_report)
        *ret_report = c->report;
    check_done(c);
    free(c);
}

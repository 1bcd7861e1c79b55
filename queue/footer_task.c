/* Housekeeping: sealed segments get their index footer. Nothing waits for it, and a segment that
 * cannot have one is read by its records, as before. */
#include "queue/footer.h"
#include "queue/task.h"
#include "relay/base/must.h"
#include <stdlib.h>
#include <utlist.h>

struct footer_task {
    struct spool_task task;
    const struct file_ops *fs;
    uint32_t salt;
    struct segment *segment;    /* pinned */
    struct segment_found found; /* as it was when the task was taken */
    bool damaged;
    uint64_t room;       /* by so much the file may grow */
    uint64_t file_bytes; /* 0: not written */
};

struct segment_found segment_as_found(const struct segment *g)
{
    return (struct segment_found){
        .number = g->number, .named = g->number, .size = g->size, .end = g->end};
}

/* Every older segment is empty, and so is this one: it is freed as soon as the delivery log has its
 * events. */
static bool is_about_to_go(const struct segment *g, const struct spool *s)
{
    for (const struct segment *older = s->segments; older; older = older->next) {
        if (older->n_live > 0 || older->keep)
            return false;
        if (older == g)
            break;
    }
    return true;
}

/* The oldest sealed segment that has not been seen to. Looked for from the newest, of which few are
 * new. */
static struct segment *next_segment(const struct spool *s)
{
    struct segment *found = NULL, *last = s->segments ? s->segments->prev : NULL;
    for (struct segment *g = last; g && g->number >= s->footers_from; g = g->prev) {
        if (g != last && !g->has_footer && !g->no_footer && !g->end_unsure)
            found = g;
        if (g == s->segments)
            break;
    }
    return found;
}

/* A footer is not to bring the disk use over its bound: compaction would copy for ever what footers
 * bring back. Where the log alone is over it (and compaction has tried), footers do not matter. */
static uint64_t room_for_footer(const struct spool *s)
{
    /* There is a spare, or will be soon. */
    uint64_t disk = s->disk_bytes - s->retired_bytes + s->segment_bytes;
    uint64_t bound = 2 * s->fold.live_bytes + 2 * s->segment_bytes;
    if (disk - s->footer_bytes > bound)
        return UINT64_MAX;
    return disk < bound ? bound - disk : 0;
}

struct spool_task *footer_take(struct spool *s)
{
    struct segment *g;
    if (s->landed.first) /* segments do not know yet what lives in them */
        return NULL;
    while ((g = next_segment(s)) && is_about_to_go(g, s))
        g->no_footer = true;
    const struct segment *last = s->segments ? s->segments->prev : NULL;
    s->footers_from = g ? g->number : last ? last->number : 0;
    if (!g)
        return NULL;
    struct footer_task *t = must_alloc(sizeof *t);
    t->fs = s->fs;
    t->salt = s->salt;
    t->segment = g;
    t->found = segment_as_found(g);
    t->room = room_for_footer(s);
    g->pins++;
    return &t->task;
}

static void on_damage(void *ctx, uint64_t from, uint64_t to)
{
    (void)from;
    (void)to;
    *(bool *)ctx = true;
}

/* What stands in a damaged segment is not what was written: its footer would hide that. */
static int read_segment(struct footer_task *t, struct footer_builder *b)
{
    struct segment_reader reader;
    int rc = segment_reader_init(&reader, t->fs, &t->found, t->salt);
    if (rc < 0)
        return rc;
    reader.damage = on_damage;
    reader.ctx = &t->damaged;
    struct record rec;
    while (!t->damaged && (rc = segment_reader_next(&reader, &rec)) > 0)
        if (!footer_builder_add(b, &rec)) /* what was passed over on the way has set it, too */
            t->damaged = true;
    segment_reader_done(&reader);
    return rc;
}

void footer_run(struct spool_task *task)
{
    struct footer_task *t = (struct footer_task *)(void *)task;
    struct err e = {0};
    uint64_t end = t->found.end;
    int rc = segment_find(t->fs, &t->found, &e);
    t->found.end = end;
    if (rc < 0 || t->found.header_bad[0] || t->found.header_bad[1] || t->found.size < end)
        return;
    struct footer_builder *b = footer_builder_new(t->found.header.id_high);
    struct buf whole = BUF_MAX(SIZE_MAX / 2);
    rc = read_segment(t, b);
    if (rc >= 0 && !t->damaged && footer_builder_finish(b, t->found.number, t->salt, end, &whole)) {
        uint64_t to = footer_at(end) + whole.n, size = t->found.size;
        bool fits = to <= size || to - size <= t->room;
        if (fits && footer_write(t->fs, t->found.named, end, buf_slice(&whole)) >= 0)
            t->file_bytes = to > size ? to : size;
    }
    buf_done(&whole);
    footer_builder_free(b);
}

void segment_has_footer(struct spool *s, struct segment *g, uint64_t file_bytes)
{
    g->has_footer = true;
    if (file_bytes > g->size) {
        s->disk_bytes += file_bytes - g->size;
        s->footer_bytes += file_bytes - g->size;
        g->footer_bytes += file_bytes - g->size;
        g->size = file_bytes;
    }
}

bool footer_end(struct spool *s, struct spool_task *task)
{
    struct footer_task *t = (struct footer_task *)(void *)task;
    if (t->file_bytes)
        segment_has_footer(s, t->segment, t->file_bytes);
    else
        t->segment->no_footer = true;
    t->segment->pins--;
    free(t);
    return true;
}

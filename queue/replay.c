#include "queue/footer.h"
#include "relay/base/must.h"
#include "relay/base/plural.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct run {
    struct replay *rp;
    struct segment *g;
};

static void tell(struct run *run, uint64_t from, uint64_t to, const char *what)
{
    run->rp->report->damaged++;
    if (run->rp->damage)
        run->rp->damage(run->rp->ctx, run->g, from, to, what);
}

void replay_line(char ret[REPLAY_LINE_SIZE], const struct segment *g, uint64_t from, uint64_t to,
                 const char *what)
{
    if (from == to)
        snprintf(ret, REPLAY_LINE_SIZE, "seg-%08x: %s", g->number, what);
    else
        snprintf(ret, REPLAY_LINE_SIZE, "seg-%08x: %s at %llu, %llu byte%s", g->number, what,
                 (unsigned long long)from, (unsigned long long)(to - from),
                 plural((int64_t)(to - from)));
}

static void reader_damage(void *ctx, uint64_t from, uint64_t to)
{
    tell(ctx, from, to, "damaged record");
}

/* Without making their fields. n_rcpts: of the envelope, 0 when it is no MESSAGE. */
static bool count_events(struct run *run, struct slice block, size_t n_rcpts)
{
    struct events_cursor ec = events_of(block, n_rcpts);
    struct event e;
    size_t n;
    while (events_next(&ec, &e, &n)) {
        uint64_t last = e.seq + n - 1;
        run->rp->report->events += n;
        if (last > run->g->max_seq)
            run->g->max_seq = last;
        if (last > run->rp->fold->last_seq)
            run->rp->fold->last_seq = last;
    }
    return !ec.c.bad;
}

static void remove_if_done(struct fold *f, struct message *m)
{
    if (m && m->n_left == 0)
        fold_remove(f, m);
}

/* A MESSAGE as it lies in a segment; its head may be the one that a footer keeps of it. */
struct lying {
    uint64_t offset;
    uint32_t length, head_n;
    struct slice head;
};

static bool take_message(struct run *run, const struct lying *l)
{
    struct fold *f = run->rp->fold;
    struct message_record r;
    uint64_t inline_bytes = l->length - l->head_n;
    if (!message_record_read(l->head, &r) ||
        inline_bytes != (r.flags & (MESSAGE_BODY_IN_FILE | MESSAGE_BODY_LOST) ? 0 : r.body_bytes))
        return false;
    struct message *m = fold_message(f, &r);
    if (!m)
        return false;
    fold_home(f, m, run->g, l->offset, record_size(l->length));
    m->durable = true;
    uint64_t about = r.flags & MESSAGE_IS_COPY ? 0 : message_dsn_for(m);
    count_events(run, r.events, m->n_rcpts);
    remove_if_done(f, m);
    remove_if_done(f, about ? index_find(&f->index, about) : NULL);
    return true;
}

static bool take_state(struct run *run, struct slice head)
{
    struct state_record r;
    bool bad = false;
    if (!state_record_read(head, &r))
        return false;
    remove_if_done(run->rp->fold, fold_state(run->rp->fold, &r, &bad));
    return count_events(run, r.events, 0) && !bad;
}

static bool take_mark(struct run *run, const struct record *rec)
{
    struct fold *f = run->rp->fold;
    struct cursor c = cursor_of(rec->head);
    uint64_t id = cursor_u64(&c), seq = cursor_u64(&c);
    if (c.bad)
        return false;
    f->last_id = id > f->last_id ? id : f->last_id;
    f->last_seq = seq > f->last_seq ? seq : f->last_seq;
    return true;
}

static bool take_record(struct run *run, const struct record *rec)
{
    switch (rec->header.type) {
    case RECORD_MESSAGE:
        return take_message(
            run, &(struct lying){rec->offset, rec->header.length, rec->header.head, rec->head});
    case RECORD_STATE:
        return take_state(run, rec->head);
    case RECORD_EVENT:
        return count_events(run, rec->head, 0);
    case RECORD_MARK:
        return take_mark(run, rec);
    case RECORD_VOID:
        return true;
    }
    return false;
}

bool replay_record(struct replay *rp, struct segment *g, const struct record *rec)
{
    return take_record(&(struct run){rp, g}, rec);
}

/* --- by its footer
 * ---------------------------------------------------------------------------------------------- */

static bool take_entry(struct run *run, const struct footer_entry *e)
{
    struct fold *f = run->rp->fold;
    struct message *m = NULL;
    switch (e->kind) {
    case FOOTER_MESSAGE:
        return take_message(run, &(struct lying){e->offset, e->length, e->head_n, e->head});
    case FOOTER_STATE:
        return take_state(run, e->head);
    case FOOTER_TOLD:
    case FOOTER_TOLD_DELAY:
    case FOOTER_TOLD_ONE:
        fold_told(f, e->id, e->kind == FOOTER_TOLD_DELAY, e->rcpt);
        remove_if_done(f, index_find(&f->index, e->id));
        return true;
    case FOOTER_GONE:
        m = index_find(&f->index, e->id);
        if (m)
            fold_remove(f, m);
        return true;
    }
    return false;
}

static void take_numbers(struct run *run, const struct footer *footer)
{
    struct replay *rp = run->rp;
    struct fold *f = rp->fold;
    f->last_id = footer->id_high > f->last_id ? footer->id_high : f->last_id;
    f->last_seq = footer->seq_high > f->last_seq ? footer->seq_high : f->last_seq;
    rp->last_record = footer->last_record > rp->last_record ? footer->last_record : rp->last_record;
    rp->report->records += footer->records;
    rp->report->events += footer->events;
    run->g->max_seq = footer->max_seq;
    run->g->end = footer->end;
    run->g->has_footer = true;
}

/* 1: done; 0: there is none that is good. */
static int by_footer(struct run *run, const struct segment_found *f)
{
    struct footer footer;
    if (f->end == UINT64_MAX || f->cut_short)
        return 0;
    int rc = footer_read(run->rp->fs, f, run->rp->salt, &footer);
    if (rc == -EBADMSG)
        tell(run, footer_at(f->end), footer_at(f->end), "damaged index footer");
    if (rc <= 0)
        return rc == -EBADMSG || rc == -ENODATA ? 0 : rc;
    struct footer_cursor fc = footer_entries(&footer);
    struct footer_entry e;
    while (footer_next(&fc, &e))
        if (!take_entry(run, &e))
            tell(run, e.offset, e.offset, "entry of the index footer that cannot be read");
    if (fc.c.bad)
        tell(run, 0, 0, "entry of the index footer that cannot be read");
    take_numbers(run, &footer);
    footer_done(&footer);
    return 1;
}

/* --- by its records
 * ---------------------------------------------------------------------------------------------- */

static void take_header(struct run *run, const struct segment_found *f)
{
    struct replay *rp = run->rp;
    struct segment missing = {.number = f->header.prev};
    if (f->before_missing)
        tell(&(struct run){rp, &missing}, 0, 0, "the segment is missing");
    if (!f->header_ok) {
        tell(run, 0, SEGMENT_DATA, "damaged segment header");
        return;
    }
    for (unsigned copy = 0; copy < 2; copy++)
        if (f->header_bad[copy])
            tell(run, copy * SEGMENT_HEADER_BLOCK, (copy + 1) * SEGMENT_HEADER_BLOCK,
                 "damaged copy of the segment header");
    struct fold *fold = rp->fold;
    fold->last_id = f->header.id_high > fold->last_id ? f->header.id_high : fold->last_id;
    fold->last_seq = f->header.seq_high > fold->last_seq ? f->header.seq_high : fold->last_seq;
    rp->last_record =
        f->header.number_high > rp->last_record ? f->header.number_high : rp->last_record;
}

static void remember_body(struct run *run, const struct record *rec, uint64_t end)
{
    struct replay *rp = run->rp;
    struct message_record m;
    if (!message_record_read(rec->head, &m))
        return;
    rp->bad_bodies = must_realloc(rp->bad_bodies, (rp->n_bad_bodies + 1) * sizeof *rp->bad_bodies);
    rp->bad_bodies[rp->n_bad_bodies++] =
        (struct bad_body){.segment = run->g, .id = m.id, .from = rec->offset, .to = end};
}

void replay_end(struct replay *rp)
{
    for (size_t i = 0; i < rp->n_bad_bodies; i++) {
        const struct bad_body *b = &rp->bad_bodies[i];
        const struct message *m = index_find(&rp->fold->index, b->id);
        if (m && m->home == b->segment && m->record_at == b->from)
            tell(&(struct run){rp, b->segment}, b->from, b->to, "message with a damaged body");
    }
    free(rp->bad_bodies);
    rp->bad_bodies = NULL;
    rp->n_bad_bodies = 0;
}

static int by_records(struct run *run, const struct segment_found *f)
{
    struct replay *rp = run->rp;
    struct segment *g = run->g;
    struct segment_reader reader;
    int rc = segment_reader_init(&reader, rp->fs, f, rp->salt);
    if (rc < 0)
        return rc;
    reader.damage = reader_damage;
    reader.ctx = run;
    struct record rec;
    while ((rc = segment_reader_next(&reader, &rec)) > 0) {
        rp->report->records++;
        if (rec.header.number > rp->last_record)
            rp->last_record = rec.header.number;
        rp->last_batch = rec.header.batch;
        uint64_t end = rec.offset + record_size(rec.header.length);
        if (!take_record(run, &rec))
            tell(run, rec.offset, end, "record that cannot be read");
        else if (rec.body_bad)
            remember_body(run, &rec, end);
    }
    if (f->cut_short)
        tell(run, reader.at, reader.at, "segment file too short");
    g->end = reader.at > SEGMENT_DATA ? reader.at : SEGMENT_DATA;
    rp->report->bytes_lost_at_tail += reader.torn_bytes;
    if (reader.torn_to) {
        rp->torn_from = reader.at;
        rp->torn_to = reader.torn_to;
    }
    segment_reader_done(&reader);
    return rc;
}

int replay_segment(struct replay *rp, const struct segment_found *f, struct segment *g)
{
    struct run run = {rp, g};
    rp->report->segments++;
    rp->last_batch = 0;
    take_header(&run, f);
    int rc = by_footer(&run, f);
    return rc == 0 ? by_records(&run, f) : rc < 0 ? rc : 0;
}

#include "queue/replay.h"
#include <errno.h>
#include <stdio.h>

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
        snprintf(ret, REPLAY_LINE_SIZE, "seg-%08x: %s at %llu, %llu bytes", g->number, what,
                 (unsigned long long)from, (unsigned long long)(to - from));
}

static void reader_damage(void *ctx, uint64_t from, uint64_t to)
{
    tell(ctx, from, to, "damaged record");
}

static void count_event(void *ctx, const struct event *e)
{
    struct run *run = ctx;
    run->rp->report->events++;
    if (e->seq > run->g->max_seq)
        run->g->max_seq = e->seq;
    if (e->seq > run->rp->fold->last_seq)
        run->rp->fold->last_seq = e->seq;
}

static void remove_if_done(struct fold *f, struct message *m)
{
    if (m && m->n_left == 0)
        fold_remove(f, held_of(m));
}

static bool take_message(struct run *run, const struct record *rec)
{
    struct fold *f = run->rp->fold;
    struct message_record r;
    uint64_t inline_bytes = rec->header.length - rec->header.head;
    if (!message_record_read(rec->head, &r) ||
        inline_bytes != (r.flags & (MESSAGE_BODY_IN_FILE | MESSAGE_BODY_LOST) ? 0 : r.body_bytes))
        return false;
    struct held *h = fold_message(f, &r);
    if (!h)
        return false;
    struct message *m = &h->message;
    fold_home(f, h, run->g, rec->offset, record_size(rec->header.length));
    m->durable = true;
    if (!m->place.in_file) {
        m->place.segment = run->g->number;
        m->place.offset = rec->offset + RECORD_HEADER_SIZE + rec->header.head;
    }
    uint64_t about = r.flags & MESSAGE_IS_COPY ? 0 : m->envelope.dsn_for;
    events_read(r.events, count_event, run);
    remove_if_done(f, m);
    remove_if_done(f, about ? index_find(&f->index, about) : NULL);
    return true;
}

static bool take_state(struct run *run, const struct record *rec)
{
    struct state_record r;
    bool bad = false;
    if (!state_record_read(rec->head, &r))
        return false;
    struct held *h = fold_state(run->rp->fold, &r, &bad);
    if (h)
        remove_if_done(run->rp->fold, &h->message);
    return events_read(r.events, count_event, run) >= 0 && !bad;
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
        return take_message(run, rec);
    case RECORD_STATE:
        return take_state(run, rec);
    case RECORD_EVENT:
        return events_read(rec->head, count_event, run) >= 0;
    case RECORD_MARK:
        return take_mark(run, rec);
    }
    return false;
}

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

int replay_segment(struct replay *rp, const struct segment_found *f, struct segment *g)
{
    struct run run = {rp, g};
    struct segment_reader reader;
    rp->report->segments++;
    rp->last_batch = 0;
    take_header(&run, f);
    int rc = segment_reader_init(&reader, rp->fs, f, rp->salt);
    if (rc < 0)
        return rc;
    reader.damage = reader_damage;
    reader.ctx = &run;
    reader.check_bodies = rp->check_bodies;
    struct record rec;
    while ((rc = segment_reader_next(&reader, &rec)) > 0) {
        rp->report->records++;
        rp->last_record = rec.header.number;
        rp->last_batch = rec.header.batch;
        uint64_t end = rec.offset + record_size(rec.header.length);
        if (!take_record(&run, &rec))
            tell(&run, rec.offset, end, "record that cannot be read");
        else if (rec.body_bad)
            tell(&run, rec.offset, end, "message with a damaged body");
    }
    if (f->cut_short)
        tell(&run, reader.at, reader.at, "segment file too short");
    g->end = reader.at > SEGMENT_DATA ? reader.at : SEGMENT_DATA;
    rp->report->bytes_lost_at_tail += reader.torn_bytes;
    if (reader.torn_to) {
        rp->torn_from = reader.at;
        rp->torn_to = reader.torn_to;
    }
    segment_reader_done(&reader);
    return rc;
}

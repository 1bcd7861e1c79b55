/* spool check: one segment, from its header to its footer. */
#include "queue/check.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdlib.h>

/* --- reading it
 * ---------------------------------------------------------------------------------------------- */

struct scanning {
    struct check_scan *sc;
    struct segment_reader reader;
    bool open; /* the number behind the last stretch is not known yet */
};

static void add_stretch(struct scanning *s, const struct check_stretch *st)
{
    struct check_scan *sc = s->sc;
    if (sc->n == sc->cap) {
        sc->cap = sc->cap ? 2 * sc->cap : 16;
        sc->stretches = must_realloc(sc->stretches, sc->cap * sizeof *sc->stretches);
    }
    sc->stretches[sc->n++] = *st;
    sc->damaged = sc->damaged || !st->is_void;
}

static void on_damage(void *ctx, uint64_t from, uint64_t to)
{
    struct scanning *s = ctx;
    struct check_stretch st = {.from = from,
                               .to = to,
                               .after = s->reader.last_number,
                               .before = UINT64_MAX,
                               .what = "damaged record"};
    add_stretch(s, &st);
    s->open = true;
}

static void add_file(struct spool_check *c, const struct check_file *f)
{
    if (c->n_files == c->files_cap) {
        c->files_cap = c->files_cap ? 2 * c->files_cap : 16;
        c->files = must_realloc(c->files, c->files_cap * sizeof *c->files);
    }
    c->files[c->n_files++] = *f;
}

static void look_at_message(struct spool_check *c, uint32_t segment, const struct record *rec)
{
    struct message_record m;
    if (rec->header.type != RECORD_MESSAGE || !message_record_read(rec->head, &m))
        return;
    if (rec->body_bad)
        check_doubt(c, DOUBT_BODY, segment, m.id, rec->offset);
    if (m.flags & MESSAGE_BODY_IN_FILE)
        add_file(c, &(struct check_file){
                        .id = m.id, .n = m.body_bytes, .at = rec->offset, .segment = segment});
}

static void look_at(struct spool_check *c, struct scanning *s, const struct record *rec, bool quiet)
{
    struct check_scan *sc = s->sc;
    uint64_t number = rec->header.number;
    struct check_stretch st = {.from = rec->offset,
                               .to = rec->offset + record_size(rec->header.length),
                               .after = number - 1,
                               .before = number + 1,
                               .is_void = true};
    if (s->open)
        sc->stretches[sc->n - 1].before = number;
    s->open = false;
    sc->last_end = st.to;
    sc->last_number = number;
    if (!footer_builder_add(sc->builder, rec)) {
        st.is_void = false;
        st.what = "record that cannot be read";
        add_stretch(s, &st);
    } else if (rec->header.type == RECORD_VOID) {
        add_stretch(s, &st);
    } else if (!quiet) {
        look_at_message(c, s->reader.segment, rec);
    }
}

void check_scan(struct spool_check *c, const struct check_segment *cs, bool quiet,
                struct check_scan *ret)
{
    const struct segment_found *f = &cs->found;
    *ret = (struct check_scan){.last_end = SEGMENT_DATA};
    struct scanning s = {.sc = ret};
    ret->builder = footer_builder_new(f->header_ok ? f->header.id_high : UINT64_MAX);
    int rc = segment_reader_init(&s.reader, c->fs, f, c->salt);
    if (rc >= 0) {
        s.reader.damage = on_damage;
        s.reader.ctx = &s;
        s.reader.check_bodies = !quiet;
        struct record rec;
        while ((rc = segment_reader_next(&s.reader, &rec)) > 0)
            look_at(c, &s, &rec, quiet);
        segment_reader_done(&s.reader);
    }
    ret->error = rc;
}

void check_scan_done(struct check_scan *sc)
{
    footer_builder_free(sc->builder);
    free(sc->stretches);
}

/* --- what is found
 * ---------------------------------------------------------------------------------------------- */

static bool mends(const struct spool_check *c, const struct check_segment *cs)
{
    return c->repair && cs->may_repair;
}

static void check_headers(struct spool_check *c, const struct check_segment *cs)
{
    const struct segment_found *f = &cs->found;
    if (f->before_missing)
        check_tell(c, f->header.prev, 0, 0, "the segment is missing");
    if (!f->header_ok) {
        check_tell(c, f->number, 0, SEGMENT_DATA, "damaged segment header");
        return;
    }
    for (unsigned copy = 0; copy < 2; copy++) {
        if (!f->header_bad[copy])
            continue;
        check_tell(c, f->number, copy * SEGMENT_HEADER_BLOCK, (copy + 1) * SEGMENT_HEADER_BLOCK,
                   "damaged copy of the segment header");
        c->report.mended += mends(c, cs) && repair_header(c, f, copy);
    }
}

/* The last one of a file that was cut is mended with what is missing behind it. */
static bool is_at_cut(const struct segment_found *f, const struct check_stretch *st)
{
    return f->cut_short && st->to >= f->size;
}

static bool is_found(const struct check_scan *sc, const struct check_stretch *st)
{
    for (size_t i = 0; i < sc->n; i++)
        if (!sc->stretches[i].is_void && sc->stretches[i].from == st->from &&
            sc->stretches[i].to == st->to)
            return true;
    return false;
}

/* A disk that did not answer for a moment has damaged nothing. When the copies in quarantine are
 * synced, it is there; what is found once more then is mended. */
static void mend_stretches(struct spool_check *c, const struct check_segment *cs,
                           const struct check_scan *sc)
{
    const struct segment_found *f = &cs->found;
    struct check_scan again;
    for (size_t i = 0; i < sc->n; i++)
        if (!sc->stretches[i].is_void)
            spool_quarantine(c->fs, f->named, sc->stretches[i].from, sc->stretches[i].to);
    check_scan(c, cs, true, &again);
    for (size_t i = 0; i < sc->n && again.error >= 0; i++) {
        const struct check_stretch *st = &sc->stretches[i];
        if (!st->is_void && !is_at_cut(f, st) && is_found(&again, st))
            c->report.mended += repair_stretch(c, f, st);
    }
    check_scan_done(&again);
}

static void check_stretches(struct spool_check *c, const struct check_segment *cs,
                            struct check_scan *sc)
{
    const struct segment_found *f = &cs->found;
    for (size_t i = 0; i < sc->n; i++) {
        const struct check_stretch *st = &sc->stretches[i];
        if (!st->is_void)
            check_tell(c, f->number, st->from, st->to, st->what);
    }
    if (mends(c, cs) && sc->damaged)
        mend_stretches(c, cs, sc);
    if (!f->cut_short)
        return;
    check_tell(c, f->number, sc->last_end, sc->last_end, "segment file too short");
    struct check_stretch rest = {
        .from = sc->last_end, .to = f->end, .after = sc->last_number, .before = UINT64_MAX};
    bool also = sc->n && is_at_cut(f, &sc->stretches[sc->n - 1]);
    if (mends(c, cs) && repair_stretch(c, f, &rest))
        c->report.mended += also ? 2 : 1;
}

/* What the footer knows and the records do not say any more. */
static void doubt_lost(struct spool_check *c, const struct check_segment *cs,
                       const struct check_scan *sc, const struct footer *footer)
{
    struct footer_cursor fc = footer_entries(footer);
    struct footer_entry e;
    size_t i = 0;
    while (footer_next(&fc, &e)) {
        struct message_record m;
        if (e.kind != FOOTER_MESSAGE || !message_record_read(e.head, &m))
            continue;
        while (i < sc->n && sc->stretches[i].to <= e.offset)
            i++;
        if (i < sc->n && sc->stretches[i].from <= e.offset)
            check_doubt(c, DOUBT_RECORD, cs->found.number, m.id, e.offset);
    }
}

static bool agrees(const struct spool_check *c, const struct check_segment *cs,
                   struct check_scan *sc, const struct footer *footer)
{
    const struct segment_found *f = &cs->found;
    struct buf whole = BUF_MAX(SIZE_MAX / 2);
    uint8_t header[FOOTER_HEADER];
    footer_header_write(header, footer);
    bool same =
        footer_builder_finish(sc->builder, f->number, c->salt, f->end, &whole) &&
        slice_eq(slice_head(buf_slice(&whole), FOOTER_HEADER), slice_of(header, FOOTER_HEADER)) &&
        slice_eq(slice_skip(buf_slice(&whole), FOOTER_HEADER), footer->entries);
    buf_done(&whole);
    return same;
}

static void check_footer(struct spool_check *c, struct check_segment *cs, struct check_scan *sc)
{
    const struct segment_found *f = &cs->found;
    struct footer footer;
    uint64_t at = footer_at(f->end);
    bool wanted = false, finding = false;
    int rc = f->cut_short ? 0 : footer_read(c->fs, f, c->salt, &footer);
    if (rc == 0) {
        wanted = !cs->pinned; /* housekeeping knows better whether it is to have one */
    } else if (rc < 0) {
        check_tell(c, f->number, at, at, "damaged index footer");
        wanted = finding = true;
    } else if (sc->n) {
        doubt_lost(c, cs, sc, &footer);
    } else if (!agrees(c, cs, sc, &footer)) {
        /* It stays: what it knows may be all that is left. */
        check_tell(c, f->number, at, at, "index footer that does not agree with the records");
    }
    if (rc > 0)
        footer_done(&footer);
    if (wanted && mends(c, cs) && repair_footer(c, cs))
        c->report.mended += finding;
}

/* Of a running spool the headers are read now, by the helper. */
static bool read_headers(struct spool_check *c, struct check_segment *cs)
{
    struct err e = {0};
    uint64_t end = cs->found.end;
    uint32_t number = cs->found.number;
    int rc = segment_find(c->fs, &cs->found, &e);
    cs->found.end = end;
    if (cs->found.number != number)
        cs->found.header_ok = false;
    cs->found.number = number;
    cs->found.cut_short = cs->found.size < end;
    if (rc < 0)
        check_say(c, e.text);
    return rc >= 0;
}

void check_segment(struct spool_check *c, struct check_segment *cs)
{
    const struct segment_found *f = &cs->found;
    c->report.segments++;
    if (cs->pinned && !read_headers(c, cs))
        return;
    check_headers(c, cs);
    struct check_scan sc;
    uint64_t records = 0, events = 0;
    check_scan(c, cs, false, &sc);
    footer_builder_count(sc.builder, &records, &events);
    c->report.records += records;
    c->report.events += events;
    cs->damaged = sc.damaged;
    if (sc.error < 0)
        check_tell(c, f->number, 0, 0, "cannot be read");
    else
        check_stretches(c, cs, &sc);
    if (sc.error >= 0 && f->header_ok && f->end != UINT64_MAX && cs->may_repair)
        check_footer(c, cs, &sc);
    check_scan_done(&sc);
}

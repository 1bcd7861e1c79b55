/* The index footer from the records of its segment: they are folded into an index of their own,
 * which says at the end what is still there. */
#include "queue/footer.h"
#include "relay/base/must.h"
#include <stdlib.h>

struct candidate {
    enum footer_kind kind; /* MESSAGE or STATE */
    uint8_t flags;
    uint64_t id, dsn_for, dsn_rcpt;
    bool dsn_delay;
    uint64_t offset;
    uint32_t length, head_n;
    size_t at, n; /* reduced head in heads */
};

struct footer_builder {
    struct fold fold;
    struct segment segment;
    struct spool_report report;
    struct replay replay;
    uint64_t id_high;
    struct candidate *list;
    size_t n, cap;
    struct buf heads;
    uint64_t *ids; /* of the messages that have a MESSAGE here; sorted when all are in */
    size_t n_ids, ids_cap;
};

struct footer_builder *footer_builder_new(uint64_t id_high)
{
    struct footer_builder *b = must_alloc(sizeof *b);
    b->replay = (struct replay){.fold = &b->fold, .report = &b->report};
    b->heads = BUF_MAX(SIZE_MAX / 2);
    b->id_high = id_high;
    b->segment.fd = -1;
    return b;
}

void footer_builder_free(struct footer_builder *b)
{
    if (!b)
        return;
    fold_done(&b->fold);
    fold_segment_done(&b->fold, &b->segment);
    buf_done(&b->heads);
    free(b->list);
    free(b->ids);
    free(b);
}

void footer_builder_count(const struct footer_builder *b, uint64_t *ret_records,
                          uint64_t *ret_events)
{
    *ret_records = b->report.records;
    *ret_events = b->report.events;
}

/* --- taking records
 * ---------------------------------------------------------------------------------------------- */

static void *room_for_one(void *list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return list;
    *cap = *cap ? 2 * *cap : 64;
    return must_realloc(list, *cap * size);
}

/* What the index does not keep is left out. */
static void add_envelope(struct buf *out, struct envelope e)
{
    struct buf text = BUF_MAX(SIZE_MAX / 2);
    e.client_ip = e.client_helo = e.listener = e.session_id = e.auth_mech = SLICE_NONE;
    envelope_write(&text, &e);
    buf_add_prefixed(out, buf_slice(&text));
    buf_done(&text);
}

static bool reduce_message(struct footer_builder *b, struct slice head, struct candidate *c)
{
    struct message_record r;
    struct envelope e;
    if (!message_record_read(head, &r) || !envelope_read(r.envelope, &e))
        return false;
    c->id = r.id;
    c->flags = r.flags;
    c->dsn_for = e.dsn_for;
    c->dsn_delay = e.dsn_delay;
    c->dsn_rcpt = e.dsn_rcpt;
    message_record_write(&b->heads, &r);
    add_envelope(&b->heads, e);
    buf_add_prefixed(&b->heads, r.changes);
    envelope_done(&e);
    b->ids = room_for_one(b->ids, b->n_ids, &b->ids_cap, sizeof *b->ids);
    b->ids[b->n_ids++] = r.id;
    return true;
}

static bool reduce_state(struct footer_builder *b, struct slice head, struct candidate *c)
{
    struct state_record r;
    if (!state_record_read(head, &r))
        return false;
    c->id = r.id;
    buf_add_u64(&b->heads, r.id);
    buf_add_prefixed(&b->heads, r.changes);
    return true;
}

bool footer_builder_add(struct footer_builder *b, const struct record *rec)
{
    b->report.records++;
    b->replay.last_record = rec->header.number;
    if (!replay_record(&b->replay, &b->segment, rec))
        return false;
    struct candidate c = {
        .offset = rec->offset, .length = rec->header.length, .head_n = rec->header.head};
    c.at = b->heads.n;
    if (rec->header.type == RECORD_MESSAGE) {
        c.kind = FOOTER_MESSAGE;
        MUST(reduce_message(b, rec->head, &c));
    } else if (rec->header.type == RECORD_STATE) {
        c.kind = FOOTER_STATE;
        MUST(reduce_state(b, rec->head, &c));
    } else {
        return true;
    }
    MUST(!b->heads.overflow);
    c.n = b->heads.n - c.at;
    b->list = room_for_one(b->list, b->n, &b->cap, sizeof *b->list);
    b->list[b->n++] = c;
    return true;
}

/* --- what is left of them
 * ----------------------------------------------------------------------------------------------
 */

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* It has a MESSAGE here, and at the end of the segment it is not in the index, whatever was there
 * before. */
static bool is_over(const struct footer_builder *b, uint64_t id)
{
    return b->n_ids && bsearch(&id, b->ids, b->n_ids, sizeof id, by_id) &&
           !index_find(&b->fold.index, id);
}

struct entries {
    struct buf *out;
    uint64_t at;
    uint32_t n;
};

static void entry_begin(struct entries *e, enum footer_kind kind, const struct candidate *c)
{
    buf_add_u8(e->out, (uint8_t)kind);
    buf_add_varint(e->out, (c->offset - e->at) / 8);
    e->at = c->offset;
    e->n++;
}

static void add_kept(const struct footer_builder *b, struct entries *e, const struct candidate *c)
{
    entry_begin(e, c->kind, c);
    if (c->kind == FOOTER_MESSAGE) {
        buf_add_varint(e->out, c->length);
        buf_add_varint(e->out, c->head_n);
    }
    buf_add_prefixed(e->out, slice_of(b->heads.p + c->at, c->n));
}

/* A message that is over leaves what it did to others. */
static void add_over(const struct footer_builder *b, struct entries *e, const struct candidate *c)
{
    bool copy = c->flags & MESSAGE_IS_COPY;
    if (c->kind != FOOTER_MESSAGE)
        return;
    if (!copy && c->dsn_for && !is_over(b, c->dsn_for)) {
        entry_begin(e,
                    c->dsn_rcpt    ? FOOTER_TOLD_ONE
                    : c->dsn_delay ? FOOTER_TOLD_DELAY
                                   : FOOTER_TOLD,
                    c);
        buf_add_u64(e->out, c->dsn_for);
        if (c->dsn_rcpt)
            buf_add_varint(e->out, c->dsn_rcpt);
    }
    if (copy || c->id <= b->id_high) {
        entry_begin(e, FOOTER_GONE, c);
        buf_add_u64(e->out, c->id);
    }
}

bool footer_builder_finish(struct footer_builder *b, uint32_t number, uint32_t salt, uint64_t end,
                           struct buf *out)
{
    enum { header = FOOTER_HEADER };
    if (b->n_ids)
        qsort(b->ids, b->n_ids, sizeof *b->ids, by_id);
    buf_reset(out);
    uint8_t *p = buf_reserve(out, header);
    MUST(p);
    memset(p, 0, header);
    buf_commit(out, header);
    struct entries e = {.out = out};
    for (size_t i = 0; i < b->n; i++) {
        const struct candidate *c = &b->list[i];
        if (is_over(b, c->id))
            add_over(b, &e, c);
        else
            add_kept(b, &e, c);
    }
    if (out->overflow || out->n > UINT32_MAX)
        return false;
    struct footer f = {.number = number,
                       .salt = salt,
                       .end = end,
                       .last_record = b->replay.last_record,
                       .id_high = b->fold.last_id,
                       .seq_high = b->fold.last_seq,
                       .max_seq = b->segment.max_seq,
                       .records = b->report.records,
                       .events = b->report.events,
                       .n_entries = e.n,
                       .entries = slice_skip(buf_slice(out), header)};
    footer_header_write(out->p, &f);
    return true;
}

/* Any bytes as the head of a record of the type that the first byte names, decoded to the last
 * field and folded into an index. */
#include "queue/fold.h"
#include "queue/outbox.h"
#include "relay/base/must.h"

struct sum {
    uint64_t n, fields;
};

static void on_event(void *ctx, const struct event *e)
{
    struct sum *sum = ctx;
    struct cursor c = cursor_of(e->fields);
    struct event_value v;
    sum->n++;
    while (event_next(&c, &v)) {
        enum event_type type;
        MUST(event_field_key(v.field, &type) && type == v.type);
        MUST(v.str.n <= e->fields.n);
        sum->fields++;
    }
}

/* Counting them, which makes no fields, comes to the same; unless an envelope that cannot be read
 * is needed for them. */
static void events(enum record_type type, struct slice head)
{
    struct sum sum = {0};
    int64_t n = outbox_read(type, head, on_event, &sum);
    MUST(n < 0 || (uint64_t)n == sum.n);
    MUST(n < 0 || outbox_read(type, head, NULL, NULL) == n);
}

static void verdict(struct slice s)
{
    struct verdict v, again;
    if (!verdict_read(s, &v))
        return;
    struct buf out = BUF_MAX(SIZE_MAX / 2);
    verdict_write(&out, &v);
    MUST(verdict_read(buf_slice(&out), &again));
    MUST(again.kind == v.kind && again.fault == v.fault && again.code == v.code);
    verdict_done(&v);
    verdict_done(&again);
    buf_done(&out);
}

static void check(const struct fold *f)
{
    for (const struct message *m = index_after(&f->index, 0); m;
         m = index_after(&f->index, m->id)) {
        uint32_t left = 0;
        for (uint32_t i = 0; i < m->n_rcpts; i++)
            left += !rcpt_state_final((enum rcpt_state)m->rcpts[i].state) || m->rcpts[i].dsn_due;
        MUST(left == m->n_left);
    }
}

static void changes(struct slice s)
{
    struct cursor c = cursor_of(s);
    struct change change;
    while (change_next(&c, &change))
        verdict(change.verdict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fold f = {0};
    struct cursor c = cursor_of(slice_of(data, size));
    /* Records one after another: u8 type, u16 length, head. */
    while (c.rest.n && !c.bad) {
        uint8_t type = cursor_u8(&c);
        uint16_t n = cursor_u16(&c);
        struct slice head = slice_head(c.rest, n);
        c.rest = slice_skip(c.rest, n);
        struct message_record m;
        struct state_record s;
        bool bad;
        if (type == RECORD_MESSAGE && message_record_read(head, &m)) {
            events(RECORD_MESSAGE, head);
            changes(m.changes);
            fold_message(&f, &m);
        } else if (type == RECORD_STATE && state_record_read(head, &s)) {
            events(RECORD_STATE, head);
            changes(s.changes);
            fold_state(&f, &s, &bad);
        } else if (type == RECORD_EVENT) {
            events(RECORD_EVENT, head);
        }
        check(&f);
    }
    fold_done(&f);
    return 0;
}

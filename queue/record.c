#include "queue/record.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"

enum {
    AT_LENGTH = 0,
    AT_HEAD = 4,
    AT_SEGMENT = 8,
    AT_TYPE = 12,
    AT_NUMBER = 16,
    AT_BATCH = 24,
    AT_ZERO = 28,
    AT_HEAD_CRC = 32,
    AT_CRC = 36
};

void record_header_write(uint8_t p[RECORD_HEADER_SIZE], const struct record_header *h,
                         uint32_t salt)
{
    put_u32(p + AT_LENGTH, h->length);
    put_u32(p + AT_HEAD, h->head);
    put_u32(p + AT_SEGMENT, h->segment);
    put_u32(p + AT_TYPE, (uint32_t)h->type);
    put_u64(p + AT_NUMBER, h->number);
    put_u32(p + AT_BATCH, h->batch);
    put_u32(p + AT_ZERO, 0);
    put_u32(p + AT_HEAD_CRC, h->head_crc);
    put_u32(p + AT_CRC, crc32c(salt, p, AT_CRC));
}

bool record_header_read(const uint8_t p[RECORD_HEADER_SIZE], uint32_t salt,
                        struct record_header *ret)
{
    uint32_t type = get_u32(p + AT_TYPE);
    struct record_header h = {.length = get_u32(p + AT_LENGTH),
                              .head = get_u32(p + AT_HEAD),
                              .segment = get_u32(p + AT_SEGMENT),
                              .batch = get_u32(p + AT_BATCH),
                              .type = (enum record_type)type,
                              .number = get_u64(p + AT_NUMBER),
                              .head_crc = get_u32(p + AT_HEAD_CRC)};
    if (type < RECORD_MESSAGE || type > RECORD_VOID || h.length > RECORD_LENGTH_MAX ||
        h.head > h.length || get_u32(p + AT_CRC) != crc32c(salt, p, AT_CRC))
        return false;
    *ret = h;
    return true;
}

void message_record_write(struct buf *out, const struct message_record *r)
{
    buf_add_u32(out, r->body_crc);
    buf_add_u32(out, r->flags);
    buf_add_u64(out, r->id);
    buf_add_u64(out, (uint64_t)r->queued.us);
    buf_add_u64(out, (uint64_t)r->expires.us);
    buf_add_u64(out, r->body_bytes);
}

bool message_record_read(struct slice head, struct message_record *ret)
{
    struct cursor c = cursor_of(head);
    struct message_record r = {.body_crc = cursor_u32(&c)};
    r.flags = (uint8_t)cursor_u32(&c);
    r.id = cursor_u64(&c);
    r.queued.us = (int64_t)cursor_u64(&c);
    r.expires.us = (int64_t)cursor_u64(&c);
    r.body_bytes = cursor_u64(&c);
    r.envelope = cursor_prefixed(&c);
    r.changes = cursor_prefixed(&c);
    r.events = c.rest;
    if (c.bad || r.id == 0)
        return false;
    *ret = r;
    return true;
}

bool state_record_read(struct slice head, struct state_record *ret)
{
    struct cursor c = cursor_of(head);
    struct state_record r = {.id = cursor_u64(&c)};
    r.changes = cursor_prefixed(&c);
    r.events = c.rest;
    if (c.bad)
        return false;
    *ret = r;
    return true;
}

enum {
    FLAG_DSN_DUE = 1,
    FLAG_VERDICT = 2,
    FLAG_HOST = 4,
    FLAG_ROUTE = 8,
    FLAG_PRIORITY = 16,
    FLAGS_KNOWN = 31
};

static uint8_t flags_of(const struct change *c)
{
    return (uint8_t)((c->dsn_due ? FLAG_DSN_DUE : 0) | (c->has_verdict ? FLAG_VERDICT : 0) |
                     (c->has_host ? FLAG_HOST : 0) | (c->has_route ? FLAG_ROUTE : 0) |
                     (c->has_priority ? FLAG_PRIORITY : 0));
}

void change_write(struct buf *out, const struct change *c)
{
    buf_add_varint(out, c->rcpt);
    buf_add_u8(out, (uint8_t)c->state);
    buf_add_u8(out, flags_of(c));
    buf_add_varint(out, c->attempts);
    buf_add_u64(out, (uint64_t)c->due.us);
    buf_add_u64(out, (uint64_t)c->last_attempt.us);
    if (c->has_verdict)
        buf_add_prefixed(out, c->verdict);
    if (c->has_host)
        buf_add_prefixed(out, c->host);
    if (c->has_route)
        buf_add_prefixed(out, c->route);
    if (c->has_priority)
        buf_add_u8(out, (uint8_t)(c->priority + MAIL_PRIORITY_MAX));
}

/* What its flags say that follows. */
static void read_optional(struct cursor *c, uint8_t flags, struct change *r)
{
    r->has_verdict = flags & FLAG_VERDICT;
    r->has_host = flags & FLAG_HOST;
    r->has_route = flags & FLAG_ROUTE;
    r->has_priority = flags & FLAG_PRIORITY;
    if (r->has_verdict)
        r->verdict = cursor_prefixed(c);
    if (r->has_host)
        r->host = cursor_prefixed(c);
    if (r->has_route)
        r->route = cursor_prefixed(c);
    uint8_t priority = r->has_priority ? cursor_u8(c) : MAIL_PRIORITY_MAX;
    r->priority = (int8_t)(priority - MAIL_PRIORITY_MAX);
    if (flags > FLAGS_KNOWN || priority > 2 * MAIL_PRIORITY_MAX)
        c->bad = true;
}

bool change_next(struct cursor *c, struct change *ret)
{
    if (c->rest.n == 0 || c->bad)
        return false;
    struct change r = {0};
    uint64_t rcpt = cursor_varint(c);
    uint8_t state = cursor_u8(c);
    uint8_t flags = cursor_u8(c);
    uint64_t attempts = cursor_varint(c);
    r.due.us = (int64_t)cursor_u64(c);
    r.last_attempt.us = (int64_t)cursor_u64(c);
    r.dsn_due = flags & FLAG_DSN_DUE;
    read_optional(c, flags, &r);
    if (rcpt > UINT32_MAX || attempts > UINT32_MAX || state > RCPT_CANCELLED)
        c->bad = true;
    if (c->bad)
        return false;
    r.rcpt = (uint32_t)rcpt;
    r.state = (enum rcpt_state)state;
    r.attempts = (uint32_t)attempts;
    *ret = r;
    return true;
}

void verdict_write(struct buf *out, const struct verdict *v)
{
    buf_add_u8(out, (uint8_t)v->kind);
    buf_add_u8(out, (uint8_t)v->scope);
    buf_add_u8(out, v->text_truncated);
    buf_add_u16(out, v->code);
    buf_add_u8(out, v->enhanced.class);
    buf_add_u16(out, v->enhanced.subject);
    buf_add_u16(out, v->enhanced.detail);
    buf_add_prefixed(out, slice_str(class_name(v->class)));
    buf_add_prefixed(out, slice_str(phase_name(v->phase)));
    buf_add_prefixed(out, slice_str(fault_name(v->fault)));
    buf_add_prefixed(out, slice_str(v->text));
}

/* A name that a newer program wrote and this one does not know reads as 0, "none". */
static unsigned by_name(struct slice name, unsigned count, const char *(*name_of)(unsigned))
{
    for (unsigned i = 1; i < count && name.n; i++)
        if (name_of(i) && slice_eq(name, slice_str(name_of(i))))
            return i;
    return 0;
}

static const char *class_of(unsigned i)
{
    return class_name((enum verdict_class)i);
}

static const char *phase_of(unsigned i)
{
    return phase_name((enum phase)i);
}

static const char *fault_of(unsigned i)
{
    return fault_name((enum fault)i);
}

bool verdict_read(struct slice s, struct verdict *ret)
{
    struct cursor c = cursor_of(s);
    uint8_t kind = cursor_u8(&c), scope = cursor_u8(&c);
    struct verdict v = {0};
    v.text_truncated = cursor_u8(&c) != 0;
    v.code = cursor_u16(&c);
    v.enhanced.class = cursor_u8(&c);
    v.enhanced.subject = cursor_u16(&c);
    v.enhanced.detail = cursor_u16(&c);
    v.class = (enum verdict_class)by_name(cursor_prefixed(&c), CLASS_OTHER + 1, class_of);
    v.phase = (enum phase)by_name(cursor_prefixed(&c), PHASE_EOD + 1, phase_of);
    v.fault = (enum fault)by_name(cursor_prefixed(&c), FAULT_COUNT, fault_of);
    struct slice text = cursor_prefixed(&c);
    if (c.bad || kind > VERDICT_FAILED || scope > SCOPE_SITE || text.n > VERDICT_TEXT_MAX)
        return false;
    v.kind = (enum verdict_kind)kind;
    v.scope = (enum verdict_scope)scope;
    v.text = text.n ? slice_dup(text) : NULL;
    *ret = v;
    return true;
}

void events_begin(struct buf *out, struct wall time)
{
    buf_add_u64(out, 0);
    buf_add_u64(out, (uint64_t)time.us);
}

void events_add(struct buf *out, enum event_name name, struct slice fields)
{
    buf_add_varint(out, (uint64_t)name);
    buf_add_prefixed(out, fields);
}

void events_number(uint8_t *block, uint64_t first_seq)
{
    put_u64(block, first_seq);
}

struct events_cursor events_of(struct slice block, size_t n_rcpts)
{
    struct events_cursor ec = {.c = cursor_of(block), .n_rcpts = n_rcpts};
    if (block.n) {
        ec.next.seq = cursor_u64(&ec.c);
        ec.next.time.us = (int64_t)cursor_u64(&ec.c);
    }
    return ec;
}

bool events_next(struct events_cursor *ec, struct event *ret, size_t *ret_stands_for)
{
    struct cursor *c = &ec->c;
    if (c->rest.n == 0 || c->bad)
        return false;
    uint64_t name = cursor_varint(c);
    struct event e = ec->next;
    e.fields = cursor_prefixed(c);
    bool all = name == EVENT_ACCEPTED_ALL;
    if (name > UINT16_MAX || (all && ec->n_rcpts == 0))
        c->bad = true;
    if (c->bad)
        return false;
    e.name = (enum event_name)name;
    *ret = e;
    *ret_stands_for = all ? ec->n_rcpts : 1;
    ec->next.seq += *ret_stands_for;
    ec->n_rcpts = all ? 0 : ec->n_rcpts;
    return true;
}

int64_t events_read(struct slice block, void (*each)(void *ctx, const struct event *e), void *ctx)
{
    struct events_cursor ec = events_of(block, 0);
    struct event e;
    size_t one;
    int64_t n = 0;
    for (; events_next(&ec, &e, &one); n++)
        if (each)
            each(ctx, &e);
    return ec.c.bad ? -1 : n;
}

#include "queue/envelope.h"
#include "relay/base/bytes.h"
#include "relay/base/must.h"
#include <stdlib.h>

enum {
    RCPTS_MAX = 65535,
    NOTIFY_ALL = MAIL_NOTIFY_NEVER | MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY
};

/* Tags are on disk: never reuse one. */
enum {
    TAG_SENDER = 1,
    TAG_USER,
    TAG_CLIENT_IP,
    TAG_CLIENT_HELO,
    TAG_LISTENER,
    TAG_SESSION_ID,
    TAG_AUTH_MECH,
    TAG_MESSAGE_ID,
    TAG_ENVID,
    TAG_SIZE,
    TAG_EIGHT_BIT,
    TAG_DSN_FOR,
    TAG_EXPIRES_S,
    TAG_RCPT,
    TAG_BODY,
    TAG_RET,
    TAG_BY,
    TAG_BY_TRACE,
    TAG_SMTPUTF8,
    TAG_REQUIRETLS,
    TAG_TLS_OPTIONAL,
    TAG_PRIORITY, /* zigzag */
    TAG_RELEASE,  /* µs */
    TAG_BY_DEADLINE,
    TAG_TAGS,
    TAG_ROUTE
};
enum { RCPT_TAG_ORCPT = 1, RCPT_TAG_NOTIFY = 2 };

struct text_field {
    unsigned tag;
    size_t offset;
};
#define TEXT(tag, member)                                                                          \
    {                                                                                              \
        tag, offsetof(struct envelope, member)                                                     \
    }
static const struct text_field texts[] = {
    TEXT(TAG_SENDER, sender),       TEXT(TAG_USER, user),
    TEXT(TAG_CLIENT_IP, client_ip), TEXT(TAG_CLIENT_HELO, client_helo),
    TEXT(TAG_LISTENER, listener),   TEXT(TAG_SESSION_ID, session_id),
    TEXT(TAG_AUTH_MECH, auth_mech), TEXT(TAG_MESSAGE_ID, message_id),
    TEXT(TAG_ENVID, envid),         TEXT(TAG_TAGS, tags),
    TEXT(TAG_ROUTE, route),
};
enum { N_TEXTS = sizeof texts / sizeof *texts };

static const unsigned numbers[] = {
    TAG_SIZE,         TAG_EIGHT_BIT, TAG_DSN_FOR,  TAG_EXPIRES_S,   TAG_BODY,
    TAG_RET,          TAG_BY,        TAG_BY_TRACE, TAG_SMTPUTF8,    TAG_REQUIRETLS,
    TAG_TLS_OPTIONAL, TAG_PRIORITY,  TAG_RELEASE,  TAG_BY_DEADLINE,
};
enum { N_NUMBERS = sizeof numbers / sizeof *numbers };

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
}

static uint64_t number_of(const struct envelope *e, unsigned tag)
{
    switch (tag) {
    case TAG_SIZE:
        return e->size;
    case TAG_EIGHT_BIT:
        return e->eight_bit;
    case TAG_DSN_FOR:
        return e->dsn_for;
    case TAG_EXPIRES_S:
        return e->expires_s;
    case TAG_BODY:
        return e->params.body;
    case TAG_RET:
        return e->params.ret;
    case TAG_BY:
        return e->params.by;
    case TAG_BY_TRACE:
        return e->params.by_trace;
    case TAG_SMTPUTF8:
        return e->params.smtputf8;
    case TAG_REQUIRETLS:
        return e->params.requiretls;
    case TAG_TLS_OPTIONAL:
        return e->params.tls_optional;
    case TAG_PRIORITY:
        return zigzag(e->params.priority);
    case TAG_RELEASE:
        return (uint64_t)e->release.us;
    case TAG_BY_DEADLINE:
        return (uint64_t)e->by_deadline.us;
    default:
        UNREACHABLE();
    }
}

/* False: no value of that field. */
static bool set_number(struct envelope *e, uint64_t tag, uint64_t v)
{
    switch (tag) {
    case TAG_SIZE:
        e->size = v;
        return true;
    case TAG_EIGHT_BIT:
        e->eight_bit = v != 0;
        return true;
    case TAG_DSN_FOR:
        e->dsn_for = v;
        return true;
    case TAG_EXPIRES_S:
        e->expires_s = v;
        return true;
    case TAG_BODY:
        e->params.body = (enum mail_body)(v & 3);
        return v <= MAIL_BODY_BINARYMIME;
    case TAG_RET:
        e->params.ret = (enum mail_ret)(v & 3);
        return v <= MAIL_RET_HDRS;
    case TAG_BY:
        e->params.by = (enum mail_by)(v & 3);
        return v <= MAIL_BY_NOTIFY;
    case TAG_BY_TRACE:
        e->params.by_trace = v != 0;
        return true;
    case TAG_SMTPUTF8:
        e->params.smtputf8 = v != 0;
        return true;
    case TAG_REQUIRETLS:
        e->params.requiretls = v != 0;
        return true;
    case TAG_TLS_OPTIONAL:
        e->params.tls_optional = v != 0;
        return true;
    case TAG_PRIORITY:
        e->params.priority = (int8_t)((int64_t)((v & 31) >> 1) ^ -(int64_t)(v & 1));
        return v <= zigzag(MAIL_PRIORITY_MAX);
    case TAG_RELEASE:
        e->release.us = (int64_t)v;
        return v <= INT64_MAX;
    case TAG_BY_DEADLINE:
        e->by_deadline.us = (int64_t)v;
        return v <= INT64_MAX;
    default:
        UNREACHABLE();
    }
}

static bool is_number(uint64_t tag)
{
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (numbers[i] == tag)
            return true;
    return false;
}

static void add_text(struct buf *out, unsigned tag, struct slice s)
{
    if (s.n == 0)
        return;
    buf_add_varint(out, tag);
    buf_add_prefixed(out, s);
}

static void add_number(struct buf *out, unsigned tag, uint64_t v)
{
    if (v == 0)
        return;
    uint8_t bytes[16];
    size_t n = 0;
    for (uint64_t rest = v; rest || n == 0; rest >>= 7)
        bytes[n++] = (uint8_t)((rest & 0x7f) | (rest >= 0x80 ? 0x80 : 0));
    add_text(out, tag, slice_of(bytes, n));
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void add_rcpt(struct buf *out, const struct envelope_rcpt *r)
{
    size_t n = varint_size(r->address.n) + r->address.n;
    if (r->orcpt.n)
        n += varint_size(RCPT_TAG_ORCPT) + varint_size(r->orcpt.n) + r->orcpt.n;
    if (r->notify)
        n += 3; /* tag, length, one byte: NOTIFY_ALL < 0x80 */
    buf_add_varint(out, TAG_RCPT);
    buf_add_varint(out, n);
    buf_add_prefixed(out, r->address);
    add_text(out, RCPT_TAG_ORCPT, r->orcpt);
    add_number(out, RCPT_TAG_NOTIFY, r->notify);
}

void envelope_write(struct buf *out, const struct envelope *e)
{
    MUST(e->n_rcpts >= 1 && e->n_rcpts <= RCPTS_MAX);
    for (size_t i = 0; i < N_TEXTS; i++) {
        struct slice text;
        memcpy(&text, (const char *)e + texts[i].offset, sizeof text);
        add_text(out, texts[i].tag, text);
    }
    for (size_t i = 0; i < N_NUMBERS; i++)
        add_number(out, numbers[i], number_of(e, numbers[i]));
    for (size_t i = 0; i < e->n_rcpts; i++)
        add_rcpt(out, &e->rcpts[i]);
}

static bool read_number(struct slice s, uint64_t *ret)
{
    struct cursor c = cursor_of(s);
    *ret = cursor_varint(&c);
    return !c.bad && c.rest.n == 0;
}

static bool read_rcpt(struct slice s, struct envelope_rcpt *ret)
{
    struct cursor c = cursor_of(s);
    struct envelope_rcpt r = {.address = cursor_prefixed(&c)};
    while (c.rest.n && !c.bad) {
        uint64_t tag = cursor_varint(&c);
        struct slice value = cursor_prefixed(&c);
        uint64_t notify;
        if (tag == RCPT_TAG_ORCPT)
            r.orcpt = value;
        else if (tag == RCPT_TAG_NOTIFY && (!read_number(value, &notify) || notify > NOTIFY_ALL))
            c.bad = true;
        else if (tag == RCPT_TAG_NOTIFY)
            r.notify = (unsigned)notify;
    }
    *ret = r;
    return !c.bad;
}

static bool read_field(struct envelope *e, uint64_t tag, struct slice value)
{
    uint64_t number = 0;
    if (is_number(tag))
        return read_number(value, &number) && set_number(e, tag, number);
    for (size_t i = 0; i < N_TEXTS; i++)
        if (texts[i].tag == tag)
            memcpy((char *)e + texts[i].offset, &value, sizeof value);
    return true;
}

/* Two passes, so that the array is made once and no larger than the recipients that are really
 * there. */
size_t envelope_count(struct slice s)
{
    size_t n = 0;
    struct cursor c = cursor_of(s);
    while (c.rest.n && !c.bad) {
        n += cursor_varint(&c) == TAG_RCPT;
        cursor_prefixed(&c);
    }
    return c.bad || n > RCPTS_MAX ? 0 : n;
}

bool envelope_read(struct slice s, struct envelope *ret)
{
    struct envelope e = {.n_rcpts = envelope_count(s)};
    if (e.n_rcpts == 0)
        return false;
    struct envelope_rcpt *rcpts = must_alloc(e.n_rcpts * sizeof *rcpts);
    size_t n = 0;
    bool ok = true;
    struct cursor c = cursor_of(s);
    while (c.rest.n && ok) {
        uint64_t tag = cursor_varint(&c);
        struct slice value = cursor_prefixed(&c);
        ok = tag == TAG_RCPT ? read_rcpt(value, &rcpts[n++]) : read_field(&e, tag, value);
    }
    if (!ok) {
        free(rcpts);
        return false;
    }
    e.rcpts = rcpts;
    *ret = e;
    return true;
}

void envelope_done(struct envelope *e)
{
    /* The array is const for those who read the envelope. */
    free((void *)(uintptr_t)e->rcpts);
    e->rcpts = NULL;
}

#include "queue/envelope.h"
#include "relay/base/bytes.h"
#include "relay/base/must.h"
#include <stdlib.h>

enum { RCPTS_MAX = 65535 };

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
    TAG_RCPT
};
enum { RCPT_TAG_ORCPT = 1 };

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
    TEXT(TAG_ENVID, envid),
};
enum { N_TEXTS = sizeof texts / sizeof *texts };

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
    buf_add_varint(out, TAG_RCPT);
    buf_add_varint(out, n);
    buf_add_prefixed(out, r->address);
    add_text(out, RCPT_TAG_ORCPT, r->orcpt);
}

void envelope_write(struct buf *out, const struct envelope *e)
{
    MUST(e->n_rcpts >= 1 && e->n_rcpts <= RCPTS_MAX);
    for (size_t i = 0; i < N_TEXTS; i++) {
        struct slice text;
        memcpy(&text, (const char *)e + texts[i].offset, sizeof text);
        add_text(out, texts[i].tag, text);
    }
    add_number(out, TAG_SIZE, e->size);
    add_number(out, TAG_EIGHT_BIT, e->eight_bit);
    add_number(out, TAG_DSN_FOR, e->dsn_for);
    add_number(out, TAG_EXPIRES_S, e->expires_s);
    for (size_t i = 0; i < e->n_rcpts; i++)
        add_rcpt(out, &e->rcpts[i]);
}

static bool read_rcpt(struct slice s, struct envelope_rcpt *ret)
{
    struct cursor c = cursor_of(s);
    struct envelope_rcpt r = {.address = cursor_prefixed(&c)};
    while (c.rest.n && !c.bad) {
        uint64_t tag = cursor_varint(&c);
        struct slice value = cursor_prefixed(&c);
        if (tag == RCPT_TAG_ORCPT)
            r.orcpt = value;
    }
    *ret = r;
    return !c.bad;
}

static bool read_number(struct slice s, uint64_t *ret)
{
    struct cursor c = cursor_of(s);
    *ret = cursor_varint(&c);
    return !c.bad && c.rest.n == 0;
}

static bool read_field(struct envelope *e, uint64_t tag, struct slice value)
{
    uint64_t number = 0;
    switch (tag) {
    case TAG_SIZE:
        return read_number(value, &e->size);
    case TAG_EIGHT_BIT:
        if (!read_number(value, &number))
            return false;
        e->eight_bit = number != 0;
        return true;
    case TAG_DSN_FOR:
        return read_number(value, &e->dsn_for);
    case TAG_EXPIRES_S:
        return read_number(value, &e->expires_s);
    default:
        break;
    }
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

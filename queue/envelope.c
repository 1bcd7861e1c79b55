#include "queue/envelope.h"
#include "relay/base/bytes.h"
#include "relay/base/must.h"
#include <assert.h>
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
    TAG_ROUTE,
    TAG_DSN_DELAY,
    TAG_DSN_RCPT
};
enum { RCPT_TAG_ORCPT = 1, RCPT_TAG_NOTIFY = 2 };

/* One row a tag: where in the envelope, of what kind, and the largest value on disk. */
enum kind { NOTHING, TEXT, U64, BOOL, ENUM, PRIORITY, WALL };
struct field {
    enum kind kind;
    size_t at;
    uint64_t max;
};
#define AT(member) offsetof(struct envelope, member)
static const struct field fields[] = {
    [TAG_SENDER] = {TEXT, AT(sender), 0},
    [TAG_USER] = {TEXT, AT(user), 0},
    [TAG_CLIENT_IP] = {TEXT, AT(client_ip), 0},
    [TAG_CLIENT_HELO] = {TEXT, AT(client_helo), 0},
    [TAG_LISTENER] = {TEXT, AT(listener), 0},
    [TAG_SESSION_ID] = {TEXT, AT(session_id), 0},
    [TAG_AUTH_MECH] = {TEXT, AT(auth_mech), 0},
    [TAG_MESSAGE_ID] = {TEXT, AT(message_id), 0},
    [TAG_ENVID] = {TEXT, AT(envid), 0},
    [TAG_TAGS] = {TEXT, AT(tags), 0},
    [TAG_ROUTE] = {TEXT, AT(route), 0},
    [TAG_SIZE] = {U64, AT(size), UINT64_MAX},
    [TAG_EIGHT_BIT] = {BOOL, AT(eight_bit), UINT64_MAX},
    [TAG_DSN_FOR] = {U64, AT(dsn_for), UINT64_MAX},
    [TAG_EXPIRES_S] = {U64, AT(expires_s), UINT64_MAX},
    [TAG_BODY] = {ENUM, AT(params.body), MAIL_BODY_BINARYMIME},
    [TAG_RET] = {ENUM, AT(params.ret), MAIL_RET_HDRS},
    [TAG_BY] = {ENUM, AT(params.by), MAIL_BY_NOTIFY},
    [TAG_BY_TRACE] = {BOOL, AT(params.by_trace), UINT64_MAX},
    [TAG_SMTPUTF8] = {BOOL, AT(params.smtputf8), UINT64_MAX},
    [TAG_REQUIRETLS] = {BOOL, AT(params.requiretls), UINT64_MAX},
    [TAG_TLS_OPTIONAL] = {BOOL, AT(params.tls_optional), UINT64_MAX},
    [TAG_PRIORITY] = {PRIORITY, AT(params.priority), 2 * MAIL_PRIORITY_MAX},
    [TAG_RELEASE] = {WALL, AT(release), INT64_MAX},
    [TAG_BY_DEADLINE] = {WALL, AT(by_deadline), INT64_MAX},
    [TAG_DSN_DELAY] = {BOOL, AT(dsn_delay), UINT64_MAX},
    [TAG_DSN_RCPT] = {U64, AT(dsn_rcpt), RCPTS_MAX},
};
#undef AT
enum { N_FIELDS = sizeof fields / sizeof *fields };
static_assert(sizeof(enum mail_body) == sizeof(unsigned), "what ENUM copies");

static uint64_t zigzag(int v)
{
    return v < 0 ? (uint64_t)-v * 2 - 1 : (uint64_t)v * 2;
}

static int unzigzag(uint64_t v)
{
    return v & 1 ? -(int)(v / 2) - 1 : (int)(v / 2);
}

static uint64_t number_of(const struct envelope *e, const struct field *f)
{
    const char *at = (const char *)e + f->at;
    uint64_t number;
    unsigned word;
    struct wall wall;
    switch (f->kind) {
    case U64:
        memcpy(&number, at, sizeof number);
        return number;
    case ENUM:
        memcpy(&word, at, sizeof word);
        return word;
    case BOOL:
        return *(const bool *)(const void *)at;
    case PRIORITY:
        return zigzag(*(const int8_t *)at);
    case WALL:
        memcpy(&wall, at, sizeof wall);
        return (uint64_t)wall.us;
    case NOTHING:
    case TEXT:
        break;
    }
    UNREACHABLE();
}

static void set_number(struct envelope *e, const struct field *f, uint64_t v)
{
    char *at = (char *)e + f->at;
    unsigned word = (unsigned)v;
    struct wall wall = {(int64_t)v};
    switch (f->kind) {
    case U64:
        memcpy(at, &v, sizeof v);
        return;
    case ENUM:
        memcpy(at, &word, sizeof word);
        return;
    case BOOL:
        *(bool *)(void *)at = v != 0;
        return;
    case PRIORITY:
        *(int8_t *)at = (int8_t)unzigzag(v);
        return;
    case WALL:
        memcpy(at, &wall, sizeof wall);
        return;
    case NOTHING:
    case TEXT:
        break;
    }
    UNREACHABLE();
}

static void add_text(struct buf *out, unsigned tag, struct slice s)
{
    if (s.n == 0)
        return;
    buf_add_varint(out, tag);
    buf_add_prefixed(out, s);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void add_number(struct buf *out, unsigned tag, uint64_t v)
{
    if (v == 0)
        return;
    buf_add_varint(out, tag);
    buf_add_u8(out, (uint8_t)varint_size(v));
    buf_add_varint(out, v);
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
    for (unsigned tag = 0; tag < N_FIELDS; tag++) {
        const struct field *f = &fields[tag];
        if (f->kind == TEXT)
            add_text(out, tag, *(const struct slice *)(const void *)((const char *)e + f->at));
        else if (f->kind != NOTHING)
            add_number(out, tag, number_of(e, f));
    }
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
    const struct field *f = tag < N_FIELDS ? &fields[tag] : &fields[0];
    uint64_t number;
    if (f->kind == NOTHING)
        return true;
    if (f->kind == TEXT) {
        memcpy((char *)e + f->at, &value, sizeof value);
        return true;
    }
    if (!read_number(value, &number) || number > f->max)
        return false;
    set_number(e, f, number);
    return true;
}

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

/* Room for one more: in powers of two, so never much more than there are. */
static struct envelope_rcpt *room_for_rcpt(struct envelope_rcpt *rcpts, size_t n)
{
    return n & (n - 1) ? rcpts : must_realloc(rcpts, (n ? 2 * n : 1) * sizeof *rcpts);
}

bool envelope_read(struct slice s, struct envelope *ret)
{
    struct envelope e = {0};
    struct envelope_rcpt *rcpts = NULL;
    bool ok = true;
    struct cursor c = cursor_of(s);
    while (c.rest.n && ok) {
        uint64_t tag = cursor_varint(&c);
        struct slice value = cursor_prefixed(&c);
        if (tag != TAG_RCPT) {
            ok = read_field(&e, tag, value);
        } else if ((ok = e.n_rcpts < RCPTS_MAX)) {
            rcpts = room_for_rcpt(rcpts, e.n_rcpts);
            ok = read_rcpt(value, &rcpts[e.n_rcpts++]);
        }
    }
    if (!ok || c.bad || e.n_rcpts == 0) {
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

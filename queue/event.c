#include "queue/event.h"
#include "relay/base/must.h"

struct field_row {
    const char *key;
    enum event_type type;
};

static const struct field_row fields[] = {
#define X(tag, name, key, type) [tag] = {key, EVT_##type},
#include "queue/event.def"
#undef X
};

static const char *const names[] = {
    [EVENT_ACCEPTED] = "accepted",
    [EVENT_REJECTED] = "rejected",
    [EVENT_DEFERRED] = "deferred",
    [EVENT_DELIVERED] = "delivered",
    [EVENT_RELAYED] = "relayed",
    [EVENT_BOUNCED] = "bounced",
    [EVENT_EXPIRED] = "expired",
    [EVENT_CANCELLED] = "cancelled",
    [EVENT_SUPPRESSED] = "suppressed",
    [EVENT_HELD] = "held",
    [EVENT_RELEASED] = "released",
    [EVENT_RESCHEDULED] = "rescheduled",
    [EVENT_REROUTED] = "rerouted",
    [EVENT_DSN_QUEUED] = "dsn_queued",
    [EVENT_SERVICE_STARTED] = "service_started",
    [EVENT_SERVICE_STOPPED] = "service_stopped",
    [EVENT_CONFIG_RELOADED] = "config_reloaded",
    [EVENT_SPOOL_DAMAGED] = "spool_damaged",
};

const char *event_name_text(enum event_name n)
{
    if ((unsigned)n >= sizeof names / sizeof *names)
        return NULL;
    return names[n];
}

bool event_is_final(enum event_name n)
{
    return n == EVENT_DELIVERED || n == EVENT_RELAYED || n == EVENT_BOUNCED || n == EVENT_EXPIRED ||
           n == EVENT_CANCELLED || n == EVENT_SUPPRESSED;
}

const char *event_field_key(enum event_field f, enum event_type *ret_type)
{
    if ((unsigned)f >= sizeof fields / sizeof *fields || !fields[f].key)
        return NULL;
    *ret_type = fields[f].type;
    return fields[f].key;
}

/* A field is varint(tag * 2 + kind), then a zigzag varint or prefixed bytes: a reader can pass over
 * tags it does not know. */
enum { KIND_NUMBER = 0, KIND_BYTES = 1 };

static bool is_text(enum event_type t)
{
    return t == EVT_STR || t == EVT_MAP;
}

void event_add_str(struct buf *out, enum event_field f, struct slice s)
{
    enum event_type type = EVT_INT;
    MUST(event_field_key(f, &type) && is_text(type));
    if (s.n == 0)
        return;
    buf_add_varint(out, (uint64_t)f * 2 + KIND_BYTES);
    buf_add_prefixed(out, s);
}

void event_add_int(struct buf *out, enum event_field f, int64_t v)
{
    enum event_type type = EVT_STR;
    MUST(event_field_key(f, &type) && !is_text(type));
    buf_add_varint(out, (uint64_t)f * 2 + KIND_NUMBER);
    buf_add_varint(out, (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0));
}

void event_add_time(struct buf *out, enum event_field f, struct wall t)
{
    event_add_int(out, f, t.us);
}

void event_add_tags(struct buf *out, struct slice tags)
{
    while (tags.n)
        event_add_str(out, EV_TAGS, slice_cut(&tags, '\n'));
}

bool event_next(struct cursor *c, struct event_value *ret)
{
    while (c->rest.n && !c->bad) {
        struct event_value v = {0};
        uint64_t tag = cursor_varint(c);
        if (tag & KIND_BYTES) {
            v.str = cursor_prefixed(c);
        } else {
            uint64_t z = cursor_varint(c);
            v.num = (int64_t)(z >> 1 ^ (z & 1 ? UINT64_MAX : 0));
        }
        if (c->bad)
            return false;
        uint64_t field = tag >> 1;
        if (field >= sizeof fields / sizeof *fields || !fields[field].key ||
            is_text(fields[field].type) != (tag & KIND_BYTES))
            continue;
        v.field = (enum event_field)field;
        v.type = fields[field].type;
        *ret = v;
        return true;
    }
    return false;
}

/*
 * An event: what the delivery log will say about one recipient, as encoded fields. It is born
 * beside the state change, stored in the same journal record (outbox), and rendered to JSON by
 * relay/events from these very bytes, so that a line written again after a crash is identical.
 * Fields are added in table order or not at all; a field that does not apply is absent.
 */
#pragma once
#include "relay/base/bytes.h"
#include "relay/base/clock.h"

enum event_name {
    EVENT_ACCEPTED = 1, /* on disk: never renumber */
    EVENT_REJECTED,
    EVENT_DEFERRED,
    EVENT_DELIVERED,
    EVENT_RELAYED,
    EVENT_BOUNCED,
    EVENT_EXPIRED,
    EVENT_CANCELLED,
    EVENT_SUPPRESSED,
    EVENT_HELD,
    EVENT_RELEASED,
    EVENT_RESCHEDULED,
    EVENT_REROUTED,
    EVENT_DSN_QUEUED,
    EVENT_SERVICE_STARTED,
    EVENT_SERVICE_STOPPED,
    EVENT_CONFIG_RELOADED,
    EVENT_SPOOL_DAMAGED,    /* a service line: its reason says what */
    EVENT_ACCEPTED_ALL = 32 /* on disk only: an `accepted` for each recipient (queue/outbox.h) */
};

enum event_field {
#define X(tag, name, key, type) EV_##name = tag,
#include "queue/event.def"
#undef X
};
enum event_type { EVT_STR, EVT_INT, EVT_SECONDS, EVT_TIME, EVT_BOOL, EVT_MAP };

const char *event_name_text(enum event_name n); /* "accepted" */
bool event_is_final(enum event_name n);
const char *event_field_key(enum event_field f, enum event_type *ret_type); /* NULL: unknown tag */

/* Building: appends to `out` (encoded fields only). Empty strings are left out. */
void event_add_str(struct buf *out, enum event_field f, struct slice s);
void event_add_int(struct buf *out, enum event_field f,
                   int64_t v); /* also BOOL, TIME (us), SECONDS (ms) */
void event_add_time(struct buf *out, enum event_field f, struct wall t);
/* As in struct envelope: each line is one. */
void event_add_tags(struct buf *out, struct slice tags);

/* One event as it lies in a record and as it travels to the log writer. `fields` is borrowed. */
struct event {
    uint64_t seq;
    struct wall time;
    enum event_name name;
    struct slice fields;
};
/* Walks the fields: false at the end or when damaged. */
struct event_value {
    enum event_field field;
    enum event_type type;
    struct slice str; /* STR, MAP ("key=value") */
    int64_t num;
};
bool event_next(struct cursor *c, struct event_value *ret);

/*
 * Records as they lie in a segment (README.md has the layout). Reading borrows from the bytes
 * given; what does not decode is damage, never an assertion. The head of a record is check-summed
 * with the header, its body by a sum of its own inside the head.
 */
#pragma once
#include "queue/event.h"
#include "queue/message.h"

enum record_type {
    RECORD_MESSAGE = 1,
    RECORD_STATE = 2,
    RECORD_EVENT = 3,
    RECORD_MARK = 4,
    RECORD_VOID = 5 /* means nothing: written over a damaged stretch */
};

#define RECORD_HEADER_SIZE 40u
#define RECORD_LENGTH_MAX (256u * 1024 * 1024)
#define RECORD_BODY_CRC_AT 0u /* in the head of a MESSAGE */

struct record_header {
    uint32_t length, head; /* of head and body; of the head */
    uint32_t segment, batch;
    enum record_type type;
    uint64_t number;
    uint32_t head_crc;
};

/* Bytes a record takes in a segment. */
static inline uint64_t record_size(uint64_t length)
{
    return (RECORD_HEADER_SIZE + length + 7) & ~UINT64_C(7);
}
void record_header_write(uint8_t p[RECORD_HEADER_SIZE], const struct record_header *h,
                         uint32_t salt);
bool record_header_read(const uint8_t p[RECORD_HEADER_SIZE], uint32_t salt,
                        struct record_header *ret);

enum {
    MESSAGE_BODY_IN_FILE = 1,
    MESSAGE_IS_COPY = 2,
    MESSAGE_BODY_LOST = 4,
    MESSAGE_DELAY_TOLD = 8 /* copies only */
};

struct message_record {
    uint32_t body_crc;
    uint8_t flags;
    uint64_t id;
    struct wall queued, expires;
    uint64_t body_bytes;
    struct slice envelope, changes, events;
};
/* Without envelope, changes and events: the caller appends prefixed envelope, prefixed changes,
 * events. */
void message_record_write(struct buf *out, const struct message_record *r);
/* False also for id 0, which is never drawn and stands for "before all" in listings. */
bool message_record_read(struct slice head, struct message_record *ret);

struct state_record {
    uint64_t id;
    struct slice changes, events;
};
bool state_record_read(struct slice head, struct state_record *ret);

struct change { /* of one recipient */
    uint32_t rcpt;
    enum rcpt_state state;
    uint32_t attempts;
    struct wall due, last_attempt;
    bool dsn_due, has_verdict, has_host, has_route, has_priority;
    struct slice verdict, host; /* verdict: as verdict_write has it */
    struct slice route;         /* of this recipient; "": that of its message */
    int8_t priority;            /* of its message */
};
void change_write(struct buf *out, const struct change *c);
/* False at the end (c->rest empty) or at damage (c->bad). */
bool change_next(struct cursor *c, struct change *ret);

void verdict_write(struct buf *out, const struct verdict *v);
/* The verdict owns its text. */
bool verdict_read(struct slice s, struct verdict *ret);

/* The events of a record: begin with the time (nothing is written for none), add each; the first
 * seq is patched in when it is known. */
void events_begin(struct buf *out, struct wall time);
void events_add(struct buf *out, enum event_name name, struct slice fields);
void events_number(uint8_t *block, uint64_t first_seq);
/* The entries of a block in order. One EVENT_ACCEPTED_ALL stands for n_rcpts events, seq counting
 * on, every other entry for itself; where there are no recipients (0), or a second time, it is
 * damage. */
struct events_cursor {
    struct cursor c;
    struct event next;
    size_t n_rcpts;
};
struct events_cursor events_of(struct slice block, size_t n_rcpts);
/* False at the end or when damaged (c.bad). */
bool events_next(struct events_cursor *ec, struct event *ret, size_t *ret_stands_for);
/* Of a STATE or an EVENT: calls each in order (each may be NULL) and returns how many there are, or
 * -1 when damaged. */
int64_t events_read(struct slice block, void (*each)(void *ctx, const struct event *e), void *ctx);

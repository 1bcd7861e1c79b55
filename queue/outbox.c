#include "queue/outbox.h"
#include "queue/id.h"
#include "relay/base/defer.h"

void outbox_who(struct buf *out, uint64_t id, const struct envelope *e, size_t rcpt,
                struct slice address, struct slice orcpt)
{
    DEFER(buf_done) struct buf domain = BUF_MAX(512);
    char text[QUEUE_ID_SIZE];
    address_domain(address, &domain);
    queue_id_write(id, text);
    event_add_str(out, EV_QUEUE_ID, slice_str(text));
    event_add_int(out, EV_RCPT, (int64_t)rcpt);
    event_add_str(out, EV_MESSAGE_ID, e->message_id);
    event_add_str(out, EV_SENDER, e->sender);
    event_add_str(out, EV_RECIPIENT, address);
    event_add_str(out, EV_RECIPIENT_DOMAIN, buf_slice(&domain));
    event_add_str(out, EV_ORCPT, orcpt);
    event_add_str(out, EV_ENVID, e->envid);
    event_add_str(out, EV_USER, e->user);
}

void outbox_accepted(struct buf *out, const struct message_record *r, const struct envelope *e,
                     size_t rcpt, struct slice more)
{
    outbox_who(out, r->id, e, rcpt, e->rcpts[rcpt].address, e->rcpts[rcpt].orcpt);
    event_add_str(out, EV_CLIENT_IP, e->client_ip);
    event_add_str(out, EV_CLIENT_HELO, e->client_helo);
    event_add_str(out, EV_LISTENER, e->listener);
    event_add_str(out, EV_SESSION_ID, e->session_id);
    event_add_str(out, EV_AUTH_MECH, e->auth_mech);
    event_add_int(out, EV_SIZE, (int64_t)e->size);
    event_add_time(out, EV_QUEUED_TIME, r->queued);
    event_add_time(out, EV_EXPIRES, r->expires);
    buf_add(out, more);
    event_add_tags(out, e->tags);
    if (e->release.us)
        event_add_time(out, EV_RELEASE, e->release);
    if (e->by_deadline.us)
        event_add_time(out, EV_DEADLINE, e->by_deadline);
    if (e->params.priority)
        event_add_int(out, EV_PRIORITY, e->params.priority);
}

/* entry: the EVENT_ACCEPTED_ALL; it has the first seq. */
static bool each_accepted(const struct message_record *r, const struct event *entry,
                          void (*each)(void *ctx, const struct event *e), void *ctx)
{
    DEFER(buf_done) struct buf fields = BUF_MAX(SIZE_MAX / 2);
    struct event event = {.seq = entry->seq, .time = entry->time, .name = EVENT_ACCEPTED};
    struct envelope e;
    if (!envelope_read(r->envelope, &e))
        return false;
    for (size_t i = 0; i < e.n_rcpts; i++, event.seq++) {
        buf_reset(&fields);
        outbox_accepted(&fields, r, &e, i, entry->fields);
        event.fields = buf_slice(&fields);
        each(ctx, &event);
    }
    envelope_done(&e);
    return true;
}

static int64_t of_message(const struct message_record *r,
                          void (*each)(void *ctx, const struct event *e), void *ctx)
{
    struct events_cursor ec = events_of(r->events, envelope_count(r->envelope));
    struct event entry;
    size_t stands_for;
    int64_t n = 0;
    for (; events_next(&ec, &entry, &stands_for); n += (int64_t)stands_for) {
        if (!each)
            continue;
        if (entry.name != EVENT_ACCEPTED_ALL)
            each(ctx, &entry);
        else if (!each_accepted(r, &entry, each, ctx))
            return -1;
    }
    return ec.c.bad ? -1 : n;
}

int64_t outbox_read(enum record_type type, struct slice head,
                    void (*each)(void *ctx, const struct event *e), void *ctx)
{
    struct message_record m;
    struct state_record s;
    switch (type) {
    case RECORD_MESSAGE:
        return message_record_read(head, &m) ? of_message(&m, each, ctx) : -1;
    case RECORD_STATE:
        return state_record_read(head, &s) ? events_read(s.events, each, ctx) : -1;
    case RECORD_EVENT:
        return events_read(head, each, ctx);
    case RECORD_MARK:
    case RECORD_VOID:
        break;
    }
    return 0;
}

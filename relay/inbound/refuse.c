/* What was refused at the front becomes a `rejected` event, so that a sender's "it says no" is
 * found in the log. */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/inbound/private.h"

#define EVENTS_MAX 10000 /* in a row, without an accepted message */
#define EVENTS_MAX_UNKNOWN 20

static void add_recipient(struct buf *f, struct slice recipient)
{
    const struct slice domain = slice_behind_last(recipient, '@');
    DEFER(buf_done) struct buf lower = BUF_MAX(256);
    for (size_t i = 0; i < domain.n; i++)
        buf_add_u8(&lower, byte_lower(domain.p[i]));
    event_add_str(f, EV_RECIPIENT, recipient);
    event_add_str(f, EV_RECIPIENT_DOMAIN, buf_slice(&lower));
}

static void add_session(struct buf *f, struct session *s)
{
    if (s->auth.user)
        event_add_str(f, EV_USER, slice_str(s->auth.user));
    event_add_str(f, EV_CLIENT_IP, slice_str(s->names.peer_ip));
    event_add_str(f, EV_CLIENT_HELO, smtp_server_helo(s->served.smtp));
    event_add_str(f, EV_LISTENER, slice_str(s->listener->name));
    event_add_str(f, EV_SESSION_ID, slice_str(s->id));
    if (s->auth.user && s->auth.mechanism)
        event_add_str(f, EV_AUTH_MECH, slice_str(s->auth.mechanism));
}

/* Each event costs disk: a client that does nothing but be refused gets no more of them, who has
 * not shown who he is sooner. All are counted. */
static bool is_worth_an_event(struct session *s)
{
    bool known = s->trusted || s->auth.user;
    return ++s->rejections <= (known ? EVENTS_MAX : EVENTS_MAX_UNKNOWN);
}

void session_rejected(struct session *s, const struct smtp_reply *r, struct slice sender,
                      struct slice recipient)
{
    metric_add(M_MESSAGES_REJECTED, 1);
    if (!is_worth_an_event(s))
        return;
    struct spooler_note *n = must_alloc(sizeof *n);
    n->msg.type = SPOOLER_NOTE;
    n->name = EVENT_REJECTED;
    buf_init(&n->fields, 8192);
    event_add_str(&n->fields, EV_SENDER, sender);
    if (recipient.n > 0)
        add_recipient(&n->fields, recipient);
    add_session(&n->fields, s);
    event_add_int(&n->fields, EV_SMTP_CODE, r->code);
    if (enhanced_is(r->enhanced)) {
        char text[ENHANCED_SIZE];
        enhanced_write(r->enhanced, text);
        event_add_str(&n->fields, EV_ENHANCED_STATUS, slice_str(text));
    }
    event_add_str(&n->fields, EV_RESPONSE, slice_head(r->text, VERDICT_TEXT_MAX));
    port_send(spooler_port(s->in->shared->spooler), &n->msg);
}

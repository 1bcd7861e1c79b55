#include "relay/spooler/damage.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include "relay/spooler/spooler.h"
#include <inttypes.h>
#include <stdio.h>

enum { REASON_MAX = 512 };

static void note(struct damage *d, const char *reason)
{
    struct spooler_note *n = must_alloc(sizeof *n);
    n->msg.type = SPOOLER_NOTE;
    n->name = EVENT_SPOOL_DAMAGED;
    buf_init(&n->fields, REASON_MAX + 16);
    event_add_str(&n->fields, EV_REASON, slice_head(slice_str(reason), REASON_MAX));
    if (d->port) {
        port_send(d->port, &n->msg);
        return;
    }
    if (!d->early)
        d->early_end = &d->early;
    *d->early_end = &n->msg;
    d->early_end = &n->msg.next;
}

void damage_say(void *ctx, const char *line)
{
    struct damage *d = ctx;
    if (++d->said > DAMAGE_SAY_MAX)
        return;
    LOG(LV_ERROR, "spool_damaged", LOG_S("what", line));
    note(d, line);
}

void damage_opened(struct damage *d, const struct port *port, uint64_t found)
{
    char line[100];
    if (d->said > DAMAGE_SAY_MAX) {
        snprintf(line, sizeof line, "%" PRIu64 " findings in all: see postwain spool check", found);
        LOG(LV_ERROR, "spool_damaged", LOG_S("what", line));
        note(d, line);
    }
    d->port = port;
    for (struct msg *m; (m = d->early);) {
        d->early = m->next;
        m->next = NULL;
        port_send(port, m);
    }
}

void damage_drop(struct damage *d)
{
    for (struct msg *m; (m = d->early);) {
        d->early = m->next;
        spooler_request_free(m);
    }
}

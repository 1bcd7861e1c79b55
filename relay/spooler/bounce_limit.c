/*
 * No bounce storms: reports to one sender, and those that one user's mail causes, go out at the
 * rates of the configuration. Who comes too early waits for a moment of his own; a failure that
 * would wait for more than CORE_DSN_WAIT_MS is not reported (the delivery log has it), and counts
 * as told. What waits is forgotten by a restart: then there is one more burst.
 */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"

enum { CHANGES_MAX = 100 };

static void say(struct core *c, struct mono *again, const struct message *m, const char *what)
{
    if (!mono_reached(*again, c->mono))
        return;
    *again = mono_add(c->mono, CORE_DSN_SAY_MS);
    LOG(LV_WARN, "reports_limited", LOG_B("sender", message_sender(m)),
        LOG_B("user", message_user(m)), LOG_S("meaning", what));
}

/* First its sender's turn, and when that has come its user's: who waits for the one takes nothing
 * of the other. That mail is late books no turn of a failure: it is told when there is room. */
int64_t bounce_limit(struct core *c, const struct message *m, enum bounce_turn next, bool failed)
{
    const bool by_sender = next == TURN_SENDER;
    struct limit *l = by_sender ? c->reports.senders : c->reports.users;
    const struct slice name = by_sender ? bounce_reader(c, m) : message_user(m);
    const struct limit_rate *r =
        by_sender ? &c->report_policy.per_sender : &c->report_policy.per_user;
    const int64_t wait_ms = limit_look(l, name, r, c->mono);
    if (wait_ms > 0 && !failed)
        return -1;
    if (wait_ms > CORE_DSN_WAIT_MS) {
        say(c, &c->reports.say_dropped, m,
            "failures are not reported to their sender any more, the delivery log has them");
        return -1;
    }
    limit_take(l, name, r, c->mono);
    if (wait_ms > 0) {
        metric_add(M_DSN_LATE, 1);
        say(c, &c->reports.say_late, m, "reports to their sender wait");
    }
    return wait_ms;
}

void bounce_drop(struct core *c, struct message *m)
{
    struct rcpt_change changes[CHANGES_MAX];
    size_t n = 0;
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        const struct recipient *r = &m->rcpts[i];
        if (r->dsn_due)
            changes[n++] = (struct rcpt_change){.rcpt = i,
                                                .state = (enum rcpt_state)r->state,
                                                .attempts = r->attempts,
                                                .due = r->due,
                                                .last_attempt = r->last_attempt};
        if (n == CHANGES_MAX || (n > 0 && i + 1 == m->n_rcpts)) {
            core_change_untold(c, m, changes, n);
            n = 0;
        }
    }
    metric_add(M_DSN_DROPPED, 1);
}

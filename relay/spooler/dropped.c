/* Recipients of new mail that are on the suppression list: accepted, and ended in the same breath.
 * The change stands right behind their message, in the same batch or in none; no attempt comes
 * between. */
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"

enum {
    EVENT_MAX = 15 * 1024, /* of one event's fields */
    CHANGES_MAX = 100
};

static void drop_some(struct core *c, struct message *m, const struct spooler_dropped *dropped,
                      size_t n)
{
    struct rcpt_change changes[CHANGES_MAX];
    struct spool_event_in events[CHANGES_MAX];
    struct buf fields[CHANGES_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct recipient *r = &m->rcpts[dropped[i].rcpt];
        const struct outcome_facts facts = {.reason = dropped[i].reason};
        const struct outcome o = {
            .event = EVENT_SUPPRESSED,
            .change = {.rcpt = dropped[i].rcpt, .state = RCPT_CANCELLED, .due = r->due}};
        fields[i] = BUF_MAX(EVENT_MAX);
        outcome_event(&fields[i], r, &o, NULL, &facts, c->now);
        changes[i] = o.change;
        events[i] = (struct spool_event_in){o.event, buf_slice(&fields[i])};
    }
    core_change(c, m, changes, n, events);
    for (size_t i = 0; i < n; i++)
        buf_done(&fields[i]);
}

void intake_drop(struct core *c, const struct spooler_store *s, struct message *m)
{
    MUST(s->n_dropped <= m->n_rcpts);
    metric_add(M_QUEUED, (int64_t)s->n_dropped); /* what is cancelled counts down */
    for (size_t from = 0; from < s->n_dropped; from += CHANGES_MAX) {
        const size_t left = s->n_dropped - from;
        drop_some(c, m, &s->dropped[from], left < CHANGES_MAX ? left : CHANGES_MAX);
    }
}

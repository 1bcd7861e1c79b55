#include "relay/spooler/feedback.h"
#include "relay/spooler/outcome.h"

/* Refused before it could carry anything, and not as a receiver that has trouble of its own (x.3.x)
 * does: one connection too many. */
static bool is_refused(const struct verdict *v)
{
    return (v->phase == PHASE_BANNER || v->phase == PHASE_EHLO) &&
           (v->scope == SCOPE_SITE || (v->code == 421 && v->enhanced.subject != 3));
}

static bool is_throttled(const struct message *m, uint32_t rcpt, const struct verdict *v)
{
    return v->scope == SCOPE_SITE && !outcome_is_greylisting(&m->rcpts[rcpt], v);
}

bool feedback_of(const struct message *m, const struct spooler_result *r, struct feedback *ret)
{
    size_t host = 0, throttled = 0, refused = 0, local = 0, ours = 0;
    int64_t after_s = 0;
    if (r->barred_ms > 0) {
        *ret = (struct feedback){SCHED_BARRED, r->barred_ms / 1000 + 1};
        return true;
    }
    if (!r->attempted)
        return false;
    for (size_t i = 0; i < r->n; i++) {
        const struct verdict *v = &r->verdicts[i];
        local += v->fault == FAULT_LOCAL || v->kind == VERDICT_NONE;
        ours += outcome_is_ours(v);
        if (v->kind != VERDICT_DEFERRED)
            continue;
        host += v->scope == SCOPE_HOST;
        refused += is_refused(v);
        if (!is_throttled(m, r->rcpts[i], v))
            continue;
        throttled++;
        after_s = retry_words(slice_str(v->text));
    }
    if (local == r->n) {
        *ret = (struct feedback){SCHED_OURS, 0};
        return ours > 0;
    }
    ret->after_s = after_s;
    ret->outcome = refused                ? SCHED_REFUSED
                   : throttled            ? SCHED_THROTTLED
                   : host + local == r->n ? SCHED_UNREACHABLE
                                          : SCHED_OK;
    return true;
}

/*
 * Failed logins: counted by client address, told later each time, and then no more are taken. The
 * session waits for its answer by its own deadline; no thread waits.
 */
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/inbound/private.h"

static const struct smtp_reply reply_banned = SMTP_REPLY_INIT(
    421, 4, 7, 0, "too many failed logins from your address, no more are taken for a while");

static struct mono now_of(const struct session *s)
{
    return loop_now(s->in->loop);
}

/* The guesser's other sessions, which were open before the ban. */
bool guard_may_try(struct session *s)
{
    if (s->admission.exempt ||
        !clients_is_banned(s->in->shared->clients, &s->admission.key, now_of(s)))
        return true;
    metric_add(M_REFUSED_BANNED, 1);
    session_answer(s, &reply_banned);
    return false;
}

void guard_failed(struct session *s, struct guess guess, const struct smtp_reply *r)
{
    const struct clients_rules rules = {.failures = s->conf->clients_auth_failures,
                                        .ban_ms = s->conf->clients_ban_ms,
                                        .exempt = s->admission.exempt};
    const struct clients_failure f =
        clients_auth_failed(s->in->shared->clients, &s->admission.key, &rules, guess, now_of(s));
    if (f.banned) {
        metric_add(M_CLIENTS_BANNED, 1);
        LOG(LV_WARN, "client_banned", LOG_S("client_ip", s->names.peer_ip),
            LOG_N("failures", f.failures), LOG_N("seconds", rules.ban_ms / 1000),
            LOG_S("session_id", s->id));
        session_answer(s, &reply_banned);
    } else if (f.late) {
        session_answer(s, &reply_banned);
    } else if (s->closed) {
        return; /* who does not wait for the answer is counted like everyone */
    } else if (f.delay_ms == 0 || s->in->stopping) {
        session_answer(s, r);
    } else {
        s->delayed = r;
        served_wait_until(&s->served, mono_add(now_of(s), f.delay_ms));
    }
}

bool guard_has_failed(struct session *s, uint64_t credential)
{
    return clients_has_failed(s->in->shared->clients, &s->admission.key, credential);
}

void guard_succeeded(struct session *s, uint64_t name)
{
    clients_auth_ok(s->in->shared->clients, &s->admission.key, name);
}

bool guard_late(struct session *s)
{
    const struct smtp_reply *r = s->delayed;
    s->delayed = NULL;
    if (r)
        session_answer(s, r);
    return r;
}

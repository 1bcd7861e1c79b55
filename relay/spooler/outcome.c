#include "relay/spooler/outcome.h"
#include "queue/outbox.h"
#include "relay/base/must.h"

static struct wall earlier(struct wall a, struct wall b)
{
    return a.us < b.us ? a : b;
}

static bool speaks_of_load(struct slice text)
{
    static const char *const words[] = {"*too many*", "*too fast*",   "*too quickly*", "*too much*",
                                        "*throttl*",  "*slow down*",  "*limit*",       "*busy*",
                                        "* rate *",   "*rate exceed*"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (slice_glob(slice_str(words[i]), text))
            return true;
    return false;
}

/* No receiver has heard of it yet: what failed before never came so far. */
static bool is_fresh(const struct recipient *r)
{
    const struct verdict *last = recipient_last(r);
    return !last || last->phase < PHASE_RCPT;
}

bool outcome_is_greylisting(const struct recipient *r, const struct verdict *v)
{
    bool there = v->phase == PHASE_RCPT || v->phase == PHASE_DATA || v->phase == PHASE_EOD;
    return v->kind == VERDICT_DEFERRED && is_fresh(r) && there &&
           (v->code == 450 || v->code == 451) && v->class != CLASS_FULL &&
           v->enhanced.subject != 3 && !speaks_of_load(slice_str(v->text));
}

bool outcome_is_ours(const struct verdict *v)
{
    return v->kind == VERDICT_DEFERRED && v->fault == FAULT_LOCAL && v->phase <= PHASE_CONNECT;
}

/* The last attempt is made when the lifetime ends (checklist 96), so expiry is itself a due moment.
 * So is the deadline of BY=…N: the notice follows from an attempt. */
static struct wall next_due(const struct outcome *o, const struct recipient *r,
                            const struct verdict *v, const struct retry_policy *retry,
                            struct wall now, struct rng *rng)
{
    const struct message *m = recipient_message(r);
    const bool ours = outcome_is_ours(v);
    struct retry_wish wish = {.greylisted = outcome_is_greylisting(r, v),
                              .after_s = v->code ? retry_words(slice_str(v->text)) : 0};
    struct wall next = retry_next(retry, ours ? 1 : o->change.attempts, wish, now, rng),
                deadline = message_by_deadline(m);
    if (m->by == MAIL_BY_NOTIFY && deadline.us > now.us)
        next = earlier(next, deadline);
    return o->expires.us > now.us ? earlier(next, o->expires) : next;
}

static void decide_deferred(struct outcome *o, const struct recipient *r, const struct verdict *v,
                            const struct retry_policy *retry, struct wall now, struct rng *rng)
{
    if (now.us >= o->expires.us && v->fault != FAULT_LOCAL) {
        o->change.state = RCPT_EXPIRED;
        o->event = EVENT_EXPIRED;
        return;
    }
    o->change.state = RCPT_QUEUED;
    o->change.due = next_due(o, r, v, retry, now, rng);
    o->event = EVENT_DEFERRED;
    if (outcome_is_ours(v)) {
        o->change.attempts = r->attempts;
        o->change.last_attempt = r->last_attempt;
    }
}

bool outcome_wants_failure(const struct recipient *r, bool double_bounces)
{
    const struct message *m = recipient_message(r);
    const bool has_reader = message_sender(m).n > 0 || (double_bounces && message_dsn_for(m));
    return has_reader && (r->notify == 0 || (r->notify & MAIL_NOTIFY_FAILURE));
}

bool outcome_is_filed(const struct verdict *v)
{
    return v->kind == VERDICT_DELIVERED && v->code == 0;
}

static void decide_delivered(struct outcome *o, const struct recipient *r, const struct verdict *v,
                             struct passed_on passed)
{
    const struct message *m = recipient_message(r);
    const bool unsaid = (r->notify & MAIL_NOTIFY_SUCCESS) && !passed.dsn;
    const bool traced = m->by_trace || (m->by == MAIL_BY_NOTIFY && !passed.deliver_by);
    o->change.state = RCPT_DELIVERED;
    o->event = unsaid && !outcome_is_filed(v) ? EVENT_RELAYED : EVENT_DELIVERED;
    o->change.dsn_due =
        message_sender(m).n > 0 && r->notify != MAIL_NOTIFY_NEVER && (unsaid || traced);
}

bool outcome_is_late(const struct recipient *r, bool stands_still, int64_t warning_s,
                     struct wall now)
{
    const struct message *m = recipient_message(r);
    const bool wanted = r->notify == 0 || (r->notify & MAIL_NOTIFY_DELAY) ||
                        (m->by == MAIL_BY_NOTIFY && r->notify != MAIL_NOTIFY_NEVER);
    return wanted && r->state == RCPT_QUEUED && ((r->last && r->attempts > 0) || stands_still) &&
           message_sender(m).n > 0 && now.us >= message_late_at(m, warning_s).us;
}

struct outcome outcome_decide(const struct recipient *r, const struct verdict *v, const char *host,
                              struct passed_on passed, const struct outcome_policy *policy,
                              struct wall now, struct rng *rng)
{
    struct outcome o = {.change = {.rcpt = r->number,
                                   .attempts = r->attempts + 1,
                                   .due = r->due,
                                   .last_attempt = now,
                                   .verdict = v,
                                   .host = host},
                        .expires = sched_expires(recipient_message(r), policy->lifetime_s)};
    switch (v->kind) {
    case VERDICT_DELIVERED:
        decide_delivered(&o, r, v, passed);
        return o;
    case VERDICT_FAILED:
        o.change.state = RCPT_BOUNCED;
        o.event = EVENT_BOUNCED;
        break;
    case VERDICT_DEFERRED:
        decide_deferred(&o, r, v, policy->retry, now, rng);
        break;
    case VERDICT_NONE:
        UNREACHABLE();
    }
    o.change.dsn_due =
        rcpt_state_final(o.change.state) && outcome_wants_failure(r, policy->double_bounces);
    return o;
}

/* --- events
 * ---------------------------------------------------------------------------------------- */

static void add_cstr(struct buf *out, enum event_field f, const char *s)
{
    if (s)
        event_add_str(out, f, slice_str(s));
}

static void add_known_ms(struct buf *out, enum event_field f, int32_t ms)
{
    if (ms >= 0)
        event_add_int(out, f, ms);
}

static bool is_id_byte(uint8_t c)
{
    uint8_t low = byte_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

struct slice outcome_remote_id(struct slice text)
{
    static const char *const before[] = {"queued as ", " id="};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        struct slice mark = slice_str(before[i]);
        size_t at = slice_find_slice(text, mark), n = 0;
        struct slice id = slice_skip(text, at + mark.n);
        while (n < id.n && n < 128 && is_id_byte(id.p[n]))
            n++;
        if (at < text.n && n > 0)
            return slice_head(id, n);
    }
    return SLICE_NONE;
}

static void add_reply(struct buf *out, const struct verdict *v, bool delivered)
{
    char enhanced[ENHANCED_SIZE];
    struct slice text = slice_str(v->text);
    if (v->code)
        event_add_int(out, EV_SMTP_CODE, v->code);
    enhanced_write(v->enhanced, enhanced);
    event_add_str(out, EV_ENHANCED_STATUS, slice_str(enhanced));
    if (v->code) {
        event_add_str(out, EV_RESPONSE, text);
        if (v->text_truncated)
            event_add_int(out, EV_RESPONSE_TRUNCATED, 1);
    }
    add_cstr(out, EV_COMMAND, phase_name(v->phase));
    if (v->code && delivered)
        event_add_str(out, EV_REMOTE_QUEUE_ID, outcome_remote_id(text));
    add_cstr(out, EV_ERROR, fault_name(v->fault));
    if (verdict_in_doubt(v))
        event_add_int(out, EV_MAY_ARRIVE_TWICE, 1);
}

static void add_way(struct buf *out, const struct outcome_facts *f)
{
    const struct attempt *a = f->attempt;
    event_add_str(out, EV_DESTINATION, f->destination);
    event_add_str(out, EV_SITE, f->site);
    if (!a)
        return;
    event_add_str(out, EV_MX_HOST, buf_slice(&a->mx_host));
    event_add_str(out, EV_MX_IP, buf_slice(&a->mx_ip));
    if (a->mx_port)
        event_add_int(out, EV_MX_PORT, a->mx_port);
    event_add_str(out, EV_SOURCE_IP, buf_slice(&a->source_ip));
    if (a->mx_ip.n)
        event_add_int(out, EV_REUSED, a->reused);
}

static void add_attempt(struct buf *out, const struct attempt *a)
{
    if (!a)
        return;
    event_add_str(out, EV_TLS_VERSION, buf_slice(&a->tls_version));
    event_add_str(out, EV_TLS_CIPHER, buf_slice(&a->tls_cipher));
    add_cstr(out, EV_TLS_POLICY, a->tls_policy);
    if (a->tls_version.n)
        event_add_int(out, EV_TLS_VERIFIED, a->tls_verified);
    add_known_ms(out, EV_DNS_MS, a->dns_ms);
    add_known_ms(out, EV_CONNECT_MS, a->connect_ms);
    add_known_ms(out, EV_TLS_MS, a->tls_ms);
    add_known_ms(out, EV_DATA_MS, a->data_ms);
}

static void add_when(struct buf *out, const struct recipient *r, const struct outcome *o,
                     struct wall now)
{
    const struct message *m = recipient_message(r);
    int64_t age_us = now.us - m->queued.us;
    bool goes_on = o->event == EVENT_DEFERRED || o->event == EVENT_RESCHEDULED ||
                   o->event == EVENT_RELEASED || o->event == EVENT_REROUTED;
    event_add_int(out, EV_SIZE, (int64_t)m->size);
    event_add_time(out, EV_QUEUED_TIME, m->queued);
    /* The clock may have been set back; nothing is in the queue for less than no time. */
    event_add_int(out, EV_QUEUE_SECONDS, age_us > 0 ? age_us / 1000 : 0);
    if (o->change.attempts)
        event_add_int(out, EV_ATTEMPT, o->change.attempts);
    if (goes_on) {
        event_add_time(out, EV_NEXT_ATTEMPT, o->change.due);
        event_add_time(out, EV_EXPIRES, o->expires);
    }
}

void outcome_who(struct buf *out, const struct recipient *r)
{
    const struct message *m = recipient_message(r);
    const struct envelope e = {.sender = message_sender(m),
                               .user = message_user(m),
                               .message_id = message_message_id(m),
                               .envid = message_envid(m)};
    outbox_who(out, m->id, &e, r->number, recipient_address(r), recipient_orcpt(r));
}

/* Nobody replied, so there is no response: what happened, in words. What an operator did has his
 * own or none. */
static struct slice reason_of(const struct verdict *v, const struct outcome_facts *f)
{
    bool says_itself = v && v->fault != FAULT_NONE && !v->code && v->text && !f->actor.n;
    return says_itself && !f->reason.n ? slice_str(v->text) : f->reason;
}

void outcome_event(struct buf *out, const struct recipient *r, const struct outcome *o,
                   const struct verdict *v, const struct outcome_facts *f, struct wall now)
{
    const struct message *m = recipient_message(r);
    outcome_who(out, r);
    event_add_str(out, EV_REVERSE_PATH, f->reverse_path);
    add_when(out, r, o, now);
    add_way(out, f);
    if (v)
        add_reply(out, v, o->event == EVENT_DELIVERED || o->event == EVENT_RELAYED);
    if (o->event == EVENT_EXPIRED)
        add_cstr(out, EV_CLASS, class_name(CLASS_EXPIRED));
    else if (v)
        add_cstr(out, EV_CLASS, class_name(v->class));
    add_attempt(out, f->attempt);
    event_add_str(out, EV_ACTOR, f->actor);
    event_add_str(out, EV_REASON, reason_of(v, f));
    event_add_tags(out, message_tags(m));
    if (f->ranked)
        event_add_int(out, EV_PRIORITY, f->priority);
}

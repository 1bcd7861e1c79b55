/*
 * What submitters ask for with MAIL and RCPT, beside everything else: release times, deadlines,
 * notices, priorities, ways. And what must hold of it: the spool has it as it was asked for,
 * through cuts, copies and damage; nothing goes before its time; each sender hears what he wants to
 * hear, once.
 */
#include "relay/base/must.h"
#include "tests/sim/sim.h"

#define HOUR_S 3600

static unsigned some_notify(struct sim *s)
{
    static const unsigned sets[] = {0,
                                    0,
                                    MAIL_NOTIFY_NEVER,
                                    MAIL_NOTIFY_SUCCESS,
                                    MAIL_NOTIFY_FAILURE,
                                    MAIL_NOTIFY_DELAY,
                                    MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE,
                                    MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY};
    return sets[sim_below(s, sizeof sets / sizeof *sets)];
}

void asked_choose(struct sim *s, struct sim_message *m)
{
    struct sim_asked *a = &m->asked;
    if (sim_chance(s, 50))
        return;
    for (unsigned i = 0; i < m->n_rcpts; i++)
        a->notify[i] = some_notify(s);
    a->params.priority = (int8_t)((int)sim_below(s, 19) - 9);
    a->params.ret = (enum mail_ret)sim_below(s, 3);
    a->release_s = sim_chance(s, 20) ? 1 + (int64_t)sim_below(s, 3 * HOUR_S) : 0;
    if (sim_chance(s, 30)) {
        a->params.by = sim_chance(s, 50) ? MAIL_BY_RETURN : MAIL_BY_NOTIFY;
        a->params.by_trace = sim_chance(s, 30);
        a->by_s = a->release_s + 60 + (int64_t)sim_below(s, 6 * HOUR_S);
    }
    a->tags = sim_chance(s, 30) ? "run=1\ncampaign=sim" : "";
    a->route = sim_chance(s, 15) ? "way" : "";
}

void asked_fill(struct sim *s, struct sim_message *m, struct envelope *e,
                struct envelope_rcpt *rcpts)
{
    struct sim_asked *a = &m->asked;
    a->release = (struct wall){0};
    a->by_deadline = (struct wall){0};
    if (a->release_s)
        a->release = wall_add_s(sim_wall(s), a->release_s);
    if (a->by_s)
        a->by_deadline = wall_add_s(sim_wall(s), a->by_s);
    e->params = a->params;
    e->release = a->release;
    e->by_deadline = a->by_deadline;
    e->tags = slice_str(a->tags);
    e->route = slice_str(a->route);
    for (unsigned i = 0; i < m->n_rcpts; i++)
        rcpts[i].notify = a->notify[i];
}

/* Receivers of every other site know DSN and DELIVERBY; so does the one that a route leads to. */
bool asked_passes_on(struct slice site)
{
    return site.n == 1 && site.p[0] % 2 == 1;
}

/* --- laws --- */

/* What was sent another way, by its author or by an operator, goes there and nowhere else. */
static void check_way(struct sim *s, struct sim_message *m, const struct out_work *w)
{
    const struct message *kept = spool_find(s->spool, w->message_id);
    const bool other = slice_eq(buf_slice(&w->site), SLICE_LIT("9"));
    MUST(kept);
    for (size_t i = 0; i < w->n; i++) {
        if (!m->dsn && other != (recipient_route(&kept->rcpts[w->rcpts[i]]).n > 0))
            sim_fail(s, "message %u recipient %u goes %s way", m->number, w->rcpts[i],
                     other ? "another" : "the usual");
        m->passed_on[w->rcpts[i]] = asked_passes_on(buf_slice(&w->site));
    }
}

void asked_attempt(struct sim *s, const struct out_work *w)
{
    struct sim_message *m = sim_find(s, w->message_id);
    if (m)
        check_way(s, m, w);
    if (s->released || s->clock_set || !m)
        return;
    if (sim_wall(s).us < m->asked.release.us)
        sim_fail(s, "message %u goes %lld ms before its time", m->number,
                 (long long)(m->asked.release.us - sim_wall(s).us) / 1000);
    bool same = (s->ranked || w->params.priority == m->asked.params.priority) &&
                w->params.by == m->asked.params.by;
    for (size_t i = 0; i < w->n && !m->dsn; i++)
        same = same && w->notify[i] == m->asked.notify[w->rcpts[i]];
    if (!same && !m->dsn)
        sim_fail(s, "message %u is sent otherwise than its author asked", m->number);
}

static bool is_as_asked(const struct message *m, const struct sim_asked *a)
{
    const struct mail_params p = message_params(m);
    bool same = p.ret == a->params.ret && p.by == a->params.by && p.by_trace == a->params.by_trace;
    same = same && (m->ranked || p.priority == a->params.priority); /* an operator's counts */
    same = same && message_release(m).us == a->release.us;
    same = same && message_by_deadline(m).us == a->by_deadline.us;
    same = same && slice_eq(message_tags(m), slice_str(a->tags));
    same = same && slice_eq(message_route(m), slice_str(a->route));
    for (uint32_t i = 0; i < m->n_rcpts; i++)
        same = same && m->rcpts[i].notify == a->notify[i];
    int64_t latest = a->by_deadline.us > m->queued.us ? a->by_deadline.us : m->queued.us;
    if (p.by == MAIL_BY_RETURN)
        same = same && message_expires(m).us <= latest + WALL_SECOND;
    return same;
}

void asked_look(struct sim *s)
{
    for (struct message *m = spool_after(s->spool, 0); m; m = spool_after(s->spool, m->id)) {
        const struct sim_message *known = sim_find(s, m->id);
        if (known && !known->dsn && !is_as_asked(m, &known->asked))
            sim_fail(s, "message %u is kept otherwise than its author asked", known->number);
    }
}

static bool wants_relayed(const struct sim_message *m, unsigned r)
{
    const struct sim_asked *a = &m->asked;
    const bool passed = m->passed_on[r], success = a->notify[r] & MAIL_NOTIFY_SUCCESS;
    return m->sender[0] && a->notify[r] != MAIL_NOTIFY_NEVER &&
           ((success && !passed) || a->params.by_trace ||
            (a->params.by == MAIL_BY_NOTIFY && !passed));
}

static bool wants_failed(const struct sim_message *m, unsigned r)
{
    const unsigned notify = m->asked.notify[r];
    return m->sender[0] && (notify == 0 || (notify & MAIL_NOTIFY_FAILURE));
}

static bool may_be_late(const struct sim_message *m, unsigned r)
{
    const unsigned notify = m->asked.notify[r];
    return m->sender[0] && notify != MAIL_NOTIFY_NEVER &&
           (notify == 0 || (notify & MAIL_NOTIFY_DELAY) || m->asked.params.by == MAIL_BY_NOTIFY);
}

void asked_check(struct sim *s, const struct sim_message *m, unsigned r, enum event_name last)
{
    const unsigned failed = law_reports(s, m->id, r, OUT_DSN_FAILED),
                   relayed = law_reports(s, m->id, r, OUT_DSN_RELAYED),
                   late = law_reports(s, m->id, r, OUT_DSN_DELAYED);
    const bool fails = last == EVENT_BOUNCED || last == EVENT_EXPIRED;
    const bool arrives = last == EVENT_DELIVERED || last == EVENT_RELAYED;
    if (failed != (fails && wants_failed(m, r)))
        sim_fail(s, "message %u recipient %u ends as %s and its author heard of a failure %u times",
                 m->number, r, event_name_text(last), failed);
    if (relayed != (arrives && wants_relayed(m, r)))
        sim_fail(s,
                 "message %u recipient %u ends as %s and its author heard %u times that it went on",
                 m->number, r, event_name_text(last), relayed);
    if (late > may_be_late(m, r))
        sim_fail(s, "message %u recipient %u: its author heard %u times that it is late", m->number,
                 r, late);
    bool says = arrives && (m->asked.notify[r] & MAIL_NOTIFY_SUCCESS) && !m->passed_on[r];
    if (arrives && says != (last == EVENT_RELAYED))
        sim_fail(s, "message %u recipient %u: the log says %s", m->number, r,
                 event_name_text(last));
}

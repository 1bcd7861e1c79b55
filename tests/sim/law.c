/* What must hold whatever happened. */
#include "queue/id.h"
#include "relay/base/must.h"
#include "tests/sim/sim.h"
#include <stdlib.h>

static struct logged decode(const struct event *e)
{
    struct logged l = {.seq = e->seq, .name = e->name};
    struct cursor c = cursor_of(e->fields);
    struct event_value v;
    while (event_next(&c, &v)) {
        if (v.field == EV_QUEUE_ID)
            queue_id_parse(v.str, &l.id);
        else if (v.field == EV_RCPT)
            l.rcpt = (unsigned)v.num;
    }
    return l;
}

/* Events come in order and without a gap, also when they are told again; and then they say the
 * same. */
void law_event(struct sim *s, const struct event *e, bool again)
{
    struct logged l = decode(e);
    uint64_t last = s->n_log ? s->log[s->n_log - 1].seq : 0;
    if (l.seq != last + 1)
        sim_fail(s, "event %llu after %llu", (unsigned long long)l.seq, (unsigned long long)last);
    if (s->n_log == s->cap_log) {
        s->cap_log = s->cap_log ? s->cap_log * 2 : 256;
        s->log = must_realloc(s->log, s->cap_log * sizeof *s->log);
    }
    const struct logged *before = s->n_log < s->max_log ? &s->log[s->n_log] : NULL;
    if (before && (before->seq != l.seq || before->id != l.id || before->rcpt != l.rcpt ||
                   before->name != l.name))
        sim_fail(s, "event %llu is another one after the restart", (unsigned long long)l.seq);
    if (before && !again)
        sim_fail(s, "event %llu was told and is used again", (unsigned long long)l.seq);
    s->log[s->n_log++] = l;
    s->max_log = s->n_log > s->max_log ? s->n_log : s->max_log;
    struct sim_message *m = l.id ? sim_find(s, l.id) : NULL;
    sim_say(s, "%s event %llu: %s of message %d recipient %u", again ? "again" : "",
            (unsigned long long)l.seq, event_name_text(l.name), m ? (int)m->number : -1, l.rcpt);
    bool ends_attempt = l.name == EVENT_DEFERRED || l.name == EVENT_DELIVERED ||
                        l.name == EVENT_RELAYED || l.name == EVENT_BOUNCED ||
                        l.name == EVENT_EXPIRED;
    if (m && l.rcpt < m->n_rcpts && ends_attempt && m->settled[l.rcpt] < m->sent[l.rcpt])
        m->settled[l.rcpt]++;
    if (m && l.rcpt < m->n_rcpts && !again)
        words_event(s, m, l.rcpt, l.name);
}

void law_lose_log(struct sim *s)
{
    while (s->n_log && s->log[s->n_log - 1].seq > s->kept_seq && sim_chance(s, 70))
        s->n_log--;
}

/* The only attempts that may arrive twice (promise 4). */
void law_in_doubt(struct sim *s)
{
    for (unsigned i = 0; i < s->n_messages; i++) {
        struct sim_message *m = &s->messages[i];
        for (unsigned r = 0; r < m->n_rcpts; r++) {
            m->in_doubt[r] += m->sent[r] > m->settled[r];
            m->settled[r] = m->sent[r];
        }
    }
}

struct fate {
    unsigned accepted, final;
    enum event_name last;
};

static struct fate fate_of(const struct sim *s, uint64_t id, unsigned rcpt)
{
    struct fate f = {0};
    for (size_t i = 0; i < s->n_log; i++) {
        const struct logged *l = &s->log[i];
        if (l->id != id || l->rcpt != rcpt)
            continue;
        f.accepted += l->name == EVENT_ACCEPTED;
        if (event_is_final(l->name)) {
            f.final++;
            f.last = l->name;
        }
    }
    return f;
}

unsigned law_reports(const struct sim *s, uint64_t id, unsigned rcpt, enum out_dsn_what what)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->n_messages; i++) {
        const struct sim_message *m = &s->messages[i];
        if (!m->dsn || m->about_id != id || m->about[rcpt] != 1 + (unsigned)what)
            continue;
        struct fate f = fate_of(s, m->id, 0); /* an operator, or a clock, may have ended it */
        n += m->arrived[0] > 0 || (f.final && (f.last == EVENT_CANCELLED ||
                                               f.last == EVENT_EXPIRED || f.last == EVENT_BOUNCED));
    }
    return n;
}

static void check_recipient(struct sim *s, const struct sim_message *m, unsigned r)
{
    struct fate f = fate_of(s, m->id, r);
    if (m->answered && f.accepted != 1)
        sim_fail(s, "message %u recipient %u was answered 250 and logged accepted %u times",
                 m->number, r, f.accepted);
    if (f.accepted > 1 || f.final != f.accepted)
        sim_fail(s, "message %u recipient %u: %u accepted, %u final events", m->number, r,
                 f.accepted, f.final);
    bool arrives = f.last == EVENT_DELIVERED || f.last == EVENT_RELAYED;
    if (arrives && m->arrived[r] == 0)
        sim_fail(s, "message %u recipient %u never arrived", m->number, r);
    if (m->arrived[r] > 1 + m->in_doubt[r])
        sim_fail(s, "message %u recipient %u arrived %u times, %u attempts in doubt", m->number, r,
                 m->arrived[r], m->in_doubt[r]);
    if (m->withdrawn && m->arrived[r] && !s->crashes)
        sim_fail(s, "message %u recipient %u arrived, and its author had been told 451", m->number,
                 r);
    words_check(s, m, r);
    if (!m->dsn)
        asked_check(s, m, r, f.last);
}

/* Promise 9: whatever was done to the clock, the next attempt is in reach. */
void law_not_stuck(struct sim *s)
{
    struct slice site, destination;
    if (s->dying)
        return;
    asked_look(s);
    for (struct message *m = spool_after(s->spool, 0); m; m = spool_after(s->spool, m->id)) {
        for (uint32_t i = 0; m->durable && i < m->n_rcpts; i++) {
            const struct recipient *r = &m->rcpts[i];
            int64_t wait_s = (r->due.us - sim_wall(s).us) / WALL_SECOND;
            if (r->attempts == 0 && r->due.us <= message_release(m).us) /* its author wants that */
                continue;
            if (r->state != RCPT_QUEUED || r->active || sched_where(r, &site, &destination))
                continue;
            if (wait_s > (r->attempts ? 2 * SIM_PAUSE_MAX_S : 0) + 60)
                sim_fail(s, "message %d recipient %u waits %lld s after %u attempts",
                         (int)sim_find(s, m->id)->number, i, (long long)wait_s, r->attempts);
        }
    }
}

void law_check(struct sim *s)
{
    struct spool_counts n;
    spool_count(s->spool, &n);
    if (n.messages)
        sim_fail(s, "%llu messages still queued, the first %d", (unsigned long long)n.messages,
                 (int)sim_find(s, spool_after(s->spool, 0)->id)->number);
    if (fake_disk_count(s->disk, "body") > s->doubtful_files)
        sim_fail(s, "%zu body files are nobody's", fake_disk_count(s->disk, "body"));
    for (unsigned i = 0; i < s->n_messages; i++) {
        const struct sim_message *m = &s->messages[i];
        for (unsigned r = 0; m->id && r < m->n_rcpts; r++)
            check_recipient(s, m, r);
    }
}

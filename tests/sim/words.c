/*
 * What operators say of mail that is with a connection: hold, release, remove, bounce, expire,
 * redirect, several of them in a row. And the law: what was answered to be done when the attempt
 * has ended is what follows that attempt, of each kind the last word, and nothing comes between.
 *
 * Known are words about one recipient. One verb for many that is out makes all of them unknown.
 */
#include "relay/base/must.h"
#include "tests/sim/sim.h"
#include <stdlib.h>
#include <string.h>

enum { SOON_US = 400000 }; /* attempts take about as long */

struct interference {
    uint64_t id;
    unsigned rcpt;
};

void words_begin(struct sim *s, const struct out_work *w)
{
    if (!s->meddles || !sim_chance(s, 30))
        return;
    for (uint64_t n = 1 + sim_below(s, 3); n > 0; n--) {
        struct interference *i = must_alloc(sizeof *i);
        *i = (struct interference){w->message_id, w->rcpts[0]};
        sim_after(s, (int64_t)sim_below(s, SOON_US), T_WORD, i);
    }
}

void words_say(struct sim *s, void *p)
{
    static const enum admin_verb verbs[] = {
        ADMIN_HOLD,   ADMIN_HOLD,   ADMIN_RELEASE, ADMIN_RELEASE,  ADMIN_REDIRECT, ADMIN_REDIRECT,
        ADMIN_REMOVE, ADMIN_BOUNCE, ADMIN_EXPIRE,  ADMIN_PRIORITY, ADMIN_RETRY};
    struct interference *i = p;
    struct sim_message *m = sim_find(s, i->id);
    MUST(m);
    struct spooler_admin *a =
        operator_verb(s, verbs[sim_below(s, sizeof verbs / sizeof *verbs)], i->id,
                      m->rcpts[i->rcpt], sim_chance(s, 60) ? "way" : "");
    if (a->verb == ADMIN_REDIRECT)
        m->word[i->rcpt].no_route = false;
    else
        m->word[i->rcpt].no_hold = false;
    a->cookie = (void *)(uintptr_t)m->sent[i->rcpt];
    free(i);
}

static enum event_name event_of(enum admin_verb v)
{
    switch (v) {
    case ADMIN_HOLD:
        return EVENT_HELD;
    case ADMIN_REMOVE:
        return EVENT_CANCELLED;
    case ADMIN_BOUNCE:
        return EVENT_BOUNCED;
    case ADMIN_EXPIRE:
        return EVENT_EXPIRED;
    case ADMIN_REDIRECT:
        return EVENT_REROUTED;
    case ADMIN_RETRY:
    case ADMIN_RELEASE:
    case ADMIN_PRIORITY:
    case ADMIN_STATUS:
    case ADMIN_QUEUE:
    case ADMIN_DISK:
    case ADMIN_LIST:
    case ADMIN_SHOW:
        break;
    }
    return 0;
}

void words_unknown(struct sim *s)
{
    for (unsigned i = 0; i < s->n_messages; i++)
        for (unsigned r = 0; r < SIM_RCPTS_MAX; r++)
            s->messages[i].word[r] = (struct sim_word){.unknown = s->messages[i].sent[r]};
}

/* The spooler said that something will be done (or no more) when the attempt has ended. */
static void note(struct sim *s, struct sim_message *m, unsigned r, const struct spooler_admin *a)
{
    struct sim_word *w = &m->word[r];
    if ((uintptr_t)a->cookie != m->sent[r]) /* said of that attempt, or of an earlier one */
        *w = (struct sim_word){.unknown = m->sent[r]};
    if (w->unknown >= m->sent[r])
        return;
    if (w->attempt != m->sent[r])
        *w = (struct sim_word){.attempt = m->sent[r]};
    if (a->verb != ADMIN_REDIRECT) {
        w->fate = event_of(a->verb);
        w->no_hold = a->verb == ADMIN_RELEASE;
        return;
    }
    /* Said twice, it is the same; back where it is, it is taken back. */
    w->route =
        slice_eq(recipient_redirected(&spool_find(s->spool, m->id)->rcpts[r]), buf_slice(&a->route))
            ? 0
            : EVENT_REROUTED;
    w->no_route = w->route == 0;
}

void words_answered(struct sim *s, const struct spooler_admin *a)
{
    if (a->filter.n_ids == 0) {
        s->broad_out -= s->broad_out > 0;
        words_unknown(s);
        return;
    }
    if (a->in_flight == 0 || s->broad_out)
        return;
    struct sim_message *m = sim_find(s, a->filter.ids[0]);
    for (unsigned r = 0; m && r < m->n_rcpts; r++)
        if (slice_eq(slice_str(m->rcpts[r]), buf_slice(&a->filter.to)))
            note(s, m, r, a);
}

static void check_taken_back(struct sim *s, const struct sim_message *m, unsigned r,
                             enum event_name name)
{
    const struct sim_word *w = &m->word[r];
    if ((name == EVENT_HELD && w->no_hold) || (name == EVENT_REROUTED && w->no_route))
        sim_fail(s, "message %u recipient %u: %s, and that had been taken back", m->number, r,
                 event_name_text(name));
}

static bool ends_mail(enum event_name fate)
{
    return fate && fate != EVENT_HELD;
}

/* The attempt has ended and the recipient is still there. (It may be deferred without an attempt
 * after that, by a resolver: the word has been said for this one.) */
static void now_owed(struct sim *s, struct sim_message *m, unsigned r)
{
    struct sim_word *w = &m->word[r];
    if (w->attempt != m->settled[r] || s->broad_out)
        return;
    m->owed[r] = (struct sim_owed){w->fate, ends_mail(w->fate) ? 0 : w->route};
    w->fate = w->route = 0;
}

void words_event(struct sim *s, struct sim_message *m, unsigned r, enum event_name name)
{
    struct sim_owed *o = &m->owed[r];
    const enum event_name next = o->route ? o->route : o->fate;
    if (next && name != next)
        sim_fail(s, "message %u recipient %u: %s, and an operator's last word was that it be %s",
                 m->number, r, event_name_text(name), event_name_text(next));
    s->words_done += next != 0;
    check_taken_back(s, m, r, name);
    if (o->route)
        o->route = 0;
    else
        o->fate = 0;
    if (name == EVENT_DEFERRED)
        now_owed(s, m, r);
}

void words_lost(struct sim *s)
{
    s->broad_out = 0;
    words_unknown(s);
    for (unsigned i = 0; i < s->n_messages; i++)
        memset(s->messages[i].owed, 0, sizeof s->messages[i].owed);
}

void words_check(struct sim *s, const struct sim_message *m, unsigned r)
{
    if (m->owed[r].fate || m->owed[r].route)
        sim_fail(s, "message %u recipient %u: an operator's last word was never done", m->number,
                 r);
}

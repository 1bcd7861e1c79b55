/*
 * One job ahead: while the answer to a message's dot is on its way here, the next one's envelope
 * goes there (RFC 2920 section 3.1), so that a message by DATA costs one round trip, not two. Its
 * content waits for the answer as ever, so nothing of it can have arrived before, and when the
 * session ends there it goes back untouched.
 *
 *   dot is out ──▶ the spooler is asked ──▶ a job comes: begun behind the dot, `front` is the one
 *                                             that waits for its answer, or kept as `next`
 *   answer ──▶ front is reported, the other goes on as any job      late ──▶ the other goes back
 *
 * Only where it pays: the last dot of this session was answered after PAYS_MS at least, so that
 * there is a way to be saved, and OUT_AHEAD_SLOW_MS at most: who looks at content for long would
 * keep a message from other connections that are free. If he does it all the same it goes back
 * after OUT_AHEAD_PATIENCE_MS, and nothing goes ahead to that address for a while.
 */
#include "relay/base/must.h"
#include "relay/outbound/conn.h"
#include "relay/spooler/requests.h"

#define PAYS_MS 2
#define SLOW_END_MS (INT64_C(5) * 60 * 1000)

static bool can_begin(const struct out_conn *c)
{
    return !c->ahead.front.job && smtp_client_takes_another(c->client) &&
           net_conn_unsent(c->link->net) == 0;
}

/* Nobody is left over, for whom the session would go on. */
static bool is_whole(const struct out_conn *c)
{
    return c->load.first + c->load.n_now == c->load.job->n;
}

void out_ahead_look(struct out_conn *c, struct mono now)
{
    struct out_ahead *a = &c->ahead;
    if (!c->begun || !can_begin(c))
        return;
    if (a->dot.ms == 0)
        a->dot = now;
    if (a->asked || !a->pays || c->jobs < 2 || a->next || !is_whole(c) || out_job_is_last(c, now) ||
        out_has_learnt(c->o, &c->peer, OUT_SLOW_END, now))
        return;
    a->asked = true;
    out_report_ahead(c->o, c->id);
}

/* --- a job has come
 * ------------------------------------------------------------------------------------------------------------
 */

static struct out_load take_load(struct out_load *l)
{
    struct out_load was = *l;
    *l = (struct out_load){0};
    return was;
}

/* Its content need not be read first. */
static bool is_simple(const struct out_work *w)
{
    return !w->params.smtputf8 || !w->eight_bit || w->body;
}

/* What the session would have to end for waits until it is its turn. */
static void try_behind(struct out_conn *c, struct mono now)
{
    struct out_ahead *a = &c->ahead;
    if (!can_begin(c) || !is_whole(c) || !is_simple(a->next))
        return;
    a->front = take_load(&c->load);
    c->load.job = a->next;
    out_content_header(c);
    out_rcpts_prepare(c);
    struct smtp_client_txn t = out_job_txn(c);
    if (!out_job_suits(c, &t) || !out_rcpts_choose(c)) {
        c->load.job = NULL;
        out_load_drop(&c->load);
        c->load = take_load(&a->front);
        return;
    }
    a->next = NULL;
    t.n_rcpts = c->load.n_now;
    t.sender = out_rcpts_sender(c);
    c->sent = 0;
    c->wants_body = false;
    c->jobs++;
    out_look_label(c, c->link->net);
    smtp_client_begin_behind(c->client, &t, now);
}

void out_ahead_work(struct out_conn *c, struct out_work *w, struct mono now)
{
    MUST(!c->ahead.next && !c->ahead.front.job);
    c->ahead.next = w;
    c->ahead.until = mono_add(now, c->o->ahead_patience_ms);
    try_behind(c, now);
}

void out_ahead_ready(struct out_conn *c)
{
    c->load.job = c->ahead.next;
    c->ahead.next = NULL;
}

/* --- the answer
 * ----------------------------------------------------------------------------------------------------------------
 */

bool out_ahead_done(struct out_conn *c, const struct smtp_client_action *act, struct mono now)
{
    struct out_ahead *a = &c->ahead;
    int64_t took = now.ms - a->dot.ms;
    a->pays = a->dot.ms != 0 && took >= PAYS_MS && took <= c->o->ahead_slow_ms;
    a->dot = (struct mono){0};
    a->asked = false;
    if (!a->front.job)
        return false;
    struct out_load behind = take_load(&c->load);
    c->load = take_load(&a->front);
    MUST(act->n == c->load.n_now && act->n > 0);
    c->data_ms = out_conn_since(c, now);
    out_rcpts_settle(c, act->verdicts, act->n);
    out_job_report_all(c, act->reusable);
    c->load = behind;
    c->begun = true;
    c->step = now;
    return true;
}

/* --- it goes back
 * ----------------------------------------------------------------------------------------------------------------
 */

static void give_back(struct out_conn *c)
{
    struct out_ahead *a = &c->ahead;
    if (a->front.job) {
        smtp_client_take_back(c->client);
        a->next = c->load.job;
        c->load.job = NULL;
        out_load_drop(&c->load);
        c->load = take_load(&a->front);
        c->jobs--;
    }
    out_report_unattempted(c->o, c->id, a->next, 0);
    a->next = NULL;
}

bool out_ahead_late(struct out_conn *c, struct mono now)
{
    if (!mono_reached(out_ahead_deadline(c), now))
        return false;
    out_learn(c->o, &c->peer, OUT_SLOW_END, mono_add(now, SLOW_END_MS));
    give_back(c);
    return true;
}

struct mono out_ahead_deadline(const struct out_conn *c)
{
    return c->ahead.next || c->ahead.front.job ? c->ahead.until : MONO_NEVER;
}

void out_ahead_forget_session(struct out_conn *c)
{
    MUST(!c->ahead.front.job || !c->o->spooler);
    c->ahead.asked = c->ahead.pays = false;
    c->ahead.dot = (struct mono){0};
}

void out_ahead_end(struct out_conn *c)
{
    if (c->ahead.next)
        give_back(c);
}

void out_ahead_drop(struct out_conn *c)
{
    out_load_drop(&c->ahead.front);
    if (c->ahead.next)
        out_work_free(c->ahead.next);
    c->ahead.next = NULL;
}

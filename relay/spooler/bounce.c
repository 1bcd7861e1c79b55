/*
 * What a sender must hear of: failures, delays, and that mail went where notices are not sent on.
 * Failures and what was relayed are marked in the index (dsn_due); that mail is late follows from
 * what is there (outcome_is_late), so a restart asks again. Once they are durable: wait until the
 * first attempts of the other recipients are over (at most five minutes, so that one slow receiver
 * keeps no one waiting), read the original, hand it out; when the report has not been stored a
 * minute later, again. At most one is out for a message, and CORE_DSN_OUT_MAX for all; the others
 * stand in line.
 *
 * Whether failures are told together or each alone is the way out's to know (VERP). When a report
 * on one has been stored, the next failure is looked for behind it, so that N of them cost N looks;
 * all recipients are gone through again when there is none, and never more than
 * WALK_PER_MS of a message in a ms, however its results trickle in.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <errno.h>
#include <stdlib.h>

#define LOOK_AGAIN_MS 1000
#define LOOK_AGAIN_LAST_MS 30000
#define WALK_PER_MS 16

static struct bounce *bounce_find(const struct core *c, uint64_t id)
{
    struct bounce *b;
    HASH_FIND(hh, c->bounces, &id, sizeof id, b);
    return b;
}

static void look_at(struct core *c, struct bounce *b, struct mono at)
{
    if (b->in_line)
        DL_DELETE(c->bounce_line, b);
    b->in_line = false;
    heap_set(&c->bounce_times, &b->heap_index, at.ms);
}

static void set_state(struct core *c, struct bounce *b, enum bounce_state state)
{
    if (state != BOUNCE_WAIT && b->state == BOUNCE_WAIT)
        c->bounces_out++;
    else if (state == BOUNCE_WAIT && b->state != BOUNCE_WAIT)
        c->bounces_out--;
    b->state = state;
}

static void stand_in_line(struct core *c, struct bounce *b)
{
    heap_drop(&c->bounce_times, &b->heap_index);
    DL_APPEND(c->bounce_line, b);
    b->in_line = true;
}

static void bounce_end(struct core *c, struct bounce *b)
{
    MUST(!b->in_line);
    set_state(c, b, BOUNCE_WAIT);
    heap_drop(&c->bounce_times, &b->heap_index);
    HASH_DEL(c->bounces, b);
    free(b);
}

void bounce_free(struct core *c)
{
    struct bounce *b, *next;
    HASH_ITER (hh, c->bounces, b, next) {
        HASH_DEL(c->bounces, b);
        free(b);
    }
    heap_done(&c->bounce_times);
}

/* When its recipients may be gone through again. */
static struct mono next_walk(const struct core *c, const struct message *m)
{
    return mono_add(c->mono, m->n_rcpts / WALK_PER_MS);
}

void bounce_wanted(struct core *c, uint64_t id)
{
    struct bounce *b = bounce_find(c, id);
    const struct message *m = spool_find(c->spool, id);
    if (b) {
        bounce_poke(c, id);
        return;
    }
    if (!m)
        return;
    b = must_alloc(sizeof *b);
    b->id = id;
    b->since = c->mono;
    b->walk = next_walk(c, m);
    HASH_ADD(hh, c->bounces, id, sizeof b->id, b);
    look_at(c, b, b->walk);
}

void bounce_poke(struct core *c, uint64_t id)
{
    struct bounce *b = bounce_find(c, id);
    if (!b || b->state != BOUNCE_WAIT || b->in_line)
        return;
    /* Not at once: a message with thousands of recipients is not walked for each result. */
    int64_t soon = mono_add(c->mono, LOOK_AGAIN_MS).ms;
    if (c->bounce_times.entries[b->heap_index - 1].key > soon)
        look_at(c, b, (struct mono){soon});
}

static bool is_late(const struct core *c, const struct recipient *r)
{
    return outcome_is_late(r, sched_stands_still(r), c->delay_warning_s, c->now);
}

bool bounce_is_due(const struct core *c, const struct recipient *r)
{
    return r->dsn_due || is_late(c, r);
}

static struct bounce_due count_due(struct core *c, const struct message *m)
{
    struct bounce_due n = {0};
    for (uint32_t i = 0; m && i < m->n_rcpts; i++) {
        n.over += m->rcpts[i].dsn_due;
        n.late += is_late(c, &m->rcpts[i]);
        c->bounce_looks++;
    }
    return n;
}

static bool is_failure(const struct recipient *r)
{
    return r->dsn_due && r->state != RCPT_DELIVERED;
}

/* The failure that is told alone now; `only` is 0: there is none behind those that were. */
static struct bounce_due next_failure(struct core *c, struct bounce *b, const struct message *m)
{
    for (; b->one_by_one && b->at < m->n_rcpts; b->at++) {
        c->bounce_looks++;
        if (is_failure(&m->rcpts[b->at]))
            return (struct bounce_due){.over = 1, .only = b->at + 1};
    }
    return (struct bounce_due){0};
}

static enum out_dsn_what what_of(const struct recipient *r)
{
    const struct verdict *last = recipient_last(r);
    if (r->state == RCPT_DELIVERED)
        return last && outcome_is_filed(last) ? OUT_DSN_DELIVERED : OUT_DSN_RELAYED;
    return r->dsn_due ? OUT_DSN_FAILED : OUT_DSN_DELAYED;
}

/* X.4.7: the time is over that the sender gave (RFC 3463, RFC 2852). */
static struct enhanced status_of(const struct recipient *r)
{
    const struct message *m = recipient_message(r);
    if (r->state == RCPT_EXPIRED && m->by == MAIL_BY_RETURN)
        return (struct enhanced){5, 4, 7};
    if (r->state == RCPT_QUEUED && m->by == MAIL_BY_NOTIFY)
        return (struct enhanced){4, 4, 7};
    return (struct enhanced){0};
}

static void dsn_rcpt(struct out_dsn_rcpt *to, const struct recipient *r)
{
    const struct verdict *last = recipient_last(r);
    to->number = r->number;
    to->address = buf_of(recipient_address(r));
    to->orcpt = buf_of(recipient_orcpt(r));
    to->host = buf_of(recipient_host(r));
    to->last_attempt = r->last_attempt;
    to->what = what_of(r);
    to->status = status_of(r);
    const enum fault none = r->state == RCPT_QUEUED ? FAULT_WAITING : FAULT_EXPIRED;
    to->verdict = last ? verdict_copy(last) : verdict_of_fault(none, PHASE_NONE, SLICE_NONE);
}

struct slice bounce_reader(const struct core *c, const struct message *m)
{
    const struct slice sender = message_sender(m);
    return sender.n ? sender : slice_str(c->report_policy.double_bounces);
}

static struct out_dsn *dsn_new(struct core *c, const struct message *m,
                               const struct bounce_due *due)
{
    const struct message_range told = message_told(m, due->only);
    const size_t n = due->over + due->late;
    struct out_dsn *d = must_alloc(sizeof *d);
    d->msg.type = OUT_DSN;
    d->message_id = m->id;
    d->double_bounce = message_sender(m).n == 0;
    d->to = buf_of(bounce_reader(c, m));
    d->user = buf_of(message_user(m));
    d->envid = buf_of(message_envid(m));
    d->params = message_params(m);
    d->tags = buf_of(message_tags(m));
    d->route = buf_of(message_route(m));
    d->queued = m->queued;
    d->expires = WALL_NEVER;
    d->original_whole = !m->in_file;
    d->one_by_one = due->only > 0;
    d->rcpts = must_alloc(n * sizeof *d->rcpts);
    for (uint32_t i = told.from; i < told.to; i++) {
        struct wall end = sched_rcpt_expires(&m->rcpts[i]);
        c->bounce_looks++;
        if (!bounce_is_due(c, &m->rcpts[i]))
            continue;
        dsn_rcpt(&d->rcpts[d->n++], &m->rcpts[i]);
        d->expires = end.us < d->expires.us ? end : d->expires;
    }
    MUST(d->n == n);
    return d;
}

static void begin(struct core *c, struct bounce *b, const struct message *m,
                  const struct bounce_due *due)
{
    size_t bytes = m->in_file ? SPOOL_INLINE_MAX : SIZE_MAX;
    struct core_read *r = core_read_new(c, READ_BOUNCE, m, 0, bytes);
    b->due = *due;
    r->dsn = dsn_new(c, m, due);
    r->dsn->serial = b->serial = ++c->last_serial;
    set_state(c, b, BOUNCE_READING);
    heap_drop(&c->bounce_times, &b->heap_index);
    core_push(c, (struct core_action){.act = CORE_READ, .read = r});
}

static struct mono next_look(const struct core *c, const struct bounce *b)
{
    int64_t age = c->mono.ms - b->since.ms;
    int64_t pause = age < LOOK_AGAIN_MS ? LOOK_AGAIN_MS : age;
    return mono_add(c->mono, pause < LOOK_AGAIN_LAST_MS ? pause : LOOK_AGAIN_LAST_MS);
}

/* A failure is not told; a delay passes by itself. */
static void has_none(struct core *c, struct bounce *b, struct message *m, size_t failed)
{
    if (failed) {
        bounce_drop(c, m);
        bounce_end(c, b);
    } else {
        look_at(c, b, next_look(c, b));
    }
}

/* False: it has to wait, or is dropped (then b is gone). */
static bool has_turn(struct core *c, struct bounce *b, struct message *m, size_t failed)
{
    while (b->whose != TURN_HAD && mono_reached(b->turn, c->mono)) {
        const int64_t wait_ms = bounce_limit(c, m, b->whose, failed > 0);
        if (wait_ms < 0) {
            has_none(c, b, m, failed);
            return false;
        }
        b->whose++;
        b->turn = mono_add(c->mono, wait_ms);
    }
    if (mono_reached(b->turn, c->mono))
        return true;
    look_at(c, b, b->turn);
    return false;
}

static bool has_room(const struct core *c)
{
    return c->bounces_out < CORE_DSN_OUT_MAX;
}

/* One whose time has come: before others when it has stood in line for room. */
static struct bounce *take_next(struct core *c)
{
    struct bounce *b = c->bounce_line;
    const struct heap_entry *top = heap_top(&c->bounce_times);
    if (b && has_room(c)) {
        DL_DELETE(c->bounce_line, b);
        b->in_line = false;
        return b;
    }
    return top && top->key <= c->mono.ms ? HEAP_ITEM(top, struct bounce, heap_index) : NULL;
}

/* All recipients are gone through. False: not yet, or there is nothing to be told now (then b may
 * be gone). */
static bool look_through(struct core *c, struct bounce *b, const struct message *m,
                         struct bounce_due *ret)
{
    if (!mono_reached(b->walk, c->mono)) {
        look_at(c, b, b->walk);
        return false;
    }
    b->walk = next_walk(c, m);
    *ret = count_due(c, m);
    if (ret->over + ret->late == 0) {
        bounce_end(c, b);
        return false;
    }
    if (!message_tried(m) && !mono_reached(mono_add(b->since, CORE_DSN_PATIENCE_MS), c->mono)) {
        look_at(c, b, next_look(c, b));
        return false;
    }
    b->at = 0;
    const struct bounce_due next = next_failure(c, b, m);
    if (next.only) {
        *ret = next;
    } else if (b->one_by_one) { /* what is left is told together, to the sender as he is */
        b->one_by_one = false;
        b->whose = TURN_SENDER;
    }
    return true;
}

/* One entry whose time has come. */
bool bounce_step(struct core *c)
{
    struct bounce *b = take_next(c);
    if (!b)
        return false;
    struct message *m = spool_find(c->spool, b->id);
    set_state(c, b, BOUNCE_WAIT); /* one that was out a minute has been lost */
    if (!m) {
        bounce_end(c, b);
        return true;
    }
    if (!has_room(c)) {
        stand_in_line(c, b);
        return true;
    }
    struct bounce_due due = next_failure(c, b, m);
    if (!due.only && !look_through(c, b, m, &due))
        return true;
    if (bounce_reader(c, m).n == 0) /* there was one when it failed */
        has_none(c, b, m, due.over);
    else if (has_turn(c, b, m, due.over))
        begin(c, b, m, &due);
    return true;
}

/* Damaged content does not keep the failure from being told; trouble of ours only delays it. */
void bounce_read_done(struct core *c, struct core_read *r)
{
    struct bounce *b = bounce_find(c, r->dsn->message_id);
    if (!b)
        return;
    look_at(c, b, mono_add(c->mono, CORE_DSN_AGAIN_MS));
    if (r->error < 0 && r->error != -EBADMSG && r->error != -ENOENT) {
        set_state(c, b, BOUNCE_WAIT);
        return;
    }
    struct out_dsn *d = TAKE_PTR(r->dsn);
    d->original = r->error < 0 ? body_new(0) : TAKE_PTR(r->body);
    d->original_whole = d->original_whole && r->error >= 0;
    set_state(c, b, BOUNCE_OUT);
    unsigned loop = core_loop_of(c, slice_of(&d->message_id, sizeof d->message_id));
    core_push(c, (struct core_action){.act = CORE_SEND, .loop = loop, .msg = &d->msg});
}

/* Its record marks this recipient as told, and no other. */
static int check_one(const struct message *m, uint64_t rcpt)
{
    const struct message_range told = m ? message_told(m, rcpt) : (struct message_range){0};
    return told.from < told.to && is_failure(&m->rcpts[told.from]) ? 0 : -ESTALE;
}

/* The report must tell of exactly what its record marks as told: all that is due now. A failure
 * stays one until it is told, so their number tells whether they are the same; of those that are
 * late one may have gone and another come, which harms nobody. */
int bounce_check(struct core *c, const struct spooler_store *s, bool *ret_delay)
{
    const uint64_t id = s->envelope.dsn_for;
    const struct message *m = spool_find(c->spool, id);
    struct bounce *b = bounce_find(c, id);
    if (!b || b->state != BOUNCE_OUT || (s->dsn_serial && s->dsn_serial != b->serial))
        return -ESTALE;
    *ret_delay = false;
    if (b->due.only && s->envelope.dsn_rcpt != b->due.only)
        return -ESTALE;
    if (s->envelope.dsn_rcpt)
        return check_one(m, s->envelope.dsn_rcpt);
    const struct bounce_due due = count_due(c, m);
    *ret_delay = due.late > 0;
    if (due.over == b->due.over && due.late == b->due.late)
        return 0;
    if (due.over + due.late ==
        0) /* a report is being stored already, or nothing is late any more */
        return -ESTALE;
    set_state(c, b, BOUNCE_WAIT);
    look_at(c, b, mono_add(c->mono, LOOK_AGAIN_MS));
    return -ESTALE;
}

/* More may have come since; then it goes on with that. Failures of one message that are told each
 * alone take their sender's turn once, like those that are told together: what he is to be kept
 * from is many messages. */
void bounce_told(struct core *c, uint64_t id, uint64_t rcpt)
{
    struct bounce *b = bounce_find(c, id);
    if (!b)
        return;
    set_state(c, b, BOUNCE_WAIT);
    b->one_by_one = rcpt > 0;
    b->at = (uint32_t)rcpt;
    b->whose = b->one_by_one ? TURN_USER : TURN_SENDER;
    look_at(c, b, c->mono);
}

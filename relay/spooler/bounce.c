/*
 * What a sender must hear of: failures, delays, and that mail went where notices are not sent on.
 * Failures and what was relayed are marked in the index (dsn_due); that mail is late follows from
 * what is there (outcome_is_late), so a restart asks again. Once they are durable: wait until the
 * first attempts of the other recipients are over (at most five minutes, so that one slow receiver
 * keeps no one waiting), read the original, hand it out; when the report has not been stored a
 * minute later, again. At most one is out for a message.
 */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <errno.h>
#include <stdlib.h>

#define LOOK_AGAIN_MS 1000
#define LOOK_AGAIN_LAST_MS 30000

static struct bounce *bounce_find(const struct core *c, uint64_t id)
{
    struct bounce *b;
    HASH_FIND(hh, c->bounces, &id, sizeof id, b);
    return b;
}

static void look_at(struct core *c, struct bounce *b, struct mono at)
{
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

static void bounce_end(struct core *c, struct bounce *b)
{
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

void bounce_wanted(struct core *c, uint64_t id)
{
    struct bounce *b = bounce_find(c, id);
    if (b) {
        bounce_poke(c, id);
        return;
    }
    b = must_alloc(sizeof *b);
    b->id = id;
    b->since = c->mono;
    HASH_ADD(hh, c->bounces, id, sizeof b->id, b);
    look_at(c, b, c->mono);
}

void bounce_poke(struct core *c, uint64_t id)
{
    struct bounce *b = bounce_find(c, id);
    if (!b || b->state != BOUNCE_WAIT)
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

static struct bounce_due count_due(const struct core *c, const struct message *m)
{
    struct bounce_due n = {0};
    for (uint32_t i = 0; m && i < m->n_rcpts; i++) {
        n.over += m->rcpts[i].dsn_due;
        n.late += is_late(c, &m->rcpts[i]);
    }
    return n;
}

static enum out_dsn_what what_of(const struct recipient *r)
{
    return r->state == RCPT_DELIVERED ? OUT_DSN_RELAYED
           : r->dsn_due               ? OUT_DSN_FAILED
                                      : OUT_DSN_DELAYED;
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

static struct out_dsn *dsn_new(const struct core *c, const struct message *m, size_t n)
{
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
    d->rcpts = must_alloc(n * sizeof *d->rcpts);
    for (uint32_t i = 0; i < m->n_rcpts; i++) {
        struct wall end = sched_rcpt_expires(&m->rcpts[i]);
        if (!bounce_is_due(c, &m->rcpts[i]))
            continue;
        dsn_rcpt(&d->rcpts[d->n++], &m->rcpts[i]);
        d->expires = end.us < d->expires.us ? end : d->expires;
    }
    MUST(d->n == n);
    return d;
}

static void begin(struct core *c, struct bounce *b, const struct message *m)
{
    b->due = count_due(c, m);
    size_t bytes = m->in_file ? SPOOL_INLINE_MAX : SIZE_MAX;
    struct core_read *r = core_read_new(c, READ_BOUNCE, m, 0, bytes);
    r->dsn = dsn_new(c, m, b->due.over + b->due.late);
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
    while (b->next != TURN_HAD && mono_reached(b->turn, c->mono)) {
        const int64_t wait_ms = bounce_limit(c, m, b->next, failed > 0);
        if (wait_ms < 0) {
            has_none(c, b, m, failed);
            return false;
        }
        b->next++;
        b->turn = mono_add(c->mono, wait_ms);
    }
    if (mono_reached(b->turn, c->mono))
        return true;
    look_at(c, b, b->turn);
    return false;
}

/* One entry whose time has come. */
bool bounce_step(struct core *c)
{
    const struct heap_entry *top = heap_top(&c->bounce_times);
    if (!top || top->key > c->mono.ms)
        return false;
    struct bounce *b = HEAP_ITEM(top, struct bounce, heap_index);
    struct message *m = spool_find(c->spool, b->id);
    set_state(c, b, BOUNCE_WAIT); /* one that was out a minute has been lost */
    const struct bounce_due due = count_due(c, m);
    if (due.over + due.late == 0)
        bounce_end(c, b);
    else if (c->bounces_out >= CORE_DSN_OUT_MAX ||
             !(message_tried(m) || mono_reached(mono_add(b->since, CORE_DSN_PATIENCE_MS), c->mono)))
        look_at(c, b, next_look(c, b));
    else if (bounce_reader(c, m).n == 0) /* there was one when it failed */
        has_none(c, b, m, due.over);
    else if (has_turn(c, b, m, due.over))
        begin(c, b, m);
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

/* The report must tell of exactly what its record marks as told: all that is due now. A failure
 * stays one until it is told, so their number tells whether they are the same; of those that are
 * late one may have gone and another come, which harms nobody. */
int bounce_check(struct core *c, uint64_t id, uint64_t serial, bool *ret_delay)
{
    struct bounce *b = bounce_find(c, id);
    if (!b || b->state != BOUNCE_OUT || (serial && serial != b->serial))
        return -ESTALE;
    const struct bounce_due due = count_due(c, spool_find(c->spool, id));
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

/* More may have come since; then it goes on with that. */
void bounce_told(struct core *c, uint64_t id)
{
    struct bounce *b = bounce_find(c, id);
    if (!b)
        return;
    set_state(c, b, BOUNCE_WAIT);
    b->next = TURN_SENDER; /* what comes now is another report */
    look_at(c, b, c->mono);
}

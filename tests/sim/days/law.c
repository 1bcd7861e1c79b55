/* What must hold, by what is seen from outside: orders, events, the clock. */
#include "queue/id.h"
#include "relay/base/must.h"
#include "tests/sim/days/days.h"
#include <stdarg.h>

/* Behind the end of its lifetime: the last attempt is due then, and its turn may take a little. */
#define LAST_TURN_US (60 * SECOND_US)

void law_fail(struct days *d, const char *fmt, ...)
{
    va_list ap;
    if (d->failed++ > 20)
        return;
    printf("seed %llu, after %.3f days: ", (unsigned long long)d->seed,
           (double)(d->now_us - d->start_us) / (double)DAY_US);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

/* Ids only grow. */
struct mail *law_mail(const struct days *d, uint64_t id)
{
    size_t low = 0, high = d->n_mails;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (d->mails[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    MUST(low < d->n_mails && d->mails[low].id == id);
    return &d->mails[low];
}

struct told {
    uint64_t id;
    unsigned rcpt;
    int64_t next_us;
};

static struct told decode(const struct event *e)
{
    struct told t = {0};
    struct cursor c = cursor_of(e->fields);
    struct event_value v;
    while (event_next(&c, &v)) {
        if (v.field == EV_QUEUE_ID)
            MUST(queue_id_parse(v.str, &t.id));
        else if (v.field == EV_RCPT)
            t.rcpt = (unsigned)v.num;
        else if (v.field == EV_NEXT_ATTEMPT)
            t.next_us = v.num;
    }
    return t;
}

static int64_t lifetime_end_us(const struct days *d, const struct mail *m)
{
    int64_t own_s = d->sites[m->site].limits.lifetime_s;
    return m->queued_us + (own_s ? own_s : LIFETIME_S) * SECOND_US;
}

/* One terminal event each, and nothing behind it; a greylisted recipient has its five minutes. */
void law_event(struct days *d, const struct event *e)
{
    struct told t = decode(e);
    d->n_events[e->name]++;
    d->digest = (d->digest ^ (t.id * 31 + t.rcpt * 7 + (uint64_t)e->name + (uint64_t)e->time.us)) *
                UINT64_C(0x100000001b3);
    if (e->seq != d->last_seq + 1)
        law_fail(d, "event %llu after %llu", (unsigned long long)e->seq,
                 (unsigned long long)d->last_seq);
    d->last_seq = e->seq;
    const struct mail *m = law_mail(d, t.id);
    struct rcpt *r = &d->rcpts[m->first + t.rcpt];
    if (r->ended)
        law_fail(d, "%s behind the end of a recipient", event_name_text(e->name));
    r->ended = (uint8_t)(r->ended + event_is_final(e->name));
    if (e->name != EVENT_DEFERRED)
        return;
    r->due_us = t.next_us;
    if (t.next_us < e->time.us + SECOND_US && t.next_us < lifetime_end_us(d, m))
        law_fail(d, "a pause of less than a second");
    if (r->grey && r->attempts == 1 && t.next_us < e->time.us + GREY_S * SECOND_US)
        law_fail(d, "a greylisted recipient comes again after %.0f s",
                 (double)(t.next_us - e->time.us) / 1e6);
    r->grey = false; /* what comes next may be a plan that failed */
}

static void law_rate(struct days *d, struct site *s)
{
    unsigned n = s->limits.rate;
    int64_t *slot = &s->begun[s->jobs++ % (n ? n : 1)];
    MUST(n <= RATE_MAX);
    if (n && s->jobs > n && d->now_us < *slot + s->limits.rate_ms * 1000 - 1000)
        law_fail(d, "%u jobs and one more in %.3f s", n, (double)(d->now_us - *slot) / 1e6);
    *slot = d->now_us;
}

/* Not before its time, not above the site's limits, not long behind its lifetime. */
void law_work(struct days *d, const struct out_work *w, struct site *s)
{
    const struct mail *m = law_mail(d, w->message_id);
    const int64_t end_us = lifetime_end_us(d, m);
    law_rate(d, s);
    if (s->open > s->limits.connections)
        law_fail(d, "%u connections where %u are the limit", s->open, s->limits.connections);
    if (w->n > s->limits.recipients_per_message)
        law_fail(d, "%zu recipients in a job", w->n);
    for (size_t i = 0; i < w->n; i++) {
        struct rcpt *r = &d->rcpts[m->first + w->rcpts[i]];
        r->attempts++;
        if (d->now_us < r->due_us && !d->on_operator) /* he says when */
            law_fail(d, "an attempt %.3f s before its time", (double)(r->due_us - d->now_us) / 1e6);
        if (r->ended)
            law_fail(d, "an attempt behind the end");
        r->late = (uint8_t)(r->late + (d->now_us > end_us + LAST_TURN_US));
        if (r->late > 1)
            law_fail(d, "more than one attempt behind the end of a lifetime");
    }
    if (d->on_job)
        d->on_job(d, m, m->site);
}

/* 300 octets a message of one recipient (tests/unit/queue/memory.c), a recipient more is less than
 * half of it; fresh content and the like have a bound of their own. */
void law_memory(struct days *d)
{
    uint64_t n, memory;
    core_weight(d->core, &n, &memory);
    d->most_queued = n > d->most_queued ? n : d->most_queued;
    d->most_memory = memory > d->most_memory ? memory : d->most_memory;
    d->checks++;
    if (memory > CORE_FRESH_MAX + (4u << 20) + n * (300 + 3 * 120))
        law_fail(d, "%llu octets for %llu messages", (unsigned long long)memory,
                 (unsigned long long)n);
}

void law_end(struct days *d)
{
    uint64_t n, memory, ends = 0;
    core_weight(d->core, &n, &memory);
    if (n)
        law_fail(d, "%llu messages are stuck", (unsigned long long)n);
    for (size_t i = 0; i < d->n_rcpts; i++) {
        ends += d->rcpts[i].ended;
        if (d->rcpts[i].ended != 1)
            law_fail(d, "recipient %zu has %u ends", i, d->rcpts[i].ended);
    }
    if (d->n_events[EVENT_ACCEPTED] != d->n_rcpts || ends != d->n_rcpts)
        law_fail(d, "%llu accepted, %llu ended, of %zu",
                 (unsigned long long)d->n_events[EVENT_ACCEPTED], (unsigned long long)ends,
                 d->n_rcpts);
}

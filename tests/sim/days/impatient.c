/*
 * An operator, or his cron, who says `queue retry --all` again and again, or gives all mail another
 * priority, or another way. Whatever he repeats, and whatever ails the receiver: mail ends with its
 * lifetime, a minute for its last turn, and one attempt. The sites are those where nothing arrives:
 * a call that rings in vain, for a short and for a long time; a login that is refused; mailboxes
 * that are full; names without an answer; a receiver that takes one message a minute.
 */
#include "relay/base/must.h"
#include "tests/sim/days/days.h"

enum { SITES = 6, LIFETIME = 3600, ATTEMPT_S = 150, TURN_S = 60 };

struct impatient {
    enum admin_verb verb;
    int64_t every_us;
    unsigned asked;
};

static void on_operator(struct days *d, void *what)
{
    struct impatient *o = what;
    struct spooler_admin *a = must_alloc(sizeof *a);
    const bool odd = o->asked++ % 2;
    a->verb = o->verb;
    a->limit = 1000; /* all of them in one step */
    a->actor = buf_of(SLICE_LIT("cron"));
    a->priority = odd ? 5 : -5;
    a->route = buf_of(odd ? SLICE_LIT("way") : SLICE_NONE);
    days_request(d, 1, &a->msg, SPOOLER_ADMIN);
    days_after(d, o->every_us, W_OPERATOR, o);
}

static void receivers(struct days *d)
{
    const struct sched_limits limits = {
        .connections = 4, .recipients_per_message = 100, .lifetime_s = LIFETIME};
    for (unsigned i = 0; i < SITES; i++)
        d->sites[i] = (struct site){.limits = limits, .latency_us = SECOND_US / 10};
    d->sites[0].dead = true;
    d->sites[1].dead = true;
    d->sites[1].ring_us = ATTEMPT_S * SECOND_US;
    d->sites[2].bars = true;
    d->sites[3].fails = 1000;
    d->sites[4].unnamed = true;
    d->sites[5].a_minute = 1;
}

/* n messages for each site. */
static bool runs(uint64_t seed, enum admin_verb verb, unsigned n, int64_t every_s)
{
    const int64_t patience_us = (LIFETIME + TURN_S + ATTEMPT_S + 1) * SECOND_US;
    struct days *d = days_new(seed, SITES);
    struct impatient o = {.verb = verb, .every_us = every_s * SECOND_US};
    d->contest = "impatient";
    d->on_operator = on_operator;
    receivers(d);
    for (unsigned i = 0; i < n * SITES; i++)
        days_submit(d, i % SITES, 1, 1);
    days_after(d, 1, W_OPERATOR, &o);
    days_run(d, d->start_us + patience_us);
    for (size_t i = 0; i < d->n_rcpts; i++)
        if (!d->rcpts[i].ended)
            law_fail(d, "an operator who repeats verb %d each %lld s keeps %u messages at site %zu",
                     (int)verb, (long long)every_s, n, i % SITES);
    law_end(d);
    bool good = d->failed == 0;
    days_free(d);
    return good;
}

bool contest_impatient(uint64_t seed)
{
    static const enum admin_verb verbs[] = {ADMIN_RETRY, ADMIN_PRIORITY, ADMIN_REDIRECT};
    static const unsigned counts[] = {1, 3, 30};
    static const int64_t pauses[] = {60, 55, 10};
    bool good = true;
    for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++)
        for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
            for (size_t k = 0; k < sizeof pauses / sizeof *pauses; k++)
                good = runs(seed, verbs[v], counts[n], pauses[k]) && good;
    printf("impatient: retry, priority and redirect of all, each 10 to 60 s for an hour, keep %s\n",
           good ? "nothing from its end" : "mail from its end");
    return good;
}

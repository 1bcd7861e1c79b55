/*
 * What a message costs the spooler when many are queued: site 0 does not answer and has them, site
 * 1 takes at once. The same mail for site 1 is stored, tried and ended with none queued and with
 * all of them; the processor's time of it, the fake disk's and the law's part included, is the
 * figure. It is for a person to judge; what must hold is that all of it arrives meanwhile.
 */
#include "relay/base/must.h"
#include "tests/sim/days/days.h"
#include <sys/resource.h>
#include <time.h>

enum { DEAD = 0, FAST = 1, PART = 1000 };

static double cpu_us(void)
{
    return (double)clock() * 1e6 / CLOCKS_PER_SEC;
}

/* Microseconds a message, from its store on. */
static double hand_in(struct days *d, unsigned site, size_t n)
{
    const double begun = cpu_us();
    for (size_t i = 0; i < n; i++) {
        days_submit(d, site, 1 + (unsigned)(i % 30), 1);
        if (i % PART == PART - 1 || i + 1 == n)
            days_run(d, d->now_us + SECOND_US);
    }
    return (cpu_us() - begun) / (double)n;
}

bool contest_growth(uint64_t seed, size_t queued)
{
    const size_t n = queued < 20000 ? queued : 20000;
    struct rusage use;
    struct days *d = days_new(seed, 2);
    d->contest = "growth";
    d->sites[DEAD] =
        (struct site){.limits = {.connections = 20, .recipients_per_message = 100, .window = 5},
                      .latency_us = SECOND_US,
                      .dead = true};
    d->sites[FAST] =
        (struct site){.limits = {.connections = 20, .recipients_per_message = 100, .window = 20},
                      .latency_us = SECOND_US / 1000};
    hand_in(d, FAST, n); /* the first segments, the first connections */
    const double none = hand_in(d, FAST, n), filling = hand_in(d, DEAD, queued),
                 with = hand_in(d, FAST, n);
    days_run(d, d->now_us + 10 * SECOND_US);
    getrusage(RUSAGE_SELF, &use);
    printf("growth: a message costs %.1f us with none queued, %.1f us with %zu (x %.2f; each of "
           "those %.1f us); %.0f MB in all\n",
           none, with, queued, with / none, filling, (double)use.ru_maxrss / 1e3);
    if (d->n_events[EVENT_DELIVERED] != 3 * n)
        law_fail(d, "%llu of %zu messages have arrived",
                 (unsigned long long)d->n_events[EVENT_DELIVERED], 3 * n);
    bool good = d->failed == 0;
    days_free(d);
    return good;
}

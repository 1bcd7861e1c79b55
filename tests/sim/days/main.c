/* sim_days [--recipients N] [--queued N] [--seed K]: the days, twice in small to see that they are
 * the same, and the contests. With --queued only what a message costs when so many are. */
#include "relay/base/must.h"
#include "tests/sim/days/days.h"
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static struct site some_receiver(struct days *d, unsigned number)
{
    static const unsigned widths[] = {1, 2, 5, 20, 20, 50};
    bool large = number < d->n_sites / 20 + 1;
    struct site s = {
        .limits = {.connections = widths[large ? 5 : days_below(d, 6)],
                   .messages_per_connection = (unsigned)days_below(d, 3) * 50,
                   .recipients_per_message = large ? 100 : 1 + (unsigned)days_below(d, 8)},
        .latency_us = 50000 + (int64_t)days_below(d, 500000),
        .fails = (unsigned)days_below(d, 30)};
    s.down_from = d->start_us + (int64_t)days_below(d, 3 * (uint64_t)DAY_US);
    s.down_to = s.down_from + (int64_t)days_below(d, (uint64_t)DAY_US / (large ? 24 : 2));
    if (large)
        return s;
    s.grey = days_below(d, 4) == 0;
    s.dead = days_below(d, 50) == 0;
    s.takes = days_below(d, 4) == 0 ? 1 + (unsigned)days_below(d, 10) : 0;
    s.a_minute = days_below(d, 6) == 0 ? 60 + (unsigned)days_below(d, 240) : 0;
    if (days_below(d, 4) == 0) {
        s.limits.rate = 5 + (unsigned)days_below(d, RATE_MAX - 5);
        s.limits.rate_ms = days_below(d, 2) ? 1000 : 10000;
    }
    if (days_below(d, 5) == 0) {
        s.limits.retry =
            (struct retry_policy){.pause_s = {120, 400, 5000}, .n = 3, .jitter_percent = 10};
        s.limits.lifetime_s = 86400;
    }
    return s;
}

struct figures {
    bool good;
    uint64_t digest;
};

static void print(const struct days *d, double took_s)
{
    struct rusage use;
    uint64_t turned_away = 0, throttled = 0;
    for (unsigned i = 0; i < d->n_sites; i++) {
        turned_away += d->sites[i].turned_away;
        throttled += d->sites[i].throttled;
    }
    getrusage(RUSAGE_SELF, &use);
    printf("days: %zu recipients in %zu messages at %u sites: %llu delivered, %llu bounced, %llu "
           "expired, %llu deferrals; %llu attempts, of them %llu turned away, %llu throttled\n"
           "      at most %llu messages queued in %.1f MB (%llu looks); %.1f s, %.0f MB in all\n",
           d->n_rcpts, d->n_mails, d->n_sites, (unsigned long long)d->n_events[EVENT_DELIVERED],
           (unsigned long long)d->n_events[EVENT_BOUNCED],
           (unsigned long long)d->n_events[EVENT_EXPIRED],
           (unsigned long long)d->n_events[EVENT_DEFERRED], (unsigned long long)d->attempts,
           (unsigned long long)turned_away, (unsigned long long)throttled,
           (unsigned long long)d->most_queued, (double)d->most_memory / 1e6,
           (unsigned long long)d->checks, took_s, (double)use.ru_maxrss / 1e3);
}

static double seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static struct figures run_days(uint64_t seed, size_t recipients, bool say)
{
    double begun = seconds();
    struct days *d = days_new(seed, 300);
    d->wanted = recipients;
    d->submit_us = 5 * DAY_US / 2;
    for (unsigned i = 0; i < d->n_sites; i++)
        d->sites[i] = some_receiver(d, i);
    days_after(d, 1, W_SUBMIT, NULL);
    days_run(d, d->start_us + 5 * DAY_US);
    law_end(d);
    if (say)
        print(d, seconds() - begun);
    struct figures f = {d->failed == 0, d->digest};
    days_free(d);
    return f;
}

int main(int argc, char **argv)
{
    uint64_t recipients = 20000, queued = 20000, seed = 1;
    bool growth_only = false;
    for (int i = 1; i + 1 < argc; i += 2) {
        bool is_seed = slice_eq(slice_str(argv[i]), SLICE_LIT("--seed"));
        bool is_n = slice_eq(slice_str(argv[i]), SLICE_LIT("--recipients"));
        bool is_queued = slice_eq(slice_str(argv[i]), SLICE_LIT("--queued"));
        uint64_t *ret = is_seed ? &seed : is_n ? &recipients : &queued;
        if (!(is_seed || is_n || is_queued) || !slice_u64(slice_str(argv[i + 1]), 100000000, ret))
            return 2;
        growth_only = growth_only || is_queued;
    }
    if (growth_only)
        return contest_growth(seed, queued) ? 0 : 1;
    struct figures once = run_days(seed, 2000, false), twice = run_days(seed, 2000, false);
    if (once.digest != twice.digest)
        printf("seed %llu: two runs are not the same\n", (unsigned long long)seed);
    bool good = once.good && twice.good && once.digest == twice.digest;
    good = run_days(seed, recipients, true).good && good;
    good = contest_limiter(seed) && good;
    good = contest_neighbours(seed) && good;
    good = contest_impatient(seed) && good;
    good = contest_growth(seed, queued) && good;
    return good ? 0 : 1;
}

/* What `status` says besides the queue: counters, the log, and what an operator should look at. */
#include "relay/admin/private.h"
#include "relay/base/metrics.h"
#include "relay/base/plural.h"
#include <stdio.h>

enum { WARNINGS_SITES = 10, WAITED_MINUTES = 15 };

static void put_metric(json_t *o, const char *key, enum metric m)
{
    int64_t n = metric_get(m);
    rows_put_number(o, key, n > 0 ? (uint64_t)n : 0);
}

static const struct {
    enum metric metric;
    const char *key; /* NULL: no row of `status` */
} rated[RATES] = {[RATE_ACCEPTED] = {M_MESSAGES_ACCEPTED, "accepted_rate"},
                  [RATE_DELIVERED] = {M_DELIVERED, "delivered_rate"},
                  [RATE_DEFERRED] = {M_DEFERRED, "deferred_rate"},
                  [RATE_BOUNCED] = {M_BOUNCED, "bounced_rate"},
                  [RATE_WAITED] = {M_WAITED_OUT, NULL}};

void status_note(void *admin, struct mono now)
{
    struct admin *a = admin;
    int64_t counts[RATES];
    for (size_t i = 0; i < RATES; i++)
        counts[i] = metric_get(rated[i].metric);
    rates_note(&a->rates, now, counts);
    deadline_set(a->loop, &a->note_at, mono_add(now, RATES_STEP_MS));
}

static double rate_of(const struct admin *a, enum rate which, int64_t minutes)
{
    return rates_of(&a->rates, which, metric_get(rated[which].metric), loop_now(a->loop), minutes);
}

/* A second: over 1, 5 and 15 minutes. */
static void put_rates(json_t *o, const struct admin *a)
{
    static const int64_t minutes[] = {1, 5, 15};
    for (unsigned i = 0; i < RATES && rated[i].key; i++) {
        json_t *list = json_array();
        for (size_t k = 0; k < sizeof minutes / sizeof *minutes; k++) {
            const double rate = rate_of(a, (enum rate)i, minutes[k]);
            json_array_append_new(list, json_real((double)(int64_t)(rate * 1000 + 0.5) / 1000));
        }
        rows_put(o, rated[i].key, list);
    }
}

static void warn(json_t *list, const char *text)
{
    json_array_append_new(list, rows_text(slice_str(text)));
}

static void warn_site(json_t *list, const struct queue_site_row *s)
{
    char text[700];
    const unsigned long long n = s->ready + s->waiting;
    snprintf(text, sizeof text, "%s %.*s: %.*s; %llu recipient%s, next try in %lld s",
             s->ours ? "a fault of this host keeps mail from" : "nothing can be delivered to",
             SLICE_ARG(slice_head(buf_slice(&s->site), 255)),
             SLICE_ARG(s->error.n ? slice_head(buf_slice(&s->error), 300)
                                  : SLICE_LIT("it does not answer")),
             n, n == 1 ? " waits" : "s wait",
             (long long)(s->next_probe_ms > 0 ? s->next_probe_ms / 1000 : 0));
    warn(list, text);
}

/* What the disk does not let the relay do: for `status` and `queue`. */
void status_disk(json_t *list, const struct spooler_disk *disk)
{
    char text[300];
    if (disk->error[0]) {
        json_t *since = rows_time(disk->since);
        snprintf(text, sizeof text, "spool cannot be written: %s since %s; deliveries wait",
                 disk->error, json_string_value(since));
        json_decref(since);
        warn(list, text);
    }
    if (disk->full) {
        snprintf(text, sizeof text, "%s: new mail is answered 452", disk->full);
        warn(list, text);
    }
}

/* Days are what people renew by. */
static void warn_certificate(void *list, const struct admin_certificate *c)
{
    char text[600];
    const int64_t left_s = c->not_after_s - wall_now().us / WALL_SECOND;
    if (left_s >= ADMIN_EXPIRES_SOON_S)
        return;
    if (left_s <= 0)
        snprintf(text, sizeof text, "certificate %.400s has expired: renew it", c->path);
    else
        snprintf(text, sizeof text, "certificate %.400s expires in %lld day%s: renew it", c->path,
                 (long long)(left_s / 86400), plural(left_s / 86400));
    warn(list, text);
}

/* It passes by itself, and mail is only late: but nothing else would say why. */
static void warn_places(json_t *list, const struct admin *a)
{
    char text[400];
    const int64_t waiting = metric_get(M_WAITING_OUT);
    if (waiting <= 0 && rate_of(a, RATE_WAITED, WAITED_MINUTES) <= 0)
        return;
    snprintf(text, sizeof text,
             "connections to receivers have waited for a socket within %d minutes (now %lld; %lld "
             "sockets of at most %lld are in use): raise the limit of open files (LimitNOFILE=, "
             "RLIMIT_NOFILE), or allow fewer connections",
             WAITED_MINUTES, (long long)waiting, (long long)metric_get(M_SOCKETS_OUT),
             (long long)metric_get(M_SOCKETS_OUT_MOST));
    warn(list, text);
}

static void say_warning(void *list, const char *text)
{
    warn(list, text);
}

json_t *status_warnings(const struct admin *a, const struct spooler_admin *page)
{
    json_t *list = json_array();
    unsigned sites = 0;
    if (a->hooks.draining(a->hooks.ctx))
        warn(list, "draining: no new mail is taken until a restart");
    status_disk(list, &page->totals.disk);
    a->hooks.warnings(a->hooks.ctx, say_warning, list);
    a->hooks.certificates(a->hooks.ctx, warn_certificate, list);
    if (spooler_above(a->spooler)) {
        char text[200];
        snprintf(text, sizeof text, "%s: new mail is answered 452", spooler_above(a->spooler));
        warn(list, text);
    }
    if (events_stuck(a->events))
        warn(list,
             "the delivery log cannot be written: its events wait in memory and in the spool");
    if (events_full(a->events))
        warn(list, "the delivery log's disk has less room than log.min-free: new mail is answered "
                   "452");
    if (metric_get(M_USERS_FILE_BROKEN) > 0)
        warn(list, "the users file has an error, what it said before is in force: run `postwain "
                   "check`");
    warn_places(list, a);
    for (size_t i = 0; i < page->n_sites && sites < WARNINGS_SITES; i++)
        if (queue_site_is_stuck(&page->sites[i]) && !page->sites[i].suspended) {
            warn_site(list, &page->sites[i]);
            sites++;
        }
    return list;
}

json_t *status_done(const struct admin *a, const struct spooler_admin *page)
{
    json_t *o = rows_totals(&page->totals, wall_now());
    rows_put(o, "version", json_string(PW_VERSION));
    rows_put(o, "hostname", rows_text(slice_str(a->conf->hostname)));
    rows_put_number(o, "uptime_seconds", (uint64_t)(loop_now(a->loop).ms - a->begun.ms) / 1000);
    put_metric(o, "sessions", M_SESSIONS_IN_OPEN);
    put_metric(o, "accepted_total", M_MESSAGES_ACCEPTED);
    put_metric(o, "delivered_total", M_DELIVERED);
    put_metric(o, "deferred_total", M_DEFERRED);
    put_metric(o, "bounced_total", M_BOUNCED);
    put_metric(o, "expired_total", M_EXPIRED);
    put_rates(o, a);
    rows_put_number(o, "live_bytes", page->totals.live_bytes);
    rows_put_number(o, "disk_bytes", page->totals.disk_bytes);
    rows_put_number(o, "last_seq", events_pushed_seq(a->events));
    rows_put_number(o, "log_seq", events_written_seq(a->events));
    bool draining = a->hooks.draining(a->hooks.ctx);
    rows_put(o, "accepting", json_boolean(!draining && spooler_accepting(a->spooler) == 0));
    rows_put(o, "warnings", status_warnings(a, page));
    return o;
}

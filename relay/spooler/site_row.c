/* A site as a row of JSON: the one way that it is told, in lists and in explanations. Pure. */
#include "relay/base/jrow.h"
#include "relay/spooler/spooler.h"

void queue_site_row_done(struct queue_site_row *r)
{
    buf_done(&r->site);
    buf_done(&r->destination);
    buf_done(&r->error);
}

static uint64_t seconds_up(int64_t ms)
{
    return (uint64_t)(ms + 999) / 1000;
}

static void write_state(struct buf *out, const struct queue_site_row *r)
{
    jrow_bool(out, "dead", r->dead);
    if (r->throttled)
        jrow_bool(out, "throttled", true);
    if (r->ours)
        jrow_bool(out, "local", true);
    if (r->error.n) {
        jrow_text(out, "last_error", buf_slice(&r->error));
        jrow_time(out, "last_error_time", r->error_at);
    }
    if (r->next_probe_ms >= 0)
        jrow_number(out, "next_probe_seconds", seconds_up(r->next_probe_ms));
}

void queue_site_row_write(struct buf *out, const struct queue_site_row *r, bool known)
{
    jrow_text(out, "destination", buf_slice(&r->destination));
    jrow_text(out, "site", buf_slice(&r->site));
    if (!known)
        return;
    jrow_number(out, "ready", r->ready);
    jrow_number(out, "waiting", r->waiting);
    jrow_number(out, "connections", r->connections);
    jrow_number(out, "idle", r->idle);
    jrow_number(out, "window", r->window);
    jrow_number(out, "limit", r->limit);
    jrow_number(out, "per_minute", r->per_minute);
    if (r->rate) {
        jrow_number(out, "rate", r->rate);
        jrow_number(out, "rate_seconds", seconds_up(r->rate_ms));
    }
    write_state(out, r);
}

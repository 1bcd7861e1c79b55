#include "relay/admin/exposition.h"
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/utf8.h"

#define PREFIX "postwain_"

enum { LABEL_MAX = 512 };

void exposition_family(struct buf *out, const char *name, const char *kind, const char *help)
{
    buf_addf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, kind);
}

/* label-value = any UTF-8 with \\, \" and \n escaped; controls do not come this far. */
static void add_label(struct buf *out, const char *label, const char *text)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(LABEL_MAX);
    utf8_clean(&clean, slice_str(text), LABEL_MAX - 8);
    buf_addf(out, "%s=\"", label);
    for (size_t i = 0; i < clean.n; i++) {
        if (clean.p[i] == '\\' || clean.p[i] == '"')
            buf_add_u8(out, '\\');
        buf_add_u8(out, clean.p[i]);
    }
    buf_add_u8(out, '"');
}

void exposition_value(struct buf *out, const char *name, const char *label, const char *label_value,
                      int64_t value)
{
    buf_addf(out, PREFIX "%s", name);
    if (label) {
        buf_add_u8(out, '{');
        add_label(out, label, label_value);
        buf_add_u8(out, '}');
    }
    buf_addf(out, " %lld\n", (long long)value);
}

static void gauge(struct buf *out, const char *name, const char *help, int64_t value)
{
    exposition_family(out, name, "gauge", help);
    exposition_value(out, name, NULL, NULL, value);
}

void exposition_counters(struct buf *out)
{
    for (enum metric m = 0; m < M_COUNT; m++) {
        exposition_family(out, metric_name(m), metric_kind(m), metric_help(m));
        exposition_value(out, metric_name(m), NULL, NULL, metric_get(m));
    }
}

static void put_states(struct buf *out, const struct queue_totals *t)
{
    const struct {
        const char *state;
        uint64_t n;
    } states[] = {
        {"ready", t->ready}, {"waiting", t->waiting}, {"held", t->held}, {"active", t->active}};
    exposition_family(
        out, "queue_recipients_by_state", "gauge",
        "recipients that can be tried, wait for their time, are held, are being tried");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        exposition_value(out, "queue_recipients_by_state", "state", states[i].state,
                         (int64_t)states[i].n);
}

static void put_sites(struct buf *out, const struct spooler_admin *page)
{
    int64_t dead = 0;
    for (size_t i = 0; i < page->n_sites; i++)
        dead += queue_site_is_stuck(&page->sites[i]);
    exposition_family(out, "sites", "gauge", "sets of receiving hosts that mail is queued for");
    exposition_value(out, "sites", "state", "answering", (int64_t)page->n_sites - dead);
    exposition_value(out, "sites", "state", "unreachable", dead);
}

void exposition_queue(struct buf *out, const struct spooler_admin *page, struct wall now)
{
    const struct queue_totals *t = &page->totals;
    const int64_t oldest_us = t->oldest.us ? now.us - t->oldest.us : 0;
    gauge(out, "queue_messages", "messages not finished", (int64_t)t->messages);
    put_states(out, t);
    gauge(out, "queue_oldest_seconds", "age of the oldest message",
          oldest_us > 0 ? oldest_us / WALL_SECOND : 0);
    gauge(out, "spool_live_bytes", "mail in the spool", (int64_t)t->live_bytes);
    gauge(out, "spool_disk_bytes", "the spool's files", (int64_t)t->disk_bytes);
    gauge(out, "spool_segments", "the spool's segments", (int64_t)t->segments);
    gauge(out, "spool_failing", "1 while the spool cannot be written", t->disk.error[0] != 0);
    gauge(out, "spool_full", "1 while there is too little room for new mail", t->disk.full != NULL);
    put_sites(out, page);
}

/* In seconds, as Prometheus counts time; negative once it has ended. */
void exposition_certificate(void *exposition, const struct admin_certificate *c)
{
    const struct exposition *e = exposition;
    buf_add_str(e->out, PREFIX "certificate_expires_in_seconds{");
    add_label(e->out, "section", c->section);
    buf_add_u8(e->out, ',');
    add_label(e->out, "key_type", c->key_type);
    buf_add_u8(e->out, ',');
    add_label(e->out, "file", c->path);
    buf_addf(e->out, "} %lld\n", (long long)(c->not_after_s - e->now.us / WALL_SECOND));
}

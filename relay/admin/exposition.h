/* Counters and gauges as Prometheus reads them (text format 0.0.4). Pure: numbers in, text out.
 * Label values are of the configuration only, so that their number is bounded. */
#pragma once
#include "relay/admin/admin.h"
#include "relay/base/buf.h"

struct exposition {
    struct buf *out;
    struct wall now;
};

/* Every row of metrics.def. */
void exposition_counters(struct buf *out);
/* One family: its help, its kind, then its values. */
void exposition_family(struct buf *out, const char *name, const char *kind, const char *help);
void exposition_value(struct buf *out, const char *name, const char *label, const char *label_value,
                      int64_t value);
/* What the spooler counts. */
void exposition_queue(struct buf *out, const struct spooler_admin *page, struct wall now);
/* An admin_certificate_fn: how long one lasts; the ctx is a struct exposition. */
void exposition_certificate(void *exposition, const struct admin_certificate *c);

/* A failed recipient's sender is told: the report (relay/mail/dsn) enters the spooler like any
 * other mail, with the null reverse-path. */
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/mail/dsn.h"
#include "relay/outbound/private.h"
#include <stdlib.h>

#define RETURNED_MAX 50000 /* larger originals come back as their header section (checklist 93) */
#define REPORT_MAX (SPOOL_INLINE_MAX - 1024)
#define RCPT_LEAST 400 /* bytes of a report that a recipient takes at least */

/* How much a report tells. It must fit into REPORT_MAX, whatever the peers have said to however
 * many recipients: the first size that fits is taken, so that every failure is told in the end. */
struct extent {
    bool whole;      /* the original, when it is small; else its header section */
    size_t headers;  /* bytes of the header section */
    size_t words;    /* bytes of what was said about a recipient */
    size_t n_listed; /* recipients by name; the others are counted */
};
static const struct extent extents[] = {
    {true, RETURNED_MAX, SIZE_MAX, SIZE_MAX},
    {false, RETURNED_MAX, SIZE_MAX, SIZE_MAX},
    {false, 8192, 200, SIZE_MAX},
    {false, 2048, 80, SIZE_MAX},
    {false, 2048, 80, 200},
    {false, 2048, 80, 20},
};

static struct slice header_section(struct slice original, size_t most)
{
    size_t end = slice_find_slice(original, SLICE_LIT("\r\n\r\n"));
    return slice_head(original, end < most ? (end < original.n ? end + 2 : end) : most);
}

/* The words are ours: d is freed after the report. */
static void shorten(struct out_dsn *d, size_t most)
{
    for (size_t i = 0; i < d->n; i++) {
        struct verdict *v = &d->rcpts[i].verdict;
        if (!v->text || strlen(v->text) <= most)
            continue;
        v->text[most] = 0;
        v->text_truncated = true;
    }
}

static struct dsn_recipient *recipients(const struct out_dsn *d)
{
    struct dsn_recipient *list = must_alloc(d->n * sizeof *list);
    for (size_t i = 0; i < d->n; i++)
        list[i] = (struct dsn_recipient){
            .address = buf_slice(&d->rcpts[i].address),
            .orcpt = buf_slice(&d->rcpts[i].orcpt),
            .action = DSN_FAILED,
            .verdict = &d->rcpts[i].verdict,
            .remote_mta = buf_slice(&d->rcpts[i].host),
            .last_attempt = d->rcpts[i].last_attempt,
        };
    return list;
}

/* Not even tried: a report is written on the loop. */
static bool is_hopeless(const struct out_dsn *d, const struct extent *x)
{
    size_t listed = d->n < x->n_listed ? d->n : x->n_listed;
    return listed > REPORT_MAX / RCPT_LEAST;
}

static bool write_report(struct outbound *o, const struct out_dsn *d, uint64_t id,
                         const struct extent *x, struct buf *out)
{
    char original_id[QUEUE_ID_SIZE], report_id[QUEUE_ID_SIZE], boundary[QUEUE_ID_SIZE + 40];
    queue_id_write(d->message_id, original_id);
    queue_id_write(id, report_id);
    snprintf(boundary, sizeof boundary, "=_%s_%016llx", report_id,
             (unsigned long long)rng_next(&o->rng));
    struct slice original = d->original ? slice_of(d->original->bytes, d->original->n) : SLICE_NONE;
    bool whole = x->whole && d->original_whole && original.n <= RETURNED_MAX;
    size_t listed = d->n < x->n_listed ? d->n : x->n_listed;
    struct dsn_recipient *list = recipients(d);
    struct dsn_input in = {
        .reporting_mta = slice_str(o->conf->hostname),
        .postmaster = slice_str(o->conf->postmaster),
        .to = buf_slice(&d->to),
        .queue_id = slice_str(original_id),
        .report_id = slice_str(report_id),
        .boundary = slice_str(boundary),
        .arrived = d->queued,
        .now = wall_now(),
        .rcpts = list,
        .n_rcpts = listed,
        .n_more = d->n - listed,
        .original = whole ? original : header_section(original, x->headers),
        .headers_only = !whole,
    };
    bool ok = dsn_write(out, &in);
    free(list);
    return ok;
}

static void store(struct outbound *o, struct out_dsn *d, uint64_t id, struct buf *report)
{
    /* The slices of the envelope must live until the answer: they stand behind the request. */
    struct store_dsn {
        struct spooler_store store;
        struct envelope_rcpt rcpt;
        char message_id[QUEUE_ID_SIZE + 300];
        char to[];
    } *s = must_alloc(sizeof *s + d->to.n + 1);
    char id_text[QUEUE_ID_SIZE];
    queue_id_write(id, id_text);
    snprintf(s->message_id, sizeof s->message_id, "<%s@%s>", id_text, o->conf->hostname);
    memcpy(s->to, d->to.p, d->to.n);
    s->rcpt.address = slice_of(s->to, d->to.n);
    s->store.msg.type = SPOOLER_STORE;
    s->store.reply = &o->port;
    s->store.id = id;
    s->store.dsn_serial = d->serial;
    s->store.body = body_new(report->n);
    memcpy(s->store.body->bytes, report->p, report->n);
    s->store.envelope = (struct envelope){
        .message_id = slice_str(s->message_id),
        .size = report->n,
        .dsn_for = d->message_id,
        .rcpts = &s->rcpt,
        .n_rcpts = 1,
    };
    for (size_t i = 0; i < report->n; i++)
        if (report->p[i] >= 0x80)
            s->store.envelope.eight_bit = true;
    port_send(o->spooler, &s->store.msg);
}

void out_bounce(struct outbound *o, struct out_dsn *d)
{
    uint64_t id = spooler_new_id(wall_now());
    struct buf report = BUF_MAX(REPORT_MAX);
    bool fits = false;
    for (size_t i = 0; !fits && i < sizeof extents / sizeof *extents; i++) {
        if (is_hopeless(d, &extents[i]))
            continue;
        buf_reset(&report);
        shorten(d, extents[i].words);
        fits = write_report(o, d, id, &extents[i], &report);
    }
    MUST(fits); /* the last extent is bounded */
    store(o, d, id, &report);
    buf_done(&report);
    out_dsn_free(d);
}

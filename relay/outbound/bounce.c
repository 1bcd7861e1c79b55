/* A sender is told what became of recipients: the report (relay/mail/dsn) enters the spooler like
 * any other mail, with the null reverse-path. */
#include "dns/name.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"
#include "relay/mail/dkim.h"
#include "relay/mail/dsn.h"
#include "relay/mail/verp.h"
#include "relay/outbound/private.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

#define RETURNED_MAX 50000 /* larger originals come back as their header section (checklist 93) */
#define REPORT_MAX (SPOOL_INLINE_MAX - 1024 - DKIM_FIELDS_MAX)
#define RCPT_LEAST 400 /* bytes of a report that a recipient takes at least */

/* How much a report tells. It must fit into REPORT_MAX, whatever the peers have said to however
 * many recipients: the first size that fits is taken, so that every failure is told in the end. */
struct extent {
    bool whole;      /* the original, when it is small; else its header section */
    size_t headers;  /* bytes of the header section */
    size_t words;    /* bytes of what was said about a recipient */
    size_t n_listed; /* recipients by name; the others are counted */
    bool plain;      /* in our words, which are bounded, whatever the template says */
};
static const struct extent extents[] = {
    {true, RETURNED_MAX, SIZE_MAX, SIZE_MAX, false},
    {false, RETURNED_MAX, SIZE_MAX, SIZE_MAX, false},
    {false, 8192, 200, SIZE_MAX, false},
    {false, 2048, 80, SIZE_MAX, false},
    {false, 2048, 80, 200, false},
    {false, 2048, 80, 20, false},
    {false, 2048, 80, 20, true},
};

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

static enum dsn_action action_of(enum out_dsn_what what)
{
    switch (what) {
    case OUT_DSN_FAILED:
        return DSN_FAILED;
    case OUT_DSN_DELAYED:
        return DSN_DELAYED;
    case OUT_DSN_RELAYED:
        return DSN_RELAYED;
    case OUT_DSN_DELIVERED:
        return DSN_DELIVERED;
    }
    UNREACHABLE();
}

/* RFC 3461 section 6.2: the whole message only with failures; RFC 8689 section 5.2: never what was
 * to go protected only. What is not lines cannot stand in a report. */
static bool may_return_whole(const struct out_dsn *d)
{
    const struct mail_params *p = &d->params;
    bool failed = false;
    for (size_t i = 0; i < d->n; i++)
        failed = failed || d->rcpts[i].what == OUT_DSN_FAILED;
    return failed && p->ret != MAIL_RET_HDRS && !p->requiretls && p->body != MAIL_BODY_BINARYMIME;
}

static struct dsn_recipient *recipients(const struct out_dsn *d)
{
    struct dsn_recipient *list = must_alloc(d->n * sizeof *list), *at = list;
    /* The gravest first: of those that have no room the others would be missed less. */
    const size_t kinds = OUT_DSN_DELIVERED + 1;
    for (size_t k = 0; k < kinds * d->n; k++) {
        const size_t i = k % d->n;
        if (d->rcpts[i].what != k / d->n)
            continue;
        *at++ = (struct dsn_recipient){
            .address = buf_slice(&d->rcpts[i].address),
            .orcpt = buf_slice(&d->rcpts[i].orcpt),
            .action = action_of(d->rcpts[i].what),
            .status = d->rcpts[i].status,
            .verdict = &d->rcpts[i].verdict,
            .remote_mta = buf_slice(&d->rcpts[i].host),
            .last_attempt = d->rcpts[i].last_attempt,
            .will_retry_until = d->expires,
        };
    }
    return list;
}

/* Not even tried: a report is written on the loop. */
static bool is_hopeless(const struct out_dsn *d, const struct extent *x)
{
    size_t listed = d->n < x->n_listed ? d->n : x->n_listed;
    return listed > REPORT_MAX / RCPT_LEAST;
}

static bool write_report(struct outbound *o, const struct out_dsn *d, struct slice to, uint64_t id,
                         const struct extent *x, struct buf *out, bool *ret_utf8)
{
    char original_id[QUEUE_ID_SIZE], report_id[QUEUE_ID_SIZE], boundary[QUEUE_ID_SIZE + 40];
    queue_id_write(d->message_id, original_id);
    queue_id_write(id, report_id);
    snprintf(boundary, sizeof boundary, "%s_%016llx", report_id,
             (unsigned long long)rng_next(&o->rng));
    struct slice original = d->original ? slice_of(d->original->bytes, d->original->n) : SLICE_NONE;
    bool whole = x->whole && may_return_whole(d) && d->original_whole && original.n <= RETURNED_MAX;
    size_t listed = d->n < x->n_listed ? d->n : x->n_listed;
    struct dsn_recipient *list = recipients(d);
    struct dsn_input in = {
        .reporting_mta = slice_str(o->conf->hostname),
        .postmaster = slice_str(o->conf->postmaster),
        .to = to,
        .queue_id = slice_str(original_id),
        .report_id = slice_str(report_id),
        .boundary = slice_str(boundary),
        .envid = buf_slice(&d->envid),
        .smtputf8 = d->params.smtputf8,
        .arrived = d->queued,
        .now = wall_now(),
        .rcpts = list,
        .n_rcpts = listed,
        .n_more = d->n - listed,
        .original = whole ? original : slice_head(original, x->headers),
        .headers_only = !whole,
        .double_bounce = d->double_bounce,
        .words = x->plain ? NULL : o->conf->report_words,
    };
    *ret_utf8 = dsn_needs_smtputf8(&in);
    bool ok = dsn_write(out, &in);
    free(list);
    return ok;
}

/* Where to: the host of a sender who has only his domain past ASCII may lack SMTPUTF8, and needs
 * none for the domain's ASCII form (RFC 6533 section 6, RFC 5891). */
static struct buf address_of(const struct out_dsn *d)
{
    const struct slice to = buf_slice(&d->to), domain = slice_behind_last(to, '@');
    const struct slice local = slice_head(to, to.n - domain.n);
    char ascii[DNS_NAME_SIZE];
    if (address_is_ascii(domain) || !address_is_ascii(local) || !dns_name_parse(domain, ascii))
        return buf_of(to);
    struct buf address = BUF_MAX(local.n + sizeof ascii);
    buf_add(&address, local);
    buf_add_str(&address, ascii);
    return address;
}

/* Reverse-paths that name their recipient: a failure is told at that address, alone. */
static bool wants_verp(const struct outbound *o, const struct out_dsn *d)
{
    return !d->double_bounce && conf_wants_verp(o->conf, buf_slice(&d->to), buf_slice(&d->user));
}

/* The first failure of those that are due. The spooler, which does not know beforehand that they
 * are told each alone, hands out the others one by one when this one is stored. False: none failed.
 */
static bool keep_one(struct out_dsn *d)
{
    size_t i = 0;
    while (i < d->n && d->rcpts[i].what != OUT_DSN_FAILED)
        i++;
    if (i == d->n)
        return false;
    const struct out_dsn_rcpt first = d->rcpts[0];
    d->rcpts[0] = d->rcpts[i];
    d->rcpts[i] = first;
    while (d->n > 1)
        out_dsn_rcpt_done(&d->rcpts[--d->n]);
    return true;
}

static void name_recipient(const struct outbound *o, struct out_dsn *d)
{
    struct buf path = BUF_MAX(SPOOLER_ADDRESS_SIZE);
    if (verp_write(&path, buf_slice(&d->to), buf_slice(&d->rcpts[0].address),
                   o->conf->verp_delimiters)) {
        buf_done(&d->to);
        d->to = buf_of(buf_slice(&path));
    }
    buf_done(&path);
}

/* The report takes the way of its message, has its tags and its priority. What it tells of mail
 * that was to go protected only goes protected only (RFC 8689 section 5.2). */
static struct mail_params report_params(const struct out_dsn *d, bool eight_bit, bool utf8)
{
    return (struct mail_params){.body = eight_bit ? MAIL_BODY_8BITMIME : MAIL_BODY_7BIT,
                                .smtputf8 = utf8,
                                .requiretls = d->params.requiretls,
                                .priority = d->params.priority};
}

/* Copies s to *at, which moves behind it. */
static struct slice put_behind(char **at, const struct buf *s)
{
    struct slice copy = slice_of(*at, s->n);
    if (s->n)
        memcpy(*at, s->p, s->n);
    *at += s->n;
    return copy;
}

static void store(struct outbound *o, struct out_dsn *d, const struct buf *to, bool for_one,
                  uint64_t id, struct buf *report, bool utf8)
{
    /* The slices of the envelope must live until the answer: they stand behind the request. */
    struct store_dsn {
        struct spooler_store store;
        struct envelope_rcpt rcpt;
        char message_id[QUEUE_ID_SIZE + 300];
        char texts[];
    } *s = must_alloc(sizeof *s + to->n + d->tags.n + d->route.n + 1);
    char *at = s->texts;
    char id_text[QUEUE_ID_SIZE];
    const bool eight_bit = !address_is_ascii(buf_slice(report));
    queue_id_write(id, id_text);
    snprintf(s->message_id, sizeof s->message_id, "<%s@%s>", id_text, o->conf->hostname);
    s->rcpt.address = put_behind(&at, to);
    s->rcpt.notify = d->double_bounce ? MAIL_NOTIFY_NEVER : 0;
    s->store.msg.type = SPOOLER_STORE;
    s->store.reply = &o->port;
    s->store.id = id;
    s->store.dsn_serial = d->serial;
    s->store.body = body_new(report->n);
    memcpy(s->store.body->bytes, report->p, report->n);
    s->store.envelope = (struct envelope){
        .message_id = slice_str(s->message_id),
        .size = report->n,
        .tags = put_behind(&at, &d->tags),
        .route = put_behind(&at, &d->route),
        .params = report_params(d, eight_bit, utf8),
        .eight_bit = eight_bit,
        .dsn_for = d->message_id,
        .dsn_rcpt = for_one ? d->rcpts[0].number + 1u : 0,
        .rcpts = &s->rcpt,
        .n_rcpts = 1,
    };
    port_send(o->spooler, &s->store.msg);
}

/* As mail of its From:, when there is a key for that: it is not handed in through any door. */
static void sign(const struct outbound *o, struct buf *report)
{
    struct buf whole = BUF_MAX(DKIM_FIELDS_MAX + report->n);
    if (!dkim_sign_message(o->conf->dkim_keys, buf_slice(report), wall_now(), &whole)) {
        buf_done(&whole);
        return;
    }
    MUST(buf_add(&whole, buf_slice(report)));
    buf_done(report);
    *report = whole;
    metric_add(M_MESSAGES_SIGNED, 1);
}

void out_bounce(struct outbound *o, struct out_dsn *d)
{
    uint64_t id = spooler_new_id(wall_now());
    const bool verp = wants_verp(o, d) && keep_one(d), for_one = verp || d->one_by_one;
    if (verp)
        name_recipient(o, d);
    struct buf report = BUF_MAX(REPORT_MAX), to = address_of(d);
    bool fits = false, utf8 = false;
    for (size_t i = 0; !fits && i < sizeof extents / sizeof *extents; i++) {
        if (is_hopeless(d, &extents[i]))
            continue;
        buf_reset(&report);
        shorten(d, extents[i].words);
        fits = write_report(o, d, buf_slice(&to), id, &extents[i], &report, &utf8);
    }
    MUST(fits); /* the last extent is bounded */
    sign(o, &report);
    store(o, d, &to, for_one, id, &report, utf8);
    buf_done(&report);
    buf_done(&to);
    out_dsn_free(d);
}

/*
 * The report has three parts (RFC 6522): words for a person, fields for a program (RFC 3464), the
 * original. The first one is dsn_text.c's.
 */
#include "relay/mail/dsn.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/mail/address.h"
#include "relay/mail/dsn_priv.h"
#include "relay/mail/header.h"

enum { BOUNDARY_MAX = 60, ORCPT_MAX = 512, ENVID_MAX = 100, MESSAGE_ID_MAX = 250 };

static void add_date(struct buf *out, const char *name, struct wall t)
{
    char date[WALL_RFC5322_SIZE];
    if (t.us == 0)
        return;
    wall_rfc5322(t, date);
    buf_addf(out, "%s: %s\r\n", name, date);
}

bool dsn_is_global(const struct dsn_input *in)
{
    bool ascii = address_is_ascii(in->to);
    for (size_t i = 0; i < in->n_rcpts && ascii; i++)
        ascii = address_is_ascii(in->rcpts[i].address) && address_is_ascii(in->rcpts[i].orcpt);
    return in->smtputf8 && !ascii;
}

bool dsn_needs_smtputf8(const struct dsn_input *in)
{
    return in->smtputf8 && !address_is_ascii(in->to);
}

void dsn_add_text(struct buf *out, struct slice s, bool utf8)
{
    if (utf8)
        utf8_clean(out, s, DSN_TEXT_MAX);
    else
        ascii_text(out, s);
}

void dsn_add_address(struct buf *out, struct slice address, bool utf8)
{
    dsn_add_text(out, slice_head(address, DSN_ADDRESS_MAX), utf8);
}

static uint8_t good_class(enum dsn_action a)
{
    return a == DSN_DELAYED ? 4 : dsn_is_good(a) ? 2 : 5;
}

/* The status of the verdict; where its class contradicts the action, the action's own class (RFC
 * 3464 section 2.3.4). A failure after many tries keeps the last 4.x.x, which tells more than a
 * made-up 5. */
struct enhanced dsn_status_of(const struct dsn_recipient *r)
{
    if (enhanced_is(r->status))
        return r->status;
    struct enhanced e = r->verdict ? r->verdict->enhanced : (struct enhanced){0};
    const uint8_t class = good_class(r->action);
    bool good = e.class == class || (r->action == DSN_FAILED && e.class == 4);
    return good ? e : (struct enhanced){.class = class};
}

void dsn_add_answer(struct buf *out, const struct verdict *v, bool utf8)
{
    char enhanced[ENHANCED_SIZE];
    if (v->code)
        buf_addf(out, "%u ", (unsigned)v->code);
    /* As it was said: x.0.0 stands for a reply without one, and says no more than the code. */
    if (v->code && (v->enhanced.subject || v->enhanced.detail)) {
        enhanced_write(v->enhanced, enhanced);
        buf_addf(out, "%s ", enhanced);
    }
    dsn_add_text(out, slice_str(v->text), utf8);
    if (v->text_truncated)
        buf_add_str(out, " ...");
}

bool dsn_has_answer(const struct verdict *v)
{
    return v && (v->code || (v->text && v->text[0]));
}

/* RFC 3464 section 2.3.6: "smtp" only for what a server said. */
static void add_diagnostic(struct buf *out, const struct verdict *v, bool global)
{
    DEFER(buf_done) struct buf text = BUF_MAX(DSN_TEXT_MAX);
    if (!dsn_has_answer(v))
        return;
    dsn_add_answer(&text, v, global);
    struct fold f = fold_begin(out, "Diagnostic-Code:", " ");
    fold_str(&f, v->code ? "smtp;" : "x-postwain;");
    fold_text(&f, buf_slice(&text));
    fold_end(&f);
}

static const char *action_name(enum dsn_action a)
{
    static const char *const names[] = {[DSN_FAILED] = "failed",
                                        [DSN_DELAYED] = "delayed",
                                        [DSN_RELAYED] = "relayed",
                                        [DSN_DELIVERED] = "delivered"};
    return names[a];
}

/* RFC 6533 section 3: past ASCII an address is of another type, and in a report for everybody it is
 * written in ASCII in that type's own way. */
static void add_typed(struct buf *out, struct slice type, struct slice address, bool global)
{
    buf_add(out, type);
    if (!global && slice_ieq(slice_trim(type), SLICE_LIT("utf-8;")))
        ascii_utf8_address(out, address);
    else
        dsn_add_text(out, address, global);
}

static void add_recipient(struct buf *out, const char *field, struct slice type,
                          struct slice address, bool global)
{
    DEFER(buf_done) struct buf text = BUF_MAX(DSN_TEXT_MAX);
    struct fold f = fold_begin(out, field, " ");
    add_typed(&text, type, address, global);
    fold_word(&f, buf_slice(&text));
    fold_end(&f);
}

static void add_original_recipient(struct buf *out, struct slice orcpt, bool global)
{
    const struct slice type = slice_head(orcpt, slice_find(orcpt, ';') + 1);
    add_recipient(out, "Original-Recipient: ", type,
                  slice_head(slice_skip(orcpt, type.n), ORCPT_MAX), global);
}

/* A host that has no name, but an address, is a domain-literal (RFC 3464 section 9.3). */
static void add_mta(struct buf *out, struct slice host)
{
    DEFER(buf_done) struct buf literal = BUF_MAX(DSN_HOST_MAX);
    buf_addf(&literal, "[%s%.*s]", slice_find(host, ':') < host.n ? "IPv6:" : "",
             SLICE_ARG(slice_head(host, DSN_HOST_MAX - 8)));
    buf_add_str(out, "Remote-MTA: dns; ");
    ascii_token(out, address_is_domain(buf_slice(&literal)) ? buf_slice(&literal) : host,
                DSN_HOST_MAX);
    buf_add_str(out, "\r\n");
}

static void add_recipient_fields(struct buf *out, const struct dsn_recipient *r, bool global)
{
    char status[ENHANCED_SIZE];
    const bool ascii = address_is_ascii(r->address);
    if (r->orcpt.n > 0)
        add_original_recipient(out, r->orcpt, global);
    add_recipient(out, "Final-Recipient: ", ascii ? SLICE_LIT("rfc822; ") : SLICE_LIT("utf-8; "),
                  slice_head(r->address, DSN_ADDRESS_MAX), global);
    enhanced_write(dsn_status_of(r), status);
    buf_addf(out, "Action: %s\r\n", action_name(r->action));
    buf_addf(out, "Status: %s\r\n", status);
    if (r->remote_mta.n > 0)
        add_mta(out, r->remote_mta);
    add_diagnostic(out, r->verdict, global);
    add_date(out, "Last-Attempt-Date", r->last_attempt);
    if (r->action == DSN_DELAYED)
        add_date(out, "Will-Retry-Until", r->will_retry_until);
}

void dsn_add_eight_bit(struct buf *out, bool eight)
{
    if (eight)
        buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
}

static void write_status_part(struct buf *out, const struct dsn_input *in, bool global)
{
    buf_add_str(out, "Content-Description: Delivery report\r\n");
    buf_addf(out, "Content-Type: message/%sdelivery-status\r\n", global ? "global-" : "");
    dsn_add_eight_bit(out, global);
    buf_add_str(out, "\r\n");
    if (in->envid.n > 0) {
        struct fold f = fold_begin(out, "Original-Envelope-Id: ", " ");
        DEFER(buf_done) struct buf text = BUF_MAX(DSN_TEXT_MAX);
        ascii_text(&text, slice_head(in->envid, ENVID_MAX));
        fold_word(&f, buf_slice(&text));
        fold_end(&f);
    }
    buf_add_str(out, "Reporting-MTA: dns; ");
    ascii_token(out, in->reporting_mta, DSN_HOST_MAX);
    buf_add_str(out, "\r\n");
    add_date(out, "Arrival-Date", in->arrived);
    /* Extensions stand behind what RFC 3464 names (section 2.2). */
    buf_add_str(out, "X-Postwain-Queue-ID: ");
    ascii_token(out, in->queue_id, DSN_ID_MAX);
    buf_add_str(out, "\r\n");
    for (size_t i = 0; i < in->n_rcpts; i++) {
        buf_add_str(out, "\r\n");
        add_recipient_fields(out, &in->rcpts[i], global);
    }
}

/* Without the empty line and what follows it, nor a last field that was cut. */
static struct slice header_section(struct slice message)
{
    struct slice rest = message;
    struct header_field field;
    while (header_next(&rest, &field))
        if (field.raw.n == field.value.n + (size_t)(field.value.p - field.raw.p))
            return slice_head(message, (size_t)(field.raw.p - message.p));
    return slice_head(message, message.n - rest.n);
}

static bool is_message_id(struct slice s)
{
    bool ok = s.n >= 3 && s.n <= MESSAGE_ID_MAX && s.p[0] == '<' && s.p[s.n - 1] == '>';
    for (size_t i = 1; ok && i + 1 < s.n; i++)
        ok = s.p[i] > ' ' && s.p[i] < 127 && s.p[i] != '<' && s.p[i] != '>';
    return ok;
}

/* So that mail programs show the report beside what was sent (RFC 5322 section 3.6.4). */
static void add_thread(struct buf *out, struct slice original)
{
    struct header_field field;
    while (header_next(&original, &field)) {
        const struct slice id = slice_trim(field.value);
        if (!slice_ieq(field.name, SLICE_LIT("Message-ID")))
            continue;
        if (is_message_id(id))
            buf_addf(out, "In-Reply-To: %.*s\r\nReferences: %.*s\r\n", SLICE_ARG(id),
                     SLICE_ARG(id));
        return;
    }
}

static void write_top(struct buf *out, const struct dsn_input *in, const char *boundary, bool eight)
{
    /* Its own header is UTF-8 only for whom that cannot be avoided: the parts may be either way. */
    const bool utf8 = dsn_needs_smtputf8(in);
    buf_add_str(out, "From: \"Mail Delivery System\" <");
    if (in->postmaster.n > 0) {
        dsn_add_address(out, in->postmaster, utf8);
    } else {
        buf_add_str(out, "MAILER-DAEMON@");
        ascii_token(out, in->reporting_mta, DSN_HOST_MAX);
    }
    buf_add_str(out, ">\r\nTo: <");
    dsn_add_address(out, in->to, utf8);
    buf_add_str(out, ">\r\n");
    dsn_write_subject(out, in, utf8);
    header_write_date(out, in->now);
    header_write_message_id(out, in->report_id, in->reporting_mta);
    add_thread(out, in->original);
    buf_add_str(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    buf_addf(
        out,
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n",
        boundary);
    dsn_add_eight_bit(out, eight);
    buf_add_str(out, "\r\nThis is a delivery report in MIME format.\r\n");
}

/* RFC 6533 section 4: what has UTF-8 in its header is no message/rfc822. */
static bool is_global_message(const struct dsn_input *in, struct slice original)
{
    return dsn_is_global(in) || (in->smtputf8 && !address_is_ascii(header_section(original)));
}

static void write_original(struct buf *out, const struct dsn_input *in, struct slice original,
                           bool eight)
{
    const bool global = is_global_message(in, original);
    buf_addf(out, "Content-Description: %s message\r\n",
             in->headers_only ? "Header of the" : "The original");
    if (in->headers_only)
        buf_addf(out, "Content-Type: %s\r\n",
                 global ? "message/global-headers" : "text/rfc822-headers");
    else
        buf_addf(out, "Content-Type: %s\r\n", global ? "message/global" : "message/rfc822");
    dsn_add_eight_bit(out, eight);
    buf_add_str(out, "\r\n");
    buf_add(out, original);
}

/* Only what RFC 2046 allows, and nothing that the original has in it. */
static void make_boundary(struct buf *b, struct slice wanted, struct slice original)
{
    ascii_token(b, wanted, BOUNDARY_MAX - 16);
    for (size_t i = 0; i < b->n; i++)
        if (b->p[i] == '[' || b->p[i] == ']')
            b->p[i] = '_';
    buf_add_u8(b, '=');
    for (unsigned i = 0; slice_find_slice(original, buf_slice(b)) < original.n; i++) {
        buf_cut(b, slice_find(buf_slice(b), '=') + 1);
        buf_addf(b, "%u=", i);
    }
}

bool dsn_write(struct buf *out, const struct dsn_input *in)
{
    DEFER(buf_done) struct buf boundary = BUF_MAX(BOUNDARY_MAX + 1);
    MUST(in->to.n > 0);
    size_t before = out->n;
    struct slice original = in->headers_only ? header_section(in->original) : in->original;
    const bool global = dsn_is_global(in), eight = !address_is_ascii(original);

    make_boundary(&boundary, in->boundary, original);
    write_top(out, in, buf_str(&boundary), eight || global);
    buf_addf(out, "\r\n--%s\r\n", buf_str(&boundary));
    dsn_write_text_part(out, in, global);
    buf_addf(out, "\r\n--%s\r\n", buf_str(&boundary));
    write_status_part(out, in, global);
    buf_addf(out, "\r\n--%s\r\n", buf_str(&boundary));
    write_original(out, in, original, eight);
    buf_addf(out, "\r\n--%s--\r\n", buf_str(&boundary));
    if (out->overflow)
        buf_cut(out, before);
    return !out->overflow;
}

/*
 * The report has three parts (RFC 6522): words for a person, fields for a program (RFC 3464), the
 * original. A reader of the first part sees for each recipient what happened, what the other side
 * said, and what to do next.
 */
#include "relay/mail/dsn.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/ascii.h"
#include "relay/mail/dsn_words.h"
#include "relay/mail/header.h"

enum { BOUNDARY_MAX = 60, HOST_MAX = 255, ID_MAX = 64, ADDRESS_MAX = 256, TEXT_MAX = 4096 };

static void add_date(struct buf *out, const char *name, struct wall t)
{
    char date[WALL_RFC5322_SIZE];
    if (t.us == 0)
        return;
    wall_rfc5322(t, date);
    buf_addf(out, "%s: %s\r\n", name, date);
}

static void add_address(struct buf *out, struct slice address)
{
    ascii_text(out, slice_head(address, ADDRESS_MAX));
}

static uint8_t hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0');
    return c >= 'A' && c <= 'F' ? (uint8_t)(c - 'A' + 10) : 16;
}

/* ORCPT comes in xtext (RFC 3461 section 4) and is reported without it; a "+" that starts no code
 * stays one. */
static void add_xtext(struct buf *out, struct slice s)
{
    DEFER(buf_done) struct buf plain = BUF_MAX(TEXT_MAX);
    s = slice_head(s, 2 * ADDRESS_MAX);
    for (size_t i = 0; i < s.n; i++) {
        uint8_t high = i + 2 < s.n ? hex_value(s.p[i + 1]) : 16;
        uint8_t low = i + 2 < s.n ? hex_value(s.p[i + 2]) : 16;
        if (s.p[i] == '+' && high < 16 && low < 16) {
            buf_add_u8(&plain, (uint8_t)(high << 4 | low));
            i += 2;
        } else {
            buf_add_u8(&plain, s.p[i]);
        }
    }
    ascii_text(out, buf_slice(&plain));
}

/* The status of the verdict; where its class contradicts the action, the action's own class (RFC
 * 3464 section 2.3.4). A failure after many tries keeps the last 4.x.x, which tells more than a
 * made-up 5. */
static struct enhanced status_of(const struct dsn_recipient *r)
{
    struct enhanced e = r->verdict ? r->verdict->enhanced : (struct enhanced){0};
    bool good = r->action == DSN_DELAYED ? e.class == 4 : e.class == 4 || e.class == 5;
    if (!good)
        e = (struct enhanced){.class = r->action == DSN_DELAYED ? 4 : 5};
    return e;
}

/* "550 5.1.1 words", or only the words of a verdict without a reply. */
static void add_answer(struct fold *f, const struct verdict *v)
{
    DEFER(buf_done) struct buf text = BUF_MAX(TEXT_MAX);
    char enhanced[ENHANCED_SIZE];
    if (v->code) {
        buf_addf(&text, "%u ", (unsigned)v->code);
        enhanced_write(v->enhanced, enhanced);
        buf_addf(&text, "%s ", enhanced);
    }
    ascii_text(&text, slice_str(v->text));
    if (v->text_truncated)
        buf_add_str(&text, " ...");
    fold_text(f, buf_slice(&text));
}

static bool has_answer(const struct verdict *v)
{
    return v && (v->code || (v->text && v->text[0]));
}

/* RFC 3464 section 2.3.6: "smtp" only for what a server said. */
static void add_diagnostic(struct buf *out, const struct verdict *v)
{
    if (!has_answer(v))
        return;
    struct fold f = fold_begin(out, "Diagnostic-Code:", " ");
    fold_str(&f, v->code ? "smtp;" : "x-postwain;");
    add_answer(&f, v);
    fold_end(&f);
}

static void add_recipient_fields(struct buf *out, const struct dsn_recipient *r)
{
    char status[ENHANCED_SIZE];
    if (r->orcpt.n > 0) {
        DEFER(buf_done) struct buf text = BUF_MAX(TEXT_MAX);
        struct fold f = fold_begin(out, "Original-Recipient: ", " ");
        add_xtext(&text, r->orcpt);
        fold_word(&f, buf_slice(&text));
        fold_end(&f);
    }
    buf_add_str(out, "Final-Recipient: rfc822; ");
    add_address(out, r->address);
    enhanced_write(status_of(r), status);
    buf_addf(out, "\r\nAction: %s\r\n", r->action == DSN_DELAYED ? "delayed" : "failed");
    buf_addf(out, "Status: %s\r\n", status);
    if (r->remote_mta.n > 0) {
        buf_add_str(out, "Remote-MTA: dns; ");
        ascii_token(out, r->remote_mta, HOST_MAX);
        buf_add_str(out, "\r\n");
    }
    add_diagnostic(out, r->verdict);
    add_date(out, "Last-Attempt-Date", r->last_attempt);
    if (r->action == DSN_DELAYED)
        add_date(out, "Will-Retry-Until", r->will_retry_until);
}

static void write_status_part(struct buf *out, const struct dsn_input *in)
{
    buf_add_str(out, "Content-Description: Delivery report\r\n"
                     "Content-Type: message/delivery-status\r\n\r\n"
                     "Reporting-MTA: dns; ");
    ascii_token(out, in->reporting_mta, HOST_MAX);
    buf_add_str(out, "\r\nX-Postwain-Queue-ID: ");
    ascii_token(out, in->queue_id, ID_MAX);
    buf_add_str(out, "\r\n");
    add_date(out, "Arrival-Date", in->arrived);
    for (size_t i = 0; i < in->n_rcpts; i++) {
        buf_add_str(out, "\r\n");
        add_recipient_fields(out, &in->rcpts[i]);
    }
}

static void text_line(struct buf *out, const char *indent, const char *text)
{
    struct fold f = fold_begin(out, indent, indent);
    fold_str(&f, text);
    fold_end(&f);
}

static void add_server_said(struct buf *out, const struct dsn_recipient *r)
{
    const struct verdict *v = r->verdict;
    DEFER(buf_done) struct buf host = BUF_MAX(HOST_MAX + 4);
    if (!has_answer(v))
        return;
    struct fold f = fold_begin(out, "    ", "    ");
    if (v->code)
        fold_str(&f, "The receiving server");
    else
        fold_str(&f, r->remote_mta.n > 0 ? "Reason, at" : "Reason:");
    ascii_token(&host, r->remote_mta, HOST_MAX);
    if (host.n > 0 && !v->code)
        buf_add_u8(&host, ':');
    fold_word(&f, buf_slice(&host));
    if (v->code)
        fold_str(&f, "answered:");
    fold_end(&f);
    f = fold_begin(out, "        ", "        ");
    add_answer(&f, v);
    fold_end(&f);
}

static void add_recipient_words(struct buf *out, const struct dsn_recipient *r)
{
    char date[WALL_RFC5322_SIZE];
    buf_add_str(out, "<");
    add_address(out, r->address);
    buf_add_str(out, ">\r\n");
    text_line(out, "    ", dsn_words_happened(r->action, r->verdict));
    add_server_said(out, r);
    text_line(out, "    ", dsn_words_next(r->action, r->verdict));
    if (r->action == DSN_DELAYED && r->will_retry_until.us) {
        wall_rfc5322(r->will_retry_until, date);
        buf_addf(out, "    Tries go on until %s.\r\n", date);
    }
    buf_add_str(out, "\r\n");
}

static size_t count_failed(const struct dsn_input *in)
{
    size_t n = 0;
    for (size_t i = 0; i < in->n_rcpts; i++)
        n += in->rcpts[i].action == DSN_FAILED;
    return n > 0 ? n + in->n_more : 0;
}

static void write_text_part(struct buf *out, const struct dsn_input *in)
{
    DEFER(buf_done) struct buf host = BUF_MAX(HOST_MAX);
    size_t failed = count_failed(in);
    ascii_token(&host, in->reporting_mta, HOST_MAX);
    buf_add_str(out, "Content-Description: Notification\r\n"
                     "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
    struct fold f = fold_begin(out, "", "");
    fold_str(&f, "This is the mail system of");
    fold_word(&f, buf_slice(&host));
    fold_end(&f);
    buf_add_str(out, "\r\n");
    text_line(out, "", dsn_words_intro(failed, in->n_rcpts + in->n_more - failed));
    buf_add_str(out, "\r\n");
    for (size_t i = 0; i < in->n_rcpts; i++)
        add_recipient_words(out, &in->rcpts[i]);
    if (in->n_more > 0)
        buf_addf(out, "... and %zu more recipients, for whom this report has no room.\r\n\r\n",
                 in->n_more);
    f = fold_begin(out, "", "");
    fold_str(&f, "If you ask for help, please quote the queue id");
    buf_reset(&host);
    ascii_token(&host, in->queue_id, ID_MAX);
    buf_add_u8(&host, '.');
    fold_word(&f, buf_slice(&host));
    fold_end(&f);
}

/* One recipient is named; an address that could pass for an encoded word is not. */
static void add_subject(struct buf *out, const struct dsn_input *in)
{
    size_t failed = count_failed(in);
    struct slice only = in->n_rcpts == 1 ? in->rcpts[0].address : SLICE_NONE;
    buf_add_str(out, failed ? "Subject: Undelivered mail" : "Subject: Delayed mail");
    if (only.n > 0 && slice_find_slice(only, SLICE_LIT("=?")) == only.n) {
        buf_add_str(out, " to ");
        add_address(out, only);
    } else if (failed > 1) {
        buf_addf(out, " to %zu recipients", failed);
    }
    buf_add_str(out, "\r\n");
}

static void write_top(struct buf *out, const struct dsn_input *in, const char *boundary, bool eight)
{
    buf_add_str(out, "From: \"Mail Delivery System\" <");
    if (in->postmaster.n > 0) {
        add_address(out, in->postmaster);
    } else {
        buf_add_str(out, "MAILER-DAEMON@");
        ascii_token(out, in->reporting_mta, HOST_MAX);
    }
    buf_add_str(out, ">\r\nTo: <");
    add_address(out, in->to);
    buf_add_str(out, ">\r\n");
    add_subject(out, in);
    header_write_date(out, in->now);
    header_write_message_id(out, in->report_id, in->reporting_mta);
    buf_add_str(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    buf_addf(
        out,
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n",
        boundary);
    if (eight)
        buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_add_str(out, "\r\nThis is a delivery report in MIME format.\r\n");
}

/* Without the empty line and what follows it. */
static struct slice header_section(struct slice message)
{
    struct slice rest = message;
    struct header_field field;
    while (header_next(&rest, &field))
        ;
    return slice_head(message, message.n - rest.n);
}

static void write_original(struct buf *out, const struct dsn_input *in, struct slice original,
                           bool eight)
{
    buf_add_str(out, in->headers_only ? "Content-Description: Header of the undelivered message\r\n"
                                        "Content-Type: text/rfc822-headers\r\n"
                                      : "Content-Description: Undelivered message\r\n"
                                        "Content-Type: message/rfc822\r\n");
    if (eight)
        buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
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
    struct header_scan scan;
    header_scan_init(&scan, HEADER_SCAN_MAX);
    header_scan_bytes(&scan, original);
    bool eight = scan.facts.eight_bit;
    header_scan_done(&scan);

    make_boundary(&boundary, in->boundary, original);
    write_top(out, in, buf_str(&boundary), eight);
    buf_addf(out, "\r\n--%s\r\n", buf_str(&boundary));
    write_text_part(out, in);
    buf_addf(out, "\r\n--%s\r\n", buf_str(&boundary));
    write_status_part(out, in);
    buf_addf(out, "\r\n--%s\r\n", buf_str(&boundary));
    write_original(out, in, original, eight);
    buf_addf(out, "\r\n--%s--\r\n", buf_str(&boundary));
    if (out->overflow)
        buf_cut(out, before);
    return !out->overflow;
}

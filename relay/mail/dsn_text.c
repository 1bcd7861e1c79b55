/*
 * The first part of a report, for a person, and its subject: what happened to each recipient, what
 * the other side said, and what to do next. In our words, in ASCII; section by section in those of
 * an administrator's template, in UTF-8.
 */
#include "relay/base/defer.h"
#include "relay/base/plural.h"
#include "relay/base/utf8.h"
#include "relay/mail/address.h"
#include "relay/mail/dsn_priv.h"
#include "relay/mail/dsn_template_priv.h"
#include "relay/mail/dsn_words.h"
#include "relay/mail/encoded.h"

enum { SUBJECT_MAX = 2000 };

/* How many there are of each kind. Those that have no room are of the gravest. */
struct kinds {
    size_t failed, delayed, relayed;
};

/* What words are found for: the report, or one recipient in it. */
struct about {
    const struct dsn_input *in;
    const struct dsn_recipient *r; /* NULL: the report */
    struct kinds kinds;
    bool utf8;
};

static struct kinds count_kinds(const struct dsn_input *in)
{
    struct kinds k = {0};
    for (size_t i = 0; i < in->n_rcpts; i++) {
        k.failed += in->rcpts[i].action == DSN_FAILED;
        k.delayed += in->rcpts[i].action == DSN_DELAYED;
        k.relayed += dsn_is_good(in->rcpts[i].action);
    }
    size_t *more = k.failed ? &k.failed : k.delayed ? &k.delayed : &k.relayed;
    *more += in->n_more;
    return k;
}

static void text_line(struct buf *out, const char *indent, const char *text)
{
    struct fold f = fold_begin(out, indent, indent);
    fold_str(&f, text);
    fold_end(&f);
}

static void add_date(struct buf *out, struct wall t)
{
    char date[WALL_RFC5322_SIZE];
    if (t.us == 0)
        return;
    wall_rfc5322(t, date);
    buf_add_str(out, date);
}

/* --- a template's variables
 * ----------------------------------------------------------------------------------------------
 */

static void block_of(void *ctx, enum dsn_variable v, const char *indent, struct buf *out);

/* One, or the first of several and how many stand behind it. */
static void add_first(struct buf *out, const struct dsn_input *in, bool utf8)
{
    const size_t n = in->n_rcpts + in->n_more;
    if (in->n_rcpts == 0)
        return;
    dsn_add_address(out, in->rcpts[0].address, utf8);
    if (n > 1)
        buf_addf(out, " (+%zu)", n - 1);
}

static void add_of_recipient(const struct about *a, enum dsn_variable v, struct buf *out)
{
    const struct dsn_recipient *r = a->r;
    char status[ENHANCED_SIZE];
    const bool has = r && dsn_has_answer(r->verdict);
    if (!r)
        return;
    if (v == DSN_V_ADDRESS)
        dsn_add_address(out, r->address, a->utf8);
    else if (v == DSN_V_HOST)
        ascii_token(out, r->remote_mta, DSN_HOST_MAX);
    else if ((v == DSN_V_ANSWER && has && r->verdict->code) ||
             (v == DSN_V_CAUSE && has && !r->verdict->code))
        dsn_add_answer(out, r->verdict, a->utf8);
    else if (v == DSN_V_ATTEMPTED)
        add_date(out, r->last_attempt);
    else if (v == DSN_V_UNTIL && r->action == DSN_DELAYED)
        add_date(out, r->will_retry_until);
    else if (v == DSN_V_STATUS) {
        enhanced_write(dsn_status_of(r), status);
        buf_add_str(out, status);
    }
}

static void value_of(void *ctx, enum dsn_variable v, struct buf *out)
{
    const struct about *a = ctx;
    const struct dsn_input *in = a->in;
    if (v == DSN_V_HOSTNAME)
        ascii_token(out, in->reporting_mta, DSN_HOST_MAX);
    else if (v == DSN_V_POSTMASTER)
        dsn_add_address(out, in->postmaster, a->utf8);
    else if (v == DSN_V_SENDER)
        dsn_add_address(out, in->to, a->utf8);
    else if (v == DSN_V_QUEUE_ID)
        ascii_token(out, in->queue_id, DSN_ID_MAX);
    else if (v == DSN_V_ENVID)
        dsn_add_text(out, in->envid, a->utf8);
    else if (v == DSN_V_ARRIVED)
        add_date(out, in->arrived);
    else if (v == DSN_V_RECIPIENT)
        add_first(out, in, a->utf8);
    else if (v == DSN_V_COUNT)
        buf_addf(out, "%zu", in->n_rcpts + in->n_more);
    else if (v == DSN_V_MORE && in->n_more)
        buf_addf(out, "%zu", in->n_more);
    else
        add_of_recipient(a, v, out);
}

static struct dsn_values values_of(struct about *a)
{
    return (struct dsn_values){.ctx = a, .value = value_of, .block = block_of};
}

/* --- one recipient
 * ----------------------------------------------------------------------------------------------
 */

/* The template's section that says what became of him: that of his class, else of "other". */
static struct slice reason_of(const struct dsn_template *t, const struct dsn_recipient *r)
{
    if (r->action == DSN_DELAYED)
        return dsn_template_get(t, DSN_S_REASON + DSN_REASON_DELAYED);
    if (dsn_is_good(r->action))
        return dsn_template_get(t, DSN_S_REASON + DSN_REASON_RELAYED);
    const enum verdict_class c = dsn_words_class(r->verdict);
    const unsigned classes = DSN_S_REASON + DSN_REASON_CLASS;
    const struct slice own = c == CLASS_NONE ? SLICE_NONE : dsn_template_get(t, classes + c);
    return own.n ? own : dsn_template_get(t, classes + CLASS_OTHER);
}

static void add_happened(struct buf *out, struct about *a, const char *indent)
{
    struct slice rest = reason_of(a->in->words, a->r);
    const struct slice first = dsn_template_paragraph(&rest);
    const struct dsn_values values = values_of(a);
    if (first.n)
        dsn_template_lines(out, first, indent, &values);
    else
        text_line(out, indent, dsn_words_happened(a->r->action, a->r->verdict));
}

static void add_advice(struct buf *out, struct about *a, const char *indent)
{
    struct slice rest = reason_of(a->in->words, a->r);
    const struct slice first = dsn_template_paragraph(&rest);
    const struct dsn_values values = values_of(a);
    if (first.n)
        dsn_template_lines(out, rest, indent, &values);
    else if (a->in->double_bounce)
        text_line(out, indent, dsn_words_double_next());
    else
        text_line(out, indent, dsn_words_next(a->r->action, a->r->verdict));
}

static void add_server_said(struct buf *out, const struct dsn_recipient *r, bool utf8)
{
    const struct verdict *v = r->verdict;
    DEFER(buf_done) struct buf host = BUF_MAX(DSN_HOST_MAX + 4), text = BUF_MAX(DSN_TEXT_MAX);
    if (!dsn_has_answer(v))
        return;
    struct fold f = fold_begin(out, "    ", "    ");
    if (v->code)
        fold_str(&f, "The receiving server");
    else
        fold_str(&f, r->remote_mta.n > 0 ? "Reason, at" : "Reason:");
    ascii_token(&host, r->remote_mta, DSN_HOST_MAX);
    if (host.n > 0 && !v->code)
        buf_add_u8(&host, ':');
    fold_word(&f, buf_slice(&host));
    if (v->code)
        fold_str(&f, "answered:");
    fold_end(&f);
    f = fold_begin(out, "        ", "        ");
    dsn_add_answer(&text, v, utf8);
    fold_text(&f, buf_slice(&text));
    fold_end(&f);
}

static void add_recipient_words(struct buf *out, struct about *a)
{
    const struct dsn_recipient *r = a->r;
    buf_add_str(out, "<");
    dsn_add_address(out, r->address, a->utf8);
    buf_add_str(out, ">\r\n");
    add_happened(out, a, "    ");
    add_server_said(out, r, a->utf8);
    add_advice(out, a, "    ");
    if (r->action == DSN_DELAYED && r->will_retry_until.us) {
        buf_add_str(out, "    Tries go on until ");
        add_date(out, r->will_retry_until);
        buf_add_str(out, ".\r\n");
    }
}

static void add_recipients(struct buf *out, const struct about *report, const char *indent)
{
    const struct dsn_input *in = report->in;
    const struct slice own = dsn_template_get(in->words, DSN_S_RECIPIENT);
    for (size_t i = 0; i < in->n_rcpts; i++) {
        struct about a = *report;
        a.r = &in->rcpts[i];
        const struct dsn_values values = values_of(&a);
        if (i > 0)
            buf_add_str(out, "\r\n");
        if (own.n)
            dsn_template_lines(out, own, indent, &values);
        else
            add_recipient_words(out, &a);
    }
}

static void block_of(void *ctx, enum dsn_variable v, const char *indent, struct buf *out)
{
    struct about *a = ctx;
    if (v == DSN_V_RECIPIENTS)
        add_recipients(out, a, indent);
    else if (v == DSN_V_HAPPENED)
        add_happened(out, a, indent);
    else if (v == DSN_V_ADVICE)
        add_advice(out, a, indent);
}

/* --- the report
 * ----------------------------------------------------------------------------------------------
 */

static enum dsn_section section_of(const struct about *a)
{
    return a->in->double_bounce ? DSN_S_DOUBLE
           : a->kinds.failed    ? DSN_S_FAILURE
           : a->kinds.delayed   ? DSN_S_DELAY
                                : DSN_S_RELAYED;
}

static void add_own_words(struct buf *out, const struct about *a)
{
    DEFER(buf_done) struct buf word = BUF_MAX(DSN_HOST_MAX);
    const struct kinds *k = &a->kinds;
    ascii_token(&word, a->in->reporting_mta, DSN_HOST_MAX);
    struct fold f = fold_begin(out, "", "");
    fold_str(&f, "This is the mail system of");
    fold_word(&f, buf_slice(&word));
    fold_end(&f);
    buf_add_str(out, "\r\n");
    text_line(out, "",
              a->in->double_bounce ? dsn_words_double_intro()
                                   : dsn_words_intro(k->failed, k->delayed, k->relayed));
    buf_add_str(out, "\r\n");
    add_recipients(out, a, "");
    buf_add_str(out, "\r\n");
    if (a->in->n_more > 0)
        buf_addf(out, "... and %zu more recipient%s, for whom this report has no room.\r\n\r\n",
                 a->in->n_more, plural((int64_t)a->in->n_more));
    f = fold_begin(out, "", "");
    fold_str(&f, "If you ask for help, please quote the queue id");
    buf_reset(&word);
    ascii_token(&word, a->in->queue_id, DSN_ID_MAX);
    buf_add_u8(&word, '.');
    fold_word(&f, buf_slice(&word));
    fold_end(&f);
}

/* Ours is ASCII or, in an international report, 8bit; with a template's words it may be in UTF-8 on
 * any way, hence quoted-printable. */
void dsn_write_text_part(struct buf *out, const struct dsn_input *in, bool global)
{
    DEFER(buf_done) struct buf text = BUF_MAX(out->max);
    struct about a = {.in = in, .kinds = count_kinds(in), .utf8 = global || in->words};
    const struct slice own = dsn_template_get(in->words, section_of(&a));
    const struct dsn_values values = values_of(&a);
    if (own.n)
        dsn_template_lines(&text, own, "", &values);
    else
        add_own_words(&text, &a);
    const bool quoted = in->words && !address_is_ascii(buf_slice(&text));
    buf_add_str(out, "Content-Description: Notification\r\n");
    buf_addf(out, "Content-Type: text/plain; charset=%s\r\n",
             global || quoted ? "utf-8" : "us-ascii");
    if (quoted)
        buf_add_str(out, "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    else
        dsn_add_eight_bit(out, global);
    if (!quoted)
        buf_add_str(out, "\r\n");
    if (quoted)
        encoded_quoted_printable(out, buf_slice(&text));
    else
        buf_add(out, buf_slice(&text));
    out->overflow = out->overflow || text.overflow;
}

/* What it tells of several: the gravest. */
static const char *gravest(const struct dsn_input *in, const struct kinds *k)
{
    bool handed_on = in->n_more > 0;
    for (size_t i = 0; i < in->n_rcpts; i++)
        handed_on = handed_on || in->rcpts[i].action == DSN_RELAYED;
    return k->failed ? "Undelivered" : k->delayed ? "Delayed" : handed_on ? "Relayed" : "Delivered";
}

/* One recipient is named; an address that could pass for an encoded word is not. */
static void add_own_subject(struct buf *out, const struct about *a, bool utf8)
{
    const struct dsn_input *in = a->in;
    const struct kinds *k = &a->kinds;
    struct slice only = in->n_rcpts == 1 ? in->rcpts[0].address : SLICE_NONE;
    if (in->double_bounce)
        buf_add_str(out, "Undelivered report");
    else
        buf_addf(out, "%s mail", gravest(in, k));
    if (only.n > 0 && slice_find_slice(only, SLICE_LIT("=?")) == only.n) {
        buf_add_str(out, " to ");
        dsn_add_address(out, only, utf8);
    } else if (k->failed > 1) {
        buf_addf(out, " to %zu recipients", k->failed);
    }
}

static void add_subject_words(struct buf *out, struct slice text)
{
    const bool plain = utf8_plain(text) && slice_find_slice(text, SLICE_LIT("=?")) == text.n;
    if (!plain) {
        buf_add_str(out, "Subject: ");
        encoded_words(out, text);
        buf_add_str(out, "\r\n");
        return;
    }
    struct fold f = fold_begin(out, "Subject:", " ");
    fold_text(&f, text);
    fold_end(&f);
}

void dsn_write_subject(struct buf *out, const struct dsn_input *in, bool utf8)
{
    DEFER(buf_done) struct buf text = BUF_MAX(SUBJECT_MAX);
    struct about a = {.in = in, .kinds = count_kinds(in), .utf8 = true};
    const struct slice own = dsn_template_subject(in->words, section_of(&a));
    const struct dsn_values values = values_of(&a);
    if (own.n) {
        dsn_template_line(&text, own, &values);
        add_subject_words(out, slice_trim(buf_slice(&text)));
        return;
    }
    buf_add_str(out, "Subject: ");
    add_own_subject(out, &a, utf8);
    buf_add_str(out, "\r\n");
}

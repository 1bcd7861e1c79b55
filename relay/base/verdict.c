#include "relay/base/verdict.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include <stdio.h>

struct fault_row {
    const char *name, *enhanced, *sentence;
    enum verdict_kind kind;
    enum verdict_scope scope;
    enum verdict_class class;
};

static const struct fault_row faults[FAULT_COUNT] = {
#define X(name, text, kind, scope, class, enhanced, sentence)                                      \
    [FAULT_##name] = {text, enhanced, sentence, VERDICT_##kind, SCOPE_##scope, CLASS_##class},
#include "relay/base/fault.def"
#undef X
};

static const char *const class_names[] = {
    [CLASS_BAD_MAILBOX] = "bad_mailbox",
    [CLASS_BAD_DOMAIN] = "bad_domain",
    [CLASS_FULL] = "full",
    [CLASS_POLICY] = "policy",
    [CLASS_SPAM] = "spam",
    [CLASS_BLOCK] = "block",
    [CLASS_RATE] = "rate",
    [CLASS_AUTH] = "auth",
    [CLASS_CONTENT] = "content",
    [CLASS_SIZE] = "size",
    [CLASS_NETWORK] = "network",
    [CLASS_TLS] = "tls",
    [CLASS_EXPIRED] = "expired",
    [CLASS_ADMIN] = "admin",
    [CLASS_OTHER] = "other",
};

static const char *const phase_names[] = {
    [PHASE_CONNECT] = "connect",   [PHASE_BANNER] = "banner", [PHASE_EHLO] = "ehlo",
    [PHASE_STARTTLS] = "starttls", [PHASE_AUTH] = "auth",     [PHASE_MAIL] = "mail",
    [PHASE_RCPT] = "rcpt",         [PHASE_DATA] = "data",     [PHASE_EOD] = "eod",
};

const char *fault_name(enum fault f)
{
    MUST((unsigned)f < FAULT_COUNT);
    return faults[f].name;
}

const char *class_name(enum verdict_class c)
{
    MUST((unsigned)c < sizeof class_names / sizeof *class_names);
    return class_names[c];
}

const char *phase_name(enum phase p)
{
    MUST((unsigned)p < sizeof phase_names / sizeof *phase_names);
    return phase_names[p];
}

struct verdict verdict_of_fault(enum fault f, enum phase phase, struct slice detail)
{
    MUST(f > FAULT_NONE && f < FAULT_COUNT);
    const struct fault_row *row = &faults[f];
    struct verdict v = {
        .kind = row->kind, .scope = row->scope, .class = row->class, .phase = phase, .fault = f};
    MUST(enhanced_parse(slice_str(row->enhanced), &v.enhanced) > 0);
    /* Twice the maximum at most is looked at; what is behind it would be cut anyway. */
    DEFER(buf_done) struct buf text = BUF_MAX((size_t)2 * VERDICT_TEXT_MAX);
    buf_add_str(&text, row->sentence);
    if (detail.n) {
        buf_add_str(&text, ": ");
        buf_add(&text, slice_head(detail, text.max - text.n));
    }
    verdict_set_text(&v, buf_slice(&text));
    return v;
}

void verdict_set_text(struct verdict *v, struct slice text)
{
    DEFER(buf_done) struct buf clean = BUF_MAX(VERDICT_TEXT_MAX);
    v->text_truncated = !utf8_clean(&clean, text, VERDICT_TEXT_MAX);
    char *copy = clean.n ? slice_dup(buf_slice(&clean)) : NULL;
    /* Last, because `text` may be a part of the old one. */
    free(v->text);
    v->text = copy;
}

bool verdict_in_doubt(const struct verdict *v)
{
    bool unanswered = v->fault == FAULT_CONN_LOST_EOD || v->fault == FAULT_SMTP_TIMEOUT_EOD ||
                      (v->fault == FAULT_SMTP_PROTOCOL && v->phase == PHASE_EOD);
    return v->kind == VERDICT_DEFERRED && unanswered;
}

struct verdict verdict_copy(const struct verdict *v)
{
    struct verdict copy = *v;
    if (v->text)
        copy.text = slice_dup(slice_str(v->text));
    return copy;
}

void verdict_done(struct verdict *v)
{
    free(v->text);
    *v = (struct verdict){0};
}

/* 1 to 3 digits without leading zeros; returns their number, 0 when it is none. */
static size_t parse_part(struct slice s, uint16_t *ret)
{
    size_t n = 0;
    uint16_t value = 0;
    while (n < s.n && n < 3 && s.p[n] >= '0' && s.p[n] <= '9')
        value = (uint16_t)(value * 10 + (s.p[n++] - '0'));
    if (n == 0 || (n > 1 && s.p[0] == '0'))
        return 0;
    *ret = value;
    return n;
}

static bool continues_word(uint8_t c)
{
    uint8_t low = byte_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '.';
}

/*
 * RFC 3463, section 2:  status-code = class "." subject "." detail
 *                       class = "2" / "4" / "5"; subject, detail = 1*3digit, no leading zeros
 * A word that goes on behind it ("5.1.1.7", an address) is no status code.
 */
size_t enhanced_parse(struct slice s, struct enhanced *ret)
{
    struct enhanced e = {0};
    if (s.n < 5 || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
        return 0;
    e.class = (uint8_t)(s.p[0] - '0');
    size_t at = 2, n = parse_part(slice_skip(s, at), &e.subject);
    at += n;
    if (n == 0 || at >= s.n || s.p[at] != '.')
        return 0;
    at++;
    n = parse_part(slice_skip(s, at), &e.detail);
    at += n;
    if (n == 0 || (at < s.n && continues_word(s.p[at])))
        return 0;
    *ret = e;
    return at;
}

void enhanced_write(struct enhanced e, char ret_text[ENHANCED_SIZE])
{
    ret_text[0] = 0;
    if (enhanced_is(e))
        snprintf(ret_text, ENHANCED_SIZE, "%u.%u.%u", e.class % 10U, e.subject % 1000U,
                 e.detail % 1000U);
}

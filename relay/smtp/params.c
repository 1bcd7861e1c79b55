/*
 * params  = *( 1*SP param )            param = keyword ["=" value]
 * keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")          value = 1*(any but "=", SP, control)
 *
 * The values, by extension: SIZE RFC 1870, BODY RFC 6152 and 3030, AUTH RFC 4954 section 5,
 * SMTPUTF8 RFC 6531 section 3.4, RET ENVID NOTIFY ORCPT RFC 3461 section 4, REQUIRETLS RFC 8689
 * section 2, HOLDFOR HOLDUNTIL RFC 4865, BY RFC 2852 section 4, MT-PRIORITY RFC 6710.
 */
#include "relay/smtp/params.h"
#include "relay/base/defer.h"
#include "relay/smtp/orcpt.h"
#include "relay/smtp/xtext.h"

enum {
    KEYWORD_MAX = 32,
    AUTH_MAX = 500,
    ENVID_MAX = 100,
    ENVID_TEXT_MAX = 3 * ENVID_MAX,
    SECONDS_DIGITS = 9
};

/* ---- values ---- */

static bool is(struct slice value, const char *word)
{
    return slice_ieq(value, slice_str(word));
}

static bool size_value(struct slice v, struct param_target *t)
{
    return v.n <= 20 && slice_u64(v, UINT64_MAX, &t->mail->size);
}

static bool body_value(struct slice v, struct param_target *t)
{
    enum mail_body *body = &t->mail->params.body;
    if (is(v, "BINARYMIME") && t->offered & SMTP_BINARYMIME)
        *body = MAIL_BODY_BINARYMIME;
    else if (is(v, "8BITMIME"))
        *body = MAIL_BODY_8BITMIME;
    else if (!is(v, "7BIT"))
        return false;
    return true;
}

/* Not trusted and not carried, so it stays as it came. */
static bool auth_value(struct slice v, struct param_target *t)
{
    DEFER(buf_done) struct buf plain = BUF_MAX(AUTH_MAX);
    t->mail->auth = v;
    return v.n > 0 && v.n <= AUTH_MAX && xtext_decode(&plain, v);
}

static bool ret_value(struct slice v, struct param_target *t)
{
    const bool full = is(v, "FULL");
    t->mail->params.ret = full ? MAIL_RET_FULL : MAIL_RET_HDRS;
    return full || is(v, "HDRS");
}

static bool envid_value(struct slice v, struct param_target *t)
{
    if (v.n == 0 || v.n > ENVID_TEXT_MAX || !xtext_decode(t->text, v))
        return false;
    t->mail->envid = buf_slice(t->text);
    return t->mail->envid.n <= ENVID_MAX;
}

static bool smtputf8_value(struct slice v, struct param_target *t)
{
    (void)v;
    t->mail->params.smtputf8 = true;
    return true;
}

static bool requiretls_value(struct slice v, struct param_target *t)
{
    (void)v;
    t->mail->params.requiretls = true;
    return true;
}

static bool seconds(struct slice v, int64_t *ret)
{
    uint64_t n;
    if (v.n > SECONDS_DIGITS || !slice_u64(v, UINT64_MAX, &n))
        return false;
    *ret = (int64_t)n;
    return true;
}

static bool holdfor_value(struct slice v, struct param_target *t)
{
    return seconds(v, &t->mail->hold_s) && t->mail->hold_s > 0;
}

static bool holduntil_value(struct slice v, struct param_target *t)
{
    return wall_parse_rfc3339(v, &t->mail->hold_until);
}

/* ["-" / "+"] 1*9DIGIT ";" ("R" / "N") ["T"]. A message cannot be returned if it is not delivered
 * in the past (section 4.1.4). */
static bool by_value(struct slice v, struct param_target *t)
{
    struct mail_params *p = &t->mail->params;
    struct slice mode = v, time = slice_cut(&mode, ';');
    const bool negative = time.n && time.p[0] == '-';
    if (time.n && (negative || time.p[0] == '+'))
        time = slice_skip(time, 1);
    if (mode.n < 1 || mode.n > 2 || !seconds(time, &t->mail->by_s))
        return false;
    const uint8_t letter = byte_lower(mode.p[0]);
    p->by = letter == 'r' ? MAIL_BY_RETURN : MAIL_BY_NOTIFY;
    p->by_trace = mode.n == 2;
    if (negative)
        t->mail->by_s = -t->mail->by_s;
    return (letter == 'r' || letter == 'n') && (mode.n == 1 || byte_lower(mode.p[1]) == 't') &&
           (letter == 'n' || t->mail->by_s > 0);
}

static bool priority_value(struct slice v, struct param_target *t)
{
    const bool negative = v.n == 2 && v.p[0] == '-';
    uint64_t n;
    if (v.n != (negative ? 2U : 1U) || !slice_u64(slice_skip(v, negative), MAIL_PRIORITY_MAX, &n) ||
        (negative && n == 0))
        return false;
    t->mail->params.priority = (int8_t)(negative ? -(int)n : (int)n);
    return true;
}

static bool notify_value(struct slice v, struct param_target *t)
{
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {{"NEVER", MAIL_NOTIFY_NEVER},
                 {"SUCCESS", MAIL_NOTIFY_SUCCESS},
                 {"FAILURE", MAIL_NOTIFY_FAILURE},
                 {"DELAY", MAIL_NOTIFY_DELAY}};
    unsigned set = 0;
    for (bool more = true; more;) {
        more = slice_find(v, ',') < v.n;
        struct slice word = slice_cut(&v, ',');
        size_t i = 0;
        while (i < 4 && !is(word, words[i].word))
            i++;
        if (i == 4 || set & words[i].bit)
            return false;
        set |= words[i].bit;
    }
    t->rcpt->notify = set;
    return !(set & MAIL_NOTIFY_NEVER) || set == MAIL_NOTIFY_NEVER;
}

static bool orcpt_value(struct slice v, struct param_target *t)
{
    if (!orcpt_decode(t->text, v, t->smtputf8))
        return false;
    t->rcpt->orcpt = buf_slice(t->text);
    return true;
}

/* ---- the tables ---- */

/* A row has a value exactly when there is a "=" in its usage. */
struct row {
    const char *keyword, *usage;
    enum smtp_extension needs;
    bool (*value)(struct slice, struct param_target *);
    const char *excludes;
};

static const struct row mail_rows[] = {
    {"SIZE", "SIZE=octets", SMTP_SIZE, size_value, NULL},
    {"BODY", "BODY=7BIT|8BITMIME|BINARYMIME", SMTP_EIGHTBITMIME, body_value, NULL},
    {"SMTPUTF8", "SMTPUTF8", SMTP_SMTPUTF8, smtputf8_value, NULL},
    {"AUTH", "AUTH=mailbox in xtext, or <>", SMTP_AUTH, auth_value, NULL},
    {"RET", "RET=FULL|HDRS", SMTP_DSN, ret_value, NULL},
    {"ENVID", "ENVID=up to 100 characters in xtext", SMTP_DSN, envid_value, NULL},
    {"REQUIRETLS", "REQUIRETLS", SMTP_REQUIRETLS, requiretls_value, NULL},
    {"HOLDFOR", "HOLDFOR=seconds", SMTP_FUTURERELEASE, holdfor_value, "HOLDUNTIL"},
    {"HOLDUNTIL", "HOLDUNTIL=2030-12-31T23:59:59Z", SMTP_FUTURERELEASE, holduntil_value, "HOLDFOR"},
    {"BY", "BY=seconds;R|N[T]", SMTP_DELIVERBY, by_value, NULL},
    {"MT-PRIORITY", "MT-PRIORITY=-9 to 9", SMTP_MT_PRIORITY, priority_value, NULL},
};

static const struct row rcpt_rows[] = {
    {"NOTIFY", "NOTIFY=NEVER or a list of SUCCESS,FAILURE,DELAY", SMTP_DSN, notify_value, NULL},
    {"ORCPT", "ORCPT=rfc822;address in xtext, or utf-8;address", SMTP_DSN, orcpt_value, NULL},
};

enum {
    MAIL_ROWS = sizeof mail_rows / sizeof *mail_rows,
    RCPT_ROWS = sizeof rcpt_rows / sizeof *rcpt_rows
};

static const struct row *rows_of(bool mail, size_t *ret_n)
{
    *ret_n = mail ? MAIL_ROWS : RCPT_ROWS;
    return mail ? mail_rows : rcpt_rows;
}

struct slice params_usage(bool mail, size_t i, enum smtp_extension *ret_needs)
{
    size_t n;
    const struct row *rows = rows_of(mail, &n);
    if (i >= n)
        return SLICE_NONE;
    *ret_needs = rows[i].needs;
    return slice_str(rows[i].usage);
}

/* ---- reading ---- */

static bool is_alnum(uint8_t c)
{
    c = byte_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_keyword(struct slice s)
{
    if (s.n == 0 || s.n > KEYWORD_MAX || !is_alnum(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

/* The number of rows when there is none. */
static size_t find(const struct row *rows, size_t n, struct slice keyword)
{
    size_t i = 0;
    while (i < n && !is(keyword, rows[i].keyword))
        i++;
    return i;
}

static enum param_fault read_one(struct slice keyword, struct slice value, bool has_value,
                                 struct param_target *t, struct slice *ret_culprit)
{
    size_t n;
    const struct row *rows = rows_of(t->mail != NULL, &n);
    const size_t i = find(rows, n, keyword);
    *ret_culprit = keyword;
    if (i == n || !(t->offered & rows[i].needs))
        return PARAM_UNKNOWN;
    const unsigned bit = 1U << i;
    if (t->seen & bit)
        return PARAM_TWICE;
    if (rows[i].excludes && t->seen & 1U << find(rows, n, slice_str(rows[i].excludes)))
        return PARAM_CONFLICT;
    t->seen |= bit;
    const bool wants_value = strchr(rows[i].usage, '=');
    if (has_value == wants_value && rows[i].value(value, t))
        return PARAM_FINE;
    *ret_culprit = slice_str(rows[i].usage);
    return PARAM_VALUE;
}

static struct slice next_word(struct slice *rest)
{
    while (rest->n && rest->p[0] == ' ')
        *rest = slice_skip(*rest, 1);
    struct slice word = slice_head(*rest, slice_find(*rest, ' '));
    *rest = slice_skip(*rest, word.n);
    return word;
}

enum param_fault params_read(struct slice args, struct param_target *t, struct slice *ret_culprit)
{
    *ret_culprit = SLICE_NONE;
    for (struct slice word; (word = next_word(&args)).n > 0;) {
        struct slice keyword = slice_head(word, slice_find(word, '='));
        if (!is_keyword(keyword))
            return PARAM_VALUE;
        const bool has_value = keyword.n < word.n;
        enum param_fault fault =
            read_one(keyword, slice_skip(word, keyword.n + 1), has_value, t, ret_culprit);
        if (fault != PARAM_FINE)
            return fault;
    }
    *ret_culprit = SLICE_NONE;
    return PARAM_FINE;
}

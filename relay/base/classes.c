#include "relay/base/classes.h"
#include "relay/base/must.h"
#include <stdio.h>
#include <stdlib.h>

static struct slice next_word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    struct slice word = slice_head(*rest, n);
    *rest = slice_trim(slice_skip(*rest, n));
    return word;
}

static bool is_any(struct slice s)
{
    return slice_ieq(s, SLICE_LIT("any"));
}

static bool read_phase(struct slice s, enum phase *ret)
{
    for (enum phase p = PHASE_BANNER; p <= PHASE_EOD; p++)
        if (slice_ieq(s, slice_str(phase_name(p)))) {
            *ret = p;
            return true;
        }
    *ret = PHASE_NONE;
    return is_any(s);
}

static bool read_code(struct slice s, uint16_t *ret)
{
    uint64_t n = 0;
    const bool group = s.n == 3 && slice_ieq(slice_skip(s, 1), SLICE_LIT("xx"));
    *ret = 0;
    if (is_any(s))
        return true;
    if (s.n != 3 || !slice_u64(slice_head(s, group ? 1 : 3), 599, &n))
        return false;
    *ret = (uint16_t)n;
    return group ? n == 4 || n == 5 : n >= 400;
}

/* "any", "*.7.*", "*.7.1"; the class is the code's. */
static bool read_status(struct slice s, struct class_row *row)
{
    uint64_t n;
    if (is_any(s))
        return true;
    if (!slice_eq(slice_cut(&s, '.'), SLICE_LIT("*")) || !slice_u64(slice_cut(&s, '.'), 999, &n))
        return false;
    row->has_subject = true;
    row->subject = (uint16_t)n;
    if (slice_eq(s, SLICE_LIT("*")))
        return true;
    if (!slice_u64(s, 999, &n))
        return false;
    row->has_detail = true;
    row->detail = (uint16_t)n;
    return true;
}

static bool read_result(struct slice s, struct class_row *row)
{
    const struct slice class = slice_cut(&s, ':');
    row->kind = slice_eq(s, SLICE_LIT("temporary"))   ? VERDICT_DEFERRED
                : slice_eq(s, SLICE_LIT("permanent")) ? VERDICT_FAILED
                                                      : VERDICT_NONE;
    if (s.n && row->kind == VERDICT_NONE)
        return false;
    for (enum verdict_class c = CLASS_BAD_MAILBOX; c <= CLASS_OTHER; c++)
        if (slice_eq(class, slice_str(class_name(c)))) {
            row->class = c;
            return true;
        }
    return false;
}

/* NULL, or what is wrong. */
static const char *read_row(struct slice line, struct class_row *ret)
{
    if (!read_phase(next_word(&line), &ret->phase))
        return "the first word is any, banner, ehlo, starttls, auth, mail, rcpt, data or eod";
    if (!read_code(next_word(&line), &ret->code))
        return "the second word is any, 4xx, 5xx or a code such as 550";
    if (!read_status(next_word(&line), ret))
        return "the third word is any, or an enhanced code as *.7.* or *.7.1";
    if (!read_result(next_word(&line), ret))
        return "the fourth word is a class of the delivery log (bad_mailbox, bad_domain, full, "
               "policy, spam, block, rate, auth, content, size, network, tls, expired, admin, "
               "other), perhaps with :temporary or :permanent behind it";
    if (line.n > CLASSES_WORDS_MAX)
        return "the pattern has more than 200 octets";
    memcpy(ret->words, line.p, line.n);
    ret->words[line.n] = 0;
    return NULL;
}

static bool is_row(struct slice line)
{
    return line.n && line.p[0] != '#';
}

static size_t count_rows(struct slice text)
{
    size_t n = 0;
    while (text.n)
        n += is_row(slice_trim(slice_cut(&text, '\n')));
    return n;
}

struct classes *classes_parse(struct slice text,
                              void (*say)(void *ctx, unsigned line, const char *problem), void *ctx)
{
    const size_t n = count_rows(text);
    unsigned number = 0, problems = 0;
    if (n > CLASSES_ROWS_MAX) {
        say(ctx, 0, "there are more than 1000 rows");
        return NULL;
    }
    struct classes *c = must_alloc(sizeof *c + n * sizeof c->rows[0]);
    while (text.n) {
        const struct slice line = slice_trim(slice_cut(&text, '\n'));
        number++;
        if (!is_row(line))
            continue;
        struct class_row *row = &c->rows[c->n++];
        row->line = number;
        const char *problem = slice_find(line, 0) < line.n ? "a NUL" : read_row(line, row);
        if (problem)
            say(ctx, number, problem), problems++;
    }
    if (problems) {
        free(c);
        return NULL;
    }
    return c;
}

static bool row_matches(const struct class_row *r, enum phase phase, uint16_t code,
                        struct enhanced e, struct slice words)
{
    return (r->phase == PHASE_NONE || r->phase == phase) &&
           (r->code == 0 || r->code == code || r->code == code / 100) &&
           (!r->has_subject || r->subject == e.subject) &&
           (!r->has_detail || r->detail == e.detail) &&
           (!r->words[0] || slice_glob(slice_str(r->words), words));
}

const struct class_row *classes_find(const struct classes *c, enum phase phase, uint16_t code,
                                     struct enhanced e, struct slice words)
{
    for (size_t i = 0; c && i < c->n; i++)
        if (row_matches(&c->rows[i], phase, code, e, words))
            return &c->rows[i];
    return NULL;
}

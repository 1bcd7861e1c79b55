/* The most common replies of a queue, from how many recipients share each. */
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

enum { TEXT_MAX = 200 };

struct error_tally {
    size_t n, least; /* least: the row with the smallest number, when all are taken */
    struct tally_row {
        uint64_t n, hash;
        size_t text_n;
        uint8_t text[TEXT_MAX];
    } rows[ERROR_TALLY_ROWS];
};

void error_tally_free(struct error_tally *t)
{
    free(t);
}

static struct slice text_of(const struct tally_row *r)
{
    return slice_of(r->text, r->text_n);
}

/* The row for a reply: its own, a free one, or that of the least. */
static struct tally_row *row_for(struct error_tally *t, uint64_t hash)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].hash == hash)
            return &t->rows[i];
    return t->n < ERROR_TALLY_ROWS ? &t->rows[t->n++] : &t->rows[t->least];
}

static void find_least(struct error_tally *t)
{
    t->least = 0;
    for (size_t i = 1; i < t->n; i++)
        if (t->rows[i].n < t->rows[t->least].n)
            t->least = i;
}

void error_tally_add(struct error_tally **pt, const struct spool_reply *reply)
{
    struct error_tally *t = *pt ? *pt : must_alloc(sizeof *t);
    *pt = t;
    if (t->n == ERROR_TALLY_ROWS && reply->recipients <= t->rows[t->least].n)
        return;
    struct slice text = slice_head(reply->text, TEXT_MAX);
    struct tally_row *r = row_for(t, reply->hash);
    *r = (struct tally_row){.n = reply->recipients, .hash = reply->hash, .text_n = text.n};
    memcpy(r->text, text.p, text.n);
    find_least(t);
}

/* The same words with different codes, or from different hosts, are one. */
static void join_equal(struct error_tally *t)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = t->n; k-- > i + 1;)
            if (slice_eq(text_of(&t->rows[i]), text_of(&t->rows[k]))) {
                t->rows[i].n += t->rows[k].n;
                t->rows[k] = t->rows[--t->n];
            }
}

static int most_first(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : slice_cmp(text_of(x), text_of(y));
}

void error_tally_top(struct error_tally *t, struct queue_totals *ret)
{
    const size_t room = sizeof ret->errors / sizeof *ret->errors;
    if (!t)
        return;
    join_equal(t);
    qsort(t->rows, t->n, sizeof *t->rows, most_first);
    for (size_t i = 0; i < room && i < t->n; i++) {
        buf_done(&ret->errors[i].text);
        ret->errors[i].text = buf_of(text_of(&t->rows[i]));
        ret->errors[i].n = t->rows[i].n;
    }
}

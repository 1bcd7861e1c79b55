/* The most common last replies of a queue, counted while a listing walks it. */
#include "relay/base/must.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

enum { TEXTS_MAX = 200, TEXT_MAX = 200 };

struct error_tally {
    size_t n;
    struct {
        uint64_t n, hash;
        struct buf text;
    } rows[TEXTS_MAX];
};

void error_tally_free(struct error_tally *t)
{
    for (size_t i = 0; t && i < t->n; i++)
        buf_done(&t->rows[i].text);
    free(t);
}

/* Replies that differ only behind their 200th byte count as one; texts beyond the first 200 are not
 * counted. */
void error_tally_add(struct error_tally **pt, struct slice text)
{
    struct error_tally *t = *pt ? *pt : must_alloc(sizeof *t);
    *pt = t;
    text = slice_head(text, TEXT_MAX);
    uint64_t hash = slice_hash(text);
    size_t i = 0;
    while (i < t->n && t->rows[i].hash != hash)
        i++;
    if (i == TEXTS_MAX)
        return;
    if (i == t->n) {
        t->rows[i].hash = hash;
        t->rows[i].text = buf_of(text);
        t->n++;
    }
    t->rows[i].n++;
}

void error_tally_top(const struct error_tally *t, struct queue_totals *ret)
{
    size_t room = sizeof ret->errors / sizeof *ret->errors, found = 0;
    bool taken[TEXTS_MAX] = {false};
    for (; t && found < room; found++) {
        size_t best = TEXTS_MAX;
        for (size_t i = 0; i < t->n; i++)
            if (!taken[i] && (best == TEXTS_MAX || t->rows[i].n > t->rows[best].n))
                best = i;
        if (best == TEXTS_MAX)
            return;
        taken[best] = true;
        buf_done(&ret->errors[found].text);
        ret->errors[found].text = buf_of(buf_slice(&t->rows[best].text));
        ret->errors[found].n = t->rows[best].n;
    }
}

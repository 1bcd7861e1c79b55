#include "relay/admin/rates.h"

/* Less than this says nothing about a rate. */
enum { LEAST_MS = 1000 };

void rates_note(struct rates *r, struct mono now, const int64_t counts[RATES])
{
    struct rates_note *to = &r->notes[r->next];
    to->at = now;
    for (size_t i = 0; i < RATES; i++)
        to->counts[i] = counts[i];
    r->next = (r->next + 1) % RATES_NOTES;
    if (r->n < RATES_NOTES)
        r->n++;
}

/* The i-th oldest. */
static const struct rates_note *note_at(const struct rates *r, size_t i)
{
    return &r->notes[(r->next + RATES_NOTES - r->n + i) % RATES_NOTES];
}

double rates_of(const struct rates *r, enum rate which, int64_t count, struct mono now,
                int64_t minutes)
{
    const struct rates_note *from = NULL;
    /* A note may come a little late: half a step belongs to the span. */
    const int64_t since_ms = now.ms - minutes * 60000 - RATES_STEP_MS / 2;
    for (size_t i = 0; i < r->n && !from; i++)
        if (note_at(r, i)->at.ms >= since_ms)
            from = note_at(r, i);
    if (!from || now.ms - from->at.ms < LEAST_MS || count < from->counts[which])
        return 0;
    return (double)(count - from->counts[which]) * 1000 / (double)(now.ms - from->at.ms);
}

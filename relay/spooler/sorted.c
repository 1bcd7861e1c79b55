/*
 * A listing in another order than that of ids: all that matches is looked at in steps, the first
 * ones are kept in a heap whose top is the last of them, then they are given page by page.
 */
#include "relay/base/must.h"
#include "relay/spooler/core_int.h"
#include <stdlib.h>

enum { SORTED_PAGE = 300 }; /* rows; they lie all over the memory */

struct pick {
    int64_t key; /* the smallest first */
    uint64_t id;
    uint32_t rcpt;
    uint32_t heap_index;
};

struct sorted {
    struct heap heap; /* by -key */
    bool ready;       /* all was looked at: picks are in order */
    size_t n, max, given;
    struct pick picks[];
};

void sorted_free(struct sorted *s)
{
    if (s)
        heap_done(&s->heap);
    free(s);
}

bool sorted_ready(const struct spooler_admin *a)
{
    return a->sorted && a->sorted->ready;
}

/* What is held or with a connection has no next attempt and stands last. */
static int64_t key_of(enum queue_sort sort, const struct recipient *r)
{
    const struct message *m = recipient_message(r);
    switch (sort) {
    case SORT_DUE:
        return r->state == RCPT_QUEUED && !r->active ? r->due.us : INT64_MAX;
    case SORT_AGE:
        return m->queued.us;
    case SORT_SIZE:
        return -(int64_t)m->size;
    case SORT_NONE:
        break;
    }
    UNREACHABLE();
}

static struct sorted *sorted_of(struct spooler_admin *a)
{
    if (!a->sorted) {
        size_t max = a->rows_max < ADMIN_SORT_MAX ? (size_t)a->rows_max : ADMIN_SORT_MAX;
        a->sorted = must_alloc(sizeof *a->sorted + max * sizeof(struct pick));
        a->sorted->max = max;
    }
    return a->sorted;
}

/* Of equal ones the first in the order of ids stays: what comes later replaces only what is behind
 * it. */
void sorted_offer(struct spooler_admin *a, const struct recipient *r)
{
    struct sorted *s = sorted_of(a);
    int64_t key = key_of(a->sort, r);
    const struct heap_entry *last = heap_top(&s->heap);
    struct pick *p;
    if (s->n < s->max)
        p = &s->picks[s->n++];
    else if (last && key < -last->key)
        p = HEAP_ITEM(last, struct pick, heap_index);
    else
        return;
    p->key = key;
    p->id = recipient_message(r)->id;
    p->rcpt = r->number;
    heap_set(&s->heap, &p->heap_index, -key);
}

static int in_order(const void *a, const void *b)
{
    const struct pick *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->rcpt < y->rcpt ? -1 : x->rcpt > y->rcpt;
}

void sorted_page(struct core *c, struct spooler_admin *a)
{
    struct sorted *s = sorted_of(a);
    if (!s->ready) {
        heap_done(&s->heap);
        qsort(s->picks, s->n, sizeof *s->picks, in_order);
        s->ready = true;
    }
    for (; s->given < s->n; s->given++) {
        const struct pick *p = &s->picks[s->given];
        const struct message *m = spool_find(c->spool, p->id);
        /* It may have gone meanwhile. */
        if (!m || rcpt_state_final((enum rcpt_state)m->rcpts[p->rcpt].state))
            continue;
        if (a->n_rows == SORTED_PAGE || !admin_row(a, &m->rcpts[p->rcpt])) {
            a->next = (struct queue_place){p->id, p->rcpt};
            return;
        }
    }
    a->next = (struct queue_place){0};
}

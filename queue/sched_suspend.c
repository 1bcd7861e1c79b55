/* What an operator has suspended stands still: no job begins there until it is resumed. */
#include "queue/sched_int.h"
#include "relay/base/must.h"
#include <stdlib.h>

bool site_is_suspended(const struct sched *s, const struct sched_site *t)
{
    for (size_t i = 0; i < s->n_suspended; i++) {
        struct slice name = slice_str(s->suspended[i]);
        if (slice_eq(name, site_destination(t)) || slice_eq(name, site_name(t)))
            return true;
    }
    return false;
}

void sched_suspend_done(struct sched *s)
{
    for (size_t i = 0; i < s->n_suspended; i++)
        free(s->suspended[i]);
    free(s->suspended);
    s->suspended = NULL;
    s->n_suspended = 0;
}

void sched_suspend(struct sched *s, const struct slice *names, size_t n)
{
    sched_suspend_done(s);
    s->suspended = must_alloc((n + 1) * sizeof *s->suspended);
    for (size_t i = 0; i < n; i++)
        s->suspended[s->n_suspended++] = slice_dup(names[i]);
    for (struct sched_site *t = s->sites; t; t = t->hh.next) {
        t->suspended = site_is_suspended(s, t);
        site_kick(s, t); /* it finds out by itself whether it may */
    }
}

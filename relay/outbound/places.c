/* How many sockets the way out may have on this loop: its share of half of the process's
 * descriptors. Thousands of dead sites that ring with their whole windows at once would else take
 * all of them, and mail would be put off as a fault of this host (checklist 100). A connection that
 * has no place waits for one; first come, first served. */
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/outbound/conn.h"
#include <sys/resource.h>
#include <utlist.h>

/* Asked each time: an operator may change it while we run (prlimit). */
static int64_t places_of(const struct outbound *o)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    const int64_t share = (int64_t)(limit.rlim_cur / 2 / (o->n_all ? o->n_all : 1));
    return share ? share : 1;
}

/* The gauge is the sum of all loops' shares. */
static void show(struct outbound *o, int64_t places)
{
    metric_add(M_SOCKETS_OUT_MOST, places - o->places_shown);
    o->places_shown = places;
}

void out_places_show(struct outbound *o)
{
    show(o, places_of(o));
}

void out_places_done(struct outbound *o)
{
    show(o, 0);
}

bool out_places_left(struct outbound *o)
{
    out_places_show(o);
    return o->n_sockets < o->places_shown;
}

void out_place_wait(struct out_conn *c)
{
    MUST(!c->in_line);
    metric_add(M_WAITED_OUT, 1);
    metric_add(M_WAITING_OUT, 1);
    c->in_line = true;
    DL_APPEND(c->o->line, c);
}

void out_place_leave(struct out_conn *c)
{
    if (!c->in_line)
        return;
    metric_add(M_WAITING_OUT, -1);
    DL_DELETE(c->o->line, c);
    c->in_line = false;
}

bool out_place_take(struct out_conn *c)
{
    if (c->rehearsal || (!c->o->line && out_places_left(c->o)))
        return true;
    out_place_wait(c);
    return false;
}

void out_place_begin(struct link *l, struct outbound *o)
{
    l->counted = o;
    o->n_sockets++;
    metric_add(M_SOCKETS_OUT, 1);
}

struct outbound *out_place_end(struct link *l)
{
    struct outbound *o = l->counted;
    if (o) {
        MUST(o->n_sockets > 0);
        o->n_sockets--;
        metric_add(M_SOCKETS_OUT, -1);
    }
    l->counted = NULL;
    return o;
}

/* Who waits does so because others have sockets, so each end of one comes here. While descriptors
 * are short, one call finds out whether that has passed: its answer calls up the next one. */
void out_places_call_up(struct outbound *o)
{
    while (o->line && out_places_left(o)) {
        struct out_conn *c = o->line;
        out_place_leave(c);
        out_conn_call(c);
        if (o->scarce && o->n_sockets > 0)
            break;
    }
    o->scarce = o->scarce && o->line;
}

/* Connections: which one, whether it gets more; one job ahead for those whose own is all but over.
 */
#include "queue/sched_int.h"

struct sched_conn *conn_find(const struct sched *s, uint64_t id)
{
    struct sched_conn *c;
    HASH_FIND(hh, s->conns, &id, sizeof id, c);
    return c;
}

bool conn_has_enough(const struct sched_conn *c)
{
    const struct sched_site *t = c->site;
    unsigned most = t->limits.messages_per_connection;
    return (most && c->jobs >= most) || t->n_conns > t->window || c->stale;
}

/* A closing connection stays counted until it is gone: the receiver sees it until then. */
bool site_next_close(struct sched *s, struct sched_action *ret)
{
    struct sched_conn *c = s->closing;
    if (!c)
        return false;
    DL_DELETE(s->closing, c);
    c->prev = NULL;
    *ret = (struct sched_action){.act = SCHED_CLOSE,
                                 .site = site_name(c->site),
                                 .destination = site_destination(c->site),
                                 .conn = c->id,
                                 .loop = c->loop};
    return true;
}

void conn_ahead_leave(struct sched_conn *c)
{
    if (c->offers)
        DL_DELETE2(c->site->ahead, c, site_prev, site_next);
    c->offers = false;
}

void conn_ahead_leave_all(struct sched_site *t)
{
    while (t->ahead)
        conn_ahead_leave(t->ahead);
}

void sched_conn_ahead(struct sched *s, uint64_t conn)
{
    struct sched_conn *c = conn_find(s, conn);
    if (!c || c->state != CONN_BUSY || c->offers || c->has_two || c->site->dead ||
        conn_has_enough(c))
        return;
    c->offers = true;
    DL_APPEND2(c->site->ahead, c, site_prev, site_next);
    site_kick(s, c->site);
}

void sched_conn_back(struct sched *s, uint64_t conn)
{
    struct sched_conn *c = conn_find(s, conn);
    if (c)
        c->has_two = false;
}

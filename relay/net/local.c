/* What the connections of one loop share, and the end of its turn, when all that was sent goes out.
 */
#include "relay/base/must.h"
#include "relay/net/private.h"
#include <stdlib.h>
#include <utlist.h>

static const char part_key;

/* Those that are marked while this runs wait for the next round: two that keep each other busy must
 * not keep the loop. */
static void flush_round(struct net_local *local)
{
    for (unsigned n = local->dirty_count; n && local->dirty; n--) {
        struct net_conn *c = local->dirty;
        net_unmark_dirty(c);
        net_flush(c);
    }
}

static void on_not_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void on_before_poll(uv_prepare_t *handle)
{
    struct net_local *local = handle->data;
    flush_round(local);
    if (local->dirty)
        uv_idle_start(&local->not_idle, on_not_idle);
    else
        uv_idle_stop(&local->not_idle);
}

static void on_after_poll(uv_check_t *handle)
{
    flush_round(handle->data);
}

static struct net_local *local_of(struct loop_part *p)
{
    return (struct net_local *)(void *)p;
}

static void end(struct loop_part *p)
{
    struct net_local *local = local_of(p);
    local->ended = true;
    for (struct net_conn *c = local->conns; c; c = c->next)
        net_conn_finish(c);
    for (struct net_listener *n = local->listeners; n; n = net_listener_next(n))
        net_listener_finish(n);
}

static void free_local(struct loop_part *p)
{
    struct net_local *local = local_of(p);
    MUST(!local->conns && !local->listeners);
    buf_done(&local->plain);
    free(local);
}

struct net_local *net_local_of(struct loop *l)
{
    struct loop_part *found = loop_part_find(l, &part_key);
    if (found)
        return local_of(found);
    struct net_local *local = must_alloc(sizeof *local);
    local->part = (struct loop_part){.key = &part_key, .end = end, .free = free_local};
    local->loop = l;
    buf_init(&local->plain, NET_INPUT_MAX);
    MUST(uv_prepare_init(loop_uv(l), &local->before_poll) == 0 &&
         uv_check_init(loop_uv(l), &local->after_poll) == 0 &&
         uv_idle_init(loop_uv(l), &local->not_idle) == 0);
    local->before_poll.data = local->after_poll.data = local;
    uv_prepare_start(&local->before_poll, on_before_poll);
    uv_check_start(&local->after_poll, on_after_poll);
    loop_part_add(l, &local->part);
    return local;
}

void net_mark_dirty(struct net_conn *c)
{
    if (c->dirty || c->closing == NET_CLOSED)
        return;
    c->dirty = true;
    c->local->dirty_count++;
    DL_APPEND2(c->local->dirty, c, prev_dirty, next_dirty);
}

void net_unmark_dirty(struct net_conn *c)
{
    if (!c->dirty)
        return;
    c->dirty = false;
    c->local->dirty_count--;
    DL_DELETE2(c->local->dirty, c, prev_dirty, next_dirty);
}

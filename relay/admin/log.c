/* log.rotate: the answer comes from the events thread, when the live file has ended. */
#include "relay/admin/private.h"
#include "relay/base/must.h"
#include <stdlib.h>

struct rotated {
    struct msg msg;
    struct peer *peer;
};

void log_rotate_begin(struct peer *p)
{
    struct rotated *r = must_alloc(sizeof *r);
    r->peer = p;
    p->task.asked = true;
    p->admin->outstanding++;
    events_rotate(p->admin->events, &r->msg, &p->admin->from_log);
}

void log_rotated(void *ctx, struct msg *m)
{
    struct admin *a = ctx;
    struct peer *p = ((struct rotated *)(void *)m)->peer;
    free(m);
    p->task.asked = false;
    a->outstanding--;
    if (uv_is_closing((uv_handle_t *)&p->pipe)) {
        peer_free_if_over(p);
    } else {
        json_t *o = json_object();
        rows_put_number(o, "log_seq", events_written_seq(a->events));
        peer_done(p, o);
        peer_flush(p);
    }
    admin_stop_if_over(a);
}

/*
 * A change is answered when it is durable, and a disk that is full or fails does not make it so. It
 * is made all the same (taking it back would be one more change), so nothing is refused: who asked
 * hears once in PROGRESS_MS that he waits, and for what.
 */
#include "relay/admin/private.h"
#include "relay/base/must.h"
#include <utlist.h>

static bool waits(const struct peer *p)
{
    const struct task *t = &p->task;
    return t->active && t->asked && !t->request.dry_run && request_changes(t->request.verb);
}

static bool is_late(const struct peer *p, struct mono now)
{
    return waits(p) && mono_reached(mono_add(p->task.said, PROGRESS_MS), now);
}

/* A step of an ordinary change is over long before the first look. */
void waits_begin(struct admin *a)
{
    if (a->watching)
        return;
    a->watching = true;
    deadline_set(a->loop, &a->look_at, mono_add(loop_now(a->loop), PROGRESS_MS));
}

static void ask_disk(struct admin *a)
{
    struct spooler_admin *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_ADMIN;
    q->reply = &a->from_disk;
    q->verb = ADMIN_DISK;
    a->outstanding++;
    port_send(spooler_port(a->spooler), &q->msg);
}

/* One question serves all who wait. */
void waits_look(void *admin, struct mono now)
{
    struct admin *a = admin;
    const struct peer *p;
    bool late = false, any = false;
    DL_FOREACH (a->peers, p) {
        any = any || waits(p);
        late = late || is_late(p, now);
    }
    a->watching = false;
    if (late) {
        a->watching = true;
        ask_disk(a);
    } else if (any) {
        waits_begin(a);
    }
}

/* NULL: nothing that is known of; it may only be slow. */
static const char *cause(const struct spooler_disk *disk)
{
    return disk->error[0] ? disk->error : disk->full;
}

static void tell(struct peer *p, const char *why)
{
    json_t *o = json_object();
    if (why)
        rows_put(o, "waits_for", json_string(why));
    peer_progress(p, o);
}

void waits_told(void *admin, struct msg *m)
{
    struct admin *a = admin;
    struct spooler_admin *q = (struct spooler_admin *)(void *)m;
    const struct mono now = loop_now(a->loop);
    struct peer *p, *next;
    a->outstanding--;
    DL_FOREACH_SAFE (a->peers, p, next)
        if (is_late(p, now) && task_owes_progress(p))
            tell(p, cause(&q->totals.disk));
    spooler_admin_free(q);
    a->watching = false;
    if (a->stopping)
        admin_stop_if_over(a);
    else
        waits_begin(a);
}

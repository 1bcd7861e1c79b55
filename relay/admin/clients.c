/* client.list, client.ban, client.allow: the front door's table of clients, reached by main's
 * hooks. The table is behind a lock of its own, held for a page at a time. */
#include "relay/admin/private.h"
#include "relay/base/must.h"
#include <errno.h>

enum { PAGE_ROWS = 64 };
#define FOR_DEFAULT_S 3600
#define FOR_MAX_S (INT64_C(366) * 86400)

static json_t *row_of(const struct admin_client *c, struct wall now)
{
    json_t *o = json_object();
    rows_put_text(o, "client", slice_str(c->address));
    rows_put_number(o, "connections", c->connections);
    rows_put_number(o, "per_minute", c->lately);
    rows_put_number(o, "failures", c->failures);
    if (c->banned_s > 0) {
        rows_put(o, "banned_until", rows_time(wall_add_s(now, c->banned_s)));
        rows_put_text(o, "reason", slice_str(c->reason));
    }
    return o;
}

void clients_go_on(struct peer *p)
{
    struct task *t = &p->task;
    const struct admin_hooks *h = &p->admin->hooks;
    struct admin_client rows[PAGE_ROWS];
    const struct wall now = wall_now();
    bool more = true;
    while (more && peer_unsent(p) <= PEER_UNSENT_MAX) {
        size_t n = 0;
        more = h->clients(h->ctx, &t->at, rows, PAGE_ROWS, &n);
        for (size_t i = 0; i < n; i++)
            peer_row(p, row_of(&rows[i], now));
        t->given += n;
    }
    if (more)
        return;
    json_t *done = json_object();
    rows_put_number(done, "matched", t->given);
    peer_done(p, done);
}

static void answer(struct peer *p, int rc, const struct err *e, int64_t for_s)
{
    if (rc < 0) {
        peer_error(p, rc == -ENOENT ? "not-found" : "usage", e->text);
        return;
    }
    json_t *done = json_object();
    if (for_s)
        rows_put(done, "banned_until", rows_time(wall_add_s(wall_now(), for_s)));
    peer_done(p, done);
}

void clients_ban_or_allow(struct peer *p)
{
    const struct admin_hooks *h = &p->admin->hooks;
    struct request *r = &p->task.request;
    const struct slice address = buf_slice(&r->address), actor = slice_str(p->actor);
    const bool ban = r->verb == VERB_CLIENT_BAN;
    const int64_t for_s = !ban ? 0 : r->for_s ? r->for_s : FOR_DEFAULT_S;
    struct err e = {0};
    int rc;
    if (address.n == 0)
        rc = err_set(&e, -EINVAL, "address is missing");
    else if (for_s > FOR_MAX_S)
        rc = err_set(&e, -EINVAL, "for_s: a ban ends within a year");
    else if (ban)
        rc = h->client_ban(h->ctx, address, for_s, buf_slice(&r->reason), actor, &e);
    else
        rc = h->client_allow(h->ctx, address, actor, &e);
    answer(p, rc, &e, for_s);
}

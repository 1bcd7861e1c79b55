/* destination.list, destination.suspend, destination.resume: sites as the scheduler sees them, with
 * what an operator has suspended. The list of these is main's, reached by hooks. */
#include "relay/admin/private.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>

#define FOR_MAX_S (INT64_C(366) * 86400)

/* The entry that names this destination or site. */
static bool find(const struct admin *a, struct slice destination, struct slice site,
                 struct admin_suspension *ret)
{
    for (size_t at = 0; a->hooks.suspended(a->hooks.ctx, &at, ret);) {
        struct slice name = slice_str(ret->name);
        if (slice_eq(name, destination) || (site.n > 0 && slice_eq(name, site)))
            return true;
    }
    return false;
}

static void put_suspension(json_t *o, const struct admin_suspension *s)
{
    rows_put(o, "suspended", json_true());
    rows_put(o, "since", rows_time(s->since));
    if (s->until.us)
        rows_put(o, "until", rows_time(s->until));
    if (s->reason[0])
        rows_put_text(o, "reason", slice_str(s->reason));
    if (s->actor[0])
        rows_put_text(o, "actor", slice_str(s->actor));
}

void destinations_put_suspension(const struct admin *a, json_t *o, struct slice destination,
                                 struct slice site)
{
    struct admin_suspension s;
    if (find(a, destination, site, &s))
        put_suspension(o, &s);
}

static bool has_site(const struct spooler_admin *page, struct slice name)
{
    for (size_t i = 0; i < page->n_sites; i++)
        if (slice_eq(name, buf_slice(&page->sites[i].destination)) ||
            slice_eq(name, buf_slice(&page->sites[i].site)))
            return true;
    return false;
}

static bool is_configured(const struct admin *a, struct slice name)
{
    return conf_by_name(a->conf, name) != NULL;
}

static json_t *site_row(const struct admin *a, const struct queue_site_row *site)
{
    struct admin_suspension s;
    json_t *o = rows_site(site);
    if (find(a, buf_slice(&site->destination), buf_slice(&site->site), &s))
        put_suspension(o, &s);
    return o;
}

/* Of the configuration, and without a site; NULL: it has one. */
static json_t *idle_row(const struct admin *a, const struct spooler_admin *page,
                        const struct conf_destination *d)
{
    struct admin_suspension s;
    const struct slice name = slice_str(d->name);
    if (has_site(page, name))
        return NULL;
    json_t *o = json_object();
    rows_put_text(o, "destination", name);
    rows_put_number(o, "limit", d->connections);
    if (find(a, name, SLICE_NONE, &s))
        put_suspension(o, &s);
    return o;
}

/* Suspended, and neither a site with mail nor a destination of the configuration; NULL: it is. */
static json_t *suspended_row(const struct admin *a, const struct spooler_admin *page,
                             const struct admin_suspension *s)
{
    if (has_site(page, slice_str(s->name)) || is_configured(a, slice_str(s->name)))
        return NULL;
    json_t *o = json_object();
    rows_put_text(o, "destination", slice_str(s->name));
    put_suspension(o, s);
    return o;
}

/* The sites of the page, then the configuration's destinations, then the list of suspensions, by
 * one number. False: behind the last. */
static bool row_at(const struct peer *p, size_t at, json_t **ret)
{
    const struct admin *a = p->admin;
    const struct spooler_admin *page = p->task.page;
    struct admin_suspension s;
    if (at < page->n_sites) {
        *ret = site_row(a, &page->sites[at]);
        return true;
    }
    at -= page->n_sites;
    if (at < a->conf->n_destinations) {
        *ret = idle_row(a, page, &a->conf->destinations[at]);
        return true;
    }
    at -= a->conf->n_destinations;
    const bool found = a->hooks.suspended(a->hooks.ctx, &at, &s);
    *ret = found ? suspended_row(a, page, &s) : NULL;
    return found;
}

static void list(struct peer *p)
{
    struct task *t = &p->task;
    json_t *row;
    while (peer_unsent(p) <= PEER_UNSENT_MAX) {
        if (!row_at(p, t->at++, &row)) {
            json_t *done = json_object();
            rows_put_number(done, "matched", t->given);
            peer_done(p, done);
            return;
        }
        if (!row)
            continue;
        peer_row(p, row);
        t->given++;
    }
}

static int suspend(struct peer *p, struct err *e)
{
    const struct request *r = &p->task.request;
    const struct admin_hooks *h = &p->admin->hooks;
    const struct slice name = buf_slice(&p->task.page->route);
    if (r->for_s > FOR_MAX_S)
        return err_set(e, -EINVAL, "for_s: a suspension ends within a year, or never");
    if (!has_site(p->task.page, name) && !is_configured(p->admin, name))
        return err_set(e, -ENOENT,
                       "%.*s is neither a destination of the configuration nor a site with mail: "
                       "see destination list",
                       SLICE_ARG(slice_head(name, 200)));
    return h->suspend(h->ctx, name, r->for_s, buf_slice(&p->task.page->reason), slice_str(p->actor),
                      e);
}

static void change(struct peer *p)
{
    const struct request *r = &p->task.request;
    const struct admin_hooks *h = &p->admin->hooks;
    const struct slice name = buf_slice(&p->task.page->route); /* the question took it along */
    struct err e = {0};
    int rc;
    if (name.n == 0)
        rc = err_set(&e, -EINVAL, "destination is missing");
    else if (r->verb == VERB_DESTINATION_SUSPEND)
        rc = suspend(p, &e);
    else
        rc = h->resume(h->ctx, name, slice_str(p->actor), &e);
    if (rc < 0)
        peer_error(p, rc == -ENOENT ? "not-found" : rc == -EINVAL ? "usage" : "failed", e.text);
    else
        peer_done(p, json_object());
}

void destinations_go_on(struct peer *p)
{
    if (p->task.request.verb == VERB_DESTINATION_LIST)
        list(p);
    else
        change(p);
}

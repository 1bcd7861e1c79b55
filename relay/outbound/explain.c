/* An explanation's life: asked from the control socket, found as delivery finds its way, the site's
 * state fetched from the spooler, told. */
#include "relay/outbound/explain.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>
#include <utlist.h>

static void explain_free(struct out_explain *x)
{
    buf_done(&x->recipient);
    buf_done(&x->domain);
    buf_done(&x->sender);
    buf_done(&x->rows);
    buf_done(&x->site);
    buf_done(&x->left_out);
    plan_unref(x->plan);
    conf_unref(x->conf);
    free(x);
}

/* The rows so far; with the last ones the asker is done with, and so is x when nothing more of it
 * is out. */
static void tell(struct out_explain *x, bool last, bool good)
{
    struct lines *l = must_alloc(sizeof *l);
    *l = (struct lines){.cookie = x->cookie, .text = x->rows, .last = last, .good = good};
    x->rows = BUF_MAX(EXPLAIN_TEXT_MAX);
    x->over = last;
    port_send(x->reply, &l->msg);
}

static void drop(struct out_explain *x)
{
    DL_DELETE(x->o->explains, x);
    explain_free(x);
}

void out_explain_tell(struct out_explain *x)
{
    tell(x, false, false);
}

void out_explain_end(struct out_explain *x, bool good)
{
    tell(x, true, good);
    drop(x);
}

/* --- what would be called
 * ------------------------------------------------------------------------------------------------------------
 */

struct hosts {
    struct out_explain *x;
    const struct out_conn *conn;
    const struct out_rang *rang; /* NULL: this loop is the only one */
    unsigned turn;
};

static unsigned loops_of(const struct out_rang *g, const struct sockaddr_storage *a)
{
    for (size_t i = 0; i < g->n; i++)
        if (memcmp(&g->addresses[i].address, a, sizeof *a) == 0)
            return g->addresses[i].loops;
    return 0;
}

static void put_host(void *ctx, const struct out_way *w, const struct sockaddr_storage *a,
                     bool rang)
{
    struct hosts *hosts = ctx;
    struct out_explain *x = hosts->x;
    const struct plan_host *host = &x->plan->hosts[w->host];
    char *why = NULL;
    struct explain_host h = {.turn = ++hosts->turn,
                             .name = host->name,
                             .preference = host->preference,
                             .address = a,
                             .helo = x->dest->helo[0] ? x->dest->helo : x->conf->hostname,
                             .rang = hosts->rang ? loops_of(hosts->rang, a) : rang,
                             .loops = hosts->rang ? x->o->n_all : 1};
    out_source_find(x->dest, buf_slice(&x->site), a->ss_family, &h.source);
    if (x->dest->relay.n > 0)
        h.state = out_relay_state(hosts->conn, host, &h.again_ms, &why);
    h.why = why ? why : "";
    explain_host(&x->rows, &h);
    free(why);
}

static void put_hosts(struct out_explain *x, const struct out_rang *g)
{
    struct out_conn c = {
        .o = x->o, .conf = x->conf, .dest = x->dest, .plan = x->plan, .rehearsal = true};
    out_dial_init(&c);
    out_dial_look(&c, loop_now(x->o->loop), put_host,
                  &(struct hosts){.x = x, .conn = &c, .rang = g});
    free(c.ways);
}

static void add_address(void *ctx, const struct out_way *w, const struct sockaddr_storage *a,
                        bool rang)
{
    struct out_rang *g = ctx;
    (void)w, (void)rang;
    g->addresses[g->n++].address = *a;
}

/* The message goes from room to room, and comes back. */
static void ask_who_rang(struct out_explain *x)
{
    struct out_conn c = {
        .o = x->o, .conf = x->conf, .dest = x->dest, .plan = x->plan, .rehearsal = true};
    out_dial_init(&c);
    struct out_rang *g = must_alloc(sizeof *g + c.n_ways * sizeof g->addresses[0]);
    g->msg.type = OUT_RANG;
    g->x = x;
    out_dial_look(&c, loop_now(x->o->loop), add_address, g);
    free(c.ways);
    port_send(&x->o->all[0]->port, &g->msg);
}

/* --- the way there
 * ------------------------------------------------------------------------------------------------------------
 */

static void ask_site(struct out_explain *x)
{
    struct spooler_site *q = must_alloc(sizeof *q);
    q->msg.type = SPOOLER_SITE;
    q->reply = &x->o->port;
    q->cookie = x;
    q->row.destination = buf_of(slice_str(x->dest->name));
    q->row.site = buf_of(buf_slice(&x->site));
    q->id = x->id;
    q->rcpt = x->rcpt;
    out_send(x->o, &q->msg);
}

static void put_the_rest(struct out_explain *x, const struct out_rang *g)
{
    put_hosts(x, g);
    buf_add(&x->rows, buf_slice(&x->left_out));
    ask_site(x);
}

void out_explain_rang_free(struct out_rang *g)
{
    free(g);
}

void out_explain_rang(struct outbound *o, struct out_rang *g)
{
    struct out_explain *x = g->x;
    if (g->at == o->n_all) {
        if (x->over || !o->spooler)
            drop(x);
        else
            put_the_rest(x, g);
        out_explain_rang_free(g);
        return;
    }
    for (size_t i = 0; i < g->n; i++)
        g->addresses[i].loops +=
            out_has_learnt(o, &g->addresses[i].address, OUT_NO_ANSWER, loop_now(o->loop));
    struct outbound *next = ++g->at < o->n_all ? o->all[g->at] : x->o;
    port_send(&next->port, &g->msg);
}

/* Other name servers are asked since a reload: what was open at the old ones has come to no end. */
static bool was_cut_short(const struct out_explain *x, const struct out_found *f)
{
    return f->plan->fault == FAULT_DNS_TIMEOUT && f->conf != x->o->conf && !x->over &&
           x->o->spooler;
}

static void found(void *ctx, struct out_found *f)
{
    struct out_explain *x = ctx;
    struct slice rest = buf_slice(&x->domain), domain = slice_cut(&rest, '>');
    if (was_cut_short(x, f)) {
        plan_unref(f->plan);
        out_find(x->o, buf_slice(&x->domain), found, x);
        return;
    }
    x->plan = f->plan;
    if (x->over || !x->o->spooler) {
        drop(x);
        return;
    }
    x->conf = conf_ref(f->conf);
    x->dest = f->dest;
    if (f->plan->fault == FAULT_NONE)
        out_name_site(&x->site, f);
    explain_destination(&x->rows, f, domain, &x->params);
    explain_dns(&x->rows, f, buf_slice(&x->site));
    explain_left_out(&x->left_out, f);
    if (f->plan->fault != FAULT_NONE) {
        if (f->plan->fault != FAULT_DNS_NXDOMAIN) /* then the only host is the domain itself */
            buf_add(&x->rows, buf_slice(&x->left_out));
        out_explain_end(x, false);
    } else if (x->o->n_all > 1) {
        ask_who_rang(x);
    } else {
        put_the_rest(x, NULL);
    }
}

void out_explain_site(struct outbound *o, struct spooler_site *q)
{
    struct out_explain *x = q->cookie;
    (void)o;
    if (!x->over)
        explain_site(&x->rows, q);
    spooler_request_free(&q->msg);
    if (x->over)
        drop(x);
    else if (x->probe && !x->dest->capture[0])
        out_probe_begin(x);
    else
        out_explain_end(x, true);
}

/* What waits for an answer of the resolver's or the spooler's goes when that is here. */
static void stop(struct out_explain *x)
{
    if (x->conn) {
        x->conn->probe = NULL;
        out_conn_drop(x->conn);
        out_explain_end(x, false);
    } else {
        tell(x, true, false);
    }
}

void out_explain_stop(struct outbound *o, struct out_explain_order *order)
{
    struct out_explain *x;
    DL_FOREACH (o->explains, x)
        if (x->cookie == order->cookie && !x->over) {
            stop(x);
            break;
        }
    free(order);
}

void out_explain_run(struct outbound *o, struct out_explain *x)
{
    DL_APPEND(o->explains, x);
    explain_way(&x->rows, x);
    out_find(o, buf_slice(&x->domain), found, x);
}

/* --- from other threads
 * ------------------------------------------------------------------------------------------------------------
 */

int outbound_explain(struct outbound *o, const struct outbound_asked *a, const struct port *reply,
                     void *cookie, struct err *e)
{
    struct address parts;
    if (!address_parse_form(a->recipient, ADDRESS_UTF8, &parts) || parts.domain.n == 0)
        return err_set(e, -EINVAL, "%.*s is not an address",
                       SLICE_ARG(slice_head(a->recipient, 200)));
    struct out_explain *x = must_alloc(sizeof *x);
    *x = (struct out_explain){.msg.type = OUT_EXPLAIN,
                              .reply = reply,
                              .cookie = cookie,
                              .o = o,
                              .recipient = buf_of(a->recipient),
                              .domain = BUF_MAX(1024),
                              .sender = buf_of(a->sender),
                              .id = a->id,
                              .rcpt = a->rcpt,
                              .attempt = a->attempt,
                              .params = a->params,
                              .probe = a->probe,
                              .with_rcpt = !a->no_rcpt,
                              .rows = BUF_MAX(EXPLAIN_TEXT_MAX),
                              .left_out = BUF_MAX(EXPLAIN_TEXT_MAX)};
    address_domain_lower(a->recipient, &x->domain);
    if (a->route.n) {
        buf_add_u8(&x->domain, '>');
        buf_add(&x->domain, a->route);
    }
    if (o->n_all > 1)
        x->o = o->all[spooler_loop_of(buf_slice(&x->domain), o->n_all)];
    port_send(&x->o->port, &x->msg);
    return 0;
}

static void send_stop(struct outbound *o, const void *cookie)
{
    struct out_explain_order *order = must_alloc(sizeof *order);
    order->msg.type = OUT_EXPLAIN_STOP;
    order->cookie = cookie;
    port_send(&o->port, &order->msg);
}

/* Which of them has it is known to none. */
void outbound_explain_stop(struct outbound *o, const void *cookie)
{
    for (unsigned i = 0; i < o->n_all; i++)
        send_stop(o->all[i], cookie);
    if (o->n_all == 0)
        send_stop(o, cookie);
}

void out_explain_drop(struct msg *m)
{
    explain_free((struct out_explain *)(void *)m);
}

void out_explain_free_all(struct outbound *o)
{
    while (o->explains)
        drop(o->explains);
}

/*
 * The way to a socket: which of the plan's addresses, in which order, how many at once (after RFC
 * 8305). Hosts by preference, equal ones shuffled; of each host first the two best addresses, which
 * are one of each family where it has both (checklist 42), so that a host with many does not use up
 * all tries. Where one does not answer, the next is tried beside it, and the first that answers has
 * the job. Those that did not are tried last for a while, by all connections of this loop: a host
 * that swallows packets delays one message, not each.
 */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/net/addr.h"
#include "relay/outbound/conn.h"
#include <errno.h>
#include <stdlib.h>

#define CONNECT_MS 30000
/* Before the next address is tried beside this one: a lost packet is sent again after one second.
 * A host that is second choice is given more of a reason. */
#define BESIDE_MS 1000
#define BESIDE_WORSE_MS 3000
#define NO_ANSWER_MS (INT64_C(5) * 60 * 1000)

/* --- the order
 * ------------------------------------------------------------------------------------------------------------
 */

/* Only of families that the destination sends from (checklist 38). */
static void add_ways(struct out_conn *c, const size_t *order, size_t n, size_t from, size_t to)
{
    for (size_t i = 0; i < n; i++) {
        const struct plan_host *h = &c->plan->hosts[order[i]];
        for (size_t k = from; k < h->n && k < to; k++)
            if (out_source_has(c->dest, h->addrs[k].ss_family))
                c->ways[c->n_ways++] = (struct out_way){.host = order[i], .addr = k};
    }
}

void out_dial_init(struct out_conn *c)
{
    enum { BEST = 2 };
    size_t *order = must_alloc((c->plan->n + 1) * sizeof *order), n = 0;
    plan_order(c->plan, &c->o->rng, order);
    size_t n_hosts = c->dest->relay.n > 0 ? out_relay_order(c, order) : c->plan->n;
    for (size_t i = 0; i < c->plan->n; i++)
        n += c->plan->hosts[i].n;
    c->ways = must_alloc((n + 1) * sizeof *c->ways);
    add_ways(c, order, n_hosts, 0, BEST);
    add_ways(c, order, n_hosts, BEST, SIZE_MAX);
    free(order);
}

static uint16_t preference_of(const struct out_conn *c, const struct out_way *w)
{
    return c->plan->hosts[w->host].preference;
}

/* Plans are shared by destinations; the port is the destination's. */
static struct sockaddr_storage address_of(const struct out_conn *c, const struct out_way *w)
{
    struct sockaddr_storage a = c->plan->hosts[w->host].addrs[w->addr];
    if (c->dest->relay.n > 0)
        return a;
    if (a.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a)->sin6_port = htons(c->dest->port);
    else
        ((struct sockaddr_in *)&a)->sin_port = htons(c->dest->port);
    return a;
}

/* The first one that is left; one that did not answer lately only when there is no other. */
static struct out_way *next_way(const struct out_conn *c, struct mono now)
{
    struct out_way *last = NULL;
    if (c->tries >= OUT_TRIES_MAX)
        return NULL;
    for (struct out_way *w = c->ways; w < c->ways + c->n_ways; w++) {
        struct sockaddr_storage a = address_of(c, w);
        if (w->tried)
            continue;
        if (!out_has_learnt(c->o, &a, OUT_NO_ANSWER, now))
            return w;
        last = last ? last : w;
    }
    return last;
}

void out_dial_look(const struct out_conn *c, struct mono now,
                   void (*each)(void *ctx, const struct out_way *w,
                                const struct sockaddr_storage *a, bool rang),
                   void *ctx)
{
    for (unsigned rang = 0; rang < 2; rang++)
        for (const struct out_way *w = c->ways; w < c->ways + c->n_ways; w++) {
            struct sockaddr_storage a = address_of(c, w);
            if (out_has_learnt(c->o, &a, OUT_NO_ANSWER, now) == (rang == 1))
                each(ctx, w, &a, rang);
        }
}

bool out_dial_more(const struct out_conn *c)
{
    return next_way(c, loop_now(c->o->loop));
}

bool out_dial_more_hosts(const struct out_conn *c)
{
    for (size_t i = 0; i < c->n_ways && c->tries < OUT_TRIES_MAX; i++)
        if (!c->ways[i].tried && c->ways[i].host != c->ways[c->way].host)
            return true;
    return false;
}

void out_dial_leave_host(struct out_conn *c)
{
    for (size_t i = 0; i < c->n_ways; i++)
        if (c->ways[i].host == c->ways[c->way].host)
            c->ways[i].tried = true;
}

/* --- calls under way
 * ------------------------------------------------------------------------------------------------------------
 */

static void look_beside(struct out_conn *c, struct link *l, struct mono now)
{
    const struct out_way *next = next_way(c, now);
    if (!next)
        return;
    bool equal = preference_of(c, next) == preference_of(c, &c->ways[l->way]);
    net_conn_deadline(l->net, mono_add(now, equal ? BESIDE_MS : BESIDE_WORSE_MS));
}

static struct link *dial(struct out_conn *c, size_t way)
{
    struct sockaddr_storage to = address_of(c, &c->ways[way]);
    struct link *l = must_alloc(sizeof *l);
    MUST(c->n_dials < sizeof c->dials / sizeof *c->dials);
    c->tries++;
    c->ways[way].tried = true;
    c->way = way;
    c->connect_ms = c->tls_ms = c->data_ms = -1;
    c->talked = c->logging_in = c->has_turn = false;
    c->jobs = 0;
    metric_add(M_CONNECTS_OUT, 1);
    *l = (struct link){.conn = c, .way = way, .since = loop_now(c->o->loop)};
    out_place_begin(l, c->o);
    out_source_find(c->dest, buf_slice(&c->load.job->site), to.ss_family, &l->source);
    const struct sockaddr *from =
        l->source.from.ss_family ? (struct sockaddr *)&l->source.from : NULL;
    l->net =
        net_connect(c->o->loop, (struct sockaddr *)&to, from, CONNECT_MS, &out_link_handler, l);
    c->dials[c->n_dials++] = l;
    out_look_label(c, l->net);
    out_probe_called(l, (struct sockaddr *)&to);
    return l;
}

bool out_dial_next(struct out_conn *c)
{
    struct mono now = loop_now(c->o->loop);
    const struct out_way *w = next_way(c, now);
    if (!w)
        return false;
    struct link *l = dial(c, (size_t)(w - c->ways));
    look_beside(c, l, now);
    return true;
}

void out_dial_beside(struct out_conn *c, struct link *l)
{
    if (out_places_left(c->o))
        out_dial_next(c);
    else
        look_beside(c, l, loop_now(c->o->loop));
}

void out_dial_again(struct out_conn *c)
{
    dial(c, c->way);
}

bool out_dial_forget(struct out_conn *c, const struct link *l)
{
    for (size_t i = 0; i < c->n_dials; i++) {
        if (c->dials[i] == l) {
            c->dials[i] = c->dials[--c->n_dials];
            return true;
        }
    }
    return false;
}

static void hang_up(struct link *l)
{
    l->conn = NULL;
    net_conn_abort(l->net);
}

void out_dial_drop(struct out_conn *c)
{
    while (c->n_dials > 0)
        hang_up(c->dials[--c->n_dials]);
}

static void learn(struct out_conn *c, const struct link *l, struct mono now)
{
    struct sockaddr_storage a = address_of(c, &c->ways[l->way]);
    if (now.ms - l->since.ms >= BESIDE_MS && !c->rehearsal)
        out_learn(c->o, &a, OUT_NO_ANSWER, mono_add(now, NO_ANSWER_MS));
}

/* It is no failure of theirs that another was quicker: they may be tried again. */
static void overtaken(struct out_conn *c, struct mono now)
{
    for (size_t i = 0; i < c->n_dials; i++) {
        learn(c, c->dials[i], now);
        c->ways[c->dials[i]->way].tried = false;
        c->tries--;
    }
    out_dial_drop(c);
}

void out_dial_answered(struct link *l, struct mono now)
{
    struct out_conn *c = l->conn;
    out_dial_forget(c, l);
    overtaken(c, now);
    c->link = l;
    c->source = l->source;
    c->way = l->way;
    c->peer = address_of(c, &c->ways[l->way]);
    c->connect_ms = (int32_t)(now.ms - l->since.ms);
    net_conn_deadline(l->net, MONO_NEVER);
    if (!c->rehearsal)
        out_unlearn(c->o, &c->peer, OUT_NO_ANSWER);
    if (c->o->scarce)
        out_places_call_up(c->o);
}

bool out_dial_failed(struct link *l, bool costs, struct mono now)
{
    struct out_conn *c = l->conn;
    out_dial_forget(c, l);
    learn(c, l, now);
    c->way = l->way;
    c->connect_ms = (int32_t)(now.ms - l->since.ms);
    c->tries -= !costs;
    net_conn_names(l->net, &c->names);
    hang_up(l);
    return out_dial_next(c) || c->n_dials > 0;
}

/* --- what a failed call means
 * ------------------------------------------------------------------------------------------------------------
 */

/* Not the receiver's: descriptors, memory or ports have run out here, or the address to call from
 * is not this machine's, or has no way out. Without such an address, "no way" and (IPv6) "no
 * address" speak of a family that this machine may never have had: mail to hosts of that family
 * only is to end one day. */
static bool is_ours(const struct link *l, int err)
{
    const int to = address_of(l->conn, &l->conn->ways[l->way]).ss_family;
    switch (err) {
    case -EMFILE:
    case -ENFILE:
    case -ENOBUFS:
    case -ENOMEM:
    case -EADDRINUSE:
        return true;
    case -EADDRNOTAVAIL:
        return to == AF_INET || l->source.from.ss_family;
    case -ENETUNREACH:
        return l->source.from.ss_family && net_conn_never_left(l->net);
    default:
        return false;
    }
}

/* Of descriptors only: what else has run out does not come back with the end of a connection. */
bool out_dial_put_off(struct link *l, int err)
{
    struct out_conn *c = l->conn;
    const bool scarce = err == -EMFILE || err == -ENFILE;
    if (!scarce || c->rehearsal || c->n_dials > 1 || c->o->n_sockets <= 1)
        return false;
    c->o->scarce = true;
    out_dial_forget(c, l);
    c->ways[l->way].tried = false;
    c->tries--;
    out_place_end(l); /* it never had one: nobody is called up for it */
    hang_up(l);
    out_place_wait(c);
    return true;
}

/* An address that is not this machine's (yet) is our fault, too: nothing ends for it (promise 10).
 */
static struct verdict bad_source(const struct link *l)
{
    char text[46];
    net_addr_text((const struct sockaddr *)&l->source.from, text);
    DEFER(buf_done) struct buf why = BUF_MAX(100);
    buf_addf(&why, "%s is not an address of this machine, or has no port left", text);
    return verdict_of_fault(FAULT_LOCAL, PHASE_CONNECT, buf_slice(&why));
}

struct verdict out_dial_verdict(const struct link *l, int err)
{
    if (err == -EADDRNOTAVAIL && l->source.from.ss_family)
        return bad_source(l);
    if (is_ours(l, err))
        return verdict_of_fault(FAULT_LOCAL, PHASE_CONNECT, slice_str(uv_strerror(err)));
    enum fault f = err == -ECONNREFUSED ? FAULT_CONNECT_REFUSED
                   : err == -ETIMEDOUT  ? FAULT_CONNECT_TIMEOUT
                                        : FAULT_CONNECT_FAILED;
    return verdict_of_fault(f, PHASE_CONNECT,
                            f == FAULT_CONNECT_FAILED ? slice_str(uv_strerror(err)) : SLICE_NONE);
}

/* We have no way to such an address at all (no IPv6 here, say): it says little, and costs no try.
 */
bool out_dial_is_no_route(int err)
{
    return err == -ENETUNREACH || err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT;
}

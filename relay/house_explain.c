/* What the control socket asks of the way out, which admin does not know. */
#include "relay/house.h"
#include "relay/net/addr.h"
#include <errno.h>

/* The rooms of the net loops know which of them has the answer. */
int house_explain(void *ctx, const struct admin_explain *a, const struct port *reply, void *cookie,
                  struct err *e)
{
    struct house *h = ctx;
    const struct outbound_asked asked = {.recipient = a->recipient,
                                         .route = a->route,
                                         .sender = a->sender,
                                         .id = a->id,
                                         .rcpt = a->rcpt,
                                         .attempt = a->attempt,
                                         .params = a->params,
                                         .probe = a->probe,
                                         .no_rcpt = a->no_rcpt};
    return outbound_explain(h->nets[0].outbound, &asked, reply, cookie, e);
}

void house_explain_stop(void *ctx, const void *cookie)
{
    struct house *h = ctx;
    outbound_explain_stop(h->nets[0].outbound, cookie);
}

/* Every net loop has dialogues. */
int house_trace(void *ctx, const struct admin_trace *t, const struct port *reply, void *cookie,
                struct err *e)
{
    struct house *h = ctx;
    struct net_cidr net;
    const struct net_trace_filter f = {t->from, t->to, t->site, t->client, t->id, t->user};
    if (t->client.n > 0 && !net_cidr_parse(t->client, &net))
        return err_set(e, -EINVAL, "%.*s is neither an address nor a network",
                       SLICE_ARG(slice_head(t->client, 60)));
    for (unsigned i = 0; i < h->n_nets; i++)
        net_traces_begin(h->nets[i].traces, &f, reply, cookie);
    return (int)h->n_nets;
}

void house_trace_end(void *ctx, const void *cookie)
{
    struct house *h = ctx;
    for (unsigned i = 0; i < h->n_nets; i++)
        net_traces_end(h->nets[i].traces, cookie);
}

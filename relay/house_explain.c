/* What the control socket asks of the way out, which admin does not know. */
#include "relay/house.h"

/* The first net loop stands for all: what each has learnt of addresses by itself is no more than an
 * order of calling. */
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

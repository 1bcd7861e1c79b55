/* Who looks on at a connection: when he may begin, and what the transcript calls it. */
#include "relay/outbound/conn.h"
#include <inttypes.h>
#include <stdio.h>

static void label(const struct out_conn *c, struct net_conn *net)
{
    const struct out_work *job = c->load.job;
    char name[40], id[QUEUE_ID_SIZE] = "";
    if (!net_conn_is_traced(net))
        return;
    snprintf(name, sizeof name, c->probe ? "probe-%" PRIu64 : "out-%" PRIu64,
             c->id & ~(UINT64_C(1) << 63));
    if (job && job->message_id)
        queue_id_write(job->message_id, id);
    net_conn_label(net, &(struct net_label){.name = name,
                                            .site = job ? buf_slice(&job->site) : SLICE_NONE,
                                            .destination = slice_str(c->dest->name),
                                            .id = slice_str(id),
                                            .user = job && job->user.n ? buf_slice(&job->user)
                                                                       : SLICE_LIT("")});
}

void out_look_label(const struct out_conn *c, struct net_conn *net)
{
    net_conn_look_on(net);
    label(c, net);
}

bool out_look_at_ease(void *link, size_t *ret_awaited)
{
    const struct link *l = link;
    const struct out_conn *c = l->conn;
    if (!c || c->link != l || !c->client || c->handshaking ||
        !smtp_client_at_ease(c->client, ret_awaited))
        return false;
    label(c, l->net);
    return true;
}

const struct smtp_hidden *out_look_said(void *link)
{
    const struct link *l = link;
    return smtp_client_said(l->conn->client);
}

/* What a connection tells the spooler. */
#include "relay/base/must.h"
#include "relay/outbound/private.h"
#include "relay/spooler/requests.h"
#include <stdlib.h>

void out_send(struct outbound *o, struct msg *m)
{
    if (o->spooler)
        port_send(o->spooler, m);
    else
        spooler_request_free(m);
}

void out_report_gone(struct outbound *o, uint64_t conn)
{
    struct spooler_conn_gone *g = must_alloc(sizeof *g);
    g->msg.type = SPOOLER_CONN_GONE;
    g->conn = conn;
    out_send(o, &g->msg);
}

void out_report_ahead(struct outbound *o, uint64_t conn)
{
    struct spooler_ahead *a = must_alloc(sizeof *a);
    a->msg.type = SPOOLER_AHEAD;
    a->conn = conn;
    out_send(o, &a->msg);
}

void out_report_unattempted(struct outbound *o, uint64_t conn, struct out_work *w,
                            int64_t barred_ms)
{
    struct spooler_result *r = must_alloc(sizeof *r);
    r->msg.type = SPOOLER_RESULT;
    r->conn = conn;
    r->barred_ms = barred_ms;
    r->message_id = w->message_id;
    r->n = w->n;
    r->rcpts = w->rcpts;
    w->rcpts = NULL;
    out_work_free(w);
    out_send(o, &r->msg);
}

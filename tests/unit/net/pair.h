/* One listener, one client and one loop for them all, made anew for each test; the peers at the
 * listener's end are served[], in the order in which they called. */
#pragma once
#include "tests/unit/net/world.h"

static struct loop *loop;
static struct server server;
static struct peer served[4], client;
static unsigned to_close; /* the loop stops when so many peers are closed */

static inline int setup_with(struct tls_context *tls)
{
    loop = loop_new("net", 0);
    server_init(&server, loop, served, 4, tls);
    to_close = 1;
    return 0;
}

static inline int setup(void **state)
{
    (void)state;
    return setup_with(NULL);
}

static inline int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < server.next; i++)
        peer_done(&served[i]);
    loop_free(loop);
    return 0;
}

static inline void closed_one(struct peer *p, enum event e)
{
    (void)p;
    if (e == EV_CLOSED && --to_close == 0)
        loop_stop(loop);
}

static inline void close_on_eof(struct peer *p, enum event e)
{
    if (e == EV_EOF)
        net_conn_close(p->c);
    closed_one(p, e);
}

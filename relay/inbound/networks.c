#include "relay/inbound/networks.h"
#include "relay/base/must.h"
#include <stdlib.h>

void networks_read(struct networks *n, const struct conf_list *list)
{
    networks_done(n);
    if (list->n == 0)
        return;
    n->items = must_alloc(list->n * sizeof *n->items);
    for (size_t i = 0; i < list->n; i++)
        MUST(net_cidr_parse(slice_str(list->items[i]), &n->items[n->n++]));
}

void networks_done(struct networks *n)
{
    free(n->items);
    *n = (struct networks){0};
}

bool networks_have(const struct networks *n, const struct sockaddr *a)
{
    for (size_t i = 0; i < n->n; i++)
        if (net_cidr_has(&n->items[i], a))
            return true;
    return false;
}

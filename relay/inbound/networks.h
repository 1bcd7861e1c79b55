/* A list of networks of the configuration, read once so that each caller costs a few comparisons.
 */
#pragma once
#include "relay/conf/conf.h"
#include "relay/net/addr.h"

struct networks { /* zeroed: none */
    struct net_cidr *items;
    size_t n;
};
/* In place of what was there; the configuration has checked the texts. */
void networks_read(struct networks *n, const struct conf_list *list);
void networks_done(struct networks *n);
bool networks_have(const struct networks *n, const struct sockaddr *a);

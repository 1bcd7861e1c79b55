/* Law: what is parsed, written as text and parsed again is the same; an address lies in its own
 * network and in none of the other family. */
#include "relay/net/addr.h"
#include "relay/base/must.h"
#include "relay/net/net.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_network(struct slice s)
{
    struct net_cidr c, again;
    char ip[INET6_ADDRSTRLEN], text[64];
    if (!net_cidr_parse(s, &c))
        return;
    MUST(c.family == AF_INET ? c.bits <= 32 : c.family == AF_INET6 && c.bits <= 128);
    MUST(inet_ntop(c.family, c.bytes, ip, sizeof ip));
    snprintf(text, sizeof text, "%s/%u", ip, c.bits);
    MUST(net_cidr_parse(slice_str(text), &again));
    MUST(again.family == c.family && again.bits == c.bits);
    MUST(memcmp(again.bytes, c.bytes, c.family == AF_INET ? 4 : 16) == 0);
}

static void check_address(struct slice s)
{
    struct sockaddr_storage a;
    struct err e;
    char ip[46];
    struct net_cidr self, all;
    if (net_parse_address(s, &a, &e) != 0)
        return;
    const struct sockaddr *sa = (const struct sockaddr *)&a;
    net_addr_text(sa, ip);
    MUST(net_cidr_parse(slice_str(ip), &self) && net_cidr_has(&self, sa));
    MUST(net_cidr_parse(self.family == AF_INET ? SLICE_LIT("::/0") : SLICE_LIT("0.0.0.0/0"), &all));
    MUST(!net_cidr_has(&all, sa));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_network(slice_of(data, size));
    check_address(slice_of(data, size));
    return 0;
}

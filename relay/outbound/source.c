/*
 * Where connections come from: the destination's addresses, each perhaps with its own EHLO name
 * (checklist 76). Each site always sees the same one of a family, whatever was tried before and
 * after a restart: greylists know the triplet with its address (checklist 77), and reputation is
 * earned by address. Which one it is depends on the site and the address alone (the highest of
 * their hashes), so that an address more or less moves no other sites.
 */
#include "dns/ip.h"
#include "relay/base/must.h"
#include "relay/outbound/private.h"

static void parse(const char *text, struct sockaddr_storage *ret, struct slice *ret_address,
                  const char **ret_helo)
{
    struct slice rest = slice_str(text);
    *ret_address = slice_cut(&rest, ' ');
    *ret_helo = text + ret_address->n + (text[ret_address->n] == ' ');
    struct dns_ip ip;
    MUST(dns_ip_parse(*ret_address, &ip)); /* conf has read it */
    *ret = dns_ip_sockaddr(&ip, 0);
}

/* FNV-1a: the same on every machine and in every version, which the keyed hash is not. */
static uint64_t weigh(struct slice site, struct slice address)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < site.n + address.n; i++)
        hash = (hash ^ (i < site.n ? site.p[i] : address.p[i - site.n])) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32; /* the last octets reach all bits */
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ (hash >> 32);
}

bool out_source_has(const struct conf_destination *d, int family)
{
    struct out_source s;
    out_source_find(d, SLICE_NONE, family, &s);
    return d->source.n == 0 || s.from.ss_family != AF_UNSPEC;
}

void out_source_find(const struct conf_destination *d, struct slice site, int family,
                     struct out_source *ret)
{
    uint64_t best = 0;
    *ret = (struct out_source){.helo = ""};
    for (size_t i = 0; i < d->source.n; i++) {
        struct sockaddr_storage from;
        struct slice address;
        const char *helo;
        parse(d->source.items[i], &from, &address, &helo);
        uint64_t weight = weigh(site, address);
        if (from.ss_family != family || (ret->from.ss_family != AF_UNSPEC && weight <= best))
            continue;
        best = weight;
        *ret = (struct out_source){from, helo};
    }
}

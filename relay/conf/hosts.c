/* Host names, addresses and networks as they are written in the configuration. */
#include "relay/conf/options.h"
#include <arpa/inet.h>

bool ip_parse(struct slice s, struct ip *ret)
{
    if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']') /* IPv4 too, as Postfix writes it */
        s = slice_of(s.p + 1, s.n - 2);
    char text[INET6_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text || slice_find(s, 0) < s.n)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    struct ip ip = {.v6 = slice_find(s, ':') < s.n};
    if (inet_pton(ip.v6 ? AF_INET6 : AF_INET, text, ip.bytes) != 1)
        return false;
    *ret = ip;
    return true;
}

bool host_port_split(struct slice s, uint16_t port_or_0, struct slice *ret_host, uint16_t *ret_port)
{
    struct ip ip;
    size_t colon;
    if (s.n && s.p[0] == '[') {
        colon = slice_find(s, ']') + 1;
    } else {
        colon = slice_find(s, ':');
        /* More than one colon outside of brackets: IPv6, which then has no port. */
        if (colon < s.n && ip_parse(s, &ip))
            colon = s.n;
    }
    if (colon > s.n || colon == 0)
        return false;
    uint64_t port = port_or_0;
    struct slice rest = slice_skip(s, colon);
    if (rest.n && (rest.p[0] != ':' || !slice_u64(slice_skip(rest, 1), 65535, &port)))
        return false;
    if (port == 0)
        return false;
    *ret_host = slice_head(s, colon);
    *ret_port = (uint16_t)port;
    return true;
}

static bool label_ok(struct slice label)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = byte_lower(label.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return true;
}

bool host_name_ok(struct slice s)
{
    struct ip ip;
    if (s.n == 0 || s.n > 253 || s.p[s.n - 1] == '.' || ip_parse(s, &ip))
        return false;
    while (s.n)
        if (!label_ok(slice_cut(&s, '.')))
            return false;
    return true;
}

static bool has_host_bits(const struct network *n)
{
    for (unsigned bit = n->bits; bit < (n->base.v6 ? 128u : 32u); bit++)
        if (n->base.bytes[bit / 8] & (0x80u >> (bit % 8)))
            return true;
    return false;
}

bool network_parse(struct slice s, struct network *ret, struct buf *why)
{
    struct slice rest = s, address = slice_cut(&rest, '/');
    struct network n = {0};
    uint64_t bits;
    if (!ip_parse(address, &n.base)) {
        buf_add_str(why, "is not a network such as 192.0.2.0/24 or 2001:db8::/32");
        return false;
    }
    bits = n.base.v6 ? 128 : 32;
    if (address.n < s.n && !slice_u64(rest, bits, &bits)) {
        buf_addf(why, "has a prefix length that is not a number from 0 to %u",
                 n.base.v6 ? 128u : 32u);
        return false;
    }
    n.bits = (unsigned)bits;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (n.base.v6 && n.bits > 0 && memcmp(n.base.bytes, mapped, sizeof mapped) == 0) {
        buf_add_str(why, "is an IPv4 network in IPv6 dress: write it as IPv4");
        return false;
    }
    if (has_host_bits(&n)) {
        buf_addf(why, "has bits behind its prefix of %u: write the network's first address",
                 n.bits);
        return false;
    }
    *ret = n;
    return true;
}

bool network_is_open(const struct network *n)
{
    if (!n->base.v6)
        return n->bits < 8;
    bool is_local = n->bits >= 7 && (n->base.bytes[0] & 0xfe) == 0xfc;
    bool is_link = n->bits >= 10 && n->base.bytes[0] == 0xfe && n->base.bytes[1] >= 0x80;
    return n->bits < 16 && !is_local && !is_link;
}

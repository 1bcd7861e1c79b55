#include "dns/ip.h"
#include <arpa/inet.h>
#include <netinet/in.h>

struct network {
    uint8_t bytes[16];
    unsigned bits;
    enum ip_reach reach;
};

/* RFC 6890 and its IANA registries; the first row that holds wins. */
static const struct network networks4[] = {
    {{0}, 8, IP_NEVER}, /* this network */
    {{10}, 8, IP_PRIVATE},
    {{100, 64}, 10, IP_PRIVATE}, /* shared (carrier NAT) */
    {{127}, 8, IP_PRIVATE},
    {{169, 254}, 16, IP_PRIVATE}, /* link-local, and the metadata service of clouds */
    {{172, 16}, 12, IP_PRIVATE},
    {{192, 0, 0}, 24, IP_PRIVATE},
    {{192, 0, 2}, 24, IP_PRIVATE}, /* documentation */
    {{192, 88, 99}, 24, IP_PRIVATE},
    {{192, 168}, 16, IP_PRIVATE},
    {{198, 18}, 15, IP_PRIVATE}, /* benchmarks */
    {{198, 51, 100}, 24, IP_PRIVATE},
    {{203, 0, 113}, 24, IP_PRIVATE},
    {{224}, 3, IP_NEVER}, /* multicast, reserved, broadcast */
};
static const struct network networks6[] = {
    {{0}, 128, IP_NEVER}, /* unspecified */
    {{[15] = 1}, 128, IP_PRIVATE},
    {{0}, 8, IP_NEVER}, /* reserved, IPv4-compatible */
    {{0x01, 0x00}, 64, IP_NEVER},
    {{0x20, 0x01, 0x00}, 23, IP_PRIVATE}, /* IETF assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, IP_PRIVATE},
    {{0x3f, 0xff}, 20, IP_PRIVATE}, /* documentation */
    {{0xfc}, 7, IP_PRIVATE},
    {{0xfe, 0x80}, 10, IP_PRIVATE},
    {{0xfe, 0xc0}, 10, IP_PRIVATE},
    {{0xff}, 8, IP_NEVER},
};

static bool in_network(const struct network *net, const uint8_t *bytes)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->bytes, bytes, whole) != 0)
        return false;
    return rest == 0 || ((net->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

static enum ip_reach reach_in(const struct network *nets, size_t n, const uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++)
        if (in_network(&nets[i], bytes))
            return nets[i].reach;
    return IP_PUBLIC;
}

static enum ip_reach reach4(const uint8_t *bytes)
{
    return reach_in(networks4, sizeof networks4 / sizeof networks4[0], bytes);
}

enum ip_reach dns_ip_reach(const struct dns_ip *given)
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b}, sixto4[2] = {0x20, 0x02};
    struct dns_ip ip = dns_ip_plain(given);
    if (ip.family == AF_INET)
        return reach4(ip.bytes);
    /* Translators lead to the IPv4 address inside: it decides. */
    if (memcmp(ip.bytes, nat64, sizeof nat64) == 0)
        return reach4(ip.bytes + 12);
    if (memcmp(ip.bytes, sixto4, sizeof sixto4) == 0)
        return reach4(ip.bytes + 2);
    return reach_in(networks6, sizeof networks6 / sizeof networks6[0], ip.bytes);
}

struct dns_ip dns_ip_plain(const struct dns_ip *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (ip->family != AF_INET6 || memcmp(ip->bytes, mapped, sizeof mapped) != 0)
        return *ip;
    struct dns_ip plain = {.family = AF_INET};
    memcpy(plain.bytes, ip->bytes + 12, 4);
    return plain;
}

bool dns_ip_eq(const struct dns_ip *a, const struct dns_ip *b)
{
    struct dns_ip x = dns_ip_plain(a), y = dns_ip_plain(b);
    return x.family == y.family && memcmp(x.bytes, y.bytes, x.family == AF_INET ? 4 : 16) == 0;
}

bool dns_ip_parse(struct slice text, struct dns_ip *ret)
{
    char s[INET6_ADDRSTRLEN] = {0};
    struct dns_ip ip = {.family = slice_find(text, ':') < text.n ? AF_INET6 : AF_INET};
    if (text.n == 0 || text.n >= sizeof s || slice_find(text, 0) < text.n)
        return false;
    memcpy(s, text.p, text.n);
    if (inet_pton(ip.family, s, ip.bytes) != 1)
        return false;
    *ret = ip;
    return true;
}

void dns_ip_text(const struct dns_ip *ip, char ret_text[46])
{
    if (!inet_ntop(ip->family, ip->bytes, ret_text, 46))
        ret_text[0] = 0;
}

struct sockaddr_storage dns_ip_sockaddr(const struct dns_ip *ip, uint16_t port)
{
    struct sockaddr_storage s = {0};
    if (ip->family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&in.sin_addr, ip->bytes, 4);
        memcpy(&s, &in, sizeof in);
    } else {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&in.sin6_addr, ip->bytes, 16);
        memcpy(&s, &in, sizeof in);
    }
    return s;
}

bool dns_ip_of_sockaddr(const struct sockaddr_storage *s, struct dns_ip *ret, uint16_t *ret_port)
{
    struct dns_ip ip = {.family = s->ss_family};
    if (s->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, s, sizeof in);
        memcpy(ip.bytes, &in.sin_addr, 4);
        *ret_port = ntohs(in.sin_port);
    } else if (s->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, s, sizeof in);
        memcpy(ip.bytes, &in.sin6_addr, 16);
        *ret_port = ntohs(in.sin6_port);
    } else {
        return false;
    }
    *ret = dns_ip_plain(&ip);
    return true;
}

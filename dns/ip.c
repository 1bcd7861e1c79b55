#include "dns/ip.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

enum ip_reach dns_ip_reach(const struct dns_ip *ip)
{
    return ip_reach(ip->family, ip->bytes);
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

void dns_ip_reverse(const struct dns_ip *ip, char ret_name[DNS_NAME_SIZE])
{
    const struct dns_ip plain = dns_ip_plain(ip);
    const uint8_t *b = plain.bytes;
    size_t n = 0;
    memset(ret_name, 0, DNS_NAME_SIZE);
    if (plain.family == AF_INET) {
        snprintf(ret_name, DNS_NAME_SIZE, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
        return;
    }
    for (size_t i = 16; i-- > 0; n += 4)
        snprintf(ret_name + n, DNS_NAME_SIZE - n, "%x.%x.", b[i] & 15, b[i] >> 4);
    snprintf(ret_name + n, DNS_NAME_SIZE - n, "ip6.arpa");
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

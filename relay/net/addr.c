#include "relay/net/addr.h"
#include "relay/net/net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

enum { TEXT_MAX = INET6_ADDRSTRLEN };

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* An address as family and bytes, IPv4-mapped IPv6 as IPv4; family 0: neither. */
static struct net_cidr whole(int family, const uint8_t *bytes)
{
    struct net_cidr c = {.family = family, .bits = family == AF_INET ? 32 : 128};
    if (family == AF_INET6 && memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
        c.family = AF_INET;
        c.bits = 32;
        bytes += sizeof mapped_prefix;
    }
    memcpy(c.bytes, bytes, c.bits / 8);
    return c;
}

struct net_cidr net_cidr_of(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
        return whole(AF_INET, (const uint8_t *)&in->sin_addr);
    }
    if (a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a;
        return whole(AF_INET6, in6->sin6_addr.s6_addr);
    }
    return (struct net_cidr){0};
}

/* inet_pton takes a C string: no NUL may hide the end from it. */
static bool to_text(struct slice s, char ret_text[TEXT_MAX])
{
    if (s.n == 0 || s.n >= TEXT_MAX || slice_find(s, 0) < s.n)
        return false;
    memcpy(ret_text, s.p, s.n);
    ret_text[s.n] = 0;
    return true;
}

static bool parse_ip(struct slice s, int *ret_family, uint8_t ret_bytes[16])
{
    char text[TEXT_MAX];
    if (!to_text(s, text))
        return false;
    *ret_family = slice_find(s, ':') < s.n ? AF_INET6 : AF_INET;
    return inet_pton(*ret_family, text, ret_bytes) == 1;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    if (memcmp(a, b, bytes) != 0)
        return false;
    return rest == 0 || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0;
}

static bool covers(const struct net_cidr *c, const struct net_cidr *address)
{
    return c->family == address->family && same_bits(c->bytes, address->bytes, c->bits);
}

static void clear_host_bits(struct net_cidr *c)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = c->bits > i * 8 ? c->bits - i * 8 : 0;
        if (kept < 8)
            c->bytes[i] &= (uint8_t)(0xff00U >> kept);
    }
}

bool net_cidr_parse(struct slice text, struct net_cidr *ret)
{
    uint8_t bytes[16];
    int family = 0;
    struct slice bits_text = text, address = slice_cut(&bits_text, '/');
    if (!parse_ip(address, &family, bytes))
        return false;
    uint64_t full = family == AF_INET ? 32 : 128, bits = full;
    if (address.n < text.n && !slice_u64(bits_text, full, &bits))
        return false;
    struct net_cidr c = {.family = family};
    if (family == AF_INET6 && bits >= 96) {
        c = whole(family, bytes);
        if (c.family == AF_INET)
            bits -= 96;
    } else {
        memcpy(c.bytes, bytes, full / 8);
    }
    c.bits = (unsigned)bits;
    clear_host_bits(&c);
    *ret = c;
    return true;
}

bool net_cidr_has(const struct net_cidr *c, const struct sockaddr *a)
{
    struct net_cidr address = net_cidr_of(a);
    return address.family != 0 && covers(c, &address);
}

bool net_cidr_overlaps(const struct net_cidr *a, const struct net_cidr *b)
{
    return a->family == b->family &&
           same_bits(a->bytes, b->bytes, a->bits < b->bits ? a->bits : b->bits);
}

void net_addr_text(const struct sockaddr *a, char ret_text[46])
{
    struct net_cidr c = net_cidr_of(a);
    if (c.family == 0 || !inet_ntop(c.family, c.bytes, ret_text, 46))
        snprintf(ret_text, 46, "?");
}

uint16_t net_addr_port(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
    if (a->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)a)->sin6_port);
    return 0;
}

void net_addr_port_text(const struct sockaddr_storage *a, char ret_text[64])
{
    char ip[46];
    net_addr_text((const struct sockaddr *)a, ip);
    bool is6 = a->ss_family == AF_INET6;
    unsigned port = net_addr_port((const struct sockaddr *)a);
    snprintf(ret_text, 64, is6 ? "[%s]:%u" : "%s:%u", ip, port);
}

/* IPv4 ":" port / "[" IPv6 "]" ":" port */
static bool split_address(struct slice text, struct slice *ret_ip, struct slice *ret_port)
{
    struct slice rest = text, ip;
    if (text.n && text.p[0] == '[') {
        rest = slice_skip(rest, 1);
        ip = slice_cut(&rest, ']');
        if (rest.n == 0 || rest.p[0] != ':' || slice_find(ip, ':') == ip.n)
            return false;
        rest = slice_skip(rest, 1);
    } else {
        ip = slice_cut(&rest, ':');
        if (slice_find(rest, ':') < rest.n)
            return false; /* IPv6 without brackets: which colon is the port's? */
    }
    *ret_ip = ip;
    *ret_port = rest;
    return true;
}

int net_parse_address(struct slice text, struct sockaddr_storage *ret, struct err *e)
{
    struct slice ip, port_text;
    uint8_t bytes[16];
    uint64_t port = 0;
    int family = 0;
    if (!split_address(text, &ip, &port_text) || !parse_ip(ip, &family, bytes) ||
        !slice_u64(port_text, 65535, &port))
        return err_set(e, -EINVAL,
                       "\"%.*s\" is not an address and port such as 127.0.0.1:587 or [::1]:587",
                       text.n < 100 ? (int)text.n : 100, text.n ? (const char *)text.p : "");
    *ret = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_port = htons((uint16_t)port);
        memcpy(&in->sin_addr, bytes, 4);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
        in6->sin6_port = htons((uint16_t)port);
        memcpy(&in6->sin6_addr, bytes, 16);
    }
    return 0;
}

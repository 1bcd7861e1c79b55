#include "relay/base/ip.h"
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

struct network {
    uint8_t bytes[16];
    unsigned bits;
    enum ip_reach reach;
    unsigned inside; /* where an IPv4 address lies in it that decides; 0: none */
};

/* The first row that holds wins. */
static const struct network networks4[] = {
    {{0}, 8, IP_NEVER, 0}, /* this network */
    {{10}, 8, IP_PRIVATE, 0},
    {{100, 64}, 10, IP_PRIVATE, 0}, /* shared (carrier NAT) */
    {{127}, 8, IP_PRIVATE, 0},
    {{169, 254}, 16, IP_PRIVATE, 0}, /* link-local, and the metadata service of clouds */
    {{172, 16}, 12, IP_PRIVATE, 0},
    {{192, 0, 0}, 24, IP_PRIVATE, 0},   /* protocol assignments */
    {{192, 0, 2}, 24, IP_PRIVATE, 0},   /* documentation */
    {{192, 88, 99}, 24, IP_PRIVATE, 0}, /* 6to4 relays, deprecated */
    {{192, 168}, 16, IP_PRIVATE, 0},
    {{198, 18}, 15, IP_PRIVATE, 0},      /* benchmarks */
    {{198, 51, 100}, 24, IP_PRIVATE, 0}, /* documentation */
    {{203, 0, 113}, 24, IP_PRIVATE, 0},  /* documentation */
    {{224}, 3, IP_NEVER, 0},             /* multicast, reserved, broadcast */
};
static const struct network networks6[] = {
    {{[10] = 0xff, [11] = 0xff}, 96, IP_PUBLIC, 12},           /* mapped */
    {{0x00, 0x64, 0xff, 0x9b}, 96, IP_PUBLIC, 12},             /* NAT64 */
    {{0x20, 0x02}, 16, IP_PUBLIC, 2},                          /* 6to4 */
    {{0}, 128, IP_NEVER, 0},                                   /* unspecified */
    {{[15] = 1}, 128, IP_PRIVATE, 0},                          /* loopback */
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, IP_PRIVATE, 0}, /* local NAT64 */
    {{0}, 8, IP_NEVER, 0},                                     /* reserved, IPv4-compatible */
    {{0x01, 0x00}, 64, IP_NEVER, 0},                           /* discard */
    {{0x20, 0x01, 0x00}, 23, IP_PRIVATE, 0},                   /* assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, IP_PRIVATE, 0},             /* documentation */
    {{0x3f, 0xff}, 20, IP_PRIVATE, 0},                         /* documentation */
    {{0x5f, 0x00}, 16, IP_PRIVATE, 0},                         /* segment routing */
    {{0xfc}, 7, IP_PRIVATE, 0},                                /* unique local */
    {{0xfe, 0x80}, 10, IP_PRIVATE, 0},                         /* link-local */
    {{0xfe, 0xc0}, 10, IP_PRIVATE, 0},                         /* site-local, deprecated */
    {{0xff}, 8, IP_NEVER, 0},                                  /* multicast */
};

static bool in_network(const struct network *net, const uint8_t *bytes)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->bytes, bytes, whole) != 0)
        return false;
    return rest == 0 || ((net->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

static const struct network *find(const struct network *nets, size_t n, const uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++)
        if (in_network(&nets[i], bytes))
            return &nets[i];
    return NULL;
}

enum ip_reach ip_reach(int family, const uint8_t *bytes)
{
    if (family == AF_INET6) {
        const struct network *net = find(networks6, sizeof networks6 / sizeof networks6[0], bytes);
        if (!net || !net->inside)
            return net ? net->reach : IP_PUBLIC;
        bytes += net->inside;
    } else if (family != AF_INET) {
        return IP_NEVER;
    }
    const struct network *net = find(networks4, sizeof networks4 / sizeof networks4[0], bytes);
    return net ? net->reach : IP_PUBLIC;
}

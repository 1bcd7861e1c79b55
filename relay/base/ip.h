/* What an address is good for, from the registries of special-purpose addresses (RFC 6890). Pure:
 * family and bytes in, as DNS or a socket gives them. */
#pragma once
#include <stdint.h>

enum ip_reach {
    IP_PUBLIC,
    IP_PRIVATE, /* loopback, private, link-local, shared, documentation …: only where the
                   administrator says so */
    IP_NEVER    /* unspecified, multicast, reserved: no mail server anywhere */
};
/* AF_INET: 4 bytes; AF_INET6: 16. An IPv4 address inside (mapped, NAT64, 6to4) decides. */
enum ip_reach ip_reach(int family, const uint8_t *bytes);

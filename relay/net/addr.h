/* Addresses as numbers and as text: networks ("10.0.0.0/8") and what lies in them. Pure. */
#pragma once
#include "relay/base/slice.h"
#include <sys/socket.h>

struct net_cidr {
    int family;
    unsigned bits;
    uint8_t bytes[16];
};
bool net_cidr_parse(struct slice text,
                    struct net_cidr *ret); /* an address alone = its whole length */
bool net_cidr_has(const struct net_cidr *c,
                  const struct sockaddr *a); /* IPv4-mapped IPv6 counts as IPv4 */
/* One lies in the other. */
bool net_cidr_overlaps(const struct net_cidr *a, const struct net_cidr *b);
/* An address as the network of its whole length; family 0: it is neither. */
struct net_cidr net_cidr_of(const struct sockaddr *a);
void net_addr_text(const struct sockaddr *a, char ret_text[46]);
/* 0: it is neither IPv4 nor IPv6. */
uint16_t net_addr_port(const struct sockaddr *a);
/* "192.0.2.1:25", "[2001:db8::1]:25" */
void net_addr_port_text(const struct sockaddr_storage *a, char ret_text[64]);

/* Addresses as DNS gives them: what may be mailed to, equality, text. IPv6 that only wraps an IPv4
 * address (RFC 4291 mapped) is that IPv4 address. Pure. */
#pragma once
#include "dns/answer.h"
#include "relay/base/ip.h"

enum ip_reach dns_ip_reach(const struct dns_ip *ip);
/* Mapped addresses become IPv4. */
struct dns_ip dns_ip_plain(const struct dns_ip *ip);
bool dns_ip_eq(const struct dns_ip *a, const struct dns_ip *b);
bool dns_ip_parse(struct slice text, struct dns_ip *ret); /* "192.0.2.1", "2001:db8::1"; no zone */
/* The name that its PTR records have: "1.2.0.192.in-addr.arpa" (RFC 1035 section 3.5), by nibbles
 * under ip6.arpa (RFC 3596 section 2.5). */
void dns_ip_reverse(const struct dns_ip *ip, char ret_name[DNS_NAME_SIZE]);
void dns_ip_text(const struct dns_ip *ip, char ret_text[46]);
struct sockaddr_storage dns_ip_sockaddr(const struct dns_ip *ip, uint16_t port);
bool dns_ip_of_sockaddr(const struct sockaddr_storage *s, struct dns_ip *ret, uint16_t *ret_port);

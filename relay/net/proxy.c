/*
 * version 1 (section 2.1):
 *   line    = "PROXY" SP ( "TCP4" SP ip4 SP ip4 SP port SP port
 *                        / "TCP6" SP ip6 SP ip6 SP port SP port
 *                        / "UNKNOWN" *CHAR ) CRLF                          ; at most 107 octets
 * version 2 (section 2.2), numbers in network order:
 *   header  = signature(12) version-and-command(1) family-and-transport(1) length(2) block(length)
 *   block   = addresses *( type(1) length(2) value(length) )
 * The block of LOCAL and of UNSPEC is passed over unread. Addresses of Unix and datagram sockets
 * are none of ours, but the vectors behind them are looked at.
 */
#include "relay/net/proxy.h"
#include "relay/base/crc32c.h"
#include <arpa/inet.h>
#include <netinet/in.h>

enum { HEAD_BYTES = 16, TLV_HEAD_BYTES = 3, TLV_CRC32C = 3, CRC_BYTES = 4 };

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static struct proxy_header bad(const char *why)
{
    return (struct proxy_header){.verdict = PROXY_BAD, .why = why};
}

static struct proxy_header done(size_t n)
{
    return (struct proxy_header){.verdict = PROXY_DONE, .n = n};
}

/* As far as both go, s is what stands at the beginning of `wanted`, or the other way round. */
static bool begins_like(struct slice s, struct slice wanted)
{
    size_t n = s.n < wanted.n ? s.n : wanted.n;
    return n == 0 || memcmp(s.p, wanted.p, n) == 0;
}

static void set_end(struct sockaddr_storage *to, int family, const uint8_t *ip, uint16_t port)
{
    *to = (struct sockaddr_storage){.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)to;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, ip, 4);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
        in6->sin6_port = htons(port);
        memcpy(&in6->sin6_addr, ip, 16);
    }
}

/* --- version 1 ------------------------------------------------------------------------------- */

/* inet_pton is as strict as the protocol: four decimals without leading zeros, 128 bits. */
static bool read_ip(struct slice word, int family, uint8_t ret[16])
{
    char text[INET6_ADDRSTRLEN];
    if (word.n == 0 || word.n >= sizeof text || slice_find(word, 0) < word.n)
        return false;
    memcpy(text, word.p, word.n);
    text[word.n] = 0;
    return inet_pton(family, text, ret) == 1;
}

static bool read_port(struct slice word, uint16_t *ret)
{
    uint64_t port = 0;
    if (!slice_u64(word, 65535, &port) || (word.n > 1 && word.p[0] == '0'))
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* rest: "ip SP ip SP port SP port" */
static struct proxy_header read_ends(struct slice rest, int family, size_t n)
{
    struct proxy_header h = done(n);
    uint8_t peer[16], local[16];
    uint16_t peer_port = 0, local_port = 0;
    if (!read_ip(slice_cut(&rest, ' '), family, peer) ||
        !read_ip(slice_cut(&rest, ' '), family, local))
        return bad("an address that is none");
    if (!read_port(slice_cut(&rest, ' '), &peer_port) || !read_port(rest, &local_port))
        return bad("a port that is none");
    h.has_peer = true;
    set_end(&h.peer, family, peer, peer_port);
    set_end(&h.local, family, local, local_port);
    return h;
}

static struct proxy_header read_line(struct slice line)
{
    struct slice rest = slice_skip(line, 6); /* "PROXY " */
    size_t n = line.n + 2;
    if (slice_starts(rest, SLICE_LIT("TCP4 ")))
        return read_ends(slice_skip(rest, 5), AF_INET, n);
    if (slice_starts(rest, SLICE_LIT("TCP6 ")))
        return read_ends(slice_skip(rest, 5), AF_INET6, n);
    if (slice_eq(rest, SLICE_LIT("UNKNOWN")) || slice_starts(rest, SLICE_LIT("UNKNOWN ")))
        return done(n);
    return bad("neither TCP4, TCP6 nor UNKNOWN");
}

/* A CR or an LF alone ends nothing, and stands in no line. */
static struct proxy_header parse_1(struct slice s)
{
    struct slice head = slice_head(s, PROXY_LINE_MAX);
    size_t cr = slice_find(head, '\r'), lf = slice_find(head, '\n');
    if (lf < head.n && lf != cr + 1)
        return bad("a line that does not end in CRLF");
    if (lf < head.n)
        return read_line(slice_head(head, cr));
    if (cr + 1 < head.n)
        return bad("a line that does not end in CRLF");
    if (head.n == PROXY_LINE_MAX)
        return bad("a line of more than 107 octets");
    return (struct proxy_header){.verdict = PROXY_MORE};
}

/* --- version 2 ------------------------------------------------------------------------------- */

static size_t u16_at(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* Over the whole header, with zeros in place of the sum itself (section 2.2.3). */
static bool sum_holds(struct slice header, const uint8_t *sum)
{
    static const uint8_t zeros[CRC_BYTES];
    size_t before = (size_t)(sum - header.p), behind = header.n - before - CRC_BYTES;
    uint32_t crc = crc32c(0, header.p, before);
    crc = crc32c(crc, zeros, CRC_BYTES);
    crc = crc32c(crc, sum + CRC_BYTES, behind);
    return crc == ((uint32_t)u16_at(sum) << 16 | (uint32_t)u16_at(sum + 2));
}

/* NULL, or what is wrong with the vectors behind the addresses. */
static const char *check_vectors(struct slice header, struct slice rest)
{
    while (rest.n) {
        size_t n = rest.n < TLV_HEAD_BYTES ? rest.n : u16_at(rest.p + 1);
        if (rest.n < TLV_HEAD_BYTES || rest.n - TLV_HEAD_BYTES < n)
            return "a vector that is longer than the header";
        if (rest.p[0] == TLV_CRC32C) {
            if (n != CRC_BYTES)
                return "a check sum that has not 4 octets";
            if (!sum_holds(header, rest.p + TLV_HEAD_BYTES))
                return "a check sum that does not fit";
        }
        rest = slice_skip(rest, TLV_HEAD_BYTES + n);
    }
    return NULL;
}

/* By the high half of the octet; 0: no addresses at all. */
static const struct {
    size_t ip_bytes, block_bytes;
    int family;
} families[] = {{0, 0, AF_UNSPEC}, {4, 12, AF_INET}, {16, 36, AF_INET6}, {108, 216, AF_UNIX}};

enum { FAMILIES = sizeof families / sizeof *families, TRANSPORTS = 3, STREAM = 1 };

static struct proxy_header read_block(struct slice header)
{
    unsigned command = header.p[12] & 15, family = header.p[13] >> 4, transport = header.p[13] & 15;
    struct proxy_header h = done(header.n);
    struct slice block = slice_skip(header, HEAD_BYTES);
    if (command == 0 || family == 0 || transport == 0)
        return h; /* "must … discard the protocol block": it may hold anything */
    if (block.n < families[family].block_bytes)
        return bad("a block that is too short for its addresses");
    const char *why = check_vectors(header, slice_skip(block, families[family].block_bytes));
    if (why)
        return bad(why);
    h.has_peer = transport == STREAM && families[family].family != AF_UNIX;
    if (!h.has_peer)
        return h;
    size_t n = families[family].ip_bytes;
    const uint8_t *ports = block.p + 2 * n;
    set_end(&h.peer, families[family].family, block.p, (uint16_t)u16_at(ports));
    set_end(&h.local, families[family].family, block.p + n, (uint16_t)u16_at(ports + 2));
    return h;
}

/* Each octet is judged as soon as it is there. */
static struct proxy_header parse_2(struct slice s)
{
    if (s.n > 12 && s.p[12] >> 4 != 2)
        return bad("a version that is not 2");
    if (s.n > 12 && (s.p[12] & 15) > 1)
        return bad("a command that is neither LOCAL nor PROXY");
    if (s.n > 13 && (s.p[13] >> 4 >= FAMILIES || (s.p[13] & 15) >= TRANSPORTS))
        return bad("a family or transport that is not assigned");
    if (s.n < HEAD_BYTES)
        return (struct proxy_header){.verdict = PROXY_MORE};
    size_t n = HEAD_BYTES + u16_at(s.p + 14);
    if (n > PROXY_HEADER_MAX)
        return bad("a header of more than 536 octets");
    if (s.n < n)
        return (struct proxy_header){.verdict = PROXY_MORE};
    return read_block(slice_head(s, n));
}

struct proxy_header proxy_parse(struct slice so_far)
{
    if (begins_like(so_far, SLICE_LIT("PROXY ")))
        return parse_1(so_far);
    if (begins_like(so_far, slice_of(signature, sizeof signature)))
        return parse_2(so_far);
    return bad("no PROXY header");
}

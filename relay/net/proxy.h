/*
 * The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt, 2020/03/05): the header that
 * a load balancer puts in front of a connection to say who the client is. Pure: the bytes so far
 * in, a verdict out. Whoever may send one is decided elsewhere (net_acceptor).
 *
 * Law: a prefix of the input is either undecided or decided as the whole is. A header is at most
 * PROXY_HEADER_MAX octets; what claims to be longer is refused as soon as it says so.
 */
#pragma once
#include "relay/base/slice.h"
#include <sys/socket.h>

#define PROXY_HEADER_MAX 536 /* what every TCP path carries in one segment (section 2) */
#define PROXY_LINE_MAX 107   /* version 1, with its CRLF (section 2.1) */

enum proxy_verdict {
    PROXY_MORE, /* a good beginning: feed it again with more behind it */
    PROXY_DONE,
    PROXY_BAD
};

struct proxy_header {
    enum proxy_verdict verdict;
    size_t n;        /* DONE: its octets; what stands behind is the client's */
    bool has_peer;   /* DONE: false when the connection is the balancer's own (LOCAL), or of a kind
                        that has no address here (UNKNOWN, UNSPEC, Unix, UDP): the real ends stay */
    const char *why; /* BAD: what is wrong, for the log; static */
    struct sockaddr_storage peer, local; /* has_peer: the client, and where it connected to */
};

struct proxy_header proxy_parse(struct slice so_far);

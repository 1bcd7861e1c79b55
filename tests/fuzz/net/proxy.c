/* Laws: a prefix is undecided or decided as the whole; what stands behind a header changes nothing;
 * a header is never longer than the limit, and one that claims addresses has two of one family. */
#include "relay/net/proxy.h"
#include "relay/base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct proxy_header *a, const struct proxy_header *b)
{
    return a->verdict == b->verdict && a->n == b->n && a->has_peer == b->has_peer &&
           memcmp(&a->peer, &b->peer, sizeof a->peer) == 0 &&
           memcmp(&a->local, &b->local, sizeof a->local) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_of(data, size);
    struct proxy_header whole = proxy_parse(s);
    MUST((whole.verdict == PROXY_BAD) == (whole.why != NULL));
    MUST(whole.verdict != PROXY_MORE || size < PROXY_HEADER_MAX);
    MUST(whole.n <= PROXY_HEADER_MAX && whole.n <= size);
    MUST(whole.has_peer == (whole.peer.ss_family == AF_INET || whole.peer.ss_family == AF_INET6));
    MUST(whole.peer.ss_family == whole.local.ss_family);
    for (size_t n = 0; n < size && n <= PROXY_HEADER_MAX; n++) {
        struct proxy_header part = proxy_parse(slice_head(s, n));
        MUST(part.verdict == PROXY_MORE ? whole.verdict != PROXY_DONE || n < whole.n
                                        : same(&part, &whole));
    }
    return 0;
}

/* Law: what passes is printable ASCII within the bounds; path and mailbox agree; parsing what was
 * parsed gives the same. */
#include "relay/mail/address.h"
#include "relay/base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_mailbox(struct slice s)
{
    struct address a;
    if (!address_parse(s, &a))
        return;
    MUST(s.n <= 254 && a.local.n > 0 && a.local.n <= 64 && a.domain.n <= 255);
    for (size_t i = 0; i < s.n; i++)
        MUST(s.p[i] >= 32 && s.p[i] <= 126);
    if (a.domain.n == 0) {
        MUST(slice_ieq(a.local, SLICE_LIT("postmaster")));
        return;
    }
    MUST(address_is_domain(a.domain) && a.literal == (a.domain.p[0] == '['));
    MUST(a.local.n + 1 + a.domain.n == s.n && s.p[a.local.n] == '@');
    struct buf lower = BUF_MAX(256);
    address_domain_lower(s, &lower);
    MUST(!lower.overflow && slice_ieq(buf_slice(&lower), a.domain));
    buf_done(&lower);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_of(data, size), path;
    check_mailbox(s);
    size_t n = address_parse_path(s, &path);
    if (n) {
        struct address a;
        MUST(n <= size && n <= 256 && data[n - 1] == '>');
        MUST(path.n == 0 ? n == 2 : address_parse(path, &a));
        check_mailbox(path);
    }
    (void)address_is_domain(s);
    return 0;
}

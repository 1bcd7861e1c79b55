/* Checklist 20. Law: what passes is printable ASCII, or valid UTF-8 without controls, within the
 * bounds; path and mailbox agree; parsing what was parsed gives the same; what is ASCII is the same
 * in both forms.
 */
#include "relay/mail/address.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bytes(struct slice s, enum address_form form)
{
    MUST(utf8_valid(s));
    for (size_t i = 0; i < s.n; i++)
        MUST((s.p[i] >= 32 && s.p[i] <= 126) || (form == ADDRESS_UTF8 && s.p[i] >= 0x80));
    for (uint32_t code; s.n; s = slice_skip(s, utf8_char(s, &code)))
        MUST(utf8_char(s, &code) > 0 && !utf8_is_control(code));
}

static void check_mailbox(struct slice s, enum address_form form)
{
    struct address a, b;
    if (address_is_ascii(s))
        MUST(address_parse(s, &a) == address_parse_form(s, ADDRESS_UTF8, &b));
    if (!address_parse_form(s, form, &a))
        return;
    MUST(s.n <= 254 && a.local.n > 0 && a.local.n <= 64 && a.domain.n <= 255);
    check_bytes(s, form);
    if (a.domain.n == 0) {
        MUST(slice_ieq(a.local, SLICE_LIT("postmaster")));
        return;
    }
    MUST(address_is_domain(a.domain) == address_is_ascii(a.domain));
    MUST(a.literal == (a.domain.p[0] == '['));
    MUST(a.local.n + 1 + a.domain.n == s.n && s.p[a.local.n] == '@');
    struct buf lower = BUF_MAX(256);
    address_domain_lower(s, &lower);
    MUST(!lower.overflow && slice_ieq(buf_slice(&lower), a.domain));
    buf_done(&lower);
}

static void check(struct slice s, enum address_form form)
{
    struct slice path;
    check_mailbox(s, form);
    size_t n = address_parse_path(s, form, &path);
    if (n) {
        struct address a;
        MUST(n <= s.n && n <= 256 && s.p[n - 1] == '>');
        MUST(path.n == 0 ? n == 2 : address_parse_form(path, form, &a));
        check_mailbox(path, form);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_of(data, size);
    check(s, ADDRESS_ASCII);
    check(s, ADDRESS_UTF8);
    (void)address_is_domain(s);
    return 0;
}

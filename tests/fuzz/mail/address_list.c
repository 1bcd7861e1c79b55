/*
 * Laws: each address is one without blanks, comments, controls and angles outside of quotes, and
 * has an at sign; alone, and within angles, it is a list of itself; what may have characters beyond
 * ASCII has at least the addresses of what may not. Where names without a domain are addresses too,
 * putting one behind each gives a list of as many.
 */
#include "relay/mail/address_list.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_itself(struct slice address, bool utf8, bool in_angle)
{
    struct buf text = BUF_MAX(2000), one = BUF_MAX(ADDRESS_LIST_OCTETS);
    buf_add_str(&text, in_angle ? "x y <" : "");
    buf_add(&text, address);
    buf_add_str(&text, in_angle ? ">" : "");
    struct address_list l = address_list_of(buf_slice(&text), utf8);
    MUST(address_list_next(&l, &one) == ADDRESS_LIST_ONE);
    MUST(slice_eq(buf_slice(&one), address));
    MUST(address_list_next(&l, &one) == ADDRESS_LIST_END);
    buf_done(&text);
    buf_done(&one);
}

static void check_address(struct slice a, bool utf8)
{
    bool quoted = false, at = false;
    for (size_t i = 0; i < a.n; i++) {
        MUST(a.p[i] >= 32 && a.p[i] != 127 && (utf8 || a.p[i] < 128));
        if (quoted && a.p[i] == '\\')
            i++;
        else if (a.p[i] == '"')
            quoted = !quoted;
        else if (!quoted)
            MUST(!strchr(" ()<>,;", a.p[i]));
        at |= !quoted && i < a.n && a.p[i] == '@' && i > 0 && i + 1 < a.n;
    }
    MUST(at && !quoted && utf8_valid(a));
    check_itself(a, utf8, false);
    check_itself(a, utf8, true);
}

static size_t walk(struct slice value, bool utf8)
{
    struct buf one = BUF_MAX(ADDRESS_LIST_OCTETS);
    struct address_list l = address_list_of(value, utf8);
    size_t n = 0;
    for (; address_list_next(&l, &one) == ADDRESS_LIST_ONE; n++)
        check_address(buf_slice(&one), utf8);
    buf_done(&one);
    MUST(n <= value.n);
    return n;
}

/* With names that lack a domain: those found with one are the same, and completed is completed. */
static void check_bare(struct slice value)
{
    struct buf out = BUF_MAX(4 * value.n + 100), one = BUF_MAX(ADDRESS_LIST_OCTETS);
    struct address_list l = address_list_of(value, true);
    enum address_list_found found;
    size_t at = 0, n = 0, again = 0;
    l.bare = true;
    for (; (found = address_list_next(&l, &one)) == ADDRESS_LIST_ONE; n++) {
        if (!l.bare_end)
            continue;
        const size_t end = (size_t)(l.bare_end - value.p);
        MUST(end > at && end <= value.n);
        buf_add(&out, slice_skip(slice_head(value, end), at));
        buf_add_str(&out, "@h");
        at = end;
    }
    buf_add(&out, slice_skip(value, at));
    if (found == ADDRESS_LIST_END && !out.overflow) {
        l = address_list_of(buf_slice(&out), true);
        while ((found = address_list_next(&l, &one)) == ADDRESS_LIST_ONE)
            again++;
        MUST(again == n && found == ADDRESS_LIST_END);
    }
    buf_done(&out);
    buf_done(&one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice value = slice_of(data, size);
    check_bare(value);
    MUST(walk(value, false) <= walk(value, true));
    return 0;
}

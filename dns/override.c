/*
 * line = NAME SP ( "MX" SP PREFERENCE SP ( NAME / "." ) / "A" SP IPV4 / "AAAA" SP IPV6 / "NXDOMAIN"
 * ) Words are parted by blanks or tabs, in any letter case. Several lines of one name and type are
 * one answer.
 */
#include "dns/override.h"
#include "dns/ip.h"
#include "dns/key.h"
#include "dns/name.h"
#include "relay/base/defer.h"
#include <errno.h>

enum { OVERRIDE_TTL_S = 300, OVERRIDE_LINES_MAX = 10000 };

struct row {
    char name[DNS_NAME_SIZE];
    bool is_nxdomain;
    struct dns_answer *mx, *a, *aaaa; /* NULL: no line of that type */
    UT_hash_handle hh;
};

struct dns_override {
    struct frozen frozen;
    struct row *rows;
};

static void override_free(struct frozen *f)
{
    struct dns_override *o = (struct dns_override *)f;
    while (o->rows) {
        struct row *row = o->rows;
        HASH_DEL(o->rows, row);
        dns_answer_unref(row->mx);
        dns_answer_unref(row->a);
        dns_answer_unref(row->aaaa);
        free(row);
    }
    free(o);
}

static struct slice next_word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    struct slice word = slice_head(*rest, n);
    *rest = slice_trim(slice_skip(*rest, n));
    return word;
}

static struct row *row_of(struct dns_override *o, const char *name)
{
    struct row *row;
    HASH_FIND_STR(o->rows, name, row);
    if (row)
        return row;
    row = must_alloc(sizeof *row);
    memcpy(row->name, name, sizeof row->name);
    HASH_ADD_STR(o->rows, name, row);
    return row;
}

static struct dns_answer *answer_in(struct dns_answer **slot, const struct row *row,
                                    enum dns_type type)
{
    if (!*slot) {
        *slot = dns_answer_new(DNS_OK, type, OVERRIDE_TTL_S);
        memcpy((*slot)->canonical, row->name, sizeof row->name);
    }
    return *slot;
}

static const char *add_mx(struct row *row, struct slice *rest)
{
    uint64_t preference;
    char target[DNS_NAME_SIZE] = "";
    if (!slice_u64(next_word(rest), UINT16_MAX, &preference))
        return "the preference of an MX is a number from 0 to 65535";
    struct slice word = next_word(rest);
    if (!slice_eq(word, SLICE_LIT(".")) && !dns_name_parse(word, target))
        return "the target of an MX is a host name, or \".\"";
    dns_answer_add_mx(answer_in(&row->mx, row, DNS_MX), (uint16_t)preference, target);
    return NULL;
}

static const char *add_ip(struct row *row, struct slice *rest, enum dns_type type)
{
    struct dns_ip ip;
    int family = type == DNS_A ? AF_INET : AF_INET6;
    if (!dns_ip_parse(next_word(rest), &ip) || ip.family != family)
        return type == DNS_A ? "A wants an IPv4 address" : "AAAA wants an IPv6 address";
    dns_answer_add_ip(answer_in(type == DNS_A ? &row->a : &row->aaaa, row, type), ip.family,
                      ip.bytes);
    return NULL;
}

static const char *add_line(struct dns_override *o, struct slice line)
{
    char name[DNS_NAME_SIZE];
    if (!dns_name_parse(next_word(&line), name))
        return "a line begins with a host name";
    struct row *row = row_of(o, name);
    struct slice type = next_word(&line);
    const char *bad = NULL;
    if (slice_ieq(type, SLICE_LIT("NXDOMAIN")))
        row->is_nxdomain = true;
    else if (slice_ieq(type, SLICE_LIT("MX")))
        bad = add_mx(row, &line);
    else if (slice_ieq(type, SLICE_LIT("A")))
        bad = add_ip(row, &line, DNS_A);
    else if (slice_ieq(type, SLICE_LIT("AAAA")))
        bad = add_ip(row, &line, DNS_AAAA);
    else
        bad = "behind the name stands MX, A, AAAA or NXDOMAIN";
    if (!bad && line.n)
        bad = "there is more on the line than belongs there";
    if (!bad && row->is_nxdomain && (row->mx || row->a || row->aaaa))
        bad = "a name cannot be NXDOMAIN and have records";
    return bad;
}

int dns_override_new(struct dns_override **ret, const struct slice *lines, size_t n, struct err *e)
{
    if (n > OVERRIDE_LINES_MAX)
        return err_set(e, -E2BIG, "override: more than %d lines", OVERRIDE_LINES_MAX);
    struct dns_override *o = must_alloc(sizeof *o);
    frozen_init(&o->frozen, override_free);
    for (size_t i = 0; i < n; i++) {
        const char *bad = add_line(o, lines[i]);
        if (!bad)
            continue;
        dns_override_unref(o);
        return err_set(e, -EINVAL, "override \"%.*s\": %s", SLICE_ARG(slice_head(lines[i], 300)),
                       bad);
    }
    *ret = o;
    return 0;
}

struct dns_override *dns_override_ref(struct dns_override *o)
{
    return o ? (struct dns_override *)frozen_ref(&o->frozen) : NULL;
}

void dns_override_unref(struct dns_override *o)
{
    frozen_unref(o ? &o->frozen : NULL);
}

struct dns_answer *dns_override_find(const struct dns_override *o, const char *name,
                                     enum dns_type type)
{
    struct row *row;
    HASH_FIND_STR(o->rows, name, row);
    if (!row)
        return NULL;
    struct dns_answer *a = type == DNS_MX     ? row->mx
                           : type == DNS_A    ? row->a
                           : type == DNS_AAAA ? row->aaaa
                                              : NULL;
    return a ? dns_answer_ref(a)
             : dns_answer_new(row->is_nxdomain ? DNS_NXDOMAIN : DNS_NODATA, type, OVERRIDE_TTL_S);
}

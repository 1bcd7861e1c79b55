#include "dns/host.h"
#include "dns/name.h"

/* What was seen besides usable addresses: the reason when there are none. */
struct sight {
    struct dns_ip usable[2][HOST_ADDRS_MAX]; /* IPv6, IPv4 */
    size_t n[2];
    bool self, here, unfit, no_family;
};

/* port 0: any */
static bool is_listed(const struct dns_ip *ip, uint16_t port, const struct sockaddr_storage *list,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dns_ip one;
        uint16_t at;
        if (dns_ip_of_sockaddr(&list[i], &one, &at) && (port == 0 || at == 0 || at == port) &&
            dns_ip_eq(ip, &one))
            return true;
    }
    return false;
}

/* 41: our address on a port where we listen. */
static bool is_own(const struct dns_ip *ip, const struct host_rules *r)
{
    return is_listed(ip, r->port, r->o->own, r->o->n_own);
}

/* 47: another port of this machine, or of an address where we listen. Who sends mail may not have
 * us call what runs beside us, behind whatever keeps strangers out. */
static bool is_here(const struct dns_ip *ip, const struct host_rules *r)
{
    return is_listed(ip, 0, r->o->here, r->o->n_here) || is_listed(ip, 0, r->o->own, r->o->n_own);
}

enum fitness { FIT, FIT_SELF, FIT_NEVER, FIT_PRIVATE, FIT_HERE, FIT_NO_FAMILY };

static enum fitness fitness_of(const struct dns_ip *ip, const struct host_rules *r)
{
    enum ip_reach reach = dns_ip_reach(ip);
    if (is_own(ip, r))
        return FIT_SELF;
    if (reach == IP_NEVER)
        return FIT_NEVER;
    if (reach == IP_PRIVATE && !r->allow_private) /* 47 */
        return FIT_PRIVATE;
    if (!r->allow_private && is_here(ip, r))
        return FIT_HERE;
    return (ip->family == AF_INET6 ? r->o->ipv6 : r->o->ipv4) ? FIT : FIT_NO_FAMILY;
}

static void look_at(const struct dns_ip *given, const struct host_rules *r, struct sight *s)
{
    struct dns_ip ip = dns_ip_plain(given);
    enum fitness fit = fitness_of(&ip, r);
    size_t family = ip.family == AF_INET6 ? 0 : 1;
    s->self = s->self || fit == FIT_SELF;
    s->unfit = s->unfit || fit == FIT_NEVER || fit == FIT_PRIVATE;
    s->here = s->here || fit == FIT_HERE;
    s->no_family = s->no_family || fit == FIT_NO_FAMILY;
    if (fit == FIT && s->n[family] < HOST_ADDRS_MAX)
        s->usable[family][s->n[family]++] = ip;
}

const char *host_address_why(const struct dns_ip *ip, const struct host_rules *r)
{
    static const char *const words[] = {
        [FIT] = "",
        [FIT_SELF] = "this relay itself listens there",
        [FIT_NEVER] = "never the address of a receiver",
        [FIT_PRIVATE] = "a private address, which delivery.allow-private-addresses does not allow",
        [FIT_HERE] = "an address of this machine, where another program listens",
        [FIT_NO_FAMILY] = "the destination has no source address of this family"};
    struct dns_ip plain = dns_ip_plain(ip);
    return words[fitness_of(&plain, r)];
}

static void look_through(const struct dns_answer *a, const struct host_rules *r, struct sight *s)
{
    if (!a || a->status != DNS_OK)
        return;
    if (r->own_name[0] && slice_ieq(slice_str(a->canonical), slice_str(r->own_name)))
        s->self = true;
    for (size_t i = 0; i < a->n; i++)
        look_at(&a->ip[i], r, s);
}

/* 42: within the cap both families keep their place. */
static void interleave(const struct sight *s, struct host_finding *ret)
{
    for (size_t i = 0; i < HOST_ADDRS_MAX; i++)
        for (size_t family = 0; family < 2; family++)
            if (i < s->n[family] && ret->n < HOST_ADDRS_MAX)
                ret->ip[ret->n++] = s->usable[family][i];
}

static bool has_status(const struct dns_answer *a, enum dns_status status)
{
    return a && a->status == status;
}

static struct host_finding found(enum host_state state, enum fault fault, const char *why)
{
    return (struct host_finding){.state = state, .fault = fault, .why = why};
}

static struct host_finding judge_sight(const struct sight *s, const struct dns_answer *a4,
                                       const struct dns_answer *a6)
{
    if (s->self)
        return found(HOST_SELF, FAULT_LOOP, "this is our own address");
    if (s->n[0] || s->n[1]) /* 37: one family is enough, whatever became of the other */
        return found(HOST_USABLE, FAULT_NONE, "");
    if (has_status(a4, DNS_NO_SERVER) || has_status(a6, DNS_NO_SERVER)) /* 96 */
        return found(HOST_SOFT, FAULT_LOCAL, "no name server of ours can be reached");
    if (has_status(a4, DNS_SERVFAIL) || has_status(a6, DNS_SERVFAIL))
        return found(HOST_SOFT, FAULT_DNS_SERVFAIL, "address look-up failed");
    if (has_status(a4, DNS_TIMEOUT) || has_status(a6, DNS_TIMEOUT))
        return found(HOST_SOFT, FAULT_DNS_TIMEOUT, "address look-up timed out");
    if (s->no_family) /* 38: the host exists; it is we who cannot go there */
        return found(HOST_SOFT, FAULT_CONNECT_FAILED, "no address of a family that we send from");
    if (s->here)
        return found(HOST_SOFT, FAULT_OWN_ADDRESS, "is this machine's address");
    if (s->unfit)
        return found(HOST_PRIVATE, FAULT_PRIVATE_ADDRESS, "no public address");
    if (has_status(a4, DNS_NODATA) || has_status(a6, DNS_NODATA))
        return found(HOST_NONE, FAULT_DNS_NODATA, "has no address");
    return found(HOST_NONE, FAULT_DNS_NXDOMAIN, "does not exist");
}

void host_judge(const struct dns_answer *a4, const struct dns_answer *a6,
                const struct host_rules *r, struct host_finding *ret)
{
    struct sight s = {0};
    look_through(a6, r, &s);
    look_through(a4, r, &s);
    *ret = judge_sight(&s, a4, a6);
    if (ret->state == HOST_USABLE)
        interleave(&s, ret);
}

static bool parse_port(struct slice text, uint16_t *ret)
{
    uint64_t port;
    if (!slice_u64(text, UINT16_MAX, &port) || port == 0)
        return false;
    *ret = (uint16_t)port;
    return true;
}

bool host_parse(struct slice text, uint16_t default_port, char ret_name[DNS_NAME_SIZE],
                struct dns_ip *ret_ip, uint16_t *ret_port)
{
    struct slice rest = text, host;
    uint16_t port = default_port;
    bool is_bracketed = text.n && text.p[0] == '[';
    if (is_bracketed) {
        if (slice_find(text, ']') == text.n)
            return false;
        rest = slice_skip(rest, 1);
        host = slice_cut(&rest, ']');
        if (rest.n && rest.p[0] != ':')
            return false;
    } else {
        host = slice_head(text, slice_find(text, ':'));
        rest = slice_skip(text, host.n);
    }
    if (rest.n && !parse_port(slice_skip(rest, 1), &port))
        return false;
    struct dns_ip ip = {0};
    if (!dns_ip_parse(host, &ip) && !dns_name_parse(host, ret_name))
        return false;
    if (ip.family)
        ret_name[0] = 0;
    *ret_ip = ip;
    *ret_port = port;
    return true;
}

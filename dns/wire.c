/*
 * Message = Header Question Answer Authority Additional (RFC 1035 section 4). libresolv finds the
 * records and unpacks names; this file decides what they mean. Nothing is believed of a message
 * that is damaged anywhere, or that answers another question.
 */
#include "dns/answer.h"
#include "dns/name.h"
#include <arpa/nameser.h>
#include <resolv.h>

enum { CNAME_MAX = 8, NEGATIVE_TTL_MAX = 900, RDATA_SOA_MIN = 22 };

struct reading {
    ns_msg msg;
    struct slice packet;
    enum dns_type type;
    char name[NS_MAXDNAME]; /* whose records are looked for: the end of the CNAME chain so far */
    uint32_t ttl_s;         /* of the chain */
    bool has_alias;
};

struct authority {
    bool has_soa, has_ns;
    uint32_t ttl_s;
};

static bool same_name(const char *a, const char *b)
{
    return slice_ieq(slice_str(a), slice_str(b));
}

/* RFC 2181 section 8: the top bit set means zero. */
static uint32_t ttl_of(const ns_rr *rr)
{
    uint32_t ttl = (uint32_t)ns_rr_ttl(*rr);
    return ttl > INT32_MAX ? 0 : ttl;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static int count_of(const struct reading *r, ns_sect section)
{
    return ns_msg_count(r->msg, section);
}

/* A name inside rdata that must fill it to the end. */
static bool unpack_name(const struct reading *r, const ns_rr *rr, size_t at, char *ret, size_t size)
{
    if (ns_rr_rdlen(*rr) <= at)
        return false;
    const uint8_t *from = ns_rr_rdata(*rr) + at;
    int used = ns_name_uncompress(r->packet.p, r->packet.p + r->packet.n, from, ret, size);
    return used >= 0 && (size_t)used == ns_rr_rdlen(*rr) - at;
}

/* QR set, one question, and it is ours. */
static bool is_reply_to(struct reading *r)
{
    ns_rr rr;
    if (!ns_msg_getflag(r->msg, ns_f_qr) || ns_msg_getflag(r->msg, ns_f_tc) ||
        ns_msg_getflag(r->msg, ns_f_opcode) != ns_o_query || count_of(r, ns_s_qd) != 1)
        return false;
    return ns_parserr(&r->msg, ns_s_qd, 0, &rr) == 0 && ns_rr_type(rr) == (unsigned)r->type &&
           ns_rr_class(rr) == ns_c_in && same_name(ns_rr_name(rr), r->name);
}

/* Moves r->name one alias on: 1 moved, 0 there is none, -1 damaged. */
static int follow_alias(struct reading *r)
{
    for (int i = 0; i < count_of(r, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(&r->msg, ns_s_an, i, &rr) != 0)
            return -1;
        if (ns_rr_type(rr) != ns_t_cname || ns_rr_class(rr) != ns_c_in ||
            !same_name(ns_rr_name(rr), r->name))
            continue;
        char target[NS_MAXDNAME];
        if (!unpack_name(r, &rr, 0, target, sizeof target) || strlen(target) >= DNS_NAME_SIZE)
            return -1;
        memcpy(r->name, target, strlen(target) + 1);
        r->ttl_s = smaller(r->ttl_s, ttl_of(&rr));
        r->has_alias = true;
        return 1;
    }
    return 0;
}

static bool follow_aliases(struct reading *r)
{
    for (int i = 0; i <= CNAME_MAX; i++) {
        int rc = follow_alias(r);
        if (rc <= 0)
            return rc == 0;
    }
    return false;
}

/* What is no host name cannot have an address. It is kept, in libresolv's escaped form, because
 * "there is an MX" must stay true: otherwise the domain's own address would be tried. */
static void add_mx(struct dns_answer *a, uint16_t preference, const char *target)
{
    char name[DNS_NAME_SIZE];
    if (target[0] == 0 || (target[0] == '.' && target[1] == 0))
        dns_answer_add_mx(a, preference, "");
    else if (dns_name_parse(slice_str(target), name))
        dns_answer_add_mx(a, preference, name);
    else
        dns_answer_add_mx(a, preference, strlen(target) < DNS_NAME_SIZE ? target : "\\overlong");
}

static bool add_record(const struct reading *r, const ns_rr *rr, struct dns_answer *a)
{
    char target[NS_MAXDNAME];
    const uint8_t *p = ns_rr_rdata(*rr);
    switch (r->type) {
    case DNS_A:
        if (ns_rr_rdlen(*rr) != 4)
            return false;
        dns_answer_add_ip(a, AF_INET, p);
        return true;
    case DNS_AAAA:
        if (ns_rr_rdlen(*rr) != 16)
            return false;
        dns_answer_add_ip(a, AF_INET6, p);
        return true;
    case DNS_PTR:
        if (!unpack_name(r, rr, 0, target, sizeof target))
            return false;
        add_mx(a, 0, target);
        return true;
    case DNS_MX:
        if (ns_rr_rdlen(*rr) < 3 || !unpack_name(r, rr, 2, target, sizeof target))
            return false;
        add_mx(a, (uint16_t)((p[0] << 8) | p[1]), target);
        return true;
    }
    return false;
}

/* The records of r->name; false: damaged. */
static bool read_records(struct reading *r, struct dns_answer *a)
{
    a->ttl_s = r->ttl_s;
    for (int i = 0; i < count_of(r, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(&r->msg, ns_s_an, i, &rr) != 0)
            return false;
        if (ns_rr_type(rr) != (unsigned)r->type || ns_rr_class(rr) != ns_c_in ||
            !same_name(ns_rr_name(rr), r->name))
            continue;
        if (!add_record(r, &rr, a))
            return false;
        a->ttl_s = smaller(a->ttl_s, ttl_of(&rr));
    }
    return true;
}

/* RFC 2308 section 5: a "no" lives as long as the smaller of the SOA's own TTL and its MINIMUM
 * field, the last of its rdata. */
static bool read_authority(struct reading *r, struct authority *ret)
{
    for (int i = 0; i < count_of(r, ns_s_ns); i++) {
        ns_rr rr;
        if (ns_parserr(&r->msg, ns_s_ns, i, &rr) != 0)
            return false;
        ret->has_ns |= ns_rr_type(rr) == ns_t_ns;
        if (ns_rr_type(rr) != ns_t_soa || ret->has_soa)
            continue;
        size_t n = ns_rr_rdlen(rr);
        if (n < RDATA_SOA_MIN)
            return false;
        uint32_t minimum = (uint32_t)ns_get32(ns_rr_rdata(rr) + n - 4);
        ret->has_soa = true;
        ret->ttl_s = smaller(smaller(ttl_of(&rr), minimum), NEGATIVE_TTL_MAX);
    }
    return true;
}

/* NOERROR without records is NODATA, except from a server that does not know: a referral to others,
 * or an alias out of its zone that nobody followed (RFC 2308 section 2.2). */
static enum dns_status status_of_empty(struct reading *r, const struct authority *au)
{
    if (au->has_soa)
        return DNS_NODATA;
    bool is_referral = au->has_ns && !ns_msg_getflag(r->msg, ns_f_aa);
    bool is_open_alias = r->has_alias && !ns_msg_getflag(r->msg, ns_f_ra);
    return is_referral || is_open_alias ? DNS_SERVFAIL : DNS_NODATA;
}

static enum dns_status read_message(struct reading *r, struct dns_answer *a)
{
    struct authority au = {0};
    if (!is_reply_to(r) || !follow_aliases(r))
        return DNS_SERVFAIL;
    int rcode = ns_msg_getflag(r->msg, ns_f_rcode);
    if ((rcode != ns_r_noerror && rcode != ns_r_nxdomain) || !read_records(r, a) ||
        !read_authority(r, &au))
        return DNS_SERVFAIL;
    /* Records of a name that "does not exist": neither half is believed. */
    if (rcode == ns_r_nxdomain && a->n > 0)
        return DNS_SERVFAIL;
    if (a->n > 0)
        return DNS_OK;
    a->ttl_s = smaller(a->ttl_s, au.ttl_s);
    return rcode == ns_r_nxdomain ? DNS_NXDOMAIN : status_of_empty(r, &au);
}

struct dns_answer *dns_wire_read(struct slice packet, struct slice name, enum dns_type type)
{
    struct reading r = {.packet = packet, .type = type, .ttl_s = INT32_MAX};
    struct dns_answer *a = dns_answer_new(DNS_SERVFAIL, type, 0);
    if (packet.n < NS_HFIXEDSZ || packet.n > NS_MAXMSG || name.n >= DNS_NAME_SIZE ||
        ns_initparse(packet.p, (int)packet.n, &r.msg) != 0)
        return a;
    memcpy(r.name, name.p, name.n);
    a->status = read_message(&r, a);
    if (a->status == DNS_SERVFAIL) { /* nothing half read leaves here */
        dns_answer_unref(a);
        return dns_answer_new(DNS_SERVFAIL, type, 0);
    }
    a->secure = ns_msg_getflag(r.msg, ns_f_ad) != 0;
    for (size_t i = 0; r.name[i]; i++)
        a->canonical[i] = (char)byte_lower((uint8_t)r.name[i]);
    return a;
}

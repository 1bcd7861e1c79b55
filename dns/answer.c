#include "dns/answer.h"
#include "relay/base/must.h"
#include <stdlib.h>

static void answer_free(struct frozen *f)
{
    struct dns_answer *a = (struct dns_answer *)f;
    free(a->mx);
    free(a->ip);
    free(a);
}

struct dns_answer *dns_answer_new(enum dns_status status, enum dns_type type, uint32_t ttl_s)
{
    struct dns_answer *a = must_alloc(sizeof *a);
    frozen_init(&a->frozen, answer_free);
    a->status = status;
    a->type = type;
    a->ttl_s = ttl_s;
    return a;
}

static int mx_order(const struct dns_mx *m, uint16_t preference, const char *target)
{
    if (m->preference != preference)
        return m->preference < preference ? -1 : 1;
    return strcmp(m->target, target);
}

/* Room for one more, doubling: few answers hold more than two or three. */
static void *grown(void *p, size_t n, size_t size)
{
    bool is_full = (n & (n - 1)) == 0;
    return is_full ? must_realloc(p, (n ? 2 * n : 1) * size) : p;
}

void dns_answer_add_mx(struct dns_answer *a, uint16_t preference, const char *target)
{
    size_t at = a->n;
    while (at > 0 && mx_order(&a->mx[at - 1], preference, target) > 0)
        at--;
    if (at == DNS_MX_MAX || (at > 0 && mx_order(&a->mx[at - 1], preference, target) == 0))
        return;
    MUST(strlen(target) < DNS_NAME_SIZE);
    if (a->n == DNS_MX_MAX)
        a->n--;
    else
        a->mx = grown(a->mx, a->n, sizeof *a->mx);
    memmove(&a->mx[at + 1], &a->mx[at], (a->n - at) * sizeof *a->mx);
    a->n++;
    memset(&a->mx[at], 0, sizeof a->mx[at]);
    a->mx[at].preference = preference;
    memcpy(a->mx[at].target, target, strlen(target));
}

void dns_answer_add_ip(struct dns_answer *a, int family, const uint8_t *bytes)
{
    struct dns_ip ip = {.family = family};
    memcpy(ip.bytes, bytes, family == AF_INET ? 4 : 16);
    for (size_t i = 0; i < a->n; i++)
        if (a->ip[i].family == family && memcmp(a->ip[i].bytes, ip.bytes, sizeof ip.bytes) == 0)
            return;
    if (a->n == DNS_IP_MAX)
        return;
    a->ip = grown(a->ip, a->n, sizeof *a->ip);
    a->ip[a->n++] = ip;
}

struct dns_answer *dns_answer_with_ttl(struct dns_answer *a, uint32_t ttl_s)
{
    if (a->ttl_s == ttl_s)
        return dns_answer_ref(a);
    struct dns_answer *copy = dns_answer_new(a->status, a->type, ttl_s);
    copy->secure = a->secure;
    memcpy(copy->canonical, a->canonical, sizeof copy->canonical);
    copy->n = a->n;
    if (a->mx) {
        copy->mx = must_alloc(a->n * sizeof *a->mx);
        memcpy(copy->mx, a->mx, a->n * sizeof *a->mx);
    }
    if (a->ip) {
        copy->ip = must_alloc(a->n * sizeof *a->ip);
        memcpy(copy->ip, a->ip, a->n * sizeof *a->ip);
    }
    return copy;
}

const char *dns_status_name(enum dns_status s)
{
    switch (s) {
    case DNS_OK:
        return "ok";
    case DNS_NXDOMAIN:
        return "nxdomain";
    case DNS_NODATA:
        return "nodata";
    case DNS_SERVFAIL:
        return "servfail";
    case DNS_TIMEOUT:
        return "timeout";
    case DNS_NO_SERVER:
        return "no_server";
    }
    UNREACHABLE();
}

/* First byte: the type asked; the rest: a message that says it answers example.test. Law: what
 * comes out is sorted, bounded, lower case, free of control bytes and has records exactly when it
 * is OK; reading the same bytes again gives the same. */
#include "dns/answer.h"
#include "dns/name.h"
#include "relay/base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
    MUST(strlen(text) < DNS_NAME_SIZE);
    for (; *text; text++)
        MUST(*text > 32 && *text < 127);
}

static void check_mx(const struct dns_answer *a)
{
    char name[DNS_NAME_SIZE];
    MUST(a->n <= DNS_MX_MAX);
    for (size_t i = 0; i < a->n; i++) {
        check_text(a->mx[i].target);
        MUST(i == 0 || a->mx[i - 1].preference <= a->mx[i].preference);
        if (dns_name_parse(slice_str(a->mx[i].target), name))
            MUST(strcmp(name, a->mx[i].target) == 0);
    }
}

static void check(const struct dns_answer *a, enum dns_type type)
{
    MUST(a->type == type && (a->status == DNS_OK) == (a->n > 0) && a->ttl_s <= INT32_MAX);
    MUST(a->status != DNS_TIMEOUT);
    check_text(a->canonical);
    if (a->status != DNS_OK)
        MUST(a->ttl_s <= 900);
    if (type == DNS_MX)
        check_mx(a);
    else
        MUST(a->n <= DNS_IP_MAX);
    for (size_t i = 0; type != DNS_MX && i < a->n; i++)
        MUST(a->ip[i].family == (type == DNS_A ? AF_INET : AF_INET6));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_MX, DNS_A, DNS_AAAA};
    if (size == 0)
        return 0;
    enum dns_type type = types[data[0] % 3];
    struct slice packet = slice_of(data + 1, size - 1);
    struct dns_answer *a = dns_wire_read(packet, SLICE_LIT("example.test"), type);
    struct dns_answer *b = dns_wire_read(packet, SLICE_LIT("example.test"), type);
    check(a, type);
    MUST(a->status == b->status && a->n == b->n && strcmp(a->canonical, b->canonical) == 0);
    dns_answer_unref(a);
    dns_answer_unref(b);
    return 0;
}

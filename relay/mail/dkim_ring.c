/* Whose keys sign mail of which author. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/address_list.h"
#include "relay/mail/dkim.h"
#include "relay/mail/header.h"
#include <stdlib.h>

struct dkim_ring {
    struct dkim_domain **list; /* by name: ten thousand domains cost a message a dozen looks */
    size_t n;
};

struct dkim_ring *dkim_ring_new(void)
{
    return must_alloc(sizeof(struct dkim_ring));
}

static void domain_free(struct dkim_domain *d)
{
    for (size_t k = 0; k < d->n; k++)
        dkim_key_free(d->keys[k].key);
    free(d);
}

void dkim_ring_free(struct dkim_ring *r)
{
    for (size_t i = 0; r && i < r->n; i++)
        domain_free(r->list[i]);
    if (r)
        free(r->list);
    free(r);
}

void dkim_ring_add(struct dkim_ring *r, const struct dkim_domain *d)
{
    struct dkim_domain *copy = must_alloc(sizeof *copy);
    *copy = *d;
    if ((r->n & (r->n - 1)) == 0)
        r->list = must_realloc(r->list, (r->n ? r->n * 2 : 1) * sizeof(struct dkim_domain *));
    size_t at = r->n++;
    for (; at > 0 && strcmp(r->list[at - 1]->name, d->name) > 0; at--)
        r->list[at] = r->list[at - 1];
    r->list[at] = copy;
}

static int by_name(const void *name, const void *element)
{
    const struct dkim_domain *const *d = element;
    return slice_cmp(*(const struct slice *)name, slice_str((*d)->name));
}

static const struct dkim_domain *find(const struct dkim_ring *r, struct slice name)
{
    struct dkim_domain *const *found =
        bsearch(&name, r->list, r->n, sizeof(struct dkim_domain *), by_name);
    return found ? *found : NULL;
}

const struct dkim_domain *dkim_ring_find(const struct dkim_ring *r, struct slice domain)
{
    if (!r || r->n == 0)
        return NULL;
    const struct dkim_domain *d = find(r, domain);
    while (!d && domain.n > 0) {
        slice_cut(&domain, '.');
        d = find(r, domain);
        if (d && !d->subdomains)
            d = NULL;
    }
    return d;
}

bool dkim_selector_ok(struct slice s)
{
    char name[DNS_NAME_SIZE];
    if (s.n > DKIM_SELECTOR_MAX || slice_find(s, '_') < s.n)
        return false;
    for (struct slice rest = s; rest.n > 0;) {
        const struct slice label = slice_cut(&rest, '.');
        if (label.n > 0 && (label.p[0] == '-' || label.p[label.n - 1] == '-'))
            return false;
    }
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80 || s.p[i] != byte_lower(s.p[i]))
            return false;
    /* A last label of digits only is no end of a host name, and a good selector. */
    DEFER(buf_done) struct buf below = BUF_MAX(DNS_NAME_SIZE);
    buf_add(&below, s);
    buf_add_str(&below, "._domainkey");
    return s.n > 0 && dns_name_parse(buf_slice(&below), name);
}

static bool next_from(struct slice *section, struct header_field *ret)
{
    while (header_next(section, ret))
        if (slice_ieq(ret->name, SLICE_LIT("From")))
            return true;
    return false;
}

bool dkim_author(struct slice section, char ret[DNS_NAME_SIZE])
{
    DEFER(buf_done) struct buf address = BUF_MAX(ADDRESS_LIST_OCTETS);
    struct header_field from;
    if (!next_from(&section, &from))
        return false;
    struct address_list list = address_list_of(from.value, true);
    return address_list_next(&list, &address) == ADDRESS_LIST_ONE &&
           dns_name_parse(slice_behind_last(buf_slice(&address), '@'), ret);
}

/* The sections `dkim`: whose mail is signed, and the keys themselves, which are read apart from the
 * text because every verb reads that and not everybody may read them. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/conf/options.h"
#include "relay/mail/dkim.h"
#include <errno.h>
#include <stdio.h>

/* ---- the text ---- */

static void check_selectors(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_list *list = &o->c.dkim[i].selector;
    for (size_t k = 0; k < list->n; k++) {
        if (!dkim_selector_ok(slice_str(list->items[k])))
            tell_at(t, o, S_DKIM, "selector", i,
                    "selector: \"%s\" is not a selector such as s2026: 1 to 63 lower-case letters, "
                    "digits, - and dots",
                    list->items[k]);
        for (size_t n = 0; n < k; n++)
            if (strcmp(list->items[n], list->items[k]) == 0)
                tell_at(t, o, S_DKIM, "selector", i,
                        "selector: \"%s\" stands there twice: each key has a name of its own",
                        list->items[k]);
    }
}

static void check_pairs(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_dkim *d = &o->c.dkim[i];
    if (d->selector.n == 0 && d->key.n == 0)
        tell_at(t, o, S_DKIM, "key", i, "dkim \"%s\" has no key: `postwain dkim key %s` makes one",
                d->domain, d->domain);
    else if (d->selector.n != d->key.n)
        tell_at(t, o, S_DKIM, d->key.n ? "key" : "selector", i,
                "dkim \"%s\" needs a key for each selector, in the same order", d->domain);
    else if (d->key.n > DKIM_KEYS_MAX)
        tell_at(t, o, S_DKIM, "key", i, "dkim \"%s\" has more than %d keys", d->domain,
                DKIM_KEYS_MAX);
    for (size_t k = 0; k < d->key.n; k++)
        if (!d->key.items[k][0])
            tell_at(t, o, S_DKIM, "key", i, "dkim \"%s\": an empty name of a file", d->domain);
}

/* In any letter case, in Unicode or as A-labels: one domain has one section. */
static void check_domain(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_dkim *list = o->c.dkim;
    char name[DNS_NAME_SIZE], other[DNS_NAME_SIZE];
    if (!dns_name_parse(slice_str(list[i].domain), name)) {
        tell_at(t, o, S_DKIM, "key", i,
                "dkim \"%s\": its title is not a domain such as example.com, that of From: "
                "addresses",
                list[i].domain);
        return;
    }
    for (size_t k = 0; k < i; k++)
        if (dns_name_parse(slice_str(list[k].domain), other) && strcmp(name, other) == 0)
            tell_at(t, o, S_DKIM, "key", i,
                    "dkim \"%s\" is the domain of dkim \"%s\": write its keys there, as lists",
                    list[i].domain, list[k].domain);
}

void sign_rules(struct conf_own *o, struct teller *t)
{
    for (size_t i = 0; i < o->c.n_dkim; i++) {
        check_domain(o, t, i);
        check_pairs(o, t, i);
        check_selectors(o, t, i);
    }
}

/* ---- the keys ---- */

static struct dkim_key *load_key(const struct conf_own *o, struct teller *t, size_t i, size_t k)
{
    const char *path = o->c.dkim[i].key.items[k];
    struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX);
    struct dkim_key *key = NULL;
    struct err e;
    const int rc = conf_file_read(path, &pem);
    if (rc < 0)
        tell_at(t, o, S_DKIM, "key", i, "key: %s: %s", path,
                rc == -E2BIG ? "it is too long for a key" : strerror(-rc));
    else if (dkim_key_read(&key, buf_slice(&pem), &e) < 0)
        tell_at(t, o, S_DKIM, "key", i, "key: %s: %s", path, e.text);
    if (pem.n > 0)
        explicit_bzero(pem.p, pem.n);
    buf_done(&pem);
    return key;
}

static void load_domain(const struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_dkim *c = &o->c.dkim[i];
    struct dkim_domain d = {.subdomains = c->subdomains};
    MUST(dns_name_parse(slice_str(c->domain), d.name));
    for (size_t k = 0; k < c->key.n; k++) {
        struct dkim_key *key = load_key(o, t, i, k);
        if (!key)
            continue;
        snprintf(d.keys[d.n].selector, sizeof d.keys[d.n].selector, "%s", c->selector.items[k]);
        d.keys[d.n++].key = key;
    }
    dkim_ring_add(o->c.dkim_keys, &d);
}

unsigned conf_load_keys(struct conf *c, conf_say *say, void *ctx)
{
    struct teller t = {.say = say, .ctx = ctx, .path = c->path};
    if (c->n_dkim == 0 || c->dkim_keys)
        return 0;
    c->dkim_keys = dkim_ring_new();
    for (size_t i = 0; i < c->n_dkim; i++)
        load_domain((const struct conf_own *)c, &t, i);
    return t.problems;
}

void sign_free(struct dkim_ring *keys)
{
    dkim_ring_free(keys);
}

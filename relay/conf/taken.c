/*
 * What is named twice: addresses to listen on, and paths that the daemon writes to. The text alone
 * shows it; the start would show it too, or worse: nobody.
 *
 * Two listeners collide at the same address and port. One at 0.0.0.0 (or ::) beside one at an
 * address of its own does not: the kernel gives a connection to the more exact one, and [::] is not
 * 0.0.0.0 (IPV6_V6ONLY).
 *
 * http and a listener collide at the same port and at addresses of which one takes in the other;
 * http at [::] takes IPv4, too.
 *
 * The paths of the spool, the delivery log and the control socket are nothing else's.
 */
#include "relay/base/must.h"
#include "relay/conf/options.h"

struct at {
    struct ip ip;
    uint16_t port;
};

static struct at at_of(const char *address)
{
    struct at a = {0};
    struct slice host;
    MUST(host_port_split(slice_str(address), 0, &host, &a.port) && ip_parse(host, &a.ip));
    return a;
}

static bool same_ip(const struct ip *a, const struct ip *b)
{
    return a->v6 == b->v6 && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static bool is_any(const struct ip *a)
{
    static const uint8_t zeros[sizeof a->bytes];
    return memcmp(a->bytes, zeros, a->v6 ? 16 : 4) == 0;
}

/* ---- listeners ---- */

static bool same_address(const char *a, const char *b)
{
    const struct at first = at_of(a), second = at_of(b);
    return first.port == second.port && same_ip(&first.ip, &second.ip);
}

/* Against all that came before, this listener's own included. */
static void check_address(struct conf_own *o, struct teller *t, size_t i, size_t k)
{
    const struct conf_listener *list = o->c.listeners;
    for (size_t other = 0; other <= i; other++)
        for (size_t n = 0; n < (other == i ? k : list[other].address.n); n++)
            if (same_address(list[i].address.items[k], list[other].address.items[n])) {
                tell_at(t, o, S_LISTENER, "address", i,
                        "address %s is taken by listener \"%s\" already", list[i].address.items[k],
                        list[other].name);
                return;
            }
}

/* ---- http ---- */

static bool http_collides(const char *http, const char *listener)
{
    const struct at h = at_of(http), l = at_of(listener);
    if (h.port != l.port)
        return false;
    if (h.ip.v6 != l.ip.v6)
        return h.ip.v6 && is_any(&h.ip);
    return is_any(&h.ip) || is_any(&l.ip) || same_ip(&h.ip, &l.ip);
}

static void check_http(struct conf_own *o, struct teller *t)
{
    const struct conf *c = &o->c;
    for (size_t i = 0; c->http_address[0] && i < c->n_listeners; i++)
        for (size_t k = 0; k < c->listeners[i].address.n; k++)
            if (http_collides(c->http_address, c->listeners[i].address.items[k])) {
                tell_at(t, o, S_HTTP, "address", 0,
                        "http: address %s is taken by %s of listener \"%s\" already",
                        c->http_address, c->listeners[i].address.items[k], c->listeners[i].name);
                return;
            }
}

/* ---- paths ---- */

/* Its next name; what is empty or "." says nothing. */
static struct slice next_name(struct slice *path)
{
    struct slice name = SLICE_NONE;
    while (path->n && (name.n == 0 || slice_eq(name, SLICE_LIT("."))))
        name = slice_cut(path, '/');
    return slice_eq(name, SLICE_LIT(".")) ? SLICE_NONE : name;
}

static bool same_path(const char *a, const char *b)
{
    struct slice first = slice_str(a), second = slice_str(b);
    if (!a[0] || !b[0] || (a[0] == '/') != (b[0] == '/'))
        return false;
    for (;;) {
        struct slice of_first = next_name(&first), of_second = next_name(&second);
        if (!slice_eq(of_first, of_second))
            return false;
        if (of_first.n == 0)
            return true;
    }
}

struct named {
    enum conf_section section;
    const char *key;
    size_t instance;
    const char *path;
};

static void against(struct conf_own *o, struct teller *t, const struct named *written, size_t n,
                    const struct named *one)
{
    for (size_t i = 0; i < n; i++)
        if (same_path(written[i].path, one->path)) {
            tell_at(t, o, one->section, one->key, one->instance,
                    "%s: %s is the path of %s.%s already", one->key, one->path,
                    section_name(written[i].section), written[i].key);
            return;
        }
}

enum { WRITTEN = 3 };

static void against_all(struct conf_own *o, struct teller *t, const struct named written[WRITTEN],
                        enum conf_section s, const char *key, size_t instance,
                        const struct conf_list *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        against(o, t, written, WRITTEN, &(struct named){s, key, instance, paths->items[i]});
}

static void check_destination(struct conf_own *o, struct teller *t,
                              const struct named written[WRITTEN], size_t i)
{
    const struct conf_destination *d = &o->c.destinations[i];
    const struct named read[] = {{S_DESTINATION, "capture", i, d->capture},
                                 {S_DESTINATION, "password-file", i, d->password_file},
                                 {S_DESTINATION, "token-file", i, d->token_file}};
    for (size_t k = 0; k < sizeof read / sizeof *read; k++)
        against(o, t, written, WRITTEN, &read[k]);
}

static void check_paths(struct conf_own *o, struct teller *t)
{
    const struct conf *c = &o->c;
    const struct named written[WRITTEN] = {{S_SPOOL, "path", 0, c->spool_path},
                                           {S_LOG, "deliveries", 0, c->log_deliveries},
                                           {S_CONTROL, "socket", 0, c->control_socket}};
    const struct named read[] = {{S_USERS, "file", 0, c->users_file},
                                 {S_DELIVERY, "report-template", 0, c->report_template},
                                 {S_DELIVERY, "classes", 0, c->classes_file},
                                 {S_LOG, "hash-key-file", 0, c->log_hash_key_file}};
    for (size_t i = 1; i < WRITTEN; i++)
        against(o, t, written, i, &written[i]);
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        against(o, t, written, WRITTEN, &read[i]);
    for (size_t i = 0; i < c->n_listeners; i++)
        against(o, t, written, WRITTEN,
                &(struct named){S_LISTENER, "client-ca", i, c->listeners[i].client_ca});
    for (size_t i = 0; i + 1 < c->n_destinations; i++)
        check_destination(o, t, written, i);
    for (size_t i = 0; i < c->n_tls; i++) {
        against_all(o, t, written, S_TLS, "certificate", i, &c->tls[i].certificate);
        against_all(o, t, written, S_TLS, "key", i, &c->tls[i].key);
    }
    for (size_t i = 0; i < c->n_dkim; i++)
        against_all(o, t, written, S_DKIM, "key", i, &c->dkim[i].key);
}

void conf_taken(struct conf_own *o, struct teller *t)
{
    for (size_t i = 0; i < o->c.n_listeners; i++)
        for (size_t k = 0; k < o->c.listeners[i].address.n; k++)
            check_address(o, t, i, k);
    check_http(o, t);
    check_paths(o, t);
}

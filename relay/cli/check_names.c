/*
 * `check --dns`: the names of the addresses that mail goes out from, as receivers look them up
 * (checklist 76, dns/sender.h). Asked of the name servers of the configuration, by this process
 * itself: no daemon is needed. Where a destination has no `source` the system is asked which
 * address it would take; one that is private is behind a NAT, and those of delivery.own-addresses
 * stand for it.
 */
#include "dns/override.h"
#include "dns/resolver.h"
#include "dns/sender.h"
#include "relay/base/must.h"
#include "relay/cli/private.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SUBJECTS_MAX = 256, DNS_PORT = 53, TEXT_MAX = 1300 };

/* An address and the name said from there. */
struct subject {
    struct names *names;
    size_t destination;
    const char *key; /* of the destination, where it comes from; NULL: hostname */
    struct dns_ip ip;
    const char *helo;
    size_t group; /* of those behind one NAT one is the right one: which is not known */
    struct sender *sender;
    unsigned wrong, told;
};

struct names {
    const struct conf *c;
    check_say_fn *say_problem, *say_note;
    unsigned problems;
    struct loop *loop;
    struct resolver *resolver;
    struct deadline start;
    struct subject list[SUBJECTS_MAX];
    size_t n, n_groups, open;
};

/* --- who is asked about
 * ------------------------------------------------------------------------------------------------------------
 */

static void say(struct names *n, const struct subject *s, const char *text, bool is_problem)
{
    check_say_fn *to = is_problem ? n->say_problem : n->say_note;
    void *ctx = is_problem ? &n->problems : NULL;
    if (s->key)
        conf_tell_destination(n->c, s->destination, s->key, text, to, ctx);
    else
        conf_tell_top(n->c, "hostname", text, to, ctx);
}

static bool is_listed(const struct names *n, const struct subject *s)
{
    for (size_t i = 0; i < n->n; i++)
        if (dns_ip_eq(&n->list[i].ip, &s->ip) && strcmp(n->list[i].helo, s->helo) == 0)
            return true;
    return false;
}

static void add(struct names *n, struct subject s)
{
    if (n->n == SUBJECTS_MAX || is_listed(n, &s))
        return;
    s.names = n;
    s.sender = sender_new(&s.ip, slice_str(s.helo));
    n->list[n->n++] = s;
}

/* Behind a NAT: what the administrator says that the world sees. */
static void add_outer(struct names *n, struct subject s)
{
    char text[TEXT_MAX], address[46];
    bool any = false;
    for (size_t i = 0; i < n->c->own_addresses.n; i++) {
        struct dns_ip outer;
        MUST(dns_ip_parse(slice_str(n->c->own_addresses.items[i]), &outer)); /* conf has read it */
        if (outer.family != s.ip.family || dns_ip_reach(&outer) != IP_PUBLIC)
            continue;
        struct subject seen = s;
        seen.ip = outer;
        add(n, seen);
        any = true;
    }
    if (any || is_listed(n, &s))
        return;
    dns_ip_text(&s.ip, address);
    snprintf(text, sizeof text,
             "mail goes out from %s, a private address: which one receivers see is not known here. "
             "Name it in delivery { own-addresses = … }, and its names are looked up, too",
             address);
    say(n, &s, text, false);
}

static void add_address(struct names *n, struct subject s)
{
    s.group = n->n_groups++;
    if (dns_ip_reach(&s.ip) == IP_PUBLIC)
        add(n, s);
    else
        add_outer(n, s);
}

/* The address that a call into the Internet would come from; nothing is sent. False: there is no
 * way. */
static bool address_of_system(int family, struct dns_ip *ret)
{
    const char *root = family == AF_INET ? "198.41.0.4" : "2001:503:ba3e::2:30";
    struct dns_ip ip;
    uint16_t port;
    MUST(dns_ip_parse(slice_str(root), &ip));
    struct sockaddr_storage to = dns_ip_sockaddr(&ip, DNS_PORT), from = {0};
    socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&to, size) == 0 &&
              getsockname(fd, (struct sockaddr *)&from, &size) == 0 &&
              dns_ip_of_sockaddr(&from, ret, &port);
    if (fd >= 0)
        close(fd);
    return ok;
}

static void add_destination(struct names *n, size_t i)
{
    const struct conf_destination *d = &n->c->destinations[i];
    struct subject s = {.destination = i,
                        .key = d->helo[0] ? "helo" : NULL,
                        .helo = d->helo[0] ? d->helo : n->c->hostname};
    for (unsigned k = 0; k < 2 && d->source.n == 0; k++)
        if (address_of_system(k ? AF_INET6 : AF_INET, &s.ip))
            add_address(n, s);
    for (size_t k = 0; k < d->source.n; k++) {
        struct slice rest = slice_str(d->source.items[k]), address = slice_cut(&rest, ' ');
        struct subject own = s;
        own.key = "source";
        if (rest.n)
            own.helo = (const char *)rest.p;  /* up to the end of the text */
        MUST(dns_ip_parse(address, &own.ip)); /* conf has read it */
        add_address(n, own);
    }
}

/* --- asking
 * ------------------------------------------------------------------------------------------------------------
 */

struct asked {
    struct subject *s;
    struct plan_question q;
};

static void go_on(struct subject *s);

static void on_answer(void *ctx, struct dns_answer *a)
{
    struct asked *asked = ctx;
    struct subject *s = asked->s;
    sender_answer(s->sender, &asked->q, a);
    free(asked);
    go_on(s);
}

static void go_on(struct subject *s)
{
    struct names *n = s->names;
    struct plan_question q;
    n->open++;
    while (sender_next(s->sender, &q)) {
        struct asked *asked = must_alloc(sizeof *asked);
        *asked = (struct asked){s, q};
        resolver_ask(n->resolver, slice_str(q.name), q.type, on_answer, asked);
    }
    if (--n->open == 0) {
        for (size_t i = 0; i < n->n; i++)
            if (!sender_is_done(n->list[i].sender))
                return;
        loop_stop(n->loop);
    }
}

static void begin(void *ctx, struct mono now)
{
    struct names *n = ctx;
    (void)now;
    deadline_set(n->loop, &n->start, MONO_NEVER);
    for (size_t i = 0; i < n->n; i++)
        go_on(&n->list[i]);
}

static int resolver_of(struct names *n, struct err *e)
{
    const struct conf *c = n->c;
    struct dns_override *override = NULL;
    struct slice *lines = must_alloc((c->dns_override.n + 1) * sizeof *lines);
    struct buf servers = BUF_MAX(4096);
    for (size_t i = 0; i < c->dns_override.n; i++)
        lines[i] = slice_str(c->dns_override.items[i]);
    for (size_t i = 0; i < c->dns_servers.n; i++)
        buf_addf(&servers, "%s%s", i ? "," : "", c->dns_servers.items[i]);
    int rc = dns_override_new(&override, lines, c->dns_override.n, e);
    free(lines);
    const struct resolver_conf rc_of = {
        .servers = buf_str(&servers), .timeout_ms = c->dns_timeout_ms, .override = override};
    if (rc == 0)
        rc = resolver_new(&n->resolver, n->loop, &rc_of, e);
    dns_override_unref(override);
    buf_done(&servers);
    return rc;
}

static void look_up(struct names *n)
{
    struct err e = {0};
    n->loop = loop_new("check", 0);
    if (resolver_of(n, &e) == 0) {
        deadline_init(n->loop, &n->start, begin, n);
        deadline_set(n->loop, &n->start, loop_now(n->loop));
        loop_run_here(n->loop);
        resolver_free(n->resolver);
    } else {
        n->say_problem(&n->problems, e.text);
        n->n = 0;
    }
    loop_free(n->loop);
}

/* --- telling
 * ------------------------------------------------------------------------------------------------------------
 */

static void count_wrong(void *ctx, enum sender_weight w, const char *text)
{
    struct subject *s = ctx;
    (void)text;
    s->wrong += w == SENDER_WRONG;
}

/* Another address of the same NAT is as it should be: that will be the one. */
static bool is_excused(const struct names *n, const struct subject *s)
{
    for (size_t i = 0; i < n->n; i++)
        if (n->list[i].group == s->group && n->list[i].wrong == 0)
            return true;
    return false;
}

static void tell(void *ctx, enum sender_weight w, const char *text)
{
    struct subject *s = ctx;
    s->told++;
    say(s->names, s, text, w != SENDER_NOTE);
}

static void tell_all(struct names *n)
{
    for (size_t i = 0; i < n->n; i++)
        sender_tell(n->list[i].sender, count_wrong, &n->list[i]);
    for (size_t i = 0; i < n->n; i++) {
        struct subject *s = &n->list[i];
        char address[46];
        if (!s->wrong || !is_excused(n, s))
            sender_tell(s->sender, tell, s);
        dns_ip_text(&s->ip, address);
        if (!s->wrong && !s->told)
            printf("  mail from %s says %s: so it is named, and the name leads there\n", address,
                   s->helo);
    }
}

static bool takes_all(const struct conf_destination *d)
{
    for (size_t i = 0; i < d->domains.n; i++)
        if (strcmp(d->domains.items[i], "*") == 0)
            return true;
    return false;
}

unsigned check_names(const struct conf *c, check_say_fn *say_problem, check_say_fn *say_note)
{
    struct names *n = must_alloc(sizeof *n);
    *n = (struct names){.c = c, .say_problem = say_problem, .say_note = say_note};
    for (size_t i = 0; i < c->n_destinations; i++) {
        const struct conf_destination *d = &c->destinations[i];
        if (!d->capture[0] && d->relay.n == 0)
            add_destination(n, i);
        if (takes_all(d))
            break; /* those behind it get nothing */
    }
    if (n->n > 0)
        look_up(n);
    tell_all(n);
    unsigned problems = n->problems;
    for (size_t i = 0; i < n->n; i++)
        sender_free(n->list[i].sender);
    free(n);
    return problems;
}

/* Contradictions that the text alone shows. What they forbid is never started, not even by `serve`.
 */
#include "relay/base/must.h"
#include "relay/conf/options.h"

/* The first network of a list that is (nearly) everyone; NULL: none is. */
static const char *open_network(const struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct network n;
        struct buf why = BUF_MAX(200);
        MUST(network_parse(slice_str(list->items[i]), &n, &why));
        buf_done(&why);
        if (network_is_open(&n))
            return list->items[i];
    }
    return NULL;
}

/* Who may name the client may name one that is trusted. */
bool conf_is_open_relay(const struct conf_listener *l)
{
    return open_network(&l->trust) || (l->trust.n && open_network(&l->proxy_protocol));
}

static void check_trust(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_listener *l = &o->c.listeners[i];
    const char *trusted = open_network(&l->trust), *proxy = open_network(&l->proxy_protocol);
    if (o->c.i_want_an_open_relay)
        return;
    if (trusted)
        tell_at(
            t, o, S_LISTENER, "trust", i,
            "trust: %s would make listener \"%s\" an open relay: name your own networks (or, if "
            "it shall be one, set i-want-an-open-relay = true)",
            trusted, l->name);
    if (proxy)
        tell_at(
            t, o, S_LISTENER, "proxy-protocol", i,
            "proxy-protocol: from %s anybody could claim any address at listener \"%s\"%s: name "
            "the addresses of your load balancers",
            proxy, l->name, l->trust.n ? ", a trusted one too, which makes an open relay" : "");
}

static void check_access(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf *c = &o->c;
    const struct conf_listener *l = &c->listeners[i];
    if (l->tls != CONF_TLS_NONE && !conf_has_certificate(c))
        tell_at(t, o, S_LISTENER, "tls", i,
                "listener \"%s\" offers TLS, but there is no certificate: add tls { certificate = "
                "… key = … } (`postwain init` makes one)",
                l->name);
    if (l->auth != CONF_AUTH_NONE && !c->users_file[0])
        tell_at(t, o, S_LISTENER, "auth", i,
                "listener \"%s\" takes logins, but there is no users file: add users { file = … }, "
                "or trust networks and set auth = \"none\"",
                l->name);
    if (l->trust.n)
        return;
    if (l->auth == CONF_AUTH_NONE)
        tell_at(t, o, S_LISTENER, "auth", i,
                "nobody may send through listener \"%s\": it takes no logins and trusts no network",
                l->name);
    else if (l->tls == CONF_TLS_NONE)
        tell_at(t, o, S_LISTENER, "tls", i,
                "nobody may send through listener \"%s\": logins are only taken inside TLS, and it "
                "has none",
                l->name);
}

static void check_clients(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_listener *l = &o->c.listeners[i];
    if (l->client_certificates == CONF_CERT_NONE) {
        if (l->client_ca[0])
            tell_at(t, o, S_LISTENER, "client-ca", i,
                    "client-ca is for nothing: listener \"%s\" asks for no certificates; set "
                    "client-certificates = \"request\" or \"require\"",
                    l->name);
        return;
    }
    if (l->tls == CONF_TLS_NONE)
        tell_at(t, o, S_LISTENER, "client-certificates", i,
                "listener \"%s\" asks for certificates, and has no TLS", l->name);
    if (!l->client_ca[0])
        tell_at(t, o, S_LISTENER, "client-certificates", i,
                "listener \"%s\" asks for certificates: add client-ca = FILE, the authorities that "
                "may have signed them",
                l->name);
}

static void check_listener(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_listener *l = &o->c.listeners[i];
    if (!l->name[0])
        tell_at(t, o, S_LISTENER, "address", i,
                "a listener needs a title: listener \"name\" { … }");
    if (l->address.n == 0)
        tell_at(t, o, S_LISTENER, "address", i, "listener \"%s\" has no address", l->name);
    check_trust(o, t, i);
    check_access(o, t, i);
    check_clients(o, t, i);
}

static void check_log(struct conf_own *o, struct teller *t)
{
    const struct conf *c = &o->c;
    if (c->log_recipients == CONF_RECIPIENTS_HASHED && !c->log_hash_key_file[0])
        tell_at(t, o, S_LOG, "recipients", 0,
                "recipients = \"hashed\" needs a key: set hash-key-file to a file that `openssl "
                "rand -hex 32` has filled");
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

/* Keys that say how mail is sent, where none is. */
static void check_capture(struct conf_own *o, struct teller *t, size_t i)
{
    static const char *const idle[] = {"relay", "redirect", "source", "helo", "port", "tls"};
    const struct conf_destination *d = &o->c.destinations[i];
    for (size_t k = 0; d->capture[0] && k < sizeof idle / sizeof *idle; k++)
        if (setting_find(o, S_DESTINATION, idle[k], i))
            tell_at(t, o, S_DESTINATION, idle[k], i,
                    "destination \"%s\" has both capture and %s: captured mail is not sent",
                    d->name, idle[k]);
}

static void check_way(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_destination *d = &o->c.destinations[i];
    check_capture(o, t, i);
    if (d->lifetime_s > o->c.lifetime_s)
        tell_at(
            t, o, S_DESTINATION, "lifetime", i,
            "lifetime of destination \"%s\" is longer than that of delivery, which ends all mail",
            d->name);
    const int64_t lifetime = d->lifetime_s ? d->lifetime_s : o->c.lifetime_s;
    const int64_t first = d->retry.n ? d->retry.pause_s[0] : o->c.retry.pause_s[0];
    if ((d->lifetime_s || d->retry.n) && first > lifetime)
        tell_at(t, o, S_DESTINATION, d->retry.n ? "retry" : "lifetime", i,
                "destination \"%s\" has a lifetime shorter than the first pause of retry: no mail "
                "would be tried twice",
                d->name);
    if (d->window > d->connections)
        tell_at(t, o, S_DESTINATION, "window", i,
                "destination \"%s\" has a window larger than its connections", d->name);
}

static bool takes_tokens(const char *mechanism)
{
    return strcmp(mechanism, "OAUTHBEARER") == 0 || strcmp(mechanism, "XOAUTH2") == 0;
}

/* Whether one of the mechanisms that may be used goes with what there is. */
static bool mechanisms_fit(const struct conf_destination *d)
{
    for (size_t i = 0; i < d->auth_mechanisms.n; i++)
        if (takes_tokens(d->auth_mechanisms.items[i]) == !d->password_file[0])
            return true;
    return d->auth_mechanisms.n == 0;
}

static void check_login(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_destination *d = &o->c.destinations[i];
    int secrets = (d->password_file[0] != 0) + (d->token_file[0] != 0) + (d->token_command.n > 0);
    const char *secret = d->password_file[0] ? "password-file"
                         : d->token_file[0]  ? "token-file"
                                             : "token-command";
    if (!d->user[0]) {
        if (secrets > 0)
            tell_at(t, o, S_DESTINATION, secret, i,
                    "destination \"%s\" has a secret and no user: add user = …", d->name);
        return;
    }
    if (secrets != 1)
        tell_at(t, o, S_DESTINATION, secrets ? secret : "user", i,
                "destination \"%s\" needs one of password-file, token-file and token-command",
                d->name);
    else if (!mechanisms_fit(d))
        tell_at(t, o, S_DESTINATION, "auth-mechanisms", i,
                "destination \"%s\": none of its auth-mechanisms goes with a %s", d->name, secret);
    if (d->relay.n == 0)
        tell_at(t, o, S_DESTINATION, "user", i,
                "destination \"%s\" has a user and no relay to log in at: the hosts of an MX are "
                "shown no password",
                d->name);
    if (d->tls < CONF_OUT_ENCRYPT)
        tell_at(t, o, S_DESTINATION, "tls", i,
                "destination \"%s\" would show its password in clear: leave tls out (verify), or "
                "write encrypt",
                d->name);
}

static void check_destination(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_destination *list = o->c.destinations, *d = &list[i];
    if (!d->name[0])
        tell_at(t, o, S_DESTINATION, "domains", i,
                "a destination needs a title: destination \"name\" { … }");
    if (strcmp(d->name, "default") == 0)
        tell_at(t, o, S_DESTINATION, "domains", i,
                "the title \"default\" belongs to the destination that takes all the rest: choose "
                "another, with domains = { \"*\" }");
    if (d->domains.n == 0 && d->mx.n == 0)
        tell_at(t, o, S_DESTINATION, "domains", i,
                "destination \"%s\" matches nothing: add domains = { … } or mx = { … }", d->name);
    check_login(o, t, i);
    if (d->mx.n && d->relay.n)
        tell_at(t, o, S_DESTINATION, "relay", i,
                "destination \"%s\" has both mx and relay: a relay is used instead of the MX, so "
                "match it by domains",
                d->name);
    if (d->relay.n && setting_find(o, S_DESTINATION, "port", i))
        tell_at(
            t, o, S_DESTINATION, "port", i,
            "destination \"%s\" has both port and relay: write the port behind the relay's name",
            d->name);
    check_way(o, t, i);
    for (size_t k = 0; k < i; k++)
        if (same_list(&list[k].domains, &d->domains) && same_list(&list[k].mx, &d->mx) &&
            d->domains.n + d->mx.n > 0)
            tell_at(t, o, S_DESTINATION, d->domains.n ? "domains" : "mx", i,
                    "destination \"%s\" is never used: \"%s\" before it matches the same", d->name,
                    list[k].name);
}

static bool has_empty(const struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (!list->items[i][0])
            return true;
    return false;
}

static void check_pairs(struct conf_own *o, struct teller *t, size_t i)
{
    const struct conf_tls *s = &o->c.tls[i];
    if (s->certificate.n != s->key.n)
        tell_at(t, o, S_TLS, s->key.n ? "key" : "certificate", i,
                "tls needs both certificate and key");
    else if (s->certificate.n > CONF_PAIRS_MAX)
        tell_at(t, o, S_TLS, "certificate", i,
                "certificate: at most %d, one for each kind of key; other names are other sections",
                CONF_PAIRS_MAX);
    else if (has_empty(&s->certificate) || has_empty(&s->key))
        tell_at(t, o, S_TLS, "certificate", i, "tls: an empty name of a file");
    else if (s->certificate.n == 0 && s->name[0])
        tell_at(t, o, S_TLS, "certificate", i, "tls \"%s\" has no certificate", s->name);
}

void conf_rules(struct conf_own *o, struct teller *t)
{
    const struct conf *c = &o->c;
    if (!c->hostname[0])
        tell_at(t, o, S_TOP, "hostname", 0,
                "hostname is not set: add hostname = \"relay.example.com\"");
    for (size_t i = 0; i < c->n_tls; i++)
        check_pairs(o, t, i);
    for (size_t i = 0; i < c->n_listeners; i++)
        check_listener(o, t, i);
    for (size_t i = 0; i + 1 < c->n_destinations; i++)
        check_destination(o, t, i);
    conf_taken(o, t);
    check_log(o, t);
    sign_rules(o, t);
    if (c->retry.pause_s[0] > c->lifetime_s)
        tell_at(t, o, S_DELIVERY, "lifetime", 0,
                "lifetime is shorter than the first pause of retry: no mail would be tried twice");
    /* sizeof sun_path, with its NUL */
    if (strlen(c->control_socket) >= 108)
        tell_at(t, o, S_CONTROL, "socket", 0, "socket: a socket's path has at most 107 characters");
    const struct {
        enum conf_section section;
        const char *key, *value;
    } needed[] = {{S_SPOOL, "path", c->spool_path},
                  {S_LOG, "deliveries", c->log_deliveries},
                  {S_CONTROL, "socket", c->control_socket}};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!needed[i].value[0])
            tell_at(t, o, needed[i].section, needed[i].key, 0, "%s is empty", needed[i].key);
}

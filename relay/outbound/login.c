/*
 * AUTH at a relay: GNU SASL speaks PLAIN, LOGIN and SCRAM (RFC 4616, 5802, 7677), the two ways to
 * show a token are written here, because it has neither. The best mechanism that is offered, fits
 * the secret and may be used is taken.
 *
 *   OAUTHBEARER   "n,a=" user "," ^A "host=" h ^A "port=" p ^A "auth=Bearer " token ^A ^A   RFC
 * 7628 XOAUTH2       "user=" user ^A "auth=Bearer " token ^A ^A
 *
 * After a refusal both say why in a challenge, which wants an answer (^A, or nothing) before the
 * 535 comes. With SCRAM the relay proves that it knows the password, too: one that says 235 without
 * it has not, and gets no mail.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/outbound/conn.h"
#include <gsasl.h>
#include <stdlib.h>

#define PLUS "SCRAM-SHA-256-PLUS"
#define RESPONSE_MAX 16384

static bool is(const struct out_login *l, const char *mechanism)
{
    return l->mechanism && strcmp(l->mechanism, mechanism) == 0;
}

static bool takes_tokens(struct slice mechanism)
{
    return slice_eq(mechanism, SLICE_LIT("OAUTHBEARER")) ||
           slice_eq(mechanism, SLICE_LIT("XOAUTH2"));
}

/* --- which one */

static bool has_binding(const struct out_conn *c)
{
    return net_conn_can_bind(c->link->net, TLS_BINDING_EXPORTER) ||
           net_conn_can_bind(c->link->net, TLS_BINDING_UNIQUE);
}

static bool may_use(const struct conf_destination *d, struct slice name)
{
    for (size_t i = 0; i < d->auth_mechanisms.n; i++)
        if (slice_eq(name, slice_str(d->auth_mechanisms.items[i])))
            return true;
    return d->auth_mechanisms.n == 0;
}

/* One of the words of CONF_MECHANISMS; "" when there is none. */
static struct slice choose(struct out_conn *c)
{
    const struct smtp_peer *peer = smtp_client_peer(c->client);
    struct slice rest = SLICE_LIT(CONF_MECHANISMS);
    while (rest.n) {
        struct slice name = slice_cut(&rest, ' ');
        if (!smtp_peer_offers(peer, name) || !may_use(c->dest, name))
            continue;
        if (takes_tokens(name) != !c->dest->password_file[0])
            continue;
        if (slice_eq(name, SLICE_LIT(PLUS)) && !has_binding(c))
            continue;
        return name;
    }
    return SLICE_NONE;
}

/* --- the library */

static int give_binding(struct out_conn *c, Gsasl_session *exchange, Gsasl_property what)
{
    enum tls_binding kind =
        what == GSASL_CB_TLS_EXPORTER ? TLS_BINDING_EXPORTER : TLS_BINDING_UNIQUE;
    struct tls_binding_bytes bytes;
    DEFER(buf_done) struct buf text = BUF_MAX(128);
    if (!is(&c->login, PLUS) || !net_conn_binding(c->link->net, kind, &bytes))
        return GSASL_NO_CALLBACK;
    MUST(base64_encode(&text, slice_of(bytes.p, bytes.n)));
    gsasl_property_set(exchange, what, buf_str(&text));
    return GSASL_OK;
}

static int on_property(Gsasl *ctx, Gsasl_session *exchange, Gsasl_property what)
{
    struct out_conn *c = gsasl_session_hook_get(exchange);
    (void)ctx;
    switch ((int)what) {
    case GSASL_AUTHID:
        gsasl_property_set(exchange, what, c->dest->user);
        return GSASL_OK;
    case GSASL_PASSWORD:
        gsasl_property_set_raw(exchange, what, (const char *)c->login.secret.p, c->login.secret.n);
        return GSASL_OK;
    case GSASL_CB_TLS_EXPORTER:
    case GSASL_CB_TLS_UNIQUE:
        return give_binding(c, exchange, what);
    default:
        return GSASL_NO_CALLBACK;
    }
}

void out_login_done(struct out_login *l)
{
    if (l->exchange)
        gsasl_finish(l->exchange);
    out_secret_wipe(&l->secret);
    free(l->mechanism);
    *l = (struct out_login){0};
}

void out_sasl_free(void *sasl)
{
    if (sasl)
        gsasl_done(sasl);
}

/* Appends the library's response; false: the peer's challenge is not what the mechanism expects. */
static bool step(struct out_login *l, struct slice challenge, struct buf *out)
{
    char *response = NULL;
    size_t n = 0;
    int rc = gsasl_step(l->exchange, (const char *)challenge.p, challenge.n, &response, &n);
    if (response) {
        buf_add(out, slice_of(response, n));
        explicit_bzero(response, n);
        gsasl_free(response);
    }
    l->over = rc == GSASL_OK;
    return rc == GSASL_OK || rc == GSASL_NEEDS_MORE;
}

/* --- tokens */

static void write_token(struct out_conn *c, struct buf *out)
{
    const char *user = c->dest->user;
    if (is(&c->login, "XOAUTH2")) {
        buf_addf(out, "user=%s\1auth=Bearer ", user);
    } else {
        buf_add_str(out, "n,a=");
        for (size_t i = 0; user[i]; i++) /* RFC 5801 section 4: saslname */
            if (user[i] == ',' || user[i] == '=')
                buf_add_str(out, user[i] == ',' ? "=2C" : "=3D");
            else
                buf_add_u8(out, (uint8_t)user[i]);
        net_conn_names(c->link->net, &c->names);
        buf_addf(out, ",\1host=%s\1port=%u\1auth=Bearer ",
                 out_conn_host(c)->name[0] ? out_conn_host(c)->name : c->names.peer_ip,
                 (unsigned)c->names.peer_port);
    }
    buf_add(out, buf_slice(&c->login.secret));
    buf_add_str(out, "\1\1");
}

/* --- the exchange */

static void begin(struct out_conn *c, struct mono now)
{
    struct out_login *l = &c->login;
    DEFER(out_secret_wipe) struct buf response = BUF_MAX(RESPONSE_MAX);
    bool ok = true, opens = !is(l, "LOGIN");
    if (takes_tokens(slice_str(l->mechanism))) {
        write_token(c, &response);
        l->over = true;
    } else {
        Gsasl_session *exchange = NULL;
        ok = gsasl_client_start(c->o->sasl, l->mechanism, &exchange) == GSASL_OK;
        l->exchange = exchange;
        if (ok)
            gsasl_session_hook_set(exchange, c);
        ok = ok && (!opens || step(l, SLICE_NONE, &response));
    }
    if (ok && !response.overflow)
        smtp_client_login(c->client, l->mechanism, buf_slice(&response), opens, now);
    else
        smtp_client_login_failed(c->client, FAULT_LOGIN, slice_str(l->mechanism));
}

static void go_on(struct out_conn *c, struct slice challenge, struct mono now)
{
    struct out_login *l = &c->login;
    DEFER(out_secret_wipe) struct buf response = BUF_MAX(RESPONSE_MAX);
    bool ok = true;
    if (takes_tokens(slice_str(l->mechanism))) {
        if (is(l, "OAUTHBEARER"))
            buf_add_u8(&response, 1);
        ok = !l->refused; /* told once */
        l->refused = true;
    } else if (!l->over) {
        ok = step(l, challenge, &response);
    } else {
        ok = false;
    }
    if (ok && !response.overflow)
        smtp_client_respond(c->client, buf_slice(&response), now);
    else
        smtp_client_login_failed(c->client, FAULT_LOGIN,
                                 SLICE_LIT("the receiver does not speak the mechanism as agreed"));
}

void out_login_step(struct out_conn *c, const struct smtp_client_action *a, struct mono now)
{
    if (a->challenged) {
        go_on(c, a->challenge, now);
        return;
    }
    struct slice mechanism = choose(c);
    if (mechanism.n == 0) {
        smtp_client_login_failed(c->client, FAULT_LOGIN_UNAVAILABLE,
                                 slice_trim(slice_str(smtp_client_peer(c->client)->auth)));
        return;
    }
    free(c->login.mechanism);
    c->login.mechanism = slice_dup(mechanism);
    out_login_go(c);
}

void out_login_go(struct out_conn *c)
{
    enum out_login_turn turn = out_relay_login(c);
    c->login.held = turn == OUT_LOGIN_WAIT;
    if (turn != OUT_LOGIN_GO)
        return;
    c->logging_in = true;
    if (!c->o->sasl) {
        Gsasl *sasl = NULL;
        MUST(gsasl_init(&sasl) == GSASL_OK);
        gsasl_callback_set(sasl, on_property);
        c->o->sasl = sasl;
    }
    c->login.waiting = true;
    out_secret_ask(c);
}

/* From within out_login_step too, when it is known already: then the pump goes on by itself. */
void out_login_secret(struct outbound *o, uint64_t conn, struct slice secret, const char *problem)
{
    struct out_conn *c = NULL;
    HASH_FIND(hh, o->conns, &conn, sizeof conn, c);
    if (!c || !c->login.waiting || !c->client)
        return;
    struct mono now = loop_now(o->loop);
    c->login.waiting = false;
    if (problem[0]) {
        smtp_client_login_failed(c->client, FAULT_LOGIN, slice_str(problem));
    } else {
        c->login.secret = BUF_MAX(secret.n + 1);
        buf_add(&c->login.secret, secret);
        begin(c, now);
    }
    if (!c->pumping)
        out_conn_pump(c, now);
}

bool out_login_holds(const struct out_conn *c)
{
    return !c->dest->user[0] || c->login.over;
}

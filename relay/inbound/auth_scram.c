/*
 * SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677): what the library asks for, and the channel binding.
 *
 *   gs2-header = ( "p=" cb-name / "n" / "y" ) "," [ "a=" authzid ] ","
 *
 * "n": the client cannot bind; "y": it could, and was not told that we can; "p": it binds. A "y"
 * where we did offer -PLUS means that somebody in between has taken it out of our EHLO reply
 * (section 6): no login.
 *
 * Names without a secret are answered with one made from the users file's key (users_scram): the
 * same questions, the same end, whoever asks.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/inbound/auth_priv.h"

#define PLUS "SCRAM-SHA-256-PLUS"

static const struct smtp_reply reply_form = SMTP_REPLY_INIT(
    535, 5, 7, 8, "Authentication failed: the response is not what the mechanism expects");
static const struct smtp_reply reply_downgrade =
    SMTP_REPLY_INIT(535, 5, 7, 8,
                    "Authentication failed: the client was not told that " PLUS
                    " is offered here; somebody may sit in between");
/* No word on a credential, and no failed login: such a client goes on with another mechanism. */
static const struct smtp_reply reply_kind =
    SMTP_REPLY_INIT(504, 5, 5, 4,
                    "This connection has no channel binding of that type, use tls-exporter (TLS "
                    "1.3) or tls-unique (TLS 1.2), or SCRAM-SHA-256");

/* What the library knows to ask for. */
static const struct {
    Gsasl_property property;
    enum tls_binding kind;
} bindings[] = {
    {GSASL_CB_TLS_EXPORTER, TLS_BINDING_EXPORTER},
    {GSASL_CB_TLS_UNIQUE, TLS_BINDING_UNIQUE},
};
#define N_BINDINGS (sizeof bindings / sizeof *bindings)

bool auth_is_scram(const struct auth *a)
{
    return slice_starts(slice_str(a->mechanism), SLICE_LIT("SCRAM-"));
}

bool auth_has_binding(const struct session *s)
{
    for (size_t i = 0; i < N_BINDINGS; i++)
        if (net_conn_can_bind(s->served.conn, bindings[i].kind))
            return true;
    return false;
}

static bool has_kind(const struct session *s, struct slice name)
{
    for (size_t i = 0; i < N_BINDINGS; i++)
        if (slice_eq(name, slice_str(tls_binding_name(bindings[i].kind))))
            return net_conn_can_bind(s->served.conn, bindings[i].kind);
    return false;
}

const struct smtp_reply *auth_scram_opening(const struct session *s, struct slice response64)
{
    DEFER(buf_done) struct buf raw = BUF_MAX(16384);
    const bool plus = strcmp(s->auth.mechanism, PLUS) == 0;
    if (!base64_decode(&raw, response64) || raw.n == 0)
        return &reply_form;
    struct slice first = buf_slice(&raw), flag = slice_cut(&first, ',');
    if (slice_starts(flag, SLICE_LIT("p=")) != plus)
        return &reply_form;
    if (plus)
        return has_kind(s, slice_skip(flag, 2)) ? NULL : &reply_kind;
    return slice_eq(flag, SLICE_LIT("y")) && auth_has_binding(s) ? &reply_downgrade : NULL;
}

static bool has_other_wish(const char *authid, const char *authzid)
{
    return authzid && authzid[0] && strcmp(authid, authzid) != 0;
}

int auth_scram_secret(struct session *s, Gsasl_session *exchange)
{
    struct auth *a = &s->auth;
    struct user_scram_text secret;
    const char *name = gsasl_property_fast(exchange, GSASL_AUTHID);
    struct users *users = accounts_now(s->in->shared->accounts, loop_now(s->in->loop));
    a->trouble = !users;
    if (!users || !name)
        return GSASL_NO_CALLBACK;
    free(a->authid);
    a->authid = slice_dup(slice_str(name));
    const struct user *u = users_find(users, slice_str(name));
    /* Nobody acts for another. */
    if (has_other_wish(name, gsasl_property_fast(exchange, GSASL_AUTHZID)))
        u = NULL;
    users_scram(users, u, slice_str(name), &secret);
    users_unref(users);
    gsasl_property_set(exchange, GSASL_SCRAM_ITER, secret.iterations);
    gsasl_property_set(exchange, GSASL_SCRAM_SALT, secret.salt);
    gsasl_property_set(exchange, GSASL_SCRAM_STOREDKEY, secret.stored_key);
    gsasl_property_set(exchange, GSASL_SCRAM_SERVERKEY, secret.server_key);
    explicit_bzero(&secret, sizeof secret);
    return GSASL_OK;
}

int auth_scram_binding(struct session *s, Gsasl_session *exchange, Gsasl_property what)
{
    struct tls_binding_bytes bytes;
    DEFER(buf_done) struct buf text = BUF_MAX(128);
    for (size_t i = 0; i < N_BINDINGS; i++) {
        if (bindings[i].property != what ||
            !net_conn_binding(s->served.conn, bindings[i].kind, &bytes))
            continue;
        MUST(base64_encode(&text, slice_of(bytes.p, bytes.n)));
        gsasl_property_set(exchange, what, buf_str(&text));
        return GSASL_OK;
    }
    return GSASL_NO_CALLBACK;
}

bool auth_scram_holds(struct session *s)
{
    struct users *users = accounts_now(s->in->shared->accounts, loop_now(s->in->loop));
    bool holds = users && user_has_password(users_find(users, slice_str(s->auth.authid)));
    users_unref(users);
    return holds;
}

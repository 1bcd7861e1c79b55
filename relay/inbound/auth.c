#include "relay/inbound/auth.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/inbound/auth_priv.h"
#include <openssl/crypto.h>

static const struct smtp_reply reply_ok =
    SMTP_REPLY_INIT(235, 2, 7, 0, "Authentication successful");
static const struct smtp_reply reply_bad =
    SMTP_REPLY_INIT(535, 5, 7, 8, "Authentication failed: user name or password is wrong");
const struct smtp_reply auth_reply_trouble =
    SMTP_REPLY_INIT(454, 4, 7, 0, "Temporary authentication failure, try again later");
static const struct smtp_reply reply_mechanism =
    SMTP_REPLY_INIT(504, 5, 5, 4, "Authentication mechanism not offered");
static const struct smtp_reply reply_encoding =
    SMTP_REPLY_INIT(501, 5, 5, 2, "The response is not valid base64");
static const struct smtp_reply reply_form =
    SMTP_REPLY_INIT(535, 5, 7, 8,
                    "Authentication failed: the user name or password is empty, or the response is "
                    "not what the mechanism expects");

/* ---- what is offered ---- */

static bool always(const struct session *s)
{
    (void)s;
    return true;
}

/* As long as nobody has a secret for it, clients that like it best would only fail. */
static bool has_scram(const struct session *s)
{
    struct users *users = accounts_now(s->in->shared->accounts, loop_now(s->in->loop));
    bool has = users && users->n_scram > 0;
    users_unref(users);
    return has;
}

static bool has_scram_plus(const struct session *s)
{
    return auth_has_binding(s) && has_scram(s);
}

static bool has_certificate(const struct session *s)
{
    struct tls_peer peer;
    return net_conn_peer(s->served.conn, &peer);
}

static const struct {
    const char *name;
    bool (*is_offered)(const struct session *s);
} mechanisms[] = {
    {"PLAIN", always},
    {"LOGIN", always},
    {"SCRAM-SHA-256", has_scram},
    {"SCRAM-SHA-256-PLUS", has_scram_plus},
    {"EXTERNAL", has_certificate},
};
#define N_MECHANISMS (sizeof mechanisms / sizeof *mechanisms)

struct slice auth_offer(struct session *s)
{
    struct auth *a = &s->auth;
    size_t n = 0;
    for (size_t i = 0; i < N_MECHANISMS; i++) {
        if (!mechanisms[i].is_offered(s))
            continue;
        int more = snprintf(a->offered + n, sizeof a->offered - n, "%s%s", n ? " " : "",
                            mechanisms[i].name);
        MUST(more > 0 && n + (size_t)more < sizeof a->offered);
        n += (size_t)more;
    }
    return slice_of(a->offered, n);
}

/* ---- the exchange ---- */

void auth_wipe(char **secret)
{
    if (*secret)
        OPENSSL_cleanse(*secret, strlen(*secret));
    free(TAKE_PTR(*secret));
}

static char *copy(const char *s)
{
    return slice_dup(slice_str(s ? s : ""));
}

/* Keeps what the exchange gave; the decision comes after the exchange, off the loop. */
static int keep_password(struct auth *a, Gsasl_session *exchange)
{
    auth_wipe(&a->password);
    free(a->authid);
    free(a->authzid);
    a->authid = copy(gsasl_property_fast(exchange, GSASL_AUTHID));
    a->authzid = copy(gsasl_property_fast(exchange, GSASL_AUTHZID));
    a->password = copy(gsasl_property_fast(exchange, GSASL_PASSWORD));
    return GSASL_OK;
}

static int keep_wish(struct auth *a, Gsasl_session *exchange)
{
    free(a->authzid);
    a->authzid = copy(gsasl_property_fast(exchange, GSASL_AUTHZID));
    return GSASL_OK;
}

static int on_property(Gsasl *ctx, Gsasl_session *exchange, Gsasl_property what)
{
    (void)ctx;
    struct session *s = gsasl_session_hook_get(exchange);
    if (what == GSASL_VALIDATE_SIMPLE)
        return keep_password(&s->auth, exchange);
    if (what == GSASL_VALIDATE_EXTERNAL)
        return keep_wish(&s->auth, exchange);
    if (what == GSASL_SCRAM_ITER)
        return auth_scram_secret(s, exchange);
    if (what == GSASL_CB_TLS_EXPORTER || what == GSASL_CB_TLS_UNIQUE)
        return auth_scram_binding(s, exchange, what);
    return GSASL_NO_CALLBACK;
}

struct auth_room *auth_room_new(struct inbound *in)
{
    struct auth_room *r = must_alloc(sizeof *r);
    r->in = in;
    r->port = (struct port){.inbox = in->port.inbox, .fn = auth_password_back, .ctx = r};
    MUST(gsasl_init(&r->sasl) == GSASL_OK);
    gsasl_callback_set(r->sasl, on_property);
    return r;
}

void auth_room_free(struct auth_room *r)
{
    gsasl_done(r->sasl);
    free(r);
}

static void end_exchange(struct auth *a)
{
    if (a->exchange)
        gsasl_finish(a->exchange);
    a->exchange = NULL;
    a->spoken = a->trouble = a->signed_off = false;
    a->credential = 0;
    auth_wipe(&a->password);
    free(TAKE_PTR(a->authid));
    free(TAKE_PTR(a->authzid));
}

void auth_reset(struct auth *a)
{
    end_exchange(a);
    free(TAKE_PTR(a->user));
    a->mechanism = NULL;
}

void auth_done(struct auth *a)
{
    auth_reset(a);
}

/* Who was meant, for those who count failures. */
static struct guess guess_of(const struct auth *a)
{
    const struct slice name = slice_str(a->authid);
    return (struct guess){.name = name.n ? slice_hash(name) | 1 : 0, .credential = a->credential};
}

/* Decided: the user's name stays with the session, the password goes. */
void auth_decide(struct session *s, bool ok)
{
    struct auth *a = &s->auth;
    const struct guess guess = guess_of(a);
    metric_add(ok ? M_AUTH_OK : M_AUTH_FAILED, 1);
    if (!s->closed) /* who looks on for him sees the answer, too */
        net_conn_label(s->served.conn, &(struct net_label){.user = slice_str(a->authid)});
    if (ok) {
        free(a->user);
        a->user = TAKE_PTR(a->authid);
    } else {
        LOG(LV_INFO, "auth_failed", LOG_S("client_ip", s->names.peer_ip), LOG_S("user", a->authid),
            LOG_S("mechanism", a->mechanism), LOG_S("session_id", s->id));
    }
    end_exchange(a);
    if (ok) {
        guard_succeeded(s, guess.name);
        session_answer(s, &reply_ok);
    } else {
        guard_failed(s, guess, &reply_bad);
    }
}

void auth_refuse(struct session *s, const struct smtp_reply *r)
{
    const struct guess guess = guess_of(&s->auth);
    end_exchange(&s->auth);
    if (r->code >= 500)
        metric_add(M_AUTH_FAILED, 1);
    if (r->code == 535)
        guard_failed(s, guess, r);
    else
        session_answer(s, r);
}

static bool start_exchange(struct session *s, struct slice mechanism)
{
    struct auth *a = &s->auth;
    Gsasl_session *exchange = NULL;
    a->mechanism = NULL;
    for (size_t i = 0; i < N_MECHANISMS; i++)
        if (slice_eq(mechanism, slice_str(mechanisms[i].name)))
            a->mechanism = mechanisms[i].name;
    if (!a->mechanism || gsasl_server_start(s->in->auth->sasl, a->mechanism, &exchange) != GSASL_OK)
        return false;
    gsasl_session_hook_set(exchange, s);
    a->exchange = exchange;
    a->first_step = true;
    return true;
}

static bool is(const struct auth *a, const char *mechanism)
{
    return strcmp(a->mechanism, mechanism) == 0;
}

/* LOGIN's questions as servers ask them everywhere, in base64: some clients compare them, and the
 * library's own ("User Name", "Password", from the draft) are strange to those. */
static const char ask_name[] = "VXNlcm5hbWU6";     /* Username: */
static const char ask_password[] = "UGFzc3dvcmQ6"; /* Password: */

static void ask(struct session *s, const char *challenge64)
{
    struct smtp_reply more = {.code = 334, .text = slice_str(challenge64 ? challenge64 : "")};
    session_answer(s, &more);
}

/* EXTERNAL (RFC 4422 appendix A): who has the certificate that the client has shown, or its key. */
static void check_certificate(struct session *s)
{
    struct auth *a = &s->auth;
    struct tls_peer peer;
    struct users *users = accounts_now(s->in->shared->accounts, loop_now(s->in->loop));
    if (!users) {
        auth_refuse(s, &auth_reply_trouble);
        return;
    }
    const struct user *u = NULL;
    if (net_conn_peer(s->served.conn, &peer)) {
        u = users_find_certificate(users, peer.certificate);
        u = u ? u : users_find_certificate(users, peer.key);
    }
    const bool ok = u && !u->disabled && (!a->authzid[0] || strcmp(a->authzid, u->name) == 0);
    free(a->authid);
    a->authid = copy(u ? u->name : a->authzid);
    users_unref(users);
    auth_decide(s, ok);
}

/* The library is content. SCRAM's last word is ours (RFC 5802 section 5), and SMTP has no room for
 * it in the reply: it is a challenge, answered by nothing (RFC 4954 section 4). */
static void exchange_ended(struct session *s, const char *challenge64)
{
    struct auth *a = &s->auth;
    if (auth_is_scram(a)) {
        a->signed_off = true;
        ask(s, challenge64);
    } else if (is(a, "EXTERNAL")) {
        check_certificate(s);
    } else if (a->password) {
        auth_check_password(s);
    } else {
        auth_refuse(s, &reply_form);
    }
}

/* One step of the library's, in base64 both ways. */
static int step(struct auth *a, const char *in64, char **ret_challenge)
{
    return gsasl_step64(a->exchange, in64, ret_challenge);
}

static void stepped(struct session *s, int rc, const char *challenge64, bool asks_name)
{
    struct auth *a = &s->auth;
    if (a->trouble)
        auth_refuse(s, &auth_reply_trouble);
    else if (rc == GSASL_NEEDS_MORE && is(a, "LOGIN"))
        ask(s, asks_name ? ask_name : ask_password);
    else if (rc == GSASL_NEEDS_MORE)
        ask(s, challenge64);
    else if (rc == GSASL_OK)
        exchange_ended(s, challenge64);
    else if (rc == GSASL_AUTHENTICATION_ERROR && a->authid)
        auth_decide(s, false);
    else
        auth_refuse(s, rc == GSASL_BASE64_ERROR ? &reply_encoding : &reply_form);
}

static void go_on(struct session *s, struct slice response, bool has_response)
{
    struct auth *a = &s->auth;
    DEFER_FREE char *in64 = slice_dup(response);
    char *challenge = NULL;
    int rc = GSASL_NEEDS_MORE;
    const bool opens = a->first_step && !has_response;
    /* LOGIN opens with a challenge of the server's even when the client has sent its first response
     * along. */
    if (a->first_step && has_response && is(a, "LOGIN")) {
        rc = step(a, NULL, &challenge);
        gsasl_free(TAKE_PTR(challenge));
    }
    if (rc == GSASL_NEEDS_MORE)
        rc = step(a, opens ? NULL : in64, &challenge);
    OPENSSL_cleanse(in64, response.n);
    a->first_step = false;
    stepped(s, rc, challenge, opens);
    gsasl_free(challenge);
}

void auth_step(struct session *s, struct slice mechanism, struct slice response, bool has_response)
{
    struct auth *a = &s->auth;
    if (mechanism.n > 0 && !guard_may_try(s))
        return;
    const struct smtp_reply *refusal = NULL;
    if (mechanism.n > 0 && !start_exchange(s, mechanism)) {
        session_answer(s, &reply_mechanism);
        return;
    }
    MUST(a->exchange);
    if (slice_eq(response, SLICE_LIT("=")))
        response = SLICE_NONE;
    if (response.n && !a->spoken && auth_is_scram(a))
        refusal = auth_scram_opening(s, response);
    a->spoken |= response.n > 0;
    if (refusal)
        auth_refuse(s, refusal);
    else if (a->signed_off && response.n == 0)
        auth_decide(s, auth_scram_holds(s));
    else if (a->signed_off || (is(a, "PLAIN") && has_response && response.n == 0))
        auth_refuse(s, &reply_form); /* of nothing PLAIN would ask again, and again */
    else
        go_on(s, response, has_response);
}

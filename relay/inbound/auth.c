#include "relay/inbound/auth.h"
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/base/must.h"
#include "relay/base/rand.h"
#include "relay/inbound/private.h"
#include <gsasl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <uthash.h>

#define CACHE_MAX 10000
#define CACHE_MS (10 * 60 * 1000)
#define HASHING_MAX 500 /* logins waiting for the hasher before we say 454 */
#define BROKEN_MS 1000
#define MAC_SIZE 32

/* A credential that was right: MAC(name, password, stored hash), so a changed password misses. */
struct known {
    uint8_t mac[MAC_SIZE];
    struct mono until;
    UT_hash_handle hh;
};

struct auth_room {
    struct inbound *in;
    Gsasl *sasl;
    uint8_t key[MAC_SIZE];
    struct known *known;
    struct users *users;
    struct mono not_before; /* a broken file is not looked at again */
    struct port port;       /* the hasher answers here */
};

/* One password on its way to the hasher and back. */
struct verify_job {
    struct worker_job job;
    struct session *session;
    struct users *users;
    const struct user *user;
    char *password;
    uint8_t mac[MAC_SIZE];
    bool ok;
};

static const struct smtp_reply reply_ok =
    SMTP_REPLY_INIT(235, 2, 7, 0, "Authentication successful");
static const struct smtp_reply reply_bad =
    SMTP_REPLY_INIT(535, 5, 7, 8, "Authentication failed: user name or password is wrong");
static const struct smtp_reply reply_trouble =
    SMTP_REPLY_INIT(454, 4, 7, 0, "Temporary authentication failure, try again later");
static const struct smtp_reply reply_mechanism =
    SMTP_REPLY_INIT(504, 5, 5, 4, "Authentication mechanism not offered: use " AUTH_MECHANISMS);
static const struct smtp_reply reply_encoding =
    SMTP_REPLY_INIT(501, 5, 5, 2, "The response is not valid base64");
static const struct smtp_reply reply_form =
    SMTP_REPLY_INIT(535, 5, 7, 8,
                    "Authentication failed: the user name or password is empty, or the response is "
                    "not what the mechanism expects");

static void wipe(char **p)
{
    if (*p)
        OPENSSL_cleanse(*p, strlen(*p));
    free(TAKE_PTR(*p));
}

static char *copy(const char *s)
{
    return slice_dup(slice_str(s ? s : ""));
}

/* Keeps what the exchange gave; the decision comes after the exchange, off the loop. */
static int on_property(Gsasl *ctx, Gsasl_session *exchange, Gsasl_property what)
{
    (void)ctx;
    if (what != GSASL_VALIDATE_SIMPLE)
        return GSASL_NO_CALLBACK;
    struct auth *a = gsasl_session_hook_get(exchange);
    wipe(&a->password);
    free(a->authid);
    free(a->authzid);
    a->authid = copy(gsasl_property_fast(exchange, GSASL_AUTHID));
    a->authzid = copy(gsasl_property_fast(exchange, GSASL_AUTHZID));
    a->password = copy(gsasl_property_fast(exchange, GSASL_PASSWORD));
    return GSASL_OK;
}

static void verify_back(void *ctx, struct msg *m);

struct auth_room *auth_room_new(struct inbound *in)
{
    struct auth_room *r = must_alloc(sizeof *r);
    r->in = in;
    r->port = (struct port){.inbox = in->port.inbox, .fn = verify_back, .ctx = r};
    MUST(gsasl_init(&r->sasl) == GSASL_OK);
    gsasl_callback_set(r->sasl, on_property);
    rand_bytes(r->key, sizeof r->key);
    return r;
}

void auth_room_free(struct auth_room *r)
{
    struct known *k, *next;
    HASH_ITER (hh, r->known, k, next) {
        HASH_DEL(r->known, k);
        free(k);
    }
    users_unref(r->users);
    gsasl_done(r->sasl);
    OPENSSL_cleanse(r->key, sizeof r->key);
    free(r);
}

static void end_exchange(struct auth *a)
{
    if (a->exchange)
        gsasl_finish(a->exchange);
    a->exchange = NULL;
    wipe(&a->password);
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

static void say(void *ctx, const char *line)
{
    (void)ctx;
    LOG(LV_ERROR, "users_file", LOG_S("problem", line));
}

/* The users as the file has them now; on a broken file the last good ones stay in force, and it is
 * read again, and complained of, once in a while only. */
static struct users *users_now(struct auth_room *r)
{
    const char *path = r->in->shared->users_file;
    struct mono now = loop_now(r->in->loop);
    if (!path[0] || !mono_reached(r->not_before, now) ||
        (r->users && !users_changed(r->users, path)))
        return r->users;
    struct users *fresh = users_load(path, say, NULL);
    if (fresh) {
        users_unref(r->users);
        r->users = fresh;
    } else {
        r->not_before = mono_add(now, BROKEN_MS);
    }
    return r->users;
}

static void mac_of(const struct auth_room *r, const struct user *u, const char *password,
                   uint8_t ret[MAC_SIZE])
{
    DEFER(buf_done) struct buf b = BUF_MAX(16384);
    /* All room at once: a password that moves leaves itself behind. */
    MUST(buf_reserve(&b, strlen(u->name) + strlen(u->hash) + strlen(password) + 2));
    buf_add(&b, slice_of(u->name, strlen(u->name) + 1));
    buf_add(&b, slice_of(u->hash, strlen(u->hash) + 1));
    buf_add_str(&b, password);
    unsigned n = MAC_SIZE;
    MUST(HMAC(EVP_sha256(), r->key, MAC_SIZE, b.p, b.n, ret, &n));
    OPENSSL_cleanse(b.p, b.n);
}

static bool is_known(struct auth_room *r, const uint8_t mac[MAC_SIZE])
{
    struct known *k = NULL;
    HASH_FIND(hh, r->known, mac, MAC_SIZE, k);
    if (!k)
        return false;
    if (!mono_reached(k->until, loop_now(r->in->loop)))
        return true;
    HASH_DEL(r->known, k);
    free(k);
    return false;
}

static void remember(struct auth_room *r, const uint8_t mac[MAC_SIZE])
{
    if (is_known(r, mac))
        return;
    if (HASH_COUNT(r->known) >= CACHE_MAX) { /* the oldest: uthash keeps the order of adding */
        struct known *oldest = r->known;
        HASH_DEL(r->known, oldest);
        free(oldest);
    }
    struct known *k = must_alloc(sizeof *k);
    memcpy(k->mac, mac, MAC_SIZE);
    k->until = mono_add(loop_now(r->in->loop), CACHE_MS);
    HASH_ADD(hh, r->known, mac, MAC_SIZE, k);
}

/* Decided: the user's name stays with the session, the password goes. */
static void decide(struct session *s, bool ok)
{
    struct auth *a = &s->auth;
    metric_add(ok ? M_AUTH_OK : M_AUTH_FAILED, 1);
    if (ok) {
        free(a->user);
        a->user = TAKE_PTR(a->authid);
    } else {
        LOG(LV_INFO, "auth_failed", LOG_S("client_ip", s->names.peer_ip), LOG_S("user", a->authid),
            LOG_S("session_id", s->id));
    }
    end_exchange(a);
    if (ok) {
        guard_succeeded(s);
        session_answer(s, &reply_ok);
    } else {
        guard_failed(s, &reply_bad);
    }
}

static void verify_run(struct worker_job *j)
{
    struct verify_job *v = (struct verify_job *)j;
    v->ok = users_verify(v->user, slice_str(v->password));
}

static void verify_free(struct verify_job *v)
{
    wipe(&v->password);
    users_unref(v->users);
    free(v);
}

void auth_drop(struct msg *m)
{
    verify_free((struct verify_job *)m);
}

static void verify_back(void *ctx, struct msg *m)
{
    struct auth_room *r = ctx;
    struct verify_job *v = (struct verify_job *)m;
    struct session *s = v->session;
    atomic_fetch_sub(&r->in->shared->hashing, 1);
    if (v->ok)
        remember(r, v->mac);
    bool ok = v->ok;
    verify_free(v);
    decide(s, ok);
    (void)session_back(s);
}

static void check_password(struct session *s)
{
    struct auth_room *r = s->in->auth;
    struct auth *a = &s->auth;
    struct users *users = users_now(r);
    if (!users) {
        end_exchange(a);
        session_answer(s, &reply_trouble);
        return;
    }
    const struct user *u = users_find(users, slice_str(a->authid));
    bool other = a->authzid && a->authzid[0] && strcmp(a->authzid, a->authid) != 0;
    if (other)
        u = NULL;
    struct verify_job *v = must_alloc(sizeof *v);
    if (u) {
        mac_of(r, u, a->password, v->mac);
        if (is_known(r, v->mac)) {
            free(v);
            decide(s, true);
            return;
        }
    }
    if (atomic_fetch_add(&s->in->shared->hashing, 1) >= HASHING_MAX) {
        atomic_fetch_sub(&s->in->shared->hashing, 1);
        free(v);
        end_exchange(a);
        session_answer(s, &reply_trouble);
        return;
    }
    v->job.run = verify_run;
    v->job.reply = &r->port;
    v->session = s;
    v->users = (struct users *)frozen_ref(&users->frozen);
    v->user = u; /* NULL: hashed all the same, so that time tells nothing */
    v->password = TAKE_PTR(a->password);
    s->pending++;
    worker_push(s->in->shared->hasher, &v->job);
}

static bool start_exchange(struct session *s, struct slice mechanism)
{
    struct auth *a = &s->auth;
    a->mechanism = slice_eq(mechanism, SLICE_LIT("PLAIN"))   ? "PLAIN"
                   : slice_eq(mechanism, SLICE_LIT("LOGIN")) ? "LOGIN"
                                                             : NULL;
    Gsasl_session *exchange = NULL;
    if (!a->mechanism || gsasl_server_start(s->in->auth->sasl, a->mechanism, &exchange) != GSASL_OK)
        return false;
    gsasl_session_hook_set(exchange, a);
    a->exchange = exchange;
    a->first_step = true;
    return true;
}

/* LOGIN's questions as servers ask them everywhere, in base64: some clients compare them, and the
 * library's own ("User Name", "Password", from the draft) are strange to those. */
static const char ask_name[] = "VXNlcm5hbWU6";     /* Username: */
static const char ask_password[] = "UGFzc3dvcmQ6"; /* Password: */

static const char *question(const struct auth *a, bool has_response, const char *challenge)
{
    if (strcmp(a->mechanism, "LOGIN") != 0)
        return challenge ? challenge : "";
    return a->first_step && !has_response ? ask_name : ask_password;
}

/* One step of the library's, in base64 both ways. */
static int step(struct auth *a, const char *in64, char **ret_challenge)
{
    return gsasl_step64(a->exchange, in64, ret_challenge);
}

void auth_step(struct session *s, struct slice mechanism, struct slice response, bool has_response)
{
    struct auth *a = &s->auth;
    if (mechanism.n > 0 && !guard_may_try(s))
        return;
    if (mechanism.n > 0 && !start_exchange(s, mechanism)) {
        session_answer(s, &reply_mechanism);
        return;
    }
    MUST(a->exchange);
    DEFER_FREE char *in64 = slice_dup(slice_eq(response, SLICE_LIT("=")) ? SLICE_NONE : response);
    char *challenge = NULL;
    int rc = GSASL_NEEDS_MORE;
    /* LOGIN opens with a challenge of the server's even when the client has sent its first response
     * along. */
    if (a->first_step && has_response && strcmp(a->mechanism, "LOGIN") == 0) {
        rc = step(a, NULL, &challenge);
        gsasl_free(TAKE_PTR(challenge));
    }
    if (rc == GSASL_NEEDS_MORE)
        rc = step(a, a->first_step && !has_response ? NULL : in64, &challenge);
    OPENSSL_cleanse(in64, response.n);
    const char *ask = question(a, has_response, challenge);
    a->first_step = false;
    if (rc == GSASL_NEEDS_MORE) {
        struct smtp_reply more = {.code = 334, .text = slice_str(ask)};
        session_answer(s, &more);
    } else if (rc == GSASL_OK && a->password) {
        check_password(s);
    } else {
        end_exchange(a);
        metric_add(M_AUTH_FAILED, 1);
        if (rc == GSASL_BASE64_ERROR)
            session_answer(s, &reply_encoding);
        else
            guard_failed(s, &reply_form);
    }
    gsasl_free(challenge);
}

static const struct user *user_now(struct session *s)
{
    struct users *users = users_now(s->in->auth);
    return users && s->auth.user ? users_find(users, slice_str(s->auth.user)) : NULL;
}

bool auth_is_restricted(struct session *s)
{
    const struct user *u = user_now(s);
    return !u || u->n_from > 0;
}

bool auth_may_send_as(struct session *s, struct slice sender)
{
    const struct user *u = user_now(s);
    return u && user_may_send_as(u, sender);
}

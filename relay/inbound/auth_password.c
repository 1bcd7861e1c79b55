/* A name and a password, checked: known from lately, or by the hasher, off the loop. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/inbound/auth_priv.h"
#include "relay/inbound/known.h"

#define HASHING_MAX 500 /* logins waiting for the hasher before we say 454 */

/* One password on its way to the hasher and back. */
struct verify_job {
    struct worker_job job;
    struct session *session;
    struct users *users;
    const struct user *user;
    char *password;
    struct clients *clients; /* NULL: no ban holds for it */
    struct clients_key client;
    uint8_t mac[KNOWN_MAC_SIZE];
    bool ok;
};

static void verify_run(struct worker_job *j)
{
    struct verify_job *v = (struct verify_job *)j;
    /* Guesses that were waiting when the client was banned cost the others no time. */
    if (v->clients && clients_is_banned(v->clients, &v->client, mono_now()))
        return;
    v->ok = users_verify(v->user, slice_str(v->password));
}

static void verify_free(struct verify_job *v)
{
    auth_wipe(&v->password);
    users_unref(v->users);
    free(v);
}

void auth_drop(struct msg *m)
{
    verify_free((struct verify_job *)m);
}

void auth_password_back(void *ctx, struct msg *m)
{
    struct auth_room *r = ctx;
    struct inbound_shared *shared = r->in->shared;
    struct verify_job *v = (struct verify_job *)m;
    struct session *s = v->session;
    atomic_fetch_sub(&shared->hashing, 1);
    if (v->ok)
        known_add(shared->known, v->mac, loop_now(r->in->loop));
    bool ok = v->ok;
    verify_free(v);
    auth_decide(s, ok); /* who does not wait for it is counted like everyone */
    (void)session_back(s);
}

/* Nobody acts for another: an identity to act as is the user's own, or none. */
static const struct user *user_of(const struct users *users, const struct auth *a)
{
    const bool other = a->authzid && a->authzid[0] && strcmp(a->authzid, a->authid) != 0;
    return other ? NULL : users_find(users, slice_str(a->authid));
}

static bool is_known(struct session *s, const struct user *u, uint8_t ret_mac[KNOWN_MAC_SIZE])
{
    if (!user_has_password(u))
        return false;
    known_mac(s->in->shared->known, u, s->auth.password, ret_mac);
    return known_has(s->in->shared->known, ret_mac, loop_now(s->in->loop));
}

/* Takes users. */
static void ask_hasher(struct session *s, struct users *users, const struct user *u,
                       const uint8_t mac[KNOWN_MAC_SIZE])
{
    struct verify_job *v = must_alloc(sizeof *v);
    v->job.run = verify_run;
    v->job.reply = &s->in->auth->port;
    v->session = s;
    v->users = users;
    v->clients = s->admission.exempt ? NULL : s->in->shared->clients;
    v->client = s->admission.key;
    v->user = u; /* NULL: hashed all the same, so that time tells nothing */
    memcpy(v->mac, mac, KNOWN_MAC_SIZE);
    v->password = TAKE_PTR(s->auth.password);
    s->pending++;
    worker_push(s->in->shared->hasher, &v->job);
}

void auth_check_password(struct session *s)
{
    struct inbound_shared *shared = s->in->shared;
    struct users *users = accounts_now(shared->accounts, loop_now(s->in->loop));
    uint8_t mac[KNOWN_MAC_SIZE] = {0};
    if (!users) {
        auth_refuse(s, &auth_reply_trouble);
        return;
    }
    const struct user *u = user_of(users, &s->auth);
    if (is_known(s, u, mac)) {
        users_unref(users);
        auth_decide(s, true);
    } else if (atomic_fetch_add(&shared->hashing, 1) >= HASHING_MAX) {
        atomic_fetch_sub(&shared->hashing, 1);
        users_unref(users);
        auth_refuse(s, &auth_reply_trouble);
    } else {
        ask_hasher(s, users, u, mac);
    }
}

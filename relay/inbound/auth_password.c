/* A name and a password, checked: known from lately, or by the hasher, off the loop. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/inbound/auth_priv.h"
#include "relay/inbound/known.h"

static const struct smtp_reply reply_share = SMTP_REPLY_INIT(
    454, 4, 7, 0, "Too many logins of your address are being checked, try again in a moment");

/* A password that waits for its turn with the hasher. */
struct password {
    struct turn turn;
    struct session *session;
    const struct port *back;
    struct inbound_shared *shared;
    bool exempt; /* no ban holds for its client */
    struct users *users;
    const struct user *user;
    char *text;
    uint8_t mac[KNOWN_MAC_SIZE];
};

enum finding { UNCHECKED, WRONG, RIGHT };

/* A turn with the hasher, which is for whose turn it is by then. */
struct verify_job {
    struct worker_job job;
    struct inbound_shared *shared;
    struct password *password;
    enum finding finding;
};

/* Guesses that were waiting when the client was banned cost the others no time, nor does what waits
 * when we stop. One of many that wait with the same password has been right for all of them. */
static enum finding judge(const struct password *p, struct mono now)
{
    struct inbound_shared *shared = p->shared;
    if (atomic_load(&shared->ends_hashing))
        return UNCHECKED;
    if (!p->exempt && clients_is_banned(shared->clients, &p->turn.client, now))
        return UNCHECKED;
    if (known_has(shared->known, p->mac, now))
        return RIGHT;
    return users_verify(p->user, slice_str(p->text)) ? RIGHT : WRONG;
}

static void verify_run(struct worker_job *j)
{
    struct verify_job *v = (struct verify_job *)j;
    v->password = (struct password *)turns_pop(v->shared->turns);
    MUST(v->password); /* as many turns as jobs */
    v->finding = judge(v->password, mono_now());
    if (v->finding == RIGHT)
        known_add(v->shared->known, v->password->mac, mono_now());
    v->job.reply = v->password->back;
}

static void verify_free(struct verify_job *v)
{
    auth_wipe(&v->password->text);
    users_unref(v->password->users);
    free(v->password);
    free(v);
}

void auth_drop(struct msg *m)
{
    verify_free((struct verify_job *)m);
}

/* Neither right nor wrong: nothing is counted. */
static void tell_unchecked(struct session *s)
{
    if (guard_may_try(s))
        auth_refuse(s, &auth_reply_trouble);
    else
        auth_reset(&s->auth);
}

void auth_password_back(void *ctx, struct msg *m)
{
    struct verify_job *v = (struct verify_job *)m;
    struct session *s = v->password->session;
    const enum finding finding = v->finding;
    (void)ctx;
    verify_free(v);
    if (finding == UNCHECKED)
        tell_unchecked(s);
    else
        auth_decide(s, finding == RIGHT); /* who does not wait for it is counted like everyone */
    (void)session_back(s);
}

/* Nobody acts for another: an identity to act as is the user's own, or none. */
static const struct user *user_of(const struct users *users, const struct auth *a)
{
    const bool other = a->authzid && a->authzid[0] && strcmp(a->authzid, a->authid) != 0;
    return other ? NULL : users_find(users, slice_str(a->authid));
}

/* Covers what the password is compared with: one that is set anew, or a user who is let in again,
 * is another credential. */
static void note_credential(struct session *s, const struct user *u,
                            uint8_t ret_mac[KNOWN_MAC_SIZE])
{
    struct auth *a = &s->auth;
    known_mac(s->in->shared->known, a->authid, user_has_password(u) ? u->hash : "", a->password,
              ret_mac);
    memcpy(&a->credential, ret_mac, sizeof a->credential);
    a->credential |= 1;
}

/* Takes users. False: no room. */
static bool ask_hasher(struct session *s, struct users *users, const struct user *u,
                       const uint8_t mac[KNOWN_MAC_SIZE])
{
    struct inbound_shared *shared = s->in->shared;
    struct password *p = must_alloc(sizeof *p);
    struct verify_job *v = must_alloc(sizeof *v);
    p->turn.client = s->admission.key;
    p->session = s;
    p->back = &s->in->auth->port;
    p->shared = shared;
    p->exempt = s->admission.exempt;
    p->users = users;
    p->user = u; /* NULL: hashed all the same, so that time tells nothing */
    p->text = TAKE_PTR(s->auth.password);
    memcpy(p->mac, mac, KNOWN_MAC_SIZE);
    v->job.run = verify_run;
    v->shared = shared;
    if (!turns_push(shared->turns, &p->turn, p->exempt)) {
        v->password = p;
        verify_free(v);
        return false;
    }
    s->pending++;
    worker_push(shared->hasher, &v->job);
    return true;
}

void auth_check_password(struct session *s)
{
    struct inbound_shared *shared = s->in->shared;
    const struct mono now = loop_now(s->in->loop);
    struct users *users = accounts_now(shared->accounts, now);
    uint8_t mac[KNOWN_MAC_SIZE];
    if (!users) {
        auth_refuse(s, &auth_reply_trouble);
        return;
    }
    const struct user *u = user_of(users, &s->auth);
    note_credential(s, u, mac);
    const bool right = known_has(shared->known, mac, now);
    if (right || guard_has_failed(s, s->auth.credential)) {
        users_unref(users);
        auth_decide(s, right);
    } else if (!ask_hasher(s, users, u, mac)) {
        auth_refuse(s, &reply_share);
    }
}

/*
 * TLS sessions of a connection: which one it may offer, and what becomes of those that it is given.
 * The key has all that the peer's certificate was, or was not, looked at for, and all that would
 * show a peer that two of our identities are one: a session is offered by the like of those who got
 * it (checklist 85). One configuration's sessions are never another's, nor are those of before the
 * authorities were read anew.
 */
#include "relay/base/defer.h"
#include "relay/base/metrics.h"
#include "relay/net/addr.h"
#include "relay/outbound/conn.h"
#include "relay/outbound/sessions.h"
#include <inttypes.h>

/* Each part ends with NUL, which none of them has. */
static void put(struct buf *key, const char *text)
{
    buf_add(key, slice_of(text, strlen(text) + 1));
}

static void put_address(struct buf *key, const struct sockaddr_storage *a)
{
    char text[46] = "";
    if (a->ss_family)
        net_addr_text((const struct sockaddr *)a, text);
    put(key, text);
}

static struct buf key_of(const struct out_conn *c)
{
    struct buf key = BUF_MAX(4096);
    const struct sockaddr_storage *a = &c->peer;
    buf_addf(&key, "%" PRIu64 " %u %u ", c->conf->serial, (unsigned)c->client_conf.tls,
             net_addr_port((const struct sockaddr *)a));
    put(&key, c->dest->name);
    put_address(&key, a);
    put(&key, out_conn_host(c)->name);
    put_address(&key, &c->source.from);
    buf_add(&key, c->client_conf.helo);
    return key;
}

/* A rehearsal shows what a receiver does by itself. */
static bool takes_part(const struct out_conn *c)
{
    return !c->rehearsal && c->conf->serial == c->o->conf->serial;
}

/* The name that the certificate must be for, where that counts: an address literal has only itself.
 */
static struct slice name_of_peer(struct out_conn *c)
{
    const struct plan_host *h = out_conn_host(c);
    net_conn_names(c->link->net, &c->names);
    return slice_str(h->name[0] ? h->name : c->names.peer_ip);
}

void out_resume_start(struct out_conn *c, struct tls_context *tls, struct mono now)
{
    struct slice name = name_of_peer(c);
    DEFER(buf_done) struct buf key = key_of(c);
    struct out_session s = {0};
    if (takes_part(c) && !c->no_session)
        s = out_sessions_get(c->o->sessions, buf_slice(&key), now);
    c->offered = s.tls;
    c->full_handshake = s.full;
    if (takes_part(c))
        net_conn_resume_tls(c->link->net, tls, name, s.tls);
    else
        net_conn_start_tls(c->link->net, tls, false, name);
    tls_session_unref(s.tls);
}

void out_resume_done(struct out_conn *c, struct mono now)
{
    bool resumed = net_conn_tls_info(c->link->net).resumed;
    metric_add(M_TLS_OUT, 1);
    metric_add(M_TLS_OUT_RESUMED, resumed);
    if (!resumed)
        c->full_handshake = now;
}

void out_resume_keep(struct out_conn *c, struct mono now)
{
    struct tls_session *s = takes_part(c) ? net_conn_take_session(c->link->net) : NULL;
    if (!s)
        return;
    DEFER(buf_done) struct buf key = key_of(c);
    for (; s; s = net_conn_take_session(c->link->net))
        out_sessions_put(c->o->sessions, buf_slice(&key),
                         (struct out_session){s, c->full_handshake}, now);
}

bool out_resume_again(struct out_conn *c)
{
    bool turn = c->has_turn;
    if (!c->offered || net_conn_tls_unverified(c->link->net))
        return false;
    DEFER(buf_done) struct buf key = key_of(c);
    out_sessions_forget(c->o->sessions, buf_slice(&key));
    c->offered = false;
    c->no_session = true;
    c->tries--;
    out_conn_again(c);
    c->has_turn = turn;
    return true;
}

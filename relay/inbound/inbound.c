#include "relay/inbound/inbound.h"
#include "relay/base/clock.h"
#include "relay/base/must.h"
#include "relay/inbound/private.h"
#include "relay/spooler/requests.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* Orders from other threads to one loop's room. */
enum { INBOUND_RECONFIGURE = 1000, INBOUND_STOP };

struct order {
    struct msg msg;
    struct conf *conf;
    struct tls_context *tls;
};

struct inbound_shared *inbound_shared_new(struct spooler *spooler, const char *users_file)
{
    struct inbound_shared *s = must_alloc(sizeof *s);
    s->spooler = spooler;
    s->accounts = accounts_new(users_file);
    s->known = known_new();
    s->rates = rates_new();
    s->hasher = worker_new_patient("hasher");
    s->turns = turns_new();
    s->clients = clients_new();
    return s;
}

void inbound_shared_set_suppress(struct inbound_shared *s, struct suppress *list)
{
    s->suppress = list;
}

void inbound_shared_free(struct inbound_shared *s)
{
    clients_free(s->clients);
    accounts_free(s->accounts);
    known_free(s->known);
    rates_free(s->rates);
    turns_free(s->turns);
    free(s);
}

void inbound_shared_end_hashing(struct inbound_shared *s)
{
    atomic_store(&s->ends_hashing, true);
    worker_free(s->hasher);
}

unsigned inbound_shared_sessions(const struct inbound_shared *s)
{
    return clients_total(s->clients);
}

struct clients *inbound_shared_clients(const struct inbound_shared *s)
{
    return s->clients;
}

static struct tls_context *tls_ref(struct tls_context *tls)
{
    if (tls)
        frozen_ref(&tls->frozen);
    return tls;
}

static void use(struct inbound *in, struct conf *conf, struct tls_context *tls)
{
    conf_unref(in->conf);
    tls_context_unref(in->tls);
    in->conf = conf_ref(conf);
    in->tls = tls_ref(tls);
    networks_read(&in->allow, &conf->clients_allow);
}

static void read_networks(struct listening *l, const struct conf_listener *conf)
{
    networks_read(&l->trust, &conf->trust);
    networks_read(&l->proxies, &conf->proxy_protocol);
}

/* The listener as the configuration in force has it: a reload may have moved or removed it. */
static void look_up(struct listening *l)
{
    const struct conf *conf = l->in->conf;
    for (l->index = 0; l->index < conf->n_listeners; l->index++)
        if (strcmp(conf->listeners[l->index].name, l->name) == 0)
            break;
    l->served = l->index < conf->n_listeners;
    if (l->served)
        read_networks(l, &conf->listeners[l->index]);
}

static void listening_free(struct listening *l)
{
    tls_context_unref(l->tls);
    networks_done(&l->trust);
    networks_done(&l->proxies);
    free(l->name);
    free(l);
}

/* A renewed certificate counts from the next connection on, also where TLS comes first. */
static void renew_listeners(struct inbound *in)
{
    struct listening *l;
    LL_FOREACH (in->listening, l) {
        look_up(l);
        if (!l->tls || !in->tls || !l->served)
            continue;
        struct tls_context *fresh = tls_ref(tls_context_for(in->tls, l->index));
        net_listener_set_tls(l->listener, fresh);
        tls_context_unref(l->tls);
        l->tls = fresh;
    }
}

static void close_listeners(struct inbound *in)
{
    struct listening *l, *next;
    LL_FOREACH_SAFE(in->listening, l, next)
    {
        net_listener_close(l->listener);
        listening_free(l);
    }
    in->listening = NULL;
}

static void stop(struct inbound *in)
{
    in->stopping = true;
    close_listeners(in);
    struct session *s, *next;
    DL_FOREACH_SAFE (in->sessions, s, next) {
        if (s->closed)
            continue;
        (void)guard_late(s);
        if (!s->closed)
            served_shutdown(&s->served);
    }
}

static void order_free(struct order *o)
{
    conf_unref(o->conf);
    tls_context_unref(o->tls);
    free(o);
}

static void on_order(struct inbound *in, struct order *o)
{
    if (o->msg.type == INBOUND_STOP) {
        stop(in);
    } else {
        use(in, o->conf, o->tls);
        renew_listeners(in);
    }
    order_free(o);
}

static void on_msg(void *ctx, struct msg *m)
{
    struct inbound *in = ctx;
    if (m->type == SPOOLER_STORE) {
        struct spooler_store *st = (struct spooler_store *)m;
        intake_store_answer(st->cookie, st);
    } else if (m->type == SPOOLER_BODY) {
        struct spooler_body *b = (struct spooler_body *)m;
        intake_body_answer(b->cookie, b);
    } else {
        on_order(in, (struct order *)m);
    }
}

struct inbound *inbound_new(struct loop *l, struct inbox *i, struct inbound_shared *shared,
                            struct conf *conf, struct tls_context *tls)
{
    struct inbound *in = must_alloc(sizeof *in);
    in->loop = l;
    in->shared = shared;
    in->boot = (uint64_t)wall_now().us / 1000000;
    in->port = (struct port){.inbox = i, .fn = on_msg, .ctx = in};
    use(in, conf, tls);
    in->auth = auth_room_new(in);
    return in;
}

void inbound_free(struct inbound *in)
{
    struct listening *l, *next;
    in->freeing = true;
    LL_FOREACH_SAFE(in->listening, l, next)
    { /* the sockets went with the loop */
        listening_free(l);
    }
    struct session *s, *next_session;
    DL_FOREACH_SAFE (in->sessions, s,
                     next_session) { /* what they wait for does not come any more */
        session_free(s);
    }
    auth_room_free(in->auth);
    networks_done(&in->allow);
    conf_unref(in->conf);
    tls_context_unref(in->tls);
    free(in);
}

void inbound_listen(struct inbound *in, size_t listener, int fd)
{
    struct listening *l = must_alloc(sizeof *l);
    l->in = in;
    l->slot = listener;
    const struct conf_listener *conf = &in->conf->listeners[listener];
    l->name = slice_dup(slice_str(conf->name));
    look_up(l);
    LL_PREPEND(in->listening, l);
    if (conf->tls == CONF_TLS_IMPLICIT)
        l->tls = tls_ref(tls_context_for(in->tls, listener));
    struct net_acceptor a = {.behind_proxy = door_behind_proxy,
                             .admit = door_admit,
                             .accept = door_accept,
                             .ctx = l,
                             .implicit_tls = l->tls};
    l->listener = net_listen(in->loop, fd, &a);
}

static void send_order(struct inbound *in, unsigned type, struct conf *conf,
                       struct tls_context *tls)
{
    struct order *o = must_alloc(sizeof *o);
    o->msg.type = type;
    o->conf = conf_ref(conf);
    o->tls = tls_ref(tls);
    port_send(&in->port, &o->msg);
}

void inbound_reconfigure(struct inbound *in, struct conf *conf, struct tls_context *tls)
{
    send_order(in, INBOUND_RECONFIGURE, conf, tls);
}

void inbound_stop(struct inbound *in)
{
    send_order(in, INBOUND_STOP, NULL, NULL);
}

bool inbound_drop(struct msg *m)
{
    if (m->type == 0)
        auth_drop(m);
    else if (m->type == SPOOLER_STORE || m->type == SPOOLER_BODY)
        spooler_request_free(m);
    else if (m->type == INBOUND_RECONFIGURE || m->type == INBOUND_STOP)
        order_free((struct order *)m);
    else
        return false;
    return true;
}

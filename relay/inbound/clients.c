#include "relay/inbound/clients.h"
#include "relay/base/must.h"
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <uv.h>

struct client {
    char ip[46];
    unsigned n;
    UT_hash_handle hh;
};

struct clients {
    uv_mutex_t lock;
    struct client *by_ip;
    unsigned *by_listener;
    size_t n_listeners;
    unsigned total;
};

struct clients *clients_new(void)
{
    struct clients *c = must_alloc(sizeof *c);
    MUST(uv_mutex_init(&c->lock) == 0);
    return c;
}

void clients_free(struct clients *c)
{
    struct client *one, *next;
    HASH_ITER (hh, c->by_ip, one, next) {
        HASH_DEL(c->by_ip, one);
        free(one);
    }
    uv_mutex_destroy(&c->lock);
    free(c->by_listener);
    free(c);
}

static struct client *find_or_add(struct clients *c, const char *ip)
{
    struct client *one = NULL;
    HASH_FIND_STR(c->by_ip, ip, one);
    if (!one) {
        one = must_alloc(sizeof *one);
        memcpy(one->ip, ip, strnlen(ip, sizeof one->ip - 1));
        HASH_ADD_STR(c->by_ip, ip, one);
    }
    return one;
}

static unsigned *of_listener(struct clients *c, size_t listener)
{
    for (; c->n_listeners <= listener; c->n_listeners++) {
        c->by_listener =
            must_realloc(c->by_listener, (c->n_listeners + 1) * sizeof *c->by_listener);
        c->by_listener[c->n_listeners] = 0;
    }
    return &c->by_listener[listener];
}

static void forget_if_idle(struct clients *c, struct client *one)
{
    if (one->n > 0)
        return;
    HASH_DEL(c->by_ip, one);
    free(one);
}

bool clients_enter(struct clients *c, const char *ip, size_t listener, unsigned max_per_client,
                   unsigned max_per_listener)
{
    uv_mutex_lock(&c->lock);
    struct client *one = find_or_add(c, ip);
    unsigned *at_listener = of_listener(c, listener);
    bool ok = (max_per_client == 0 || one->n < max_per_client) &&
              (max_per_listener == 0 || *at_listener < max_per_listener);
    if (ok) {
        one->n++;
        ++*at_listener;
        c->total++;
    }
    forget_if_idle(c, one);
    uv_mutex_unlock(&c->lock);
    return ok;
}

void clients_leave(struct clients *c, const char *ip, size_t listener)
{
    uv_mutex_lock(&c->lock);
    struct client *one = find_or_add(c, ip);
    MUST(one->n > 0);
    one->n--;
    --*of_listener(c, listener);
    c->total--;
    forget_if_idle(c, one);
    uv_mutex_unlock(&c->lock);
}

unsigned clients_total(struct clients *c)
{
    uv_mutex_lock(&c->lock);
    unsigned n = c->total;
    uv_mutex_unlock(&c->lock);
    return n;
}

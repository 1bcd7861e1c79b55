/* What the control socket asks of the front door's table of clients. */
#include "relay/base/defer.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/base/utf8.h"
#include "relay/house.h"
#include "relay/inbound/clients.h"
#include "relay/net/addr.h"
#include <errno.h>
#include <stdio.h>

enum { PAGE_MAX = 64 };

bool house_clients(void *ctx, size_t *at, struct admin_client *rows, size_t max, size_t *ret_n)
{
    struct house *h = ctx;
    struct clients_row found[PAGE_MAX];
    const bool more = clients_page(inbound_shared_clients(h->shared), at, found,
                                   max < PAGE_MAX ? max : PAGE_MAX, ret_n, mono_now());
    for (size_t i = 0; i < *ret_n; i++) {
        const struct clients_row *f = &found[i];
        rows[i] = (struct admin_client){.connections = f->open,
                                        .lately = f->lately,
                                        .failures = f->failures,
                                        .banned_s = (f->banned_ms + 999) / 1000};
        clients_key_text(&f->key, rows[i].address);
        snprintf(rows[i].reason, sizeof rows[i].reason, "%s", f->reason);
    }
    return more;
}
_Static_assert(sizeof((struct admin_client *)0)->address >= CLIENTS_KEY_SIZE, "room for any");
_Static_assert(sizeof((struct admin_client *)0)->reason > CLIENTS_REASON_MAX, "room for any");

static int parse(struct slice address, struct clients_key *ret, struct err *e)
{
    if (clients_key_parse(address, ret))
        return 0;
    return err_set(e, -EINVAL,
                   "%.*s is not one client: an IPv4 address, or an IPv6 address or its /64",
                   SLICE_ARG(slice_head(address, 60)));
}

/* The network of clients.allow that a client's address lies in. */
static bool is_allowed(struct house *h, const struct clients_key *key)
{
    char text[CLIENTS_KEY_SIZE];
    struct net_cidr client, net;
    bool found = false;
    clients_key_text(key, text);
    MUST(net_cidr_parse(slice_str(text), &client));
    uv_mutex_lock(&h->reloading);
    const struct conf_list *allow = &h->conf->clients_allow;
    for (size_t i = 0; i < allow->n && !found; i++)
        found =
            net_cidr_parse(slice_str(allow->items[i]), &net) && net_cidr_overlaps(&net, &client);
    uv_mutex_unlock(&h->reloading);
    return found;
}

/* The reason is said to the client: ASCII, without control characters. */
int house_client_ban(void *ctx, struct slice address, int64_t for_s, struct slice reason,
                     struct slice actor, struct err *e)
{
    struct house *h = ctx;
    struct clients_key key;
    char text[CLIENTS_KEY_SIZE];
    DEFER(buf_done) struct buf why = BUF_MAX(CLIENTS_REASON_MAX + 1), who = BUF_MAX(100);
    int rc = parse(address, &key, e);
    if (rc < 0)
        return rc;
    clients_key_text(&key, text);
    if (is_allowed(h, &key))
        return err_set(e, -EINVAL, "%s is let in by clients.allow: take it out of there first",
                       text);
    reason = reason.n ? slice_head(reason, CLIENTS_REASON_MAX) : SLICE_LIT("by the administrator");
    for (size_t i = 0; i < reason.n; i++)
        buf_add_u8(&why, reason.p[i] >= ' ' && reason.p[i] < 127 ? reason.p[i] : '?');
    buf_add(&who, slice_head(actor, 64));
    clients_ban(inbound_shared_clients(h->shared), &key, for_s * 1000, buf_slice(&why), mono_now());
    LOG(LV_INFO, "client_banned", LOG_S("client", text), LOG_N("seconds", for_s),
        LOG_S("reason", buf_str(&why)), LOG_S("actor", buf_str(&who)));
    return 0;
}

int house_client_allow(void *ctx, struct slice address, struct slice actor, struct err *e)
{
    struct house *h = ctx;
    struct clients_key key;
    char text[CLIENTS_KEY_SIZE];
    DEFER(buf_done) struct buf who = BUF_MAX(100);
    int rc = parse(address, &key, e);
    if (rc < 0)
        return rc;
    clients_key_text(&key, text);
    if (!clients_allow(inbound_shared_clients(h->shared), &key, mono_now()))
        return err_set(e, -ENOENT, "%s is not banned, and has no failed logins", text);
    buf_add(&who, slice_head(actor, 64));
    LOG(LV_INFO, "client_allowed", LOG_S("client", text), LOG_S("actor", buf_str(&who)));
    return 0;
}

#include "relay/house.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include "relay/identity.h"
#include "relay/outbound/hosts.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Gathers the configuration's problems into one err. */
struct problems {
    struct err *e;
    unsigned n;
};

static void say(void *ctx, const char *line)
{
    struct problems *p = ctx;
    size_t used = strlen(p->e->text);
    snprintf(p->e->text + used, sizeof p->e->text - used, "%s%s", p->n++ ? "\n" : "", line);
}

static struct conf *load(const char *path, struct err *e)
{
    struct problems p = {.e = e};
    e->text[0] = 0;
    struct conf *c = conf_load(path, say, &p);
    if (c && (conf_check(c, say, &p) > 0 || conf_load_keys(c, say, &p) > 0)) {
        conf_unref(c);
        c = NULL;
    }
    e->code = c ? 0 : -EINVAL;
    return c;
}

static struct retry_policy widest_of(const struct conf *c)
{
    struct retry_policy widest = outbound_retry(&c->retry);
    for (size_t i = 0; i < c->n_destinations; i++) {
        struct retry_policy p = outbound_retry(&c->destinations[i].retry);
        if (p.n)
            retry_widen(&widest, &p);
    }
    return widest;
}

static struct limit_rate rate_of(const struct conf_rate *r)
{
    return (struct limit_rate){.n = r->n, .per_ms = r->per_ms};
}

static struct report_policy report_policy_of(const struct conf *c)
{
    struct report_policy p = {.per_sender = rate_of(&c->reports_per_sender),
                              .per_user = rate_of(&c->reports_per_user)};
    snprintf(p.double_bounces, sizeof p.double_bounces, "%s", c->double_bounces);
    return p;
}

static struct marks_conf marks_of(const struct conf *c)
{
    return (struct marks_conf){.max_messages = c->spool_max_messages,
                               .max_memory = c->spool_max_memory};
}

/* --- making
 * -------------------------------------------------------------------------------------------------------------
 */

static void on_event(void *ctx, const struct event *e)
{
    struct house *h = ctx;
    suppress_event(h->suppress, e); /* first: what the log tells of is in force */
    events_push(h->events, e);
}

static int make_keeping(struct house *h, struct err *e)
{
    const struct conf *c = h->conf;
    struct events_conf ec;
    uint64_t last_seq = 0;
    int rc = house_log_conf(c, &ec, e);
    if (rc == 0)
        rc = events_new(&h->events, &ec, &last_seq, e);
    if (rc < 0)
        return rc;
    struct spooler_conf sc = {
        .path = c->spool_path,
        .segment_bytes = c->debug_segment_bytes,
        .min_free_bytes = c->spool_min_free,
        .marks = marks_of(c),
        .retry = outbound_retry(&c->retry),
        .widest = widest_of(c),
        .lifetime_s = c->lifetime_s,
        .delay_warning_s = c->delay_warning_s,
        .report_policy = report_policy_of(c),
        .node = slice_str(c->hostname),
        .seq_after = last_seq,
        .sync_delay_ms = c->debug_sync_delay_ms,
    };
    struct spool_report report = {0};
    rc = spooler_new(&h->spooler, &sc, &report, e);
    if (rc == -EWOULDBLOCK)
        return err_set(e, rc, "spool %s: another postwain is running on it", c->spool_path);
    if (rc < 0)
        return rc;
    LOG(LV_INFO, "spool_opened", LOG_S("path", c->spool_path), LOG_N("messages", report.messages),
        LOG_N("recipients", report.recipients), LOG_N("damaged", report.damaged));
    rc = house_make_suppress(h, e);
    if (rc == 0)
        rc = house_make_suspend(h, e);
    if (rc < 0)
        return rc;
    house_log_join(h);
    spooler_set_events(h->spooler, on_event, h);
    rc = spooler_replay(h->spooler, last_seq, on_event, h);
    if (rc < 0)
        return err_set(e, rc, "spool %s: what the delivery log lacks cannot be read",
                       c->spool_path);
    return 0;
}

static unsigned cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (unsigned)n;
}

static int make_nets(struct house *h, struct err *e)
{
    h->out_hosts = out_hosts_new();
    out_hosts_reload(h->out_hosts, h->conf->serial);
    h->n_nets = h->conf->threads ? h->conf->threads : cores();
    h->nets = must_alloc(h->n_nets * sizeof *h->nets);
    h->outbounds = must_alloc(h->n_nets * sizeof(struct outbound *));
    const struct port **ports = must_alloc(h->n_nets * sizeof *ports);
    int rc = 0;
    for (unsigned i = 0; i < h->n_nets && rc == 0; i++) {
        struct net_thread *t = &h->nets[i];
        char name[16];
        snprintf(name, sizeof name, "net%u", i % 1000);
        t->loop = loop_new(name, i);
        t->inbox = inbox_new(t->loop, NULL, NULL);
        t->traces = net_traces_new(t->loop, t->inbox);
        t->inbound = inbound_new(t->loop, t->inbox, h->shared, h->conf, h->tls);
        rc = outbound_new(&t->outbound, t->loop, t->inbox, h->conf, h->client_tls, h->out_hosts,
                          spooler_port(h->spooler), e);
        if (rc == 0) {
            ports[i] = outbound_port(t->outbound);
            h->outbounds[i] = t->outbound;
            outbound_meet(t->outbound, h->outbounds, h->n_nets);
        }
    }
    if (rc == 0)
        spooler_set_outbound(h->spooler, ports, h->n_nets);
    free(ports);
    return rc;
}

static int bind_address(struct house *h, size_t listener, const char *text, struct err *e)
{
    struct sockaddr_storage a;
    int rc = net_parse_address(slice_str(text), &a, e);
    for (unsigned i = 0; i < h->n_nets && rc >= 0; i++) {
        rc = net_bind(&a, e);
        if (rc >= 0)
            inbound_listen(h->nets[i].inbound, listener, rc);
    }
    if (rc >= 0)
        LOG(LV_INFO, "listening", LOG_S("listener", h->conf->listeners[listener].name),
            LOG_S("address", text));
    return rc < 0 ? rc : 0;
}

static int bind_listeners(struct house *h, struct err *e)
{
    for (size_t i = 0; i < h->conf->n_listeners; i++)
        for (size_t k = 0; k < h->conf->listeners[i].address.n; k++) {
            int rc = bind_address(h, i, h->conf->listeners[i].address.items[k], e);
            if (rc < 0)
                return rc;
        }
    return 0;
}

static int hook_reload(void *ctx, struct err *e)
{
    return house_reload(ctx, e);
}

static void hook_stop(void *ctx)
{
    (void)ctx;
    house_ask_stop();
}

static void hook_drain(void *ctx)
{
    house_drain(ctx);
}

static bool hook_draining(void *ctx)
{
    struct house *h = ctx;
    uv_mutex_lock(&h->reloading);
    bool draining = h->draining;
    uv_mutex_unlock(&h->reloading);
    return draining;
}

static void hook_certificates(void *ctx, admin_certificate_fn *each, void *each_ctx)
{
    struct house *h = ctx;
    uv_mutex_lock(&h->reloading);
    certificates_each(h->certificates, each, each_ctx);
    uv_mutex_unlock(&h->reloading);
}

struct warning_teller {
    admin_say_fn *say;
    void *ctx;
};

static void warn_of_relay(void *ctx, const struct out_host_view *v)
{
    const struct warning_teller *t = ctx;
    char text[900];
    if (v->state != OUT_HOST_BARRED)
        return;
    snprintf(
        text, sizeof text,
        "destination \"%.100s\": the login at %.200s fails, and is tried again in %lld s: %.400s",
        v->destination, v->host, (long long)(v->again_ms / 1000), v->why);
    t->say(t->ctx, text);
}

static void warn_of_suspended(struct house *h, admin_say_fn *say_fn, void *say_ctx)
{
    struct admin_suspension s;
    char text[1400];
    for (size_t at = 0; house_suspended(h, &at, &s);) {
        snprintf(text, sizeof text, "destination \"%s\" is suspended: its mail waits%s%s", s.name,
                 s.reason[0] ? "; " : "", s.reason);
        say_fn(say_ctx, text);
    }
}

static void hook_warnings(void *ctx, admin_say_fn *say_fn, void *say_ctx)
{
    struct house *h = ctx;
    char text[800];
    uv_mutex_lock(&h->reloading);
    for (size_t i = 0; i < h->conf->n_listeners; i++)
        if (conf_is_open_relay(&h->conf->listeners[i])) {
            snprintf(text, sizeof text,
                     "listener \"%.200s\" is an open relay: everybody may send to everybody",
                     h->conf->listeners[i].name);
            say_fn(say_ctx, text);
        }
    const char *problem = certificates_problem(h->certificates);
    if (problem) {
        snprintf(text, sizeof text, "new certificates are not taken, the old ones stay: %s",
                 problem);
        say_fn(say_ctx, text);
    }
    uv_mutex_unlock(&h->reloading);
    out_hosts_each(h->out_hosts, mono_now(), warn_of_relay,
                   &(struct warning_teller){say_fn, say_ctx});
    warn_of_suspended(h, say_fn, say_ctx);
}

/* Wanted, and yet told at each start and reload. */
static void warn_of_open_relays(const struct conf *c)
{
    for (size_t i = 0; i < c->n_listeners; i++)
        if (conf_is_open_relay(&c->listeners[i]))
            LOG(LV_WARN, "open_relay", LOG_S("listener", c->listeners[i].name),
                LOG_S("meaning", "everybody may send to everybody without a login"),
                LOG_S("because", "i-want-an-open-relay = true"));
}

static int make_admin(struct house *h, struct err *e)
{
    const struct admin_hooks hooks = {.ctx = h,
                                      .reload = hook_reload,
                                      .stop = hook_stop,
                                      .drain = hook_drain,
                                      .draining = hook_draining,
                                      .certificates = hook_certificates,
                                      .warnings = hook_warnings,
                                      .clients = house_clients,
                                      .client_ban = house_client_ban,
                                      .client_allow = house_client_allow,
                                      .suspended = house_suspended,
                                      .suspend = house_suspend,
                                      .resume = house_resume,
                                      .explain = house_explain,
                                      .explain_stop = house_explain_stop,
                                      .trace = house_trace,
                                      .trace_end = house_trace_end,
                                      .suppressed = house_suppressed,
                                      .suppress_asked = house_suppress_asked,
                                      .suppress_ok = house_suppress_ok,
                                      .suppress_add = house_suppress_add,
                                      .suppress_remove = house_suppress_remove,
                                      .suppress_sync = house_suppress_sync};
    return admin_new(&h->admin, h->conf, h->spooler, h->events, &hooks, e);
}

int house_make(struct house *h, const char *conf_path, struct err *e)
{
    MUST(uv_mutex_init(&h->reloading) == 0);
    MUST(uv_mutex_init(&h->suspending) == 0);
    h->loop = loop_new("main", 0);
    h->inbox = inbox_new(h->loop, NULL, NULL);
    h->port = (struct port){.inbox = h->inbox, .fn = house_on_msg, .ctx = h};
    h->conf = load(conf_path, e);
    if (!h->conf)
        return e->code;
    log_set_level(h->conf->log_level);
    warn_of_open_relays(h->conf);
    h->certificates = certificates_new();
    struct identity me;
    int rc = identity_take(&me, h->conf, e);
    if (rc == 0)
        rc = certificates_load(h->certificates, h->conf, &h->tls, e);
    if (rc == 0)
        rc = tls_context_client(&h->client_tls, e);
    if (rc == 0)
        rc = make_keeping(h, e);
    if (rc < 0)
        return rc;
    h->shared = inbound_shared_new(h->spooler, h->conf->users_file);
    inbound_shared_set_suppress(h->shared, h->suppress);
    rc = make_nets(h, e);
    if (rc == 0)
        rc = identity_root(&me, e);
    if (rc == 0)
        rc = bind_listeners(h, e);
    if (rc == 0)
        rc = identity_drop(&me, h->conf, e);
    if (rc == 0)
        rc = make_admin(h, e);
    return rc;
}

/* --- running
 * -------------------------------------------------------------------------------------------------------------
 */

int house_start(struct house *h, struct err *e)
{
    int rc = events_start(h->events);
    if (rc == 0)
        rc = spooler_start(h->spooler);
    for (unsigned i = 0; i < h->n_nets && rc == 0; i++)
        rc = loop_start(h->nets[i].loop);
    if (rc == 0)
        rc = admin_start(h->admin);
    if (rc < 0)
        return err_set(e, rc, "cannot start a thread: %s", strerror(-rc));
    house_note(h, EVENT_SERVICE_STARTED);
    return 0;
}

void house_note(struct house *h, enum event_name name)
{
    struct spooler_note *n = must_alloc(sizeof *n);
    n->msg.type = SPOOLER_NOTE;
    n->name = name;
    buf_init(&n->fields, 512);
    event_add_str(&n->fields, EV_VERSION, SLICE_LIT(PW_VERSION));
    port_send(spooler_port(h->spooler), &n->msg);
}

void house_drain(struct house *h)
{
    uv_mutex_lock(&h->reloading);
    if (!h->draining)
        for (unsigned i = 0; i < h->n_nets; i++)
            inbound_stop(h->nets[i].inbound);
    h->draining = true;
    uv_mutex_unlock(&h->reloading);
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_listeners(const struct conf *a, const struct conf *b)
{
    bool same = a->n_listeners == b->n_listeners;
    for (size_t i = 0; same && i < a->n_listeners; i++)
        same = strcmp(a->listeners[i].name, b->listeners[i].name) == 0 &&
               a->listeners[i].tls == b->listeners[i].tls &&
               same_list(&a->listeners[i].address, &b->listeners[i].address);
    return same;
}

/* What is bound to a thing made at start. */
static const char *needs_restart(const struct conf *a, const struct conf *b)
{
    if (!same_listeners(a, b))
        return "the listeners' names, addresses and tls";
    if (strcmp(a->spool_path, b->spool_path) != 0)
        return "the spool's path";
    if (strcmp(a->hostname, b->hostname) != 0)
        return "the hostname";
    if (strcmp(a->users_file, b->users_file) != 0)
        return "the users file's path";
    if (strcmp(a->control_socket, b->control_socket) != 0)
        return "the control socket";
    if (strcmp(a->http_address, b->http_address) != 0)
        return "the http address";
    if (strcmp(a->log_deliveries, b->log_deliveries) != 0)
        return "the delivery log's path";
    return NULL;
}

static void reconfigure_spooler(struct house *h)
{
    struct spooler_control *c = must_alloc(sizeof *c);
    c->msg.type = SPOOLER_CONTROL;
    c->reply = &h->port;
    c->what = SPOOLER_RECONFIGURE;
    c->retry = outbound_retry(&h->conf->retry);
    c->widest = widest_of(h->conf);
    c->lifetime_s = h->conf->lifetime_s;
    c->delay_warning_s = h->conf->delay_warning_s;
    c->report_policy = report_policy_of(h->conf);
    c->min_free_bytes = h->conf->spool_min_free;
    c->marks = marks_of(h->conf);
    port_send(spooler_port(h->spooler), &c->msg);
}

static void publish(struct house *h, const struct events_conf *log)
{
    events_reconfigure(h->events, log);
    out_hosts_reload(h->out_hosts, h->conf->serial); /* perhaps a better password */
    for (unsigned i = 0; i < h->n_nets; i++) {
        inbound_reconfigure(h->nets[i].inbound, h->conf, h->tls);
        outbound_reconfigure(h->nets[i].outbound, h->conf);
    }
    reconfigure_spooler(h);
    house_suppress_reconfigure(h);
    admin_reconfigure(h->admin, h->conf);
    log_set_level(h->conf->log_level);
    house_note(h, EVENT_CONFIG_RELOADED);
}

static int reload_locked(struct house *h, struct err *e)
{
    struct tls_context *tls = NULL;
    struct events_conf log;
    struct conf *fresh = load(h->conf->path, e);
    if (!fresh)
        return e->code;
    const char *restart = needs_restart(h->conf, fresh);
    int rc = restart
                 ? err_set(e, -EINVAL, "%s: %s can change only at a restart", fresh->path, restart)
                 : house_log_conf(fresh, &log, e);
    if (rc == 0)
        rc = certificates_load(h->certificates, fresh, &tls, e);
    if (rc < 0) {
        conf_unref(fresh);
        return rc;
    }
    conf_unref(h->conf);
    tls_context_unref(h->tls);
    h->conf = fresh;
    h->tls = tls;
    publish(h, &log);
    warn_of_open_relays(fresh);
    LOG(LV_INFO, "reloaded", LOG_S("file", fresh->path));
    return 0;
}

int house_reload(struct house *h, struct err *e)
{
    uv_mutex_lock(&h->reloading);
    int rc = reload_locked(h, e);
    uv_mutex_unlock(&h->reloading);
    return rc;
}

static void renew(struct house *h, struct tls_context *tls)
{
    tls_context_unref(h->tls);
    h->tls = tls;
    for (unsigned i = 0; i < h->n_nets; i++)
        inbound_reconfigure(h->nets[i].inbound, h->conf, tls);
}

void house_look(struct house *h, struct mono now)
{
    house_look_suspended(h);
    struct tls_context *tls = NULL;
    uv_mutex_lock(&h->reloading);
    if (certificates_look(h->certificates, h->conf, now, &tls))
        renew(h, tls);
    deadline_set(h->loop, &h->look, mono_add(now, h->conf->debug_look_at_files_ms));
    uv_mutex_unlock(&h->reloading);
}

/* --- the end
 * ---------------------------------------------------------------------------------------------------------------
 */

static void free_nets(struct house *h)
{
    for (unsigned i = 0; i < h->n_nets; i++)
        if (h->nets[i].loop)
            loop_stop(h->nets[i].loop);
    for (unsigned i = 0; i < h->n_nets; i++)
        if (h->nets[i].loop)
            loop_join(h->nets[i].loop);
}

static void drop(struct msg *m)
{
    if (!inbound_drop(m) && !net_traces_drop(m))
        outbound_drop(m);
}

static void free_rooms(struct house *h)
{
    for (unsigned i = 0; i < h->n_nets; i++) {
        struct net_thread *t = &h->nets[i];
        if (t->outbound)
            outbound_free(t->outbound);
        if (t->inbound)
            inbound_free(t->inbound);
        net_traces_free(t->traces);
        if (t->inbox)
            inbox_free(t->inbox, drop);
        if (t->loop)
            loop_free(t->loop);
    }
    free(h->outbounds);
    free(h->nets);
}

void house_free(struct house *h)
{
    if (h->admin)
        admin_free(h->admin);
    free_nets(h);
    if (h->shared)
        inbound_shared_end_hashing(h->shared);
    house_log_part(h); /* the log outlives the spooler: its last lines come from there */
    if (h->spooler)
        spooler_free(h->spooler);
    if (h->events)
        events_free(h->events);
    free_rooms(h);
    house_free_suppress(h);
    house_free_suspend(h);
    out_hosts_free(h->out_hosts);
    if (h->shared)
        inbound_shared_free(h->shared);
    inbox_free(h->inbox, NULL);
    loop_free(h->loop);
    tls_context_unref(h->client_tls);
    tls_context_unref(h->tls);
    certificates_free(h->certificates);
    conf_unref(h->conf);
    uv_mutex_destroy(&h->reloading);
    uv_mutex_destroy(&h->suspending);
}

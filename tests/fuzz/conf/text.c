/* Laws: any bytes as a configuration give a snapshot or at least one problem, never both; a
 * snapshot is within bounds and never an open relay that nobody asked for. */
#include "relay/base/must.h"
#include "relay/conf/options.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(void *ctx, const char *line)
{
    MUST(line[0] && !strpbrk(line, "\r\n\033"));
    (*(unsigned *)ctx)++;
}

static void check_networks(const struct conf *c, const struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct network n;
        struct buf why = BUF_MAX(200);
        MUST(network_parse(slice_str(list->items[i]), &n, &why));
        MUST(c->i_want_an_open_relay || !network_is_open(&n));
    }
}

static void check_listener(const struct conf *c, const struct conf_listener *l)
{
    MUST(l->name && l->name[0] && l->address.n > 0 && l->max_recipients >= 100);
    MUST(c->i_want_an_open_relay || !conf_is_open_relay(l));
    MUST(l->client_certificates == CONF_CERT_NONE ? !l->client_ca[0]
                                                  : l->client_ca[0] && l->tls != CONF_TLS_NONE);
    check_networks(c, &l->trust);
    check_networks(c, &l->proxy_protocol);
}

static void check_tls(const struct conf *c)
{
    MUST(c->n_tls == 0 || c->tls_default < c->n_tls);
    for (size_t i = 0; i < c->n_tls; i++) {
        const struct conf_tls *s = &c->tls[i];
        MUST(s->certificate.n == s->key.n && s->key.n <= CONF_PAIRS_MAX);
        MUST(s->key.n > 0 || !s->name[0]);
        for (size_t k = 0; k < i; k++)
            MUST(strcmp(s->name, c->tls[k].name) != 0);
    }
}

static void check(const struct conf *c)
{
    MUST(c->hostname[0] && c->postmaster[0] && c->spool_path[0] && c->control_socket[0]);
    MUST(c->retry.n > 0 && c->retry.n <= CONF_RETRY_MAX && c->lifetime_s > 0);
    MUST(c->n_listeners > 0 && c->n_destinations > 0);
    for (size_t i = 0; i < c->n_listeners; i++)
        check_listener(c, &c->listeners[i]);
    for (size_t i = 0; i < c->n_destinations; i++) {
        const struct conf_destination *d = &c->destinations[i];
        MUST(d->port > 0 && d->connections > 0 && d->messages_per_connection > 0);
        MUST(!(d->mx.n && d->relay.n));
    }
    check_tls(c);
    conf_by_domain(c, SLICE_LIT("example.com"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    unsigned problems = 0;
    /* Files of the machine are no part of the input. */
    if (memmem(data, size, "include", 7))
        return 0;
    if (fd < 0) {
        fd = memfd_create("configuration", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    MUST(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    struct conf *c = conf_load(path, count, &problems);
    MUST((c != NULL) == (problems == 0));
    if (c)
        check(c);
    conf_unref(c);
    return 0;
}

#include "relay/certificates.h"
#include "relay/base/log.h"
#include "relay/base/must.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct section {
    char *name;
    struct tls_certs *certs;
};

struct certificates {
    struct tls_tickets *tickets;
    struct mono rotated;
    struct section *sections;
    size_t n;
    /* What the files looked like: when they were last read, and at the last look. A change is taken
     * when it has stayed for one look, so that nobody reads half of two files. */
    uint64_t read, seen;
    char problem[600]; /* "" = none */
};

struct certificates *certificates_new(void)
{
    struct certificates *k = must_alloc(sizeof *k);
    k->tickets = tls_tickets_new();
    k->rotated = mono_now();
    return k;
}

static void sections_free(struct section *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].name);
        tls_certs_unref(list[i].certs);
    }
    free(list);
}

void certificates_free(struct certificates *k)
{
    if (!k)
        return;
    sections_free(k->sections, k->n);
    tls_tickets_unref(k->tickets);
    free(k);
}

/* --- reading --------------------------------------------------------------------------------- */

/* Sections without files are those of a configuration without TLS. */
static int load_sections(const struct conf *c, struct section *list, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < c->n_tls && rc == 0; i++) {
        const struct conf_tls *s = &c->tls[i];
        list[i].name = slice_dup(slice_str(s->name));
        rc = tls_certs_load(&list[i].certs, s->name, s->certificate.items, s->key.items,
                            s->certificate.n, e);
    }
    return rc;
}

static enum tls_ask ask_of(const struct conf_listener *l)
{
    static const enum tls_ask asks[] = {[CONF_CERT_NONE] = TLS_ASK_NONE,
                                        [CONF_CERT_REQUEST] = TLS_ASK_REQUEST,
                                        [CONF_CERT_REQUIRE] = TLS_ASK_REQUIRE};
    return asks[l->client_certificates];
}

static int serve(struct certificates *k, const struct conf *c, const struct section *list,
                 struct tls_context **ret, struct err *e)
{
    struct tls_certs **certs = must_alloc(c->n_tls * sizeof(struct tls_certs *));
    struct tls_clients *clients = must_alloc(c->n_listeners * sizeof *clients);
    for (size_t i = 0; i < c->n_tls; i++)
        certs[i] = list[i].certs;
    for (size_t i = 0; i < c->n_listeners; i++)
        clients[i] = (struct tls_clients){ask_of(&c->listeners[i]), c->listeners[i].client_ca};
    const struct tls_serving s = {.certs = certs,
                                  .n_certs = c->n_tls,
                                  .fallback = c->tls_default,
                                  .tickets = k->tickets,
                                  .listeners = clients,
                                  .n_listeners = c->n_listeners};
    int rc = tls_context_serve(ret, &s, e);
    free(certs);
    free(clients);
    return rc;
}

static void warn_of_end(void *ctx, const struct admin_certificate *c)
{
    const int64_t *now_s = ctx;
    const int64_t left_s = c->not_after_s - *now_s;
    if (left_s < ADMIN_EXPIRES_SOON_S)
        LOG(LV_WARN, left_s > 0 ? "certificate_expires" : "certificate_expired",
            LOG_S("file", c->path), LOG_N("seconds", left_s));
}

/* A word for what all the files look like; the same as long as none is touched. */
static uint64_t look_at(const struct conf *c);

int certificates_load(struct certificates *k, const struct conf *c, struct tls_context **ret,
                      struct err *e)
{
    *ret = NULL;
    const uint64_t seen = look_at(c); /* before they are read: what comes between is seen later */
    const size_t n = conf_has_certificate(c) ? c->n_tls : 0;
    struct section *list = must_alloc((n + 1) * sizeof *list);
    int rc = n ? load_sections(c, list, e) : 0;
    if (rc == 0 && n)
        rc = serve(k, c, list, ret, e);
    if (rc < 0) {
        sections_free(list, n);
        return rc;
    }
    sections_free(k->sections, k->n);
    k->sections = list;
    k->n = n;
    k->read = k->seen = seen;
    k->problem[0] = 0;
    int64_t now_s = wall_now().us / WALL_SECOND;
    certificates_each(k, warn_of_end, &now_s);
    return 0;
}

/* --- looking --------------------------------------------------------------------------------- */

static void add_file(struct buf *b, const char *path)
{
    struct stat st = {0};
    const bool there = path[0] && stat(path, &st) == 0;
    buf_addf(b, "%d %llu %llu %lld %lld.%ld %lld.%ld\n", there, (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static uint64_t look_at(const struct conf *c)
{
    struct buf b = BUF_MAX(16u << 20);
    for (size_t i = 0; i < c->n_tls; i++)
        for (size_t n = 0; n < c->tls[i].certificate.n; n++) {
            add_file(&b, c->tls[i].certificate.items[n]);
            add_file(&b, c->tls[i].key.items[n]);
        }
    for (size_t i = 0; i < c->n_listeners; i++)
        add_file(&b, c->listeners[i].client_ca);
    uint64_t word = slice_hash(buf_slice(&b));
    buf_done(&b);
    return word;
}

static void rotate(struct certificates *k, const struct conf *c, struct mono now)
{
    if (!mono_reached(mono_add(k->rotated, c->debug_ticket_rotation_ms), now))
        return;
    k->rotated = now;
    tls_tickets_rotate(k->tickets);
}

bool certificates_look(struct certificates *k, const struct conf *c, struct mono now,
                       struct tls_context **ret)
{
    struct err e = {0};
    rotate(k, c, now);
    const uint64_t word = look_at(c), before = k->seen;
    k->seen = word;
    if (word == k->read || word != before)
        return false;
    if (certificates_load(k, c, ret, &e) == 0) {
        LOG(LV_INFO, "certificates_reloaded", LOG_N("sections", k->n));
        return true;
    }
    k->read = word;        /* told once; the next change is looked at again */
    if (e.code == -EACCES) /* a renewal is made by root, and read by us */
        snprintf(k->problem, sizeof k->problem,
                 "%s: let the group of user %s read it (chgrp, chmod g+r), and its folder", e.text,
                 c->user[0] ? c->user : "that the relay runs as");
    else
        snprintf(k->problem, sizeof k->problem, "%s", e.text);
    LOG(LV_WARN, "certificates_refused", LOG_S("problem", k->problem),
        LOG_S("kept", "those read before"));
    return false;
}

/* --- telling --------------------------------------------------------------------------------- */

void certificates_each(const struct certificates *k, admin_certificate_fn *each, void *each_ctx)
{
    for (size_t i = 0; i < k->n; i++)
        for (size_t n = 0; n < tls_certs_count(k->sections[i].certs); n++) {
            struct tls_cert_info info = tls_certs_info(k->sections[i].certs, n);
            const struct admin_certificate c = {.section = k->sections[i].name,
                                                .path = info.path,
                                                .key_type = info.key_type,
                                                .not_after_s = info.not_after_s};
            each(each_ctx, &c);
        }
}

const char *certificates_problem(const struct certificates *k)
{
    return k->problem[0] ? k->problem : NULL;
}

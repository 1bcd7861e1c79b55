/* TLS contexts: versions, suites; which certificate a client is shown, and whether it is asked for
 * one. */
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/tls/certs.h"
#include "relay/tls/engine.h"
#include "relay/tls/reason.h"
#include "relay/tls/tickets.h"
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>

/* A session is resumed for so long; less than a ticket key lives. */
#define SESSION_S (2 * 60 * 60L)
/* What stands between a client's certificate and its authority. */
#define CLIENT_CHAIN_MAX 8

/* TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325); 1.3 has nothing else.
 */
#define SUITES_12                                                                                  \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

/* Delivery prefers the same, and takes what else hides the mail from those who only listen: where
 * TLS is not a must, the alternative is no TLS (RFC 7435). Small keys of old receivers as well,
 * which Debian's level 2 refuses. */
static const char client_suites_12[] =
    SUITES_12 ":HIGH:!aNULL:!eNULL:!MD5:!RC4:!3DES:!PSK:!SRP:@SECLEVEL=1";

/* The certificates to choose from: of a context, and of those that stand under it. */
struct tls_roster {
    struct frozen frozen;
    struct tls_certs **certs;
    size_t n;
    const struct tls_certs *fallback;
};

static void roster_free(struct frozen *f)
{
    struct tls_roster *r = (struct tls_roster *)(void *)f;
    for (size_t i = 0; i < r->n; i++)
        tls_certs_unref(r->certs[i]);
    free(r->certs);
    free(r);
}

static struct tls_roster *roster_new(const struct tls_serving *s)
{
    struct tls_roster *r = must_alloc(sizeof *r);
    frozen_init(&r->frozen, roster_free);
    MUST(s->fallback < s->n_certs);
    r->n = s->n_certs;
    r->certs = must_alloc(r->n * sizeof(struct tls_certs *));
    for (size_t i = 0; i < r->n; i++) {
        frozen_ref(&s->certs[i]->frozen);
        r->certs[i] = s->certs[i];
    }
    r->fallback = r->certs[s->fallback];
    return r;
}

static void context_free(struct frozen *f)
{
    struct tls_context *c = (struct tls_context *)(void *)f;
    for (size_t i = 0; i < c->n_listeners; i++)
        tls_context_unref(c->listeners[i]);
    free(c->listeners);
    SSL_CTX_free(c->ssl_ctx);
    frozen_unref(c->roster ? &c->roster->frozen : NULL);
    tls_tickets_unref(c->tickets);
    free(c);
}

void tls_context_unref(struct tls_context *c)
{
    frozen_unref(c ? &c->frozen : NULL);
}

static SSL_CTX *new_ssl_ctx(const SSL_METHOD *method, const char *suites, struct err *e)
{
    ERR_clear_error();
    SSL_CTX *ssl_ctx = SSL_CTX_new(method);
    if (!ssl_ctx || !SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_2_VERSION) ||
        !SSL_CTX_set_cipher_list(ssl_ctx, suites)) {
        reason_err(e, "cannot make a TLS context");
        SSL_CTX_free(ssl_ctx);
        return NULL;
    }
    SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    /* An idle connection keeps no record buffers. */
    SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
    /* Sessions live in tickets that the client keeps: nothing here is shared or locked by loops.
     * How a client keeps them: new_client_ctx. */
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
    return ssl_ctx;
}

static struct tls_context *freeze(SSL_CTX *ssl_ctx)
{
    struct tls_context *c = must_alloc(sizeof *c);
    frozen_init(&c->frozen, context_free);
    c->ssl_ctx = ssl_ctx;
    return c;
}

/* --- listeners ------------------------------------------------------------------------------- */

static const struct tls_certs *choose(const struct tls_roster *r, const char *sni)
{
    const struct tls_certs *best = r->fallback;
    unsigned best_answer = 0;
    for (size_t i = 0; sni && i < r->n && best_answer < 2; i++) {
        unsigned answer = certs_answer(r->certs[i], slice_str(sni));
        if (answer > best_answer) {
            best = r->certs[i];
            best_answer = answer;
        }
    }
    return best;
}

/* After the ClientHello, and not when a session is resumed: nothing is shown then. */
static int on_choose(SSL *ssl, void *roster)
{
    const struct tls_roster *r = roster;
    const struct tls_certs *c = choose(r, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    if (c == r->fallback)
        return 1; /* the context's own */
    SSL_certs_clear(ssl);
    return certs_use(ssl, c);
}

/* A certificate that does not verify is as good as none: whoever asks later hears "not verified".
 */
static int let_pass(int ok, X509_STORE_CTX *store)
{
    (void)ok, (void)store;
    return 1;
}

static bool trust(SSL_CTX *ssl_ctx, STACK_OF(X509) * list)
{
    bool ok = true;
    X509_STORE *store = SSL_CTX_get_cert_store(ssl_ctx);
    for (int i = 0; i < sk_X509_num(list) && ok; i++)
        ok = X509_STORE_add_cert(store, sk_X509_value(list, i)) &&
             SSL_CTX_add_client_CA(ssl_ctx, sk_X509_value(list, i));
    return ok;
}

/* A session begun under one rule is not resumed under another: the rule is part of its name. */
static void name_sessions(SSL_CTX *ssl_ctx, enum tls_ask ask, struct slice ca)
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    unsigned n = SSL_MAX_SID_CTX_LENGTH;
    if (ca.n)
        MUST(EVP_Digest(ca.p, ca.n, digest, &n, EVP_sha256(), NULL));
    digest[0] = (uint8_t)ask;
    MUST(SSL_CTX_set_session_id_context(ssl_ctx, digest, SSL_MAX_SID_CTX_LENGTH));
}

static int load_authorities(SSL_CTX *ssl_ctx, const char *path, struct buf *pem, struct err *e)
{
    int rc = certs_read_file(path, pem, e);
    STACK_OF(X509) *list = rc == 0 ? certs_parse(buf_slice(pem), path, e) : NULL;
    if (!list)
        return rc < 0 ? rc : -EINVAL;
    bool ok = trust(ssl_ctx, list);
    sk_X509_pop_free(list, X509_free);
    return ok ? 0 : reason_err(e, path);
}

int tls_check_authorities(const char *path, struct err *e)
{
    DEFER(buf_done) struct buf pem = BUF_MAX(PEM_MAX_BYTES);
    SSL_CTX *ssl_ctx = SSL_CTX_new(TLS_server_method());
    MUST(ssl_ctx);
    int rc = load_authorities(ssl_ctx, path, &pem, e);
    SSL_CTX_free(ssl_ctx);
    return rc;
}

static int ask_clients(SSL_CTX *ssl_ctx, const struct tls_clients *k, struct err *e)
{
    DEFER(buf_done) struct buf pem = BUF_MAX(PEM_MAX_BYTES);
    int rc = load_authorities(ssl_ctx, k->ca_path, &pem, e);
    if (rc < 0)
        return rc;
    bool must = k->ask == TLS_ASK_REQUIRE;
    SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER | (must ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       must ? NULL : let_pass);
    SSL_CTX_set_verify_depth(ssl_ctx, CLIENT_CHAIN_MAX);
    name_sessions(ssl_ctx, k->ask, buf_slice(&pem));
    return 0;
}

static struct tls_context *server_new(struct tls_roster *r, struct tls_tickets *tickets,
                                      struct err *e)
{
    SSL_CTX *ssl_ctx = new_ssl_ctx(TLS_server_method(), SUITES_12, e);
    if (!ssl_ctx)
        return NULL;
    if (!certs_use_ctx(ssl_ctx, r->fallback)) {
        reason_err(e, "cannot serve the certificate");
        SSL_CTX_free(ssl_ctx);
        return NULL;
    }
    struct tls_context *c = freeze(ssl_ctx);
    frozen_ref(&r->frozen);
    c->roster = r;
    SSL_CTX_set_cert_cb(ssl_ctx, on_choose, r);
    SSL_CTX_set_timeout(ssl_ctx, SESSION_S);
    SSL_CTX_set_num_tickets(ssl_ctx, 1); /* it may be used more than once */
    name_sessions(ssl_ctx, TLS_ASK_NONE, SLICE_NONE);
    if (tickets) {
        c->tickets = tickets;
        tickets_use(ssl_ctx, tickets);
    }
    return c;
}

static int add_listeners(struct tls_context *c, const struct tls_serving *s, struct err *e)
{
    int rc = 0;
    c->listeners = must_alloc((s->n_listeners ? s->n_listeners : 1) * sizeof(struct tls_context *));
    c->n_listeners = s->n_listeners;
    for (size_t i = 0; i < s->n_listeners && rc == 0; i++) {
        if (s->listeners[i].ask == TLS_ASK_NONE)
            continue;
        c->listeners[i] = server_new(c->roster, c->tickets, e);
        rc = c->listeners[i] ? ask_clients(c->listeners[i]->ssl_ctx, &s->listeners[i], e) : -EINVAL;
    }
    return rc;
}

int tls_context_serve(struct tls_context **ret, const struct tls_serving *s, struct err *e)
{
    struct tls_roster *r = roster_new(s);
    struct tls_context *c = server_new(r, s->tickets, e);
    frozen_unref(&r->frozen);
    int rc = c ? add_listeners(c, s, e) : -EINVAL;
    if (rc < 0)
        tls_context_unref(c);
    else
        *ret = c;
    return rc;
}

struct tls_context *tls_context_for(struct tls_context *c, size_t listener)
{
    bool own = c && listener < c->n_listeners && c->listeners[listener];
    return own ? c->listeners[listener] : c;
}

static int serve_one(struct tls_context **ret, struct tls_certs *certs, struct err *e)
{
    const struct tls_serving s = {.certs = &certs, .n_certs = 1};
    int rc = tls_context_serve(ret, &s, e);
    tls_certs_unref(certs);
    return rc;
}

int tls_context_server_pem(struct tls_context **ret, struct slice cert_pem, struct slice key_pem,
                           struct err *e)
{
    struct tls_certs *certs;
    int rc = tls_certs_pem(&certs, cert_pem, key_pem, e);
    return rc < 0 ? rc : serve_one(ret, certs, e);
}

int tls_context_server(struct tls_context **ret, const char *cert_path, const char *key_path,
                       struct err *e)
{
    struct tls_certs *certs;
    int rc = tls_certs_load(&certs, "", &cert_path, &key_path, 1, e);
    return rc < 0 ? rc : serve_one(ret, certs, e);
}

/* --- delivery -------------------------------------------------------------------------------- */

/* Each engine hands on what its peer gives; OpenSSL itself keeps nothing. */
static SSL_CTX *new_client_ctx(const char *suites, struct err *e)
{
    SSL_CTX *ssl_ctx = new_ssl_ctx(TLS_client_method(), suites, e);
    if (ssl_ctx) {
        SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL |
                                                    SSL_SESS_CACHE_NO_AUTO_CLEAR);
        SSL_CTX_sess_set_new_cb(ssl_ctx, tls_engine_on_session);
    }
    return ssl_ctx;
}

int tls_context_client(struct tls_context **ret, struct err *e)
{
    SSL_CTX *ssl_ctx = new_client_ctx(client_suites_12, e);
    if (!ssl_ctx)
        return -EINVAL;
    SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_NONE, NULL);
    *ret = freeze(ssl_ctx);
    return 0;
}

int tls_context_verify(struct tls_context **ret, struct err *e)
{
    SSL_CTX *ssl_ctx = new_client_ctx(SUITES_12, e);
    if (!ssl_ctx)
        return -EINVAL;
    if (!SSL_CTX_set_default_verify_paths(ssl_ctx)) {
        SSL_CTX_free(ssl_ctx);
        return reason_err(e, "cannot read the system's certificate authorities");
    }
    SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
    *ret = freeze(ssl_ctx);
    return 0;
}

/* Authorities are found there by the hash of their name (openssl-rehash(1)): "0a1b2c3d.0". */
static bool has_authorities(const char *folder)
{
    DIR *d = opendir(folder);
    bool has = false;
    if (!d)
        return false;
    for (const struct dirent *entry; !has && (entry = readdir(d));)
        has = strspn(entry->d_name, "0123456789abcdef") == 8 && entry->d_name[8] == '.';
    closedir(d);
    return has;
}

int tls_check_store(struct err *e)
{
    const char *file = getenv(X509_get_default_cert_file_env());
    const char *folders = getenv(X509_get_default_cert_dir_env());
    file = file ? file : X509_get_default_cert_file();
    folders = folders ? folders : X509_get_default_cert_dir();
    X509_STORE *store = X509_STORE_new();
    MUST(store);
    bool has = X509_STORE_load_file(store, file) == 1;
    X509_STORE_free(store);
    ERR_clear_error();
    for (struct slice rest = slice_str(folders); rest.n && !has;) {
        DEFER_FREE char *folder = slice_dup(slice_cut(&rest, ':'));
        has = has_authorities(folder);
    }
    return has ? 0
               : err_set(e, -ENOENT, "there are no authorities in %s, nor in %s", file, folders);
}

int64_t tls_context_not_after(const struct tls_context *c)
{
    const X509 *x = SSL_CTX_get0_certificate(c->ssl_ctx);
    return x ? certs_seconds(X509_get0_notAfter(x)) : 0;
}

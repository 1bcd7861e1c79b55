/* What a listener's clients are shown, and who of them is let in. If this breaks, a client is shown
 * somebody else's certificate, a stolen ticket key opens for ever, or a listener that requires
 * certificates lets one in without. A bare OpenSSL client against the engine; no socket. */
#include "relay/base/clock.h"
#include "relay/tls/tls.h"
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* --- certificates ---------------------------------------------------------------------------- */

struct id {
    X509 *x;
    EVP_PKEY *key;
    struct buf cert_pem, key_pem;
};

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    assert_true(X509_add_ext(x, ext, -1));
    X509_EXTENSION_free(ext);
}

static void to_pem(struct id *id)
{
    char *p = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_X509(bio, id->x));
    long n = BIO_get_mem_data(bio, &p);
    id->cert_pem = BUF_MAX(65536);
    buf_add(&id->cert_pem, slice_of(p, (size_t)n));
    BIO_free(bio);
    bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(bio, id->key, NULL, NULL, 0, NULL, NULL));
    n = BIO_get_mem_data(bio, &p);
    id->key_pem = BUF_MAX(65536);
    buf_add(&id->key_pem, slice_of(p, (size_t)n));
    BIO_free(bio);
}

/* names: "DNS:a,DNS:b", or NULL for an authority. issuer NULL: signs itself. */
static struct id make(const char *cn, const char *names, bool rsa, const struct id *issuer)
{
    static long serial = 1;
    struct id id = {.x = X509_new(), .key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256")};
    assert_true(id.x && id.key);
    X509_set_version(id.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(id.x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(id.x), 86400);
    X509_NAME *name = X509_get_subject_name(id.x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(id.x, issuer ? X509_get_subject_name(issuer->x) : name);
    X509_set_pubkey(id.x, id.key);
    if (names)
        add_extension(id.x, NID_subject_alt_name, names);
    else
        add_extension(id.x, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(id.x, issuer ? issuer->key : id.key, EVP_sha256()));
    to_pem(&id);
    return id;
}

static void done(struct id *id)
{
    X509_free(id->x);
    EVP_PKEY_free(id->key);
    buf_done(&id->cert_pem);
    buf_done(&id->key_pem);
}

static struct tls_certs *certs_of(struct id *id)
{
    struct tls_certs *c = NULL;
    struct err e = {0};
    int rc = tls_certs_pem(&c, buf_slice(&id->cert_pem), buf_slice(&id->key_pem), &e);
    if (rc < 0)
        fail_msg("%s", e.text);
    return c;
}

static void write_file(const char *path, const struct buf *b)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(b->p, 1, b->n, f), b->n);
    fclose(f);
}

/* --- one connection -------------------------------------------------------------------------- */

struct talk {
    bool open;              /* both sides are through the handshake */
    bool resumed, verified; /* as the server sees it */
    char shown[64];         /* the common name of the server's certificate; "" = none shown */
    int key_type;           /* of the server's */
    char error[160];        /* the server's */
    SSL_SESSION *session;   /* for the next; the caller's */
};

struct client {
    const char *sni, *sigalgs;
    const struct id *id; /* certificate to present */
    int version;         /* 0: whatever both know */
    SSL_SESSION *session;
};

static SSL_SESSION *newest;

static int on_session(SSL *ssl, SSL_SESSION *s)
{
    (void)ssl;
    SSL_SESSION_free(newest);
    newest = s;
    return 1;
}

static SSL_CTX *client_ctx(const struct client *k)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    if (k->version) {
        SSL_CTX_set_min_proto_version(ctx, k->version);
        SSL_CTX_set_max_proto_version(ctx, k->version);
    }
    if (k->sigalgs)
        assert_true(SSL_CTX_set1_sigalgs_list(ctx, k->sigalgs));
    if (k->id)
        assert_true(SSL_CTX_use_cert_and_key(ctx, k->id->x, k->id->key, NULL, 1));
    return ctx;
}

static void carry(SSL *client, struct tls_engine *server)
{
    char bytes[20000];
    int n;
    while ((n = BIO_read(SSL_get_wbio(client), bytes, sizeof bytes)) > 0)
        tls_engine_feed(server, slice_of(bytes, (size_t)n));
    struct slice out = tls_engine_output(server);
    if (out.n)
        BIO_write(SSL_get_rbio(client), out.p, (int)out.n);
    tls_engine_sent(server, out.n);
}

static void look(struct talk *t, SSL *client, struct tls_engine *server)
{
    struct tls_info info = tls_engine_info(server);
    X509 *x = SSL_get0_peer_certificate(client);
    t->resumed = info.resumed;
    t->verified = info.verified;
    if (x) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, t->shown,
                                  sizeof t->shown);
        t->key_type = EVP_PKEY_get_base_id(X509_get0_pubkey(x));
    }
    snprintf(t->error, sizeof t->error, "%s", tls_engine_error(server));
}

static struct talk talk(struct tls_context *c, struct client k)
{
    struct talk t = {0};
    SSL_CTX *ctx = client_ctx(&k);
    SSL *client = SSL_new(ctx);
    struct tls_engine *server = tls_engine_new(c, true, SLICE_NONE);
    enum tls_state state = TLS_HANDSHAKING;
    char byte;
    SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(client), -1);
    if (k.sni)
        SSL_set_tlsext_host_name(client, k.sni);
    SSL_SESSION *copy = k.session ? SSL_SESSION_dup(k.session) : NULL; /* TLS 1.3 uses it up */
    if (copy)
        SSL_set_session(client, copy);
    SSL_SESSION_free(copy);
    newest = NULL;
    for (unsigned turn = 0; turn < 6; turn++) {
        SSL_connect(client);
        carry(client, server);
        SSL_read(client, &byte, 1); /* tickets of TLS 1.3 */
        state = tls_engine_feed(server, SLICE_NONE);
    }
    t.open = state == TLS_OPEN && SSL_is_init_finished(client);
    look(&t, client, server);
    /* TLS 1.2 tells of no new ticket when a session is resumed */
    t.session = newest || !t.open ? newest : SSL_get1_session(client);
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else it forgets */
    SSL_free(client);
    SSL_CTX_free(ctx);
    tls_engine_free(server);
    return t;
}

static struct talk talk_once(struct tls_context *c, struct client k)
{
    struct talk t = talk(c, k);
    SSL_SESSION_free(t.session);
    return t;
}

/* --- SNI ------------------------------------------------------------------------------------- */

static void names(void **state)
{
    (void)state;
    struct id a = make("a", "DNS:relay.test,DNS:mail.test", false, NULL),
              b = make("b", "DNS:*.test,DNS:b.example", false, NULL),
              c = make("c", "DNS:Deep.Sub.Test,DNS:relay.test", false, NULL);
    struct tls_certs *certs[] = {certs_of(&a), certs_of(&b), certs_of(&c)};
    struct tls_serving s = {.certs = certs, .n_certs = 3, .fallback = 1};
    struct tls_context *context = NULL;
    struct err e = {0};
    assert_int_equal(tls_context_serve(&context, &s, &e), 0);
    static const struct {
        const char *sni, *shown;
    } cases[] = {
        {NULL, "b"}, /* the fallback */
        {"unknown.example", "b"},
        {"relay.test", "a"}, /* the first of the two, and before the wildcard */
        {"RELAY.Test", "a"},
        {"mail.test", "a"},
        {"other.test", "b"},
        {"deep.sub.test", "c"},
        {"x.sub.test", "b"}, /* a wildcard is one label: nobody's, so the fallback */
        {"test", "b"},
        {"b.example", "b"},
    };
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct talk t =
                talk_once(context, (struct client){.sni = cases[i].sni, .version = version});
            assert_true(t.open);
            assert_string_equal(t.shown, cases[i].shown);
        }
    assert_true(tls_certs_has_name(certs[0], SLICE_LIT("relay.test.")));
    assert_false(tls_certs_has_name(certs[1], SLICE_LIT(".test")));
    assert_false(tls_certs_has_name(certs[1], SLICE_LIT("")));
    tls_context_unref(context);
    for (size_t i = 0; i < 3; i++)
        tls_certs_unref(certs[i]);
    done(&a), done(&b), done(&c);
}

/* Two kinds of keys for one name, in files; the title is a name, too. */
static void pairs(void **state)
{
    (void)state;
    char dir[] = "/tmp/unit_tls_serve_XXXXXX", path[4][64];
    assert_non_null(mkdtemp(dir));
    struct id id[] = {make("rsa", "DNS:relay.test", true, NULL),
                      make("ec", "DNS:relay.test", false, NULL)};
    const char *cert_paths[] = {path[0], path[1]}, *key_paths[] = {path[2], path[3]};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%zu.pem", dir, i);
        snprintf(path[i + 2], sizeof path[i + 2], "%s/%zu.key", dir, i);
        write_file(path[i], &id[i].cert_pem);
        write_file(path[i + 2], &id[i].key_pem);
    }
    struct tls_certs *c = NULL, *other = NULL;
    struct err e = {0};
    assert_int_equal(tls_certs_load(&c, "title.test", cert_paths, key_paths, 2, &e), 0);
    assert_int_equal(tls_certs_count(c), 2);
    assert_string_equal(tls_certs_info(c, 0).key_type, "RSA");
    assert_string_equal(tls_certs_info(c, 1).key_type, "EC");
    assert_string_equal(tls_certs_info(c, 1).path, path[1]);
    int64_t left = tls_certs_info(c, 0).not_after_s - wall_now().us / WALL_SECOND;
    assert_true(left > 86000 && left <= 86400);
    assert_true(tls_certs_has_name(c, SLICE_LIT("title.test")));
    assert_int_equal(tls_certs_load(&other, "", &cert_paths[1], &key_paths[1], 1, &e), 0);
    struct tls_certs *both[] = {other, c};
    struct tls_serving s = {.certs = both, .n_certs = 2};
    struct tls_context *context = NULL;
    assert_int_equal(tls_context_serve(&context, &s, &e), 0);
    static const struct {
        const char *sigalgs;
        int key_type;
    } cases[] = {{"rsa_pss_rsae_sha256", EVP_PKEY_RSA}, {"ECDSA+SHA256", EVP_PKEY_EC}};
    for (size_t i = 0; i < 2; i++) {
        struct talk t =
            talk_once(context, (struct client){.sni = "title.test", .sigalgs = cases[i].sigalgs});
        assert_true(t.open);
        assert_int_equal(t.key_type, cases[i].key_type);
    }
    /* who speaks only RSA finds nothing at the one that has none */
    assert_false(talk_once(context, (struct client){.sigalgs = "rsa_pss_rsae_sha256"}).open);
    tls_context_unref(context);
    tls_certs_unref(c);
    tls_certs_unref(other);
    /* the same kind twice is a mistake: nobody would ever see the second */
    const char *twice_certs[] = {path[0], path[0]}, *twice_keys[] = {path[2], path[2]};
    assert_int_equal(tls_certs_load(&c, "", twice_certs, twice_keys, 2, &e), -EINVAL);
    assert_non_null(strstr(e.text, "of the same kind"));
    for (size_t i = 0; i < 4; i++)
        unlink(path[i]);
    rmdir(dir);
    done(&id[0]), done(&id[1]);
}

/* --- tickets --------------------------------------------------------------------------------- */

static void tickets(void **state)
{
    (void)state;
    struct id id = make("a", "DNS:relay.test", false, NULL);
    struct tls_certs *certs = certs_of(&id);
    struct tls_tickets *keys = tls_tickets_new(), *others = tls_tickets_new();
    struct tls_context *one = NULL, *two = NULL, *foreign = NULL;
    struct err e = {0};
    struct tls_serving s = {.certs = &certs, .n_certs = 1, .tickets = keys};
    assert_int_equal(tls_context_serve(&one, &s, &e), 0);
    assert_int_equal(tls_context_serve(&two, &s, &e), 0); /* as after a reload */
    s.tickets = others;
    assert_int_equal(tls_context_serve(&foreign, &s, &e), 0);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct talk first = talk(one, (struct client){.version = version});
        assert_true(first.open && !first.resumed && first.session);
        struct client again = {.version = version, .session = first.session};
        struct talk t = talk_once(two, again);
        assert_true(t.open && t.resumed);
        t = talk_once(foreign, again);
        assert_true(t.open && !t.resumed);
        tls_tickets_rotate(keys);
        t = talk(one, again); /* the key before: still good, and a new ticket comes */
        assert_true(t.open && t.resumed && t.session);
        SSL_SESSION *renewed = t.session;
        tls_tickets_rotate(keys);
        t = talk_once(one, again);
        assert_true(t.open && !t.resumed);
        again.session = renewed;
        t = talk_once(one, again);
        assert_true(t.open && t.resumed);
        SSL_SESSION_free(renewed);
        SSL_SESSION_free(first.session);
    }
    tls_context_unref(one);
    tls_context_unref(two);
    tls_context_unref(foreign);
    tls_tickets_unref(keys);
    tls_tickets_unref(others);
    tls_certs_unref(certs);
    done(&id);
}

/* --- clients' certificates ------------------------------------------------------------------- */

enum { NONE, REQUEST, REQUIRE };

static void clients(void **state)
{
    (void)state;
    char ca_path[] = "/tmp/unit_tls_ca_XXXXXX";
    close(mkstemp(ca_path));
    struct id server = make("server", "DNS:relay.test", false, NULL),
              ca = make("authority", NULL, false, NULL),
              good = make("good", "DNS:client.test", false, &ca),
              stranger = make("stranger", "DNS:client.test", false, NULL);
    write_file(ca_path, &ca.cert_pem);
    struct tls_certs *certs = certs_of(&server);
    struct tls_tickets *keys = tls_tickets_new();
    const struct tls_clients listeners[] = {
        {TLS_ASK_NONE, ""}, {TLS_ASK_REQUEST, ca_path}, {TLS_ASK_REQUIRE, ca_path}};
    struct tls_serving s = {
        .certs = &certs, .n_certs = 1, .tickets = keys, .listeners = listeners, .n_listeners = 3};
    struct tls_context *context = NULL;
    struct err e = {0};
    assert_int_equal(tls_context_serve(&context, &s, &e), 0);
    const struct {
        unsigned listener;
        const struct id *id;
        bool open, verified;
    } cases[] = {
        {NONE, NULL, true, false},         {NONE, &good, true, false},
        {REQUEST, NULL, true, false},      {REQUEST, &good, true, true},
        {REQUEST, &stranger, true, false}, {REQUIRE, NULL, false, false},
        {REQUIRE, &good, true, true},      {REQUIRE, &stranger, false, false},
    };
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct client k = {.id = cases[i].id, .version = version};
            struct talk t = talk(tls_context_for(context, cases[i].listener), k);
            assert_int_equal(t.open, cases[i].open);
            assert_int_equal(t.open && t.verified, cases[i].verified);
            assert_int_equal(t.error[0] == 0, cases[i].open);
            /* a session is worth at its own kind of listener what it was worth, and nothing at
             * another */
            for (unsigned other = NONE; t.session && other <= REQUIRE; other++) {
                struct client again = {.version = version, .session = t.session};
                struct talk u = talk_once(tls_context_for(context, other), again);
                assert_int_equal(u.resumed, other == cases[i].listener);
                assert_int_equal(u.open && u.verified, u.resumed && cases[i].verified);
                assert_int_equal(u.open, other != REQUIRE || u.resumed);
            }
            SSL_SESSION_free(t.session);
        }
    assert_ptr_equal(tls_context_for(context, NONE), context);
    assert_ptr_equal(tls_context_for(context, 3), context);
    assert_null(tls_context_for(NULL, 0));
    tls_context_unref(context);
    unlink(ca_path);
    assert_int_equal(tls_context_serve(&context, &s, &e), -ENOENT);
    assert_non_null(strstr(e.text, ca_path));
    tls_certs_unref(certs);
    tls_tickets_unref(keys);
    done(&server), done(&ca), done(&good), done(&stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(pairs),
                                       cmocka_unit_test(tickets), cmocka_unit_test(clients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

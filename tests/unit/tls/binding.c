/* Channel bindings: both ends of a connection see the same bytes, and no other connection has them.
 * If this breaks, a login can be relayed by whoever sits in between. */
#include "relay/tls/binding.h"
#include "tests/unit/tls/pair.h"
#include <openssl/x509.h>

static struct pair connected(struct tls_context *client, struct tls_context *server)
{
    struct pair p = pair_of(client, server, SLICE_NONE);
    struct rng r;
    rng_seed(&r, 1);
    exchange(&p, &r, 0);
    assert_int_equal(p.client_state, TLS_OPEN);
    assert_int_equal(p.server_state, TLS_OPEN);
    return p;
}

/* The same at both ends: 1; at neither: 0. */
static int same(const struct pair *p, enum tls_binding kind, struct tls_binding_bytes *ret)
{
    struct tls_binding_bytes c, s;
    bool at_client = tls_engine_binding(p->client, kind, &c);
    bool at_server = tls_engine_binding(p->server, kind, &s);
    assert_int_equal(at_client, at_server);
    assert_int_equal(tls_engine_can_bind(p->client, kind), at_client);
    assert_int_equal(tls_engine_can_bind(p->server, kind), at_server);
    if (!at_server)
        return 0;
    assert_int_equal(c.n, s.n);
    assert_memory_equal(c.p, s.p, c.n);
    *ret = s;
    return 1;
}

struct version {
    int version;
    uint64_t options;
};

static struct tls_context *context_for(struct tls_context *c, struct version v)
{
    SSL_CTX_set_min_proto_version(c->ssl_ctx, v.version);
    SSL_CTX_set_max_proto_version(c->ssl_ctx, v.version);
    SSL_CTX_clear_options(c->ssl_ctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    SSL_CTX_set_options(c->ssl_ctx, v.options);
    return c;
}

static void which_there_are(void **state)
{
    (void)state;
    static const struct {
        struct version v;
        int exporter, unique;
    } rows[] = {
        {{TLS1_3_VERSION, 0}, 1, 0},
        {{TLS1_2_VERSION, 0}, 1, 1},
        /* RFC 9266 section 2, RFC 7627: what two connections can share binds nothing. */
        {{TLS1_2_VERSION, SSL_OP_NO_EXTENDED_MASTER_SECRET}, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_binding_bytes one[3], two[3];
        struct pair p = connected(context_for(client_context, rows[i].v),
                                  context_for(server_context, rows[i].v));
        struct pair q = connected(client_context, server_context);
        assert_int_equal(same(&p, TLS_BINDING_EXPORTER, &one[0]), rows[i].exporter);
        assert_int_equal(same(&p, TLS_BINDING_UNIQUE, &one[1]), rows[i].unique);
        assert_int_equal(same(&p, TLS_BINDING_END_POINT, &one[2]), 1);
        if (same(&q, TLS_BINDING_EXPORTER, &two[0])) {
            assert_int_equal(one[0].n, 32);
            assert_memory_not_equal(one[0].p, two[0].p, 32);
        }
        if (same(&q, TLS_BINDING_UNIQUE, &two[1])) {
            assert_int_equal(one[1].n, 12);
            assert_memory_not_equal(one[1].p, two[1].p, 12);
        }
        assert_int_equal(same(&q, TLS_BINDING_END_POINT, &two[2]), 1);
        assert_memory_equal(one[2].p, two[2].p, one[2].n); /* it is the server's, not the line's */
        pair_free(&p);
        pair_free(&q);
    }
    context_for(client_context, (struct version){0, 0});
    context_for(server_context, (struct version){0, 0});
}

static void before_the_handshake(void **state)
{
    (void)state;
    struct tls_engine *t = tls_engine_new(server_context, true, SLICE_NONE);
    struct tls_binding_bytes b = {.n = 7};
    struct tls_peer peer;
    for (int kind = 0; kind < TLS_BINDING_KINDS; kind++) {
        assert_false(tls_engine_can_bind(t, (enum tls_binding)kind));
        assert_false(tls_engine_binding(t, (enum tls_binding)kind, &b));
    }
    assert_int_equal(b.n, 7);
    assert_false(tls_engine_peer(t, &peer));
    tls_engine_free(t);
}

static int take_any(int ok, X509_STORE_CTX *ctx)
{
    (void)ok;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

static X509 *own_certificate(void)
{
    return X509_dup(SSL_CTX_get0_certificate(server_context->ssl_ctx));
}

/* RFC 5929 section 4: of our certificate, signed with SHA-256. */
static void the_end_point(void **state)
{
    (void)state;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n;
    struct tls_binding_bytes b;
    struct pair p = connected(client_context, server_context);
    X509 *x = own_certificate();
    assert_int_equal(X509_digest(x, EVP_sha256(), digest, &n), 1);
    assert_int_equal(same(&p, TLS_BINDING_END_POINT, &b), 1);
    assert_int_equal(b.n, n);
    assert_memory_equal(b.p, digest, n);
    X509_free(x);
    pair_free(&p);
}

/* Only what was asked for and verified is a peer. */
static void the_peer(void **state)
{
    (void)state;
    struct tls_context *client, *server;
    struct tls_peer peer;
    struct err e;
    uint8_t digest[EVP_MAX_MD_SIZE];
    struct pair p = connected(client_context, server_context);
    assert_false(tls_engine_peer(p.server, &peer));
    assert_false(tls_engine_peer(p.client, &peer)); /* shown, and not verified */
    pair_free(&p);

    assert_int_equal(tls_context_client(&client, &e), 0);
    X509 *x = own_certificate();
    assert_int_equal(SSL_CTX_use_certificate(client->ssl_ctx, x), 1);
    assert_int_equal(
        SSL_CTX_use_PrivateKey(client->ssl_ctx, SSL_CTX_get0_privatekey(server_context->ssl_ctx)),
        1);
    assert_int_equal(tls_context_server_pem(&server, buf_slice(&cert), buf_slice(&key), &e), 0);
    SSL_CTX_set_verify(server->ssl_ctx, SSL_VERIFY_PEER, take_any);
    SSL_CTX_set_session_id_context(server->ssl_ctx, (const uint8_t *)"t", 1);
    p = connected(client, server);
    assert_true(tls_engine_peer(p.server, &peer));
    assert_int_equal(X509_digest(x, EVP_sha256(), digest, NULL), 1);
    assert_memory_equal(peer.certificate, digest, TLS_DIGEST_SIZE);
    uint8_t *der = NULL;
    int n = i2d_PUBKEY(X509_get0_pubkey(x), &der);
    assert_true(n > 0);
    assert_int_equal(EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(peer.key, digest, TLS_DIGEST_SIZE);
    OPENSSL_free(der);
    X509_free(x);
    pair_free(&p);
    p = connected(client_context, server); /* asked for, not shown */
    assert_false(tls_engine_peer(p.server, &peer));
    pair_free(&p);
    tls_context_unref(client);
    tls_context_unref(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_there_are),
        cmocka_unit_test(before_the_handshake),
        cmocka_unit_test(the_end_point),
        cmocka_unit_test(the_peer),
    };
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}

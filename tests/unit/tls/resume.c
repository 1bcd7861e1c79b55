/* Sessions that a client keeps and offers. If this breaks, each delivery pays for a handshake in
 * full, or worse: a session begun with anybody is taken for one with the host that was meant
 * (promise 22, checklist 85). */
#include "relay/tls/engine.h"
#include "tests/unit/tls/pair.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

static struct tls_context *verifier; /* trusts the certificate of server_context */
static char store[] = "/tmp/unit_tls_resume_XXXXXX";

static int make_all(void **state)
{
    struct err e = {0};
    make_contexts(state);
    int fd = mkstemp(store);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, cert.p, cert.n), cert.n);
    close(fd);
    setenv("SSL_CERT_FILE", store, 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    assert_int_equal(tls_context_verify(&verifier, &e), 0);
    return 0;
}

static int free_all(void **state)
{
    tls_context_unref(verifier);
    unlink(store);
    return free_contexts(state);
}

static void speak_only(struct tls_context *c, int version)
{
    SSL_CTX_set_min_proto_version(c->ssl_ctx, version ? version : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(c->ssl_ctx, version);
}

static struct tls_context *server_of(struct slice cert_pem, struct slice key_pem)
{
    struct tls_context *c = NULL;
    struct err e = {0};
    assert_int_equal(tls_context_server_pem(&c, cert_pem, key_pem, &e), 0);
    return c;
}

static struct pair pair_with(struct tls_context *client, struct tls_context *server,
                             const char *name, const struct tls_session *offer)
{
    return (struct pair){
        .client = tls_engine_resume(client, slice_str(name), offer),
        .server = tls_engine_new(server, true, SLICE_NONE),
        .at_client = BUF_MAX(16 << 20),
        .at_server = BUF_MAX(16 << 20),
    };
}

struct talk {
    bool open, resumed, verified, unverified;
    char why[160];
    struct tls_session *session; /* the newest, the caller's */
    unsigned given;
};

/* Of all that were given the last one is the caller's. */
static struct tls_session *take_newest(struct tls_engine *t, unsigned *ret_given)
{
    struct tls_session *newest = NULL, *s;
    for (*ret_given = 0; (s = tls_engine_take_session(t)); ++*ret_given) {
        tls_session_unref(newest);
        newest = s;
    }
    return newest;
}

/* One connection on which something is said both ways, in pieces by chance. */
static struct talk talk(struct tls_context *client, struct tls_context *server, const char *name,
                        const struct tls_session *offer)
{
    struct rng r;
    rng_seed(&r, 2);
    struct pair p = pair_with(client, server, name, offer);
    assert_null(tls_engine_take_session(p.client)); /* not before the handshake is done */
    exchange(&p, &r, 0);
    struct talk t = {.open = p.client_state == TLS_OPEN,
                     .unverified = tls_engine_unverified(p.client)};
    snprintf(t.why, sizeof t.why, "%s", tls_engine_error(p.client));
    if (t.open) {
        struct tls_info info = tls_engine_info(p.client);
        tls_engine_write(p.client, SLICE_LIT("there"));
        tls_engine_write(p.server, SLICE_LIT("back"));
        exchange(&p, &r, 0);
        assert_string_equal(buf_str(&p.at_server), "there");
        assert_string_equal(buf_str(&p.at_client), "back");
        assert_int_equal(tls_engine_info(p.server).resumed, info.resumed);
        t.resumed = info.resumed;
        t.verified = info.verified;
    }
    t.session = take_newest(p.client, &t.given);
    assert_true(t.open || !t.session);
    pair_free(&p);
    return t;
}

/* The same, and nothing is kept. */
static struct talk talk_once(struct tls_context *client, struct tls_context *server,
                             const char *name, const struct tls_session *offer)
{
    struct talk t = talk(client, server, name, offer);
    tls_session_unref(t.session);
    t.session = NULL;
    return t;
}

static void both_versions(void **state)
{
    (void)state;
    struct tls_context *restarted = server_of(buf_slice(&cert), buf_slice(&key));
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        speak_only(client_context, version);
        struct talk first = talk(client_context, server_context, "mx.test", NULL);
        assert_true(first.open && !first.resumed && first.session);
        assert_int_equal(first.given, 1);
        assert_int_equal(tls_session_once(first.session), version == TLS1_3_VERSION);
        assert_int_equal(tls_session_lifetime_s(first.session), 2 * 60 * 60);
        struct talk second = talk(client_context, server_context, "mx.test", first.session);
        assert_true(second.open && second.resumed && !second.verified);
        /* TLS 1.3 gives a new one each time, 1.2 need not: the first may be used again. */
        assert_int_equal(second.session != NULL, version == TLS1_3_VERSION);
        struct tls_session *next = second.session ? second.session : first.session;
        struct talk third = talk_once(client_context, server_context, "mx.test", next);
        assert_true(third.open && third.resumed);
        /* Who has forgotten it shakes hands in full. */
        struct talk fourth = talk(client_context, restarted, "mx.test", next);
        assert_true(fourth.open && !fourth.resumed && fourth.session);
        tls_session_unref(fourth.session);
        tls_session_unref(second.session);
        tls_session_unref(first.session);
    }
    speak_only(client_context, 0);
    tls_context_unref(restarted);
}

/* As OpenSSL's servers do it by themselves: two connections can come back with one each. */
static void two_at_once(void **state)
{
    (void)state;
    struct tls_context *two = server_of(buf_slice(&cert), buf_slice(&key));
    SSL_CTX_set_num_tickets(two->ssl_ctx, 2);
    speak_only(client_context, TLS1_3_VERSION);
    struct rng r;
    rng_seed(&r, 5);
    struct pair p = pair_with(client_context, two, "mx.test", NULL);
    exchange(&p, &r, 0);
    struct tls_session *older = tls_engine_take_session(p.client),
                       *newer = tls_engine_take_session(p.client);
    assert_true(older && newer && older != newer);
    assert_null(tls_engine_take_session(p.client));
    pair_free(&p);
    assert_true(talk_once(client_context, two, "mx.test", newer).resumed);
    assert_true(talk_once(client_context, two, "mx.test", older).resumed);
    tls_session_unref(older);
    tls_session_unref(newer);
    speak_only(client_context, 0);
    tls_context_unref(two);
}

/* What was verified stays so, for the same name only; what was not never becomes so. */
static void verified_as_it_was(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        speak_only(verifier, version);
        speak_only(client_context, version);
        struct talk first = talk(verifier, server_context, "mx.test", NULL);
        assert_true(first.open && first.verified && first.session);
        struct talk t = talk_once(verifier, server_context, "MX.test", first.session);
        assert_true(t.open && t.resumed && t.verified);
        static const char *const others[][2] = {
            {"mx2.test", "hostname mismatch, it is for mx.test"},
            {"192.0.2.1", "IP address mismatch, it is for mx.test"},
            {"", "hostname mismatch, it is for mx.test"}};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            t = talk_once(verifier, server_context, others[i][0], first.session);
            assert_true(!t.open && t.unverified);
            assert_string_equal(t.why, others[i][1]);
        }
        t = talk_once(client_context, server_context, "mx.test", first.session);
        assert_true(t.open && t.resumed && !t.verified); /* nobody asks for it here */
        tls_session_unref(first.session);

        struct buf c = BUF_MAX(65536), k = BUF_MAX(65536);
        struct err e = {0};
        assert_int_equal(tls_self_signed(SLICE_LIT("mx.test"), &c, &k, &e), 0);
        struct tls_context *impostor = server_of(buf_slice(&c), buf_slice(&k));
        first = talk(client_context, impostor, "mx.test", NULL);
        assert_true(first.open && first.session);
        t = talk_once(client_context, impostor, "mx.test", first.session);
        assert_true(t.open && t.resumed); /* it would know it */
        t = talk_once(verifier, impostor, "mx.test", first.session);
        assert_true(!t.open && t.unverified);
        tls_session_unref(first.session);
        tls_context_unref(impostor);
        buf_done(&c);
        buf_done(&k);
    }
    speak_only(verifier, 0);
    speak_only(client_context, 0);
}

/* A server like server_context, its certificate changed and signed anew. The verifier trusts it. */
static struct tls_context *changed(void (*change)(X509 *x))
{
    char *p = NULL;
    BIO *from = BIO_new_mem_buf(cert.p, (int)cert.n), *bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new_mem_buf(key.p, (int)key.n);
    X509 *x = PEM_read_bio_X509(from, NULL, NULL, NULL);
    EVP_PKEY *k = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    assert_true(x && k);
    /* By its own name the store does not take the other one for it. */
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));
    assert_true(
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"other", -1, -1, 0));
    assert_true(X509_set_subject_name(x, name) && X509_set_issuer_name(x, name));
    X509_NAME_free(name);
    change(x);
    assert_true(X509_sign(x, k, EVP_sha256()) > 0);
    assert_true(PEM_write_bio_X509(bio, x));
    X509_free(x);
    long n = BIO_get_mem_data(bio, &p);
    struct tls_context *c = server_of(slice_of(p, (size_t)n), buf_slice(&key));
    x = PEM_read_bio_X509(bio, NULL, NULL, NULL); /* as it is now, with nothing remembered */
    assert_true(x && X509_STORE_add_cert(SSL_CTX_get_cert_store(verifier->ssl_ctx), x));
    X509_free(x);
    EVP_PKEY_free(k);
    BIO_free(from);
    BIO_free(bio);
    BIO_free(key_bio);
    return c;
}

static void end_it(X509 *x)
{
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), -3600);
}

/* The certificate ends while its session is good: the first handshake here does not look at dates.
 */
static void not_beyond_the_certificate(void **state)
{
    (void)state;
    struct tls_context *old = changed(end_it);
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(verifier->ssl_ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
    struct talk first = talk(verifier, old, "mx.test", NULL);
    assert_string_equal(first.why, "");
    assert_true(first.open && first.verified && first.session);
    X509_VERIFY_PARAM_clear_flags(param, X509_V_FLAG_NO_CHECK_TIME);
    struct talk t = talk_once(verifier, old, "mx.test", first.session);
    assert_false(t.open);
    assert_non_null(strstr(t.why, "certificate has expired, it ended 20"));
    t = talk_once(client_context, old, "mx.test", first.session);
    assert_true(t.open && t.resumed); /* it was a good one */
    tls_session_unref(first.session);
    tls_context_unref(old);
}

static void swell(X509 *x)
{
    static char text[TLS_SESSION_MAX + 1];
    memset(text, 'x', sizeof text - 1);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_netscape_comment, text);
    assert_true(ext && X509_add_ext(x, ext, -1));
    X509_EXTENSION_free(ext);
}

static void too_big_to_keep(void **state)
{
    (void)state;
    struct tls_context *big = changed(swell);
    struct talk t = talk(client_context, big, "mx.test", NULL);
    assert_true(t.open);
    assert_null(t.session);
    tls_context_unref(big);
}

static void give_one(struct pair *p, struct rng *r)
{
    assert_int_equal(SSL_new_session_ticket(tls_engine_ssl(p->server)), 1);
    tls_engine_write(p->server, SLICE_LIT("x"));
    exchange(p, r, 0);
}

/* A peer that never stops giving is not listened to for ever; what nobody takes is kept as far as
 * it can be of use. */
static void so_many_of_a_connection(void **state)
{
    (void)state;
    enum { LOOKED_AT = 8, GIVEN = 12, KEPT = 4 };
    struct rng r;
    rng_seed(&r, 3);
    speak_only(client_context, TLS1_3_VERSION);
    struct pair p = pair_with(client_context, server_context, "mx.test", NULL);
    exchange(&p, &r, 0);
    for (unsigned i = 1; i <= GIVEN; i++) {
        struct tls_session *s = tls_engine_take_session(p.client);
        assert_int_equal(s != NULL, i <= LOOKED_AT);
        tls_session_unref(s);
        give_one(&p, &r);
    }
    assert_int_equal(p.client_state, TLS_OPEN);
    assert_int_equal(p.at_client.n, GIVEN);
    pair_free(&p);
    p = pair_with(client_context, server_context, "mx.test", NULL);
    exchange(&p, &r, 0);
    for (unsigned i = 1; i <= GIVEN; i++)
        give_one(&p, &r);
    unsigned kept;
    tls_session_unref(take_newest(p.client, &kept));
    assert_int_equal(kept, KEPT);
    pair_free(&p);
    speak_only(client_context, 0);
}

static void others_keep_none(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 4);
    struct pair p = pair_of(client_context, server_context, SLICE_LIT("mx.test"));
    exchange(&p, &r, 0);
    assert_int_equal(p.client_state, TLS_OPEN);
    assert_null(tls_engine_take_session(p.client));
    assert_null(tls_engine_take_session(p.server));
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions),      cmocka_unit_test(two_at_once),
        cmocka_unit_test(verified_as_it_was), cmocka_unit_test(not_beyond_the_certificate),
        cmocka_unit_test(too_big_to_keep),    cmocka_unit_test(so_many_of_a_connection),
        cmocka_unit_test(others_keep_none),
    };
    return cmocka_run_group_tests(tests, make_all, free_all);
}

/*
 * AUTH (RFC 4954), each mechanism with GNU SASL as the client: who gets in, who does not, and that
 * nobody learns more than that. Checklist 9, 10.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/inbound/clients.h"
#include "tests/unit/inbound/world.h"
#include <gsasl.h>
#include <openssl/x509.h>

#define WRONG "535 5.7.8 Authentication failed: user name or password is wrong"

/* What a client brings. */
struct client {
    const char *user, *password, *authzid;
    SSL *ssl;            /* binds to it, by tls-exporter or tls-unique */
    bool binds_to_other; /* as somebody in between would have to */
};

static int give(Gsasl_session *g, Gsasl_property what, const void *bytes, size_t n)
{
    DEFER(buf_done) struct buf text = BUF_MAX(200);
    assert_true(base64_encode(&text, slice_of(bytes, n)));
    return gsasl_property_set(g, what, buf_str(&text)) == GSASL_OK ? GSASL_OK : GSASL_NO_CALLBACK;
}

static int bind_to(const struct client *c, Gsasl_session *g, Gsasl_property what)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    uint8_t bytes[64];
    const bool is_new = c->ssl && SSL_version(c->ssl) == TLS1_3_VERSION;
    size_t n = 32;
    if (!c->ssl || is_new != (what == GSASL_CB_TLS_EXPORTER))
        return GSASL_NO_CALLBACK;
    if (is_new)
        assert_int_equal(SSL_export_keying_material(c->ssl, bytes, n, label, sizeof label - 1,
                                                    (const uint8_t *)"", 0, 1),
                         1);
    else
        n = SSL_get_finished(c->ssl, bytes, sizeof bytes);
    bytes[0] ^= c->binds_to_other;
    return give(g, what, bytes, n);
}

static int on_property(Gsasl *ctx, Gsasl_session *g, Gsasl_property what)
{
    const struct client *c = gsasl_callback_hook_get(ctx);
    const char *text = what == GSASL_AUTHID     ? c->user
                       : what == GSASL_PASSWORD ? c->password
                       : what == GSASL_AUTHZID  ? c->authzid
                                                : NULL;
    if (what == GSASL_CB_TLS_EXPORTER || what == GSASL_CB_TLS_UNIQUE)
        return bind_to(c, g, what);
    if (!text)
        return GSASL_NO_CALLBACK;
    gsasl_property_set(g, what, text);
    return GSASL_OK;
}

/* The whole exchange by the library; *ret: the server's last reply. False: the client gave up. */
static bool speak(struct line *l, const char *mechanism, const struct client *c, char ret[1100])
{
    Gsasl *ctx;
    Gsasl_session *g;
    struct client copy = *c;
    assert_int_equal(gsasl_init(&ctx), GSASL_OK);
    gsasl_callback_hook_set(ctx, &copy);
    gsasl_callback_set(ctx, on_property);
    assert_int_equal(gsasl_client_start(ctx, mechanism, &g), GSASL_OK);
    char command[200];
    snprintf(command, sizeof command, "AUTH %s\r\n", mechanism);
    say(l, command);
    int rc = GSASL_NEEDS_MORE;
    for (;;) {
        char *answer = NULL;
        hear_reply(l, ret);
        if (strncmp(ret, "334 ", 4) != 0)
            break;
        ret[strcspn(ret, "\r\n")] = 0;
        rc = gsasl_step64(g, ret + 4, &answer);
        if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE)
            break;
        say(l, answer);
        say(l, "\r\n");
        gsasl_free(answer);
    }
    gsasl_finish(g);
    gsasl_done(ctx);
    return rc == GSASL_OK || rc == GSASL_NEEDS_MORE;
}

static void expect(struct line *l, const char *mechanism, const struct client *c, const char *start)
{
    char reply[1100];
    speak(l, mechanism, c, reply);
    if (strncmp(reply, start, strlen(start)) != 0)
        fail_msg("%s %s: \"%s\" instead of \"%s\"", mechanism, c->user, reply, start);
}

/* A session of its own. */
static void one(const struct world *w, const char *mechanism, struct client c, const char *start)
{
    struct line l = submission(w);
    c.ssl = strstr(mechanism, "PLUS") ? l.ssl : NULL;
    expect(&l, mechanism, &c, start);
    line_end(&l);
}

/* The next failure is answered at once, whatever failed before and under which name. */
static void forgive(const struct world *w)
{
    struct clients_key me;
    assert_true(clients_key_parse(SLICE_LIT("127.0.0.1"), &me));
    (void)clients_allow(inbound_shared_clients(w->shared), &me, mono_now());
}

/* What EHLO says behind AUTH. */
static void offered(struct line *l, char ret[200])
{
    char line[1100];
    ret[0] = 0;
    say(l, "EHLO c\r\n");
    do {
        size_t n = 0;
        while (n < 1090 && hear_byte(l, line + n))
            if (line[n++] == '\n')
                break;
        line[n] = 0;
        line[strcspn(line, "\r\n")] = 0;
        if (strncmp(line + 4, "AUTH ", 5) == 0)
            snprintf(ret, 200, "%.190s", line + 9);
    } while (line[0] && line[3] == '-');
}

static void expect_offered(const struct world *w, const char *mechanisms)
{
    char list[200];
    struct line l = submission(w);
    offered(&l, list);
    assert_string_equal(list, mechanisms);
    line_end(&l);
}

static const char *const by_password[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"};

static void each_mechanism(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "ann@a.test", "one tw\xc3\xb6", "");
    expect_offered(w, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS");
    for (size_t i = 0; i < 4; i++) {
        struct client c = {"ann@a.test", "one tw\xc3\xb6", NULL, NULL, false};
        one(w, by_password[i], c, "235 2.7.0");
        c.authzid = "ann@a.test"; /* himself */
        one(w, by_password[i], c, "235 2.7.0");
    }
    struct line l = submission(w);
    struct client c = {"ann@a.test", "one tw\xc3\xb6", NULL, l.ssl, false};
    expect(&l, "SCRAM-SHA-256-PLUS", &c, "235 ");
    talk(&l, "AUTH PLAIN\r\n", "503 "); /* checklist 9 */
    talk(&l, "MAIL FROM:<x@y.test>\r\n", "250 ");
    line_end(&l);
    world_free(w);
}

/* Checklist 10: the same words for a wrong password, a name that is not there, one that is locked
 * or disabled, one without a secret, and a wish to be somebody else. */
static void one_word_for_all(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct user_secrets s;
    struct err e;
    char text[4000];
    assert_int_equal(users_hash(SLICE_LIT("right"), &s, &e), 0);
    snprintf(text, sizeof text,
             ":key:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nann:%s:scram=%s\n"
             "locked:!%s:scram=%s\ndisabled:%s:scram=%s,disabled\nplain:%s\n",
             s.hash, s.scram, s.hash, s.scram, s.hash, s.scram, s.hash);
    write_file(w, "users", text);
    static const struct client rows[] = {{"ann", "wrong", NULL, NULL, false},
                                         {"nobody", "right", NULL, NULL, false},
                                         {"locked", "right", NULL, NULL, false},
                                         {"disabled", "right", NULL, NULL, false},
                                         {"ann", "right", "locked", NULL, false}};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            if (strcmp(by_password[i], "LOGIN") != 0 || !rows[k].authzid) {
                one(w, by_password[i], rows[k], WRONG "\r\n");
                forgive(w);
            }
    const struct client plain = {"plain", "right", NULL, NULL, false};
    one(w, "PLAIN", plain, "235 ");
    one(w, "SCRAM-SHA-256", plain, WRONG "\r\n");
    world_free(w);
}

/* The server's first message for a name. */
static void first_message(const struct world *w, const char *name, char ret_salt[64])
{
    char text[300], reply[1100];
    DEFER(buf_done) struct buf b64 = BUF_MAX(400), said = BUF_MAX(1100);
    struct line l = submission(w);
    snprintf(text, sizeof text, "n,,n=%s,r=abcdefgh", name);
    assert_true(base64_encode(&b64, slice_str(text)));
    snprintf(text, sizeof text, "AUTH SCRAM-SHA-256 %s\r\n", buf_str(&b64));
    say(&l, text);
    hear_reply(&l, reply);
    assert_memory_equal(reply, "334 ", 4);
    reply[strcspn(reply, "\r\n")] = 0;
    assert_true(base64_decode(&said, slice_str(reply + 4)));
    const char *salt = strstr(buf_str(&said), ",s="), *iterations = strstr(buf_str(&said), ",i=");
    assert_non_null(salt);
    assert_non_null(iterations);
    assert_string_equal(iterations, ",i=15000");
    snprintf(ret_salt, 64, "%.*s", (int)(iterations - salt - 3), salt + 3);
    assert_int_equal(strlen(ret_salt), 24);
    talk(&l, "*\r\n", "501 "); /* checklist 9 */
    talk(&l, "NOOP\r\n", "250 ");
    line_end(&l);
}

/* A name that is not there is asked the same as one that is, today and tomorrow. */
static void names_are_not_told(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    char real[64], again[64], none[64], none_again[64], other[64];
    write_user(w, "ann", "one", "");
    first_message(w, "ann", real);
    first_message(w, "ann", again);
    first_message(w, "nobody", none);
    first_message(w, "nobody", none_again);
    first_message(w, "nobody2", other);
    assert_string_equal(real, again);
    assert_string_equal(none, none_again);
    assert_string_not_equal(none, other);
    assert_string_not_equal(none, real);
    world_free(w);
}

static void say_first(struct line *l, const char *mechanism, const char *message, const char *hears)
{
    DEFER(buf_done) struct buf b64 = BUF_MAX(400), command = BUF_MAX(600);
    assert_true(base64_encode(&b64, slice_str(message)));
    buf_addf(&command, "AUTH %s %s\r\n", mechanism, buf_str(&b64));
    talk(l, buf_str(&command), hears);
}

/* RFC 5802 section 6: a client that could bind and was not told that we can has been lied to. */
static void a_downgrade_is_seen(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "ann", "one", "");
    struct line l = submission(w);
    say_first(&l, "SCRAM-SHA-256", "y,,n=ann,r=abcdefgh",
              "535 5.7.8 Authentication failed: the client was not told that SCRAM-SHA-256-PLUS");
    say_first(&l, "SCRAM-SHA-256", "n,,n=ann,r=abcdefgh", "334 ");
    talk(&l, "*\r\n", "501 ");
    line_end(&l);
    world_free(w);
}

static void bindings_that_do_not_bind(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "ann", "one", "");
    struct line l = submission(w);
    struct client c = {"ann", "one", NULL, l.ssl, true};
    expect(&l, "SCRAM-SHA-256-PLUS", &c, WRONG "\r\n"); /* somebody in between */
    say_first(&l, "SCRAM-SHA-256-PLUS", "p=tls-unique,,n=ann,r=abcdefgh",
              "504 5.5.4 This connection has no channel binding of that type");
    say_first(&l, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=ann,r=abcdefgh", "504 5.5.4");
    line_end(&l);
    l = submission(w);
    say_first(&l, "SCRAM-SHA-256-PLUS", "n,,n=ann,r=abcdefgh", "535 5.7.8");
    say_first(&l, "SCRAM-SHA-256", "p=tls-exporter,,n=ann,r=abcdefgh", "535 5.7.8");
    line_end(&l);
    world_free(w);
}

/* TLS 1.2 has tls-unique, and that only with the extended master secret (RFC 7627). */
static void older_tls(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "ann", "one", "");
    SSL_CTX_set_max_proto_version(client_ctx(), TLS1_2_VERSION);
    one(w, "SCRAM-SHA-256-PLUS", (struct client){"ann", "one", NULL, NULL, false}, "235 ");
    one(w, "SCRAM-SHA-256-PLUS", (struct client){"ann", "one", NULL, NULL, true}, WRONG);
    SSL_CTX_set_options(client_ctx(), SSL_OP_NO_EXTENDED_MASTER_SECRET);
    expect_offered(w, "PLAIN LOGIN SCRAM-SHA-256");
    struct line l = submission(w);
    say_first(&l, "SCRAM-SHA-256", "y,,n=ann,r=abcdefgh", "334 "); /* and no downgrade */
    talk(&l, "*\r\n", "501 ");
    line_end(&l);
    SSL_CTX_clear_options(client_ctx(), SSL_OP_NO_EXTENDED_MASTER_SECRET);
    SSL_CTX_set_max_proto_version(client_ctx(), 0);
    world_free(w);
}

/* As long as nobody has a secret, clients that prefer SCRAM must find PLAIN. */
static void not_offered_in_vain(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    expect_offered(w, "PLAIN LOGIN");
    struct line l = submission(w);
    talk(&l, "AUTH SCRAM-SHA-256\r\n", "504 5.5.4");
    talk(&l, "AUTH EXTERNAL =\r\n", "504 5.5.4");
    talk(&l, "AUTH OAUTHBEARER\r\n", "504 5.5.4");
    line_end(&l);
    world_free(w);
}

/* Whatever is said in the middle of SCRAM, nobody is in before the last word. */
static void broken_exchanges(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    write_user(w, "ann", "one", "");
    static const char *const firsts[] = {"n",   "n,,",          "n,,n=,r=x",  "x,,n=ann,r=x",
                                         ",,,", "n,,r=x,n=ann", "n,,n=ann,r="};
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        struct line l = submission(w);
        say_first(&l, "SCRAM-SHA-256", firsts[i], "535 5.7.8");
        talk(&l, "MAIL FROM:<a@b.test>\r\n", "530 ");
        line_end(&l);
        forgive(w);
    }
    struct line l = submission(w);
    say_first(&l, "SCRAM-SHA-256", "n,,n=ann,r=abcdefgh", "334 ");
    talk(&l, "!\r\n", "501 ");
    say_first(&l, "SCRAM-SHA-256", "n,,n=ann,r=abcdefgh", "334 ");
    talk(&l, "AAAA\r\n", "535 5.7.8");
    talk(&l, "AUTH SCRAM-SHA-256\r\n", "334 \r\n");
    talk(&l, "\r\n", "334 \r\n");
    talk(&l, "*\r\n", "501 ");
    talk(&l, "MAIL FROM:<a@b.test>\r\n", "530 ");
    line_end(&l);
    world_free(w);
}

/* ---- EXTERNAL ---- */

static int take_any(int ok, X509_STORE_CTX *ctx)
{
    (void)ok;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
    char fingerprint[65], key_print[65];
};

static void print_hex(char ret[65], const uint8_t digest[32])
{
    for (size_t i = 0; i < 32; i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

static struct identity make_identity(void)
{
    struct identity id;
    struct tls_context *c = make_tls();
    uint8_t digest[32], *der = NULL;
    id.certificate = X509_dup(SSL_CTX_get0_certificate(c->ssl_ctx));
    id.key = SSL_CTX_get0_privatekey(c->ssl_ctx);
    EVP_PKEY_up_ref(id.key);
    tls_context_unref(c);
    assert_int_equal(X509_digest(id.certificate, EVP_sha256(), digest, NULL), 1);
    print_hex(id.fingerprint, digest);
    int n = i2d_PUBKEY(id.key, &der);
    assert_true(n > 0 && EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL) == 1);
    print_hex(id.key_print, digest);
    OPENSSL_free(der);
    return id;
}

static void identity_free(struct identity *id)
{
    X509_free(id->certificate);
    EVP_PKEY_free(id->key);
}

static struct line shown(const struct world *w, const struct identity *id)
{
    SSL_CTX_use_certificate(client_ctx(), id->certificate);
    SSL_CTX_use_PrivateKey(client_ctx(), id->key);
    return submission(w);
}

static void by_certificate(void **state)
{
    (void)state;
    struct world *w = world_new(0, "");
    struct identity ann = make_identity(), bob = make_identity(), eve = make_identity();
    char text[1000];
    SSL_CTX_set_verify(w->tls->ssl_ctx, SSL_VERIFY_PEER, take_any);
    snprintf(text, sizeof text, "ann:*:certificate=%s\nbob:*:certificate=%s\n", ann.fingerprint,
             bob.key_print);
    write_file(w, "users", text);
    expect_offered(w, "PLAIN LOGIN"); /* none was shown */
    struct line l = shown(w, &ann);
    char list[200];
    offered(&l, list);
    assert_string_equal(list, "PLAIN LOGIN EXTERNAL");
    talk(&l, "AUTH EXTERNAL =\r\n", "235 2.7.0");
    line_end(&l);
    l = shown(w, &ann); /* without an initial response; then as somebody else, and as himself */
    talk(&l, "AUTH EXTERNAL\r\n", "334 \r\n");
    talk(&l, "\r\n", "235 ");
    line_end(&l);
    l = shown(w, &ann);
    talk(&l, "AUTH EXTERNAL Ym9i\r\n", WRONG "\r\n");
    talk(&l, "AUTH EXTERNAL YW5u\r\n", "235 ");
    line_end(&l);
    l = shown(w, &bob); /* his key is known, whatever certificate it has */
    talk(&l, "AUTH EXTERNAL =\r\n", "235 ");
    line_end(&l);
    l = shown(w, &eve);
    talk(&l, "AUTH EXTERNAL =\r\n", WRONG "\r\n");
    talk(&l, "AUTH EXTERNAL YW5u\r\n", WRONG "\r\n");
    line_end(&l);
    snprintf(text, sizeof text, "ann:*:certificate=%s,disabled\n", ann.fingerprint);
    write_file(w, "users", text);
    l = shown(w, &ann);
    talk(&l, "AUTH EXTERNAL =\r\n", WRONG "\r\n");
    line_end(&l);
    identity_free(&ann);
    identity_free(&bob);
    identity_free(&eve);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mechanism),
        cmocka_unit_test(one_word_for_all),
        cmocka_unit_test(names_are_not_told),
        cmocka_unit_test(a_downgrade_is_seen),
        cmocka_unit_test(bindings_that_do_not_bind),
        cmocka_unit_test(older_tls),
        cmocka_unit_test(not_offered_in_vain),
        cmocka_unit_test(broken_exchanges),
        cmocka_unit_test(by_certificate),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    SSL_CTX_free(client_ctx());
    return failed;
}

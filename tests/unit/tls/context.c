/* Certificates and keys as an administrator hands them over: good ones work, each bad one gets a
 * sentence that names the file. */
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

static struct buf cert, key, other_cert, other_key, locked_key;

/* The same key behind a pass phrase: OpenSSL would ask at the terminal. */
static void lock_key(void)
{
    BIO *in = BIO_new_mem_buf(key.p, (int)key.n), *out = BIO_new(BIO_s_mem());
    EVP_PKEY *k = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    unsigned char phrase[] = "secret";
    assert_true(PEM_write_bio_PrivateKey(out, k, EVP_aes_128_cbc(), phrase, 6, NULL, NULL));
    char *p = NULL;
    long n = BIO_get_mem_data(out, &p);
    buf_add(&locked_key, slice_of(p, (size_t)n));
    EVP_PKEY_free(k);
    BIO_free(in);
    BIO_free(out);
}

static int setup(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf *all[] = {&cert, &key, &other_cert, &other_key, &locked_key};
    for (unsigned i = 0; i < 5; i++)
        buf_init(all[i], 65536);
    assert_int_equal(tls_self_signed(SLICE_LIT("relay.example"), &cert, &key, &e), 0);
    assert_int_equal(tls_self_signed(SLICE_LIT("other.example"), &other_cert, &other_key, &e), 0);
    lock_key();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct buf *all[] = {&cert, &key, &other_cert, &other_key, &locked_key};
    for (unsigned i = 0; i < 5; i++)
        buf_done(all[i]);
    return 0;
}

static void self_signed(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool ok, is_ip;
    } cases[] = {
        {"relay.example", true, false},
        {"192.0.2.1", true, true},
        {"2001:db8::1", true, true},
        {"a,DNS:b", true, false}, /* one name, not two */
        {"a-name-that-is-longer-than-the-sixty-four-bytes-of-a-common-name.relay.example", true,
         false},
        {"", false, false},
        {"two words", false, false},
        {"nl\n.test", false, false},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf c = BUF_MAX(65536), k = BUF_MAX(65536);
        struct err e = {0};
        int code = tls_self_signed(slice_str(cases[i].name), &c, &k, &e);
        assert_int_equal(code, cases[i].ok ? 0 : -EINVAL);
        if (cases[i].ok) {
            BIO *bio = BIO_new_mem_buf(c.p, (int)c.n);
            X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
            assert_non_null(x);
            assert_int_equal(cases[i].is_ip ? X509_check_ip_asc(x, cases[i].name, 0)
                                            : X509_check_host(x, cases[i].name, 0, 0, NULL),
                             1);
            assert_int_equal(X509_check_host(x, "b", 0, 0, NULL), 0);
            assert_int_equal(X509_self_signed(x, 1), 1);
            X509_free(x);
            BIO_free(bio);
        } else {
            assert_true(*e.text != 0);
        }
        buf_done(&c);
        buf_done(&k);
    }
}

static int chain_length(const struct tls_context *c)
{
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(c->ssl_ctx, &chain);
    return sk_X509_num(chain);
}

static void from_memory(void **state)
{
    (void)state;
    struct buf both = BUF_MAX(65536), chain = BUF_MAX(65536), broken_chain = BUF_MAX(65536);
    buf_addf(&both, "%s%s", buf_str(&key), buf_str(&cert)); /* one file for both, key first */
    buf_addf(&chain, "%s\n%s", buf_str(&cert), buf_str(&other_cert));
    buf_addf(&broken_chain, "%s\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
             buf_str(&cert));
    const struct {
        struct slice cert, key;
        bool ok;
    } cases[] = {
        {buf_slice(&cert), buf_slice(&key), true},
        {buf_slice(&both), buf_slice(&both), true},
        {buf_slice(&chain), buf_slice(&key), true},
        {buf_slice(&broken_chain), buf_slice(&key), false},
        {buf_slice(&cert), buf_slice(&other_key), false},
        {buf_slice(&cert), buf_slice(&locked_key), false},
        {buf_slice(&key), buf_slice(&key), false},
        {buf_slice(&cert), buf_slice(&cert), false},
        {SLICE_NONE, SLICE_NONE, false},
        {slice_head(buf_slice(&cert), cert.n / 2), buf_slice(&key), false},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tls_context *c = NULL;
        struct err e = {0};
        int code = tls_context_server_pem(&c, cases[i].cert, cases[i].key, &e);
        assert_int_equal(code == 0, cases[i].ok);
        assert_int_equal(c != NULL, cases[i].ok);
        assert_int_equal(*e.text == 0, cases[i].ok);
        if (i == 2)
            assert_int_equal(chain_length(c), 1);
        tls_context_unref(c);
    }
    buf_done(&both);
    buf_done(&chain);
    buf_done(&broken_chain);
}

static void write_file(const char *path, struct slice s)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(s.p, 1, s.n, f), s.n);
    fclose(f);
}

static void from_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/unit_tls_XXXXXX", cert_path[64], key_path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(cert_path, sizeof cert_path, "%s/cert.pem", dir);
    snprintf(key_path, sizeof key_path, "%s/key.pem", dir);
    write_file(cert_path, buf_slice(&cert));
    struct tls_context *c = NULL;
    struct err e = {0};
    assert_int_equal(tls_context_server(&c, cert_path, key_path, &e), -ENOENT);
    assert_non_null(strstr(e.text, key_path));
    assert_non_null(strstr(e.text, "No such file"));
    assert_int_equal(tls_context_server(&c, dir, key_path, &e), -EISDIR);
    assert_int_equal(tls_context_server(&c, "/dev/zero", key_path, &e), -EFBIG);
    write_file(key_path, buf_slice(&other_key));
    assert_int_equal(tls_context_server(&c, cert_path, key_path, &e), -EINVAL);
    assert_non_null(strstr(e.text, key_path));
    assert_non_null(strstr(e.text, "mismatch"));
    write_file(key_path, buf_slice(&key));
    assert_int_equal(tls_context_server(&c, cert_path, key_path, &e), 0);
    int64_t left = tls_context_not_after(c) - wall_now().us / WALL_SECOND;
    assert_true(left > INT64_C(3649) * 86400 && left < INT64_C(3655) * 86400);
    tls_context_unref(c);
    assert_int_equal(tls_context_client(&c, &e), 0);
    assert_int_equal(tls_context_not_after(c), 0);
    tls_context_unref(c);
    unlink(cert_path);
    unlink(key_path);
    rmdir(dir);
}

static bool offers(const struct tls_context *c, const char *suite)
{
    STACK_OF(SSL_CIPHER) *list = SSL_CTX_get_ciphers(c->ssl_ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(list); i++)
        if (strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(list, i)), suite) == 0)
            return true;
    return false;
}

static bool offers_any(const struct tls_context *c, const char *part)
{
    STACK_OF(SSL_CIPHER) *list = SSL_CTX_get_ciphers(c->ssl_ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(list); i++)
        if (strstr(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(list, i)), part))
            return true;
    return false;
}

/* A listener asks for the best; a delivery takes what is better than nothing. */
static void suites(void **state)
{
    (void)state;
    static const struct {
        const char *suite;
        bool server, client;
    } cases[] = {
        {"TLS_AES_128_GCM_SHA256", true, true},
        {"ECDHE-RSA-AES128-GCM-SHA256", true, true},
        {"ECDHE-RSA-AES256-SHA384", false, true}, /* CBC */
        {"DHE-RSA-AES256-GCM-SHA384", false, true},
        {"AES128-SHA", false, true}, /* no forward secrecy */
        {"ADH-AES128-SHA", false, false},
        {"DES-CBC3-SHA", false, false},
    };
    static const char *const never[] = {"NULL",  "MD5", "RC4", "DES-CBC", "ADH",
                                        "AECDH", "PSK", "SRP", "EXP"};
    struct err e;
    struct tls_context *server = NULL, *client = NULL;
    assert_int_equal(tls_context_server_pem(&server, buf_slice(&cert), buf_slice(&key), &e), 0);
    assert_int_equal(tls_context_client(&client, &e), 0);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(offers(server, cases[i].suite), cases[i].server);
        assert_int_equal(offers(client, cases[i].suite), cases[i].client);
    }
    for (unsigned i = 0; i < sizeof never / sizeof *never; i++) {
        assert_false(offers_any(server, never[i]));
        assert_false(offers_any(client, never[i]));
    }
    assert_int_equal(SSL_CTX_get_security_level(client->ssl_ctx), 1);
    assert_int_equal(SSL_CTX_get_min_proto_version(client->ssl_ctx), TLS1_2_VERSION);
    assert_int_equal(SSL_CTX_get_min_proto_version(server->ssl_ctx), TLS1_2_VERSION);
    tls_context_unref(server);
    tls_context_unref(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_signed),
        cmocka_unit_test(from_memory),
        cmocka_unit_test(from_files),
        cmocka_unit_test(suites),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

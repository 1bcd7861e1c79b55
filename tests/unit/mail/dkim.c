/*
 * What a receiver's verifier recomputes must be what was signed, octet by octet: one wrong blank
 * and every mail of a domain is a forgery to those who ask for DMARC. Examples of RFC 6376
 * section 3.4.5 and RFC 8463 appendix A, whose keys and signatures are printed there.
 */
#include "relay/base/base64.h"
#include "relay/base/defer.h"
#include "relay/base/must.h"
#include "relay/mail/dkim_canon.h"
#include "relay/mail/dkim_priv.h"
#include "relay/mail/header.h"
#include <errno.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- canonical forms ---- */

static void fields(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *want;
    } rows[] = {
        {"A: X\r\n", "a:X"}, /* RFC 6376 section 3.4.5 */
        {"B : Y\t\r\n\tZ  \r\n", "b:Y Z"},
        {"SUBject:\tword \t word\r\n", "subject:word word"},
        {"Subject:\r\n word\r\n \r\n\tmore\r\n", "subject:word more"},
        {"Subject \t :x", "subject:x"},
        {"Subject:", "subject:"},
        {"Subject: \t \r\n", "subject:"},
        {"Subject: a:b : c\r\n", "subject:a:b : c"},
        {"Subject: M\xc3\xbcll\xc3\xa4r  x\r\n", "subject:M\xc3\xbcll\xc3\xa4r x"},
        {"Subject:a \r\n  b\r\n", "subject:a b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf out = BUF_MAX(strlen(rows[i].raw) + 1);
        dkim_canon_field(&out, slice_str(rows[i].raw));
        assert_string_equal(buf_str(&out), rows[i].want);
    }
}

static void gather(void *ctx, struct slice octets)
{
    assert_true(octets.n <= DKIM_CHUNK);
    MUST(buf_add(ctx, octets));
}

/* In pieces of n octets, the first one of `first`. */
static struct buf canon(struct slice body, size_t first, size_t n)
{
    struct buf out = BUF_MAX(body.n + 3);
    struct dkim_body b = {.sink = gather, .ctx = &out};
    dkim_body_bytes(&b, slice_head(body, first));
    for (body = slice_skip(body, first); body.n > 0; body = slice_skip(body, n))
        dkim_body_bytes(&b, slice_head(body, n));
    dkim_body_end(&b);
    return out;
}

static void bodies(void **state)
{
    (void)state;
    static const struct {
        const char *body, *want;
    } rows[] = {
        {" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"}, /* RFC 6376 section 3.4.5 */
        {"", ""},
        {"\r\n", ""},
        {"\r\n\r\n\r\n", ""},
        {" \t\r\n \r\n", ""},
        {"   ", ""},
        {"a", "a\r\n"},
        {"a\r\n", "a\r\n"},
        {"a  ", "a\r\n"},
        {"a\r\n\r\nb", "a\r\n\r\nb\r\n"},
        {"\r\n\r\na\r\n", "\r\n\r\na\r\n"},
        {"\t\ta\t\r\n", " a\r\n"},
        {"a \r\n \r\n b\r\n", "a\r\n\r\n b\r\n"},
        {".\r\n..\r\n", ".\r\n..\r\n"}, /* dots are stuffed later */
        {"a\rb\r\n", "a\rb\r\n"},       /* only BINARYMIME has these */
        {"a \r\rb\r", "a \r\rb\r\r\n"},
        {"a\nb \n", "a\nb \n\r\n"},
        {"\r", "\r\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct slice body = slice_str(rows[i].body);
        for (size_t first = 0; first <= body.n; first++)
            for (size_t n = 1; n <= body.n + 1; n++) {
                struct buf out = canon(body, first, n);
                assert_string_equal(buf_str(&out), rows[i].want);
                buf_done(&out);
            }
    }
}

/* A million empty lines wait in a counter, and come out when something stands behind them. */
static void long_bodies(void **state)
{
    (void)state;
    enum { LINES = 100000 };
    struct buf body = BUF_MAX(8 * LINES), want = BUF_MAX(8 * LINES);
    buf_add_str(&body, "a");
    buf_add_str(&want, "a\r\n");
    for (unsigned i = 0; i < LINES; i++) {
        buf_add_str(&body, i % 2 ? "\r\n" : " \r\n");
        if (i > 0)
            buf_add_str(&want, "\r\n");
    }
    struct buf out = canon(buf_slice(&body), 1, 4093);
    assert_string_equal(buf_str(&out), "a\r\n");
    buf_done(&out);
    buf_add_str(&body, "b");
    buf_add_str(&want, "b\r\n");
    out = canon(buf_slice(&body), 1, 4093);
    assert_true(slice_eq(buf_slice(&out), buf_slice(&want)));
    buf_done(&out);
    buf_done(&body);
    buf_done(&want);
}

/* ---- RFC 8463 appendix A ---- */

#define RFC_BODY "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
#define RFC_HEADER                                                                                 \
    "From: Joe SixPack <joe@football.example.com>\r\n"                                             \
    "To: Suzie Q <suzie@shopping.example.net>\r\n"                                                 \
    "Subject: Is dinner ready?\r\n"                                                                \
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                              \
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"

static const char ed25519_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n";
static const char ed25519_record[] =
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/* The key of RFC 6376 appendix C, which RFC 8463 takes over. */
static const char rsa_pem[] = "-----BEGIN RSA PRIVATE KEY-----\n"
                              "MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi\n"
                              "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM\n"
                              "KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\n"
                              "AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm\n"
                              "6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe\n"
                              "zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy\n"
                              "6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc\n"
                              "uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy\n"
                              "WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd\n"
                              "WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a\n"
                              "licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst\n"
                              "o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe\n"
                              "uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL\n"
                              "-----END RSA PRIVATE KEY-----\n";
static const char rsa_record[] =
    "v=DKIM1; k=rsa; "
    "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY"
    "/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLz"
    "BfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

static struct dkim_key *key_of(const char *pem)
{
    struct dkim_key *k = NULL;
    struct err e = {0};
    if (dkim_key_read(&k, slice_str(pem), &e) < 0)
        fail_msg("%s", e.text);
    return k;
}

static void sha256(struct slice s, uint8_t ret[DKIM_HASH_SIZE])
{
    assert_int_equal(EVP_Digest(s.p, s.n, ret, NULL, EVP_sha256(), NULL), 1);
}

/* The signer's sum as the RFC has it: these fields, then the DKIM-Signature without its b=. */
static void sign_of_the_rfc(const char *pem, const char *signature_field, const char *want)
{
    static const char *const names[] = {"From",       "To",   "Subject", "Date",
                                        "Message-ID", "From", "Subject", "Date"};
    DEFER(buf_done) struct buf text = BUF_MAX(4096), raw = BUF_MAX(600), base64 = BUF_MAX(800);
    uint8_t hash[DKIM_HASH_SIZE];
    for (size_t i = 0; i < 5; i++) { /* the last three are there to be absent */
        struct slice rest = SLICE_LIT(RFC_HEADER);
        struct header_field f = {0};
        while (header_next(&rest, &f) && !slice_ieq(f.name, slice_str(names[i])))
            ;
        dkim_canon_field(&text, f.raw);
        buf_add_str(&text, "\r\n");
    }
    dkim_canon_field(&text, slice_str(signature_field));
    sha256(buf_slice(&text), hash);
    struct dkim_key *k = key_of(pem);
    dkim_key_sign(k, hash, &raw);
    dkim_key_free(k);
    assert_true(base64_encode(&base64, buf_slice(&raw)));
    assert_string_equal(buf_str(&base64), want);
}

static void examples_of_the_rfc(void **state)
{
    (void)state;
    struct buf body = canon(SLICE_LIT(RFC_BODY), 3, 7);
    DEFER(buf_done) struct buf base64 = BUF_MAX(64);
    uint8_t hash[DKIM_HASH_SIZE];
    sha256(buf_slice(&body), hash);
    assert_true(base64_encode(&base64, slice_of(hash, sizeof hash)));
    assert_string_equal(buf_str(&base64), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    buf_done(&body);
    sign_of_the_rfc(
        ed25519_pem,
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
        " d=football.example.com; i=@football.example.com;\r\n"
        " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
        " subject : date : message-id : from : subject : date;\r\n"
        " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        " b=",
        "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1"
        "Q1Dw==");
    sign_of_the_rfc(
        rsa_pem,
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
        " d=football.example.com; i=@football.example.com;\r\n"
        " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
        " date : message-id : from : subject : date;\r\n"
        " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        " b=",
        "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9"
        "Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ"
        "4FADY+8=");
}

/* ---- keys ---- */

static void keys(void **state)
{
    (void)state;
    DEFER(buf_done) struct buf record = BUF_MAX(DKIM_RECORD_MAX);
    struct dkim_key *k = key_of(ed25519_pem);
    dkim_key_record(k, &record);
    assert_string_equal(buf_str(&record), ed25519_record);
    assert_string_equal(dkim_key_name(k), "ed25519");
    assert_int_equal(dkim_key_signature_size(k), 64);
    dkim_key_free(k);
    buf_reset(&record);
    k = key_of(rsa_pem);
    dkim_key_record(k, &record);
    assert_string_equal(buf_str(&record), rsa_record);
    assert_string_equal(dkim_key_name(k), "rsa");
    assert_int_equal(dkim_key_bits(k), 1024);
    assert_int_equal(dkim_key_signature_size(k), 128);
    dkim_key_free(k);
}

static void published(void **state)
{
    (void)state;
    static const struct {
        const char *record, *differs; /* NULL: it is this key's */
    } rows[] = {
        {ed25519_record, NULL},
        {"p=11qYAYKxCrfVS/7TyWQHOg7hc vPapiMlrwIaaPcHURo= ; t=y; k = ed25519;", NULL},
        {"v=DKIM1; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "another kind"},
        {"v=DKIM1; k=ed25519; p=21qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "another key"},
        {"v=DKIM1; k=ed25519; p=", "revoked"},
        {"v=spf1 -all", "v= is not"},
        {"", "no p="},
        {"hello", "no p="},
    };
    struct dkim_key *k = key_of(ed25519_pem), *rsa = key_of(rsa_pem);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *why = dkim_key_differs(k, slice_str(rows[i].record));
        assert_int_equal(why == NULL, rows[i].differs == NULL);
        assert_true(!why || strstr(why, rows[i].differs));
    }
    /* k= of RSA is often left out */
    assert_null(dkim_key_differs(rsa, slice_str(strstr(rsa_record, "p="))));
    dkim_key_free(k);
    dkim_key_free(rsa);
}

static struct buf pem_of(const char *type, size_t bits)
{
    struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX);
    EVP_PKEY *p = bits ? EVP_PKEY_Q_keygen(NULL, NULL, type, bits)
                       : EVP_PKEY_Q_keygen(NULL, NULL, type, "P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    assert_non_null(p);
    PEM_write_bio_PrivateKey(bio, p, NULL, NULL, 0, NULL, NULL);
    const long n = BIO_get_mem_data(bio, &text);
    buf_add(&pem, slice_of(text, (size_t)n));
    BIO_free(bio);
    EVP_PKEY_free(p);
    return pem;
}

/* What nobody would believe, or could check, is told before mail is sent with it. */
static void keys_that_are_none(void **state)
{
    (void)state;
    struct buf small = pem_of("RSA", 768), ec = pem_of("EC", 0);
    const struct {
        const char *pem, *why;
    } rows[] = {
        {"", "no private key"},
        {"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", "no private key"},
        {"-----BEGIN PUBLIC KEY-----\n"
         "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
         "-----END PUBLIC KEY-----\n",
         "no private key"},
        {"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
         "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjjLNWzD7pFSAICCAAw\n"
         "-----END ENCRYPTED PRIVATE KEY-----\n",
         "no private key"},
        {buf_str(&small), "less than 1024"},
        {buf_str(&ec), "neither RSA nor Ed25519"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dkim_key *k = NULL;
        struct err e = {0};
        assert_int_equal(dkim_key_read(&k, slice_str(rows[i].pem), &e), -EINVAL);
        assert_null(k);
        assert_true(strstr(e.text, rows[i].why) != NULL);
    }
    buf_done(&small);
    buf_done(&ec);
}

static void made(void **state)
{
    (void)state;
    static const struct {
        enum dkim_kind kind;
        unsigned bits, size;
    } rows[] = {{DKIM_ED25519, 0, 64}, {DKIM_RSA, 2048, 256}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DEFER(buf_done) struct buf pem = BUF_MAX(DKIM_KEY_PEM_MAX), record = BUF_MAX(1024);
        struct err e;
        assert_int_equal(dkim_key_make(rows[i].kind, rows[i].bits, &pem, &e), 0);
        struct dkim_key *k = key_of(buf_str(&pem));
        assert_int_equal(dkim_key_kind(k), rows[i].kind);
        assert_int_equal(dkim_key_signature_size(k), rows[i].size);
        dkim_key_record(k, &record);
        assert_null(dkim_key_differs(k, buf_slice(&record)));
        dkim_key_free(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields),
        cmocka_unit_test(bodies),
        cmocka_unit_test(long_bodies),
        cmocka_unit_test(examples_of_the_rfc),
        cmocka_unit_test(keys),
        cmocka_unit_test(published),
        cmocka_unit_test(keys_that_are_none),
        cmocka_unit_test(made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

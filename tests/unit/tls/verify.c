/* Delivery that looks at the certificate: what passes and what does not. If this breaks, mail that
 * must go to a host and nobody else goes to whoever answers in its place (promise 22). */
#include "relay/base/clock.h"
#include "relay/tls/certificate.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct tls_context *server, *verifier, *anyone;
static char store[] = "/tmp/unit_tls_verify_XXXXXX";

/* The server's certificate is its own authority, which the verifier finds in its store. */
static int make_contexts(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf cert = BUF_MAX(65536), key = BUF_MAX(65536);
    int fd = mkstemp(store);
    assert_true(fd >= 0);
    assert_int_equal(tls_self_signed(SLICE_LIT("mx.test"), &cert, &key, &e), 0);
    assert_int_equal(write(fd, cert.p, cert.n), cert.n);
    close(fd);
    setenv("SSL_CERT_FILE", store, 1);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    assert_int_equal(tls_context_verify(&verifier, &e), 0);
    assert_int_equal(tls_context_client(&anyone, &e), 0);
    assert_int_equal(tls_context_server_pem(&server, buf_slice(&cert), buf_slice(&key), &e), 0);
    buf_done(&cert);
    buf_done(&key);
    return 0;
}

static int free_contexts(void **state)
{
    (void)state;
    tls_context_unref(server);
    tls_context_unref(verifier);
    tls_context_unref(anyone);
    unlink(store);
    return 0;
}

static bool carry(struct tls_engine *from, struct tls_engine *to)
{
    struct slice s = tls_engine_output(from);
    bool any = s.n > 0;
    tls_engine_feed(to, s);
    tls_engine_sent(from, s.n);
    return any;
}

/* What the client says about the handshake: "" when it is open. */
static const char *shake(struct tls_context *from, struct tls_context *to, const char *name)
{
    static char why[200];
    struct tls_engine *c = tls_engine_new(from, false, slice_str(name));
    struct tls_engine *s = tls_engine_new(to, true, SLICE_NONE);
    while (carry(c, s) || carry(s, c))
        ;
    struct buf plain = BUF_MAX(65536);
    bool open = tls_engine_read(c, &plain, 65536) == TLS_OPEN;
    snprintf(why, sizeof why, "%s", open ? "" : tls_engine_error(c));
    assert_int_equal(open, why[0] == 0);
    assert_int_equal(tls_engine_unverified(c), !open);
    assert_int_equal(tls_engine_info(c).verified, open && from == verifier);
    if (!open) { /* not a byte of what is to be kept can leave */
        tls_engine_sent(c, tls_engine_output(c).n);
        tls_engine_write(c, SLICE_LIT("a secret"));
        assert_int_equal(tls_engine_output(c).n, 0);
    }
    buf_done(&plain);
    tls_engine_free(c);
    tls_engine_free(s);
    return why;
}

/* A certificate that nobody looks at is not why another step of the handshake fails. */
static void not_the_certificates_fault(void **state)
{
    (void)state;
    struct tls_engine *c = tls_engine_new(anyone, false, SLICE_LIT("mx.test"));
    struct tls_engine *s = tls_engine_new(server, true, SLICE_NONE);
    assert_true(carry(c, s));
    struct buf flight = BUF_MAX(65536);
    buf_add(&flight, tls_engine_output(s));
    flight.p[flight.n - 1] ^= 1; /* of the last record: the certificate is in front of it */
    assert_int_equal(tls_engine_feed(c, buf_slice(&flight)), TLS_FAILED);
    assert_false(tls_engine_unverified(c));
    assert_null(strstr(tls_engine_error(c), "certificate"));
    buf_done(&flight);
    tls_engine_free(c);
    tls_engine_free(s);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(shake(verifier, server, "mx.test"), "");
    assert_string_equal(shake(verifier, server, "MX.test"), "");
    assert_string_equal(shake(verifier, server, "mx2.test"),
                        "hostname mismatch, it is for mx.test");
    assert_string_equal(shake(verifier, server, "test"), "hostname mismatch, it is for mx.test");
    assert_string_equal(shake(verifier, server, "sub.mx.test"),
                        "hostname mismatch, it is for mx.test");
    assert_string_equal(shake(verifier, server, "192.0.2.1"),
                        "IP address mismatch, it is for mx.test");
    assert_string_equal(shake(verifier, server, ""), "hostname mismatch, it is for mx.test");
    assert_string_equal(shake(anyone, server, "mx2.test"), "");
}

/* An administrator who reads "sslv3 alert" or "wrong version number" looks in the wrong place. */
static void test_said_by_the_other_side(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } rows[] = {
        {"\x15\x03\x01\x00\x02\x02\x28", 7, "the other side says: handshake failure"},
        {"\x15\x03\x03\x00\x02\x02\x46", 7, "the other side says: protocol version"},
        {"\x15\x03\x03\x00\x02\x02\x30", 7, "the other side says: unknown CA"},
        {"500 5.5.1 what?\r\n", 17, "the other side does not speak TLS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_engine *c = tls_engine_new(verifier, false, SLICE_LIT("mx.test"));
        assert_int_equal(tls_engine_feed(c, slice_of(rows[i].bytes, rows[i].n)), TLS_FAILED);
        assert_string_equal(tls_engine_error(c), rows[i].why);
        assert_false(tls_engine_unverified(c));
        tls_engine_free(c);
    }
}

static void test_unknown_authority(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf cert = BUF_MAX(65536), key = BUF_MAX(65536);
    struct tls_context *other;
    assert_int_equal(tls_self_signed(SLICE_LIT("mx.test"), &cert, &key, &e), 0);
    assert_int_equal(tls_context_server_pem(&other, buf_slice(&cert), buf_slice(&key), &e), 0);
    assert_string_equal(shake(verifier, other, "mx.test"), "self-signed certificate");
    assert_string_equal(shake(anyone, other, "mx.test"), "");
    tls_context_unref(other);
    buf_done(&cert);
    buf_done(&key);
}

/* No store at all is no reason to believe anybody. */
static void test_empty_store(void **state)
{
    (void)state;
    struct err e = {0};
    struct tls_context *alone;
    setenv("SSL_CERT_FILE", "/nonexistent/file", 1);
    assert_int_equal(tls_context_verify(&alone, &e), 0);
    assert_string_not_equal(shake(alone, server, "mx.test"), "");
    tls_context_unref(alone);
}

/* What a person is told of the certificate, also where nobody asks for it. */
static void test_told(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf cert = BUF_MAX(65536), key = BUF_MAX(65536);
    struct tls_context *stranger = NULL;
    assert_int_equal(tls_self_signed(SLICE_LIT("other.test"), &cert, &key, &e), 0);
    assert_int_equal(tls_context_server_pem(&stranger, buf_slice(&cert), buf_slice(&key), &e), 0);
    const struct {
        struct tls_context *from, *to;
        const char *name, *names, *problem;
        bool ask;
    } rows[] = {
        {anyone, server, "mx.test", "mx.test", "", true},
        {verifier, server, "mx.test", "mx.test", "", true},
        {anyone, server, "other.test", "mx.test", "hostname mismatch", true},
        {anyone, server, "127.0.0.1", "mx.test", "IP address mismatch", true},
        {anyone, server, "", "mx.test", "hostname mismatch", true},
        {anyone, stranger, "other.test", "other.test", "self-signed certificate", true},
        {anyone, server, "mx.test", "mx.test", "the authorities cannot be read", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_engine *c = tls_engine_new(rows[i].from, false, slice_str(rows[i].name));
        struct tls_engine *s = tls_engine_new(rows[i].to, true, SLICE_NONE);
        struct tls_certificate told;
        assert_false(tls_engine_certificate(c, verifier, slice_str(rows[i].name), &told));
        while (carry(c, s) || carry(s, c))
            ;
        assert_true(tls_engine_certificate(c, rows[i].ask ? verifier : NULL,
                                           slice_str(rows[i].name), &told));
        assert_string_equal(told.names, rows[i].names);
        assert_string_equal(told.problem, rows[i].problem);
        assert_true(told.not_after_s > wall_now().us / WALL_SECOND && told.issuer[0]);
        assert_false(tls_engine_certificate(s, verifier, SLICE_NONE, &told)); /* none was shown */
        tls_engine_free(c);
        tls_engine_free(s);
    }
    tls_context_unref(stranger);
    buf_done(&cert);
    buf_done(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),        cmocka_unit_test(not_the_certificates_fault),
        cmocka_unit_test(test_names),       cmocka_unit_test(test_unknown_authority),
        cmocka_unit_test(test_empty_store), cmocka_unit_test(test_said_by_the_other_side),
    };
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}

/* Two engines back to back, no socket. Law: any split of the ciphertext gives the same plaintext.
 * If this breaks, mail does not travel under TLS, travels damaged, or travels under weak TLS. */
#include "relay/tls/engine.h"
#include "tests/unit/tls/pair.h"
#include <openssl/err.h>

static struct pair pair_new(struct slice sni)
{
    return pair_of(client_context, server_context, sni);
}

static void fill(struct buf *b, size_t n, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        buf_add_u8(b, (uint8_t)rng_next(&r));
}

static void any_split(void **state)
{
    (void)state;
    struct buf up = BUF_MAX(1 << 20), down = BUF_MAX(1 << 20);
    fill(&up, 70001, 1);
    fill(&down, 40000, 2);
    static const size_t fixed[] = {1, 2, 5, 6, 1000, 16384, 65536, 0, 0, 0, 0, 0};
    for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        struct rng r;
        rng_seed(&r, i);
        struct pair p = pair_new(SLICE_LIT("mx.test"));
        exchange(&p, &r, fixed[i]);
        assert_int_equal(p.client_state, TLS_OPEN);
        assert_int_equal(p.server_state, TLS_OPEN);
        for (struct slice rest = buf_slice(&up); rest.n;) {
            size_t n = piece(&r, 0, rest.n);
            assert_int_equal(tls_engine_write(p.client, slice_head(rest, n)), TLS_OPEN);
            rest = slice_skip(rest, n);
        }
        assert_int_equal(tls_engine_write(p.client, SLICE_NONE), TLS_OPEN);
        assert_int_equal(tls_engine_write(p.server, buf_slice(&down)), TLS_OPEN);
        exchange(&p, &r, fixed[i]);
        assert_true(slice_eq(buf_slice(&p.at_server), buf_slice(&up)));
        assert_true(slice_eq(buf_slice(&p.at_client), buf_slice(&down)));
        /* close_notify: the other end hears it, and may still answer. */
        tls_engine_close(p.client);
        exchange(&p, &r, fixed[i]);
        assert_int_equal(p.server_state, TLS_CLOSED);
        tls_engine_write(p.server, SLICE_LIT("bye"));
        tls_engine_close(p.server);
        exchange(&p, &r, fixed[i]);
        assert_int_equal(p.client_state, TLS_CLOSED);
        assert_int_equal(p.at_client.n, down.n + 3);
        assert_string_equal(tls_engine_error(p.client), "");
        pair_free(&p);
    }
    buf_done(&up);
    buf_done(&down);
}

static void info_and_sni(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 9);
    static const struct {
        const char *sni, *expected;
    } cases[] = {{"mx.test", "mx.test"}, {"", NULL}, {"192.0.2.1", NULL}, {"2001:db8::1", NULL}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair p = pair_new(slice_str(cases[i].sni));
        struct slice hello = tls_engine_output(p.client);
        bool has = slice_find_slice(hello, SLICE_LIT("mx.test")) < hello.n ||
                   slice_find_slice(hello, SLICE_LIT("192.0.2.1")) < hello.n ||
                   slice_find_slice(hello, SLICE_LIT("2001:db8")) < hello.n;
        assert_int_equal(has, cases[i].expected != NULL); /* checklist 81 */
        exchange(&p, &r, 0);
        struct tls_info info = tls_engine_info(p.client);
        assert_string_equal(info.version, "TLSv1.3");
        assert_non_null(strstr(info.cipher, "TLS_"));
        assert_false(info.verified);
        assert_false(info.resumed);
        pair_free(&p);
    }
}

/* A partner as the world has them: its own limits. */
static struct tls_context limited(bool server, int min, int max, const char *suites)
{
    SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_security_level(c, 0);
    SSL_CTX_set_min_proto_version(c, min);
    SSL_CTX_set_max_proto_version(c, max);
    assert_int_equal(SSL_CTX_set_cipher_list(c, suites), 1);
    struct tls_context *own = NULL;
    struct err e = {0};
    struct tls_context ret = {.ssl_ctx = c};
    if (server) {
        assert_int_equal(tls_context_server_pem(&own, buf_slice(&cert), buf_slice(&key), &e), 0);
        SSL_CTX_use_certificate(c, SSL_CTX_get0_certificate(own->ssl_ctx));
        SSL_CTX_use_PrivateKey(c, SSL_CTX_get0_privatekey(own->ssl_ctx));
        tls_context_unref(own);
    }
    frozen_init(&ret.frozen, NULL);
    return ret;
}

static void move(struct tls_engine *from, struct tls_engine *to)
{
    struct slice s = tls_engine_output(from);
    tls_engine_feed(to, s);
    tls_engine_sent(from, s.n);
}

/* Who sends only what presses is through the handshake, and its ticket comes with the first words:
 * a client waits for none. In TLS 1.2 the ticket is a part of the handshake. */
static void tickets_go_with_words(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_context c = limited(false, version, version, "DEFAULT");
        struct pair p = pair_of(&c, server_context, SLICE_NONE);
        while (tls_engine_is_pressing(p.client) || tls_engine_is_pressing(p.server)) {
            if (tls_engine_is_pressing(p.client))
                move(p.client, p.server);
            if (tls_engine_is_pressing(p.server))
                move(p.server, p.client);
        }
        assert_string_equal(tls_engine_info(p.server).version, tls_engine_info(p.client).version);
        assert_int_equal(tls_engine_output(p.server).n > 0, version == TLS1_3_VERSION);
        assert_false(tls_engine_is_pressing(p.server));
        assert_int_equal(tls_engine_write(p.server, SLICE_LIT("220 hello")), TLS_OPEN);
        assert_true(tls_engine_is_pressing(p.server));
        move(p.server, p.client);
        assert_false(tls_engine_is_pressing(p.server));
        assert_int_equal(tls_engine_read(p.client, &p.at_client, 100), TLS_OPEN);
        assert_string_equal(buf_str(&p.at_client), "220 hello");
        SSL_SESSION *session = SSL_get1_session(tls_engine_ssl(p.client));
        assert_true(SSL_SESSION_is_resumable(session));
        SSL_SESSION_free(session);
        pair_free(&p);
        SSL_CTX_free(c.ssl_ctx);
    }
}

static void versions_and_suites(void **state)
{
    (void)state;
    static const struct {
        int min, max;
        const char *suites;
        const char *version[2]; /* such a client, such a server; NULL: refused */
    } cases[] = {
        {TLS1_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0", {NULL, NULL}}, /* checklist 91 */
        {TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE+AESGCM", {"TLSv1.2", "TLSv1.2"}},
        {TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE+CHACHA20", {"TLSv1.2", "TLSv1.2"}},
        /* Old receivers are better than clear text; for clients there is no such excuse. */
        {TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", {NULL, "TLSv1.2"}},
        {TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", {NULL, "TLSv1.2"}},
        {TLS1_2_VERSION, TLS1_2_VERSION, "aNULL:eNULL:@SECLEVEL=0", {NULL, NULL}},
        {TLS1_2_VERSION, TLS1_3_VERSION, "ALL", {"TLSv1.3", "TLSv1.3"}},
    };
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        bool server = i % 2; /* whose limits */
        struct rng r;
        rng_seed(&r, i);
        struct tls_context c =
            limited(server, cases[i / 2].min, cases[i / 2].max, cases[i / 2].suites);
        struct pair p =
            pair_of(server ? client_context : &c, server ? &c : server_context, SLICE_NONE);
        exchange(&p, &r, 0);
        const char *version = cases[i / 2].version[server];
        if (version) {
            assert_int_equal(p.client_state, TLS_OPEN);
            assert_int_equal(p.server_state, TLS_OPEN);
            assert_string_equal(tls_engine_info(p.client).version, version);
        } else {
            assert_int_equal(server ? p.client_state : p.server_state, TLS_FAILED);
            assert_true(*tls_engine_error(server ? p.client : p.server) != 0);
        }
        pair_free(&p);
        assert_int_equal(atomic_load(&c.frozen.refs), 1); /* the engine gave its reference back */
        SSL_CTX_free(c.ssl_ctx);
    }
}

static void garbage(void **state)
{
    (void)state;
    static const char *const inputs[] = {"EHLO client.test\r\n", "GET / HTTP/1.1\r\n\r\n",
                                         "\x16\x03\x01\xff\xff\x01", "\x80\x2e\x01\x03\x01"};
    for (unsigned i = 0; i < 4; i++) {
        struct tls_engine *t = tls_engine_new(server_context, true, SLICE_NONE);
        enum tls_state state_now = TLS_HANDSHAKING;
        for (const char *p = inputs[i]; *p; p++)
            state_now = tls_engine_feed(t, slice_of(p, 1));
        assert_int_equal(state_now, i < 3 ? TLS_FAILED : TLS_HANDSHAKING);
        if (i < 3)
            assert_true(*tls_engine_error(t) != 0);
        struct buf out = BUF_MAX(100);
        tls_engine_write(t, SLICE_LIT("secret"));
        tls_engine_close(t);
        tls_engine_read(t, &out, 100);
        assert_int_equal(out.n, 0);
        struct slice s = tls_engine_output(t);
        assert_true(slice_find_slice(s, SLICE_LIT("secret")) == s.n);
        tls_engine_free(t);
        buf_done(&out);
    }
}

/* One flipped bit anywhere in a record: the engine fails, and gives none of its plaintext. */
static void damaged_record(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 5);
    for (unsigned i = 0; i < 44; i++) {
        struct pair p = pair_new(SLICE_NONE);
        exchange(&p, &r, 0);
        tls_engine_write(p.client, SLICE_LIT("MAIL FROM:<a@x.test>\r\n"));
        struct slice s = tls_engine_output(p.client);
        uint8_t copy[256];
        assert_true(s.n == 44);
        memcpy(copy, s.p, s.n);
        copy[i] ^= (uint8_t)(1U << rng_below(&r, 8));
        tls_engine_feed(p.server, slice_of(copy, s.n));
        enum tls_state st = tls_engine_read(p.server, &p.at_server, 1000);
        /* A longer length in the header leaves it waiting. */
        assert_true(st == TLS_FAILED || ((i == 3 || i == 4) && st == TLS_OPEN));
        assert_int_equal(p.at_server.n, 0);
        pair_free(&p);
    }
}

static void bounds(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 6);
    struct pair p = pair_new(SLICE_NONE);
    exchange(&p, &r, 0);
    struct buf big = BUF_MAX(1 << 20);
    fill(&big, TLS_INPUT_MAX, 3);
    tls_engine_write(p.client, buf_slice(&big));
    struct slice s = tls_engine_output(p.client);
    assert_true(s.n > TLS_INPUT_MAX);
    assert_int_equal(tls_engine_feed(p.server, slice_head(s, TLS_INPUT_MAX)), TLS_OPEN);
    /* The maximum is kept, whichever side names it. */
    struct buf small = BUF_MAX(1000);
    assert_int_equal(tls_engine_read(p.server, &small, 10), TLS_OPEN);
    assert_int_equal(small.n, 10);
    tls_engine_read(p.server, &small, 0);
    assert_int_equal(small.n, 10);
    assert_int_equal(tls_engine_read(p.server, &small, 5000), TLS_OPEN);
    assert_int_equal(small.n, 1000);
    assert_false(small.overflow);
    assert_memory_equal(small.p, big.p, 1000);
    /* Fed without ever reading: an end, not growth. */
    uint8_t *junk = calloc(1, TLS_INPUT_MAX);
    assert_int_equal(tls_engine_feed(p.server, slice_of(junk, TLS_INPUT_MAX)), TLS_FAILED);
    free(junk);
    buf_done(&small);
    buf_done(&big);
    pair_free(&p);
}

/* Asks for a change of keys, which has to be answered, `n` times, and never reads. */
static enum tls_state nag(struct pair *p, unsigned n)
{
    enum tls_state state = TLS_OPEN;
    for (unsigned i = 0; i < n && state == TLS_OPEN; i++) {
        SSL *ssl = tls_engine_ssl(p->client);
        assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ssl), 1);
        struct slice s = tls_engine_output(p->client);
        tls_engine_feed(p->server, s);
        tls_engine_sent(p->client, s.n);
        state = tls_engine_read(p->server, &p->at_server, 1000);
    }
    return state;
}

/* What OpenSSL answers by itself is bounded where nobody takes it: a peer that asks and never reads
 * would fill the memory. One that reads may ask as often as it likes. (Promise 15.) */
static void answers_nobody_takes(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 8);
    struct pair p = pair_new(SLICE_NONE);
    exchange(&p, &r, 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(nag(&p, 50), TLS_OPEN);
        assert_true(tls_engine_output(p.server).n > 0);
        exchange(&p, &r, 0);
    }
    assert_int_equal(nag(&p, 100000), TLS_FAILED);
    assert_true(tls_engine_output(p.server).n <= TLS_ANSWERS_MAX + 100);
    assert_string_equal(tls_engine_error(p.server),
                        "the peer asks for answers and does not read them");
    pair_free(&p);
}

/* An error that somebody else left in the thread's queue must not fail this connection. */
static void foreign_error_in_queue(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    struct pair p = pair_new(SLICE_NONE);
    for (unsigned i = 0; i < 20; i++) {
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        exchange(&p, &r, 100);
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        assert_int_equal(tls_engine_read(p.server, &p.at_server, 100), TLS_OPEN);
        ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
        assert_int_equal(tls_engine_write(p.client, SLICE_LIT("x")), TLS_OPEN);
    }
    ERR_clear_error();
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split),
        cmocka_unit_test(info_and_sni),
        cmocka_unit_test(tickets_go_with_words),
        cmocka_unit_test(versions_and_suites),
        cmocka_unit_test(garbage),
        cmocka_unit_test(damaged_record),
        cmocka_unit_test(bounds),
        cmocka_unit_test(answers_nobody_takes),
        cmocka_unit_test(foreign_error_in_queue),
    };
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}
